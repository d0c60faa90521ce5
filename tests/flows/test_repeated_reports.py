"""Customs is told of an outcome once: a new Result that says nothing new to customs goes to the applicant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.hub import join_waiting_cases
from gateway.store import deliveries, read_transaction, requirement_quantities, write_transaction
from tests.flows.test_outside_results import customs
from tests.flows.test_requirement_ledger import register
from tests.kit.databases import BOTH
from tests.kit.story import Story

#: The number that the sample names of KFDA, which nobody knows at first.
NUMBER = "수허02-1184"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def decide(story: Story) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    story.tick(seconds=1)


def learn(story: Story, quantity: str) -> None:
    """Let the ledger learn the number, and the case look at it."""
    with write_transaction(story.house.engine) as conn:
        for row in requirement_quantities.find_requirements(conn, [NUMBER]):
            requirement_quantities.revoke_requirement(conn, row.id, story.clock())
    register(story, NUMBER, quantity, "NMB")
    with write_transaction(story.house.engine) as conn:
        join_waiting_cases(conn, [NUMBER], f"registered {quantity}", story.clock())
    for _ in range(3):
        story.tick(seconds=1)


def list_warnings(story: Story) -> list[list[str]]:
    """Return what each Result says of numbers that the declaration waits for."""
    return [
        [one.get("id", "") for one in result.findall("{*}Warning") if one.get("id") in ("GW411", "GW413")]
        for result in story.inbox.documents("Result")
    ]


def list_reports(story: Story) -> list[Any]:
    with read_transaction(story.house.engine) as conn:
        found = deliveries.list_by_case(conn, story.case().id)
    return [row for row in found if row.parameters.get("pending_code") == "19"]


@BOTH
def test_a_changed_warning_is_told_to_the_applicant_alone(story: Story) -> None:
    decide(story)
    assert (list_warnings(story), story.customs_codes()) == ([["GW413"]], ["18", "19"])
    learn(story, "50")
    assert list_warnings(story) == [["GW413"], ["GW411"]]
    assert story.customs_codes() == ["18", "19"]
    assert len(list_reports(story)) == 1
    assert story.case().state == "CLOSED"
    told = customs(story)[-1][2]
    # What changes what customs knows is told to it.
    story.clock.forward(minutes=1)
    story.hear("KPTA", story.notice("KPTA", DecisionCode.REJECTED, number="N2", status="R03"))
    story.tick(seconds=1)
    assert story.customs_codes() == ["18", "19", "19"]
    assert len(customs(story)[-1][2]) == len(told) - 1
    # What counted before is told again, when it counts again.
    story.clock.forward(minutes=1)
    story.hear("KPTA", story.notice("KPTA", number="N3", status="R02"))
    story.tick(seconds=1)
    assert story.customs_codes() == ["18", "19", "19", "19"]


def test_a_correction_that_customs_does_not_hear_is_told_to_the_applicant_alone(story: Story) -> None:
    """The conditions of an approval are the applicant's: code 19 has none."""
    decide(story)
    story.clock.forward(minutes=1)
    said = story.notice("KPTA").decisions[0]
    kept = replace(said, decision=DecisionCode.APPROVED_WITH_CONDITIONS, conditions=("Keep cool.",))
    story.hear("KPTA", replace(story.notice("KPTA", number="N2", status="R02"), decisions=(kept,)))
    story.tick(seconds=1)
    assert len(list_warnings(story)) == 2
    assert story.outcome()[1][1] == "APPROVED_WITH_CONDITIONS"
    assert story.customs_codes() == ["18", "19"]


@pytest.mark.parametrize(("state", "next_state"), [("CANCELLED", "DELIVERED"), ("FAILED", "QUEUED")])
def test_a_report_that_customs_did_not_get_is_told_again(story: Story, state: str, next_state: str) -> None:
    """Behind a failed report the next one waits for an operator, as customs acts on the last one."""
    decide(story)
    with write_transaction(story.house.engine) as conn:
        (report,) = list_reports(story)
        conn.exec_driver_sql(f"UPDATE deliveries SET state = '{state}' WHERE id = {report.id}")
    learn(story, "50")
    assert list_warnings(story) == [["GW413"], ["GW411"]]
    assert [row.state for row in list_reports(story)] == [state, next_state]
