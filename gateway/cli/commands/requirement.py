"""``gateway requirement|fees …``: certificates and their quantities left; fees and their payments.

An operator waives a fee that is due, or records that it was paid elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.cases import FeeMovement, StatementDifference, read_statement, reconcile_statement
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database
from gateway.cli.list_options import page_options, print_page, require_row_number
from gateway.cli.named_files import read_file
from gateway.cli.registration import check_clear_name
from gateway.cli.result_output import (
    WrongRowError,
    format_named_values,
    print_json,
    print_line,
    print_table,
    require_row,
)
from gateway.cli.shared_options import DAY, FILE, changing_verb, home_options, home_verb, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, STATEMENT_WRONG, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import get_current_time, join_waiting_cases, load_active_rules, load_shipped_rules
from gateway.operations import (
    describe_fees,
    describe_movements,
    describe_requirement_results,
    describe_requirement_uses,
    describe_requirements,
    get_display_zone,
    list_recorded_movements,
    waive_or_settle_fee,
)
from gateway.state_machines import FEE
from gateway.store import (
    ListPage,
    RegisteredRequirement,
    RequirementRow,
    fee_searches,
    requirement_quantities,
)
from gateway.wire import find_day, normalize_text

_COLUMNS: Final = (
    *("id", "number", "agency", "source", "granted", "left"),
    *("holder", "valid_until", "laws", "revoked", "suspended", "reopened"),
)
#: What `show` prints as tables of their own.
_TABLES: Final = ("uses", "results")
_RESULTS: Final = ("notice", "issued_at", "item", "law", "decision", "quantity", "unit", "current")
_USES: Final = ("case", "item", "quantity", "unit", "used_at", "returned_at", "return_reason")


_QUANTITY: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?", re.ASCII)
#: WCO D005 is an..70.
_MAX_IDENTIFIER_LENGTH: Final = 70


class _Quantity(click.ParamType[Decimal]):
    """A quantity above zero, of at most 16 digits, 6 of them decimals."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the exact value of a text; report misuse for other text."""
        quantity = Decimal(value) if _QUANTITY.fullmatch(str(value)) else Decimal(0)
        if not quantity:
            requirement = "a quantity above zero of at most 10 digits and 6 decimals, such as 1500 or 2.5"
            self.fail(f"{str(value)[:40]} is not {requirement}", param, ctx)
        return quantity


class _Identifier(click.ParamType[str]):
    """A number as on a certificate, or the id of a trader: one word or several, without blank edges."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the composed text, as in declarations; report misuse for one that none can state."""
        text = normalize_text(str(value))
        if not text.isprintable() or text != text.strip() or not 0 < len(text) <= _MAX_IDENTIFIER_LENGTH:
            condition = f"one line of 1 to {_MAX_IDENTIFIER_LENGTH} characters, without blanks at its edges"
            self.fail(f"{text[:40]!r} is not {condition}", param, ctx)
        return text


@changing_verb("requirement add")
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
def add_requirement(arguments: Arguments) -> None:
    """Register a certificate that was issued outside; exit with 1 when the ledger has its number already."""
    check_clear_name(arguments.number)
    check_clear_name(arguments.holder or "")
    _check_new_requirement(arguments)
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
            raise WrongRowError(f"the ledger has requirement {new.number} of {new.agency} already")
        change.record_trust_change(
            f"requirement {new.number} of {new.agency}", after=_describe_new_requirement(new)
        )
        cause = f"{new.agency}:{change.at.isoformat()}"
        join_waiting_cases(change.conn, [new.number], cause, change.at)
    sentence = f"Requirement {new.number} of {new.agency}: declarations may use {new.quantity} {new.unit}."
    print_change(change, sentence, as_json=arguments.json, requirement=new.number)


