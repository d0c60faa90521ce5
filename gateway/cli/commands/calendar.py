"""``gateway calendar …``: working days of organisations, files of calendars, and when something is due."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

import click

from gateway.calendars import (
    CalendarEdition,
    CalendarMistake,
    TermEdition,
    Timetable,
    WorkingCalendar,
    check_calendar_file,
    make_timetable,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.named_files import load_mappings, mapping_path_option, read_file
from gateway.cli.result_output import (
    ReportedFailure,
    print_failure,
    print_json,
    print_line,
    print_sentence,
    print_table,
)
from gateway.cli.shared_options import DAY, FILE, ZONED_MOMENT, changing_verb, home_verb, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CALENDAR_WRONG, MISUSE, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import (
    ActiveTimetable,
    get_current_time,
    load_active_rules,
    load_shipped_rules,
    load_shipped_timetable,
    read_editions,
)
from gateway.operations import format_count, format_value
from gateway.store import dated_editions, deadlines, read_columns

_MAX_DAYS: Final = 3660
_DAY_COLUMNS: Final = ("day", "weekday", "working", "name", "edition")
_TERMS: Final = ("acknowledge", "decide", "answer")
_FILES_OPTION: Final = click.option(
    "--file",
    "files",
    type=FILE,
    multiple=True,
    help="a calendar or terms instead of the shipped ones; repeatable",
)


@verb("calendar show")
@click.argument("organisation", help="the code of the organisation")
@click.option("--from", "start", type=DAY, required=True, metavar="DAY", help="the first day")
@click.option("--until", "end", type=DAY, metavar="DAY", help="the last day; default: a month later")
@_FILES_OPTION
@json_option()
def show_calendar(arguments: Arguments) -> None:
    """Print the days of a period; exit with 1 and GW710 where a day is not known."""
    last = arguments.end or _find_last_day(arguments.start)
    if not 0 <= (last - arguments.start).days < _MAX_DAYS:
        raise GatewayError(MISUSE, f"a period must have 1 to {_MAX_DAYS} days", "--until")
    calendar = _open_calendar(arguments, _open_timetable(arguments))
    days = [arguments.start + timedelta(days=number) for number in range((last - arguments.start).days + 1)]
    print_table([_describe_day(calendar, day) for day in days], as_json=arguments.json, columns=_DAY_COLUMNS)


def _find_last_day(start: date) -> date:
    """Return the day a month later; the last day of all where there is none."""
    return start + min(timedelta(days=30), date.max - start)


def _describe_day(calendar: WorkingCalendar, day: date) -> dict[str, Any]:
    """Return one day of a calendar as plain values; `kind` and `name` are None if it is no special day."""
    edition = calendar.find_edition(day)
    special = edition.special.get(day)
    return {
        "organisation": calendar.organisation,
        "day": day.isoformat(),
        "weekday": day.strftime("%A").lower(),
        "working": calendar.is_working_day(day),
        "kind": None if special is None else special.kind,
        "name": None if special is None else special.name,
        "edition": edition.label,
        "test_edition": edition.is_test,
    }


@verb("calendar check")
@click.argument("file", type=FILE, help="a calendar or terms as CSV; nothing is loaded")
@mapping_path_option()
@json_option()
def check_calendar(arguments: Arguments) -> None:
    """Print a summary of the edition in a file, or all mistakes; exit with 1 if it has any.

    It may name the organisations and documents of the mappings at ``--path``.
    """
    bundle = load_shipped_rules().bundle if arguments.path is None else load_mappings(arguments.path)
    edition = read_edition_or_exit(arguments, read_file(arguments.file), bundle, "it would not be loaded")
    description = describe_edition(edition)
    if arguments.json:
        print_json({"file": str(arguments.file), **description})
    else:
        until = f" to {description['valid_until']}" if description["valid_until"] else ""
        number = format_count(description["rows"], "row")
        print_sentence(f"{description['edition']}: {number}, {description['valid_from']}{until}.")


def read_edition_or_exit(
    arguments: Arguments, content: bytes, bundle: MappingBundle, consequence: str
) -> CalendarEdition | TermEdition:
    """Return the edition in a file; print every mistake and end the verb where it has some.

    The file may name the organisations and documents of these mappings.
    """
    edition, mistakes = check_calendar_file(content, bundle.organisations, bundle.documents)
    if edition is not None:
        return edition
    _report_mistakes(arguments, mistakes, consequence)
    raise click.exceptions.Exit(1)


def _report_mistakes(arguments: Arguments, mistakes: tuple[CalendarMistake, ...], consequence: str) -> None:
    """Print the mistakes of the calendar file, each with its line, then failure GW709 with `consequence`."""
    if not arguments.json:
        for mistake in mistakes:
            print_line(f"{arguments.file}: line {mistake.line}: {mistake.message}")
    mistake_rows = [{"line": mistake.line, "message": mistake.message} for mistake in mistakes]
    detail = f"{arguments.file}: {format_count(len(mistake_rows), 'mistake')}; {consequence}"
    print_failure(ReportedFailure(detail, CALENDAR_WRONG.id, details={"mistakes": mistake_rows}))


def describe_edition(edition: CalendarEdition | TermEdition) -> dict[str, Any]:
    """Return an edition for JSON: its name and kind, its period, its source, and the number of its rows."""
    description: dict[str, Any] = {
        "edition": edition.label,
        "kind": "terms" if isinstance(edition, TermEdition) else "calendar",
        "valid_from": edition.valid_from.isoformat(),
        "valid_until": edition.valid_until.isoformat() if edition.valid_until else None,
        "test_edition": edition.is_test,
        "source": edition.source,
        "sha256": edition.sha256,
    }
    if isinstance(edition, TermEdition):
        return description | {"rows": len(edition.terms)}
    return description | {
        "organisations": sorted(edition.organisations),
        "zone": edition.zone,
        "hours": f"{edition.opens:%H:%M}-{edition.closes:%H:%M}",
        "rows": len(edition.special),
    }


@verb("calendar deadline")
@click.argument("organisation", help="the code of the organisation")
@click.option("--from", "start", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it begins")
@click.option("--days", type=click.IntRange(1, 999), help="so many working days")
@click.option("--document", help="or the days that the terms give for this document")
@click.option(
    "--term", type=click.Choice(_TERMS), default="decide", help="which of its terms; default: decide"
)
@_FILES_OPTION
@json_option()
def compute_deadline(arguments: Arguments) -> int:
    """Print when something is due; return 0, or 1 with GW710 where the calendar does not know a day."""
    if (arguments.days is None) == (arguments.document is None):
        raise GatewayError(MISUSE, "give either --days or --document", "--days")
    timetable = _open_timetable(arguments)
    calendar = _open_calendar(arguments, timetable)
    _check_document(arguments.document, timetable)
    days, reminder_days = _choose_days(arguments, timetable, calendar.get_local_day(arguments.start))
    if days is None:
        print_failure(ReportedFailure(f"the terms give no time to {arguments.term} for {arguments.document}"))
        return 1
    due = calendar.compute_deadline(arguments.start, days)
    deadline = _describe_deadline(calendar, arguments.start, days, reminder_days, due)
    if arguments.json:
        print_json(deadline)
    else:
        working_days = (
            f"{format_count(days, 'working day')} of {calendar.organisation} ({deadline['edition']})"
        )
        print_line(f"{deadline['due']}  {working_days}")
    return 0


def _choose_days(arguments: Arguments, timetable: Timetable, day: date) -> tuple[int | None, int | None]:
    if arguments.days is not None:
        return arguments.days, None
    term = timetable.find_term(arguments.document, day)
    return (None, None) if term is None else (getattr(term, arguments.term), term.remind)


def _describe_deadline(
    calendar: WorkingCalendar, start: datetime, days: int, reminder_days: int | None, due: datetime
) -> dict[str, Any]:
    """Return the time `due`, which is `days` working days after `start`, and its reminder, as plain values.

    The reminder (`remind`) is `reminder_days` working days before `due`. It is None unless
    `days` is more than `reminder_days`.
    """
    reminder = (
        None
        if reminder_days is None or reminder_days >= days
        else calendar.compute_reminder(due, reminder_days)
    )
    edition = calendar.find_edition(calendar.get_local_day(due))
    return {
        "organisation": calendar.organisation,
        "from": start.isoformat(),
        "working_days": days,
        "due": due.isoformat(),
        "remind": reminder.isoformat() if reminder else None,
        "zone": edition.zone,
        "edition": edition.label,
        "test_edition": edition.is_test,
    }


def _open_calendar(arguments: Arguments, timetable: Timetable) -> WorkingCalendar:
    """Return the calendar of the named organisation; raise GW808 for an unknown organisation."""
    organisations = {
        organisation for edition in timetable.calendars for organisation in edition.organisations
    } - {"*"}
    allowed_organisations = sorted(organisations | set(load_shipped_rules().bundle.organisations))
    if arguments.organisation not in allowed_organisations:
        sentence = f"no organisation {arguments.organisation[:40]!r}, but {', '.join(allowed_organisations)}"
        raise click.BadParameter(sentence, param_hint="'ORGANISATION'")
    return timetable.get_calendar(arguments.organisation)


def _check_document(document: str | None, timetable: Timetable) -> None:
    """Report misuse for a document that neither the mappings nor the terms have."""
    term_documents = {term_document for edition in timetable.terms for term_document in edition.terms} - {"*"}
    if document is not None and document not in term_documents | set(load_shipped_rules().bundle.documents):
        raise click.BadParameter(
            f"the mappings have no document {document[:60]!r}", param_hint="'--document'"
        )


def _open_timetable(arguments: Arguments) -> Timetable:
    if not arguments.files:
        return load_shipped_timetable()
    return make_timetable(read_editions((str(file), read_file(file)) for file in arguments.files))


_EDITION_COLUMNS: Final = (
    "edition",
    "kind",
    "valid_from",
    "valid_until",
    "rows",
    "test_edition",
    "loaded_by",
)
_DEADLINE_COLUMNS: Final = (
    "case",
    "application",
    "agency",
    "kind",
    "state",
    "due_at",
    "overdue_at",
    "problem",
)
_STATES: Final = ("OPEN", "HELD", "UNKNOWN", "OVERDUE", "MET", "LATE", "CANCELLED")


@changing_verb("calendar load")
@click.argument("file", type=FILE, help="a calendar or terms as CSV; its content is stored in the database")
def load_calendar(arguments: Arguments) -> None:
    """Load an edition; exit with 1, and every mistake, where it has some."""
    from gateway.operations import load_calendar_edition

    content = read_file(arguments.file)
    with read_database(arguments) as conn:
        bundle = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle
    edition = read_edition_or_exit(arguments, content, bundle, "nothing was loaded")
    with change_database(arguments) as change:
        is_new = load_calendar_edition(change, edition, content)
    description = describe_edition(edition)
    summary = f"{edition.label}: {format_count(description['rows'], 'row')}, from {edition.valid_from}"
    sentence = f"Loaded {summary}." if is_new else f"Loaded already: {summary}."
    print_change(change, sentence, as_json=arguments.json, **description)


@home_verb("calendar list")
def list_calendars(arguments: Arguments) -> None:
    """Print the editions in force in their order of precedence: first the calendars, then the terms."""
    settings = read_verb_settings(arguments).calendars
    with read_database(arguments) as conn:
        timetable = ActiveTimetable(test_editions=settings.test_edition).read_timetable(conn)
        loaded_rows = {
            (row.kind, f"{row.name}@{row.edition}"): row
            for row in dated_editions.list_calendar_editions(conn)
        }
    editions: list[CalendarEdition | TermEdition] = [*timetable.calendars, *timetable.terms]
    rows = [_describe_loaded_edition(edition, loaded_rows) for edition in editions]
    print_table(rows, as_json=arguments.json, columns=_EDITION_COLUMNS)


def _describe_loaded_edition(
    edition: CalendarEdition | TermEdition, loaded_rows: dict[Any, Any]
) -> dict[str, Any]:
    """Return an edition as plain values; one without a row in `loaded_rows` is shipped with the program.

    The keys of `loaded_rows` are pairs of kind and label.
    """
    description = describe_edition(edition)
    row = loaded_rows.get((description["kind"], edition.label))
    return description | {
        "loaded_at": None if row is None else format_value(row.loaded_at),
        "loaded_by": "shipped" if row is None else row.loaded_by,
    }


@home_verb("calendar overdue")
@click.option("--state", type=click.Choice(_STATES), default="OVERDUE", help="default: OVERDUE")
@click.option("--after", type=click.IntRange(0), default=0, metavar="ID", help="behind this row")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="at most so many; default: 100")
def list_deadlines(arguments: Arguments) -> None:
    """Print the deadlines in a state, of all cases; UNKNOWN are those that the calendar does not know."""
    with read_database(arguments) as conn:
        deadline_rows = deadlines.list_by_state(conn, arguments.state, arguments.after, arguments.limit)
    rows = [
        {
            "id": row.id,
            "case": row.case_number,
            "application": row.application,
            "agency": row.agency,
            **{
                name: format_value(value)
                for name, value in read_columns(row).items()
                if name in _PRINTED_COLUMNS
            },
        }
        for row in deadline_rows
    ]
    print_table(rows, as_json=arguments.json, columns=_DEADLINE_COLUMNS)


_PRINTED_COLUMNS: Final = frozenset(
    {
        *("kind", "state", "cause", "started_at", "days", "due_at", "remind_at", "held_at"),
        *("reminded_at", "overdue_at", "ended_at", "edition", "problem"),
    }
)
