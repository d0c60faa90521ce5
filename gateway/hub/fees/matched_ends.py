"""Ends the fees of a request by all that its agency has said of them, whatever came first.

Where several fees of one kind were levied and a notice ends one without naming it, the issue times say which
one. A notice that comes late may change that: the fee that was ended is due again, and another one is not.
Fees of which money has moved at the provider, or that an operator has ended, stay as they are: then a notice
is about what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep, FeeWord, Notice, StatusCode, match_fee_ends
from gateway.hub.fees.fee_records import (
    OPEN,
    cancel_fee,
    close_order,
    drop_held_order,
    get_fee,
    levy_fee,
    record_fee_step,
)
from gateway.store import KnownNotice, NewFee, StateEvent, fees

__all__ = [
    "FeeMatch",
    "apply_fee_end",
    "apply_matches",
    "find_kept_end",
    "is_early_end",
    "make_fee_word",
    "read_fee_match",
]

_MATCHED: Final = (FeeStep.LEVY, FeeStep.CANCEL, FeeStep.CONFIRM)
_ENDED: Final = {FeeStep.CANCEL: "CANCELLED", FeeStep.CONFIRM: "CONFIRMED"}
#: As many fees of one kind are never in doubt.
_ONE: Final = 1


@dataclass(frozen=True, slots=True)
class FeeMatch:
    """What was said of the fees of one kind: by the levy, the notice that has ended its fee."""

    kind: str
    said: Mapping[str, FeeWord]
    ended: Mapping[str, FeeWord]

    def list_ends(self) -> set[str]:
        """Return the numbers of the notices that have ended a fee."""
        return {one.number for one in self.ended.values()}


def is_early_end(fee: Row[Any]) -> bool:
    """Return whether a fee was cancelled or confirmed and its levy has not come."""
    # A fee that was levied without an amount may end in the second of its levy.
    unknown = fee.notice is None and fee.amount is None
    return unknown and fee.ended_at is not None and fee.levied_at == fee.ended_at


def read_fee_match(
    conn: Connection,
    levied: Sequence[Row[Any]],
    heard: tuple[StatusCode, Iterable[KnownNotice], Mapping[str, StatusCode]],
) -> FeeMatch | None:
    """Return what all notices say of the fees of one kind; None where each notice is about what it finds.

    `levied` are the fees of the request; `heard` is the status code of the notice, all notices about the
    request with it, and the status codes of the case.
    """
    code, known, codes = heard
    mine = [one for one in levied if one.kind == code.fee_kind]
    elsewhere = {one.ended_by for one in mine if one.gate == "forwarding"}
    words = []
    for one in known:
        of = codes.get(one.status_code)
        if of is None or of.fee_kind != code.fee_kind or of.fee_step not in _MATCHED:
            continue
        if one.fee_notice is None:
            return None
        if one.number not in elsewhere:
            words.append(FeeWord(one.number, one.issued_at, of.fee_step, one.fee_notice))
    ends = [one for one in words if one.step != FeeStep.LEVY]
    if len(words) - len(ends) <= _ONE or all(one.names for one in ends):
        return None
    if any(_is_settled_otherwise(conn, one) for one in mine if not _is_replaced(one, mine)):
        return None
    return FeeMatch(code.fee_kind, {one.number: one for one in words}, match_fee_ends(words))


def _is_settled_otherwise(conn: Connection, fee: Row[Any]) -> bool:
    """Return whether something else than notices has a say in what becomes of a fee."""
    if fee.gate == "forwarding":
        return fee.state in OPEN
    if fee.paid_at is not None or (fee.state not in OPEN and fee.ended_by is None):
        return True
    # What was given back of it and never paid here has moved no money.
    return any(one.kind == "payment" or one.payment for one in fees.list_movements(conn, fee.id))


def _is_replaced(fee: Row[Any], levied: Iterable[Row[Any]]) -> bool:
    """Return whether a fee is due again under another number."""
    return fee.notice is not None and any(
        one.notice == fee.notice and one.id > fee.id and one.gate == fee.gate for one in levied
    )


def find_kept_end(match: FeeMatch, levied: Iterable[Row[Any]], end: FeeWord) -> Row[Any] | None:
    """Return what was stored for a notice that ended a fee before its levy came; None where nothing was.

    What was stored for another such notice will do, where that one is about another fee.
    """
    kept = [one for one in levied if is_early_end(one) and one.state == _ENDED[FeeStep(end.step)]]
    mine = [one for one in kept if one.ended_by == end.number]
    others = [one for one in kept if one.ended_by in match.list_ends()]
    return next(iter((*mine, *others)), None)


def apply_matches(
    conn: Connection, match: FeeMatch, levied: Sequence[Row[Any]], how: tuple[bool, bool], now: datetime
) -> None:
    """Let each fee be due, cancelled or confirmed as it follows from all notices.

    `how` says of a fee that is due again whether it is ordered at the provider, and whether that is held.
    """
    for fee in levied:
        if fee.notice not in match.said or _is_replaced(fee, levied):
            continue
        _apply_match(conn, fee, match.ended.get(fee.notice), how, now)


def _apply_match(
    conn: Connection,
    fee: Row[Any],
    end: FeeWord | None,
    how: tuple[bool, bool],
    now: datetime,
) -> None:
    if fee.state in OPEN:
        if end is not None:
            apply_fee_end(conn, fee, end, now)
        return
    if end is not None and fee.state == _ENDED[FeeStep(end.step)]:
        if fee.ended_by != end.number:
            fees.change_fee(conn, fee.id, ended_at=end.issued_at, ended_by=end.number)
        return
    _replace_fee(conn, fee, end, how, now)


def apply_fee_end(conn: Connection, fee: Row[Any], end: FeeWord, now: datetime) -> None:
    """Cancel or confirm a fee that is due, or one that is paid, by a notice."""
    what = StateEvent(end.step, now, fee.agency, end.number[:100])
    ended = {"ended_at": end.issued_at, "ended_by": end.number}
    if end.step == FeeStep.CONFIRM:
        fees.apply_event(conn, fee.id, what, **ended)
        record_fee_step(conn, fee, "confirmed", now, notice=end.number)
        drop_held_order(conn, fee, what)
    else:
        cancel_fee(conn, fee, what, **ended)


def _replace_fee(
    conn: Connection,
    fee: Row[Any],
    end: FeeWord | None,
    how: tuple[bool, bool],
    now: datetime,
) -> None:
    """End a fee that another notice has ended than was thought; what is due is levied under a new number.

    Its order at the provider is cancelled, or was.
    """
    if fee.state == "CONFIRMED":
        what = StateEvent("replace", now, fee.agency, "another fee was confirmed")
        fees.apply_event(conn, fee.id, what)
        record_fee_step(conn, fee, "replaced", now)
        close_order(conn, fee, what)
    if end is not None and end.step == FeeStep.CANCEL:
        fees.change_fee(conn, fee.id, ended_at=end.issued_at, ended_by=end.number)
        return
    ordered, held = how
    place = fees.count_by_request(conn, fee.request_id) + 1
    number = f"{fee.number.rpartition('-')[0]}-F{place:02d}"
    again = levy_fee(conn, _copy_fee(fee, number), now, ordered=ordered and end is None, held=held)
    if end is not None:
        apply_fee_end(conn, get_fee(conn, again.id), end, now)


def _copy_fee(fee: Row[Any], number: str) -> NewFee:
    return NewFee(
        number=number,
        request_id=fee.request_id,
        case_id=fee.case_id,
        agency=fee.agency,
        kind=fee.kind,
        gate=fee.gate,
        amount=fee.amount,
        currency=fee.currency,
        due_on=fee.due_on,
        payment_notice=fee.payment_notice,
        refundable=fee.refundable,
        levied_at=fee.levied_at,
        due_at=fee.due_at,
        notice=fee.notice,
    )


def make_fee_word(notice: Notice, code: StatusCode) -> FeeWord:
    """Return what a notice says of a fee."""
    named = notice.fee.payment_notice if notice.fee else ""
    return FeeWord(notice.number, notice.issued_at, code.fee_step, named)
