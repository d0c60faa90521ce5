"""Keeps the deadlines of a case in step with its requests: begins, holds, ends, and tells them.

What is owed follows from the states of the requests alone (`gateway.cases.request_deadlines`). So every
transaction that changes a request ends with `settle_deadlines`, in whatever order events came, and a
deadline that nobody owes any more never fires.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.calendars import Timetable
from gateway.cases import DeadlineKind, DeadlineState, FeeStep, choose_ended_state, list_due_kinds
from gateway.evidence import record_evidence
from gateway.hub.completion import is_cancellation_open
from gateway.hub.deadlines.due_times import (
    DueTimes,
    StartedTerm,
    compute_due_times,
    extend_due_times,
)
from gateway.hub.deadlines.overdue_events import tell_overdue
from gateway.hub.hub import Hub
from gateway.store import NewDeadline, agency_requests, cases, deadlines, fees, notices

__all__ = ["settle_deadlines"]

_ASKING: Final = frozenset({"ask", "inspect", "fee"})
_BY_NOTICE: Final = frozenset({DeadlineKind.ANSWER, DeadlineKind.PAY, DeadlineKind.INSPECT})
_APPLICANT_ACTS: Final = frozenset({"INFORMATION_REQUIRED", "FEE_DUE"})
_FEE_OPEN: Final = ("LEVIED", "ORDERED")
_LAST_SECOND: Final = time(23, 59, 59)
_RUNNING: Final = ("OPENED", "IN_PROGRESS")


@dataclass(frozen=True, slots=True)
class _Question:
    """By what somebody has to act: the number of a notice or of a fee, and until when it says.

    `owed` are the numbers of every fee, or of its notice, that is due beside it.
    """

    number: str
    deadline: datetime | None
    owed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Settling:
    """One case that is settled: its row, the timetable, and the times that count."""

    hub: Hub
    case: Row[Any]
    timetable: Timetable
    now: datetime
    done_at: datetime
    begun: Collection[str]
    #: What ends, by its last state: those of one state are changed together.
    ended: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    #: Until when the one who holds a request (row id) has to act, where that is another time now.
    due: dict[int, datetime | None] = field(default_factory=dict)


def settle_deadlines(
    conn: Connection,
    hub: Hub,
    case_id: int,
    now: datetime,
    *,
    done_at: datetime | None = None,
    begun: Collection[str] = (),
    opened: bool = False,
) -> None:
    """Begin and end the deadlines of a case, as the states of its requests say; the case is locked.

    `done_at` is when what was owed was done, where that is earlier than `now`: a supplement counts
    from its receipt. The terms of the applications `begun` (numbers) begin now, whatever began before.
    A case that was `opened` by the same transaction has no deadlines yet.
    """
    case = cases.lock_case(conn, case_id)
    live = () if opened else deadlines.list_live(conn, case_id)
    timetable = hub.timetable.read_timetable(conn, live[0].mark if live else None)
    settling = _Settling(hub, case, timetable, now, done_at or now, begun)
    new: list[NewDeadline] = []
    for request in agency_requests.list_by_case(conn, case_id):
        mine = [row for row in live if row.request_id == request.id]
        new += _settle_request(conn, settling, request, mine)
    deadlines.settle_times(conn, settling.ended, settling.due, now)
    deadlines.insert_deadlines(conn, new)


def _settle_request(
    conn: Connection, settling: _Settling, request: Row[Any], live: Sequence[Row[Any]]
) -> list[NewDeadline]:
    """Settle one request; return the deadlines that begin."""
    kinds = _list_kinds(settling, request)
    asking = _find_question(conn, settling, request) if kinds & _BY_NOTICE else None
    restarted = request.number in settling.begun
    kept: dict[DeadlineKind, datetime | None] = {}
    for row in live:
        kind = DeadlineKind(row.kind)
        cause = asking.number if asking is not None and kind in _BY_NOTICE else ""
        if kind not in kinds or restarted or row.cause != cause:
            # A fee that is not due any more was paid, though another one is due.
            owed = asking.owed if asking is not None and kind is DeadlineKind.PAY else ()
            paid = bool(owed) and row.cause not in owed
            replaced = restarted or (kind in kinds and not paid)
            _end_deadline(conn, settling, (request, row), replaced=replaced)
        else:
            kept[kind] = _keep_deadline(conn, settling, request, row)
    new = [
        one
        for kind in sorted(kinds - set(kept))
        if kind is not DeadlineKind.ACKNOWLEDGE or restarted
        if (one := _make_deadline(settling, request, kind, asking)) is not None
    ]
    times = kept | {DeadlineKind(one.kind): one.due_at for one in new if one.state != "HELD"}
    _choose_due_time(settling, request, times)
    return new


def _list_kinds(settling: _Settling, request: Row[Any]) -> frozenset[DeadlineKind]:
    """Return what is owed about a request; nothing while its agency is asked to cancel it."""
    if settling.case.state not in _RUNNING or is_cancellation_open(request):
        return frozenset()
    return list_due_kinds(request.state, acknowledged=request.receipt_number is not None)


def _find_question(conn: Connection, settling: _Settling, request: Row[Any]) -> _Question | None:
    """Return why a request waits for an action: a fee that is due, or the notice issued last."""
    levied = fees.list_by_request(conn, request.id) if request.state == "FEE_DUE" else ()
    due = [fee for fee in levied if fee.state in _FEE_OPEN]
    held = next((fee for fee in due if fee.gate == "forwarding"), None)
    if held is not None:
        return _make_fee_question(settling, held, ())
    codes = {one.code for one in settling.hub.rules.status_codes.values() if one.event in _ASKING}
    asking = [row for row in notices.list_by_request(conn, request.id) if row.status_code in codes]
    demanded = [_make_fee_question(settling, fee, asking) for fee in due]
    if demanded:
        number, deadline = _choose_first(demanded)
        return _Question(number, deadline, frozenset(one.number for one in demanded))
    latest = max(asking, key=lambda one: (one.issued_at, one.number), default=None)
    return None if latest is None else _Question(latest.number, latest.deadline)


def _choose_first(demanded: Sequence[_Question]) -> tuple[str, datetime | None]:
    """Return number and time of the fee that is due first, one without a last day after all others."""
    timed = [(one.deadline, one.number) for one in demanded if one.deadline is not None]
    deadline, number = min(timed, default=(None, demanded[0].number))
    return number, deadline


def _make_fee_question(settling: _Settling, fee: Row[Any], asking: Sequence[Row[Any]]) -> _Question:
    """Return until when a fee is due: the time in the notice that levied it, or its own last day."""
    codes = {
        one.code
        for one in settling.hub.rules.status_codes.values()
        if one.fee_step == FeeStep.LEVY and one.fee_kind == fee.kind
    }
    for notice in asking:
        if notice.status_code in codes and notice.issued_at == fee.levied_at and notice.deadline is not None:
            return _Question(notice.number, notice.deadline)
    return _Question(fee.number, _find_end_of_day(settling, fee.due_on))


def _find_end_of_day(settling: _Settling, day: date | None) -> datetime | None:
    """Return the last second of a day of the hub: its midnight would stand for a day without a time."""
    return None if day is None else datetime.combine(day, _LAST_SECOND, settling.hub.zone)


def _end_deadline(
    conn: Connection, settling: _Settling, about: tuple[Row[Any], Row[Any]], *, replaced: bool
) -> None:
    request, row = about
    late = row.due_at is not None and settling.done_at > row.due_at
    withdrawn = settling.case.state not in (*_RUNNING, "DECIDED", "CLOSED") or is_cancellation_open(request)
    state = choose_ended_state(DeadlineKind(row.kind), request.state, late=late)
    if replaced or withdrawn:
        state = DeadlineState.CANCELLED
    if state is DeadlineState.LATE and row.state == DeadlineState.OPEN:
        # Nobody was faster: what is overdue is told even when it is done in the same instant.
        tell_overdue(conn, settling.case, (request, row), settling.now)
    settling.ended[state.value].append(row.id)
    if state is DeadlineState.LATE:
        data = {"kind": row.kind, "due": row.due_at.isoformat(), "done": settling.done_at.isoformat()}
        record_evidence(conn, "late", "request", request.id, None, data, settling.now)


def _keep_deadline(
    conn: Connection, settling: _Settling, request: Row[Any], row: Row[Any]
) -> datetime | None:
    """Hold, resume or recompute a deadline that is still owed; return when it is due, None while held."""
    held = row.kind == DeadlineKind.DECIDE and request.state in _APPLICANT_ACTS
    if row.state == DeadlineState.UNKNOWN:
        return _compute_again(conn, settling, request, row)
    if held and row.state == DeadlineState.OPEN:
        values: dict[str, Any] = {"state": "HELD", "held_at": settling.now, "next_at": None}
        deadlines.change_deadline(conn, row.id, values)
        return None
    if row.state == DeadlineState.HELD and not held:
        remind = _find_reminder_days(settling, request, row)
        found = extend_due_times(settling.timetable, request.agency, row, remind, settling.done_at)
        deadlines.change_deadline(conn, row.id, {**_make_values(found), "held_at": None})
        return found.due_at
    return None if row.state == DeadlineState.HELD else row.due_at


def _compute_again(
    conn: Connection, settling: _Settling, request: Row[Any], row: Row[Any]
) -> datetime | None:
    """Compute a time that was not known; a calendar may have been loaded since."""
    asking = _find_question(conn, settling, request) if row.kind in _BY_NOTICE else None
    term = _make_term(request, DeadlineKind(row.kind), asking, row.started_at)
    found = compute_due_times(settling.timetable, term)
    if found is not None:
        deadlines.change_deadline(conn, row.id, _make_values(found))
    return None if found is None else found.due_at


def _find_reminder_days(settling: _Settling, request: Row[Any], row: Row[Any]) -> int | None:
    term = settling.timetable.find_term(request.document, row.started_at.date())
    return None if term is None else term.remind


def _make_values(found: DueTimes) -> dict[str, Any]:
    return {
        "state": "UNKNOWN" if found.problem else "OPEN",
        "due_at": found.due_at,
        "remind_at": found.remind_at,
        "next_at": found.next_at,
        "edition": found.edition,
        "problem": found.problem,
    }


def _make_deadline(
    settling: _Settling, request: Row[Any], kind: DeadlineKind, asking: _Question | None
) -> NewDeadline | None:
    """Return the deadline that begins; None where nobody gives it a time."""
    notice = asking if kind in _BY_NOTICE else None
    found = compute_due_times(settling.timetable, _make_term(request, kind, notice, settling.now))
    if found is None:
        return None
    held = kind is DeadlineKind.DECIDE and request.state in _APPLICANT_ACTS and not found.problem
    values = _make_values(found)
    if held:
        values |= {"state": "HELD", "held_at": settling.now, "next_at": None}
    return NewDeadline(
        case_id=settling.case.id,
        request_id=request.id,
        kind=kind.value,
        cause="" if notice is None else notice.number,
        started_at=settling.now,
        days=found.days,
        **values,
    )


def _make_term(
    request: Row[Any], kind: DeadlineKind, notice: _Question | None, started_at: datetime
) -> StartedTerm:
    stated = None if notice is None else notice.deadline
    return StartedTerm(request.agency, request.document, kind, started_at, stated)


def _choose_due_time(
    settling: _Settling, request: Row[Any], times: dict[DeadlineKind, datetime | None]
) -> None:
    """Note until when the one who holds the request has to act: what its agency asks for comes first."""
    asked = [times[kind] for kind in times if kind in _BY_NOTICE]
    known = [one for one in (asked or times.values()) if one is not None]
    due = min(known, default=None)
    if request.due_at != due:
        settling.due[int(request.id)] = due
