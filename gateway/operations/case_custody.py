"""Reads the tasks that are due on the cases of a list, and since when, and who has held each application."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import (
    CaseCustody,
    CustodyTask,
    DeadlineKind,
    OpenDemands,
    StateStep,
    TaskPeriod,
    TimeSpan,
    find_case_custody,
    find_task_start,
    list_asked_spans,
    list_request_tasks,
    list_task_periods,
)
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, read_leaf_data
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
_OPEN_FEE_STATES: Final = ("LEVIED", "ORDERED")


def load_request_custodies(
    conn: Connection, requests: Collection[RequestWithFeesRow]
) -> dict[int, tuple[CaseCustody, ...]]:
    """Return the tasks that are due on each of these requests, by its row id; payments come first.

    Each fee is a task of its own. One that is levied while its agency is asked whether it cancels is due when
    that is answered.
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
        row.id: _list_custodies(
            row, _select_due_fees(conn, row, open_fees.get(row.id, ())), running_deadlines.get(row.id, ())
        )
        for row in requests
    }


def _is_waiting(request: RequestWithFeesRow) -> bool:
    return request.state not in REQUEST.final_states or _is_cancellation_asked(request)


def _is_cancellation_asked(request: RequestWithFeesRow) -> bool:
    return request.cancellation == "ASKED" and request.state != "CANCELLED"


def _list_custodies(
    request: RequestWithFeesRow, due_fees: Sequence[FeeRow], running_deadlines: Sequence[RunningDeadlineRow]
) -> tuple[CaseCustody, ...]:
    """Return the tasks that are due on a request, by the fees that are due and the deadlines that run."""
    tasks = list_request_tasks(
        request.state,
        read_open_demands(request).by_event,
        owes_fee=bool(due_fees),
        is_cancellation_asked=_is_cancellation_asked(request),
    )
    custodies = []
    for task in tasks:
        kinds = _DEADLINE_KINDS.get(task, _DECIDING_KINDS)
        times = [
            (row.cause, row.due_at)
            for row in running_deadlines
            if row.kind in kinds and row.due_at is not None
        ]
        if task is CustodyTask.PAY and due_fees:
            due_times = dict(times)
            custodies += [
                CaseCustody(task, request.agency, due_times.get(fee.number), fee.number) for fee in due_fees
            ]
        else:
            custodies.append(CaseCustody(task, request.agency, min((at for _, at in times), default=None)))
    return tuple(sorted(custodies, key=lambda custody: custody.order))


def read_open_demands(request: RequestWithFeesRow) -> OpenDemands:
    """Return the open demands of the agency about a request."""
    return OpenDemands() if request.demands is None else OpenDemands.restore(request.demands)


def _select_due_fees(
    conn: Connection, request: RequestWithFeesRow, open_fees: Sequence[FeeRow]
) -> Sequence[FeeRow]:
    """Return the open fees of a request that the applicant owes now."""
    if not open_fees or not _is_cancellation_asked(request):
        return open_fees
    starts = _find_payable_times(conn, request.id, open_fees, _list_steps(conn, request))
    return [fee for fee in open_fees if starts[fee.number] is not None]


def _list_steps(conn: Connection, request: RequestWithFeesRow) -> list[StateStep]:
    return [
        StateStep(row.at, row.event, row.to_state)
        for row in transitions.list_transitions(conn, REQUEST, request.id)
    ]


def _find_payable_times(
    conn: Connection, request: int, levied_fees: Sequence[FeeRow], steps: Sequence[StateStep]
) -> dict[str, datetime | None]:
    """Return from when on each fee of a request (row id) was payable, by its number; None if it is not yet.

    A fee that was levied while the agency was asked whether it cancels is payable after the answer. Times
    are those at which the hub learnt of something, and not those at which an agency issued a notice.
    """
    if not levied_fees:
        return {}
    asked_spans, levy_times = list_asked_spans(steps), _find_levy_times(conn, request)
    payable_times: dict[str, datetime | None] = {}
    for fee in levied_fees:
        levied_at = levy_times.get(fee.number, fee.levied_at)
        span = next((span for span in asked_spans if span.covers(levied_at)), None)
        payable_times[fee.number] = levied_at if span is None else span.end
    return payable_times


