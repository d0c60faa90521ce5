"""``gateway requirement add|list|show|revoke|check``: certificates and what is left of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import click
from sqlalchemy import Connection, Row

from gateway.cases import (
    ClaimedRequirements,
    GrantedQuantity,
    JudgedClaim,
    RequirementBalance,
    judge_requirement_claim,
    read_requirement_claim,
    read_submission,
    validate_document,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import page_options, print_page, require_row_number
from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import read_file
from gateway.cli.result_output import format_facts, print_json, print_table, report_wrong_row
from gateway.cli.settings import find_today, read_database
from gateway.cli.shared_options import DAY, FILE, change_options, home_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import get_current_time, join_waiting_cases, load_active_rules, load_shipped_rules
from gateway.operations import (
    describe_requirement_results,
    describe_requirement_uses,
    describe_requirements,
    get_display_zone,
)
from gateway.store import ListPage, RegisteredRequirement, requirement_quantities
from gateway.wire import SUBMISSION, load_shipped_schemas, parse_xml

__all__ = [
    "add_requirement",
    "check_requirements",
    "list_requirements",
    "revoke_requirement",
    "show_requirement",
]

_COLUMNS: Final = (
    *("id", "number", "agency", "source", "granted", "left"),
    *("holder", "valid_until", "laws", "revoked", "suspended", "reopened"),
)
#: What `show` prints as tables of their own.
_TABLES: Final = ("uses", "results")
_RESULTS: Final = ("notice", "issued_at", "item", "law", "decision", "quantity", "unit", "current")
_USES: Final = ("case", "item", "quantity", "unit", "used_at", "returned_at", "return_reason")


#: What reading one line of a file of requirements may raise.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
#: A sum of quantities, as the ledger prints it: bounded, because an exponent makes any number of digits.
_AMOUNT: Final = re.compile(r"[0-9]{1,60}(?:\.[0-9]{1,200})?", re.ASCII)
_QUANTITY: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?", re.ASCII)
#: WCO D005 is an..70.
_LONGEST: Final = 70


class _Quantity(click.ParamType[Decimal]):
    """A quantity above zero, of at most 16 digits, 6 of them decimals."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the exact value of a text; report misuse for other text."""
        found = Decimal(value) if _QUANTITY.fullmatch(str(value)) else Decimal(0)
        if not found:
            wanted = "a quantity above zero of at most 10 digits and 6 decimals, such as 1500 or 2.5"
            self.fail(f"{str(value)[:40]} is not {wanted}", param, ctx)
        return found


class _Identifier(click.ParamType[str]):
    """A number as on a certificate, or the id of a trader: one word or several, without blank edges."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is; report misuse for text that no declaration can state."""
        text = str(value)
        if not text.isprintable() or text != text.strip() or not 0 < len(text) <= _LONGEST:
            words = f"one line of 1 to {_LONGEST} characters, without blanks at its edges"
            self.fail(f"{text[:40]!r} is not {words}", param, ctx)
        return text


@verb
@click.argument("number", type=_Identifier(), help="the number on the certificate")
@click.option("--agency", required=True, help="the agency that issued it")
@click.option("--quantity", required=True, type=_Quantity(), help="the quantity that it allows")
@click.option("--unit", required=True, help="the unit of the quantity, such as KGM")
@click.option(
    "--holder", type=_Identifier(), help="only declarations of the importer or exporter with this id"
)
@click.option("--until", type=DAY, help="the last day on which a declaration may use it")
@click.option(
    "--law",
    multiple=True,
    help="a law of the agency's documents that the certificate is under; may be given several times",
)
@change_options()
def add_requirement(arguments: Arguments) -> int:
    """Register a certificate that was issued outside; return 1 when the ledger has its number already."""
    _check_new(arguments)
    new = RegisteredRequirement(
        number=arguments.number,
        agency=arguments.agency,
        quantity=f"{arguments.quantity:f}",
        unit=arguments.unit,
        holder=arguments.holder or "",
        valid_until=arguments.until,
        laws=sorted(set(arguments.law)) or None,
    )
    with change_database(arguments) as change:
        if not requirement_quantities.register_requirement(change.conn, new, change.at):
            change.leave_unchanged()
            return report_wrong_row(f"the ledger has requirement {new.number} of {new.agency} already")
        change.record_trust_change(f"requirement {new.number} of {new.agency}", after=_describe_new(new))
        cause = f"{new.agency}:{change.at.isoformat()}"
        join_waiting_cases(change.conn, [new.number], cause, change.at)
    sentence = f"Requirement {new.number} of {new.agency}: declarations may use {new.quantity} {new.unit}."
    print_change(change, sentence, as_json=arguments.json, requirement=new.number)
    return 0


