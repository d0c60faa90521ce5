"""A replay says what the hub does: of stored notices, and of those that come next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, DecisionEffect, Notice
from gateway.errors import GatewayError
from gateway.hub import ApplicationReplay, CaseReplay, CaseReplayer, apply_call_back
from gateway.hub.answers.replayed_notices import OfferedNotice
from gateway.store import decisions, read_transaction
from tests.flows.craft import all_of, text
from tests.kit.databases import BOTH
from tests.kit.levels import at_night
from tests.kit.story import AGENCIES, ITEMS, LAWS, Story

AGENCY = "KFDA"
T = TypeVar("T")
#: The first instant of the day in Korea.
DAY = datetime(2026, 11, 19, 15, tzinfo=UTC)
CODES = {
    "R01": DecisionCode.APPROVED,
    "R02": DecisionCode.APPROVED,
    "R03": DecisionCode.REJECTED,
    "R04": DecisionCode.REJECTED,
}


def draw(drawn: random.Random, case: str) -> Notice:
    """Return a notice about a case, of few numbers, times and certificates, so that many of them meet."""
    number = drawn.choice(("9", "10", "P-9", "P-10", "R1", "R01", "11", "12"))
    status = drawn.choice((*CODES, *CODES, "D01", "C04", "G02", "G01" if drawn.random() < 0.2 else "R01"))
    of_day = drawn.random() < 0.4
    issued_at = DAY if of_day else DAY + timedelta(hours=10, minutes=drawn.randint(0, 1))
    made: tuple[Decision, ...] = ()
    if status in CODES:
        certificate = drawn.choice((None, f"{case}/C-9", f"{case}/C-10"))
        made = (Decision(ITEMS[AGENCY], LAWS[AGENCY], CODES[status], certificate),)
    return Notice(f"{case}/{number}", issued_at, status, made, states_day=of_day)


def describe(application: ApplicationReplay) -> Sequence[tuple[Any, ...]]:
    """Return what a replay says of an application, without the times of receipt."""
    return [
        *((one.notice.number, one.counts_at, one.rank, one.decisions) for one in application.replay.notices),
        application.replay.items,
    ]


class Replayed:
    """A story whose newest case is replayed at each step."""

    def __init__(self, engine: Engine) -> None:
        self.story = Story(engine)

    def file(self, name: str) -> None:
        """File a declaration of this reference; the other agencies approve."""
        self.story.soap.calls.clear()
        root = self.story.submission(all_of(text("Reference", name), text(".//FunctionalReferenceID", name)))
        self.story.submit(root)
        self.story.tick()
        for agency in set(AGENCIES) - {AGENCY}:
            self.story.decide(agency, number=name)

    def replay(self, notice: Notice | None = None) -> CaseReplay:
        """Return the replay of the newest case, with a notice that comes next."""
        number = str(self.story.request(AGENCY).number)
        with read_transaction(self.story.house.engine) as conn:
            replayer = CaseReplayer(conn, self.story.case(), self.story.clock())
            if notice is not None:
                replayer.add_offered_notice(self.story.hub, OfferedNotice(number, notice))
            return replayer.replay()

    def find_application(self, replay: CaseReplay) -> ApplicationReplay:
        return next(one for one in replay.applications if one.request.agency == AGENCY)

    def hear(self, notice: Notice) -> None:
        callback = AgencyCallback(notice, str(self.story.request(AGENCY).number))
        apply_call_back(self.story.hub, AGENCY, callback)

    def check_stored(self, replay: CaseReplay) -> None:
        """Compare a replay with what the hub has stored."""
        case, application = self.story.case(), self.find_application(replay)
        assert application.differences == ()
        assert application.is_cancelled == (application.request.state == "CANCELLED")
        with read_transaction(self.story.house.engine) as conn:
            rows = decisions.list_all_by_request(conn, application.request.id)
        stored = {row.notice_no for row in rows if row.superseded_by is None}
        in_force = (DecisionEffect.COUNTS, DecisionEffect.CANCELLED)
        assert stored == {
            one.notice.number
            for one in application.replay.notices
            if any(decision.effect in in_force for decision in one.decisions)
        }
        assert replay.outcome == case.outcome


def attempt(call: Callable[[], T]) -> T | GatewayError:
    """Return what a call returns, or the problem that it raises."""
    try:
        return call()
    except GatewayError as refusal:
        return refusal


@BOTH
@pytest.mark.parametrize("seeds", [range(6), *at_night(range(6, 60))], ids=str)
def test_a_notice_has_the_effect_that_its_replay_has_told(engine: Engine, seeds: range) -> None:
    replayed = Replayed(engine)
    heard = refused = 0
    for seed in seeds:
        drawn = random.Random(seed)
        replayed.file(f"S{seed}")
        for _ in range(6):
            notice = draw(drawn, f"S{seed}")
            replayed.story.clock.forward(seconds=1)
            told = attempt(partial(replayed.replay, notice))
            refusal = attempt(partial(replayed.hear, notice))
            if isinstance(refusal, GatewayError):
                assert isinstance(told, GatewayError), f"{seed}: {refusal}"
                assert (told.problem, told.location) == (refusal.problem, refusal.location)
                refused += 1
                continue
            assert isinstance(told, CaseReplay), f"{seed}: {told}"
            stored = replayed.replay()
            replayed.check_stored(stored)
            expected, found = (describe(replayed.find_application(one)) for one in (told, stored))
            assert expected == found, f"{seed}: {notice}"
            assert told.outcome == stored.outcome
            heard += 1
    assert heard > refused > 0
