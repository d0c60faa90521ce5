"""The tasks that were due on an application in each period since its case was opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.cases.custody_and_deadlines import CaseCustody, CustodyHolder, CustodyTask, list_request_tasks
from gateway.state_machines import REQUEST

_ASKING_EVENTS: Final[Mapping[str, str]] = {
    "ask": "ask",
    "ask_stands": "ask",
    "inspect": "inspect",
    "inspect_stands": "inspect",
}
#: The demands of an agency that each of these events ends.
_ENDED_DEMANDS: Final[Mapping[str, Collection[str]]] = {
    "supplement": ("ask",),
    "inspected": ("inspect",),
    "amend": ("ask", "inspect"),
    "decide": ("ask", "inspect"),
}


@dataclass(frozen=True, slots=True)
class StateStep:
    """A step of an application: its time, its event and the state after it."""

    at: datetime
    event: str
    state: str


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A span of time; it has no `end` while it lasts."""

    start: datetime
    end: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Return whether a moment is in the span; the end is not."""
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class TaskPeriod:
    """A period in which the same tasks were due on an application in a state."""

    start: datetime
    end: datetime
    state: str
    tasks: Sequence[CustodyTask]

    @property
    def holder(self) -> CustodyHolder | None:
        """Return the party whose time it was: that of the first task; None after the decision."""
        if self.state in REQUEST.final_states or not self.tasks:
            return None
        return CaseCustody(self.tasks[0]).holder


def list_asked_spans(steps: Sequence[StateStep]) -> list[TimeSpan]:
    """Return the spans in which the agency of an application was asked whether it cancels, oldest first."""
    spans: list[TimeSpan] = []
    for step in steps:
        is_open = bool(spans) and spans[-1].end is None
        if step.event == "ask_cancel" and not is_open:
            spans.append(TimeSpan(step.at))
        elif step.event in ("refuse_cancel", "cancel") and is_open:
            spans[-1] = TimeSpan(spans[-1].start, step.at)
    return spans


def list_task_periods(
    steps: Sequence[StateStep],
    fee_spans: Sequence[TimeSpan],
    open_demands: Mapping[str, datetime],
    now: datetime,
) -> list[TaskPeriod]:
    """Return the periods of an application from its first step until `now`, oldest first.

    `fee_spans` are those in which a fee was to be paid, `open_demands` the events of the demands that are
    open now, each with the time from which on it was. States that began and ended at once are left out.
    """
    asked_spans = list_asked_spans(steps)
    moments = {span.start for span in fee_spans} | {span.end for span in fee_spans if span.end is not None}
    moments |= set(open_demands.values())
    periods = []
    for step, end, demands in _list_states(steps, now):
        starts = sorted({step.at, *(moment for moment in moments if step.at < moment < end)})
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            if start == stop != now:
                continue
            tasks = list_request_tasks(
                step.state,
                demands | {event for event, since in open_demands.items() if since <= start},
                owes_fee=any(span.covers(start) for span in fee_spans),
                is_cancellation_asked=any(span.covers(start) for span in asked_spans),
            )
            periods.append(TaskPeriod(start, stop, step.state, tasks))
    return periods


def _list_states(
    steps: Sequence[StateStep], now: datetime
) -> Iterator[tuple[StateStep, datetime, frozenset[str]]]:
    """Yield each step, the time until which its state lasted, and the demands that were open in it."""
    demands: frozenset[str] = frozenset()
    for step, end in zip(steps, [*(step.at for step in steps[1:]), now], strict=True):
        demands = demands - {*_ENDED_DEMANDS.get(step.event, ())}
        if step.event in _ASKING_EVENTS:
            demands = demands | {_ASKING_EVENTS[step.event]}
        yield step, end, demands


def find_task_start(periods: Sequence[TaskPeriod], task: CustodyTask) -> datetime | None:
    """Return since when a task has been due without a break; None if it is not due in the last period."""
    start = None
    for period in reversed(periods):
        if task not in period.tasks:
            break
        start = period.start
    return start
