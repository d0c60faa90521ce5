"""What every step of a fee writes: its evidence, its deliveries, and what the applicant is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, Money
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.outbox import enqueue_task
from gateway.store import NewDelivery, NewFee, StateEvent, deliveries, fees

__all__ = [
    "OPEN",
    "PROVIDER",
    "cancel_fee",
    "close_order",
    "drop_held_order",
    "find_order",
    "get_fee",
    "has_open_fee",
    "is_held_for_answer",
    "levy_fee",
    "order_refund",
    "read_fee_money",
    "record_fee_step",
    "release_held_orders",
    "tell_applicant",
]

#: The destination of calls to the payment provider.
PROVIDER: Final = "payment"
_ACTOR: Final = "fees"
#: The parameter of an order that is held until an agency has answered.
_HELD_FOR: Final = "held_for"
#: The states of a fee that is due.
OPEN: Final = ("LEVIED", "ORDERED")


def read_fee_money(row: Row[Any]) -> Money | None:
    """Return the amount of a fee, payment or refund; None for a fee that is paid elsewhere."""
    return None if row.amount is None else Money(Decimal(row.amount), row.currency)


def get_fee(conn: Connection, fee: int) -> Row[Any]:
    """Return the fee of this row id; raises GW901 when it is gone."""
    found = fees.find_by_id(conn, fee)
    if found is None:
        raise GatewayError(OUR_MISTAKE, f"fee {fee} is gone")
    return found


def has_open_fee(rows: Iterable[Row[Any]], gate: str | None = None) -> bool:
    """Return whether one of the fees is due, at this gate if it is given."""
    return any(row.state in OPEN and gate in (None, row.gate) for row in rows)


def levy_fee(conn: Connection, new: NewFee, now: datetime, *, ordered: bool, held: bool = False) -> Row[Any]:
    """Store a fee and, where it can be paid at the provider, queue its order; the case is locked.

    The order is `held` while its agency is asked whether it cancels the application. It was levied by the
    clock of its agency. What the hub does about it is by its own.
    """
    fee = get_fee(conn, fees.insert_fee(conn, new))
    record_fee_step(conn, fee, "levied", now)
    if ordered and new.amount is not None:
        _enqueue_provider_call(conn, fee, "order", fee.number, now, held=held)
    return fee


def is_held_for_answer(delivery: Row[Any]) -> bool:
    """Return whether a delivery is an order that waits until its agency has said whether it cancels."""
    return bool(delivery.state == "HELD" and delivery.parameters.get(_HELD_FOR))


def release_held_orders(conn: Connection, request: int, now: datetime) -> None:
    """Order the fees that were levied while the agency of a request was asked: it keeps the application."""
    for fee in fees.list_by_request(conn, request):
        order = find_order(conn, fee)
        if order is not None and fee.state in OPEN and is_held_for_answer(order):
            # From now on it is an order as every other: an operator may hold and release it.
            kept = {name: value for name, value in order.parameters.items() if name != _HELD_FOR}
            deliveries.replace_content(conn, order.id, order.payload_sha256, kept)
            deliveries.release_delivery(conn, order.id, now, _ACTOR, "the application stands")


def find_order(conn: Connection, fee: Row[Any]) -> Row[Any] | None:
    """Return the order of a fee; None where the provider was never told of it."""
    order = deliveries.find_by_dedupe_key(conn, f"payment:order:{fee.number}")
    if order is not None and order.state == "CANCELLED" and order.parameters.get(_HELD_FOR):
        return None
    return order


def drop_held_order(conn: Connection, fee: Row[Any], what: StateEvent) -> bool:
    """Cancel the order of a fee that waits for the answer of its agency; return whether it did."""
    order = find_order(conn, fee)
    if order is None or not is_held_for_answer(order):
        return False
    deliveries.cancel_delivery(conn, order.id, what.at, what.actor, "the fee is not due any more")
    return True


def cancel_fee(conn: Connection, fee: Row[Any], what: StateEvent, **values: Any) -> None:
    """Cancel a fee that is due, at the provider too."""
    fees.apply_event(conn, fee.id, what, **values)
    record_fee_step(conn, fee, "cancelled", what.at, by=what.detail)
    close_order(conn, fee, what)


def close_order(conn: Connection, fee: Row[Any], what: StateEvent) -> None:
    """End the order of a fee at the provider, where it has one."""
    order = find_order(conn, fee)
    if order is None or drop_held_order(conn, fee, what):
        return
    if order.state == "FAILED":
        # Nobody requeues it any more. Its answer may have been lost, so the provider is told all the same.
        deliveries.give_up_delivery(conn, order.id, what.at, what.actor, "the fee is cancelled")
    # Behind the order: the provider would else open what it was told to cancel before.
    _enqueue_provider_call(conn, fee, "cancel", fee.number, what.at, int(order.id))


def order_refund(conn: Connection, fee: Row[Any], refund: str, what: StateEvent, *, moves: bool) -> None:
    """Queue a refund that is stored; `refund` is our number of it. With `moves` it is of the fee itself."""
    if moves:
        fees.apply_event(conn, fee.id, what)
    record_fee_step(conn, fee, "refund_ordered", what.at, refund=refund, by=what.detail)
    _enqueue_provider_call(conn, fee, "refund", refund, what.at)


def _enqueue_provider_call(
    conn: Connection,
    fee: Row[Any],
    operation: str,
    key: str,
    at: datetime,
    follows: int | None = None,
    *,
    held: bool = False,
) -> None:
    """Queue a call to the payment provider, and hold it if wanted; no case waits for it."""
    new = NewDelivery(
        agent=PROVIDER,
        destination=PROVIDER,
        subject_type="fee",
        subject_id=str(fee.id),
        dedupe_key=f"payment:{operation}:{key}",
        wire_id=key,
        parameters={"operation": operation, "key": key} | ({_HELD_FOR: "cancellation"} if held else {}),
        follows=follows,
    )
    queued = deliveries.enqueue_delivery(conn, new, at)
    if held and queued is not None:
        deliveries.hold_delivery(conn, queued, at, _ACTOR, "its agency is asked whether it cancels")
        record_fee_step(conn, fee, "order_held", at)


def record_fee_step(conn: Connection, fee: Row[Any], step: str, at: datetime, **more: Any) -> None:
    """Record a step of a fee as evidence."""
    money = read_fee_money(fee)
    data = {"fee": fee.number, "step": step, "agency": fee.agency, "kind": fee.kind}
    data |= {"amount": None if money is None else str(money)}
    record_evidence(conn, "fee", "request", fee.request_id, None, data | more, at)


def tell_applicant(conn: Connection, fee: Row[Any], step: FeeStep, at: datetime, mark: str = "") -> None:
    """Queue a Notice about a fee to the applicant; `mark` distinguishes several of one step."""
    key = f"fee:{step}:{fee.number}:{mark}"
    enqueue_task(conn, "fee", ("fee", fee.id), key, at, case_id=fee.case_id, step=step.value, mark=mark)
