"""What the payment provider tells of money: applied once, in whatever order and however often it is told.

A payment is counted for a fee that is due. One that comes late, or is paid a second time, is kept and
given back. What fits no order as it was made is refused (GW712), and nothing is counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, ProviderEvent, choose_payment_effect, is_far_ahead
from gateway.errors import PAYMENT_REFUSED, GatewayError
from gateway.hub.deadlines import settle_deadlines
from gateway.hub.fees.fee_ends import EXCESS, order_kept_refunds, refund_payment, settle_request
from gateway.hub.fees.fee_records import read_fee_money, record_fee_step, tell_applicant
from gateway.hub.fees.payment_orders import complete_refund
from gateway.hub.hub import Hub
from gateway.hub.outbox import enqueue_task
from gateway.store import NewMovement, StateEvent, cases, fees, write_transaction

__all__ = ["apply_provider_event"]

_ACTOR: Final = "payment"
_REASONS: Final = {"late": "paid after the fee was cancelled", "excess": EXCESS}


def apply_provider_event(hub: Hub, event: ProviderEvent) -> str:
    """Apply an authentic event; return what it was: counted, late, excess, refunded or repeated.

    Raises GW712 for an unknown order or refund, another amount or currency, a reference that was used
    for something else, and a time that is more than a day ahead.
    """
    with write_transaction(hub.engine, "fees.payment") as conn:
        fee = fees.find_by_number(conn, event.order)
        if fee is None:
            raise GatewayError(PAYMENT_REFUSED, f"there is no order {event.order[:60]!r}", "order")
        cases.lock_case(conn, fee.case_id)
        fee = fees.find_by_number(conn, event.order)
        assert fee is not None
        now = hub.clock()
        if is_far_ahead(event.at, now):
            # No reconciliation would find it.
            raise GatewayError(PAYMENT_REFUSED, "its time is more than a day ahead", "at")
        if event.kind == "refunded":
            return _apply_refund(conn, fee, event, now)
        return _apply_payment(conn, hub, fee, event, now)


def _apply_payment(conn: Connection, hub: Hub, fee: Row[Any], event: ProviderEvent, now: datetime) -> str:
    known = fees.find_movement(conn, "payment", event.reference)
    if known is not None:
        _check_repeat(fee, known, event)
        return "repeated"
    effect = _choose_effect(conn, fee, event)
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
    record_fee_step(conn, fee, "paid", now, payment=event.reference, effect=effect)
    fees.apply_event(conn, fee.id, StateEvent("pay", now, _ACTOR, event.reference[:100]))
    if effect != "counted":
        refund_payment(conn, fee, (event.reference, event.money), _REASONS[effect], now)
        return effect
    fees.change_fee(conn, fee.id, paid_at=event.at)
    order_kept_refunds(conn, fee, event.reference, now)
    settle_request(conn, fee.request_id, now)
    # What was paid in time is in time; nothing was paid before it was levied.
    paid_at = min(max(event.at, fee.levied_at), now)
    settle_deadlines(conn, hub, fee.case_id, now, done_at=paid_at)
    tell_applicant(conn, fee, FeeStep.PAY, now)
    enqueue_task(conn, "tell_payment", ("fee", fee.id), f"tell_payment:{fee.number}", now)
    return effect


def _choose_effect(conn: Connection, fee: Row[Any], event: ProviderEvent) -> str:
    """Return what a new payment is; a confirmed fee counts the payment that its agency had heard of first."""
    effect = choose_payment_effect(fee.state, read_fee_money(fee), event.money)
    if effect != "excess" or fee.state != "CONFIRMED" or fee.ended_at is None or event.at > fee.ended_at:
        return effect
    counted = any(one.state == "COUNTED" for one in fees.list_movements(conn, fee.id))
    return effect if counted else "counted"


def _check_repeat(fee: Row[Any], known: Row[Any], event: ProviderEvent) -> None:
    """Raise GW712 for another payment under a reference that was used."""
    if known.fee_id != fee.id or read_fee_money(known) != event.money:
        detail = f"{event.reference[:60]!r} was used for another payment"
        raise GatewayError(PAYMENT_REFUSED, detail, "reference")


def _apply_refund(conn: Connection, fee: Row[Any], event: ProviderEvent, now: datetime) -> str:
    known = fees.find_movement(conn, "refund", event.refund)
    if known is None or known.fee_id != fee.id:
        detail = f"there is no refund {event.refund[:60]!r} of order {fee.number}"
        raise GatewayError(PAYMENT_REFUSED, detail, "refund")
    if read_fee_money(known) != event.money:
        detail = f"{event.money} was given back and {read_fee_money(known)} was ordered"
        raise GatewayError(PAYMENT_REFUSED, detail, "amount")
    if known.state == "DONE":
        if known.provider_reference != event.reference:
            detail = f"refund {known.reference} was given back as {str(known.provider_reference)[:60]!r}"
            raise GatewayError(PAYMENT_REFUSED, detail, "reference")
        return "repeated"
    complete_refund(conn, fee, event, now)
    return "refunded"
