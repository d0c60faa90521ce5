"""The settings of the rules of need: what a missing document leads to, and which tables count."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from gateway.config.value_types import SettingsSection

__all__ = ["NeedSettings"]


class NeedSettings(SettingsSection):
    """The rules of need, which say which documents goods need."""

    imports: Literal["warn", "refuse"] = Field(
        "warn",
        description=(
            "What an import gets that lacks a document which its goods need for certain: `warn` keeps a "
            "warning with the case, `refuse` refuses it with the list (GW508)."
        ),
    )
    exports: Literal["warn", "refuse"] = Field(
        "warn", description="The same for an export: `warn` or `refuse`."
    )
    test_edition: bool = Field(
        True,
        description=(
            "Whether tables that are marked as test editions count, such as the one that is shipped. They "
            "are not the law of today."
        ),
    )

    @field_validator("imports", "exports", mode="before")
    @classmethod
    def _explain_hold(cls, value: Any) -> Any:
        if value == "hold":
            raise ValueError(
                "hold is not available: a case cannot wait for a document that was not applied for; "
                "use refuse, and the applicant submits again under the same reference"
            )
        return value
