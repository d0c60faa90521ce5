"""Who held an application in each period, and since when each task is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.cases import (
    CustodyTask,
    StateStep,
    TimeSpan,
    find_task_start,
    list_asked_spans,
    list_task_periods,
)

OPENED = datetime(2026, 11, 20, 9, tzinfo=UTC)


def at(hours: float) -> datetime:
    return OPENED + timedelta(hours=hours)


def make_steps(*steps: tuple[float, str, str]) -> list[StateStep]:
    """Return the steps of an application that is opened, and sent at once."""
    opened = [StateStep(OPENED, "open", "PREPARED"), StateStep(OPENED, "send", "SENT")]
    return [*opened, *(StateStep(at(hours), event, state) for hours, event, state in steps)]


def list_holders(
    steps: list[StateStep], fees: list[TimeSpan], demands: dict[str, datetime], now: float
) -> list[tuple[str | None, float]]:
    """Return holder and end of each period, in hours; neighbours of one holder are told as one."""
    found: list[tuple[str | None, float]] = []
    for period in list_task_periods(steps, fees, demands, at(now)):
        if found and found[-1][0] == period.holder:
            found.pop()
        found.append((period.holder, (period.end - OPENED) / timedelta(hours=1)))
    return found


QUESTION = (2, "ask", "INFORMATION_REQUIRED")
INSPECTION = (3, "inspect", "INSPECTION")
ANSWER = (5, "supplement", "SENT")
STILL_INSPECTED = (5, "inspect_stands", "INSPECTION")
DECISION = (9, "decide", "DECIDED")


@pytest.mark.parametrize(
    ("steps", "fees", "holders"),
    [
        ([], [], [("agency", 10)]),
        ([QUESTION, ANSWER], [], [("agency", 2), ("applicant", 5), ("agency", 10)]),
        # A question that is open behind an inspection is the applicant's.
        (
            [QUESTION, INSPECTION, ANSWER, STILL_INSPECTED],
            [],
            [("agency", 2), ("applicant", 5), ("agency", 10)],
        ),
        ([QUESTION, (3, "amend", "SENT")], [], [("agency", 2), ("applicant", 3), ("agency", 10)]),
        # So is an open fee, until it is paid; after the decision nobody holds the application.
        ([INSPECTION], [TimeSpan(at(4), at(6))], [("agency", 4), ("applicant", 6), ("agency", 10)]),
        ([DECISION], [TimeSpan(at(4))], [("agency", 4), ("applicant", 9), (None, 10)]),
        # Its agency is asked whether it cancels: the question waits, and the time is the agency's.
        (
            [
                QUESTION,
                (4, "ask_cancel", "INFORMATION_REQUIRED"),
                (6, "refuse_cancel", "INFORMATION_REQUIRED"),
            ],
            [],
            [("agency", 2), ("applicant", 4), ("agency", 6), ("applicant", 10)],
        ),
        (
            [(4, "undeliverable", "STRANDED"), (6, "resend", "SENT")],
            [],
            [("agency", 4), ("hub", 6), ("agency", 10)],
        ),
    ],
)
def test_the_first_task_of_a_period_names_its_holder(
    steps: list[tuple[float, str, str]], fees: list[TimeSpan], holders: list[tuple[str | None, float]]
) -> None:
    assert list_holders(make_steps(*steps), fees, {}, 10) == holders


def test_a_demand_that_moved_no_state_counts_from_its_receipt() -> None:
    """A question that was issued before an inspection, and came after it."""
    steps = make_steps(INSPECTION)
    assert list_holders(steps, [], {"ask": at(4), "inspect": at(3)}, 10) == [("agency", 4), ("applicant", 10)]


@pytest.mark.parametrize(
    ("task", "start"),
    [(CustodyTask.PAY, 1), (CustodyTask.ANSWER, 2), (CustodyTask.INSPECT, 3), (CustodyTask.DECIDE, None)],
)
def test_each_task_is_due_since_its_own_begin(task: CustodyTask, start: float | None) -> None:
    """Another notice about the inspection, with another time, does not move its begin."""
    steps = make_steps(QUESTION, INSPECTION, (7, "inspect", "INSPECTION"))
    periods = list_task_periods(steps, [TimeSpan(at(1))], {"ask": at(2), "inspect": at(7)}, at(10))
    assert find_task_start(periods, task) == (None if start is None else at(start))


def test_an_application_is_asked_about_until_the_answer() -> None:
    steps = make_steps(
        (1, "ask_cancel", "SENT"),
        (2, "ask_cancel", "SENT"),
        (3, "refuse_cancel", "SENT"),
        (4, "refuse_cancel", "SENT"),
        (5, "ask_cancel", "SENT"),
    )
    assert list_asked_spans(steps) == [TimeSpan(at(1), at(3)), TimeSpan(at(5))]


def test_what_began_this_instant_has_a_begin() -> None:
    (*_, last) = list_task_periods(make_steps(QUESTION), [], {}, at(2))
    assert (last.start, last.end, last.tasks) == (at(2), at(2), (CustodyTask.ANSWER,))
