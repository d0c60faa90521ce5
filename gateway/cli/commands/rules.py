"""``gateway rules ask|check|diff``: which documents goods need, and what a submission lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import Submission, read_submission, unwrap_request
from gateway.cli.named_files import read_file
from gateway.cli.need_rules import (
    AskedRules,
    describe_need,
    format_need,
    open_need_rules,
    read_table_files,
    table_options,
)
from gateway.cli.need_table_remarks import TARIFF_CODE
from gateway.cli.result_output import count_things, print_json, print_sentence
from gateway.cli.settings import find_today
from gateway.cli.shared_options import DAY, FILE, home_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CODE_UNKNOWN, DOCUMENT_INVALID, DOCUMENT_PERHAPS_NEEDED, GatewayError
from gateway.hub import judge_document_needs, load_shipped_rules
from gateway.needs import (
    REASONS,
    DocumentNeed,
    GoodsQuery,
    NeedJudgement,
    NeedRow,
    NeedTable,
    TableDifference,
    compare_tables,
)
from gateway.wire import SUB, WCO_DEC, ElementLocations, parse_xml

__all__ = ["ask_rules", "check_needs", "compare_need_tables"]

_HS: Final = re.compile(r"[0-9]{2}(?:[0-9]{2}){0,4}")
_FULL: Final = 10
_INTERNATIONAL: Final = 6
_DAY: Final = "the day that is asked for; default: today in the time zone of the hub (Asia/Seoul unless told)"


class _TariffCode(click.ParamType[str]):
    """A tariff code; dots and spaces in it are left out."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits of a code; report misuse for other text."""
        text = re.sub(r"[ .]", "", str(value))
        if not _HS.fullmatch(text):
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


@verb
@click.option("--hs", type=_TariffCode(), required=True, help="the tariff code: 2 to 10 digits")
@click.option(
    "--direction", type=click.Choice(["import", "export"]), required=True, help="the way of the goods"
)
@click.option("--origin", type=_Country(), metavar="CC", help="the country of origin; default: not known")
@click.option("--use", metavar="CODE", help="the code of the use; default: not known")
@click.option(
    "--country", type=_Country(), metavar="CC", help="whose tariff code it is; default: the table's"
)
@click.option("--date", "day", type=DAY, metavar="DAY", help=_DAY)
@table_options()
@home_options()
def ask_rules(arguments: Arguments) -> int:
    """Print the needs of goods; return 0, also where there are none."""
    asked = open_need_rules(arguments)
    day = arguments.day or find_today(arguments)
    query = GoodsQuery(
        arguments.hs, arguments.direction, day, arguments.origin, arguments.use, arguments.country
    )
    needs = asked.index.find_needs(query)
    warnings = [_describe_warning(one) for one in _list_query_warnings(asked, query, needs)]
    warnings = [*_list_code_warnings(asked, query.hs), *warnings]
    book = asked.index.book
    if arguments.json:
        print_json(
            {
                "hs": query.hs,
                "direction": query.direction,
                "origin": query.origin,
                "use": query.use,
                "country": query.country,
                "date": day.isoformat(),
                "needs": [describe_need(one, book) for one in needs],
                "warnings": warnings,
                "tables": [one.label for one in asked.index.list_tables(day)],
            }
        )
        return 0
    for one in needs:
        print(format_need(one, book))
    if not needs:
        print_sentence("No rule of need asks a document for these goods.")
    for warning in warnings:
        print(f"warning: {warning['message']}")
    return 0


def _list_code_warnings(asked: AskedRules, hs: str) -> Iterator[dict[str, Any]]:
    """Yield that no goods have a tariff code, by the rules on declarations that look it up in a table."""
    for rule in asked.bundle.rules:
        if rule.kind == "listed" and rule.meaning.name == TARIFF_CODE and len(hs) >= rule.first:
            words = rule.find_violation(hs)
            if words is not None:
                refused = "; a declaration with it is refused" if rule.is_error else ""
                yield {"id": CODE_UNKNOWN.id, "message": f"{rule.en}: {words}{refused}"}
                return


