"""Applies an agency's notice to a fee: it is levied, cancelled, confirmed, or to be given back.

The input is a stored notice in the transaction of `gateway.hub.answers.reply`. The table of status codes
defines the step and the kind of fee of a status code. A cancellation or confirmation that arrives before its
levy is kept, so that the levy then changes nothing. If a notice names no fee and there are several,
`gateway.hub.fees.matched_ends` finds the one it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, tzinfo
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import FeeNoticeEvent, FeeStep, NamedFee, Notice, StatusCode
from gateway.errors import FEE_WRONG, GatewayError
from gateway.hub.completion.standing_demands import is_cancellation_open
from gateway.hub.fees.fee_ends import (
    change_refund_reasons,
    drop_kept_refunds,
    end_fee_of_cancelled,
    refund_fee,
    settle_request,
)
from gateway.hub.fees.fee_records import OPEN_FEE_STATES, get_fee, levy_fee, record_fee_step
from gateway.hub.fees.matched_ends import (
    FeeHistory,
    FeeMatch,
    apply_fee_end,
    apply_matches,
    find_kept_end,
    is_early_end,
    make_fee_event,
    read_fee_match,
)
from gateway.hub.hub import Hub
from gateway.notice_order import order_notice
from gateway.store import AgencyRequestRow, FeeRow, NewFee, fees
from gateway.wire import find_day

#: The states of a fee that a step is about, those that come first before the others.
_CONCERNED: Final = {
    FeeStep.CANCEL: (OPEN_FEE_STATES, ("PAID", "CONFIRMED", "PARTLY_REFUNDED", "REFUNDING")),
    FeeStep.CONFIRM: (("PAID",), OPEN_FEE_STATES),
    FeeStep.REFUND: (("PAID", "CONFIRMED", "PARTLY_REFUNDED"), ("REFUNDING",), ("REFUNDED",)),
}


@dataclass(frozen=True, slots=True)
class FeeNotice:
    """A notice about a request of a locked case, with the status code that defines its effect on a fee.

    The notice is in the `history` of the request. `now` is when it is applied.
    """

    hub: Hub
    request: AgencyRequestRow
    notice: Notice
    code: StatusCode
    history: FeeHistory
    now: datetime

    @property
    def fee(self) -> NamedFee:
        """Return the fee that the notice states."""
        return self.notice.fee or NamedFee()


def apply_fee_notice(conn: Connection, fee_notice: FeeNotice) -> None:
    """Apply a notice about a fee; other notices change nothing.

    A fee that is levied for a cancelled request is recorded, and not due: as if the cancellation had come
    after it. All other steps of fees apply to such a request, too, so that money is given back.

    Raises GW711 for a levy under a payment notice number that was used, and for a refund of more than was
    paid, also where nothing was paid yet at the provider.
    """
    request, code = fee_notice.request, fee_notice.code
    if not code.fee_step:
        return
    match = None
    if code.fee_step != FeeStep.REFUND and request.state != "CANCELLED":
        match = read_fee_match(conn, fees.list_by_request(conn, request.id), code, fee_notice.history)
    if code.fee_step == FeeStep.LEVY:
        _apply_levy(conn, fee_notice, match)
    elif code.fee_step == FeeStep.REFUND:
        _apply_refund(conn, fee_notice)
    else:
        _apply_end(conn, fee_notice, match)
    settle_request(conn, request.id, fee_notice.now)


def _apply_levy(conn: Connection, fee_notice: FeeNotice, match: FeeMatch | None) -> None:
    """Levy the fee that a notice states, unless its end has come before it; then only store its terms.

    `match` assigns all levies and ends of the request to each other; None where this is not done. Raises
    GW711 for a payment notice number that was used.
    """
    request, now = fee_notice.request, fee_notice.now
    levied_fees = fees.list_by_request(conn, request.id)
    new = _make_fee(fee_notice, len(levied_fees) + 1)
    _check_payment_notice_unused(request, levied_fees, new.payment_notice)
    if match is not None:
        _levy_matched(conn, fee_notice, new, match)
        return
    early_end = _find_early_end(levied_fees, fee_notice)
    if early_end is not None:
        _complete_early_end(conn, early_end, new, now)
        return
    is_cancelled = request.state == "CANCELLED"
    is_ordered = fee_notice.hub.payments.has_provider and not is_cancelled
    # The order of the fee is held while the agency has not said whether it cancels the application.
    fee = levy_fee(conn, new, now, is_ordered=is_ordered, is_order_held=is_cancellation_open(request))
    if is_cancelled:
        end_fee_of_cancelled(conn, fee, now)


def _complete_early_end(conn: Connection, fee: FeeRow, new: NewFee, now: datetime, **ended: Any) -> None:
    """Store the terms of a levy with its fee, which had ended before the levy came."""
    terms = {"amount": new.amount, "currency": new.currency, "due_on": new.due_on, "due_at": new.due_at}
    said_of = {"levied_at": new.levied_at, "refundable": new.refundable, "notice": new.notice}
    number = new.payment_notice or fee.payment_notice
    fees.change_fee(conn, fee.id, **terms, **said_of, payment_notice=number, **ended)
    record_fee_step(conn, get_fee(conn, fee.id), "levied", now, notice=new.notice)


def _levy_matched(conn: Connection, fee_notice: FeeNotice, new: NewFee, match: FeeMatch) -> None:
    """Levy a fee that may have ended already, and match the other notices to the fees again."""
    request, now = fee_notice.request, fee_notice.now
    end = match.ends_by_levy.get(new.notice or "")
    levied = fees.list_by_request(conn, request.id)
    early_end = None if end is None else find_kept_end(match, levied, end)
    if end is not None and early_end is not None:
        _complete_early_end(conn, early_end, new, now, ended_at=end.issued_at, ended_by=end.number)
    else:
        is_ordered = fee_notice.hub.payments.has_provider and end is None
        levy_fee(conn, new, now, is_ordered=is_ordered, is_order_held=is_cancellation_open(request))
    _match_fees(conn, fee_notice, match)


def _match_fees(conn: Connection, fee_notice: FeeNotice, match: FeeMatch) -> None:
    """Bring the state of each fee of the request, and its kept refunds, into line with `match`."""
    request, now = fee_notice.request, fee_notice.now
    is_ordered, is_order_held = fee_notice.hub.payments.has_provider, is_cancellation_open(request)
    apply_matches(
        conn,
        match,
        fees.list_by_request(conn, request.id),
        now,
        is_ordered=is_ordered,
        is_order_held=is_order_held,
    )
    _match_kept_refunds(conn, match, fees.list_by_request(conn, request.id), now)


def _match_kept_refunds(conn: Connection, match: FeeMatch, levied: Sequence[FeeRow], now: datetime) -> None:
    """Keep, for each fee, only the refunds of cancellations that concern this fee and have ended no other.

    When such a cancellation arrived, the levy that it concerns may not have come yet.
    """
    cancels = [fee_event for fee_event in match.statements.values() if fee_event.fee_step == FeeStep.CANCEL]
    ends = match.list_end_numbers()
    concerned_fees = {
        fee_event.number: None
        if fee_event.number in ends
        else _find_concerned_fee(levied, fee_event, match.kind)
        for fee_event in cancels
    }
    for fee in levied:
        others = {
            number
            for number, concerned_fee in concerned_fees.items()
            if concerned_fee is None or concerned_fee.id != fee.id
        }
        drop_kept_refunds(conn, fee, others, now)
    for number, concerned_fee in concerned_fees.items():
        if concerned_fee is not None and concerned_fee.state == "CONFIRMED":
            refund_fee(conn, concerned_fee, None, number, now)


def _check_payment_notice_unused(request: AgencyRequestRow, levied: Sequence[FeeRow], number: str) -> None:
    """Raise GW711 for a payment notice number under which a fee was levied before."""
    if number and any(fee.payment_notice == number and not is_early_end(fee) for fee in levied):
        detail = f"payment notice {number} has levied a fee of {request.number} before"
        raise GatewayError(FEE_WRONG, detail, "Fee/PaymentNotice")


def _find_early_end(levied: Sequence[FeeRow], fee_notice: FeeNotice) -> FeeRow | None:
    """Return the fee whose cancellation or confirmation came before this levy, which was issued earlier."""
    for fee in levied:
        # An end that names a fee is about none without that number.
        has_same_number = fee.payment_notice in ("", fee_notice.fee.payment_notice)
        early = is_early_end(fee) and fee.ended_at is not None and fee_notice.notice.issued_at <= fee.ended_at
        if early and any(
            other_fee.ended_by == fee.ended_by and other_fee.id != fee.id for other_fee in levied
        ):
            # It was matched with another fee since.
            continue
        if early and fee.kind == fee_notice.code.fee_kind and has_same_number:
            return fee
    return None


def _make_fee(fee_notice: FeeNotice, position: int) -> NewFee:
    """Return the row of the fee that a notice states; `position` is its number in the application, from 1.

    Without a day of its own, the fee is due on the day of the notice's deadline, in the zone of the hub.
    """
    request, notice, named_fee = fee_notice.request, fee_notice.notice, fee_notice.fee
    due = named_fee.due
    if due is None and notice.deadline is not None:
        due = _find_day(notice.deadline, fee_notice.hub.zone)
    return NewFee(
        number=f"{request.number}-F{position:02d}",
        request_id=request.id,
        case_id=request.case_id,
        agency=request.agency,
        kind=fee_notice.code.fee_kind,
        gate="result",
        amount=None if named_fee.money is None else named_fee.money.digits,
        currency=None if named_fee.money is None else named_fee.money.currency,
        due_on=due,
        payment_notice=named_fee.payment_notice,
        refundable=named_fee.refundable,
        levied_at=notice.issued_at,
        due_at=notice.deadline,
        notice=notice.number,
    )


def _find_day(deadline: datetime, zone: tzinfo) -> date:
    """Return the day of a deadline in a zone; a deadline at midnight states no time: its day as written."""
    return deadline.date() if deadline.time() == time.min else find_day(deadline, zone)


def _apply_end(conn: Connection, fee_notice: FeeNotice, match: FeeMatch | None) -> None:
    """Cancel or confirm the fee that a notice is about; give back a fee that is cancelled after its payment.

    Such a notice is an end; the notice that charges the fee is its levy. An end that comes before its levy
    is kept until the levy comes. `match` says which end belongs to which levy; None if they are not matched.
    """
    notice, code, now = fee_notice.notice, fee_notice.code, fee_notice.now
    if match is not None:
        _match_fees(conn, fee_notice, match)
        if notice.number in match.list_end_numbers():
            return
    levied_fees = fees.list_by_request(conn, fee_notice.request.id)
    fee_event = make_fee_event(notice, code)
    fee = _find_concerned_fee(levied_fees, fee_event, code.fee_kind)
    if fee is None:
        if _has_ended(levied_fees, notice):
            return
        fee = _keep_early_end(conn, fee_notice)
    if code.fee_step == FeeStep.CANCEL and fee.state not in OPEN_FEE_STATES:
        # Without an amount, all that is left of the payment is given back.
        refund_fee(conn, fee, None, notice.number, now)
    else:
        apply_fee_end(conn, fee, fee_event, now)


def _apply_refund(conn: Connection, fee_notice: FeeNotice) -> None:
    """Give back the amount that a notice states, or all that is left, of the fee that it is about.

    Raises GW711 for more than is left, and if no fee was paid yet but one may be paid at the provider later.
    """
    request, notice, named_fee = fee_notice.request, fee_notice.notice, fee_notice.fee
    levied_fees = fees.list_by_request(conn, request.id)
    fee_event = make_fee_event(notice, fee_notice.code)
    fee = _find_concerned_fee(levied_fees, fee_event, fee_notice.code.fee_kind)
    settled = fee is None or fee.state == "REFUNDED"
    if settled and fee_notice.hub.payments.has_provider and _may_be_paid_later(levied_fees, named_fee):
        # Taken silently, it would be lost when the payment is reported.
        detail = f"nothing was paid yet of a fee of {request.number} that could be given back"
        raise GatewayError(FEE_WRONG, detail, "StatusCode")
    if fee is None:
        return
    refund_fee(conn, fee, named_fee.money, notice.number, fee_notice.now)
    if named_fee.money is None:
        # An earlier cancellation may turn out to be of another fee: its refund gets this notice as reason.
        change_refund_reasons(
            conn, fee, _list_cancellations(fee_notice.history), notice.number, fee_notice.now
        )


def _list_cancellations(history: FeeHistory) -> set[str]:
    coded = [(notice.number, history.codes.get(notice.status_code)) for notice in history.notices]
    return {number for number, code in coded if code is not None and code.fee_step == FeeStep.CANCEL}


def _may_be_paid_later(levied: Sequence[FeeRow], named_fee: NamedFee) -> bool:
    """Return whether a refund is about a fee that is due, or about one whose levy has not come."""
    number = named_fee.payment_notice
    concerned = [fee for fee in levied if not number or fee.payment_notice == number]
    if any(fee.state in OPEN_FEE_STATES and fee.amount for fee in concerned):
        return True
    return bool(number or named_fee.money) and all(is_early_end(fee) for fee in concerned)


def _has_ended(levied: Sequence[FeeRow], notice: Notice) -> bool:
    """Return whether the fee that a notice names was levied before it, and has ended: nothing follows."""
    number = notice.fee.payment_notice if notice.fee else ""
    return any(
        number and fee.payment_notice == number and not is_early_end(fee)
        for fee in levied
        if fee.levied_at <= notice.issued_at
    )


def _find_concerned_fee(levied_fees: Sequence[FeeRow], fee_event: FeeNoticeEvent, kind: str) -> FeeRow | None:
    """Return the last fee that a notice is about; a fee that was levied later than it is none."""
    matching = [
        fee
        for fee in levied_fees
        # An end that is kept for its levy is no fee yet: the levy may be matched to an end that came later.
        if not is_early_end(fee)
        and kind in ("", fee.kind)
        and fee_event.payment_notice in ("", fee.payment_notice)
        # The levy of a fee by the hub has the time of another clock.
        and (fee.gate == "forwarding" or fee.levied_at <= fee_event.issued_at)
    ]
    for states in _CONCERNED[FeeStep(fee_event.fee_step)]:
        candidates = [fee for fee in matching if fee.state in states]
        if candidates:
            return max(candidates, key=lambda fee: (order_notice(fee.levied_at, fee.notice or ""), fee.id))
    return None


def _keep_early_end(conn: Connection, fee_notice: FeeNotice) -> FeeRow:
    """Store a fee that is cancelled or confirmed before its levy has come."""
    position = fees.count_by_request(conn, fee_notice.request.id) + 1
    # The levy alone states the amount and the day on which it is due.
    new = replace(_make_fee(fee_notice, position), amount=None, currency=None, due_on=None)
    new = replace(new, due_at=None, notice=None)
    return get_fee(conn, fees.insert_fee(conn, new))
