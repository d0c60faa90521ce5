"""Calls to the payment provider: what an order and a refund say, and what follows from the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, Money, ProviderEvent
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.deadlines import settle_deadlines
from gateway.hub.fees.fee_ends import find_refund_event
from gateway.hub.fees.fee_records import OPEN, get_fee, read_fee_money, record_fee_step, tell_applicant
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease
from gateway.store import StateEvent, agency_requests, cases, fees, read_transaction, write_transaction

__all__ = [
    "apply_order_answer",
    "apply_refund_answer",
    "complete_refund",
    "describe_order",
    "describe_refund",
]

_ACTOR: Final = "fees"


def describe_order(hub: Hub, fee: int) -> dict[str, Any]:
    """Return the order of a fee as plain values; the same at each attempt."""
    with read_transaction(hub.engine) as conn:
        row = get_fee(conn, fee)
        case = cases.find_by_id(conn, row.case_id)
        request = agency_requests.find_by_id(conn, row.request_id)
    if case is None or request is None:
        raise GatewayError(OUR_MISTAKE, f"the case of fee {row.number} is gone")
    return {
        "order": row.number,
        "amount": row.amount,
        "currency": row.currency,
        "payer": case.declarant,
        "payee": row.agency,
        "application": request.number,
        "payment_notice": row.payment_notice,
        "due": None if row.due_on is None else row.due_on.isoformat(),
    }


def describe_refund(hub: Hub, refund: str) -> dict[str, Any]:
    """Return a refund as plain values; the same at each attempt."""
    with read_transaction(hub.engine) as conn:
        row = fees.find_movement(conn, "refund", refund)
    if row is None:
        raise GatewayError(OUR_MISTAKE, f"refund {refund[:60]} is gone")
    return {"refund": refund, "payment": row.payment, "amount": row.amount, "currency": row.currency}


def apply_order_answer(hub: Hub, fee: int, address: str, finish: FinishLease) -> None:
    """Store that the provider has the order of a fee, and where it is paid; end the delivery."""
    with write_transaction(hub.engine, "fees.ordered") as conn:
        row = _lock_fee(conn, fee)
        now = hub.clock()
        fees.apply_event(
            conn, fee, StateEvent("order", now, _ACTOR), address=address, ordered_at=row.ordered_at or now
        )
        if row.state in OPEN:
            record_fee_step(conn, row, "ordered", now)
            tell_applicant(conn, row, _choose_due_step(row), now)
            # An order that was held is released by an operator, too, who ends the question to its agency.
            settle_deadlines(conn, hub, row.case_id, now)
        finish(conn)


def _choose_due_step(fee: Row[Any]) -> FeeStep:
    return FeeStep.AWAIT if fee.gate == "forwarding" else FeeStep.LEVY


def _lock_fee(conn: Connection, fee: int) -> Row[Any]:
    cases.lock_case(conn, get_fee(conn, fee).case_id)
    return get_fee(conn, fee)


def apply_refund_answer(
    hub: Hub, fee: int, refund: str, said: tuple[str, datetime], finish: FinishLease
) -> None:
    """Store that the provider has given money back, with its number and time; end the delivery."""
    with write_transaction(hub.engine, "fees.refunded") as conn:
        row = _lock_fee(conn, fee)
        done = fees.find_movement(conn, "refund", refund)
        if done is None:
            raise GatewayError(OUR_MISTAKE, f"refund {refund[:60]} is gone")
        money = read_fee_money(done) or Money(done.amount, done.currency)
        event = ProviderEvent("refunded", row.number, said[0], money, said[1], refund)
        complete_refund(conn, row, event, hub.clock())
        finish(conn)


def complete_refund(conn: Connection, fee: Row[Any], event: ProviderEvent, now: datetime) -> None:
    """Store that a refund of a locked fee is done; a second time changes nothing."""
    if not fees.end_refund(conn, event.refund, event.reference, event.at):
        return
    ended = find_refund_event(conn, fee) if fee.state == "REFUNDING" else None
    if ended is not None:
        fees.apply_event(conn, fee.id, StateEvent(ended, now, _ACTOR, event.refund))
    record_fee_step(conn, fee, "refunded", now, refund=event.refund, given=str(event.money))
    tell_applicant(conn, fee, FeeStep.REFUND, now, event.refund)