def _check_new(arguments: Arguments) -> None:
    """Report misuse for an agency or a unit that the mappings do not have, and for a day that is over."""
    with read_database(arguments) as conn:
        bundle = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle
    if arguments.agency not in bundle.organisations:
        known = ", ".join(sorted(bundle.organisations))
        words = f"the mappings have no agency {arguments.agency[:40]!r}, but {known}"
        raise click.BadParameter(words, param_hint="'--agency'")
    _check_laws(arguments.law, arguments.agency, bundle)
    if bundle.units.get(arguments.unit) is None:
        words = f"the table of units does not have {arguments.unit[:40]!r}; an example is KGM"
        raise click.BadParameter(words, param_hint="'--unit'")
    if arguments.until and arguments.until < get_current_time().astimezone(get_display_zone()).date():
        raise click.BadParameter(f"{arguments.until} is over", param_hint="'--until'")


def _check_laws(stated: Sequence[str], agency: str, bundle: MappingBundle) -> None:
    known = {law for one in bundle.documents.values() if one.organisation == agency for law in one.laws}
    for law in stated:
        if law not in known:
            words = f"{agency} has no document under law {law[:20]!r}, but under {', '.join(sorted(known))}"
            raise click.BadParameter(words, param_hint="'--law'")


def _describe_new(new: RegisteredRequirement) -> dict[str, Any]:
    until = None if new.valid_until is None else new.valid_until.isoformat()
    return {"quantity": new.quantity, "unit": new.unit, "holder": new.holder, "valid_until": until,
            "laws": list(new.laws or ())}  # fmt: skip


@verb
@click.argument("number", help="the number on the certificate")
@click.option("--agency", required=True, help="the agency that issued it")
@change_options()
def revoke_requirement(arguments: Arguments) -> int:
    """Revoke a registered certificate: no further declaration uses it; return 1 without one."""
    number, agency = arguments.number, arguments.agency
    with change_database(arguments) as change:
        found = [
            row
            for row in requirement_quantities.find_requirements(change.conn, [number])
            if row.agency == agency
        ]
        if not found or not requirement_quantities.revoke_requirement(change.conn, found[0].id, change.at):
            change.leave_unchanged()
            if found and found[0].revoked_at is not None:
                return report_wrong_row(f"requirement {number} of {agency} is revoked already")
            return report_wrong_row(f"no requirement {number} of {agency} is registered")
        before = {"quantity": found[0].quantity, "unit": found[0].unit}
        change.record_trust_change(f"requirement {number} of {agency}", before=before)
    sentence = f"Requirement {number} of {agency} is revoked; what is used of it stays used."
    print_change(change, sentence, as_json=arguments.json, requirement=number)
    return 0


