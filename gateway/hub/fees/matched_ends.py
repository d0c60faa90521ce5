"""Ends the fees of a request by all notices of its agency, in any order of their arrival.

Where several fees of one kind were levied and a notice ends one without naming it, the issue times decide
which one. A notice that comes late may change that: the fee that was ended is due again, and another one is
not. Fees that were paid or refunded at the provider, or that an operator has ended, stay unchanged: then each
notice is applied to the fee that is open when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.cases import FeeNoticeEvent, FeeStep, Notice, StatusCode, match_fee_ends
from gateway.hub.fees.fee_records import (
    OPEN_FEE_STATES,
    cancel_fee,
    close_order,
    drop_held_order,
    get_fee,
    levy_fee,
    record_fee_step,
)
from gateway.store import FeeRow, NewFee, NoticeSummary, StateEvent, fees

_MATCHED: Final = (FeeStep.LEVY, FeeStep.CANCEL, FeeStep.CONFIRM)
_END_STATES: Final = {FeeStep.CANCEL: "CANCELLED", FeeStep.CONFIRM: "CONFIRMED"}
#: As many fees of one kind are never in doubt.
_MAX_CERTAIN_FEES: Final = 1


@dataclass(frozen=True, slots=True)
class FeeHistory:
    """All notices about a request, and the status codes of its case that they are read by."""

    notices: Sequence[NoticeSummary]
    codes: Mapping[str, StatusCode]


@dataclass(frozen=True, slots=True)
class FeeMatch:
    """The statements of all notices about the fees of one kind, and which of them has ended which fee.

    `statements` has each statement by the number of its notice; `ends_by_levy` has the statement that ended a
    fee, by the number of the notice that levied the fee.
    """

    kind: str
    statements: Mapping[str, FeeNoticeEvent]
    ends_by_levy: Mapping[str, FeeNoticeEvent]

    def list_end_numbers(self) -> set[str]:
        """Return the numbers of the notices that have ended a fee."""
        return {word.number for word in self.ends_by_levy.values()}


def is_early_end(fee: FeeRow) -> bool:
    """Return whether a fee was cancelled or confirmed and its levy has not come."""
    # A fee that was levied without an amount may end in the second of its levy.
    unknown = fee.notice is None and fee.amount is None
    return unknown and fee.ended_at is not None and fee.levied_at == fee.ended_at


def read_fee_match(
    conn: Connection, levied: Sequence[FeeRow], code: StatusCode, history: FeeHistory
) -> FeeMatch | None:
    """Return the statements of all notices about the fees of one kind, matched; None if no match is needed.

    `levied` are the fees of the request; `code` is the status code of the notice, which is in the `history`.
    None is also returned if a notice has no fee data stored, or if a fee was settled by other means than
    notices.
    """
    same_kind = [fee for fee in levied if fee.kind == code.fee_kind]
    gate_end_numbers = {fee.ended_by for fee in same_kind if fee.gate == "forwarding"}
    fee_words = []
    for notice in history.notices:
        status_code = history.codes.get(notice.status_code)
        if (
            status_code is None
            or status_code.fee_kind != code.fee_kind
            or status_code.fee_step not in _MATCHED
        ):
            continue
        if notice.fee_notice is None:
            return None
        if notice.number not in gate_end_numbers:
            fee_words.append(
                FeeNoticeEvent(notice.number, notice.issued_at, status_code.fee_step, notice.fee_notice)
            )
    ends = [word for word in fee_words if word.fee_step != FeeStep.LEVY]
    if len(fee_words) - len(ends) <= _MAX_CERTAIN_FEES or all(word.payment_notice for word in ends):
        return None
    if any(_is_settled_otherwise(conn, fee) for fee in same_kind if not _is_replaced(fee, same_kind)):
        return None
    return FeeMatch(code.fee_kind, {word.number: word for word in fee_words}, match_fee_ends(fee_words))


def _is_settled_otherwise(conn: Connection, fee: FeeRow) -> bool:
    """Return whether not only notices decide the state of a fee, but also payments, gates or operators."""
    if fee.gate == "forwarding":
        return fee.state in OPEN_FEE_STATES
    if fee.paid_at is not None or (fee.state not in OPEN_FEE_STATES and fee.ended_by is None):
        return True
    # A refund of a fee that was never paid here has moved no money.
    return any(
        movement.kind == "payment" or movement.payment for movement in fees.list_movements(conn, fee.id)
    )


def _is_replaced(fee: FeeRow, levied: Iterable[FeeRow]) -> bool:
    """Return whether a fee is due again under another number."""
    return fee.notice is not None and any(
        other_fee.notice == fee.notice and other_fee.id > fee.id and other_fee.gate == fee.gate
        for other_fee in levied
    )


def find_kept_end(match: FeeMatch, levied: Iterable[FeeRow], end: FeeNoticeEvent) -> FeeRow | None:
    """Return the fee that was stored for `end` when it came before its levy; None if there is none.

    An end is a notice that cancels or confirms a fee. If `end` has no such fee, return one that was stored
    for another early end with the same effect, if `match` assigns this other end to a fee.
    """
    early_ends = [
        fee for fee in levied if is_early_end(fee) and fee.state == _END_STATES[FeeStep(end.fee_step)]
    ]
    own_ends = [fee for fee in early_ends if fee.ended_by == end.number]
    others = [fee for fee in early_ends if fee.ended_by in match.list_end_numbers()]
    return next(iter((*own_ends, *others)), None)


def apply_matches(
    conn: Connection,
    match: FeeMatch,
    levied: Sequence[FeeRow],
    now: datetime,
    *,
    is_ordered: bool,
    is_order_held: bool,
) -> None:
    """Let each fee be due, cancelled or confirmed as it follows from all notices.

    With `is_ordered` a fee that is due again is ordered at the provider; with `is_order_held` it waits.
    """
    for fee in levied:
        if fee.notice is None or fee.notice not in match.statements or _is_replaced(fee, levied):
            continue
        end = match.ends_by_levy.get(fee.notice)
        if fee.state in OPEN_FEE_STATES:
            if end is not None:
                apply_fee_end(conn, fee, end, now)
        elif end is not None and fee.state == _END_STATES[FeeStep(end.fee_step)]:
            if fee.ended_by != end.number:
                fees.change_fee(conn, fee.id, ended_at=end.issued_at, ended_by=end.number)
        else:
            _replace_fee(conn, fee, end, now, is_ordered=is_ordered, is_order_held=is_order_held)


def apply_fee_end(conn: Connection, fee: FeeRow, end: FeeNoticeEvent, now: datetime) -> None:
    """Cancel or confirm a fee that is due, or one that is paid, by a notice."""
    event = StateEvent(end.fee_step, now, fee.agency, end.number[:100])
    ended = {"ended_at": end.issued_at, "ended_by": end.number}
    if end.fee_step == FeeStep.CONFIRM:
        fees.apply_event(conn, fee.id, event, **ended)
        record_fee_step(conn, fee, "confirmed", now, notice=end.number)
        drop_held_order(conn, fee, event)
    else:
        cancel_fee(conn, fee, event, **ended)


def _replace_fee(
    conn: Connection,
    fee: FeeRow,
    end: FeeNoticeEvent | None,
    now: datetime,
    *,
    is_ordered: bool,
    is_order_held: bool,
) -> None:
    """End a fee whose end was matched to another notice before; levy it again under a new number.

    `end` is the statement that ends it now, None if it is due. If `end` cancels the fee, it is only stored
    with the fee, and no new one is levied. The order at the provider is cancelled, unless it was before.
    """
    if fee.state == "CONFIRMED":
        event = StateEvent("replace", now, fee.agency, "another fee was confirmed")
        fees.apply_event(conn, fee.id, event)
        record_fee_step(conn, fee, "replaced", now)
        close_order(conn, fee, event)
    if end is not None and end.fee_step == FeeStep.CANCEL:
        fees.change_fee(conn, fee.id, ended_at=end.issued_at, ended_by=end.number)
        return
    position = fees.count_by_request(conn, fee.request_id) + 1
    number = f"{fee.number.rpartition('-')[0]}-F{position:02d}"
    new_fee = levy_fee(
        conn, _copy_fee(fee, number), now, is_ordered=is_ordered and end is None, is_order_held=is_order_held
    )
    if end is not None:
        apply_fee_end(conn, get_fee(conn, new_fee.id), end, now)


def _copy_fee(fee: FeeRow, number: str) -> NewFee:
    terms = {field.name: getattr(fee, field.name) for field in fields(NewFee)}
    return NewFee(**{**terms, "number": number})


def make_fee_event(notice: Notice, code: StatusCode) -> FeeNoticeEvent:
    """Return the statement of a notice about a fee; `code` is its status code."""
    payment_notice = notice.fee.payment_notice if notice.fee else ""
    return FeeNoticeEvent(notice.number, notice.issued_at, code.fee_step, payment_notice)
