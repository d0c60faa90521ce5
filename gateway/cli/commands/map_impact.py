"""``gateway map impact``: what new mappings would have changed for the stored cases, field by field."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.mapping_folder import find_mappings
from gateway.cli.named_files import name_file, read_file
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import count_things, format_value, print_json, print_sentence
from gateway.cli.settings import open_engine, read_verb_settings
from gateway.cli.shared_options import FILE, home_options, period_options, read_period
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle, RequestChange, SubmissionChange, load_bundle
from gateway.hub import get_current_time
from gateway.operations import (
    AskedCase,
    ImpactTotals,
    find_mapping_impact,
    get_display_zone,
    open_offered_mappings,
)
from gateway.store import cases, read_transaction

__all__ = ["show_mapping_impact"]

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: As many values of one request are printed; with JSON all of them are.
_MOST_PRINTED: Final = 20
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_VERDICTS: Final = {False: "admitted", True: "refused"}


@verb
@click.argument("new", type=FILE, help="a folder, a file of `gateway map pack`, or the word shipped")
@period_options()
@click.option("--all", "every", is_flag=True, help="cases of any time, in place of --since")
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="only the newest N of them")
@home_options()
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
        wanted = min(total, arguments.limit or total)
        with show_progress("Asking cases", wanted) as bar:
            for case in find_mapping_impact(engine, new, (since, until), arguments.limit):
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
        words = f"the period is empty: it begins at {format_value(since)}, not before {format_value(until)}"
        raise GatewayError(MISUSE, words, "--since")
    return since, until


def _open_mappings(named: Path) -> MappingBundle:
    """Return the mappings of a folder or of a bundle file, whoever published them."""
    if str(named) == "shipped":
        return load_bundle(find_mappings(None))
    if named.is_dir():
        return load_bundle(named)
    if not named.exists():
        raise GatewayError(MISUSE, f"there is no folder or file {named}", "map impact")
    with name_file(named):
        return open_offered_mappings(read_file(named)).bundle


def _list_case_lines(case: AskedCase, *, as_json: bool) -> Iterator[str]:
    """Yield what is printed of a case that changes or that could not be read; nothing for any other."""
    if not case.change and case.problem is None:
        return
    if as_json:
        yield json.dumps(describe_case(case), ensure_ascii=False)
        return
    day = case.opened_at.astimezone(get_display_zone()).date().isoformat()
    told = "" if case.change is None else f": {_describe_verdict(case.change)}"
    yield f"{case.number} {case.reference} ({case.declarant}, {day}){told}"
    if case.problem is not None:
        yield f"  not asked: {case.problem.problem.id} {case.problem.detail}"
    if case.change is not None:
        yield from (f"  {line}" for line in _list_change_lines(case.change))


def _describe_verdict(change: SubmissionChange) -> str:
    before, after = (_VERDICTS[one] for one in change.refused)
    return before if before == after else f"{before} -> {after}"


def _list_change_lines(change: SubmissionChange) -> Iterator[str]:
    for one in change.problems:
        kind = "" if one.refuses else "warning "
        yield f"{_SIGNS[one.change]} {kind}{one.problem} {one.text} at {one.pointer}"
    yield from (f"+ agency {one}" for one in change.added)
    yield from (f"- agency {one}" for one in change.dropped)
    for request in change.requests:
        yield from _list_request_lines(request)


def _list_request_lines(request: RequestChange) -> Iterator[str]:
    sign, about = _SIGNS[request.change], f"application {request.application}"
    if request.change != "changed":
        words = "has a request" if request.change == "added" else "has no request any more"
        yield f"{sign} {request.document} {words} ({about})"
        return
    if request.laws[0] != request.laws[1]:
        before, after = (", ".join(one) or "none" for one in request.laws)
        yield f"{sign} {request.document} changes: laws {before} becomes {after} ({about})"
    elif not request.values:
        yield f"{sign} {request.document} sends the same values in another order ({about})"
    for value in request.values[:_MOST_PRINTED]:
        yield f"{sign} {request.document} {value.sentence} ({about})"
    more = len(request.values) - _MOST_PRINTED
    if more > 0:
        yield f"{sign} {request.document}: {count_things(more, 'further value')} ({about})"


def describe_case(case: AskedCase) -> dict[str, Any]:
    """Return for JSON what changes for a case, or why it could not be asked."""
    told: dict[str, Any] = {
        "case": case.number,
        "reference": case.reference,
        "declarant": case.declarant,
        "opened_at": format_value(case.opened_at),
        "before": case.bundle,
        "unreadable": None,
    }
    if case.problem is not None:
        found = {"id": case.problem.problem.id, "message": case.problem.detail}
        return told | {"unreadable": found}
    assert case.change is not None, "a case that is told changes, or could not be read"
    return told | _describe_change(case.change)


def _describe_change(change: SubmissionChange) -> dict[str, Any]:
    before, after = (_VERDICTS[one] for one in change.refused)
    return {
        "verdict": {"before": before, "after": after},
        "problems": [
            {
                "change": one.change,
                "id": one.problem,
                "message": one.text,
                "pointer": one.pointer,
                "warning": not one.refuses,
            }
            for one in change.problems
        ],
        "agencies": {"added": list(change.added), "dropped": list(change.dropped)},
        "requests": [_describe_request(one) for one in change.requests],
    }


def _describe_request(request: RequestChange) -> dict[str, Any]:
    before, after = request.laws
    return {
        "change": request.change,
        "application": request.application,
        "document": request.document,
        "organisation": request.organisation,
        "laws": {"before": list(before), "after": list(after)},
        "values": [asdict(one) | {"sentence": one.sentence} for one in request.values],
    }


def describe_totals(totals: ImpactTotals) -> dict[str, Any]:
    """Return the totals for JSON: cases by problem and agency, requests by field."""
    return {
        "asked": totals.asked,
        "changed": totals.changed,
        "unchanged": totals.asked - totals.changed,
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
        "fields": [asdict(one) | {"requests": count} for one, count in sorted(totals.fields.items())],
    }


def _print_totals(totals: ImpactTotals, new: MappingBundle) -> None:
    for one, count in sorted(totals.fields.items()):
        subject = f"{one.en} ({one.path})" if one.en else one.path
        print(f"{one.document} {subject}: changes in {count_things(count, 'request')}")
    for title, counted in (
        ("problem {} is new", totals.problems_added),
        ("problem {} is gone", totals.problems_removed),
        ("agency {} is added", totals.agencies_added),
        ("agency {} is dropped", totals.agencies_dropped),
    ):
        _print_counts(title, counted)
    words = f"Bundle {new.digest[:16]} changes {totals.changed} of {count_things(totals.asked, 'case')}"
    if totals.newly_refused or totals.newly_admitted:
        words += f"; {totals.newly_refused} would be refused, {totals.newly_admitted} admitted"
    words += "."
    if totals.not_split:
        words += f" {count_things(totals.not_split, 'case')} had ended before mappings were applied."
    for problem, number in sorted(totals.unreadable.items()):
        words += f" {count_things(number, 'case')} could not be asked ({problem})."
    print_sentence(words)


def _print_counts(title: str, counted: Counter[str] | Mapping[str, int]) -> None:
    for name, number in sorted(counted.items()):
        print(f"{title.format(name)} in {count_things(number, 'case')}")
