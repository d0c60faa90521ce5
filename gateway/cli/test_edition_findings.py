"""Finds the test editions in force: calendars, terms and tables of needs that no authority has stated."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.hub import ActiveTimetable, get_current_time, load_active_rules, load_shipped_rules

__all__ = ["find_test_edition_warnings"]


def find_test_edition_warnings(conn: Connection, settings: Settings) -> list[str]:
    """Return a warning for calendars, and one for tables of needs, where test editions count."""
    rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
    timetable = ActiveTimetable(test_editions=settings.calendars.test_edition).read_timetable(conn)
    calendars = [one.label for one in timetable.calendars if one.is_test]
    calendars += [one.label for one in timetable.terms if one.is_test]
    index = rules.needs.get_index(test_editions=settings.needs.test_edition)
    tables = [one.label for one in index.tables if one.is_test]
    return [
        f"test editions are in force, which no authority has stated: {', '.join(sorted(labels))}; "
        f"`{name}.test_edition = false` switches them off"
        for name, labels in (("calendars", calendars), ("needs", tables))
        if labels
    ]