def _list_query_warnings(asked: AskedRules, query: GoodsQuery, needs: Sequence[DocumentNeed]) -> list[str]:
    tables = asked.index.list_tables(query.day)
    warnings = _list_table_warnings(asked, query.day)
    if not needs:
        # Where no row of a table can apply, nothing is possible either.
        return warnings
    foreign = [one.country for one in tables if query.country not in (None, one.country)]
    if foreign:
        digits = f"of a code of {query.country} six digits count: the needs are possible, not certain"
        warnings.append(f"the tables are of {foreign[0]}; {digits}")
    elif tables and len(query.hs) < _FULL:
        warnings.append(f"the code has {len(query.hs)} digits, not ten: the needs are possible, not certain")
    else:
        words = "depends on the origin or the use, which is not given: the need is possible, not certain"
        warnings += [f"law {one.law} {words}" for one in needs if not one.is_certain]
    return warnings


def _list_table_warnings(asked: AskedRules, day: date) -> list[str]:
    tables = asked.index.list_tables(day)
    if not tables:
        return [f"no table is in force on {day.isoformat()}"]
    return [f"{one.label} is a test edition, not the law of today" for one in tables if one.is_test]


@verb
@click.argument("file", type=FILE, help="a submission, or a declaration alone; no signature is verified")
@click.option("--date", "day", type=DAY, metavar="DAY", help=_DAY)
@table_options()
@home_options()
def check_needs(arguments: Arguments) -> int:
    """Print the needs of the goods of a file; return 1 where a certain one has no application."""
    asked = open_need_rules(arguments)
    root = parse_xml(read_file(arguments.file))
    day = arguments.day or find_today(arguments)
    judgement = judge_file_needs(root, asked, day)
    general = [*_list_table_warnings(asked, day), *_list_change_warnings(root)]
    if arguments.json:
        told = describe_judgement(arguments.file, judgement, asked, root)
        print_json(told | {"warnings": [*map(_describe_warning, general), *told["warnings"]]})
    else:
        _print_judgement(arguments.file, judgement, asked)
        for words in general:
            print(f"warning: {words}")
    return 1 if any(one.kind != "warning" for one in judgement.findings) else 0


def _list_change_warnings(root: etree._Element) -> list[str]:
    """Return that the change of a case is weighed otherwise: this verb asks what is in force now."""
    if root.tag != f"{{{SUB}}}Submission" or root.findtext(f"{{{SUB}}}Function") in (None, "9"):
        return []
    return [
        "this changes a case, whose admission weighs by the rules of the case and with what it has: "
        "`gateway submission check FILE --home DIR` says what it will say"
    ]


def _describe_warning(words: str) -> dict[str, Any]:
    """Return for JSON a warning about no place of the file."""
    problem = DOCUMENT_PERHAPS_NEEDED
    place = {"pointer": "", "xpath": "", "line": 0}
    return {"id": problem.id, "title": problem.title, "message": words, **place}


def judge_file_needs(root: etree._Element, asked: AskedRules, day: date) -> NeedJudgement:
    """Return what the rules say of a submission or a declaration; raise GW402 where the tree is neither."""
    rules = (asked.index, asked.bundle)
    if root.tag == f"{{{SUB}}}Submission":
        submission: Submission = read_submission(root)
        filed = (submission.applications, submission.disclaimers)
        return judge_document_needs(submission.declaration, filed, rules, day)
    declaration = next(unwrap_request(root).iter(f"{{{WCO_DEC}}}Declaration"), None)
    if declaration is None:
        raise GatewayError(DOCUMENT_INVALID, "this is neither a submission nor a declaration", "/*")
    return judge_document_needs(declaration, ((), ()), rules, day)


