"""Tells who holds each application of a case, and how much working time each holder has had it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import CaseCustody, find_case_custody, find_request_custody
from gateway.errors import GatewayError
from gateway.state_machines import CASE, FEE, REQUEST
from gateway.store import agency_requests, deadlines, fees, transitions

__all__ = ["read_case_deadlines", "read_custody_times", "read_request_custody"]


def read_case_deadlines(conn: Connection, case_id: int) -> list[dict[str, Any]]:
    """Return the deadlines of a case in the order in which they began, with application and agency."""
    return [dict(row._mapping) for row in deadlines.list_by_case(conn, case_id)]


def read_custody_times(
    conn: Connection, case: Row[Any], timetable: Timetable, now: datetime
) -> list[dict[str, Any]]:
    """Return for each application who holds it, for what, since when, and the working seconds of each holder.

    Working time is that of the organisation. It is None where its calendar does not know a day. A held
    case has one line without application: its declarant has to file what is missing, or its parent decides.
    """
    if case.state == "HELD":
        return [_describe_hold(conn, case)]
    found = []
    for request in agency_requests.list_by_case(conn, case.id):
        steps = [(row.at, row.to_state) for row in transitions.list_transitions(conn, REQUEST, request.id)]
        custody = read_request_custody(request)
        calendar = timetable.get_calendar(request.agency)
        owed = _list_owed_times(conn, request, now)
        periods = list(_list_periods([(case.opened_at, REQUEST.initial), *steps], owed, now))
        found.append(
            {
                "application": request.number,
                "agency": request.agency,
                "holder": None if custody is None else custody.holder.value,
                "task": None if custody is None else custody.task.value,
                "since": None if custody is None else _find_beginning(periods),
                "due_at": request.due_at,
                "working_seconds": _measure(calendar, periods),
            }
        )
    return found


def read_request_custody(request: Row[Any]) -> CaseCustody | None:
    """Return who holds a request that was read with the number of its `open_fees`.

    While its agency is asked whether it cancels, the agency has to say so, whatever is owed.
    """
    owes = bool(request.open_fees) and request.cancellation != "ASKED"
    return find_request_custody(request.state, request.agency, request.due_at, owes_fee=owes)


def _list_owed_times(
    conn: Connection, request: Row[Any], now: datetime
) -> Sequence[tuple[datetime, datetime]]:
    """Return from when to when each fee of a request was open."""
    if request.cancellation == "ASKED":
        return ()
    found = []
    for fee in fees.list_by_request(conn, request.id):
        steps = transitions.list_transitions(conn, FEE, fee.id)
        ends = [row.at for row in steps if row.to_state not in ("LEVIED", "ORDERED")]
        found.append((fee.levied_at, min(ends, default=now)))
    return found


def _describe_hold(conn: Connection, case: Row[Any]) -> dict[str, Any]:
    (custody,) = find_case_custody(case.state, (), case.detail["held"])
    held = [row.at for row in transitions.list_transitions(conn, CASE, case.id) if row.to_state == "HELD"]
    return {
        "application": None,
        "agency": None,
        "holder": custody.holder.value,
        "task": custody.task.value,
        "since": min(held, default=case.opened_at),
        "due_at": custody.deadline,
        "working_seconds": None,
    }


def _find_beginning(periods: Sequence[tuple[str, datetime, datetime]]) -> datetime | None:
    """Return since when the last holder has it without a break."""
    since = None
    for holder, start, end in reversed(periods):
        if holder != periods[-1][0] or (since is not None and end != since):
            break
        since = start
    return since


def _list_periods(
    steps: list[tuple[datetime, str]], owed: Sequence[tuple[datetime, datetime]], now: datetime
) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield holder, beginning and end of each period; nobody holds what is decided.

    `owed` is from when to when a fee was open.
    """
    ends = [at for at, _ in steps[1:]] + [now]
    for (at, state), end in zip(steps, ends, strict=True):
        cuts = sorted({at, end, *(one for pair in owed for one in pair if at < one < end)})
        for start, stop in itertools.pairwise(cuts) if len(cuts) > 1 else [(at, end)]:
            owes = any(first <= start < last for first, last in owed)
            custody = find_request_custody(state, "", owes_fee=owes)
            # A state within one transaction was held by nobody.
            if custody is not None and (start < stop or stop == now):
                yield custody.holder.value, start, stop


def _measure(
    calendar: WorkingCalendar, periods: Iterable[tuple[str, datetime, datetime]]
) -> dict[str, int] | None:
    times: dict[str, timedelta] = {}
    try:
        for holder, start, end in periods:
            spent = calendar.measure_working_time(start, end)
            times[holder] = times.get(holder, timedelta()) + spent
    except GatewayError:
        return None
    return {holder: int(spent.total_seconds()) for holder, spent in times.items()}
