"""The settings of calendars and terms: which editions count."""

from __future__ import annotations

from pydantic import Field

from gateway.config.value_types import SettingsSection

__all__ = ["CalendarSettings"]


class CalendarSettings(SettingsSection):
    """The calendars of working days, and the terms of documents."""

    test_edition: bool = Field(
        True,
        description=(
            "Whether calendars and terms that are marked as test editions count, such as those that are "
            "shipped. No authority has stated them."
        ),
    )
