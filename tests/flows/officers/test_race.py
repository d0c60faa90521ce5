"""One act at the same moment in several processes: it is performed once, and never refused by itself."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.pki import KeySigner
from gateway.store import officer_work, read_transaction
from gateway.web.officers import SESSION_ONLY, OfficerDesk
from tests.flows.officers.test_acts import acts_of
from tests.kit.databases import BOTH
from tests.kit.house import Away
from tests.kit.officers import ConsoleStory, KeptKeys

PROCESSES = 4


def run_at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Call functions at the same moment, each in a thread; return what each returned or its GW id."""
    ready = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        ready.wait(60)
        try:
            return action()
        except GatewayError as problem:
            return problem.problem.id

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def start_process(story: ConsoleStory) -> OfficerDesk:
    """Return the desk of another process: its hub has its own memory, also of the calls that it has seen."""
    return OfficerDesk(story.house.new_hub(story.hub.composer), story.settings, story.keys)


def list_states(story: ConsoleStory, request: int) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return [row.state for row in officer_work.list_acts(conn, request)]


@BOTH
@pytest.mark.parametrize("own_process", [True, False], ids=["processes", "threads"])
def test_of_two_officers_who_decide_at_once_one_does(engine: Engine, *, own_process: bool) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    officers = [story.officer(name) for name in ("kim", "lee")]
    desks = [start_process(story) if own_process else story.desk for _ in officers]

    def decide(number: int) -> str:
        done = desks[number].perform_act(
            officers[number], seen.number, story.decision(), seen.shown_digest, SESSION_ONLY
        )
        assert done.problem is None
        return done.state

    outcomes = run_at_once([lambda: decide(0), lambda: decide(1)])
    assert outcomes.count("PERFORMED") == 1, outcomes
    assert set(outcomes) <= {"PERFORMED", "GW705", "GW706", "GW708"}, outcomes
    assert list_states(story, seen.request.id) == ["PERFORMED"]
    assert [one["step"] for one in acts_of(story, seen.request.id)] == ["intended", "performed"]
    assert story.look().state == "DECIDED"
    assert story.evidence("request", seen.request.id).count("decided") <= 1


class MeetingKeys(KeptKeys):
    """Keys that are given out when every process has read the act as intended, and not before.

    With `apart` each process signs at a time of its own, so that its octets are others.
    """

    def __init__(self, story: ConsoleStory, apart: timedelta) -> None:
        super().__init__(lambda: story.settings)
        self._ready = threading.Barrier(PROCESSES)
        self._clock = story.clock
        self._apart = apart
        self._turn = threading.Lock()

    def get_signer(self, agency: str) -> KeySigner:
        self._ready.wait(60)
        with self._turn:
            self._clock.now += self._apart
        return super().get_signer(agency)


@BOTH
@pytest.mark.parametrize("own_process", [True, False], ids=["processes", "threads"])
@pytest.mark.parametrize("apart", [timedelta(0), timedelta(seconds=1)], ids=["same-octets", "signed-anew"])
def test_an_act_that_is_performed_at_once_is_performed_once_and_not_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, own_process: bool, apart: timedelta
) -> None:
    """The key was away, so that the act waits; then each process takes it up, and makes its call."""
    story = ConsoleStory(engine)
    kim, seen = story.officer("kim"), story.arrive()
    with monkeypatch.context() as away:
        away.setattr(KeptKeys, "get_signer", lambda _, agency: Away(agency.lower()))
        waiting = story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest, SESSION_ONLY)
        assert waiting.state == "INTENDED"
    story.keys = MeetingKeys(story, apart)

    def apply_late(*arguments: Any) -> None:
        time.sleep(0.3)  # the others are refused, or wait, before this call has its effect
        apply_call_back(*arguments)

    monkeypatch.setattr("gateway.web.officers.act_performance.apply_call_back", apply_late)
    shared = start_process(story)
    desks = [start_process(story) if own_process else shared for _ in range(PROCESSES)]
    counts = run_at_once([desk.resume_acts for desk in desks])
    assert all(isinstance(count, int) for count in counts), counts
    assert max(counts) == 1
    assert list_states(story, seen.request.id) == ["PERFORMED"]
    assert Counter(one["step"] for one in acts_of(story, seen.request.id)) == {"intended": 1, "performed": 1}
    assert story.look().state == "DECIDED"


@BOTH
def test_a_proposal_that_is_approved_at_once_is_performed_once(engine: Engine) -> None:
    """The same officer presses twice, and another one once."""
    story = ConsoleStory(engine, four_eyes=True)
    kim = story.officer("kim", "approver")
    seen = story.arrive()
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    shown = story.look().shown_digest
    lee, han = (story.officer(name, "approver") for name in ("lee", "han"))
    desks = [start_process(story) for _ in range(3)]
    outcomes = run_at_once(
        [
            lambda desk=desk, officer=officer: (
                desk.approve_proposal(
                    officer, proposal.row.id, proposal.row.content, shown, SESSION_ONLY
                ).state
            )
            for desk, officer in zip(desks, (lee, lee, han), strict=True)
        ]
    )
    assert outcomes.count("PERFORMED") == 1, outcomes
    assert set(outcomes) <= {"PERFORMED", "GW705", "GW706", "GW707", "GW708"}, outcomes
    assert list_states(story, seen.request.id) == ["PERFORMED"]
    assert story.look().state == "DECIDED"
