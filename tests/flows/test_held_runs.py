"""Drawn runs of a held case: whatever is filed, said and operated, it ends, and goes on at most once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, DecisionCode
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.store import agency_requests, cases, deliveries, read_transaction, requirement_results
from tests.flows.craft import Change, all_of, reference, supplement, text, withdrawal, without
from tests.flows.test_held_case_waking import naming
from tests.flows.test_held_cases import HOLD, amendment
from tests.flows.test_outside_results import say
from tests.kit.databases import BOTH
from tests.kit.story import Story

NUMBER: Final = "NPQS-88"
ENDED: Final = ("CLOSED", "REFUSED", "WITHDRAWN")
LACKS: Final = without("Application[@id='A3']")
OTHER: Final = text(".//Declarant/Name", "한빛관세사무소")
#: What the declarant may file: action, change.
FILED: Final[dict[str, tuple[str, Change]]] = {
    "whole": ("Supplement", supplement),
    "lacking": ("Supplement", all_of(supplement, LACKS)),
    "other": ("Supplement", all_of(supplement, OTHER)),
    "amended": ("Amend", amendment(OTHER)),
    "amended, lacking": ("Amend", amendment(LACKS)),
    "withdrawn": ("Withdraw", withdrawal),
    "again": ("Submit", LACKS),
}
ACTS: Final = (
    deliveries.try_delivery,
    operator_actions.cancel_delivery,
    operator_actions.hold_delivery,
    operator_actions.release_delivery,
)


class HeldRun:
    """One held case, and what happens to it."""

    def __init__(self, story: Story, seed: int) -> None:
        self.story, self.drawn, self.name = story, random.Random(seed), f"HOLD-{seed}"
        self.file("Submit", LACKS)
        story.tick()
        self.case = self.find().id

    def find(self) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_reference(conn, "broker1", self.name)

    def file(self, action: str, change: Change) -> None:
        """Send a submission; each names the number under the reference of the run."""
        named = (reference(self.name), change) if action == "Withdraw" else self._name_all(change)
        root = self.story.submission(all_of(*named))
        self.story.submit(root, action=action, attach=action != "Withdraw")

    def _name_all(self, change: Change) -> tuple[Change, ...]:
        return reference(self.name), naming(f"{NUMBER}-{self.name}"), change

    def do(self) -> str:
        """Let one thing happen; return what."""
        acts: tuple[Callable[[], str], ...] = (self._file, self._file, self._say, self._operate, self._tick)
        return self.drawn.choice(acts)()

    def _file(self) -> str:
        name = self.drawn.choice(list(FILED))
        self.file(*FILED[name])
        return name

    def _say(self) -> str:
        code = self.drawn.choice((DecisionCode.APPROVED, DecisionCode.REJECTED))
        number = f"{NUMBER}-{self.name}"
        notice = f"{self.name}-{self.drawn.random()}"
        say(self.story, code, agency="NPQS", number=number, law="12", notice=notice, at=self.story.clock())
        return str(code)

    def _operate(self) -> str:
        with read_transaction(self.story.house.engine) as conn:
            known = deliveries.list_by_case(conn, self.case)
        rows = [row for row in known if row.agent == "local" and row.state in ("QUEUED", "HELD")]
        if not rows:
            return "nothing"
        act, row = self.drawn.choice(ACTS), self.drawn.choice(rows)
        if act is operator_actions.cancel_delivery and row.parameters["task"] == "conclude":
            return "nothing"
        try:
            self.story.operate(act, row.id)
        except GatewayError as refused:
            return f"{act.__name__} {row.parameters['task']}: {refused.problem.id}"
        return f"{act.__name__} {row.parameters['task']}"

    def _tick(self) -> str:
        hours = self.drawn.choice((0, 1, 20))
        self.story.tick(hours=hours)
        return f"{hours} h"

    def end(self) -> None:
        """Let everything happen that is owed, and look what became of the case."""
        with read_transaction(self.story.house.engine) as conn:
            held = [row.id for row in deliveries.list_by_case(conn, self.case) if row.state == "HELD"]
        for one in held:
            self.story.operate(operator_actions.release_delivery, one)
        self.story.tick(hours=50)
        self.story.tick(hours=1)
        with read_transaction(self.story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.case)
        for row in asked:
            notice = self.story.notice(row.agency, number=f"{self.name}-END")
            if row.state not in ("DECIDED", "CANCELLED"):
                apply_call_back(self.story.hub, row.agency, AgencyCallback(notice, row.number))
        self.story.tick(minutes=1)
        self.story.tick(minutes=1)
        self.check()

    def check(self) -> None:
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
            waits = requirement_results.list_awaited_uses(conn, self.case)
            left = [one for one in deliveries.list_by_case(conn, self.case) if one.state == "QUEUED"]
        assert row is not None
        assert row.state in ENDED
        assert left == []
        assert self.story.evidence("case", self.case).count("admitted") <= 1
        if row.state in ("REFUSED", "WITHDRAWN"):
            assert waits == []
        assert self.story.deliveries(state="FAILED") == []


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("block", range(3))
def test_drawn_runs_of_a_held_case_end(engine: Engine, block: int) -> None:
    story = Story(engine)
    story.hub.need_policy = HOLD
    for seed in range(20 * block, 20 * block + 2):
        run, done = HeldRun(story, seed), []
        try:
            for _ in range(run.drawn.randint(1, 9)):
                done.append(run.do())
            run.end()
        except Exception as failed:
            pytest.fail(f"seed {seed}: {failed!r} after {done}")