def _check_new_requirement(arguments: Arguments) -> None:
    """Report misuse for an agency or a unit that the mappings do not have, and for a day that is over."""
    with read_database(arguments) as conn:
        bundle = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle
    if arguments.agency not in bundle.organisations:
        agencies = ", ".join(sorted(bundle.organisations))
        sentence = f"the mappings have no agency {arguments.agency[:40]!r}, but {agencies}"
        raise click.BadParameter(sentence, param_hint="'--agency'")
    _check_laws(arguments.law, arguments.agency, bundle)
    # A unit without a factor, such as NMB, is converted to itself only.
    if arguments.unit not in {*bundle.units.units, *bundle.collect_allowed_units()}:
        sentence = f"no declaration has a unit {arguments.unit[:40]!r}; an example is KGM"
        raise click.BadParameter(sentence, param_hint="'--unit'")
    if arguments.until and arguments.until < find_day(get_current_time(), get_display_zone()):
        raise click.BadParameter(f"{arguments.until} is over", param_hint="'--until'")


def _check_laws(laws: Sequence[str], agency: str, bundle: MappingBundle) -> None:
    """Raise a usage error for a law under which no document of `agency` is in the mappings."""
    agency_laws = {
        law
        for document in bundle.documents.values()
        if document.organisation == agency
        for law in document.laws
    }
    for law in laws:
        if law not in agency_laws:
            sentence = (
                f"{agency} has no document under law {law[:20]!r}, but under {', '.join(sorted(agency_laws))}"
            )
            raise click.BadParameter(sentence, param_hint="'--law'")


def _describe_new_requirement(new_requirement: RegisteredRequirement) -> dict[str, Any]:
    until = None if new_requirement.valid_until is None else new_requirement.valid_until.isoformat()
    return {
        "quantity": new_requirement.quantity,
        "unit": new_requirement.unit,
        "holder": new_requirement.holder,
        "valid_until": until,
        "laws": list(new_requirement.laws or ()),
    }


@changing_verb("requirement revoke")
@click.argument("number", type=_Identifier(), help="the number on the certificate")
@click.option("--agency", required=True, help="the agency that issued it")
def revoke_requirement(arguments: Arguments) -> None:
    """Revoke a registered certificate: no further declaration uses it; exit with 1 without one."""
    number, agency = arguments.number, arguments.agency
    with change_database(arguments) as change:
        requirements = [
            row
            for row in requirement_quantities.find_requirements(change.conn, [number])
            if row.agency == agency
        ]
        if not requirements or not requirement_quantities.revoke_requirement(
            change.conn, requirements[0].id, change.at
        ):
            if requirements and requirements[0].revoked_at is not None:
                raise WrongRowError(f"requirement {number} of {agency} is revoked already")
            raise WrongRowError(f"no requirement {number} of {agency} is registered")
        before = {"quantity": requirements[0].quantity, "unit": requirements[0].unit}
        change.record_trust_change(f"requirement {number} of {agency}", before=before)
    sentence = f"Requirement {number} of {agency} is revoked; what is used of it stays used."
    print_change(change, sentence, as_json=arguments.json, requirement=number)


@verb("requirement list")
@page_options()
@home_options(json_words="print one JSON object a line")
def list_requirements(arguments: Arguments) -> None:
    """Print the certificates that the ledger knows, the newest first."""
    with read_database(arguments) as conn:
        rows = requirement_quantities.list_requirements(
            conn, limit=arguments.limit, before=require_row_number(arguments)
        )
        requirements = _describe_rows(conn, rows)
        is_page_full = len(rows) == arguments.limit
        remaining = requirement_quantities.count_requirements(conn, before=rows[-1].id) if is_page_full else 0
    shown_rows = (
        requirements
        if arguments.json
        else [_flatten_requirement(requirement) for requirement in requirements]
    )
    print_page(ListPage(shown_rows, remaining), as_json=arguments.json, columns=_COLUMNS)


