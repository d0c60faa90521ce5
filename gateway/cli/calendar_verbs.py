"""The verbs of calendars and deadlines: a part of the table of verbs."""

from __future__ import annotations

from typing import Final

from gateway.cli.trust_verbs import Verb

__all__ = ["CALENDAR_VERBS"]

CALENDAR_VERBS: Final[dict[str, Verb]] = {
    "calendar show": Verb(
        "calendar:show_calendar",
        "show the working days and the holidays of an organisation",
        "gateway calendar show AGENCY --from 2026-09-21 --until 2026-10-11",
    ),
    "calendar check": Verb(
        "calendar:check_calendar",
        "check a file of a calendar or of terms; every mistake is told with its line",
        "gateway calendar check holidays-2028.csv --json",
    ),
    "calendar deadline": Verb(
        "calendar:compute_deadline",
        "compute when something is due, in the working days of an organisation",
        "gateway calendar deadline AGENCY --from 2026-09-21T10:00:00+09:00 --days 5 --json",
    ),
    "calendar load": Verb(
        "calendar_load:load_calendar",
        "load an edition of a calendar or of terms; every mistake is told with its line",
        "gateway calendar load holidays-2028.csv --home D",
        effect="changes",
    ),
    "calendar list": Verb(
        "calendar_load:list_calendars",
        "list the calendars and terms with the days on which each is in force",
        "gateway calendar list --home D",
    ),
    "calendar overdue": Verb(
        "calendar_load:list_deadlines",
        "list what is overdue, or the deadlines in another state",
        "gateway calendar overdue --home D --json",
    ),
}
