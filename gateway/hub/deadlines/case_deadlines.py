"""Keeps the deadlines of a case in step with its requests: begins, holds and ends them, sends notices.

The obligations follow from the open demands of the agencies, each on its own: questions, inspections
(`gateway.cases.OpenDemands`) and open fees; the state of a request follows from them, too. So every
transaction that changes a request ends with `settle_deadlines`, in any order of the events, and a deadline
without an obligation never fires. Applications that open a case begin their deadlines when they are stored
(`gateway.hub.deadlines.due_times`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, date, datetime, time, tzinfo
from typing import Any, Final

from sqlalchemy import Connection

from gateway.calendars import Timetable
from gateway.cases import (
    DEADLINE_HOLDERS,
    CustodyHolder,
    DeadlineKind,
    DeadlineState,
    OpenDemands,
    choose_ended_state,
    find_interim_deadline_kind,
    list_agency_deadline_kinds,
)
from gateway.evidence import record_evidence
from gateway.hub.completion.standing_demands import (
    find_demanded_event,
    is_cancellation_open,
    list_open_levies,
    read_demands,
)
from gateway.hub.deadlines.due_times import (
    DueTimes,
    HeldTimes,
    StartedTerm,
    compute_due_times,
    extend_due_times,
)
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.state_machines import REQUEST
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    DeadlineRow,
    FeeRow,
    LiveDeadlineRow,
    NewDeadline,
    RequestWithFeesRow,
    StateEvent,
    agency_requests,
    cases,
    deadlines,
    fees,
    transitions,
)

_CLOCKWORK: Final = "clockwork"


def mark_deadline_overdue(
    conn: Connection,
    case: CaseRow,
    request: AgencyRequestRow,
    row: DeadlineRow | LiveDeadlineRow,
    now: datetime,
) -> None:
    """Mark a deadline (`row`) of a request of a locked case as overdue, once; no decision follows from it."""
    deadlines.change_deadline(conn, row.id, {"state": "OVERDUE", "overdue_at": now, "next_at": None})
    assert row.due_at is not None, "an overdue deadline has a due time"
    text = f"{row.kind} {request.number} was due {row.due_at.isoformat()}"
    if case.state == "IN_PROGRESS":
        cases.apply_event(conn, case.id, StateEvent("deadline", now, _CLOCKWORK, text[:100]))
    transitions.record_events(conn, "request", [(request.id, f"OVERDUE {row.kind}")], now)
    data = {"agency": request.agency, "kind": row.kind, "due": row.due_at.isoformat(), "cause": row.cause}
    record_evidence(conn, "overdue", "request", request.id, None, data, now)
    _queue_applicant_notice(conn, row, "overdue", now)


def send_deadline_reminder(conn: Connection, row: DeadlineRow, now: datetime) -> None:
    """Send a reminder of a deadline once: to the applicant by a Notice, to an agency by an event alone."""
    assert row.due_at is not None, "a reminder is sent before a due time"
    values: dict[str, Any] = {"reminded_at": now, "next_at": row.due_at}
    deadlines.change_deadline(conn, row.id, values)
    request = agency_requests.find_by_id(conn, row.request_id)
    transitions.record_events(conn, "request", [(row.request_id, f"REMINDED {row.kind}")], now)
    agency = "" if request is None else request.agency
    data = {"agency": agency, "kind": row.kind, "due": row.due_at.isoformat(), "cause": row.cause}
    record_evidence(conn, "reminded", "request", row.request_id, None, data, now)
    _queue_applicant_notice(conn, row, "reminder", now)


def _queue_applicant_notice(
    conn: Connection, row: DeadlineRow | LiveDeadlineRow, occasion: str, now: datetime
) -> None:
    """Queue the Notice to the applicant where the applicant has to act."""
    if DEADLINE_HOLDERS[DeadlineKind(row.kind)] is CustodyHolder.APPLICANT:
        key = f"remind:{row.id}:{occasion}"
        enqueue_task(conn, "remind", "deadline", row.id, key, now, case_id=row.case_id, what=occasion)


#: The kind of deadline by the event with which an agency makes a demand.
_KINDS_BY_DEMAND_EVENT: Final = {
    "ask": DeadlineKind.ANSWER,
    "fee": DeadlineKind.PAY,
    "inspect": DeadlineKind.INSPECT,
}
#: The events with which an agency makes a demand on the applicant.
_APPLICANT_ACTS: Final = frozenset({"ask", "fee"})
_ACTOR: Final = "deadlines"
_FEE_OPEN: Final = ("LEVIED", "ORDERED")
_LAST_SECOND: Final = time(23, 59, 59)
#: The kinds by their stored names.
_KINDS: Final = {kind.value: kind for kind in DeadlineKind}
_RUNNING_CASE_STATES: Final = ("OPENED", "IN_PROGRESS")


@dataclass(frozen=True, slots=True, order=True)
class _Obligation:
    """An obligation about a request, and the number of its notice or fee (empty for those of the terms)."""

    kind: DeadlineKind
    cause: str


@dataclass(frozen=True, slots=True)
class _CaseSettlement:
    """One case that is settled: its row, the timetable, and the times that count."""

    hub: Hub
    case: CaseRow
    timetable: Timetable
    now: datetime
    done_at: datetime
    restarted_numbers: Collection[str]
    #: What ends, by its last state: those of one state are changed together.
    ended_ids_by_state: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    #: Until when the one who holds a request (row id) has to act, where that is another time now.
    due_times_by_request: dict[int, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _AskedRequest:
    """One request that is settled: its row, its agency's open demands, and its fees where one is open."""

    row: RequestWithFeesRow
    demands: OpenDemands
    levied_fees: Sequence[FeeRow]


