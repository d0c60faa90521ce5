"""``gateway rules load|list|impact``: the tables of needs of a gateway, and what a new one would change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from gateway.cli.audited_changes import change_database
from gateway.cli.named_files import read_file
from gateway.cli.need_rules import describe_need, end_at_mistakes, read_table_files
from gateway.cli.need_table_remarks import list_table_remarks
from gateway.cli.result_output import (
    count_things,
    format_value,
    print_json,
    print_sentence,
    print_table,
)
from gateway.cli.settings import open_engine, read_database, read_verb_settings
from gateway.cli.shared_options import FILE, change_options, home_options, period_options, read_period
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub import (
    DecisionRules,
    NeedPolicy,
    get_current_time,
    load_active_rules,
    load_shipped_rules,
    make_table_names,
)
from gateway.needs import LawBook, NeedTable, check_need_table
from gateway.operations import (
    CaseImpact,
    FoundNeed,
    ImpactReport,
    ImpactRules,
    find_need_impact,
    load_need_table,
)
from gateway.store import need_tables, read_transaction

__all__ = ["list_need_tables", "load_table_file", "show_impact"]

_COLUMNS: Final = ("table", "valid_from", "valid_until", "rows", "test_edition", "loaded_by")


@verb
@click.argument("file", type=FILE, help="the table as CSV; its content is stored in the database")
@change_options()
def load_table_file(arguments: Arguments) -> int:
    """Load a table of needs; return 0 when it is stored, 1 with every mistake where it has some.

    Remarks say which rows concern no goods, and that other editions are of another country.
    """
    content = read_file(arguments.file)
    with change_database(arguments) as change:
        rules = load_active_rules(change.conn, load_shipped_rules(), get_current_time())
        table = _check_table(arguments, content, rules)
        remarks = list_table_remarks(table, rules)
        is_new = load_need_table(change, table, content)
    until = f" until {table.valid_until}" if table.valid_until else ""
    words = f"{table.label}: {count_things(len(table.rows), 'row')}, in force from {table.valid_from}{until}"
    sentence = f"Loaded {words}." if is_new else f"Loaded already: {words}."
    if arguments.json:
        counts = {"table": table.label, "rows": len(table.rows), "remarks": remarks}
        print_json(change.describe_done(sentence, **counts))
    else:
        for words in (sentence, *remarks):
            print_sentence(words)
    return 0


def _check_table(arguments: Arguments, content: bytes, rules: DecisionRules) -> NeedTable:
    """Return the table; print every mistake and end the verb where it has some: the transaction goes back."""
    checked = check_need_table(content, make_table_names(rules.needs, rules.bundle))
    end_at_mistakes([(str(arguments.file), checked)], "nothing was loaded", as_json=arguments.json)
    if checked.table is None:
        raise GatewayError(OUR_MISTAKE, "a table without mistakes was not read", str(arguments.file))
    return checked.table


@verb
@home_options()
def list_need_tables(arguments: Arguments) -> int:
    """Print the editions of all tables with the days on which each is in force."""
    with read_database(arguments) as conn:
        rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
        loaded = {f"{row.name}@{row.edition}": row for row in need_tables.list_tables(conn)}
    needs = read_verb_settings(arguments).needs
    index = rules.needs.get_index(test_editions=needs.test_edition)
    rows = [_describe_table(one, index.get_end(one), loaded.get(one.label)) for one in index.tables]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0


def _describe_table(table: NeedTable, end: Any, row: Any) -> dict[str, Any]:
    return {
        "table": table.label,
        "country": table.country,
        "valid_from": table.valid_from.isoformat(),
        "valid_until": end.isoformat() if end else None,
        "rows": len(table.rows),
        "test_edition": table.is_test,
        "source": table.source,
        "loaded_at": None if row is None else format_value(row.loaded_at),
        "loaded_by": "shipped" if row is None else row.loaded_by,
    }


@verb
@click.argument("file", type=FILE, help="the new table as CSV; it is not loaded")
@period_options()
@home_options()
def show_impact(arguments: Arguments) -> int:
    """Print the stored cases whose needs a new table would change; return 0, also where some change."""
    settings = read_verb_settings(arguments)
    since, until = read_period(arguments, datetime.now(UTC))
    report = ImpactReport()
    with open_engine(settings) as engine:
        with read_transaction(engine) as conn:
            rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
        (new,) = read_table_files([arguments.file], rules, as_json=arguments.json)
        needs = settings.needs
        policy = NeedPolicy(needs.imports, needs.exports, needs.test_edition, needs.hold_time)
        asked = ImpactRules(rules, policy, ZoneInfo(settings.hub.time_zone), new)
        found = find_need_impact(engine, asked, (since, until), report)
        if arguments.json:
            _write_impact(new, found, (since, until), report, rules.needs.get_rules().book)
        else:
            _print_impact(new, found, report)
            for words in _list_impact_remarks(report, since, until):
                print_sentence(words)
    return 0


def _write_impact(
    new: NeedTable,
    found: Iterator[CaseImpact],
    period: tuple[datetime, datetime],
    report: ImpactReport,
    book: LawBook,
) -> None:
    """Print one JSON object, each case as soon as it is known: nothing is kept."""
    since, until = period
    head = {"table": new.label, "since": since.isoformat(), "until": until.isoformat()}
    print(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "changed": [', end="")
    between = ""
    for one in found:
        print(between + json.dumps(describe_impact(one, book), ensure_ascii=False), end="")
        between = ", "
    remarks = _list_impact_remarks(report, since, until)
    tail = {
        "asked": report.asked,
        "newly_refused": report.newly_refused,
        "newly_held": report.newly_held,
        "unreadable": report.unreadable,
        "remarks": remarks,
    }
    print(f"], {json.dumps(tail, ensure_ascii=False)[1:]}")


def _list_impact_remarks(report: ImpactReport, since: datetime, until: datetime) -> list[str]:
    """Return what a reader could take for no impact: no case was there to be asked."""
    if report.asked:
        return []
    if since >= until:
        said = f"it begins at {format_value(since)}, not before its end at {format_value(until)}"
        return [f"The period is empty: {said}. No case was asked."]
    period = f"from {format_value(since)} to {format_value(until)}"
    if report.unreadable:
        return [f"Of the cases opened {period} none could be asked: the table may change any of them."]
    return [f"No case was opened {period}: this says nothing about the table."]


def describe_impact(one: CaseImpact, book: LawBook) -> dict[str, Any]:
    """Return what a table changes for a case, for JSON."""
    return {
        "case": one.number,
        "reference": one.reference,
        "declarant": one.declarant,
        "day": one.day.isoformat(),
        "items": [
            {
                "item": item.item.number,
                "hs": item.item.hs,
                "added": [describe_need(need, book) for need in item.difference.added],
                "removed": [describe_need(need, book) for need in item.difference.removed],
                "changed": [
                    {"before": describe_need(was, book), "after": describe_need(now, book)}
                    for was, now in item.difference.changed
                ],
                "lacking": list(item.lacking),
            }
            for item in one.items
        ],
        "admission": dict(zip(("before", "after"), one.admission, strict=True)),
        "told": [_describe_finding(found) for found in one.told],
        "untold": [_describe_finding(found) for found in one.untold],
    }


def _describe_finding(found: FoundNeed) -> dict[str, Any]:
    """Return what the admission tells, for JSON."""
    one = found.finding
    return {"id": one.problem.id, "effect": found.effect, "pointer": one.pointer, "text": one.text}


def _print_impact(new: NeedTable, found: Iterator[CaseImpact], report: ImpactReport) -> None:
    for one in found:
        print(f"{one.number} {one.reference} ({one.declarant}, {one.day})")
        for item in one.items:
            told = [f"+law {need.law}" for need in item.difference.added]
            told += [f"-law {need.law}" for need in item.difference.removed]
            told += [f"~law {was.law}" for was, _ in item.difference.changed]
            lacking = f"; nothing answers law {', '.join(item.lacking)}" if item.lacking else ""
            print(f"  item {item.item.number} ({item.item.hs}): {' '.join(told)}{lacking}")
        before, after = one.admission
        if before != after:
            print(f"  {before} before, {after} by the new table")
        for told_now in one.told:
            print(f"  {told_now.finding.problem.id} {told_now.finding.text}")
    words = f"{new.label} changes {report.changed} of {count_things(report.asked, 'case')}."
    if report.newly_refused or report.newly_held:
        words += f" Newly refused: {report.newly_refused}, newly held: {report.newly_held}."
    for problem, number in sorted(report.unreadable.items()):
        words += f" {count_things(number, 'case')} could not be asked ({problem})."
    print_sentence(words)
