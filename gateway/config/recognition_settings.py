"""The settings of mutual recognition: signers that authorities of others certify."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from gateway.config.value_types import Duration, Location, SettingsSection

__all__ = ["RecognitionSettings"]


class RecognitionSettings(SettingsSection):
    """Who may sign our trusted list, and which levels are accepted."""

    signers: tuple[Location, ...] = Field(
        (),
        description=(
            "Certificates that may sign the gateway's own trusted list, as PEM files. Without any, only "
            "signers below the own trust anchors are accepted."
        ),
    )
    uses: dict[Literal["signing", "encryption", "tls-client"], tuple[str, ...]] = Field(
        {"signing": ("*",)},
        description=(
            "Accepted levels for each use of a certificate (`signing`, `encryption`, `tls-client`); `*` "
            "accepts any level. A use that is not named accepts no signer."
        ),
    )
    vouched: Duration = Field(
        timedelta(days=1),
        description="Largest age of a vouching gateway's statement when the message arrives.",
    )