def settle_deadlines(
    conn: Connection,
    hub: Hub,
    case_id: int,
    now: datetime,
    *,
    done_at: datetime | None = None,
    restarted_numbers: Collection[str] = (),
) -> None:
    """Settle the states of the requests of a locked case, and begin and end its deadlines.

    `done_at` is when the applicant met its obligation, if that was before `now`: a supplement counts from its
    receipt. The terms of the applications `restarted_numbers` (numbers) begin now, even if they began before.
    """
    case = cases.lock_case(conn, case_id)
    live = deadlines.list_live(conn, case_id)
    timetable = hub.timetable.read_timetable(conn, live[0].mark if live else None)
    settlement = _CaseSettlement(hub, case, timetable, now, done_at or now, restarted_numbers)
    new: list[NewDeadline] = []
    for stored_request in agency_requests.list_by_case(conn, case_id):
        own_deadlines = [row for row in live if row.request_id == stored_request.id]
        if _is_at_rest(stored_request, own_deadlines):
            continue
        # A fee without a last day has no deadline, and may have held the time to decide.
        asks_money = stored_request.open_fees or [
            row for row in own_deadlines if row.kind == DeadlineKind.PAY or row.held_at
        ]
        levied_fees = fees.list_by_request(conn, stored_request.id) if asks_money else ()
        demands = read_demands(stored_request)
        request = _settle_state(conn, stored_request, demands, levied_fees, now)
        new += _settle_request(conn, settlement, _AskedRequest(request, demands, levied_fees), own_deadlines)
    deadlines.end_deadlines_and_set_due_times(
        conn, settlement.ended_ids_by_state, settlement.due_times_by_request, now
    )
    deadlines.insert_deadlines(conn, new)


def _is_at_rest(request: RequestWithFeesRow, live: Sequence[LiveDeadlineRow]) -> bool:
    """Return whether a decided or cancelled request has neither obligations nor deadlines that run."""
    pending = live or request.open_fees or request.due_at or request.demands
    return request.state in REQUEST.final_states and not pending


def _settle_state(
    conn: Connection,
    request: RequestWithFeesRow,
    demands: OpenDemands,
    levied_fees: Sequence[FeeRow],
    now: datetime,
) -> RequestWithFeesRow:
    """Move a request to the state that its open demands and fees call for; return its current row."""
    if levied_fees and any(fee.gate == "forwarding" and fee.state in _FEE_OPEN for fee in levied_fees):
        return request
    event = find_demanded_event(request.state, demands, list_open_levies(levied_fees) if levied_fees else ())
    # Demands of early versions of 0.1.0 are stored only as the state of the request.
    if event is None or (request.demands is None and not levied_fees):
        return request
    agency_requests.apply_event(conn, request.id, StateEvent(event, now, _ACTOR))
    requests = agency_requests.list_by_case(conn, request.case_id)
    return next(row for row in requests if row.id == request.id)


