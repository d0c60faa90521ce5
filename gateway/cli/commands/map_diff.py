"""``gateway map diff|impact``: the changes between mappings, and their effects on stored cases."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import click

from gateway.calendars import CalendarEdition, SpecialDay, TermEdition, read_calendar, read_terms
from gateway.cli.home_folder import open_engine, read_verb_settings
from gateway.cli.named_files import add_file_name_to_problem, find_mapping_folder, read_file
from gateway.cli.need_rules import (
    compare_laws,
    compare_need_rules,
    compare_status_codes,
    format_changed_values,
)
from gateway.cli.result_output import format_json, print_json, print_sentence, show_progress
from gateway.cli.shared_options import FILE, START, home_verb, json_option, period_options, read_period
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    BundleChange,
    MappingBundle,
    RequestChange,
    SubmissionChange,
    compare_mapping_files,
    list_shared_names,
    load_bundle,
)
from gateway.hub import ActiveNeeds, get_current_time, read_mapping_files
from gateway.operations import (
    ExaminedCase,
    ImpactTotals,
    find_mapping_impact,
    format_count,
    format_value,
    get_display_zone,
    open_uploaded_mappings,
)
from gateway.store import cases, read_transaction
from gateway.wire import find_day


@verb("map diff")
@click.argument("before", type=FILE, help="the folder as it is, or the word shipped")
@click.argument("after", type=FILE, help="the folder as it will be, or the word shipped")
@click.option("--document", metavar="ID", help="tell only what changes in this document")
@click.option("--from", "start", type=START, metavar="DAY", help="name this day or time in the sentences")
@json_option("one JSON object")
def compare_folders(arguments: Arguments) -> int:
    """Print what changes; return 1 when something does, as `diff` does."""
    folders = _find_folder(arguments.before), _find_folder(arguments.after)
    old, new = (load_bundle(folder) for folder in folders)
    document = arguments.document
    if document is not None and document not in {*old.documents, *new.documents}:
        raise GatewayError(MISUSE, f"neither folder has the document {document}", "--document")
    contents = [read_mapping_files(folder) for folder in folders]
    changes = list(compare_mapping_files(*contents))
    if document is not None:
        shared = frozenset[str]().union(*(list_shared_names(files, document) for files in contents))
        changes = [change for change in changes if _concerns_document(change, document, shared)]
    laws, rules = (
        ([], [])
        if document is not None
        else _compare_needs(_ComparedFolder(folders[0], old), _ComparedFolder(folders[1], new))
    )
    files = _list_changed_files(*contents)
    days = [] if document is not None else list(compare_calendars(*contents))
    if arguments.json:
        change_rows = [
            asdict(change) | {"sentence": date_sentence(change, arguments.start)} for change in changes
        ]
        report = {
            "before": old.digest,
            "after": new.digest,
            "changes": change_rows,
            "laws": laws,
            "rules": rules,
        }
        print_json(report | {"calendars": days, "files": files})
    else:
        print_changes(changes, arguments.start)
        for sentence in (*laws, *rules, *days):
            print(sentence)
        _print_counts(changes, files)
    return 1 if changes or (files and document is None) else 0


def _concerns_document(change: BundleChange, document: str, shared: Collection[str]) -> bool:
    """Return whether a change is one of a document, or of a meaning or code list that it uses."""
    if change.part in ("meaning", "list", "code"):
        return change.name.partition("/")[0] in shared
    return change.document == document


def _find_folder(path: Path) -> Traversable:
    return find_mapping_folder(None if str(path) == "shipped" else path)


@dataclass(frozen=True, slots=True)
class _ComparedFolder:
    """A folder that is compared, and the mappings that were read from it."""

    folder: Traversable
    bundle: MappingBundle


def _compare_needs(before: _ComparedFolder, after: _ComparedFolder) -> tuple[list[str], list[str]]:
    """Return the changes of the laws, and those of the rules of need and of the status codes."""
    old, new = (ActiveNeeds(side.folder, side.bundle).get_rules() for side in (before, after))
    rules = [*compare_need_rules(old, new), *compare_status_codes(before.folder, after.folder)]
    return list(compare_laws(old.book.laws, new.book.laws)), rules


def _list_changed_files(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return the names of files that one of the folders lacks, or whose content differs."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def date_sentence(change: BundleChange, start: date | None) -> str:
    """Return the sentence of a change with the day or time from which on it holds."""
    return change.sentence if start is None else f"{change.sentence}, from {start.isoformat()}"


def print_changes(changes: Iterable[BundleChange], start: date | None) -> None:
    """Print one sentence for each change, with the day or time from which on it holds."""
    for change in changes:
        sentence = date_sentence(change, start)
        print(f"{sentence} ({change.place})" if change.place else sentence)


def _print_counts(changes: list[BundleChange], files: list[str]) -> None:
    counts = f"{format_count(len(changes), 'change')} of fields, {format_count(len(files), 'file')} changed"
    print_sentence(f"{counts}{': ' if files else '.'}{', '.join(files)}")


_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: As many values of one request are printed; with JSON all of them are.
_MAX_PRINTED_VALUES: Final = 20
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_VERDICTS: Final = {False: "admitted", True: "refused"}


@home_verb("map impact")
@click.argument("new", type=FILE, help="a folder, a file of `gateway map pack`, or the word shipped")
@period_options()
@click.option("--all", "every", is_flag=True, help="cases of any time, in place of --since")
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="only the newest N of them")
def show_mapping_impact(arguments: Arguments) -> int:
    """Print the stored cases that new mappings would have changed; return 1 where some do, as `diff`.

    Raises GW502 for mappings that cannot be read, GW515 for a bundle file that was changed.
    """
    settings = read_verb_settings(arguments)
    since, until = _read_asked_period(arguments)
    new = _open_mappings(arguments.new)
    totals = ImpactTotals()
    with open_engine(settings) as engine:
        with read_transaction(engine) as conn:
            total = cases.count_opened_between(conn, since, until)
        case_count = min(total, arguments.limit or total)
        with show_progress("Asking cases", case_count) as bar:
            for case in find_mapping_impact(engine, new, since, until, arguments.limit):
                totals.add_case(case)
                bar.advance_one()
                for line in _list_case_lines(case, as_json=arguments.json):
                    bar.print_line(line, sys.stdout)
    if arguments.json:
        period = {"since": since.isoformat(), "until": until.isoformat()}
        print_json({"after": new.digest, **period, **describe_totals(totals)})
    else:
        _print_totals(totals, new)
    return 1 if totals.changed else 0


def _read_asked_period(arguments: Arguments) -> tuple[datetime, datetime]:
    """Return the period whose cases are asked; raise GW808 for two beginnings, or one not before the end."""
    if arguments.every and arguments.since is not None:
        raise GatewayError(MISUSE, "give --since or --all, not both", "--since")
    since, until = read_period(arguments, get_current_time())
    since = _BEGINNING if arguments.every else since
    if since >= until:
        sentence = (
            f"the period is empty: it begins at {format_value(since)}, not before {format_value(until)}"
        )
        raise GatewayError(MISUSE, sentence, "--since")
    return since, until


def _open_mappings(path: Path) -> MappingBundle:
    """Return the shipped mappings, or those of a folder or of a bundle file by any publisher."""
    if str(path) == "shipped":
        return load_bundle(find_mapping_folder(None))
    if path.is_dir():
        return load_bundle(path)
    if not path.exists():
        raise GatewayError(MISUSE, f"there is no folder or file {path}", "map impact")
    with add_file_name_to_problem(path):
        return open_uploaded_mappings(read_file(path)).bundle


def _list_case_lines(case: ExaminedCase, *, as_json: bool) -> Iterator[str]:
    """Yield the printed lines on a case that changes or that could not be read; none for any other case."""
    if not case.change and case.problem is None:
        return
    if as_json:
        yield format_json(describe_case(case))
        return
    day = find_day(case.opened_at, get_display_zone()).isoformat()
    verdict = "" if case.change is None else f": {_describe_verdict(case.change)}"
    yield f"{case.case_number} {case.reference} ({case.declarant}, {day}){verdict}"
    if case.problem is not None:
        yield f"  not asked: {case.problem.problem.id} {case.problem.detail}"
    if case.change is not None:
        yield from (f"  {line}" for line in _list_change_lines(case.change))


def _describe_verdict(change: SubmissionChange) -> str:
    before, after = (_VERDICTS[is_refused] for is_refused in change.refused)
    return before if before == after else f"{before} -> {after}"


def _list_change_lines(change: SubmissionChange) -> Iterator[str]:
    """Yield a line for each difference in the problems, the agencies and the requests of one submission."""
    for problem in change.problems:
        kind = "" if problem.refuses else "warning "
        yield f"{_SIGNS[problem.change]} {kind}{problem.problem} {problem.text} at {problem.pointer}"
    yield from (f"+ agency {agency}" for agency in change.added)
    yield from (f"- agency {agency}" for agency in change.dropped)
    for request in change.requests:
        yield from _list_request_lines(request)


def _list_request_lines(request: RequestChange) -> Iterator[str]:
    """Yield the lines for one request; the number of printed values is limited, and the rest is counted."""
    sign, application_text = _SIGNS[request.change], f"application {request.application}"
    if request.change != "changed":
        clause = "has a request" if request.change == "added" else "has no request any more"
        yield f"{sign} {request.document} {clause} ({application_text})"
        return
    if request.laws[0] != request.laws[1]:
        before, after = (", ".join(laws) or "none" for laws in request.laws)
        yield f"{sign} {request.document} changes: laws {before} becomes {after} ({application_text})"
    elif not request.values:
        yield f"{sign} {request.document} sends the same values in another order ({application_text})"
    for value in request.values[:_MAX_PRINTED_VALUES]:
        yield f"{sign} {request.document} {value.sentence} ({application_text})"
    excess = len(request.values) - _MAX_PRINTED_VALUES
    if excess > 0:
        yield f"{sign} {request.document}: {format_count(excess, 'further value')} ({application_text})"


def describe_case(case: ExaminedCase) -> dict[str, Any]:
    """Return for JSON the changes for a case, or the problem why it could not be asked."""
    description: dict[str, Any] = {
        "case": case.case_number,
        "reference": case.reference,
        "declarant": case.declarant,
        "opened_at": format_value(case.opened_at),
        "before": case.bundle_digest,
        "unreadable": None,
    }
    if case.problem is not None:
        problem = {"id": case.problem.problem.id, "message": case.problem.detail}
        return description | {"unreadable": problem}
    assert case.change is not None, "a case that is told changes, or could not be read"
    return description | _describe_change(case.change)


def _describe_change(change: SubmissionChange) -> dict[str, Any]:
    """Return the change of one submission as plain values, with the verdict before and after."""
    before, after = (_VERDICTS[is_refused] for is_refused in change.refused)
    return {
        "verdict": {"before": before, "after": after},
        "problems": [
            {
                "change": problem.change,
                "id": problem.problem,
                "message": problem.text,
                "pointer": problem.pointer,
                "warning": not problem.refuses,
            }
            for problem in change.problems
        ],
        "agencies": {"added": list(change.added), "dropped": list(change.dropped)},
        "requests": [_describe_request(request) for request in change.requests],
    }


def _describe_request(request: RequestChange) -> dict[str, Any]:
    """Return the change of one request as plain values, with its laws before and after."""
    before, after = request.laws
    return {
        "change": request.change,
        "application": request.application,
        "document": request.document,
        "organisation": request.organisation,
        "laws": {"before": list(before), "after": list(after)},
        "values": [
            asdict(value_change) | {"sentence": value_change.sentence} for value_change in request.values
        ],
    }


def describe_totals(totals: ImpactTotals) -> dict[str, Any]:
    """Return the totals for JSON: cases by problem and agency, requests by field."""
    return {
        "asked": totals.examined,
        "changed": totals.changed,
        "unchanged": totals.examined - totals.changed,
        "not_split": totals.not_split,
        "unreadable": dict(sorted(totals.unreadable.items())),
        "newly_refused": totals.newly_refused,
        "newly_admitted": totals.newly_admitted,
        "problems": {
            "added": dict(sorted(totals.problems_added.items())),
            "removed": dict(sorted(totals.problems_removed.items())),
        },
        "agencies": {
            "added": dict(sorted(totals.agencies_added.items())),
            "dropped": dict(sorted(totals.agencies_dropped.items())),
        },
        "requests": {name: totals.requests[name] for name in _SIGNS},
        "fields": [asdict(field) | {"requests": count} for field, count in sorted(totals.fields.items())],
    }


def _print_totals(totals: ImpactTotals, new: MappingBundle) -> None:
    """Print the counts of `totals` and one summary: the effect of the mappings `new` on the examined cases.

    A case in `totals.not_split` was refused before any mappings were applied. `totals.unreadable` counts, by
    problem id, the cases that could not be read.
    """
    for field, count in sorted(totals.fields.items()):
        subject = f"{field.en} ({field.path})" if field.en else field.path
        print(f"{field.document} {subject}: changes in {format_count(count, 'request')}")
    for title, counted in (
        ("problem {} is new", totals.problems_added),
        ("problem {} is gone", totals.problems_removed),
        ("agency {} is added", totals.agencies_added),
        ("agency {} is dropped", totals.agencies_dropped),
    ):
        _print_case_counts(title, counted)
    sentence = f"Bundle {new.digest[:16]} changes {totals.changed} of {format_count(totals.examined, 'case')}"
    if totals.newly_refused or totals.newly_admitted:
        sentence += f"; {totals.newly_refused} would be refused, {totals.newly_admitted} admitted"
    sentence += "."
    if totals.not_split:
        sentence += f" {format_count(totals.not_split, 'case')} had ended before mappings were applied."
    for problem, number in sorted(totals.unreadable.items()):
        sentence += f" {format_count(number, 'case')} could not be asked ({problem})."
    print_sentence(sentence)


def _print_case_counts(title: str, counted: Counter[str] | Mapping[str, int]) -> None:
    for name, number in sorted(counted.items()):
        print(f"{title.format(name)} in {format_count(number, 'case')}")


_CALENDAR_FOLDER: Final = "calendars/"
_WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TERM_KEYS: Final = ("acknowledge", "decide", "answer", "remind")

_Edition = CalendarEdition | TermEdition


def compare_calendars(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """Yield a sentence on each edition that is new or gone, and on each day and term that differs.

    `before` and `after` are the files of the two folders by name. An edition is known by its name and
    edition. An edition that cannot be read is reported with its error.
    """
    read_errors: dict[str, None] = {}
    old, new = (_read_editions(files, read_errors) for files in (before, after))
    yield from read_errors
    for label in sorted({*old, *new}):
        was, becomes = old.get(label), new.get(label)
        if was is None or becomes is None:
            edition = was or becomes
            assert edition is not None, "one of the two is there"
            change_word = "new" if was is None else "gone"
            yield f"{_format_edition_name(edition)} is {change_word}: {_format_row_count(edition)}"
        elif isinstance(was, CalendarEdition) and isinstance(becomes, CalendarEdition):
            yield from _compare_edition(was, becomes)
        elif isinstance(was, TermEdition) and isinstance(becomes, TermEdition):
            yield from _compare_terms(was, becomes)


def _read_editions(
    files: Mapping[str, bytes], read_errors: dict[str, None]
) -> dict[tuple[str, str], _Edition]:
    """Return the calendars and terms in the CSV `files`, by kind (`terms` or `calendar`) and label.

    A file that cannot be read adds a sentence to `read_errors`.
    """
    editions: dict[tuple[str, str], _Edition] = {}
    for name in sorted(files):
        if not (name.startswith(_CALENDAR_FOLDER) and name.endswith(".csv")):
            continue
        read_edition = read_terms if b"# terms:" in files[name][:1000] else read_calendar
        try:
            edition: _Edition = read_edition(files[name], name)
        except GatewayError as error:
            read_errors[f"{name} cannot be read: {error}"] = None
            continue
        editions["terms" if isinstance(edition, TermEdition) else "calendar", edition.label] = edition
    return editions


def _format_edition_name(edition: _Edition) -> str:
    return f"{'terms' if isinstance(edition, TermEdition) else 'calendar'} {edition.label}"


def _format_row_count(edition: _Edition) -> str:
    if isinstance(edition, TermEdition):
        return format_count(len(edition.terms), "document")
    return f"{format_count(len(edition.special), 'day')}, {edition.valid_from} to {edition.valid_until}"


def _compare_edition(before: CalendarEdition, after: CalendarEdition) -> Iterator[str]:
    """Yield a sentence for the changed values of a calendar edition, and one for each changed special day."""
    name = _format_edition_name(after)
    old, new = _describe_calendar(before), _describe_calendar(after)
    if old != new:
        yield f"{name} changes: {format_changed_values(old, new, tuple(new))}"
    for day in sorted({*before.special, *after.special}):
        was, becomes = before.special.get(day), after.special.get(day)
        if was == becomes:
            continue
        subject = f"{name}: {_format_day(day)}"
        if was is None:
            yield f"{subject} comes: {_describe_special_day(becomes)}"
        elif becomes is None:
            yield f"{subject} goes: {_describe_special_day(was)}"
        else:
            yield f"{subject}: {_describe_special_day(was)} becomes {_describe_special_day(becomes)}"


def _describe_calendar(calendar: CalendarEdition) -> dict[str, Any]:
    """Return the values of a calendar edition by their printed names, without its special days."""
    return {
        "organisations": " ".join(sorted(calendar.organisations)),
        "zone": calendar.zone,
        "first day": calendar.valid_from,
        "last day": calendar.valid_until,
        "rest days": " ".join(_WEEK[day] for day in sorted(calendar.rest_days)),
        "hours": f"{calendar.opens:%H:%M}-{calendar.closes:%H:%M}",
        "test": "yes" if calendar.is_test else "no",
        "source": calendar.source,
    }


def _format_day(day: date) -> str:
    return f"{day} ({_WEEK[day.weekday()]})"


def _describe_special_day(day: SpecialDay | None) -> str:
    return "" if day is None else f"{day.kind}, {day.name}" if day.name else day.kind


def _compare_terms(before: TermEdition, after: TermEdition) -> Iterator[str]:
    """Yield a sentence for the changed values of an edition, and one for each document with changed terms."""
    name = _format_edition_name(after)
    keys = ("valid_from", "valid_until", "is_test", "source")
    old, new = ({key: getattr(edition, key) for key in keys} for edition in (before, after))
    if old != new:
        yield f"{name} changes: {format_changed_values(old, new, keys)}"
    for document in sorted({*before.terms, *after.terms}):
        was, becomes = before.terms.get(document), after.terms.get(document)
        if was == becomes:
            continue
        subject = f"{name}: {document}"
        if was is None or becomes is None:
            term = asdict(was or becomes)  # type: ignore[arg-type]
            term_values = ", ".join(f"{key} {term[key]}" for key in _TERM_KEYS if term[key] is not None)
            yield f"{subject} {'comes' if was is None else 'goes'}: {term_values}"
        else:
            yield f"{subject}: {format_changed_values(asdict(was), asdict(becomes), _TERM_KEYS)}"
