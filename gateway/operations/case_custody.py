"""Reads the tasks that are due on the cases of a list, and reports who holds each application of a case."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import (
    DEMAND_TASKS,
    CaseCustody,
    CustodyTask,
    DeadlineKind,
    OpenDemands,
    find_case_custody,
    list_request_tasks,
)
from gateway.errors import GatewayError
from gateway.state_machines import CASE, FEE, REQUEST
from gateway.store import (
    CaseRow,
    FeeRow,
    RequestWithFeesRow,
    RunningDeadlineRow,
    agency_requests,
    deadlines,
    fees,
    transitions,
)

#: The kinds of the deadlines of each task; the other tasks have those of the agency's decision.
_DEADLINE_KINDS: Final[Mapping[CustodyTask, Collection[str]]] = {
    CustodyTask.PAY: (DeadlineKind.PAY,),
    CustodyTask.ANSWER: (DeadlineKind.ANSWER,),
    CustodyTask.INSPECT: (DeadlineKind.INSPECT,),
    CustodyTask.CANCEL: (),
}
_DECIDING_KINDS: Final = (DeadlineKind.ACKNOWLEDGE, DeadlineKind.DECIDE)


def load_request_custodies(
    conn: Connection, requests: Collection[RequestWithFeesRow]
) -> dict[int, tuple[CaseCustody, ...]]:
    """Return the tasks that are due on each of these requests, by its row id; a payment comes first.

    A fee that is levied while its agency is asked whether it cancels is due when that is answered.
    """
    open_requests = [row for row in requests if row.open_fees or _is_waiting(row)]
    running_deadlines: dict[int, list[RunningDeadlineRow]] = defaultdict(list)
    if open_requests:
        for deadline in deadlines.list_running(conn, {row.case_id for row in open_requests}):
            running_deadlines[deadline.request_id].append(deadline)
    open_fees: dict[int, list[FeeRow]] = defaultdict(list)
    owing_requests = [row.id for row in open_requests if row.open_fees]
    if owing_requests:
        for fee in fees.list_open(conn, owing_requests):
            open_fees[fee.request_id].append(fee)
    return {
        row.id: _list_custodies(row, open_fees.get(row.id, ()), running_deadlines.get(row.id, ()))
        for row in requests
    }


def _is_waiting(request: RequestWithFeesRow) -> bool:
    return request.state not in REQUEST.final_states or _is_cancellation_asked(request)


def _is_cancellation_asked(request: RequestWithFeesRow) -> bool:
    return request.cancellation == "ASKED" and request.state != "CANCELLED"


def _list_custodies(
    request: RequestWithFeesRow, open_fees: Sequence[FeeRow], running_deadlines: Sequence[RunningDeadlineRow]
) -> tuple[CaseCustody, ...]:
    """Return the tasks that are due on a request, by its open fees and its deadlines that run."""
    due_fees = _select_due_fees(request, open_fees, running_deadlines)
    demands = read_followed_demands(request).by_event
    demands_by_task = {DEMAND_TASKS[event]: demand for event, demand in demands.items()}
    tasks = list_request_tasks(
        request.state,
        demands,
        owes_fee=bool(due_fees),
        is_cancellation_asked=_is_cancellation_asked(request),
    )
    custodies = []
    for task in tasks:
        kinds = _DEADLINE_KINDS.get(task, _DECIDING_KINDS)
        due_times = [row.due_at for row in running_deadlines if row.kind in kinds and row.due_at is not None]
        demand = demands_by_task.get(task)
        start_times = [fee.levied_at for fee in due_fees] if task is CustodyTask.PAY else []
        start_times += [] if demand is None else [demand.received_at]
        start, end = min(start_times, default=None), min(due_times, default=None)
        custodies.append(CaseCustody(task, request.agency, start, end))
    return tuple(custodies)


def read_followed_demands(request: RequestWithFeesRow) -> OpenDemands:
    """Return the open demands of the agency that the state of a request follows; none where it does not."""
    if request.demands is None or request.demands_state != request.state:
        return OpenDemands()
    return OpenDemands.restore(request.demands)


def _select_due_fees(
    request: RequestWithFeesRow, open_fees: Sequence[FeeRow], running_deadlines: Sequence[RunningDeadlineRow]
) -> Sequence[FeeRow]:
    """Return the open fees that the applicant owes now.

    While the agency is asked whether it cancels, only those that could be paid before are due.
    """
    if not _is_cancellation_asked(request):
        return open_fees
    dated_fees = {row.cause for row in running_deadlines if row.kind == DeadlineKind.PAY}
    return [fee for fee in open_fees if fee.state == "ORDERED" or fee.number in dated_fees]


def read_custody_times(
    conn: Connection, case: CaseRow, timetable: Timetable, now: datetime
) -> list[dict[str, Any]]:
    """Return who holds each application, for which tasks and since when, and how long each has held it.

    `tasks` has every task that is due, a payment first; holder, task, `since` and `due_at` of an application
    are those of the first one, and None if none is due. `working_seconds` has the working time of each
    holder, in the calendar of the organisation; None where the calendar does not know a day. A held case
    has one line without application: its declarant has to file a missing document or the whole case again,
    or its parent has to be decided.
    """
    if case.state == "HELD":
        return [_describe_hold(conn, case)]
    requests = agency_requests.list_by_case(conn, case.id)
    custodies_by_request = load_request_custodies(conn, requests)
    custody_times = []
    for request in requests:
        custodies = custodies_by_request[request.id]
        state_steps = [
            (transition_row.at, transition_row.to_state)
            for transition_row in transitions.list_transitions(conn, REQUEST, request.id)
        ]
        is_owing = any(custody.task is CustodyTask.PAY for custody in custodies)
        open_fee_times = _list_open_fee_times(conn, request, now, is_owing=is_owing)
        periods = list(
            _list_holder_periods([(case.opened_at, REQUEST.initial_state), *state_steps], open_fee_times, now)
        )
        holder_start = _find_holder_start(periods)
        tasks = [_describe_task(custody, custody.since or holder_start) for custody in custodies]
        times = {"working_seconds": _measure_holder_times(timetable.get_calendar(request.agency), periods)}
        custody_times.append(_make_custody_line(request.number, request.agency, tasks) | times)
    return custody_times


def _make_custody_line(
    application: str | None, agency: str | None, tasks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    first = tasks[0] if tasks else dict.fromkeys(("holder", "task", "since", "due_at"))
    return {"application": application, "agency": agency, **first, "tasks": tasks}


def _describe_task(custody: CaseCustody, since: datetime | None) -> dict[str, Any]:
    return {
        "holder": custody.holder.value,
        "task": custody.task.value,
        "since": since,
        "due_at": custody.deadline,
    }


def _list_open_fee_times(
    conn: Connection, request: RequestWithFeesRow, now: datetime, *, is_owing: bool
) -> Sequence[tuple[datetime, datetime]]:
    """Return the beginning and the end of the time in which each fee of a request was open.

    Fees that are open now count only if the applicant has to pay now (`is_owing`).
    """
    open_fee_times = []
    for fee in fees.list_by_request(conn, request.id):
        fee_steps = transitions.list_transitions(conn, FEE, fee.id)
        closing_times = [
            transition_row.at
            for transition_row in fee_steps
            if transition_row.to_state not in ("LEVIED", "ORDERED")
        ]
        if closing_times or is_owing:
            open_fee_times.append((fee.levied_at, min(closing_times, default=now)))
    return open_fee_times


def _describe_hold(conn: Connection, case: CaseRow) -> dict[str, Any]:
    """Return the line of a held case: its task, the time since it is held and its deadline."""
    (custody,) = find_case_custody(case.state, (), case.detail["held"])
    hold_times = [
        transition_row.at
        for transition_row in transitions.list_transitions(conn, CASE, case.id)
        if transition_row.to_state == "HELD"
    ]
    task = _describe_task(custody, min(hold_times, default=case.opened_at))
    return _make_custody_line(None, None, [task]) | {"working_seconds": None}


def _find_holder_start(periods: Sequence[tuple[str, datetime, datetime]]) -> datetime | None:
    """Return when the holder of the last period began, without a break since; None without periods."""
    holder_start = None
    for holder, start, end in reversed(periods):
        if holder != periods[-1][0] or (holder_start is not None and end != holder_start):
            break
        holder_start = start
    return holder_start


def _list_holder_periods(
    state_steps: list[tuple[datetime, str]],
    open_fee_times: Sequence[tuple[datetime, datetime]],
    now: datetime,
) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield holder, beginning and end of each period; a decided application has no holder.

    `state_steps` are the states of the application, each with its time, the first one first. `open_fee_times`
    are the periods in which a fee was open: then the applicant is the holder.
    """
    state_ends = [at for at, _ in state_steps[1:]] + [now]
    for (at, state), end in zip(state_steps, state_ends, strict=True):
        if state in REQUEST.final_states:
            continue
        cut_times = sorted(
            {at, end, *(moment for pair in open_fee_times for moment in pair if at < moment < end)}
        )
        for start, stop in itertools.pairwise(cut_times) if len(cut_times) > 1 else [(at, end)]:
            has_open_fee = any(first <= start < last for first, last in open_fee_times)
            task = list_request_tasks(state, owes_fee=has_open_fee)[0]
            # A state that began and ended in one transaction has no holder.
            if start < stop or stop == now:
                yield CaseCustody(task).holder.value, start, stop


def _measure_holder_times(
    calendar: WorkingCalendar, periods: Iterable[tuple[str, datetime, datetime]]
) -> dict[str, int] | None:
    """Return the working seconds of each holder in the periods; None where the calendar lacks a day."""
    times_by_holder: dict[str, timedelta] = {}
    try:
        for holder, start, end in periods:
            working_time = calendar.measure_working_time(start, end)
            times_by_holder[holder] = times_by_holder.get(holder, timedelta()) + working_time
    except GatewayError:
        return None
    return {holder: int(working_time.total_seconds()) for holder, working_time in times_by_holder.items()}