def _find_levy_times(conn: Connection, request: int) -> dict[str, datetime]:
    """Return when the hub recorded each fee of a request (row id), by its number, as the evidence has it."""
    levy_times: dict[str, datetime] = {}
    for leaf in list_subject_leaves(conn, "request", request):
        if leaf.kind != "fee":
            continue
        # A leaf that was changed states no time: `gateway evidence check` tells of it.
        with suppress(GatewayError):
            levy_times.setdefault(str(read_leaf_data(leaf).get("fee")), leaf.at)
    return levy_times


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """The periods of a request, and since when each fee is payable, by its number."""

    periods: Sequence[TaskPeriod]
    fee_starts: Mapping[str, datetime | None]

    def find_start(self, custody: CaseCustody) -> datetime | None:
        """Return since when a task is due."""
        if custody.fee:
            return self.fee_starts.get(custody.fee)
        return find_task_start(self.periods, custody.task) or self.periods[-1].start


def read_request_times(
    conn: Connection, case: CaseRow, request: RequestWithFeesRow, now: datetime
) -> RequestTimes:
    """Return since when each task of a request of a case has been due."""
    own_steps = _list_steps(conn, request)
    steps = [StateStep(case.opened_at, "open", REQUEST.initial_state), *own_steps]
    levied_fees = fees.list_by_request(conn, request.id)
    starts = _find_payable_times(conn, request.id, levied_fees, own_steps)
    spans = []
    for fee in levied_fees:
        start, end = starts[fee.number], _find_end(conn, fee)
        if start is not None and (end is None or start < end):
            spans.append(TimeSpan(start, end))
    demands = {event: demand.received_at for event, demand in read_open_demands(request).by_event.items()}
    return RequestTimes(list_task_periods(steps, spans, demands, now), starts)


def _find_end(conn: Connection, fee: FeeRow) -> datetime | None:
    """Return when a fee was settled; None while it is open."""
    closing_times = [
        transition_row.at
        for transition_row in transitions.list_transitions(conn, FEE, fee.id)
        if transition_row.to_state not in _OPEN_FEE_STATES
    ]
    return min(closing_times, default=None)


def read_custody_times(
    conn: Connection, case: CaseRow, timetable: Timetable, now: datetime
) -> list[dict[str, Any]]:
    """Return who holds each application, for which tasks and since when, and how long each has held it.

    `tasks` has every task that is due, payments first; holder, task, `since` and `due_at` of an application
    are those of the first one, and None if none is due. `working_seconds` has the working time of each
    holder before the decision, in the calendar of the organisation: the holder of a period is that of its
    first task. It is None where the calendar does not know a day. A held case has one line without
    application: its declarant has to file a missing document or the whole case again, or its parent has to
    be decided.
    """
    if case.state == "HELD":
        return [_describe_hold(conn, case)]
    requests = agency_requests.list_by_case(conn, case.id)
    custodies_by_request = load_request_custodies(conn, requests)
    custody_times = []
    for request in requests:
        times = read_request_times(conn, case, request, now)
        tasks = [
            _describe_task(custody, times.find_start(custody)) for custody in custodies_by_request[request.id]
        ]
        seconds = _measure_holder_times(timetable.get_calendar(request.agency), times.periods)
        line = _make_custody_line(request.number, request.agency, tasks)
        custody_times.append(line | {"working_seconds": seconds})
    return custody_times


def _make_custody_line(
    application: str | None, agency: str | None, tasks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    first = tasks[0] if tasks else {}
    own_values = {name: first.get(name) for name in ("holder", "task", "since", "due_at")}
    return {"application": application, "agency": agency, **own_values, "tasks": tasks}


def _describe_task(custody: CaseCustody, since: datetime | None) -> dict[str, Any]:
    return {
        "holder": custody.holder.value,
        "task": custody.task.value,
        "fee": custody.fee or None,
        "since": since,
        "due_at": custody.deadline,
    }


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


def _measure_holder_times(calendar: WorkingCalendar, periods: Iterable[TaskPeriod]) -> dict[str, int] | None:
    """Return the working seconds of each holder in the periods; None where the calendar lacks a day."""
    times_by_holder: dict[str, timedelta] = {}
    try:
        for period in periods:
            if period.holder is not None:
                working_time = calendar.measure_working_time(period.start, period.end)
                times_by_holder[period.holder.value] = (
                    times_by_holder.get(period.holder.value, timedelta()) + working_time
                )
    except GatewayError:
        return None
    return {holder: int(working_time.total_seconds()) for holder, working_time in times_by_holder.items()}
