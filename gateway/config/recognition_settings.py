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
        description="The certificates that may sign our own trusted list, as PEM files; "
        "without any, nobody is recognised beside those whom our own authorities know.",
    )
    uses: dict[Literal["signing", "encryption", "tls-client"], tuple[str, ...]] = Field(
        {"signing": ("*",)},
        description="The levels that are good enough, for each use of a certificate (`signing`, "
        "`encryption`, `tls-client`): one of them, or `*` for any. A use that is not named admits nobody.",
    )
    vouched: Duration = Field(
        timedelta(days=1),
        description="How old the word of a gateway that vouches for a party may be when the message comes.",
    )
