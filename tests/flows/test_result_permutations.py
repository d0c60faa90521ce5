"""Results about a certificate without an application, in every order: the balance and the case end alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import permutations

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.store import read_transaction, requirement_quantities, requirement_results
from tests.flows.test_requirement_ledger import declare
from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, at_hour, make_certificate
from tests.kit.story import Story

LAWS = ("01", "70")
#: An application that never came through the hub.
OUTSIDE = "KPTA-77-12345"


@dataclass(frozen=True, slots=True)
class Results:
    """What KPTA says of a certificate in one day, and what becomes of the case in whatever order it comes."""

    turns: tuple[Turn, ...]
    outcome: str


APPROVED, REVOKED, ANEW = (Turn(status) for status in ("R01", "R03", "R02"))
RESULTS: dict[str, Results] = {
    "approved and revoked, both of a day": Results((APPROVED, REVOKED), "PARTIAL"),
    "approved by a call, revoked": Results((Turn("R01", None, 10), REVOKED), "PARTIAL"),
    "approved, revoked by a call": Results((APPROVED, Turn("R03", None, 11)), "PARTIAL"),
    "approved, issued anew": Results((Turn("R01", None, 10), ANEW), "APPROVED"),
    "approved, issued anew by a call, revoked": Results(
        (Turn("R01", None, 10), Turn("R02", None, 12), REVOKED), "PARTIAL"
    ),
    "approved and revoked by calls, approved": Results(
        (Turn("R01", None, 10), Turn("R03", None, 12), APPROVED), "PARTIAL"
    ),
}


def say_result(story: DayStory, turn: Turn, certificate: str) -> str | None:
    """Let KPTA say something of its certificate; return the id of the problem by which it is refused."""
    try:
        if turn.hour is None:
            story.deliver(make_certificate(OUTSIDE, certificate, turn.status))
            return None
        story.advance_to(turn.hour)
        code = DecisionCode.REJECTED if turn.is_refusal else DecisionCode.APPROVED
        granted = {} if turn.is_refusal else {"quantity": Decimal(100), "unit": "KGM"}
        decided = tuple(Decision(1, law, code, certificate, **granted) for law in LAWS)  # type: ignore[arg-type]
        number = f"{certificate}/{turn.status}/{turn.hour}"
        notice = Notice(number, at_hour(turn.hour), turn.status, decided)
        apply_call_back(story.hub, "KPTA", AgencyCallback(notice, requirement_number=certificate))
    except GatewayError as error:
        return error.problem.id
    return None


def list_used(story: Story, certificate: str) -> list[dict[str, str]]:
    with read_transaction(story.house.engine) as conn:
        return [dict(row.used) for row in requirement_quantities.find_requirements(conn, [certificate])]


def count_results(story: Story, certificate: str) -> int:
    with read_transaction(story.house.engine) as conn:
        rows = requirement_quantities.find_requirements(conn, [certificate])
        return len(
            {row.notice_no for row in requirement_results.list_results(conn, [one.id for one in rows])}
        )


def hear_results(
    story: DayStory, certificate: str, turns: Sequence[Turn]
) -> tuple[list[str | None], tuple[object, ...]]:
    """Let a declaration wait for a certificate, and KPTA speak; return the problems, and how it has ended."""
    declare(story, f"D-{certificate}", (1, certificate, "40", "KGM"))
    problems = [say_result(story, one, certificate) for one in turns]
    for _ in range(4):
        story.tick(seconds=20)
    case = story.case()
    return problems, (case.state, case.outcome, story.outcome(), list_used(story, certificate))


@BOTH
@pytest.mark.parametrize("name", RESULTS)
def test_results_in_every_order_end_alike(engine: Engine, name: str) -> None:
    story, ends = DayStory(engine), []
    for place, order in enumerate(permutations(RESULTS[name].turns)):
        problems, end = hear_results(story, f"P-{place}X", order)
        assert not any(problems), (order, problems)
        ends.append(end)
    assert all(one == ends[0] for one in ends), ends
    assert ends[0][1] == RESULTS[name].outcome


@pytest.mark.parametrize(("last", "outcome"), [("R02", "APPROVED"), ("R03", "PARTIAL")])
@pytest.mark.parametrize("hour", [None, 10])
def test_of_what_is_revoked_and_issued_anew_the_last_one_stored_counts(
    engine: Engine, hour: int | None, last: str, outcome: str
) -> None:
    turns = {"R02": (Turn("R01", None, hour), REVOKED, ANEW), "R03": (Turn("R01", None, hour), ANEW, REVOKED)}
    problems, end = hear_results(DayStory(engine), "P-9", turns[last])
    assert not any(problems)
    assert end[1] == outcome


@BOTH
def test_what_is_issued_anew_behind_a_refusal_of_the_same_certificate_is_told(engine: Engine) -> None:
    """Nothing says whether it corrects the approval before the refusal or the refusal: nothing is stored."""
    story = DayStory(engine)
    turns = (Turn("R01", None, 10), Turn("R04", None, 12), ANEW)
    problems, end = hear_results(story, "P-9", turns)
    assert problems == [None, None, "GW719"]
    assert end[1] == "PARTIAL"
    assert count_results(story, "P-9") == 2


@BOTH
def test_a_repeat_of_a_result_that_was_moved_has_no_effect(engine: Engine) -> None:
    story = DayStory(engine)
    turns = (REVOKED, Turn("R01", None, 10), REVOKED, Turn("R01", None, 10), REVOKED)
    problems, end = hear_results(story, "P-9", turns)
    assert not any(problems)
    assert (end[1], count_results(story, "P-9")) == ("PARTIAL", 2)
