"""What an agency's notice says of a fee: levied, cancelled, confirmed, to be given back.

The input is a stored notice in the transaction of `gateway.hub.reply`. Which step and which kind of fee
a status code means stands in the table of status codes. A cancellation or confirmation that arrives
before its levy is kept, so that the levy then changes nothing. Which of several fees a notice is about that
names none is said by `gateway.hub.fees.matched_ends`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, FeeWord, NamedFee, Notice, StatusCode
from gateway.errors import FEE_WRONG, GatewayError
from gateway.hub.completion import is_cancellation_open
from gateway.hub.fees.fee_ends import (
    drop_kept_refunds,
    end_fee_of_cancelled,
    name_kept_refunds,
    refund_fee,
    settle_request,
)
from gateway.hub.fees.fee_records import (
    OPEN,
    get_fee,
    levy_fee,
    record_fee_step,
)
from gateway.hub.fees.matched_ends import (
    FeeMatch,
    apply_fee_end,
    apply_matches,
    find_kept_end,
    is_early_end,
    make_fee_word,
    read_fee_match,
)
from gateway.hub.hub import Hub
from gateway.store import KnownNotice, NewFee, fees

__all__ = ["apply_fee_notice"]

#: The states of a fee that a step is about, those that come first before the others.
_CONCERNED: Final = {
    FeeStep.CANCEL: (OPEN, ("PAID", "CONFIRMED", "PARTLY_REFUNDED", "REFUNDING")),
    FeeStep.CONFIRM: (("PAID",), OPEN),
    FeeStep.REFUND: (("PAID", "CONFIRMED", "PARTLY_REFUNDED"), ("REFUNDING",), ("REFUNDED",)),
}


def apply_fee_notice(
    conn: Connection,
    hub: Hub,
    request: Row[Any],
    said: tuple[Notice, StatusCode],
    heard: tuple[Sequence[KnownNotice], Mapping[str, StatusCode]],
    now: datetime,
) -> None:
    """Apply a notice about a fee to a request of a locked case; other notices change nothing.

    `heard` are all notices about the request, with this one, and the status codes of the case.
    What is levied for a request that is cancelled is recorded, and not due: it is as if the cancellation
    had come after it. All else counts for it too, so that money goes back.

    Raises GW711 for a levy under a payment notice number that was used, and for a refund of more than
    was paid, also where nothing was paid yet at the provider.
    """
    _notice, code = said
    if not code.fee_step:
        return
    match = None
    if code.fee_step != FeeStep.REFUND and request.state != "CANCELLED":
        known, codes = heard
        match = read_fee_match(conn, fees.list_by_request(conn, request.id), (code, known, codes))
    if code.fee_step == FeeStep.LEVY:
        _levy(conn, hub, request, said, match, now)
    elif code.fee_step == FeeStep.REFUND:
        _refund(conn, hub, request, said, heard, now)
    else:
        _end(conn, hub, request, said, match, now)
    settle_request(conn, request.id, now)


def _levy(
    conn: Connection,
    hub: Hub,
    request: Row[Any],
    said: tuple[Notice, StatusCode],
    match: FeeMatch | None,
    now: datetime,
) -> None:
    notice, code = said
    levied = fees.list_by_request(conn, request.id)
    new = _make_fee(hub, request, said, len(levied) + 1)
    _check_unused(request, levied, new.payment_notice)
    if match is not None:
        _levy_matched(conn, hub, request, (new, match), now)
        return
    known = _find_early_end(levied, notice, code)
    if known is not None:
        _complete_early_end(conn, known, new, now)
        return
    is_cancelled = request.state == "CANCELLED"
    ordered = hub.payments.provided and not is_cancelled
    # Nobody pays for an application that its agency may be about to cancel.
    fee = levy_fee(conn, new, now, ordered=ordered, held=is_cancellation_open(request))
    if is_cancelled:
        end_fee_of_cancelled(conn, fee, now)


def _complete_early_end(conn: Connection, known: Row[Any], new: NewFee, now: datetime, **ended: Any) -> None:
    """Say of a fee that has ended before its levy came what the levy says."""
    named = {"amount": new.amount, "currency": new.currency, "due_on": new.due_on, "due_at": new.due_at}
    said_of = {"levied_at": new.levied_at, "refundable": new.refundable, "notice": new.notice}
    number = new.payment_notice or known.payment_notice
    fees.change_fee(conn, known.id, **named, **said_of, payment_notice=number, **ended)
    record_fee_step(conn, known, "levied", now, notice=new.notice)


def _levy_matched(
    conn: Connection, hub: Hub, request: Row[Any], about: tuple[NewFee, FeeMatch], now: datetime
) -> None:
    """Levy a fee that may have ended, and let the others be about what they are now."""
    new, match = about
    end = match.ended.get(new.notice or "")
    levied = fees.list_by_request(conn, request.id)
    kept = None if end is None else find_kept_end(match, levied, end)
    if end is not None and kept is not None:
        _complete_early_end(conn, kept, new, now, ended_at=end.issued_at, ended_by=end.number)
    else:
        ordered = hub.payments.provided and end is None
        levy_fee(conn, new, now, ordered=ordered, held=is_cancellation_open(request))
    _match_fees(conn, hub, request, match, now)


def _match_fees(conn: Connection, hub: Hub, request: Row[Any], match: FeeMatch, now: datetime) -> None:
    how = (hub.payments.provided, is_cancellation_open(request))
    apply_matches(conn, match, fees.list_by_request(conn, request.id), how, now)
    _match_kept_refunds(conn, match, fees.list_by_request(conn, request.id), now)


def _match_kept_refunds(conn: Connection, match: FeeMatch, levied: Sequence[Row[Any]], now: datetime) -> None:
    """Keep of each fee what is given back of it by a cancellation that has ended none, and nothing else.

    When such a cancellation arrived, the levy that it is about may not have come.
    """
    cancels = [one for one in match.said.values() if one.step == FeeStep.CANCEL]
    ends = match.list_ends()
    about = {
        one.number: None if one.number in ends else _find_concerned(levied, one, match.kind)
        for one in cancels
    }
    for fee in levied:
        others = {number for number, found in about.items() if found is None or found.id != fee.id}
        drop_kept_refunds(conn, fee, others, now)
    for number, found in about.items():
        if found is not None and found.state == "CONFIRMED":
            refund_fee(conn, found, None, number, now)


def _check_unused(request: Row[Any], levied: Sequence[Row[Any]], number: str) -> None:
    """Raise GW711 for a payment notice number under which a fee was levied before."""
    if number and any(one.payment_notice == number and not is_early_end(one) for one in levied):
        detail = f"payment notice {number} has levied a fee of {request.number} before"
        raise GatewayError(FEE_WRONG, detail, "Fee/PaymentNotice")


def _find_early_end(levied: Any, notice: Notice, code: StatusCode) -> Row[Any] | None:
    """Return the fee whose cancellation or confirmation came before this levy, which was issued earlier."""
    named = notice.fee or NamedFee()
    for one in levied:
        # An end that names a fee is about none without that number.
        same = one.payment_notice in ("", named.payment_notice)
        early = is_early_end(one) and notice.issued_at <= one.ended_at
        if early and any(other.ended_by == one.ended_by and other.id != one.id for other in levied):
            # It was matched with another fee since.
            continue
        if early and one.kind == code.fee_kind and same:
            return one  # type: ignore[no-any-return]
    return None


def _make_fee(hub: Hub, request: Row[Any], said: tuple[Notice, StatusCode], place: int) -> NewFee:
    notice, code = said
    named = notice.fee or NamedFee()
    due = named.due or (None if notice.deadline is None else _find_day(notice.deadline, hub.zone))
    return NewFee(
        number=f"{request.number}-F{place:02d}",
        request_id=request.id,
        case_id=request.case_id,
        agency=request.agency,
        kind=code.fee_kind,
        gate="result",
        amount=None if named.money is None else named.money.digits,
        currency=None if named.money is None else named.money.currency,
        due_on=due,
        payment_notice=named.payment_notice,
        refundable=named.refundable,
        levied_at=notice.issued_at,
        due_at=notice.deadline,
        notice=notice.number,
    )


def _find_day(deadline: datetime, zone: tzinfo) -> date:
    """Return the day of a deadline in a zone; that of midnight, which is no time, as it was written."""
    return (deadline if deadline.time() == time.min else deadline.astimezone(zone)).date()


def _end(
    conn: Connection,
    hub: Hub,
    request: Row[Any],
    said: tuple[Notice, StatusCode],
    match: FeeMatch | None,
    now: datetime,
) -> None:
    notice, code = said
    if match is not None:
        _match_fees(conn, hub, request, match, now)
        if notice.number in match.list_ends():
            return
    levied = fees.list_by_request(conn, request.id)
    word = make_fee_word(notice, code)
    fee = _find_concerned(levied, word, code.fee_kind)
    if fee is None:
        if _has_ended(levied, notice):
            return
        fee = _keep_early_end(conn, hub, request, said)
    if code.fee_step == FeeStep.CANCEL and fee.state not in OPEN:
        refund_fee(conn, fee, None, notice.number, now)
    else:
        apply_fee_end(conn, fee, word, now)


def _refund(
    conn: Connection,
    hub: Hub,
    request: Row[Any],
    said: tuple[Notice, StatusCode],
    heard: tuple[Sequence[KnownNotice], Mapping[str, StatusCode]],
    now: datetime,
) -> None:
    notice, code = said
    named = notice.fee or NamedFee()
    levied = fees.list_by_request(conn, request.id)
    fee = _find_concerned(levied, make_fee_word(notice, code), code.fee_kind)
    done = fee is None or fee.state == "REFUNDED"
    if done and hub.payments.provided and _may_be_paid_later(levied, named):
        # Taken silently, it would be lost when the payment is told.
        detail = f"nothing was paid yet of a fee of {request.number} that could be given back"
        raise GatewayError(FEE_WRONG, detail, "StatusCode")
    if fee is None:
        return
    refund_fee(conn, fee, named.money, notice.number, now)
    if named.money is None:
        known, codes = heard
        # What a cancellation gave back before may turn out to be another fee: this notice says it again.
        name_kept_refunds(conn, fee, _list_cancellations(known, codes), notice.number)


def _list_cancellations(known: Sequence[KnownNotice], codes: Mapping[str, StatusCode]) -> set[str]:
    found = [(one.number, codes.get(one.status_code)) for one in known]
    return {number for number, code in found if code is not None and code.fee_step == FeeStep.CANCEL}


def _may_be_paid_later(levied: Sequence[Row[Any]], named: NamedFee) -> bool:
    """Return whether a refund is about a fee that is due, or about one whose levy has not come."""
    number = named.payment_notice
    known = [one for one in levied if not number or one.payment_notice == number]
    if any(one.state in OPEN and one.amount for one in known):
        return True
    return bool(number or named.money) and all(is_early_end(one) for one in known)


def _has_ended(levied: Sequence[Row[Any]], notice: Notice) -> bool:
    """Return whether the fee that a notice names was levied before it, and has ended: nothing follows."""
    number = notice.fee.payment_notice if notice.fee else ""
    return any(
        number and one.payment_notice == number and not is_early_end(one)
        for one in levied
        if one.levied_at <= notice.issued_at
    )


def _find_concerned(levied: Sequence[Row[Any]], word: FeeWord, kind: str) -> Row[Any] | None:
    """Return the last fee that a notice is about; a fee that was levied later than it is none."""
    same = [
        one
        for one in levied
        # An end that is kept for its levy is no fee: one that came later may be what the levy meets.
        if not is_early_end(one)
        and kind in ("", one.kind)
        and word.names in ("", one.payment_notice)
        # What the hub levies has the time of another clock.
        and (one.gate == "forwarding" or one.levied_at <= word.issued_at)
    ]
    for states in _CONCERNED[FeeStep(word.step)]:
        found = [one for one in same if one.state in states]
        if found:
            return max(found, key=lambda one: (one.levied_at, one.notice or "", one.id))
    return None


def _keep_early_end(
    conn: Connection, hub: Hub, request: Row[Any], said: tuple[Notice, StatusCode]
) -> Row[Any]:
    """Store a fee that is cancelled or confirmed before its levy has come."""
    place = fees.count_by_request(conn, request.id) + 1
    # What is due is said by the levy alone.
    new = replace(_make_fee(hub, request, said, place), amount=None, currency=None, due_on=None)
    new = replace(new, due_at=None, notice=None)
    return get_fee(conn, fees.insert_fee(conn, new))
