"""Who has to act next, and how a deadline ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.cases import (
    CaseCustody,
    CustodyHolder,
    CustodyTask,
    DeadlineKind,
    DeadlineState,
    choose_ended_state,
    find_case_custody,
    list_request_tasks,
)
from gateway.errors import PARENT_NOT_USABLE

UNTIL = datetime(2026, 12, 1, 18, tzinfo=UTC)
DECIDE = CaseCustody(CustodyTask.DECIDE, "KFDA")
PAY = CaseCustody(CustodyTask.PAY, "NPQS")
ANSWER = CaseCustody(CustodyTask.ANSWER, "KPTA")
CANCEL = CaseCustody(CustodyTask.CANCEL, "NPQS")


@pytest.mark.parametrize(
    ("request_state", "demand_events", "owes_fee", "tasks"),
    [
        ("PREPARED", (), False, ["forward"]),
        ("STRANDED", (), False, ["reach"]),
        ("SENT", (), False, ["decide"]),
        ("ACKNOWLEDGED", (), False, ["decide"]),
        ("INSPECTION", ("inspect",), False, ["inspect"]),
        ("INFORMATION_REQUIRED", ("ask",), False, ["answer"]),
        ("FEE_DUE", (), True, ["pay"]),
        # The agency decides when the fee is paid.
        ("SENT", (), True, ["pay"]),
        ("ACKNOWLEDGED", (), True, ["pay"]),
        # What must be paid does not vanish behind what was asked later, or behind the delivery.
        ("INFORMATION_REQUIRED", ("ask",), True, ["pay", "answer"]),
        ("INSPECTION", ("inspect",), True, ["pay", "inspect"]),
        ("FEE_DUE", ("ask", "inspect"), True, ["pay", "answer", "inspect"]),
        ("PREPARED", (), True, ["pay", "forward"]),
        ("STRANDED", ("ask",), True, ["pay", "answer", "reach"]),
        ("INSPECTION", ("ask", "inspect"), False, ["answer", "inspect"]),
        # Early versions kept a demand only as the state; a fee of an agency without fees is a demand.
        ("INSPECTION", (), False, ["inspect"]),
        ("INSPECTION", ("inspect", "fee"), False, ["pay", "inspect"]),
        ("DECIDED", ("ask",), True, ["pay"]),
        ("DECIDED", (), False, []),
        ("CANCELLED", ("ask",), True, []),
    ],
)
def test_every_task_of_an_application_is_due_a_payment_first(
    request_state: str, demand_events: tuple[str, ...], owes_fee: bool, tasks: list[str]
) -> None:
    assert [*list_request_tasks(request_state, demand_events, owes_fee=owes_fee)] == tasks


@pytest.mark.parametrize(
    ("request_state", "owes_fee", "tasks"),
    [
        ("SENT", False, ["cancel"]),
        ("INFORMATION_REQUIRED", False, ["cancel"]),
        ("DECIDED", False, ["cancel"]),
        ("DECIDED", True, ["pay", "cancel"]),
        ("STRANDED", False, ["cancel", "reach"]),
        ("CANCELLED", True, []),
    ],
)
def test_an_agency_that_is_asked_whether_it_cancels_has_to_answer_that(
    request_state: str, owes_fee: bool, tasks: list[str]
) -> None:
    found = list_request_tasks(request_state, ("ask",), owes_fee=owes_fee, is_cancellation_asked=True)
    assert [*found] == tasks


def test_each_task_has_a_holder() -> None:
    assert {CaseCustody(task).holder for task in CustodyTask} == set(CustodyHolder)


def test_what_the_applicant_has_to_do_comes_first_and_a_payment_before_all() -> None:
    assert find_case_custody("IN_PROGRESS", [DECIDE, ANSWER, PAY]) == (PAY, ANSWER, DECIDE)


def test_of_equal_tasks_the_next_deadline_comes_first() -> None:
    later, sooner = (
        CaseCustody(CustodyTask.PAY, "KFDA", UNTIL + timedelta(days=days), f"F{days}") for days in (2, 1)
    )
    assert find_case_custody("IN_PROGRESS", [PAY, later, sooner]) == (sooner, later, PAY)


@pytest.mark.parametrize(
    ("case_state", "tasks"),
    [("DECIDED", ["pay", "relay"]), ("CLOSED", ["pay"]), ("WITHDRAWN", ["pay", "cancel"])],
)
def test_an_open_fee_outlives_the_case(case_state: str, tasks: list[str]) -> None:
    custodies = [CANCEL, PAY] if case_state == "WITHDRAWN" else [PAY]
    assert [custody.task for custody in find_case_custody(case_state, custodies)] == tasks


@pytest.mark.parametrize("case_state", ["CLOSED", "REFUSED", "WITHDRAWN"])
def test_nobody_holds_a_case_that_has_ended(case_state: str) -> None:
    assert find_case_custody(case_state, [DECIDE]) == ()


@pytest.mark.parametrize(
    ("missing", "problems", "holder", "task"),
    [
        (["GW413"], [], CustodyHolder.APPLICANT, CustodyTask.FILE),
        ([PARENT_NOT_USABLE.id, "GW413"], [], CustodyHolder.APPLICANT, CustodyTask.FILE),
        ([PARENT_NOT_USABLE.id], [], CustodyHolder.HUB, CustodyTask.PARENT),
        ([PARENT_NOT_USABLE.id], ["too much"], CustodyHolder.APPLICANT, CustodyTask.FILE_AGAIN),
    ],
)
def test_a_held_case_waits_for_its_declarant_unless_only_the_parent_is_undecided(
    missing: list[str], problems: list[str], holder: CustodyHolder, task: CustodyTask
) -> None:
    hold_state: dict[str, Any] = {"missing": [{"id": name} for name in missing], "until": UNTIL.isoformat()}
    if problems:
        hold_state["problems"] = problems
    (custody,) = find_case_custody("HELD", [], hold_state)
    assert (custody, custody.holder) == (CaseCustody(task, deadline=UNTIL), holder)


@pytest.mark.parametrize(
    ("kind", "request_state", "is_late", "is_paid", "ended"),
    [
        (DeadlineKind.ANSWER, "SENT", False, None, DeadlineState.MET),
        (DeadlineKind.ANSWER, "SENT", True, None, DeadlineState.LATE),
        (DeadlineKind.ANSWER, "DECIDED", False, None, DeadlineState.CANCELLED),
        (DeadlineKind.DECIDE, "DECIDED", False, None, DeadlineState.MET),
        (DeadlineKind.DECIDE, "DECIDED", True, None, DeadlineState.LATE),
        (DeadlineKind.DECIDE, "CANCELLED", False, None, DeadlineState.CANCELLED),
        (DeadlineKind.PAY, "CANCELLED", True, True, DeadlineState.LATE),
        (DeadlineKind.PAY, "SENT", False, False, DeadlineState.CANCELLED),
    ],
)
def test_a_deadline_ends_met_late_or_cancelled(
    kind: DeadlineKind, request_state: str, is_late: bool, is_paid: bool | None, ended: DeadlineState
) -> None:
    assert choose_ended_state(kind, request_state, is_late=is_late, is_paid=is_paid) == ended