def describe_judgement(
    file: Path, judgement: NeedJudgement, asked: AskedRules, root: etree._Element
) -> dict[str, Any]:
    """Return for JSON what the rules say of a file: each finding with its pointer, XPath and line."""
    places = ElementLocations(root)
    told = [
        {
            "id": one.problem.id,
            "title": one.problem.title,
            "message": one.text,
            "pointer": one.pointer,
            "xpath": places.find_xpath(one.pointer) or "",
            "line": places.find_line_number(one.pointer),
        }
        for one in judgement.findings
    ]
    book = asked.index.book
    items = [
        {
            "item": one.item.number,
            "hs": one.item.hs,
            "origin": one.item.origin,
            "needs": [describe_need(need, book) | {"filed": list(filed)} for need, filed in one.needs],
        }
        for one in judgement.items
    ]
    grave = [one.kind != "warning" for one in judgement.findings]
    return {
        "file": str(file),
        "direction": judgement.direction,
        "tables": list(judgement.tables),
        "items": items,
        "missing": [one for one, bad in zip(told, grave, strict=True) if bad],
        "warnings": [one for one, bad in zip(told, grave, strict=True) if not bad],
        "disclaimers": [
            {
                "item": one.stated.item,
                "law": one.stated.law,
                "reason": one.stated.reason,
                "text": one.stated.text,
                "verdict": one.verdict,
                "organisations": list(one.organisations),
            }
            for one in judgement.disclaimers
        ],
    }


def _print_judgement(file: Path, judgement: NeedJudgement, asked: AskedRules) -> None:
    grave = sum(one.kind != "warning" for one in judgement.findings)
    verdict = (
        f"{count_things(grave, 'document')} missing or disclaimed wrongly" if grave else "nothing missing"
    )
    tables = ", ".join(judgement.tables) or "no table"
    print(f"{file}: {judgement.direction or 'direction not known'}, {tables}: {verdict}")
    for one in judgement.items:
        print(f"  item {one.item.number} ({one.item.hs or 'no code'}, from {one.item.origin or 'not known'})")
        for need, filed in one.needs:
            print(f"    {format_need(need, asked.index.book, filed)}")
    for found in judgement.findings:
        kind = "warning " if found.kind == "warning" else ""
        print(f"  {kind}{found.problem.id} {found.pointer}: {found.text}")


@verb
@click.argument("before", type=FILE, help="a table as CSV")
@click.argument("after", type=FILE, help="another table")
@json_option()
def compare_need_tables(arguments: Arguments) -> int:
    """Print the rows in which two tables differ; return 0, also where they differ."""
    rules = load_shipped_rules()
    files = [arguments.before, arguments.after]
    before, after = read_table_files(files, rules, as_json=arguments.json, effect="nothing was compared")
    difference = compare_tables(before, after)
    told = {
        "before": before.label,
        "after": after.label,
        "valid_from": after.valid_from.isoformat(),
        "remarks": _list_diff_remarks(before, after, difference),
        "added": [describe_row(one) for one in difference.added],
        "removed": [describe_row(one) for one in difference.removed],
        "changed": [
            {"before": describe_row(was), "after": describe_row(now)} for was, now in difference.changed
        ],
    }
    if arguments.json:
        print_json(told)
        return 0
    counts = ", ".join(f"{len(told[key])} {key}" for key in ("added", "removed", "changed"))
    print(f"{before.label} -> {after.label}, from {told['valid_from']}: {counts}")
    for words in _list_diff_remarks(before, after, difference):
        print_sentence(words)
    for sign, rows in (("+", difference.added), ("-", difference.removed)):
        for row in rows:
            print(f"{sign} {_format_row(row)}")
    for was, now in difference.changed:
        print(f"~ {_format_row(was)}  ->  {_format_row(now)}")
    return 0


def _list_diff_remarks(before: NeedTable, after: NeedTable, difference: TableDifference) -> list[str]:
    """Return what a list of rows does not say: that the tables have nothing to do with each other."""
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
    said = describe_row(row)
    more = [f"{name} {said[name]}" for name in ("origin", "use", "valid_from", "valid_until") if said[name]]
    more += [" or ".join(row.documents)] if row.documents else []
    more += [f"of {row.organisation}"] if row.organisation else []
    more += [] if row.mandatory else ["not mandatory"]
    more += [] if row.exemptions == REASONS else [f"exemptions {' '.join(row.exemptions) or '-'}"]
    return " ".join([row.hs, row.direction, f"law {row.law}", *more])
