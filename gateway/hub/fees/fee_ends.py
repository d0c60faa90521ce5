"""Ends the fees of a request, gives money back, and forwards an application when its fee (Y17) is settled.

All functions are called in a transaction that has locked the case.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from gateway.cases import AgencyAnswer, FeeStep, Money, Notice, StatusCode
from gateway.errors import FEE_WRONG, REPLY_UNMATCHED, TRANSITION_REFUSED, GatewayError
from gateway.hub.completion.case_closing import renew_status_code
from gateway.hub.completion.standing_demands import find_demanded_event, read_demands
from gateway.hub.fees.fee_records import (
    OPEN_FEE_STATES,
    cancel_fee,
    find_order,
    has_open_fee,
    is_held_for_answer,
    levy_fee,
    order_refund,
    queue_fee_notice,
    read_fee_money,
    record_fee_step,
)
from gateway.hub.hub import Hub
from gateway.store import (
    AgencyRequestRow,
    DeliveryRow,
    FeeMovementRow,
    FeeRow,
    NewFee,
    NewMovement,
    StateEvent,
    agency_requests,
    deliveries,
    fees,
)
from gateway.wire import find_day

_ACTOR: Final = "fees"
#: Why a payment is given back that came for a fee that was paid before.
EXCESS: Final = "paid twice"
#: The states of a fee of which money may be left to give back.
_PAID: Final = ("PAID", "CONFIRMED", "PARTLY_REFUNDED", "REFUNDING")
#: Why a delivery is held: the status code that says the same.
HOLD_REASON: Final = "Y17"


def settle_request(conn: Connection, request_id: int, now: datetime) -> None:
    """Move a request without open fees to its next state; forward an application that was held for a fee.

    It moves to the state of the agency's other open demands. For a request that was amended, the status code
    that levied a fee is shown as long as the fee is open.
    """
    row = agency_requests.find_by_id(conn, request_id)
    if row is None:
        return
    levied_fees = fees.list_by_request(conn, request_id)
    # A forwarded application that an operator holds is released by the operator alone.
    if row.state == "FEE_DUE" and any(fee.gate == "forwarding" for fee in levied_fees):
        if has_open_fee(levied_fees, "forwarding"):
            return
        _release_application(conn, row, now)
        row = agency_requests.find_by_id(conn, request_id) or row
    if row.state == "FEE_DUE" and not has_open_fee(levied_fees):
        event = find_demanded_event(row.state, read_demands(row), ())
        if event is not None:
            agency_requests.apply_event(conn, request_id, StateEvent(event, now, _ACTOR), due_at=None)
    if not has_open_fee(levied_fees, "forwarding"):
        renew_status_code(conn, row)


def _release_application(conn: Connection, request: AgencyRequestRow, now: datetime) -> None:
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


def end_fees_of_cancelled(
    conn: Connection, request: int, now: datetime, *, was_decided: bool = False
) -> None:
    """Cancel the open fees of a cancelled request, and give back the paid ones that are refundable.

    With `was_decided` the agency had decided the request before: a fee that was paid is not given back.
    """
    for fee in fees.list_by_request(conn, request):
        if fee.state in OPEN_FEE_STATES:
            end_fee_of_cancelled(conn, fee, now)
        elif fee.state in _PAID and fee.refundable and not was_decided:
            refund_fee(conn, fee, None, "the application is cancelled", now)


def end_fee_of_cancelled(conn: Connection, fee: FeeRow, now: datetime) -> None:
    """Cancel the fee that is due for a cancelled request, and notify the applicant."""
    cancel_fee(conn, fee, StateEvent("cancel", now, _ACTOR, "the application is cancelled"))
    queue_fee_notice(conn, fee, FeeStep.CANCEL, now)


def refund_fee(conn: Connection, fee: FeeRow, amount: Money | None, reason: str, now: datetime) -> None:
    """Give back the amount that was counted as paid for a fee, or a part of it; nothing if paid elsewhere.

    If the agency has confirmed the fee before the provider reports the payment, the refund is kept until
    then.

    Raises GW711 for more than is left, or in another currency.
    """
    payment = _find_payment(conn, fee)
    if payment is None:
        _keep_refund(conn, fee, amount, reason, now)
        return
    paid, rest = payment
    refund = amount or rest
    if refund.currency != rest.currency or refund.amount > rest.amount:
        raise GatewayError(FEE_WRONG, f"{refund} cannot be given back: {rest} of {fee.number} is left", "Fee")
    if refund.amount:
        refund_payment(conn, fee, str(paid.reference), refund, reason, now)


def has_fee_to_refund(conn: Connection, levied_fees: Iterable[FeeRow]) -> bool:
    """Return whether an amount of one of these fees is left to give back, also of one paid elsewhere."""
    return any(fee.state in _PAID and _has_amount_left(conn, fee) for fee in levied_fees)


def _has_amount_left(conn: Connection, fee: FeeRow) -> bool:
    payment = _find_payment(conn, fee)
    if payment is not None:
        return bool(payment[1].amount)
    rest = _find_unpaid_rest(conn, fee)
    return bool(rest.amount) if rest is not None else fee.state == "CONFIRMED"


def _find_payment(conn: Connection, fee: FeeRow) -> tuple[FeeMovementRow, Money] | None:
    """Return the payment that was counted for a fee, and the part of it that was not given back."""
    movements = fees.list_movements(conn, fee.id)
    paid = next(
        (movement for movement in movements if movement.kind == "payment" and movement.state == "COUNTED"),
        None,
    )
    if paid is None:
        return None
    refunded = sum(
        (
            Decimal(movement.amount)
            for movement in movements
            if movement.kind == "refund" and movement.payment == paid.reference
        ),
        Decimal(0),
    )
    return paid, Money(Decimal(paid.amount) - refunded, paid.currency)


def _find_unpaid_rest(conn: Connection, fee: FeeRow) -> Money | None:
    """Return the part of a fee without a kept refund while its payment may still come; None for others.

    An excess payment has been given back, and is no part of the agency's refunds.
    """
    due = read_fee_money(fee)
    if fee.state != "CONFIRMED" or due is None or find_order(conn, fee) is None:
        return None
    refund_amounts = [Decimal(refund.amount) for refund in _list_kept_refunds(conn, fee)]
    return Money(due.amount - sum(refund_amounts, Decimal(0)), due.currency)


def _keep_refund(conn: Connection, fee: FeeRow, amount: Money | None, reason: str, now: datetime) -> None:
    """Keep a refund of a fee until the provider reports the payment, which the agency has learnt of first."""
    rest = _find_unpaid_rest(conn, fee)
    if rest is None:
        return
    refund = amount or rest
    if refund.currency != rest.currency or refund.amount > rest.amount:
        raise GatewayError(FEE_WRONG, f"{refund} cannot be given back: {rest} of {fee.number} is left", "Fee")
    if not refund.amount:
        return
    number = _make_refund_number(conn, fee)
    new = NewMovement(fee.id, "refund", number, "NOT_COUNTED", refund.digits, refund.currency, reason, now)
    fees.insert_movement(conn, new)
    record_fee_step(conn, fee, "refund_kept", now, new, refund=number, by=reason)


def _list_kept_refunds(conn: Connection, fee: FeeRow) -> list[FeeMovementRow]:
    """Return the refunds that an agency has made of a fee whose payment the provider has not reported yet.

    They are kept, and are ordered at the provider when it reports the payment.
    """
    movements = fees.list_movements(conn, fee.id)
    return [
        movement
        for movement in movements
        if movement.kind == "refund" and movement.state == "NOT_COUNTED" and movement.payment is None
    ]


def drop_kept_refunds(conn: Connection, fee: FeeRow, reasons: Collection[str], now: datetime) -> None:
    """Drop the kept refunds of a fee that have these reasons: their notices are about another fee."""
    for refund in _list_kept_refunds(conn, fee):
        if refund.reason in reasons:
            fees.drop_kept_refund(conn, refund.id)
            record_fee_step(conn, fee, "refund_dropped", now, refund=refund.reference, by=refund.reason)


def change_refund_reasons(
    conn: Connection, fee: FeeRow, reasons: Collection[str], reason: str, now: datetime
) -> None:
    """Change the reason of the kept refunds of a fee that have one of `reasons` to `reason`."""
    for refund in _list_kept_refunds(conn, fee):
        if refund.reason in reasons:
            fees.rename_kept_refund(conn, refund.id, reason)
            renamed = fees.find_movement(conn, "refund", refund.reference)
            record_fee_step(conn, fee, "refund_kept", now, renamed, refund=refund.reference, by=reason)


def order_kept_refunds(conn: Connection, fee: FeeRow, payment: str, now: datetime) -> None:
    """Order the refunds that an agency made of a payment (its reference) before the provider reported it."""
    for refund in _list_kept_refunds(conn, fee):
        fees.mark_kept_refund_ordered(conn, refund.id, payment)
        event = StateEvent("refund", now, _ACTOR, refund.reason)
        order_refund(conn, fee, str(refund.reference), event, changes_fee_state=True)


def _make_refund_number(conn: Connection, fee: FeeRow) -> str:
    """Return a number that no refund of a fee has; one that was dropped may have had it."""
    earlier = {
        movement.reference for movement in fees.list_movements(conn, fee.id) if movement.kind == "refund"
    }
    numbers = (f"{fee.number}-R{position:02d}" for position in itertools.count(len(earlier) + 1))
    return next(number for number in numbers if number not in earlier)


def refund_payment(
    conn: Connection, fee: FeeRow, payment: str, money: Money, reason: str, now: datetime
) -> None:
    """Order that an amount of one payment (its reference) is given back."""
    number = _make_refund_number(conn, fee)
    new = NewMovement(
        fee.id, "refund", number, "ORDERED", money.digits, money.currency, reason, now, payment=payment
    )
    fees.insert_movement(conn, new)
    # The refund of an excess payment does not change the state of the fee.
    order_refund(
        conn, fee, number, StateEvent("refund", now, _ACTOR, reason), changes_fee_state=reason != EXCESS
    )


def find_refund_event(conn: Connection, fee: FeeRow) -> str | None:
    """Return the event of a fee by the refunds of its payments; None while a refund is under way.

    The event is ``refunded`` or ``partly_refunded``. Excess payments do not count.
    """
    movements = fees.list_movements(conn, fee.id)
    paid = {
        movement.reference: Decimal(movement.amount)
        for movement in movements
        if movement.kind == "payment" and movement.reason != EXCESS
    }
    refunds = [movement for movement in movements if movement.payment in paid]
    if any(movement.state == "ORDERED" for movement in refunds):
        return None
    refunded = sum((Decimal(movement.amount) for movement in refunds if movement.state == "DONE"), Decimal(0))
    return "refunded" if refunded >= sum(paid.values(), Decimal(0)) else "partly_refunded"


#: The state of a request that is held for its fee; it may wait in it for another fee, too.
_HELD: Final = "FEE_DUE"
#: The steps of a fee that an agency may report before it has received the application.
_ENDING_STEPS: Final = (FeeStep.CANCEL, FeeStep.CONFIRM)


def hold_for_payment(conn: Connection, hub: Hub, case_id: int, request_id: int, now: datetime) -> bool:
    """Levy the fee of a new request and hold its application, where its document has a tariff.

    Returns whether it is held.
    """
    if not (hub.payments.has_provider and hub.payments.tariffs):
        return False
    row = agency_requests.find_by_id(conn, request_id)
    tariff = None if row is None else hub.payments.tariffs.get(row.document)
    if row is None or tariff is None:
        return False
    code = hub.load_rules_of(conn, row).status_codes.get(HOLD_REASON)
    due = None if tariff.days is None else now + timedelta(days=tariff.days)
    new = NewFee(
        number=f"{row.number}-F01",
        request_id=request_id,
        case_id=case_id,
        agency=row.agency,
        kind=code.fee_kind if code is not None and code.fee_kind else "application",
        gate="forwarding",
        amount=tariff.money.digits,
        currency=tariff.money.currency,
        due_on=None if due is None else find_day(due, hub.zone),
        payment_notice="",
        refundable=tariff.refundable,
        levied_at=now,
    )
    levy_fee(conn, new, now, is_ordered=True)
    first = deliveries.list_by_request(conn, case_id, request_id)[0]
    deliveries.hold_delivery(conn, first.id, now, _ACTOR, HOLD_REASON)
    event = StateEvent("fee", now, _ACTOR, HOLD_REASON)
    agency_requests.apply_event(conn, request_id, event, status_code=HOLD_REASON, due_at=due)
    return True


def is_held_for_fee(request: AgencyRequestRow, levied_fees: Iterable[FeeRow]) -> bool:
    """Return whether a request waits for one of its fees and is not forwarded yet."""
    return request.state == _HELD and has_open_fee(levied_fees, "forwarding")


def check_forwarded(
    conn: Connection, request: AgencyRequestRow, answer: AgencyAnswer, codes: Mapping[str, StatusCode]
) -> None:
    """Raise GW701 for an agency's answer about a request that is held for its fee: it was not sent yet.

    Only a notice about the fee is allowed: that it is cancelled or confirmed.
    """
    if request.state != _HELD or not has_open_fee(fees.list_by_request(conn, request.id), "forwarding"):
        return
    code = codes.get(answer.status_code) if isinstance(answer, Notice) else None
    if (
        code is None
        or code.fee_step not in _ENDING_STEPS
        or (isinstance(answer, Notice) and answer.decisions)
    ):
        detail = f"{request.agency} was asked nothing under {request.number} yet: its fee is not paid"
        raise GatewayError(REPLY_UNMATCHED, detail, "ApplicationNumber")


def check_no_fee_gate(conn: Connection, delivery: DeliveryRow) -> None:
    """Raise GW705 for a delivery that is held until a fee is paid: no operator releases or cancels it.

    So is the order of a fee that can be paid when its agency has said that it does not cancel.
    """
    if is_held_for_answer(delivery):
        detail = f"delivery {delivery.id} waits until its agency has said whether it cancels the application"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery/{delivery.state}")
    if delivery.subject_type != "request" or delivery.agent != "soap":
        return
    request = int(delivery.subject_id)
    if has_open_fee(fees.list_by_request(conn, request), "forwarding"):
        detail = f"delivery {delivery.id} waits for a fee that is not paid (gateway fees list)"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery/{delivery.state}")