def _settle_request(
    conn: Connection,
    settlement: _CaseSettlement,
    asked_request: _AskedRequest,
    live: Sequence[LiveDeadlineRow],
) -> list[NewDeadline]:
    """Settle one request; return the deadlines that begin."""
    request, levied_fees = asked_request.row, asked_request.levied_fees
    obligations = _list_obligations(settlement, asked_request)
    is_restarted = request.number in settlement.restarted_numbers
    kept_times: dict[_Obligation, datetime | None] = {}
    for row in live:
        kind, fee = _KINDS[row.kind], _find_fee(row, levied_fees) if levied_fees else None
        key = _Obligation(kind, row.cause if fee is None else fee.number)
        # The deadline of a fee stays the same after an amendment.
        if key in obligations and key not in kept_times and (fee is not None or not is_restarted):
            kept_times[key] = _update_owed_deadline(conn, settlement, asked_request, row, obligations[key])
        else:
            is_replaced = is_restarted or any(kind is obligation.kind for obligation in obligations)
            _end_deadline(conn, settlement, asked_request, row, is_replaced=is_replaced, fee=fee)
    new = [
        new_deadline
        for key in sorted([obligation for obligation in obligations if obligation not in kept_times])
        if _may_begin(conn, request, key.kind, is_restarted=is_restarted)
        if (new_deadline := _make_deadline(settlement, asked_request, key, obligations[key])) is not None
    ]
    times = kept_times | {
        _Obligation(DeadlineKind(deadline.kind), deadline.cause): deadline.due_at
        for deadline in new
        if deadline.state != "HELD"
    }
    _store_request_due_time(settlement, request, times)
    return new


def _may_begin(
    conn: Connection, request: RequestWithFeesRow, kind: DeadlineKind, *, is_restarted: bool
) -> bool:
    """Return whether a deadline may begin now.

    A fee that is levied while an agency is asked whether it cancels becomes payable only if the application
    is not cancelled. The time to acknowledge begins once: for an application that waits for its fee, when it
    is forwarded.
    """
    if kind is DeadlineKind.PAY:
        return not is_cancellation_open(request)
    return (
        is_restarted
        or kind is not DeadlineKind.ACKNOWLEDGE
        or not deadlines.has_deadline_begun(conn, request.id, kind.value)
    )


def _find_fee(row: LiveDeadlineRow, levied: Sequence[FeeRow]) -> FeeRow | None:
    """Return the fee that a deadline is about; None for one that is about no fee."""
    if row.kind != DeadlineKind.PAY:
        return None
    return next((fee for fee in levied if fee.number == row.cause), None)


def _list_obligations(
    settlement: _CaseSettlement, asked_request: _AskedRequest
) -> dict[_Obligation, datetime | None]:
    """Return the obligations about a request, each with the time that its notice or its fee states.

    Every open fee is an obligation, in any state of the request. While the agency is asked to cancel the
    request, and when the case is decided, there are no other obligations.
    """
    request = asked_request.row
    obligations: dict[_Obligation, datetime | None] = {
        _Obligation(DeadlineKind.PAY, fee.number): fee.due_at
        or find_end_of_day(fee.due_on, settlement.hub.zone)
        for fee in asked_request.levied_fees
        if fee.state in _FEE_OPEN
    }
    if settlement.case.state not in _RUNNING_CASE_STATES or is_cancellation_open(request):
        return obligations
    kinds = list_agency_deadline_kinds(request.state, is_acknowledged=request.receipt_number is not None)
    for kind in kinds:
        obligations[_Obligation(kind, "")] = None
    if kinds and asked_request.demands.by_event:
        demands = asked_request.demands.by_event.items()
        obligations |= {
            _Obligation(_KINDS_BY_DEMAND_EVENT[event], demand.number): demand.deadline
            for event, demand in demands
        }
    return obligations


def find_end_of_day(day: date | None, zone: tzinfo) -> datetime | None:
    """Return the last second of a day in a zone: its midnight would mean a day without a time.

    None for None, and for a day of the last year that can be written: it has no end in every zone.
    """
    return None if day is None or day.year == MAXYEAR else datetime.combine(day, _LAST_SECOND, zone)