@verb
@page_options()
@home_options(json_words="print one JSON object a line")
def list_requirements(arguments: Arguments) -> int:
    """Print the certificates that the ledger knows, the newest first."""
    with read_database(arguments) as conn:
        rows = requirement_quantities.list_requirements(
            conn, limit=arguments.limit, before=require_row_number(arguments)
        )
        found = _describe(conn, rows)
        full = len(rows) == arguments.limit
        more = requirement_quantities.count_requirements(conn, before=rows[-1].id) if full else 0
    shown = found if arguments.json else [_flatten(one) for one in found]
    print_page(ListPage(shown, more), as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("number", help="the number on the certificate")
@home_options()
def show_requirement(arguments: Arguments) -> int:
    """Print a certificate with what its agency said by itself and its last 50 uses; return 1 if unknown."""
    with read_database(arguments) as conn:
        rows = requirement_quantities.find_requirements(conn, [arguments.number])
        found = [
            one
            | {
                "uses": describe_requirement_uses(conn, one["id"]),
                "results": describe_requirement_results(conn, one["id"]),
            }
            for one in _describe(conn, rows)
        ]
    if not found:
        return report_wrong_row(f"the ledger does not know requirement {arguments.number}")
    for one in found:
        if arguments.json:
            print_json(one)
            continue
        print(format_facts({name: value for name, value in _flatten(one).items() if name not in _TABLES}))
        if one["results"]:
            print_table(one["results"], as_json=False, columns=_RESULTS)
        print_table(one["uses"], as_json=False, columns=_USES)
    return 0


def _describe(conn: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    units = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle.units
    return describe_requirements(conn, rows, units)


def _flatten(one: dict[str, Any]) -> dict[str, Any]:
    def write(amounts: Sequence[dict[str, str]]) -> str:
        return ", ".join(f"{amount['quantity']} {amount['unit']}" for amount in amounts)

    words = {name: write(one[name]) for name in ("granted", "used", "left")}
    words["laws"] = ", ".join(one["laws"])
    words["revoked"] = "yes" if one["revoked"] else ""
    words["reopened"] = f"until {one['agency']} decides again" if one["reopened"] else ""
    words["suspended"] = f"until {one['agency']} answers" if one["suspended"] else ""
    return one | words


@verb
@click.argument("file", type=FILE, help="the submission; its signature is not verified")
@click.option(
    "--ledger",
    type=FILE,
    required=True,
    help="what `gateway requirement list --json` printed: one JSON object a line",
)
@click.option(
    "--date",
    "day",
    type=DAY,
    metavar="DAY",
    help="the day on which it arrives; default: today in Asia/Seoul, the time zone of a hub unless told",
)
@json_option("one JSON object")
@mapping_path_option()
def check_requirements(arguments: Arguments) -> int:
    """Print what a submission would use of certificates; return 1 when it would be refused."""
    root = parse_xml(read_file(arguments.file))
    accepted, remarks = validate_document(root, load_shipped_schemas(SUBMISSION))
    if not accepted:
        raise GatewayError(remarks[0].problem, remarks[0].message, remarks[0].pointer or remarks[0].xpath)
    bundle = load_mappings(arguments.path)
    claim = read_requirement_claim(read_submission(root).declaration, bundle.organisations)
    known = tuple(_read_ledger(read_file(arguments.ledger)))
    judged = judge_requirement_claim(claim, known, arguments.day or find_today(arguments), bundle.units)
    _print_judged(claim, judged, as_json=arguments.json)
    return 1 if judged.problems else 0


def _read_ledger(content: bytes) -> Iterator[RequirementBalance]:
    """Yield the requirements that `requirement list --json` printed; raises GW808 with the line."""
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _read_balance(json.loads(line))
        except _UNREADABLE as error:
            detail = "this is no requirement as `gateway requirement list --json` prints it"
            raise GatewayError(MISUSE, detail, f"line {number}") from error


def _read_balance(said: dict[str, Any]) -> RequirementBalance:
    until = said.get("valid_until")
    number, agency = _read_text(said["number"]), _read_text(said["agency"])
    if not (number and agency):
        raise ValueError("a requirement without number or agency")
    return RequirementBalance(
        agency=agency,
        number=number,
        granted=tuple(GrantedQuantity(amount, unit) for unit, amount in _read_amounts(said["granted"])),
        used=dict(_read_amounts(said.get("used", []))),
        holder=_read_text(said.get("holder", "")),
        valid_until=None if until is None else date.fromisoformat(_read_text(until)),
        revoked=_read_flag(said.get("revoked", False)),
        suspended=_read_flag(said.get("suspended", False)),
        reopened=_read_flag(said.get("reopened", False)),
    )


def _read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"not true or false: {value!r:.40}")
    return value


def _read_amounts(said: Any) -> list[tuple[str, Decimal]]:
    if not isinstance(said, list):
        raise TypeError("quantities are a list")
    return [(_read_text(one["unit"]), _read_amount(_read_text(one["quantity"]))) for one in said]


def _read_amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"no quantity: {text[:40]}")
    return Decimal(text)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r:.40}")
    return value


def _print_judged(claim: ClaimedRequirements, judged: JudgedClaim, *, as_json: bool) -> None:
    uses = [
        {"item": use.item, "number": use.number, "agency": one.agency, "quantity": f"{use.quantity:f}",
         "unit": use.unit, "pointer": use.pointer}
        for use, one in judged.taken
    ]  # fmt: skip
    told = {
        name: [{"id": one.problem.id, "pointer": one.pointer, "message": one.detail} for one in found]
        for name, found in (("problems", judged.problems), ("warnings", judged.warnings))
    }
    if as_json:
        traders = {"importer": claim.importer, "exporter": claim.exporter}
        print_json({"accepted": not judged.problems, **traders, "uses": uses, **told})
        return
    for one in uses:
        print(
            f"item {one['item']} uses {one['quantity']} {one['unit']} of {one['number']} of {one['agency']}"
        )
    for kind, found in (("", told["problems"]), ("warning ", told["warnings"])):
        for problem in found:
            print(f"{kind}{problem['id']} {problem['message']} ({problem['pointer']})")
    if not (uses or judged.problems or judged.warnings):
        print("the declaration states no used quantity")
