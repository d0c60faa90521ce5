"""``gateway fees``: the fees of agencies, what was paid, and a provider's statement compared with it.

An operator waives a fee that is due, or records that it was paid elsewhere.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import click

from gateway.cases import FeeMovement, StatementDifference, read_statement, reconcile_statement
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import page_options, print_page, require_row_number
from gateway.cli.named_files import read_file
from gateway.cli.result_output import format_facts, print_json, print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import DAY, FILE, change_options, home_options, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, STATEMENT_WRONG, GatewayError
from gateway.hub import get_current_time
from gateway.operations import (
    describe_fees,
    describe_movements,
    end_fee,
    get_display_zone,
    list_recorded_movements,
)
from gateway.state_machines import FEE
from gateway.store import ListPage, fees

__all__ = ["list_fees", "reconcile_fees", "settle_fee", "show_fee", "waive_fee"]

_COLUMNS: Final = (
    *("id", "number", "case_number", "agency", "kind", "state", "amount", "currency", "due_on"),
    *("due_at", "deadline"),
)
_MOVED: Final = ("kind", "reference", "state", "amount", "currency", "reason", "moved_at")
_DIFFERENT: Final = ("what", "kind", "reference", "order", "here", "there", "line")


@verb
@click.option("--state", type=click.Choice(FEE.states, case_sensitive=False), help="only fees in this state")
@click.option("--overdue", is_flag=True, help="only those that are not paid and whose deadline has passed")
@page_options()
@home_options(json_words="print one JSON object a line")
def list_fees(arguments: Arguments) -> int:
    """Print the fees, the newest first."""
    with read_database(arguments) as conn:
        # The settings are read: a day ends in the time zone of the hub.
        now = get_current_time()
        moment = fees.OverdueTime(now, now.astimezone(get_display_zone()).date())
        chosen = {"state": arguments.state, "overdue": moment if arguments.overdue else None}
        rows = fees.list_fees(conn, limit=arguments.limit, before=require_row_number(arguments), **chosen)
        found = describe_fees(conn, rows)
        full = len(rows) == arguments.limit
        more = fees.count_fees(conn, before=rows[-1].id, **chosen) if full else 0
    print_page(ListPage(found, more), as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
@home_options()
def show_fee(arguments: Arguments) -> int:
    """Print a fee with its payments and refunds; return 1 for an unknown number."""
    with read_database(arguments) as conn:
        rows = fees.list_fees(conn, limit=1, number=arguments.number)
        if not rows:
            return report_wrong_row(f"there is no fee {arguments.number[:60]}")
        found = describe_fees(conn, rows)[0]
        moved = describe_movements(conn, found["id"])
    if arguments.json:
        print_json(found | {"movements": moved})
        return 0
    print(format_facts(found))
    print_table(moved, as_json=False, columns=_MOVED)
    return 0


@verb
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
@click.option("--reason", required=True, help="why, for everybody who looks")
@change_options()
def waive_fee(arguments: Arguments) -> int:
    """Demand a fee no more; return 1 for an unknown number, and for a fee that is not due.

    Its order at the payment provider is cancelled, and what comes late is given back. An application
    that was held for it is forwarded.
    """
    return _end_fee(arguments, "waive", "is demanded no more")


@verb
@click.argument("number", help="the number of the fee, as A26000001001N-F01")
@click.option("--reason", required=True, help="why, for everybody who looks")
@change_options()
def settle_fee(arguments: Arguments) -> int:
    """Record that a fee was paid elsewhere; return 1 for an unknown number, and for a fee that is not due.

    The application goes on as if the payment provider had told of the payment.
    """
    return _end_fee(arguments, "settle", "is paid elsewhere")


def _end_fee(arguments: Arguments, act: str, words: str) -> int:
    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        row = end_fee(change, act, arguments.number)
        if row is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is no fee {arguments.number[:60]}")
    sentence = f"Fee {row.number} of {row.agency} {words}."
    print_change(change, sentence, as_json=arguments.json, fee=row.number, state=row.state)
    return 0


@verb
@click.argument("file", type=FILE, help="the provider's statement, CSV")
@click.option("--from", "first", type=DAY, help="the first day of the statement; else that of its lines")
@click.option("--until", "last", type=DAY, help="the last day of the statement; else that of its lines")
@home_options()
def reconcile_fees(arguments: Arguments) -> int:
    """Compare a statement of the payment provider with what the hub has; return 1 when they differ."""
    try:
        text = read_file(arguments.file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError(STATEMENT_WRONG, "it is not UTF-8", str(arguments.file)) from error
    lines = read_statement(text)
    first, last = _choose_days(arguments, lines)
    with read_database(arguments) as conn:
        recorded = list_recorded_movements(conn, first, last)
    found = [_describe(one) for one in reconcile_statement(lines, recorded)]
    if arguments.json:
        print_json(
            {
                "from": first,
                "until": last,
                "lines": len(lines),
                "recorded": len(recorded),
                "differences": found,
            }
        )
        return 1 if found else 0
    print(f"{first} to {last}: {len(lines)} lines, {len(recorded)} recorded, {len(found)} differences")
    if found:
        print_table(found, as_json=False, columns=_DIFFERENT)
    return 1 if found else 0


def _choose_days(arguments: Arguments, lines: tuple[FeeMovement, ...]) -> tuple[date, date]:
    """Return the days that a statement covers.

    Raises GW713 for a line outside, and where no day is known; GW808 for days the wrong way round.
    """
    days = [one.on for one in lines]
    first = arguments.first or min(days, default=None)
    last = arguments.last or max(days, default=None)
    if first is None or last is None:
        detail = "the statement has no lines: say its days with --from and --until"
        raise GatewayError(STATEMENT_WRONG, detail, str(arguments.file))
    if arguments.first and arguments.last and last < first:
        raise GatewayError(MISUSE, f"the last day {last} is before the first, {first}", "--until")
    for one in lines:
        if not first <= one.on <= last:
            raise GatewayError(STATEMENT_WRONG, f"{one.on} is outside {first} to {last}", f"line {one.line}")
    return first, last


def _describe(one: StatementDifference) -> dict[str, Any]:
    return {
        "what": one.what,
        "kind": one.kind,
        "reference": one.reference,
        "order": one.order,
        "here": None if one.here is None else str(one.here),
        "there": None if one.there is None else str(one.there),
        "line": one.line or None,
    }
