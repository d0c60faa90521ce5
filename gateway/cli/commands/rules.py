"""``gateway rules …``: the documents that goods need, those that a submission lacks, and the need tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from lxml import etree

from gateway.cases import Submission, read_submission, unwrap_request
from gateway.cli.audited_changes import change_database
from gateway.cli.home_folder import find_today, open_engine, read_database, read_verb_settings
from gateway.cli.named_files import read_file
from gateway.cli.need_rules import (
    TARIFF_CODE,
    AskedRules,
    describe_need,
    exit_if_mistakes,
    format_need,
    list_table_remarks,
    open_need_rules,
    read_table_files,
    table_options,
)
from gateway.cli.result_output import format_json, print_json, print_line, print_sentence, print_table
from gateway.cli.shared_options import (
    DAY,
    FILE,
    changing_verb,
    home_verb,
    json_option,
    period_options,
    read_period,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import (
    CODE_UNKNOWN,
    DOCUMENT_INVALID,
    DOCUMENT_PERHAPS_NEEDED,
    OUR_MISTAKE,
    RULE_BROKEN,
    GatewayError,
)
from gateway.harmonize import MappingBundle, describe_opposite_direction
from gateway.hub import (
    DecisionRules,
    evaluate_document_needs,
    get_current_time,
    load_active_rules,
    load_shipped_rules,
    make_table_names,
)
from gateway.needs import (
    DISCLAIMER_REASON_CODES,
    DocumentNeed,
    GoodsQuery,
    LawBook,
    NeedFinding,
    NeedJudgement,
    NeedRow,
    NeedTable,
    TableDifference,
    check_need_table,
    compare_tables,
)
from gateway.operations import (
    AdmissionFinding,
    CaseImpact,
    ImpactReport,
    ImpactRules,
    find_need_impact,
    format_count,
    format_value,
    load_need_table,
)
from gateway.store import dated_editions, read_transaction
from gateway.wire import SUB, WCO_DEC, ElementLocations, parse_xml, read_declared_direction

_TARIFF_DIGITS: Final = re.compile(r"[0-9]{2}(?:[0-9]{2}){0,4}")
_FULL_CODE_LENGTH: Final = 10
_INTERNATIONAL: Final = 6
_DATE_HELP: Final = (
    "the day that is asked for; default: today in the time zone of the hub (Asia/Seoul unless told)"
)


class _TariffCode(click.ParamType[str]):
    """A tariff code; dots and spaces in it are left out."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits of a code; report misuse for other text."""
        text = re.sub(r"[ .]", "", str(value))
        if not _TARIFF_DIGITS.fullmatch(text):
            self.fail(f"not a tariff code of 2, 4, 6, 8 or 10 digits: {str(value)[:40]!r}", param, ctx)
        return text


