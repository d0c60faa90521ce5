"""What follows when a fee is due no more: the request goes on, a held application is forwarded.

All functions are called in a transaction that has locked the case.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, Money, OpenDemands
from gateway.errors import FEE_WRONG, GatewayError
from gateway.hub.completion import find_demanded_event, renew_status_code, restore_demands
from gateway.hub.fees.fee_records import (
    OPEN,
    cancel_fee,
    find_order,
    has_open_fee,
    order_refund,
    read_fee_money,
    record_fee_step,
    tell_applicant,
)
from gateway.store import NewMovement, StateEvent, agency_requests, deliveries, fees

__all__ = [
    "EXCESS",
    "HOLD_REASON",
    "drop_kept_refunds",
    "end_fee_of_cancelled",
    "end_fees_of_cancelled",
    "find_refund_event",
    "has_fee_to_refund",
    "keep_fee_due",
    "name_kept_refunds",
    "order_kept_refunds",
    "refund_fee",
    "refund_payment",
    "settle_request",
]

_ACTOR: Final = "fees"
#: Why a payment is given back that came for a fee that was paid before.
EXCESS: Final = "paid twice"
#: The states of a fee of which money may be left to give back.
_PAID: Final = ("PAID", "CONFIRMED", "PARTLY_REFUNDED", "REFUNDING")
#: Why a delivery is held: the status code that says the same.
HOLD_REASON: Final = "Y17"


def settle_request(conn: Connection, request: int, now: datetime) -> None:
    """Let a request go on that has no open fee any more; forward an application that was held for one.

    It goes on to what else its agency has asked for. Of one that was amended, the status code that levied a
    fee is shown as long as the fee is open.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None:
        return
    levied = fees.list_by_request(conn, request)
    # What an operator holds after it was forwarded is the operator's.
    if row.state == "FEE_DUE" and any(one.gate == "forwarding" for one in levied):
        if has_open_fee(levied, "forwarding"):
            return
        _release_application(conn, row, now)
        row = agency_requests.find_by_id(conn, request) or row
    if row.state == "FEE_DUE" and not has_open_fee(levied):
        event = find_demanded_event(row.state, restore_demands(row) or OpenDemands(), ())
        if event is not None:
            agency_requests.apply_event(conn, request, StateEvent(event, now, _ACTOR), due_at=None)
    if not has_open_fee(levied, "forwarding"):
        renew_status_code(conn, row)


def _release_application(conn: Connection, request: Row[Any], now: datetime) -> None:
    """Forward an application whose fee is paid, or that its agency demands no more."""
    first = deliveries.list_by_request(conn, request.case_id, request.id)[:1]
    if first and first[0].state == "HELD":
        deliveries.release_delivery(conn, first[0].id, now, _ACTOR, "the fee is settled")
        event = StateEvent("forward", now, _ACTOR, "the fee is settled")
        agency_requests.apply_event(conn, request.id, event, status_code=None, due_at=None)


def keep_fee_due(conn: Connection, request: int, now: datetime) -> None:
    """Keep the state FEE_DUE of a request that is held for its fee, after a supplement or an amendment."""
    if has_open_fee(fees.list_by_request(conn, request), "forwarding"):
        event = StateEvent("fee", now, _ACTOR, "the fee is not paid")
        agency_requests.apply_event(conn, request, event, status_code=HOLD_REASON)


def end_fees_of_cancelled(conn: Connection, request: int, now: datetime, *, decided: bool = False) -> None:
    """Cancel the open fees of a request that is cancelled, and give back those that say so.

    What was paid for a request that its agency had `decided` is not given back.
    """
    for fee in fees.list_by_request(conn, request):
        if fee.state in OPEN:
            end_fee_of_cancelled(conn, fee, now)
        elif fee.state in _PAID and fee.refundable and not decided:
            refund_fee(conn, fee, None, "the application is cancelled", now)


def end_fee_of_cancelled(conn: Connection, fee: Row[Any], now: datetime) -> None:
    """Cancel a fee that is due for a request that is cancelled, and tell the applicant."""
    cancel_fee(conn, fee, StateEvent("cancel", now, _ACTOR, "the application is cancelled"))
    tell_applicant(conn, fee, FeeStep.CANCEL, now)


def refund_fee(conn: Connection, fee: Row[Any], wanted: Money | None, reason: str, now: datetime) -> None:
    """Give back what was counted as paid for a fee, or a part of it; nothing where it was paid elsewhere.

    Of a fee that its agency has confirmed before the provider told of the payment, the refund is kept.

    Raises GW711 for more than is left, or in another currency.
    """
    found = _find_payment(conn, fee)
    if found is None:
        _keep_refund(conn, fee, wanted, reason, now)
        return
    paid, left = found
    back = wanted or left
    if back.currency != left.currency or back.amount > left.amount:
        raise GatewayError(FEE_WRONG, f"{back} cannot be given back: {left} of {fee.number} is left", "Fee")
    if back.amount:
        refund_payment(conn, fee, (str(paid.reference), back), reason, now)


def has_fee_to_refund(conn: Connection, levied: Iterable[Row[Any]]) -> bool:
    """Return whether something is left to give back of one of these fees, also of one paid elsewhere."""
    return any(fee.state in _PAID and _is_left(conn, fee) for fee in levied)


