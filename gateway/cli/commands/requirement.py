"""``gateway requirement add|list|show|revoke|check``: certificates and what is left of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
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
from gateway.cli.list_options import page_options, require_row_number
from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import read_file
from gateway.cli.result_output import format_facts, print_json, print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, change_options, home_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_current_time, load_active_rules, load_shipped_rules
from gateway.operations import describe_requirement_uses, describe_requirements
from gateway.store import RegisteredRequirement, requirement_quantities
from gateway.wire import SUBMISSION, load_shipped_schemas, parse_xml

__all__ = [
    "add_requirement",
    "check_requirements",
    "list_requirements",
    "revoke_requirement",
    "show_requirement",
]

_COLUMNS: Final = ("id", "number", "agency", "source", "granted", "left", "holder", "valid_until", "revoked")
_USES: Final = ("case", "item", "quantity", "unit", "used_at", "returned_at", "return_reason")


#: What reading one line of a file of requirements may raise.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)


class _Quantity(click.ParamType[Decimal]):
    """A quantity above zero, of at most 16 digits, 6 of them decimals."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the exact value of a text; report misuse for other text."""
        try:
            found = Decimal(value)
        except ArithmeticError:
            found = Decimal(0)
        if not found.is_finite() or not 0 < found < 10**10 or found != round(found, 6):
            self.fail(f"{str(value)[:40]} is not a quantity above zero, such as 1500 or 2.5", param, ctx)
        return found


@verb
@click.argument("number", help="the number on the certificate")
@click.option("--agency", required=True, help="the agency that issued it")
@click.option("--quantity", required=True, type=_Quantity(), help="the quantity that it allows")
@click.option("--unit", required=True, help="the unit of the quantity, such as KGM")
@click.option("--holder", default="", help="only declarations of the importer or exporter with this id")
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="the last day on which a declaration may use it"
)
@change_options()
def add_requirement(arguments: Arguments) -> int:
    """Register a certificate that was issued outside; return 1 when the ledger has its number already."""
    new = RegisteredRequirement(
        number=arguments.number,
        agency=arguments.agency,
        quantity=f"{arguments.quantity:f}",
        unit=arguments.unit,
        holder=arguments.holder,
        valid_until=arguments.until.date() if arguments.until else None,
    )
    with change_database(arguments) as change:
        if not requirement_quantities.register_requirement(change.conn, new, change.at):
            change.leave_unchanged()
            return report_wrong_row(f"the ledger has requirement {new.number} of {new.agency} already")
        change.record_trust_change(f"requirement {new.number} of {new.agency}", after=_describe_new(new))
    sentence = f"Requirement {new.number} of {new.agency}: declarations may use {new.quantity} {new.unit}."
    print_change(change, sentence, as_json=arguments.json, requirement=new.number)
    return 0


def _describe_new(new: RegisteredRequirement) -> dict[str, Any]:
    until = None if new.valid_until is None else new.valid_until.isoformat()
    return {"quantity": new.quantity, "unit": new.unit, "holder": new.holder, "valid_until": until}


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
    _print_requirements(found, as_json=arguments.json)
    return 0


@verb
@click.argument("number", help="the number on the certificate")
@home_options()
def show_requirement(arguments: Arguments) -> int:
    """Print a certificate with its last 50 uses; return 1 when the ledger does not know it."""
    with read_database(arguments) as conn:
        rows = requirement_quantities.find_requirements(conn, [arguments.number])
        found = [one | {"uses": describe_requirement_uses(conn, one["id"])} for one in _describe(conn, rows)]
    if not found:
        return report_wrong_row(f"the ledger does not know requirement {arguments.number}")
    for one in found:
        if arguments.json:
            print_json(one)
            continue
        print(format_facts({name: value for name, value in _flatten(one).items() if name != "uses"}))
        print_table(one["uses"], as_json=False, columns=_USES)
    return 0


def _describe(conn: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    units = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle.units
    return describe_requirements(conn, rows, units)


def _print_requirements(found: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    shown = found if as_json else [_flatten(one) for one in found]
    print_table(shown, as_json=as_json, columns=_COLUMNS)


def _flatten(one: dict[str, Any]) -> dict[str, Any]:
    def write(amounts: Sequence[dict[str, str]]) -> str:
        return ", ".join(f"{amount['quantity']} {amount['unit']}" for amount in amounts)

    words = {name: write(one[name]) for name in ("granted", "used", "left")}
    return one | words | {"revoked": "yes" if one["revoked"] else ""}


@verb
@click.argument("file", type=FILE, help="the submission; its signature is not verified")
@click.option(
    "--ledger",
    type=FILE,
    required=True,
    help="what `gateway requirement list --json` printed: one JSON object a line",
)
@json_option("one JSON object")
@mapping_path_option()
def check_requirements(arguments: Arguments) -> int:
    """Print what a submission would use of certificates; return 1 when it would be refused."""
    root = parse_xml(read_file(arguments.file))
    accepted, remarks = validate_document(root, load_shipped_schemas(SUBMISSION))
    if not accepted:
        raise GatewayError(remarks[0].problem, remarks[0].message, remarks[0].pointer or remarks[0].xpath)
    claim = read_requirement_claim(read_submission(root).declaration)
    known = tuple(_read_ledger(read_file(arguments.ledger)))
    units = load_mappings(arguments.path).units
    judged = judge_requirement_claim(claim, known, datetime.now(UTC).date(), units)
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
    granted = tuple(GrantedQuantity(_read_amount(one), str(one["unit"])) for one in said["granted"])
    return RequirementBalance(
        agency=str(said["agency"]),
        number=str(said["number"]),
        granted=granted,
        used={str(one["unit"]): _read_amount(one) for one in said.get("used", ())},
        holder=str(said.get("holder", "")),
        valid_until=None if until is None else date.fromisoformat(until),
        revoked=bool(said.get("revoked", False)),
    )


def _read_amount(one: dict[str, Any]) -> Decimal:
    found = Decimal(str(one["quantity"]))
    if not found.is_finite() or found < 0:
        raise ValueError(f"no quantity: {found}")
    return found


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