@home_verb("requirement show")
@click.argument("number", type=_Identifier(), help="the number on the certificate")
def show_requirement(arguments: Arguments) -> None:
    """Print a certificate, its results without an application, its last 50 uses; exit with 1 without it."""
    with read_database(arguments) as conn:
        rows = requirement_quantities.find_requirements(conn, [arguments.number])
        requirements = [
            requirement
            | {
                "uses": describe_requirement_uses(conn, requirement["id"]),
                "results": describe_requirement_results(conn, requirement["id"]),
            }
            for requirement in _describe_rows(conn, rows)
        ]
    if not requirements:
        raise WrongRowError(f"the ledger does not know requirement {arguments.number}")
    for requirement in requirements:
        if arguments.json:
            print_json(requirement)
            continue
        print(
            format_named_values(
                {
                    name: value
                    for name, value in _flatten_requirement(requirement).items()
                    if name not in _TABLES
                }
            )
        )
        if requirement["results"]:
            print_table(requirement["results"], as_json=False, columns=_RESULTS)
        print_table(requirement["uses"], as_json=False, columns=_USES)


def _describe_rows(conn: Connection, rows: Sequence[RequirementRow]) -> list[dict[str, Any]]:
    units = load_active_rules(conn, load_shipped_rules(), get_current_time()).bundle.units
    return describe_requirements(conn, rows, units)


def _flatten_requirement(requirement: dict[str, Any]) -> dict[str, Any]:
    """Return the plain values of a requirement with its amounts, laws and flags as text for a table."""

    def format_amounts(amounts: Sequence[dict[str, str]]) -> str:
        return ", ".join(f"{amount['quantity']} {amount['unit']}" for amount in amounts)

    columns = {name: format_amounts(requirement[name]) for name in ("granted", "used", "left")}
    columns["laws"] = ", ".join(requirement["laws"])
    columns["revoked"] = "yes" if requirement["revoked"] else ""
    columns["reopened"] = f"until {requirement['agency']} decides again" if requirement["reopened"] else ""
    columns["suspended"] = f"until {requirement['agency']} answers" if requirement["suspended"] else ""
    return requirement | columns


_FEE_COLUMNS: Final = (
    *("id", "number", "case_number", "agency", "kind", "state", "amount", "currency", "due_on"),
    *("due_at", "deadline"),
)
_MOVEMENT_COLUMNS: Final = ("kind", "reference", "state", "amount", "currency", "reason", "moved_at")
_DIFFERENCE_COLUMNS: Final = ("what", "kind", "reference", "order", "here", "there", "line")


@verb("fees list")
@click.option("--state", type=click.Choice(FEE.states, case_sensitive=False), help="only fees in this state")
@click.option("--overdue", is_flag=True, help="only those that are not paid and whose deadline has passed")
@page_options()
@home_options(json_words="print one JSON object a line")
def list_fees(arguments: Arguments) -> None:
    """Print the fees, the newest first."""
    with read_database(arguments) as conn:
        # The settings are read: a day ends in the time zone of the hub.
        now = get_current_time()
        moment = fee_searches.OverdueTime(now, find_day(now, get_display_zone()))
        chosen = {"state": arguments.state, "overdue": moment if arguments.overdue else None}
        rows = fee_searches.list_fees(
            conn, limit=arguments.limit, before=require_row_number(arguments), **chosen
        )
        described_fees = describe_fees(conn, rows)
        is_page_full = len(rows) == arguments.limit
        remaining = fee_searches.count_fees(conn, before=rows[-1].id, **chosen) if is_page_full else 0
    print_page(ListPage(described_fees, remaining), as_json=arguments.json, columns=_FEE_COLUMNS)


@home_verb("fees show")
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
def show_fee(arguments: Arguments) -> None:
    """Print a fee with its payments and refunds; exit with 1 for an unknown number."""
    with read_database(arguments) as conn:
        rows = fee_searches.list_fees(conn, limit=1, number=arguments.number)
        if not rows:
            raise WrongRowError(f"there is no fee {arguments.number[:60]}")
        fee = describe_fees(conn, rows)[0]
        moved = describe_movements(conn, fee["id"])
    if arguments.json:
        print_json(fee | {"movements": moved})
        return
    print(format_named_values(fee))
    print_table(moved, as_json=False, columns=_MOVEMENT_COLUMNS)


