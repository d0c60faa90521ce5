"""Who has to act next, and how a deadline ends."""

from __future__ import annotations

from datetime import UTC, datetime
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
    find_request_custody,
)
from gateway.errors import PARENT_NOT_USABLE

UNTIL = datetime(2026, 12, 1, 18, tzinfo=UTC)
DECIDE = CaseCustody(CustodyHolder.AGENCY, CustodyTask.DECIDE, "KFDA")
PAY = CaseCustody(CustodyHolder.APPLICANT, CustodyTask.PAY, "NPQS")
ANSWER = CaseCustody(CustodyHolder.APPLICANT, CustodyTask.ANSWER, "KPTA")


@pytest.mark.parametrize(
    ("request_state", "owes_fee", "holder", "task"),
    [
        ("PREPARED", False, CustodyHolder.HUB, CustodyTask.FORWARD),
        ("STRANDED", False, CustodyHolder.HUB, CustodyTask.REACH),
        ("SENT", False, CustodyHolder.AGENCY, CustodyTask.DECIDE),
        ("ACKNOWLEDGED", False, CustodyHolder.AGENCY, CustodyTask.DECIDE),
        ("INSPECTION", False, CustodyHolder.AGENCY, CustodyTask.INSPECT),
        ("INFORMATION_REQUIRED", False, CustodyHolder.APPLICANT, CustodyTask.ANSWER),
        ("FEE_DUE", False, CustodyHolder.APPLICANT, CustodyTask.PAY),
        ("SENT", True, CustodyHolder.APPLICANT, CustodyTask.PAY),
        ("ACKNOWLEDGED", True, CustodyHolder.APPLICANT, CustodyTask.PAY),
        # The agency has said what it waits for since the fee was due.
        ("INFORMATION_REQUIRED", True, CustodyHolder.APPLICANT, CustodyTask.ANSWER),
        ("INSPECTION", True, CustodyHolder.AGENCY, CustodyTask.INSPECT),
        ("PREPARED", True, CustodyHolder.HUB, CustodyTask.FORWARD),
        ("STRANDED", True, CustodyHolder.HUB, CustodyTask.REACH),
    ],
)
def test_each_state_of_an_application_has_its_holder_and_task(
    request_state: str, owes_fee: bool, holder: CustodyHolder, task: CustodyTask
) -> None:
    expected = CaseCustody(holder, task, "KFDA", UNTIL)
    assert find_request_custody(request_state, "KFDA", UNTIL, owes_fee=owes_fee) == expected


@pytest.mark.parametrize("request_state", ["DECIDED", "CANCELLED"])
def test_nobody_has_to_act_on_what_has_ended(request_state: str) -> None:
    assert find_request_custody(request_state, "KFDA", owes_fee=True) is None


def test_what_the_applicant_has_to_do_comes_first() -> None:
    assert find_case_custody("IN_PROGRESS", [DECIDE, None, PAY, ANSWER]) == (ANSWER, PAY, DECIDE)


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
    assert find_case_custody("HELD", [], hold_state) == (CaseCustody(holder, task, deadline=UNTIL),)


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
