"""A refused case counts each of its problems once."""

from __future__ import annotations

from datetime import UTC
from types import SimpleNamespace
from typing import Any

from gateway.hub.statistics_keeper import StepContext, count_steps
from gateway.state_machines import CASE, REQUEST
from tests.kit.house import START


def test_each_problem_of_a_refused_case_is_counted_once() -> None:
    problems = [{"id": "GW402"}, {"id": "GW101"}, {"id": "GW402"}]
    case: Any = SimpleNamespace(
        id=1,
        agency="",
        document="Submission",
        declarant="broker1",
        applicant="a",
        state="REFUSED",
        outcome="REFUSED",
        opened_at=START,
        detail={"problems": problems},
    )
    step: Any = SimpleNamespace(
        id=1,
        machine=CASE.name,
        object_id=1,
        event="refuse",
        from_state="OPEN",
        to_state="REFUSED",
        at=START,
    )
    nothing: Any = {CASE.name: {}, REQUEST.name: {}}
    context = StepContext({1: case}, {}, nothing, {}, frozenset(), nothing)
    counts = count_steps([step], context, UTC).sum_counts()
    found = {
        (count.party, count.problem): number
        for count, (number, _) in counts.items()
        if count.measure == "case_problem"
    }
    parties = ("", "broker1", "a")
    assert found == {(party, problem): 1 for party in parties for problem in ("GW101", "GW402")}
