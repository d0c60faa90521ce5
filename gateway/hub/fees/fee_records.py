"""The records that every step of a fee writes: its evidence, its deliveries, the Notice to the applicant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import FeeStep, Money
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.outbox.local_tasks import enqueue_task, require_row
from gateway.store import (
    DeliveryRow,
    FeeMovementRow,
    FeeRow,
    NewDelivery,
    NewFee,
    NewMovement,
    StateEvent,
    deliveries,
    fees,
)

#: The destination of calls to the payment provider.
PROVIDER: Final = "payment"
_ACTOR: Final = "fees"
#: The parameter of an order that is held until an agency has answered.
_HELD_FOR: Final = "held_for"
#: The states of a fee that is due.
OPEN_FEE_STATES: Final = ("LEVIED", "ORDERED")


def read_fee_money(fee: FeeRow) -> Money | None:
    """Return the amount of a fee; None for one that is paid elsewhere."""
    if fee.amount is None or fee.currency is None:
        return None
    return Money(Decimal(fee.amount), fee.currency)


def read_movement_money(movement: FeeMovementRow) -> Money:
    """Return the amount of a payment or a refund."""
    return Money(Decimal(movement.amount), movement.currency)


def get_fee(conn: Connection, fee: int) -> FeeRow:
    """Return the fee of this row id; raises GW901 when it is gone."""
    return require_row(fees.find_by_id(conn, fee), f"fee {fee}")


def has_open_fee(rows: Iterable[FeeRow], gate: str | None = None) -> bool:
    """Return whether one of the fees is due, at this gate if it is given."""
    return any(row.state in OPEN_FEE_STATES and gate in (None, row.gate) for row in rows)


def levy_fee(
    conn: Connection, new_fee: NewFee, now: datetime, *, is_ordered: bool, is_order_held: bool = False
) -> FeeRow:
    """Store a fee and, where it can be paid at the provider, queue its order; the case is locked.

    With `is_order_held` the order waits: the agency is asked whether it cancels the application. The time of
    the levy is by the clock of the agency; the times of the hub's own steps are by the hub's clock.
    """
    fee = get_fee(conn, fees.insert_fee(conn, new_fee))
    record_fee_step(conn, fee, "levied", now)
    if is_ordered and new_fee.amount is not None:
        _enqueue_provider_call(conn, fee, "order", fee.number, now, held=is_order_held)
    return fee


def find_fee_paid_elsewhere(conn: Connection, request: int, notice_number: str) -> FeeRow | None:
    """Return the open fee that a notice (its number) about a request has levied, if it has no order.

    The payment provider does not know such a fee, so no Notice follows that it can be paid.
    """
    for fee in fees.list_by_request(conn, request):
        if fee.notice == notice_number and fee.state in OPEN_FEE_STATES and find_order(conn, fee) is None:
            return fee
    return None


def is_held_for_answer(delivery: DeliveryRow) -> bool:
    """Return whether a delivery is an order that waits until its agency has said whether it cancels."""
    return bool(delivery.state == "HELD" and delivery.parameters.get(_HELD_FOR))


def release_held_orders(conn: Connection, request: int, now: datetime) -> None:
    """Order the fees that were levied while the agency of a request was asked: it keeps the application."""
    for fee in fees.list_by_request(conn, request):
        order = find_order(conn, fee)
        if order is not None and fee.state in OPEN_FEE_STATES and is_held_for_answer(order):
            # From now on it is an order as every other: an operator may hold and release it.
            parameters = {name: value for name, value in order.parameters.items() if name != _HELD_FOR}
            deliveries.replace_content(conn, order.id, order.payload_sha256, parameters)
            deliveries.release_delivery(conn, order.id, now, _ACTOR, "the application stands")


def find_order(conn: Connection, fee: FeeRow) -> DeliveryRow | None:
    """Return the order of a fee; None if none was made at the provider."""
    order = deliveries.find_by_dedupe_key(conn, f"payment:order:{fee.number}")
    if order is not None and order.state == "CANCELLED" and order.parameters.get(_HELD_FOR):
        return None
    return order


def drop_held_order(conn: Connection, fee: FeeRow, event: StateEvent) -> bool:
    """Cancel the order of a fee that waits for the answer of its agency; return whether it did."""
    order = find_order(conn, fee)
    if order is None or not is_held_for_answer(order):
        return False
    deliveries.cancel_delivery(conn, order.id, event.at, event.actor, "the fee is not due any more")
    return True


def cancel_fee(conn: Connection, fee: FeeRow, event: StateEvent, **values: Any) -> None:
    """Cancel a fee that is due, at the provider too."""
    fees.apply_event(conn, fee.id, event, **values)
    record_fee_step(conn, fee, "cancelled", event.at, by=event.detail)
    close_order(conn, fee, event)


def close_order(conn: Connection, fee: FeeRow, event: StateEvent) -> None:
    """End the order of a fee at the provider, where it has one."""
    order = find_order(conn, fee)
    if order is None or drop_held_order(conn, fee, event):
        return
    if order.state == "FAILED":
        # It is never requeued. Its answer may have been lost, so the provider gets the cancellation anyway.
        deliveries.give_up_delivery(conn, order.id, event.at, event.actor, "the fee is cancelled")
    # After the order: else the provider would open an order whose cancellation it has received before.
    _enqueue_provider_call(conn, fee, "cancel", fee.number, event.at, int(order.id))


def order_refund(
    conn: Connection, fee: FeeRow, refund_number: str, event: StateEvent, *, changes_fee_state: bool
) -> None:
    """Queue the order of a stored refund; `refund_number` is the number that the hub gave it.

    With `changes_fee_state` the event is applied to the fee; an excess payment is given back without this.
    """
    if changes_fee_state:
        fees.apply_event(conn, fee.id, event)
    refund = fees.find_movement(conn, "refund", refund_number)
    record_fee_step(conn, fee, "refund_ordered", event.at, refund, refund=refund_number, by=event.detail)
    _enqueue_provider_call(conn, fee, "refund", refund_number, event.at)


def _enqueue_provider_call(
    conn: Connection,
    fee: FeeRow,
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


def record_fee_step(
    conn: Connection,
    fee: FeeRow,
    step: str,
    at: datetime,
    movement: FeeMovementRow | NewMovement | None = None,
    **more: Any,
) -> None:
    """Record a step of a fee as evidence; `movement` is the payment or refund that is stored by the step."""
    money = read_fee_money(fee)
    stored = {"fees": digest_rows("fees", [fee])}
    if movement is not None:
        stored["fee_movements"] = digest_rows("fee_movements", [movement])
    data = {"fee": fee.number, "step": step, "agency": fee.agency, "kind": fee.kind,
            "amount": None if money is None else str(money), STORED: stored}  # fmt: skip
    record_evidence(conn, "fee", "request", fee.request_id, None, data | more, at)


def queue_fee_notice(
    conn: Connection, fee: FeeRow, step: FeeStep, at: datetime, refund_number: str = ""
) -> None:
    """Queue a Notice to the applicant about a step of a fee.

    `refund_number` is the number of the refund that the step is about, or empty.
    """
    key = f"fee:{step}:{fee.number}:{refund_number}"
    enqueue_task(
        conn, "fee", "fee", fee.id, key, at, case_id=fee.case_id, step=step.value, mark=refund_number
    )
