"""``gateway calendar load|list|overdue``: the calendars and terms of a gateway, and what is overdue."""

from __future__ import annotations

from typing import Any, Final

import click

from gateway.calendars import CalendarEdition, TermEdition
from gateway.cli.audited_changes import change_database
from gateway.cli.commands.calendar import describe_edition, read_edition_or_end
from gateway.cli.named_files import read_file
from gateway.cli.result_output import count_things, format_value, print_json, print_sentence, print_table
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.hub import ActiveTimetable, get_current_time, load_active_rules, load_shipped_rules
from gateway.operations import load_calendar_edition
from gateway.store import calendar_editions, deadlines

__all__ = ["list_calendars", "list_deadlines", "load_calendar"]

_COLUMNS: Final = ("edition", "kind", "valid_from", "valid_until", "rows", "test_edition", "loaded_by")
_DEADLINES: Final = ("case", "application", "agency", "kind", "state", "due_at", "overdue_at", "problem")
_STATES: Final = ("OPEN", "HELD", "UNKNOWN", "OVERDUE", "MET", "LATE", "CANCELLED")


@verb
@click.argument("file", type=FILE, help="a calendar or terms as CSV; its content is stored in the database")
@change_options()
def load_calendar(arguments: Arguments) -> int:
    """Load an edition; return 0 when it is stored, 1 with every mistake where it has some."""
    content = read_file(arguments.file)
    with read_database(arguments) as conn:
        bundle = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle
    edition = read_edition_or_end(arguments, content, bundle, "nothing was loaded")
    with change_database(arguments) as change:
        is_new = load_calendar_edition(change, edition, content)
    told = describe_edition(edition)
    words = f"{edition.label}: {count_things(told['rows'], 'row')}, from {edition.valid_from}"
    sentence = f"Loaded {words}." if is_new else f"Loaded already: {words}."
    if arguments.json:
        print_json(change.describe_done(sentence, **told))
    else:
        print_sentence(sentence)
    return 0


@verb
@home_options()
def list_calendars(arguments: Arguments) -> int:
    """Print the editions in force, those that count first at the top."""
    settings = read_verb_settings(arguments).calendars
    with read_database(arguments) as conn:
        timetable = ActiveTimetable(test_editions=settings.test_edition).read_timetable(conn)
        stored = {
            (row.kind, f"{row.name}@{row.edition}"): row for row in calendar_editions.list_editions(conn)
        }
    editions: list[CalendarEdition | TermEdition] = [*timetable.calendars, *timetable.terms]
    rows = [_describe_loaded(one, stored) for one in editions]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0


def _describe_loaded(edition: CalendarEdition | TermEdition, stored: dict[Any, Any]) -> dict[str, Any]:
    told = describe_edition(edition)
    row = stored.get((told["kind"], edition.label))
    return told | {
        "loaded_at": None if row is None else format_value(row.loaded_at),
        "loaded_by": "shipped" if row is None else row.loaded_by,
    }


@verb
@click.option("--state", type=click.Choice(_STATES), default="OVERDUE", help="default: OVERDUE")
@click.option("--after", type=click.IntRange(0), default=0, metavar="ID", help="behind this row")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="at most so many; default: 100")
@home_options()
def list_deadlines(arguments: Arguments) -> int:
    """Print the deadlines in a state, of all cases; UNKNOWN are those that the calendar does not know."""
    with read_database(arguments) as conn:
        found = deadlines.list_by_state(conn, arguments.state, arguments.after, arguments.limit)
    rows = [
        {
            "id": row.id,
            "case": row.case_number,
            "application": row.application,
            "agency": row.agency,
            **{name: format_value(value) for name, value in row._mapping.items() if name in _TOLD},
        }
        for row in found
    ]
    print_table(rows, as_json=arguments.json, columns=_DEADLINES)
    return 0


_TOLD: Final = frozenset(
    {
        *("kind", "state", "cause", "started_at", "days", "due_at", "remind_at", "held_at"),
        *("reminded_at", "overdue_at", "ended_at", "edition", "problem"),
    }
)
