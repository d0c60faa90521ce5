"""The settings of retention: how long octets of ended business are kept, and what a late repeat gets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.value_types import Duration, SettingsSection

__all__ = ["RetentionSettings"]


class RetentionSettings(SettingsSection):
    """What `gateway retention purge` may remove; without a time it removes nothing."""

    octets: Duration | None = Field(
        None,
        description=(
            "Time after the end of a case, or the arrival of a message in a mailbox, for which octets are "
            "kept, and at least the `PersistDuration` of the agreement. If it is not set, they are kept for "
            "ever."
        ),
    )
    drafts: Duration | None = Field(
        None,
        description=(
            "Time after its last change for which a draft or a prepared answer of the console is kept. If it "
            "is not set, they are kept for ever."
        ),
    )
    repeats: Literal["acknowledge", "refuse"] = Field(
        "acknowledge",
        description=(
            "What the repeat of a message gets whose octets were removed: a new Acknowledgment, or GW321. It "
            "is not processed again."
        ),
    )
