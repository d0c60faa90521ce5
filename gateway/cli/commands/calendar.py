"""``gateway calendar show|check|deadline``: working days, files of calendars, and when something is due."""

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
from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import read_file
from gateway.cli.result_output import (
    ReportedFailure,
    count_things,
    print_failure,
    print_json,
    print_sentence,
    print_table,
)
from gateway.cli.shared_options import DAY, FILE, ZONED_MOMENT, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CALENDAR_WRONG, MISUSE, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import load_shipped_rules, load_shipped_timetable, read_editions

__all__ = ["check_calendar", "compute_deadline", "describe_edition", "show_calendar"]

_MOST_DAYS: Final = 3660
_COLUMNS: Final = ("day", "weekday", "working", "name", "edition")
_TERMS: Final = ("acknowledge", "decide", "answer")
_FILES: Final = click.option(
    "--file",
    "files",
    type=FILE,
    multiple=True,
    help="a calendar or terms instead of the shipped ones; repeatable",
)


@verb
@click.argument("organisation", help="the code of the organisation")
@click.option("--from", "start", type=DAY, required=True, metavar="DAY", help="the first day")
@click.option("--until", "end", type=DAY, metavar="DAY", help="the last day; default: a month later")
@_FILES
@json_option()
def show_calendar(arguments: Arguments) -> int:
    """Print the days of a period; return 0, or 1 with GW710 where a day is not known."""
    last = arguments.end or _find_last_day(arguments.start)
    if not 0 <= (last - arguments.start).days < _MOST_DAYS:
        raise GatewayError(MISUSE, f"a period has 1 to {_MOST_DAYS} days", "--until")
    calendar = _open_calendar(arguments, _open_timetable(arguments))
    days = [arguments.start + timedelta(days=number) for number in range((last - arguments.start).days + 1)]
    print_table([_describe_day(calendar, one) for one in days], as_json=arguments.json, columns=_COLUMNS)
    return 0


def _find_last_day(start: date) -> date:
    """Return the day a month later; the last day of all where there is none."""
    return start + min(timedelta(days=30), date.max - start)


def _describe_day(calendar: WorkingCalendar, day: date) -> dict[str, Any]:
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


@verb
@click.argument("file", type=FILE, help="a calendar or terms as CSV; nothing is loaded")
@mapping_path_option()
@json_option()
def check_calendar(arguments: Arguments) -> int:
    """Print what a file says, or every mistake; return 1 where it has some.

    It may name the organisations and documents of the mappings at ``--path``.
    """
    bundle = load_shipped_rules().bundle if arguments.path is None else load_mappings(arguments.path)
    edition = read_edition_or_end(arguments, read_file(arguments.file), bundle, "it would not be loaded")
    told = describe_edition(edition)
    if arguments.json:
        print_json({"file": str(arguments.file), **told})
    else:
        until = f" to {told['valid_until']}" if told["valid_until"] else ""
        number = count_things(told["rows"], "row")
        print_sentence(f"{told['edition']}: {number}, {told['valid_from']}{until}.")
    return 0


def read_edition_or_end(
    arguments: Arguments, content: bytes, bundle: MappingBundle, words: str
) -> CalendarEdition | TermEdition:
    """Return the edition in a file; print every mistake and end the verb where it has some.

    The file may name the organisations and documents of these mappings.
    """
    edition, mistakes = check_calendar_file(content, bundle.organisations, bundle.documents)
    if edition is not None:
        return edition
    _report_mistakes(arguments, mistakes, words)
    raise click.exceptions.Exit(1)


def _report_mistakes(arguments: Arguments, mistakes: tuple[CalendarMistake, ...], words: str) -> None:
    if not arguments.json:
        for one in mistakes:
            print(f"{arguments.file}: line {one.line}: {one.message}")
    told = [{"line": one.line, "message": one.message} for one in mistakes]
    detail = f"{arguments.file}: {count_things(len(told), 'mistake')}; {words}"
    print_failure(ReportedFailure(detail, CALENDAR_WRONG.id, more={"mistakes": told}))