def _end_deadline(
    conn: Connection,
    settlement: _CaseSettlement,
    asked_request: _AskedRequest,
    row: LiveDeadlineRow,
    *,
    is_replaced: bool,
    fee: FeeRow | None,
) -> None:
    """End the deadline `row` of a request: as met, late, or cancelled.

    With `is_replaced` another deadline follows it. `fee` is the fee that it is about, or None. A late one is
    reported as overdue, if it has not been, and recorded as evidence.
    """
    request = asked_request.row
    done_at = settlement.done_at if fee is None else _find_payment_time(settlement, fee)
    due_at = row.due_at if row.held_at is None else _end_hold(conn, settlement, asked_request, row)
    is_late = due_at is not None and done_at > due_at
    is_paid = None if fee is None else _is_paid(fee)
    state = choose_ended_state(_KINDS[row.kind], request.state, is_late=is_late, is_paid=is_paid)
    is_withdrawn = settlement.case.state not in (
        *_RUNNING_CASE_STATES,
        "DECIDED",
        "CLOSED",
    ) or is_cancellation_open(request)
    if fee is None and (is_replaced or is_withdrawn):
        state = DeadlineState.CANCELLED
    if state is DeadlineState.LATE and row.state == DeadlineState.OPEN:
        # No other step came first: an overdue deadline is reported even if it is met in the same instant.
        mark_deadline_overdue(conn, settlement.case, request, row, settlement.now)
    settlement.ended_ids_by_state[state.value].append(row.id)
    if state is DeadlineState.LATE and due_at is not None:
        data = {"kind": row.kind, "due": due_at.isoformat(), "done": done_at.isoformat()}
        record_evidence(conn, "late", "request", request.id, None, data, settlement.now)


def _end_hold(
    conn: Connection, settlement: _CaseSettlement, asked_request: _AskedRequest, row: LiveDeadlineRow
) -> datetime | None:
    """Return the due time of a held deadline that ends before the applicant has acted; None if unknown."""
    acts = _list_applicant_acts(asked_request)
    acted = _restore_held_times(row).update_open_causes(
        (),
        settlement.now,
        lambda cause: settlement.now if cause in acts else _find_done_time(settlement, asked_request, cause),
    )
    times = extend_due_times(settlement.timetable, _make_term(asked_request, row), acted)
    if times is None:
        return None
    deadlines.change_deadline(
        conn, row.id, {**_make_deadline_columns(times), "state": row.state, "next_at": None}
    )
    return times.due_at


def _is_paid(fee: FeeRow) -> bool:
    """Return whether a fee that is due no more was paid, here or elsewhere; another one was cancelled."""
    return fee.paid_at is not None or fee.state == "CONFIRMED"


def _find_payment_time(settlement: _CaseSettlement, fee: FeeRow) -> datetime:
    """Return when a fee was paid; for one paid elsewhere or not owed any more, when this was reported."""
    ended_at = fee.paid_at or fee.ended_at
    # This may be before the levy: the clock of the agency may be ahead of that of the provider.
    return settlement.done_at if ended_at is None else min(ended_at, settlement.now)


def _update_owed_deadline(
    conn: Connection,
    settlement: _CaseSettlement,
    asked_request: _AskedRequest,
    row: LiveDeadlineRow,
    stated_due: datetime | None,
) -> datetime | None:
    """Hold, resume or recompute a deadline that is still owed; return when it is due, None while held."""
    if row.kind == DeadlineKind.DECIDE and row.state != DeadlineState.OVERDUE:
        return _update_decision_deadline(conn, settlement, asked_request, row)
    due_at: datetime | None = row.due_at
    if row.state != DeadlineState.UNKNOWN:
        return due_at
    # A calendar may have been loaded since.
    times = compute_due_times(settlement.timetable, _make_term(asked_request, row, stated_due))
    if times is not None:
        deadlines.change_deadline(conn, row.id, _make_deadline_columns(times) | {"days": times.days})
    return None if times is None else times.due_at


def _update_decision_deadline(
    conn: Connection, settlement: _CaseSettlement, asked_request: _AskedRequest, row: LiveDeadlineRow
) -> datetime | None:
    """Hold the time to decide while the applicant has to act, and let it go on; return when it is due."""
    due_at: datetime | None = row.due_at
    open_acts = _list_applicant_acts(asked_request)
    if row.state == DeadlineState.OPEN and not open_acts and row.held is None and row.held_at is None:
        return due_at
    stored_held_times = _restore_held_times(row)
    held_times = stored_held_times.update_open_causes(
        open_acts, settlement.now, lambda cause: _find_done_time(settlement, asked_request, cause)
    )
    if row.state == DeadlineState.OPEN and not held_times:
        return due_at
    if held_times.open_since_by_cause and due_at is not None:
        if held_times != stored_held_times:
            values = {
                "state": "HELD",
                "held_at": held_times.started_at,
                "held": held_times.describe(),
                "next_at": None,
            }
            deadlines.change_deadline(conn, row.id, values)
        return None
    times = extend_due_times(settlement.timetable, _make_term(asked_request, row), held_times)
    if times is None:
        return None
    values = _make_deadline_columns(
        times, held_times if held_times.open_since_by_cause or times.problem else None
    )
    deadlines.change_deadline(conn, row.id, values | {"days": times.days if row.days is None else row.days})
    return None if held_times.open_since_by_cause else times.due_at