@changing_verb("fees waive")
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
@click.option("--reason", required=True, help="why, for everybody who looks")
def waive_fee(arguments: Arguments) -> None:
    """Demand a fee no more; exit with 1 for an unknown number, and for a fee that is not due.

    Its order at the payment provider is cancelled, and a late payment is refunded. An application that
    was held for it is forwarded.
    """
    _end_fee(arguments, "waive", "is demanded no more")


@changing_verb("fees settle")
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
@click.option("--reason", required=True, help="why, for everybody who looks")
def settle_fee(arguments: Arguments) -> None:
    """Record that a fee was paid elsewhere; exit with 1 for an unknown number, and for a fee that is not due.

    The application goes on as if the payment provider had told of the payment.
    """
    _end_fee(arguments, "settle", "is paid elsewhere")


def _end_fee(arguments: Arguments, act: str, outcome: str) -> None:
    """Waive or settle the fee with the given number, as `act` says; `outcome` ends the printed sentence."""
    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        row = require_row(
            waive_or_settle_fee(change, act, arguments.number), f"there is no fee {arguments.number[:60]}"
        )
    sentence = f"Fee {row.number} of {row.agency} {outcome}."
    print_change(change, sentence, as_json=arguments.json, fee=row.number, state=row.state)


@home_verb("fees reconcile")
@click.argument("file", type=FILE, help="the provider's statement, CSV")
@click.option("--from", "first", type=DAY, help="the first day of the statement; else that of its lines")
@click.option("--until", "last", type=DAY, help="the last day of the statement; else that of its lines")
def reconcile_fees(arguments: Arguments) -> int:
    """Compare a statement of the payment provider with the hub's movements; return 1 when they differ."""
    try:
        text = read_file(arguments.file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError(STATEMENT_WRONG, "it is not UTF-8", str(arguments.file)) from error
    lines = read_statement(text)
    first, last = _choose_days(arguments, lines)
    with read_database(arguments) as conn:
        recorded = list_recorded_movements(conn, first, last, get_display_zone())
    differences = [_describe_difference(difference) for difference in reconcile_statement(lines, recorded)]
    if arguments.json:
        print_json(
            {
                "from": first,
                "until": last,
                "lines": len(lines),
                "recorded": len(recorded),
                "differences": differences,
            }
        )
        return 1 if differences else 0
    print_line(
        f"{first} to {last}: {len(lines)} lines, {len(recorded)} recorded, {len(differences)} differences"
    )
    if differences:
        print_table(differences, as_json=False, columns=_DIFFERENCE_COLUMNS)
    return 1 if differences else 0


def _choose_days(arguments: Arguments, lines: tuple[FeeMovement, ...]) -> tuple[date, date]:
    """Return the days that a statement covers.

    Raises GW713 for a line outside, and where no day is known; GW808 for days the wrong way round.
    """
    days = [movement.day for movement in lines]
    first = arguments.first or min(days, default=None)
    last = arguments.last or max(days, default=None)
    if first is None or last is None:
        detail = "the statement has no lines: say its days with --from and --until"
        raise GatewayError(STATEMENT_WRONG, detail, str(arguments.file))
    if arguments.first and arguments.last and last < first:
        raise GatewayError(MISUSE, f"the last day {last} is before the first, {first}", "--until")
    for movement in lines:
        if not first <= movement.day <= last:
            raise GatewayError(
                STATEMENT_WRONG, f"{movement.day} is outside {first} to {last}", f"line {movement.line}"
            )
    return first, last


def _describe_difference(difference: StatementDifference) -> dict[str, Any]:
    """Return a difference between the recorded fees (`here`) and the statement of the provider (`there`)."""
    return {
        "what": difference.difference,
        "kind": difference.kind,
        "reference": difference.reference,
        "order": difference.order,
        "here": None if difference.recorded_amount is None else str(difference.recorded_amount),
        "there": None if difference.stated_amount is None else str(difference.stated_amount),
        "line": difference.line or None,
    }
