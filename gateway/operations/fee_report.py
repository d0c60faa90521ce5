"""Fees with their payments and refunds, for an operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import FeeMovement
from gateway.hub import read_fee_money
from gateway.store import deadlines, fees

__all__ = [
    "describe_case_fees",
    "describe_fees",
    "describe_movements",
    "find_fee_deadlines",
    "list_recorded_movements",
]

_COLUMNS = (
    *("id", "number", "application", "case_number", "agency", "kind", "gate", "state", "amount", "currency"),
    *("due_on", "payment_notice", "refundable", "levied_at", "ordered_at", "paid_at", "told_at", "address"),
)
_MOVED = (
    *("kind", "reference", "state", "amount", "currency", "reason", "at", "moved_at", "payment"),
    "provider_reference",
)


def describe_fees(conn: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return fees as plain values, each with its deadline: until when exactly, and the state of that.

    A fee whose deadline is not known, or that has none, has neither.
    """
    last = find_fee_deadlines(conn, rows)
    return [
        {name: getattr(row, name) for name in _COLUMNS} | _describe_deadline(last.get(row.number))
        for row in rows
    ]


def find_fee_deadlines(conn: Connection, rows: Sequence[Row[Any]]) -> dict[str, Row[Any]]:
    """Return the last deadline of each fee that has one, by the number of the fee."""
    if not rows:
        return {}
    found = deadlines.list_of_fees(conn, {row.case_id for row in rows})
    # Earlier code named the notice that levied it.
    named = {(row.request_id, name): row.number for row in rows for name in (row.notice, row.number) if name}
    told = ((named.get((one.request_id, one.cause)), one) for one in found)
    return {number: one for number, one in told if number is not None}


def _describe_deadline(row: Row[Any] | None) -> dict[str, Any]:
    return {"due_at": None if row is None else row.due_at, "deadline": None if row is None else row.state}


def describe_movements(conn: Connection, fee: int) -> list[dict[str, Any]]:
    """Return the payments and refunds of a fee (row id), oldest first."""
    return [{name: getattr(row, name) for name in _MOVED} for row in fees.list_movements(conn, fee)]


def describe_case_fees(conn: Connection, case: int) -> list[dict[str, Any]]:
    """Return the fees of a case (row id) with what was paid and given back of each, oldest first."""
    return [
        one | {"movements": describe_movements(conn, one["id"])}
        for one in describe_fees(conn, fees.list_by_case(conn, case))
    ]


def list_recorded_movements(conn: Connection, first: date, last: date) -> tuple[FeeMovement, ...]:
    """Return what moved at the provider from the first day to the last one, in UTC."""
    since = datetime.combine(first, time(), UTC)
    until = datetime.combine(last, time(), UTC) + timedelta(days=1)
    return tuple(_make_movement(row) for row in fees.list_movements_between(conn, since, until))


def _make_movement(row: Row[Any]) -> FeeMovement:
    money = read_fee_money(row)
    assert money is not None
    return FeeMovement(
        row.kind,
        row.provider_reference or row.reference,
        row.fee_number,
        money,
        row.moved_at.astimezone(UTC).date(),
        reason=row.reason if row.state == "NOT_COUNTED" else "",
    )