def _list_applicant_acts(asked_request: _AskedRequest) -> set[str]:
    """Return the demands and fees that the applicant has to answer or pay before the agency continues."""
    fees_owed = {str(fee.number) for fee in asked_request.levied_fees if fee.state in _FEE_OPEN}
    return fees_owed | (_APPLICANT_ACTS & asked_request.demands.by_event.keys())


def _restore_held_times(row: LiveDeadlineRow) -> HeldTimes:
    """Return in which periods a deadline was held that its time does not have yet."""
    if row.held is not None:
        return HeldTimes.restore(row.held)
    # Early versions of 0.1.0 kept since when a deadline was held, and not for what.
    return HeldTimes({} if row.held_at is None else {"": row.held_at}, due_at=row.due_at)


def _find_done_time(settlement: _CaseSettlement, asked_request: _AskedRequest, cause: str) -> datetime:
    """Return when an obligation ended: the applicant met it, or the agency said that it is not owed."""
    fee = next((levied_fee for levied_fee in asked_request.levied_fees if levied_fee.number == cause), None)
    return settlement.done_at if fee is None else _find_payment_time(settlement, fee)


def _make_term(
    asked_request: _AskedRequest, row: LiveDeadlineRow, stated_due: datetime | None = None
) -> StartedTerm:
    request = asked_request.row
    return StartedTerm(request.agency, request.document, _KINDS[row.kind], row.started_at, stated_due)


def _make_deadline_columns(times: DueTimes, held_times: HeldTimes | None = None) -> dict[str, Any]:
    """Return the columns of a deadline; `held_times` are the periods that its time does not have yet."""
    values: dict[str, Any] = {**times.describe_state(), "held_at": None, "held": None}
    if held_times:
        values["held"] = replace(held_times, due_at=held_times.due_at or times.due_at).describe()
    if held_times and held_times.open_since_by_cause:
        values |= {"held_at": held_times.started_at, "next_at": None}
        values["state"] = "UNKNOWN" if times.problem else "HELD"
    return values


def _make_deadline(
    settlement: _CaseSettlement,
    asked_request: _AskedRequest,
    obligation: _Obligation,
    stated_due: datetime | None,
) -> NewDeadline | None:
    """Return the deadline that begins; None if neither the timetable nor a notice gives it a time."""
    request, kind = asked_request.row, obligation.kind
    term = StartedTerm(request.agency, request.document, kind, settlement.now, stated_due)
    times = compute_due_times(settlement.timetable, term)
    if times is None:
        return None
    acts = _list_applicant_acts(asked_request) if kind is DeadlineKind.DECIDE else ()
    held = HeldTimes(dict.fromkeys(sorted(acts), settlement.now))
    return NewDeadline(
        case_id=settlement.case.id,
        request_id=request.id,
        kind=kind.value,
        cause=obligation.cause,
        started_at=settlement.now,
        days=times.days,
        **_make_deadline_columns(times, held),
    )


def _store_request_due_time(
    settlement: _CaseSettlement, request: RequestWithFeesRow, times: dict[_Obligation, datetime | None]
) -> None:
    """Store the due time of the party that holds the request; demands of its agency come first."""
    owes_fee = bool(request.open_fees) and not is_cancellation_open(request)
    asked_kind = find_interim_deadline_kind(request.state, owes_fee=owes_fee)
    asked_times = (
        []
        if asked_kind is None
        else [at for obligation, at in times.items() if obligation.kind is asked_kind]
    )
    candidates = asked_times or [
        at for obligation, at in times.items() if obligation.kind is not DeadlineKind.PAY
    ]
    due = min(filter(None, candidates), default=None)
    if request.due_at != due:
        settlement.due_times_by_request[int(request.id)] = due