def _is_left(conn: Connection, fee: Row[Any]) -> bool:
    found = _find_payment(conn, fee)
    if found is not None:
        return bool(found[1].amount)
    left = _find_unpaid_rest(conn, fee)
    return bool(left.amount) if left is not None else fee.state == "CONFIRMED"


def _find_payment(conn: Connection, fee: Row[Any]) -> tuple[Row[Any], Money] | None:
    """Return the payment that was counted for a fee, and what of it was not given back."""
    moved = fees.list_movements(conn, fee.id)
    paid = next((one for one in moved if one.kind == "payment" and one.state == "COUNTED"), None)
    if paid is None:
        return None
    given = sum(
        (Decimal(one.amount) for one in moved if one.kind == "refund" and one.payment == paid.reference),
        Decimal(0),
    )
    return paid, Money(Decimal(paid.amount) - given, paid.currency)


def _find_unpaid_rest(conn: Connection, fee: Row[Any]) -> Money | None:
    """Return what no refund is kept for of a fee whose payment the provider may still tell; None for others.

    A payment that was too much has gone back, and is no part of what the agency gives back.
    """
    due = read_fee_money(fee)
    if fee.state != "CONFIRMED" or due is None or find_order(conn, fee) is None:
        return None
    kept = [Decimal(one.amount) for one in _list_kept_refunds(conn, fee)]
    return Money(due.amount - sum(kept, Decimal(0)), due.currency)


def _keep_refund(conn: Connection, fee: Row[Any], wanted: Money | None, reason: str, now: datetime) -> None:
    """Keep a refund of a fee whose payment the provider may still tell: its agency had heard of it first."""
    left = _find_unpaid_rest(conn, fee)
    if left is None:
        return
    back = wanted or left
    if back.currency != left.currency or back.amount > left.amount:
        raise GatewayError(FEE_WRONG, f"{back} cannot be given back: {left} of {fee.number} is left", "Fee")
    if not back.amount:
        return
    number = _make_refund_number(conn, fee)
    new = NewMovement(fee.id, "refund", number, "NOT_COUNTED", back.digits, back.currency, reason, now)
    fees.insert_movement(conn, new)
    record_fee_step(conn, fee, "refund_kept", now, refund=number, by=reason)


def _list_kept_refunds(conn: Connection, fee: Row[Any]) -> list[Row[Any]]:
    moved = fees.list_movements(conn, fee.id)
    return [
        one for one in moved if one.kind == "refund" and one.state == "NOT_COUNTED" and one.payment is None
    ]


def drop_kept_refunds(conn: Connection, fee: Row[Any], reasons: Collection[str], now: datetime) -> None:
    """Drop what was kept of a fee for these reasons: the notices are about another fee."""
    for kept in _list_kept_refunds(conn, fee):
        if kept.reason in reasons:
            fees.drop_kept_refund(conn, kept.id)
            record_fee_step(conn, fee, "refund_dropped", now, refund=kept.reference, by=kept.reason)


def name_kept_refunds(conn: Connection, fee: Row[Any], reasons: Collection[str], reason: str) -> None:
    """Let what was kept of a fee for these reasons stay for another one, which says the same."""
    for kept in _list_kept_refunds(conn, fee):
        if kept.reason in reasons:
            fees.rename_kept_refund(conn, kept.id, reason)


def order_kept_refunds(conn: Connection, fee: Row[Any], payment: str, now: datetime) -> None:
    """Order what an agency gave back of a payment (its reference) before the provider told of it."""
    for kept in _list_kept_refunds(conn, fee):
        fees.take_kept_refund(conn, kept.id, payment)
        what = StateEvent("refund", now, _ACTOR, kept.reason)
        order_refund(conn, fee, str(kept.reference), what, moves=True)


def _make_refund_number(conn: Connection, fee: Row[Any]) -> str:
    """Return a number that no refund of a fee has; one that was dropped may have had it."""
    earlier = {one.reference for one in fees.list_movements(conn, fee.id) if one.kind == "refund"}
    numbers = (f"{fee.number}-R{place:02d}" for place in itertools.count(len(earlier) + 1))
    return next(one for one in numbers if one not in earlier)


def refund_payment(
    conn: Connection, fee: Row[Any], what: tuple[str, Money], reason: str, now: datetime
) -> None:
    """Order that an amount of one payment (its reference) is given back."""
    payment, money = what
    number = _make_refund_number(conn, fee)
    new = NewMovement(
        fee.id, "refund", number, "ORDERED", money.digits, money.currency, reason, now, payment=payment
    )
    fees.insert_movement(conn, new)
    # What was paid too much is given back, and the fee stays as it is.
    order_refund(conn, fee, number, StateEvent("refund", now, _ACTOR, reason), moves=reason != EXCESS)


def find_refund_event(conn: Connection, fee: Row[Any]) -> str | None:
    """Return the event of a fee by what was given back of its payments; None while a refund is under way.

    ``refunded`` or ``partly_refunded``. What was paid too much does not count.
    """
    moved = fees.list_movements(conn, fee.id)
    paid = {
        one.reference: Decimal(one.amount) for one in moved if one.kind == "payment" and one.reason != EXCESS
    }
    refunds = [one for one in moved if one.payment in paid]
    if any(one.state == "ORDERED" for one in refunds):
        return None
    given = sum((Decimal(one.amount) for one in refunds if one.state == "DONE"), Decimal(0))
    return "refunded" if given >= sum(paid.values(), Decimal(0)) else "partly_refunded"