class _Country(click.ParamType[str]):
    """A country code."""

    name = "country"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the code; report misuse for other text."""
        text = str(value).upper()
        if not re.fullmatch(r"[A-Z]{2}", text):
            self.fail(f"not a country code as KR: {str(value)[:40]!r}", param, ctx)
        return text


@home_verb("rules ask")
@click.option("--hs", type=_TariffCode(), required=True, help="the tariff code: 2 to 10 digits")
@click.option(
    "--direction", type=click.Choice(["import", "export"]), required=True, help="the way of the goods"
)
@click.option("--origin", type=_Country(), metavar="CC", help="the country of origin; default: not known")
@click.option("--use", metavar="CODE", help="the code of the use; default: not known")
@click.option(
    "--country", type=_Country(), metavar="CC", help="whose tariff code it is; default: the table's"
)
@click.option("--date", "day", type=DAY, metavar="DAY", help=_DATE_HELP)
@table_options()
def ask_rules(arguments: Arguments) -> None:
    """Print the needs of goods."""
    need_rules = open_need_rules(arguments)
    day = arguments.day or find_today(arguments)
    query = GoodsQuery(
        arguments.hs, arguments.direction, day, arguments.origin, arguments.use, arguments.country
    )
    needs = need_rules.index.find_needs(query)
    warnings = [_describe_warning(warning) for warning in _list_query_warnings(need_rules, query, needs)]
    warnings = [*_list_code_warnings(need_rules, query.hs), *warnings]
    book = need_rules.index.book
    if arguments.json:
        print_json(
            {
                "hs": query.hs,
                "direction": query.direction,
                "origin": query.origin,
                "use": query.use,
                "country": query.country,
                "date": day.isoformat(),
                "needs": [describe_need(need, book) for need in needs],
                "warnings": warnings,
                "tables": [table.label for table in need_rules.index.list_tables(day)],
            }
        )
        return
    for need in needs:
        print(format_need(need, book))
    if not needs:
        print_sentence("No rule of need asks a document for these goods.")
    for warning in warnings:
        print(f"warning: {warning['message']}")


def _list_code_warnings(need_rules: AskedRules, hs: str) -> Iterator[dict[str, Any]]:
    """Yield that no goods have a tariff code, by the rules on declarations that look it up in a table."""
    for rule in need_rules.bundle.rules:
        if rule.kind == "listed" and rule.meaning.name == TARIFF_CODE and len(hs) >= rule.code_length:
            violation = rule.find_violation(hs)
            if violation is not None:
                refused = "; a declaration with it is refused" if rule.is_error else ""
                yield {"id": CODE_UNKNOWN.id, "message": f"{rule.en}: {violation}{refused}"}
                return


def _list_query_warnings(
    need_rules: AskedRules, query: GoodsQuery, needs: Sequence[DocumentNeed]
) -> list[str]:
    """Return the reasons for which the answer to a query is uncertain, such as a code with too few digits."""
    tables = need_rules.index.list_tables(query.day)
    warnings = _list_table_warnings(need_rules, query.day)
    if not needs:
        # Where no row of a table can apply, nothing is possible either.
        return warnings
    foreign = [table.country for table in tables if query.country not in (None, table.country)]
    if foreign:
        digits = f"of a code of {query.country} six digits count: the needs are possible, not certain"
        warnings.append(f"the tables are of {foreign[0]}; {digits}")
    elif tables and len(query.hs) < _FULL_CODE_LENGTH:
        warnings.append(f"the code has {len(query.hs)} digits, not ten: the needs are possible, not certain")
    else:
        clause = "depends on the origin or the use, which is not given: the need is possible, not certain"
        warnings += [f"law {need.law} {clause}" for need in needs if not need.is_certain]
    return warnings


def _list_table_warnings(need_rules: AskedRules, day: date) -> list[str]:
    tables = need_rules.index.list_tables(day)
    if not tables:
        return [f"no table is in force on {day.isoformat()}"]
    return [f"{table.label} is a test edition, not the law of today" for table in tables if table.is_test]


@home_verb("rules check")
@click.argument("file", type=FILE, help="a submission, or a declaration alone; no signature is verified")
@click.option("--date", "day", type=DAY, metavar="DAY", help=_DATE_HELP)
@table_options()
def check_needs(arguments: Arguments) -> int:
    """Print the needs of the goods of a file; return 1 where a certain one has no application."""
    need_rules = open_need_rules(arguments)
    root = parse_xml(read_file(arguments.file))
    day = arguments.day or find_today(arguments)
    judgement = judge_file_needs(root, need_rules, day)
    general_warnings = [*_list_table_warnings(need_rules, day), *_list_change_warnings(root)]
    if arguments.json:
        description = describe_judgement(arguments.file, judgement, need_rules, root)
        print_json(
            description | {"warnings": [*map(_describe_warning, general_warnings), *description["warnings"]]}
        )
    else:
        _print_judgement(arguments.file, judgement, need_rules)
        for warning in general_warnings:
            print(f"warning: {warning}")
    return 1 if any(finding.kind != "warning" for finding in judgement.findings) else 0


def _list_change_warnings(root: etree._Element) -> list[str]:
    """Return a warning if the submission changes a case: this verb applies only the rules in force now."""
    if root.tag != f"{{{SUB}}}Submission" or root.findtext(f"{{{SUB}}}Function") in (None, "9"):
        return []
    return [
        "this changes a case, whose admission weighs by the rules of the case and with what it has: "
        "`gateway submission check FILE --home DIR` says what it will say"
    ]


def _describe_warning(sentence: str) -> dict[str, Any]:
    """Return for JSON a warning about no place of the file."""
    problem = DOCUMENT_PERHAPS_NEEDED
    location = {"pointer": "", "xpath": "", "line": 0}
    return {"id": problem.id, "title": problem.title, "message": sentence, **location}


def judge_file_needs(root: etree._Element, need_rules: AskedRules, day: date) -> NeedJudgement:
    """Return the judgement of a submission or a declaration by the rules; raise GW402 for any other tree."""
    index, bundle = need_rules.index, need_rules.bundle
    if root.tag == f"{{{SUB}}}Submission":
        submission: Submission = read_submission(root)
        judgement = evaluate_document_needs(
            submission.declaration, submission.applications, submission.disclaimers, index, bundle, day
        )
        judgement.findings[:0] = _list_opposite_applications(submission, bundle)
        return judgement
    declaration = next(unwrap_request(root).iter(f"{{{WCO_DEC}}}Declaration"), None)
    if declaration is None:
        raise GatewayError(DOCUMENT_INVALID, "this is neither a submission nor a declaration", "/*")
    return evaluate_document_needs(declaration, (), (), index, bundle, day)


def _list_opposite_applications(submission: Submission, bundle: MappingBundle) -> Iterator[NeedFinding]:
    """Yield an error for each application that the direction of the declaration does not permit."""
    direction = read_declared_direction(submission.declaration)
    for application in submission.applications:
        document = bundle.documents.get(application.document)
        opposite = None if document is None else describe_opposite_direction(document, direction)
        if opposite is not None:
            yield NeedFinding(RULE_BROKEN, opposite, f"APP[{application.position}]", "error")


def describe_judgement(
    file: Path, judgement: NeedJudgement, need_rules: AskedRules, root: etree._Element
) -> dict[str, Any]:
    """Return for JSON the judgement of a file by the rules: each finding with its pointer, XPath and line."""
    locations = ElementLocations(root)
    descriptions = [
        {
            "id": finding.problem.id,
            "title": finding.problem.title,
            "message": finding.text,
            "pointer": finding.pointer,
            "xpath": locations.find_xpath(finding.pointer) or "",
            "line": locations.find_line_number(finding.pointer),
        }
        for finding in judgement.findings
    ]
    book = need_rules.index.book
    items = [
        {
            "item": goods_item.item.number,
            "hs": goods_item.item.hs,
            "origin": goods_item.item.origin,
            "needs": [describe_need(need, book) | {"filed": list(filed)} for need, filed in goods_item.needs],
        }
        for goods_item in judgement.items
    ]
    missing_flags = [finding.kind != "warning" for finding in judgement.findings]
    return {
        "file": str(file),
        "direction": judgement.direction,
        "tables": list(judgement.tables),
        "items": items,
        "missing": [
            description
            for description, is_missing in zip(descriptions, missing_flags, strict=True)
            if is_missing
        ],
        "warnings": [
            description
            for description, is_missing in zip(descriptions, missing_flags, strict=True)
            if not is_missing
        ],
        "disclaimers": [
            {
                "item": disclaimer.statement.item,
                "law": disclaimer.statement.law,
                "reason": disclaimer.statement.reason,
                "text": disclaimer.statement.text,
                "verdict": disclaimer.verdict,
                "organisations": list(disclaimer.organisations),
            }
            for disclaimer in judgement.disclaimers
        ],
    }


def _print_judgement(file: Path, judgement: NeedJudgement, need_rules: AskedRules) -> None:
    """Print the needs of each item of a declaration, with missing documents and wrong disclaimers."""
    missing_count = sum(finding.kind != "warning" for finding in judgement.findings)
    verdict = (
        f"{format_count(missing_count, 'document')} missing, disclaimed wrongly or of the other direction"
        if missing_count
        else "nothing missing"
    )
    tables = ", ".join(judgement.tables) or "no table"
    print(f"{file}: {judgement.direction or 'direction not known'}, {tables}: {verdict}")
    for goods_item in judgement.items:
        print(
            f"  item {goods_item.item.number} ({goods_item.item.hs or 'no code'}, "
            f"from {goods_item.item.origin or 'not known'})"
        )
        for need, filed in goods_item.needs:
            print(f"    {format_need(need, need_rules.index.book, filed)}")
    for finding in judgement.findings:
        kind = "warning " if finding.kind == "warning" else ""
        print(f"  {kind}{finding.problem.id} {finding.pointer}: {finding.text}")


@verb("rules diff")
@click.argument("before", type=FILE, help="a table as CSV")
@click.argument("after", type=FILE, help="another table")
@json_option()
def compare_need_tables(arguments: Arguments) -> None:
    """Print the rows in which two tables differ."""
    rules = load_shipped_rules()
    files = [arguments.before, arguments.after]
    before, after = read_table_files(files, rules, as_json=arguments.json, effect="nothing was compared")
    difference = compare_tables(before, after)
    report = {
        "before": before.label,
        "after": after.label,
        "valid_from": after.valid_from.isoformat(),
        "remarks": _list_diff_remarks(before, after, difference),
        "added": [describe_row(row) for row in difference.added],
        "removed": [describe_row(row) for row in difference.removed],
        "changed": [
            {"before": describe_row(was), "after": describe_row(now)} for was, now in difference.changed
        ],
    }
    if arguments.json:
        print_json(report)
        return
    counts = ", ".join(f"{len(report[key])} {key}" for key in ("added", "removed", "changed"))
    print(f"{before.label} -> {after.label}, from {report['valid_from']}: {counts}")
    for remark in _list_diff_remarks(before, after, difference):
        print_sentence(remark)
    for sign, rows in (("+", difference.added), ("-", difference.removed)):
        for row in rows:
            print(f"{sign} {_format_row(row)}")
    for was, now in difference.changed:
        print(f"~ {_format_row(was)}  ->  {_format_row(now)}")


def _list_diff_remarks(before: NeedTable, after: NeedTable, difference: TableDifference) -> list[str]:
    """Return remarks that a list of rows does not show, such as that the tables are unrelated."""
    remarks = []
    if before.name != after.name:
        remarks.append(
            f"{before.name} and {after.name} are different tables: they hold side by side, and neither "
            "replaces the other."
        )
    if before.country != after.country:
        remarks.append(f"The codes of one are of {before.country}, those of the other of {after.country}.")
    if len(difference.removed) == len(before.rows) and len(difference.added) == len(after.rows):
        remarks.append("No row of one is in the other: the tables are wholly different.")
    elif not (difference.added or difference.removed or difference.changed):
        remarks.append("The tables have the same rows.")
    return remarks


def describe_row(row: NeedRow) -> dict[str, Any]:
    """Return a row of a table for JSON."""
    hs, direction, law, origin, use = row.key
    return {
        "hs": hs,
        "direction": direction,
        "law": law,
        "origin": origin,
        "use": use,
        "documents": list(row.documents),
        "organisation": row.organisation,
        "mandatory": row.mandatory,
        "exemptions": list(row.exemptions),
        "valid_from": row.valid_from.isoformat() if row.valid_from else None,
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
        "line": row.line,
    }


def _format_row(row: NeedRow) -> str:
    """Return a row of a needs table as words; usual values, such as the usual exemptions, are left out."""
    description = describe_row(row)
    parts = [
        f"{name} {description[name]}"
        for name in ("origin", "use", "valid_from", "valid_until")
        if description[name]
    ]
    parts += [" or ".join(row.documents)] if row.documents else []
    parts += [f"of {row.organisation}"] if row.organisation else []
    parts += [] if row.mandatory else ["not mandatory"]
    parts += (
        [] if row.exemptions == DISCLAIMER_REASON_CODES else [f"exemptions {' '.join(row.exemptions) or '-'}"]
    )
    return " ".join([row.hs, row.direction, f"law {row.law}", *parts])


_COLUMNS: Final = ("table", "valid_from", "valid_until", "rows", "test_edition", "loaded_by")


@changing_verb("rules load")
@click.argument("file", type=FILE, help="the table as CSV; its content is stored in the database")
def load_table_file(arguments: Arguments) -> None:
    """Load a table of needs; exit with 1, and every mistake, where it has some.

    Remarks say which rows concern no goods, and that other editions are of another country.
    """
    content = read_file(arguments.file)
    with change_database(arguments) as change:
        rules = load_active_rules(change.conn, load_shipped_rules(), get_current_time())
        table = _check_table(arguments, content, rules)
        remarks = list_table_remarks(table, rules)
        is_new = load_need_table(change, table, content)
    until = f" until {table.valid_until}" if table.valid_until else ""
    line = f"{table.label}: {format_count(len(table.rows), 'row')}, in force from {table.valid_from}{until}"
    sentence = f"Loaded {line}." if is_new else f"Loaded already: {line}."
    if arguments.json:
        counts = {"table": table.label, "rows": len(table.rows), "remarks": remarks}
        print_json(change.describe_performed_act(sentence, **counts))
    else:
        for line in (sentence, *remarks):
            print_sentence(line)


def _check_table(arguments: Arguments, content: bytes, rules: DecisionRules) -> NeedTable:
    """Return the table; print every mistake and end the verb where it has some: the transaction goes back."""
    checked = check_need_table(content, make_table_names(rules.needs, rules.bundle))
    exit_if_mistakes([(str(arguments.file), checked)], "nothing was loaded", as_json=arguments.json)
    if checked.table is None:
        raise GatewayError(OUR_MISTAKE, "a table without mistakes was not read", str(arguments.file))
    return checked.table


@home_verb("rules list")
def list_need_tables(arguments: Arguments) -> None:
    """Print the editions of all tables with the days on which each is in force."""
    with read_database(arguments) as conn:
        rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
        loaded = {f"{row.name}@{row.edition}": row for row in dated_editions.list_need_tables(conn)}
    needs = read_verb_settings(arguments).needs
    index = rules.needs.get_index(test_editions=needs.test_edition)
    rows = [_describe_table(table, index.get_end(table), loaded.get(table.label)) for table in index.tables]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)


def _describe_table(table: NeedTable, end: Any, row: Any) -> dict[str, Any]:
    """Return a needs table as plain values; `end` is its end, `row` its database row (None if shipped)."""
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


@home_verb("rules impact")
@click.argument("file", type=FILE, help="the new table as CSV; it is not loaded")
@period_options()
def show_impact(arguments: Arguments) -> None:
    """Print the stored cases whose needs a new table would change."""
    settings = read_verb_settings(arguments)
    since, until = read_period(arguments, datetime.now(UTC))
    report = ImpactReport()
    with open_engine(settings) as engine:
        with read_transaction(engine) as conn:
            rules = load_active_rules(conn, load_shipped_rules(), get_current_time())
        (new,) = read_table_files([arguments.file], rules, as_json=arguments.json)
        impact_rules = ImpactRules(rules, settings.needs, ZoneInfo(settings.hub.time_zone), new)
        impacts = find_need_impact(engine, impact_rules, since, until, report)
        if arguments.json:
            _write_impact(new, impacts, since, until, report, rules.needs.get_rules().book)
        else:
            _print_impact(new, impacts, report)
            for remark in _list_impact_remarks(report, since, until):
                print_sentence(remark)


def _write_impact(
    new: NeedTable,
    impacts: Iterator[CaseImpact],
    since: datetime,
    until: datetime,
    report: ImpactReport,
    book: LawBook,
) -> None:
    """Print one JSON object, each case as soon as it is known: nothing is kept."""
    head = {"table": new.label, "since": since.isoformat(), "until": until.isoformat()}
    print(f'{format_json(head)[:-1]}, "changed": [', end="")
    between = ""
    for impact in impacts:
        print(between + format_json(describe_impact(impact, book)), end="")
        between = ", "
    remarks = _list_impact_remarks(report, since, until)
    tail = {
        "asked": report.examined,
        "newly_refused": report.newly_refused,
        "newly_held": report.newly_held,
        "unreadable": report.unreadable,
        "remarks": remarks,
    }
    print_line(f"], {format_json(tail)[1:]}")


def _list_impact_remarks(report: ImpactReport, since: datetime, until: datetime) -> list[str]:
    """Return the reason why no case was asked, which a reader could take for no impact."""
    if report.examined:
        return []
    if since >= until:
        period_text = f"it begins at {format_value(since)}, not before its end at {format_value(until)}"
        return [f"The period is empty: {period_text}. No case was asked."]
    period = f"from {format_value(since)} to {format_value(until)}"
    if report.unreadable:
        return [f"Of the cases opened {period} none could be asked: the table may change any of them."]
    return [f"No case was opened {period}: this says nothing about the table."]


def describe_impact(impact: CaseImpact, book: LawBook) -> dict[str, Any]:
    """Return the changes that a table makes for a case, for JSON."""
    return {
        "case": impact.case_number,
        "reference": impact.reference,
        "declarant": impact.declarant,
        "day": impact.assessment_day.isoformat(),
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
                "lacking": list(item.lacking_laws),
            }
            for item in impact.items
        ],
        "admission": dict(zip(("before", "after"), impact.admission, strict=True)),
        "told": [_describe_finding(finding) for finding in impact.new_findings],
        "untold": [_describe_finding(finding) for finding in impact.gone_findings],
    }


def _describe_finding(found_need: AdmissionFinding) -> dict[str, Any]:
    """Return a finding of the admission with its effect, for JSON."""
    finding = found_need.finding
    return {
        "id": finding.problem.id,
        "effect": found_need.effect,
        "pointer": finding.pointer,
        "text": finding.text,
    }


def _print_impact(new: NeedTable, impacts: Iterator[CaseImpact], report: ImpactReport) -> None:
    """Print each case that the table `new` changes, then the counts of `report`, which `impacts` fills."""
    for impact in impacts:
        print_line(f"{impact.case_number} {impact.reference} ({impact.declarant}, {impact.assessment_day})")
        for item in impact.items:
            changes = [f"+law {need.law}" for need in item.difference.added]
            changes += [f"-law {need.law}" for need in item.difference.removed]
            changes += [f"~law {was.law}" for was, _ in item.difference.changed]
            lacking = f"; nothing answers law {', '.join(item.lacking_laws)}" if item.lacking_laws else ""
            print_line(f"  item {item.item.number} ({item.item.hs}): {' '.join(changes)}{lacking}")
        before, after = impact.admission
        if before != after:
            print_line(f"  {before} before, {after} by the new table")
        for new_finding in impact.new_findings:
            print_line(f"  {new_finding.finding.problem.id} {new_finding.finding.text}")
    summary = f"{new.label} changes {report.changed} of {format_count(report.examined, 'case')}."
    if report.newly_refused or report.newly_held:
        summary += f" Newly refused: {report.newly_refused}, newly held: {report.newly_held}."
    for problem, number in sorted(report.unreadable.items()):
        summary += f" {format_count(number, 'case')} could not be asked ({problem})."
    print_sentence(summary)
