"""The settings of the rules of need: which tables count."""

from __future__ import annotations

from pydantic import Field

from gateway.config.value_types import SettingsSection

__all__ = ["NeedSettings"]


class NeedSettings(SettingsSection):
    """The rules of need, which say which documents goods need."""

    test_edition: bool = Field(
        True,
        description=(
            "Whether tables that are marked as test editions count, such as the one that is shipped. They "
            "are not the law of today."
        ),
    )