def describe_edition(edition: CalendarEdition | TermEdition) -> dict[str, Any]:
    """Return an edition for JSON: what it is, its period, and what it is taken from."""
    told: dict[str, Any] = {
        "edition": edition.label,
        "kind": "terms" if isinstance(edition, TermEdition) else "calendar",
        "valid_from": edition.valid_from.isoformat(),
        "valid_until": edition.valid_until.isoformat() if edition.valid_until else None,
        "test_edition": edition.is_test,
        "source": edition.source,
        "sha256": edition.sha256,
    }
    if isinstance(edition, TermEdition):
        return told | {"rows": len(edition.terms)}
    return told | {
        "organisations": sorted(edition.organisations),
        "zone": edition.zone,
        "hours": f"{edition.opens:%H:%M}-{edition.closes:%H:%M}",
        "rows": len(edition.special),
    }


@verb
@click.argument("organisation", help="the code of the organisation")
@click.option("--from", "start", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it begins")
@click.option("--days", type=click.IntRange(1, 999), help="so many working days")
@click.option("--document", help="or the days that the terms give for this document")
@click.option(
    "--term", type=click.Choice(_TERMS), default="decide", help="which of its terms; default: decide"
)
@_FILES
@json_option()
def compute_deadline(arguments: Arguments) -> int:
    """Print when something is due; return 0, or 1 with GW710 where the calendar does not know a day."""
    if (arguments.days is None) == (arguments.document is None):
        raise GatewayError(MISUSE, "give either --days or --document", "--days")
    timetable = _open_timetable(arguments)
    calendar = _open_calendar(arguments, timetable)
    _check_document(arguments.document, timetable)
    days, remind = _choose_days(arguments, timetable, calendar.get_local_day(arguments.start))
    if days is None:
        print_failure(ReportedFailure(f"the terms give no time to {arguments.term} for {arguments.document}"))
        return 1
    due = calendar.compute_deadline(arguments.start, days)
    told = _describe_deadline(calendar, arguments.start, (days, remind), due)
    if arguments.json:
        print_json(told)
    else:
        words = f"{count_things(days, 'working day')} of {calendar.organisation} ({told['edition']})"
        print(f"{told['due']}  {words}")
    return 0


def _choose_days(arguments: Arguments, timetable: Timetable, day: date) -> tuple[int | None, int | None]:
    if arguments.days is not None:
        return arguments.days, None
    term = timetable.find_term(arguments.document, day)
    return (None, None) if term is None else (getattr(term, arguments.term), term.remind)


def _describe_deadline(
    calendar: WorkingCalendar, start: datetime, days: tuple[int, int | None], due: datetime
) -> dict[str, Any]:
    remind = None if days[1] is None or days[1] >= days[0] else calendar.compute_reminder(due, days[1])
    edition = calendar.find_edition(calendar.get_local_day(due))
    return {
        "organisation": calendar.organisation,
        "from": start.isoformat(),
        "working_days": days[0],
        "due": due.isoformat(),
        "remind": remind.isoformat() if remind else None,
        "zone": edition.zone,
        "edition": edition.label,
        "test_edition": edition.is_test,
    }


def _open_calendar(arguments: Arguments, timetable: Timetable) -> WorkingCalendar:
    """Return the calendar of the named organisation; raise GW808 for one that nobody knows."""
    named = {one for edition in timetable.calendars for one in edition.organisations} - {"*"}
    known = sorted(named | set(load_shipped_rules().bundle.organisations))
    if arguments.organisation not in known:
        words = f"no organisation {arguments.organisation[:40]!r}, but {', '.join(known)}"
        raise click.BadParameter(words, param_hint="'ORGANISATION'")
    return timetable.get_calendar(arguments.organisation)


def _check_document(document: str | None, timetable: Timetable) -> None:
    """Report misuse for a document that neither the mappings nor the terms have."""
    named = {one for edition in timetable.terms for one in edition.terms} - {"*"}
    if document is not None and document not in named | set(load_shipped_rules().bundle.documents):
        raise click.BadParameter(
            f"the mappings have no document {document[:60]!r}", param_hint="'--document'"
        )


def _open_timetable(arguments: Arguments) -> Timetable:
    if not arguments.files:
        return load_shipped_timetable()
    return make_timetable(read_editions((str(one), read_file(one)) for one in arguments.files))
