"""Applies the events of the payment provider: each once, however often it comes, and in any order.

A payment is counted for a fee that is due. One that comes late, or is paid a second time, is kept and given
back. An event that does not fit its order as it was made is refused (GW712), and nothing is counted.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import FeeStep, ProviderEvent, choose_payment_effect, is_ahead, is_over_day_ahead
from gateway.errors import PAYMENT_REFUSED, GatewayError
from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.hub.fees.fee_ends import (
    EXCESS,
    find_refund_event,
    order_kept_refunds,
    refund_payment,
    settle_request,
)
from gateway.hub.fees.fee_records import (
    OPEN_FEE_STATES,
    get_fee,
    queue_fee_notice,
    read_fee_money,
    read_movement_money,
    record_fee_step,
)
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task, require_row
from gateway.store import (
    FeeMovementRow,
    FeeRow,
    NewMovement,
    StateEvent,
    agency_requests,
    cases,
    fees,
    read_transaction,
    write_transaction,
)

_ORDER_ACTOR: Final = "fees"


def describe_order(hub: Hub, fee: int) -> dict[str, Any]:
    """Return the order of a fee as plain values; the same at each attempt."""
    with read_transaction(hub.engine) as conn:
        row = get_fee(conn, fee)
        case = require_row(cases.find_by_id(conn, row.case_id), f"the case of fee {row.number}")
        found_request = agency_requests.find_by_id(conn, row.request_id)
        request = require_row(found_request, f"the application of fee {row.number}")
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
        row = _get_refund(conn, refund)
    return {"refund": refund, "payment": row.payment, "amount": row.amount, "currency": row.currency}


def _get_refund(conn: Connection, refund: str) -> FeeMovementRow:
    return require_row(fees.find_movement(conn, "refund", refund), f"refund {refund[:60]}")


def apply_order_answer(hub: Hub, fee_id: int, address: str, end_lease: FinishLease) -> None:
    """Store that the provider has the order of a fee, and where it is paid; end the delivery."""
    with write_transaction(hub.engine, "fees.ordered") as conn:
        row = _lock_fee(conn, fee_id)
        now = hub.clock()
        fees.apply_event(
            conn,
            fee_id,
            StateEvent("order", now, _ORDER_ACTOR),
            address=address,
            ordered_at=row.ordered_at or now,
        )
        if row.state in OPEN_FEE_STATES:
            record_fee_step(conn, row, "ordered", now)
            queue_fee_notice(conn, row, _choose_due_step(row), now)
            # An order that was held is released by an operator, too, who ends the question to its agency.
            settle_deadlines(conn, hub, row.case_id, now)
        end_lease(conn)


def _choose_due_step(fee: FeeRow) -> FeeStep:
    return FeeStep.AWAIT if fee.gate == "forwarding" else FeeStep.LEVY


def _lock_fee(conn: Connection, fee: int) -> FeeRow:
    cases.lock_case(conn, get_fee(conn, fee).case_id)
    return get_fee(conn, fee)


def apply_refund_answer(
    hub: Hub, fee: int, refund_number: str, reference: str, refunded_at: datetime, end_lease: FinishLease
) -> None:
    """Store that the provider has given money back, with its reference and time; end the delivery."""
    with write_transaction(hub.engine, "fees.refunded") as conn:
        row = _lock_fee(conn, fee)
        movement = _get_refund(conn, refund_number)
        money = read_movement_money(movement)
        event = ProviderEvent("refunded", row.number, reference, money, refunded_at, refund_number)
        complete_refund(conn, row, event, hub.clock())
        end_lease(conn)


def complete_refund(conn: Connection, fee: FeeRow, event: ProviderEvent, now: datetime) -> None:
    """Store that a refund of a locked fee is done; a second time changes nothing."""
    if not fees.end_refund(conn, event.refund, event.reference, event.at):
        return
    ended = find_refund_event(conn, fee) if fee.state == "REFUNDING" else None
    if ended is not None:
        fees.apply_event(conn, fee.id, StateEvent(ended, now, _ORDER_ACTOR, event.refund))
    refund = _get_refund(conn, event.refund)
    record_fee_step(conn, fee, "refunded", now, refund, refund=event.refund, given=str(event.money))
    queue_fee_notice(conn, fee, FeeStep.REFUND, now, event.refund)


_log = logging.getLogger(__name__)
_ACTOR: Final = "payment"
_REASONS: Final = {"late": "paid after the fee was cancelled", "excess": EXCESS}


def apply_provider_event(hub: Hub, event: ProviderEvent) -> str:
    """Apply an authentic event; return its effect: counted, late, excess, refunded or repeated.

    Raises GW712 for an unknown order or refund, another amount or currency, a reference that was used for
    another movement, and a time that is more than a day ahead.
    """
    with write_transaction(hub.engine, "fees.payment") as conn:
        fee = fees.find_by_number(conn, event.order)
        if fee is None:
            raise GatewayError(PAYMENT_REFUSED, f"there is no order {event.order[:60]!r}", "order")
        cases.lock_case(conn, fee.case_id)
        fee = fees.find_by_number(conn, event.order)
        assert fee is not None
        now = hub.clock()
        if is_over_day_ahead(event.at, now):
            # No reconciliation would find it.
            raise GatewayError(PAYMENT_REFUSED, "its time is more than a day ahead", "at")
        if is_ahead(event.at, now):
            _log.warning(
                "the payment provider states a time ahead of the clock: %s",
                event.at.isoformat(timespec="seconds"),
                extra={"case_id": fee.case_id},
            )
        if event.kind == "refunded":
            return _apply_refund(conn, fee, event, now)
        return _apply_payment(conn, hub, fee, event, now)


def _apply_payment(conn: Connection, hub: Hub, fee: FeeRow, event: ProviderEvent, now: datetime) -> str:
    """Store a payment that the provider reports; return its effect, `repeated` for one that is stored.

    A payment that does not count for the fee (another effect than `counted`) is given back. Raises GW712
    for a payment reference that was used for another payment.
    """
    movement = fees.find_movement(conn, "payment", event.reference)
    if movement is not None:
        _check_repeat(fee, movement, event)
        return "repeated"
    effect = _choose_effect(conn, fee, event, now)
    new = NewMovement(
        fee.id,
        "payment",
        event.reference,
        "COUNTED" if effect == "counted" else "NOT_COUNTED",
        event.money.digits,
        event.money.currency,
        _REASONS.get(effect, ""),
        now,
        moved_at=event.at,
    )
    if not fees.insert_movement(conn, new):
        # Stored at this instant for a fee of another case, whose row was not locked here.
        detail = f"{event.reference[:60]!r} was used for another payment"
        raise GatewayError(PAYMENT_REFUSED, detail, "reference")
    record_fee_step(conn, fee, "paid", now, new, payment=event.reference, effect=effect)
    fees.apply_event(conn, fee.id, StateEvent("pay", now, _ACTOR, event.reference[:100]))
    if effect != "counted":
        refund_payment(conn, fee, event.reference, event.money, _REASONS[effect], now)
        return effect
    fees.change_fee(conn, fee.id, paid_at=event.at)
    order_kept_refunds(conn, fee, event.reference, now)
    settle_request(conn, fee.request_id, now)
    # The time of the payment counts, not that of its report; no payment is earlier than its levy.
    paid_at = min(max(event.at, fee.levied_at), now)
    settle_deadlines(conn, hub, fee.case_id, now, done_at=paid_at)
    queue_fee_notice(conn, fee, FeeStep.PAY, now)
    enqueue_task(conn, "tell_payment", "fee", fee.id, f"tell_payment:{fee.number}", now)
    return effect


def _choose_effect(conn: Connection, fee: FeeRow, event: ProviderEvent, now: datetime) -> str:
    """Return the effect of a new payment.

    If the agency has confirmed a fee, the first payment that was made before the confirmation is counted; a
    payment of a time ahead was made at `now` at the latest.
    """
    effect = choose_payment_effect(fee.state, read_fee_money(fee), event.money)
    if effect != "excess" or fee.state != "CONFIRMED" or fee.ended_at is None:
        return effect
    if min(event.at, now) > fee.ended_at:
        return effect
    has_counted_payment = any(movement.state == "COUNTED" for movement in fees.list_movements(conn, fee.id))
    return effect if has_counted_payment else "counted"


def _check_repeat(fee: FeeRow, movement: FeeMovementRow, event: ProviderEvent) -> None:
    """Raise GW712 for another payment under a reference that was used."""
    if movement.fee_id != fee.id or read_movement_money(movement) != event.money:
        detail = f"{event.reference[:60]!r} was used for another payment"
        raise GatewayError(PAYMENT_REFUSED, detail, "reference")


def _apply_refund(conn: Connection, fee: FeeRow, event: ProviderEvent, now: datetime) -> str:
    """Store that the provider has made a refund that the hub ordered; return `refunded`, or `repeated`.

    Raises GW712 for a refund that was not ordered of this fee, or with another amount or reference.
    """
    movement = fees.find_movement(conn, "refund", event.refund)
    if movement is None or movement.fee_id != fee.id:
        detail = f"there is no refund {event.refund[:60]!r} of order {fee.number}"
        raise GatewayError(PAYMENT_REFUSED, detail, "refund")
    if read_movement_money(movement) != event.money:
        detail = f"{event.money} was given back and {read_movement_money(movement)} was ordered"
        raise GatewayError(PAYMENT_REFUSED, detail, "amount")
    if movement.state == "DONE":
        if movement.provider_reference != event.reference:
            detail = (
                f"refund {movement.reference} was given back as {str(movement.provider_reference)[:60]!r}"
            )
            raise GatewayError(PAYMENT_REFUSED, detail, "reference")
        return "repeated"
    complete_refund(conn, fee, event, now)
    return "refunded"
