"""The settings of the rules of need: what a missing document leads to, and which tables count."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from gateway.config.value_types import Duration, SettingsSection

__all__ = ["NeedSettings"]


class NeedSettings(SettingsSection):
    """The rules of need, which say which documents goods need."""

    imports: Literal["warn", "refuse", "hold"] = Field(
        "warn",
        description=(
            "What an import gets that lacks a document which its goods need for certain: `warn` keeps a "
            "warning with the case, `refuse` refuses it with the list (GW508), `hold` holds it for "
            "`hold_time`: no agency hears of it before the missing applications are filed."
        ),
    )
    exports: Literal["warn", "refuse", "hold"] = Field(
        "warn", description="The same for an export: `warn`, `refuse` or `hold`."
    )
    hold_time: Duration = Field(
        timedelta(days=3),
        description=(
            "How long a case is held that lacks a document, in hours or days, as `72h` or `5d`. Then it is "
            "refused (GW508)."
        ),
    )
    test_edition: bool = Field(
        True,
        description=(
            "Whether tables that are marked as test editions count, such as the one that is shipped. They "
            "are not the law of today."
        ),
    )

    @field_validator("hold_time")
    @classmethod
    def _check_hold_time(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=1) <= value <= timedelta(days=365):
            raise ValueError("a case is held for at least a minute and at most 365 days")
        return value
