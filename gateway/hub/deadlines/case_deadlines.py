"""Keeps the deadlines of a case in step with its requests: begins, holds, ends, and tells them.

What is owed follows from what the agencies have asked for and nothing has settled: questions, inspections
(`gateway.cases.OpenDemands`) and open fees, each on its own; the state of a request follows from it too. So
every transaction that changes a request ends with `settle_deadlines`, in whatever order events came, and a
deadline that nobody owes any more never fires. Applications that open a case begin theirs as they are
stored (`gateway.hub.deadlines.opened_deadlines`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.calendars import Timetable
from gateway.cases import (
    DeadlineKind,
    DeadlineState,
    OpenDemands,
    choose_ended_state,
    find_asked_kind,
    list_due_kinds,
)
from gateway.evidence import record_evidence
from gateway.hub.completion import (
    TELLING_STATES,
    find_demanded_event,
    is_cancellation_open,
    keep_demands,
    list_open_levies,
    restore_demands,
)
from gateway.hub.deadlines.due_times import (
    DueTimes,
    StartedTerm,
    compute_due_times,
    extend_due_times,
)
from gateway.hub.deadlines.held_times import HeldTimes
from gateway.hub.deadlines.overdue_events import tell_overdue
from gateway.hub.hub import Hub
from gateway.state_machines import REQUEST
from gateway.store import NewDeadline, StateEvent, agency_requests, cases, deadlines, fees

__all__ = ["settle_deadlines"]

#: What is owed by the event with which an agency asks for it.
_DEMANDED: Final = {"ask": DeadlineKind.ANSWER, "fee": DeadlineKind.PAY, "inspect": DeadlineKind.INSPECT}
#: What the applicant has to do.
_APPLICANT_ACTS: Final = frozenset({"ask", "fee"})
_ACTOR: Final = "deadlines"
_FEE_OPEN: Final = ("LEVIED", "ORDERED")
_LAST_SECOND: Final = time(23, 59, 59)
#: The kinds by their stored names.
_KINDS: Final = {kind.value: kind for kind in DeadlineKind}
_NOTHING_ASKED: Final = OpenDemands()
_RUNNING: Final = ("OPENED", "IN_PROGRESS")
#: What is owed about a request: what, and by which notice or fee (its number; empty for what the terms say).
_Owed = tuple[DeadlineKind, str]


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


@dataclass(frozen=True, slots=True)
class _AskedRequest:
    """One request that is settled: its row, what its agency has asked for, and its fees where one is open."""

    row: Row[Any]
    demands: OpenDemands
    levied: Sequence[Row[Any]]


def settle_deadlines(
    conn: Connection,
    hub: Hub,
    case_id: int,
    now: datetime,
    *,
    done_at: datetime | None = None,
    begun: Collection[str] = (),
) -> None:
    """Settle the states of the requests of a locked case, and begin and end its deadlines.

    `done_at` is when what was owed was done, where that is earlier than `now`: a supplement counts
    from its receipt. The terms of the applications `begun` (numbers) begin now, whatever began before.
    """
    case = cases.lock_case(conn, case_id)
    live = deadlines.list_live(conn, case_id)
    timetable = hub.timetable.read_timetable(conn, live[0].mark if live else None)
    settling = _Settling(hub, case, timetable, now, done_at or now, begun)
    new: list[NewDeadline] = []
    for known in agency_requests.list_by_case(conn, case_id):
        mine = [row for row in live if row.request_id == known.id]
        if _is_at_rest(known, mine):
            continue
        # A fee without a last day has no deadline, and may have held the time to decide.
        asks_money = known.open_fees or [row for row in mine if row.kind == DeadlineKind.PAY or row.held_at]
        levied = fees.list_by_request(conn, known.id) if asks_money else ()
        demands = _read_demands(conn, hub, known)
        request = _settle_state(conn, known, demands, levied, now)
        new += _settle_request(conn, settling, _AskedRequest(request, demands, levied), mine)
    deadlines.settle_times(conn, settling.ended, settling.due, now)
    deadlines.insert_deadlines(conn, new)


def _is_at_rest(request: Row[Any], live: Sequence[Row[Any]]) -> bool:
    """Return whether nothing is owed about a decided or cancelled request, nor left of what was."""
    left = live or request.open_fees or request.due_at or request.demands
    return request.state in REQUEST.final and not left


def _read_demands(conn: Connection, hub: Hub, request: Row[Any]) -> OpenDemands:
    if request.demands is None and request.state not in TELLING_STATES:
        return _NOTHING_ASKED
    stored = restore_demands(request)
    return stored or keep_demands(conn, request, hub.load_rules_of(conn, request).status_codes)


def _settle_state(
    conn: Connection, request: Row[Any], demands: OpenDemands, levied: Sequence[Row[Any]], now: datetime
) -> Row[Any]:
    """Move a request to the state of what stands, in whatever order it was asked for; return it as it is."""
    if levied and any(fee.gate == "forwarding" and fee.state in _FEE_OPEN for fee in levied):
        return request
    event = find_demanded_event(request.state, demands, list_open_levies(levied) if levied else ())
    # A fee that no table of status codes tells of has the state alone.
    if event is None or (event == "fee_settled" and restore_demands(request) is None and not levied):
        return request
    agency_requests.apply_event(conn, request.id, StateEvent(event, now, _ACTOR))
    found = agency_requests.list_by_case(conn, request.case_id)
    return next(row for row in found if row.id == request.id)


def _settle_request(
    conn: Connection, settling: _Settling, about: _AskedRequest, live: Sequence[Row[Any]]
) -> list[NewDeadline]:
    """Settle one request; return the deadlines that begin."""
    request, levied = about.row, about.levied
    owed = _list_owed(settling, about)
    restarted = request.number in settling.begun
    kept: dict[_Owed, datetime | None] = {}
    for row in live:
        kind, fee = _KINDS[row.kind], _find_fee(row, levied) if levied else None
        key = (kind, row.cause if fee is None else fee.number)
        # A fee is due until the same day, whatever is amended.
        if key in owed and key not in kept and (fee is not None or not restarted):
            kept[key] = _keep_deadline(conn, settling, about, row, owed[key])
        else:
            replaced = restarted or any(kind is one for one, _ in owed)
            _end_deadline(conn, settling, about, row, replaced=replaced, fee=fee)
    new = [
        one
        for key in sorted([one for one in owed if one not in kept])
        if _may_begin(request, key[0], restarted=restarted)
        if (one := _make_deadline(settling, about, key, owed[key])) is not None
    ]
    times = kept | {(DeadlineKind(one.kind), one.cause): one.due_at for one in new if one.state != "HELD"}
    _choose_due_time(settling, request, times)
    return new


def _may_begin(request: Row[Any], kind: DeadlineKind, *, restarted: bool) -> bool:
    """Return whether a deadline may begin now.

    What is levied while an agency is asked whether it cancels can be paid when its application stands.
    """
    if kind is DeadlineKind.PAY:
        return not is_cancellation_open(request)
    return restarted or kind is not DeadlineKind.ACKNOWLEDGE


def _find_fee(row: Row[Any], levied: Sequence[Row[Any]]) -> Row[Any] | None:
    """Return the fee that a deadline is about; by its notice it is named where earlier code began it."""
    if row.kind != DeadlineKind.PAY:
        return None
    named = [fee for fee in levied if fee.number == row.cause]
    named += [fee for fee in levied if fee.notice is not None and fee.notice == row.cause]
    return named[0] if named else None


def _list_owed(settling: _Settling, about: _AskedRequest) -> dict[_Owed, datetime | None]:
    """Return what is owed about a request, each with the time that its notice or its fee states.

    Every fee that is open is owed, whatever the state of the request. While its agency is asked to cancel
    it, and when its case is decided, nothing else is.
    """
    request = about.row
    owed: dict[_Owed, datetime | None] = {
        (DeadlineKind.PAY, fee.number): fee.due_at or _find_end_of_day(settling, fee.due_on)
        for fee in about.levied
        if fee.state in _FEE_OPEN
    }
    if settling.case.state not in _RUNNING or is_cancellation_open(request):
        return owed
    kinds = list_due_kinds(request.state, acknowledged=request.receipt_number is not None)
    for kind in kinds:
        owed[kind, ""] = None
    if kinds and about.demands.standing:
        standing = about.demands.standing.items()
        owed |= {(_DEMANDED[event], one.number): one.deadline for event, one in standing}
    return owed


def _find_end_of_day(settling: _Settling, day: date | None) -> datetime | None:
    """Return the last second of a day of the hub: its midnight would stand for a day without a time."""
    return None if day is None else datetime.combine(day, _LAST_SECOND, settling.hub.zone)


def _end_deadline(
    conn: Connection,
    settling: _Settling,
    about: _AskedRequest,
    row: Row[Any],
    *,
    replaced: bool,
    fee: Row[Any] | None,
) -> None:
    request = about.row
    done_at = settling.done_at if fee is None else _find_payment_time(settling, fee)
    due_at = row.due_at if row.held_at is None else _end_hold(conn, settling, about, row)
    late = due_at is not None and done_at > due_at
    paid = None if fee is None else _is_paid(fee)
    state = choose_ended_state(_KINDS[row.kind], request.state, late=late, paid=paid)
    withdrawn = settling.case.state not in (*_RUNNING, "DECIDED", "CLOSED") or is_cancellation_open(request)
    if fee is None and (replaced or withdrawn):
        state = DeadlineState.CANCELLED
    if state is DeadlineState.LATE and row.state == DeadlineState.OPEN:
        # Nobody was faster: what is overdue is told even when it is done in the same instant.
        tell_overdue(conn, settling.case, (request, row), settling.now)
    settling.ended[state.value].append(row.id)
    if state is DeadlineState.LATE and due_at is not None:
        data = {"kind": row.kind, "due": due_at.isoformat(), "done": done_at.isoformat()}
        record_evidence(conn, "late", "request", request.id, None, data, settling.now)


def _end_hold(conn: Connection, settling: _Settling, about: _AskedRequest, row: Row[Any]) -> datetime | None:
    """Return until when a deadline ran that ends while the applicant still has to act; None if not known."""
    owed = _list_applicant_acts(about)
    acted = _restore_held_times(row, owed).follow(
        (),
        settling.now,
        lambda cause: settling.now if cause in owed else _find_done_time(settling, about, cause),
    )
    found = extend_due_times(settling.timetable, _make_term(about, row), acted)
    if found is None:
        return None
    deadlines.change_deadline(conn, row.id, {**_make_values(found), "state": row.state, "next_at": None})
    return found.due_at


def _is_paid(fee: Row[Any]) -> bool:
    """Return whether a fee that is due no more was paid, here or elsewhere; another one was cancelled."""
    return fee.paid_at is not None or fee.state == "CONFIRMED"


def _find_payment_time(settling: _Settling, fee: Row[Any]) -> datetime:
    """Return when a fee was paid; of one that was paid elsewhere or is owed no more, when that was said."""
    ended_at = fee.paid_at or fee.ended_at
    # The clock of the agency may be ahead of that of the provider: what it levied may be paid before it.
    return settling.done_at if ended_at is None else min(ended_at, settling.now)


def _keep_deadline(
    conn: Connection, settling: _Settling, about: _AskedRequest, row: Row[Any], stated: datetime | None
) -> datetime | None:
    """Hold, resume or recompute a deadline that is still owed; return when it is due, None while held."""
    if row.kind == DeadlineKind.DECIDE and row.state != DeadlineState.OVERDUE:
        return _keep_time_to_decide(conn, settling, about, row)
    due_at: datetime | None = row.due_at
    if row.state != DeadlineState.UNKNOWN:
        return due_at
    # A calendar may have been loaded since.
    found = compute_due_times(settling.timetable, _make_term(about, row, stated))
    if found is not None:
        deadlines.change_deadline(conn, row.id, _make_values(found) | {"days": found.days})
    return None if found is None else found.due_at


def _keep_time_to_decide(
    conn: Connection, settling: _Settling, about: _AskedRequest, row: Row[Any]
) -> datetime | None:
    """Hold the time to decide while the applicant has to act, and let it go on; return when it is due."""
    due_at: datetime | None = row.due_at
    owed = _list_applicant_acts(about)
    if row.state == DeadlineState.OPEN and not owed and row.held is None and row.held_at is None:
        return due_at
    before = _restore_held_times(row, owed)
    held = before.follow(owed, settling.now, lambda cause: _find_done_time(settling, about, cause))
    if row.state == DeadlineState.OPEN and not held:
        return due_at
    if held.open and due_at is not None:
        if held != before:
            values = {"state": "HELD", "held_at": held.started_at, "held": held.describe(), "next_at": None}
            deadlines.change_deadline(conn, row.id, values)
        return None
    found = extend_due_times(settling.timetable, _make_term(about, row), held)
    if found is None:
        return None
    values = _make_values(found, held if held.open or found.problem else None)
    deadlines.change_deadline(conn, row.id, values | {"days": found.days if row.days is None else row.days})
    return None if held.open else found.due_at


def _list_applicant_acts(about: _AskedRequest) -> set[str]:
    """Return what the applicant has to answer or to pay before the agency goes on: demands, and fees."""
    fees_owed = {str(fee.number) for fee in about.levied if fee.state in _FEE_OPEN}
    return fees_owed | (_APPLICANT_ACTS & about.demands.standing.keys())


def _restore_held_times(row: Row[Any], owed: Collection[str]) -> HeldTimes:
    """Return in which periods a deadline was held that its time does not have yet."""
    stored = None if row.held is None else HeldTimes.restore(row.held)
    # Code of the version before holds and resumes by `held_at` alone: then the periods are not those.
    if stored is not None and row.held_at == (stored.started_at if stored.open else None):
        return stored
    # A deadline from before the periods were stored says since when it is held, and not for what.
    causes = () if row.held_at is None else owed or ("",)
    return HeldTimes(dict.fromkeys(causes, row.held_at), due_at=row.due_at)


def _find_done_time(settling: _Settling, about: _AskedRequest, cause: str) -> datetime:
    """Return when the applicant did what is owed no more, or when it was said that it is not owed."""
    fee = next((one for one in about.levied if one.number == cause), None)
    return settling.done_at if fee is None else _find_payment_time(settling, fee)


def _make_term(about: _AskedRequest, row: Row[Any], stated: datetime | None = None) -> StartedTerm:
    request = about.row
    return StartedTerm(request.agency, request.document, _KINDS[row.kind], row.started_at, stated)


def _make_values(found: DueTimes, held: HeldTimes | None = None) -> dict[str, Any]:
    """Return the columns of a deadline; `held` are the periods that its time does not have yet."""
    values: dict[str, Any] = {**found.describe_state(), "held_at": None, "held": None}
    if held:
        values["held"] = replace(held, due_at=held.due_at or found.due_at).describe()
    if held and held.open:
        values |= {"held_at": held.started_at, "next_at": None}
        values["state"] = "UNKNOWN" if found.problem else "HELD"
    return values


def _make_deadline(
    settling: _Settling, about: _AskedRequest, owed: _Owed, stated: datetime | None
) -> NewDeadline | None:
    """Return the deadline that begins; None where nobody gives it a time."""
    request, (kind, cause) = about.row, owed
    term = StartedTerm(request.agency, request.document, kind, settling.now, stated)
    found = compute_due_times(settling.timetable, term)
    if found is None:
        return None
    acts = _list_applicant_acts(about) if kind is DeadlineKind.DECIDE else ()
    held = HeldTimes(dict.fromkeys(sorted(acts), settling.now))
    return NewDeadline(
        case_id=settling.case.id,
        request_id=request.id,
        kind=kind.value,
        cause=cause,
        started_at=settling.now,
        days=found.days,
        **_make_values(found, held),
    )


def _choose_due_time(settling: _Settling, request: Row[Any], times: dict[_Owed, datetime | None]) -> None:
    """Note until when the one who holds the request has to act: what its agency asks for comes first."""
    owes = bool(request.open_fees) and not is_cancellation_open(request)
    asked = find_asked_kind(request.state, owes_fee=owes)
    named = [] if asked is None else [at for (kind, _), at in times.items() if kind is asked]
    known = named or [at for (kind, _), at in times.items() if kind is not DeadlineKind.PAY]
    due = min(filter(None, known), default=None)
    if request.due_at != due:
        settling.due[int(request.id)] = due
