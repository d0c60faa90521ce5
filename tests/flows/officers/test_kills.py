"""A process is killed at each commit of an officer's act: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from gateway.cases import DecisionAct, DecisionCode, DecisionPurpose
from gateway.store import officer_work, read_transaction
from gateway.web.officers import SESSION_ONLY, ApplicationView, Officer, OfficerDesk
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.officers import ConsoleStory

KILLS = (
    "officer.begin.before_commit",
    "officer.begin.after_commit",
    "officer.intended",
    "reply.call_back.before_commit",
    "reply.call_back.after_commit",
    "officer.called",
)


def die(story: ConsoleStory, place: str, act: Callable[[OfficerDesk], object]) -> None:
    """Let a process of its own act, and be killed at a failpoint."""
    die_at(story, place, lambda hub: act(OfficerDesk(hub, story.settings, story.keys)))


def perform(officer: Officer, act: DecisionAct, seen: ApplicationView, desk: OfficerDesk) -> None:
    desk.perform_act(officer, seen.number, act, seen.shown_digest)


@BOTH
def test_an_act_is_performed_once_wherever_its_process_dies(engine: Engine) -> None:
    story = ConsoleStory(engine)
    lee = story.officer("lee", "approver")
    seen = story.arrive()
    story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    codes = [DecisionCode.REJECTED, DecisionCode.APPROVED] * len(KILLS)
    for number, place in enumerate(KILLS):
        story.clock.forward(minutes=1)
        before = story.look().decisions[0].decision
        code = next(one for one in codes if one != before)
        seen = story.look()
        act = story.decision(code, DecisionPurpose.CORRECT)
        die(story, place, partial(perform, lee, act, seen))
        with read_transaction(engine) as conn:
            killed = officer_work.list_acts(conn, seen.request.id)[-1]
        story.clock.forward(minutes=1)
        story.new_desk().resume_acts()
        with read_transaction(engine) as conn:
            rows = officer_work.list_acts(conn, seen.request.id)
        assert {row.state for row in rows} == {"PERFORMED"}, place
        # What was not committed was not done; what was is done once, with the same MessageID and notice.
        expected = before if place == KILLS[0] else code
        assert story.look().decisions[0].decision == expected, place
        assert len(rows) == number + 1, place
        assert (rows[-1].message_id, rows[-1].notice_number) == (killed.message_id, killed.notice_number)
        assert story.evidence("request", seen.request.id).count("notice") == len(rows)


@BOTH
def test_an_approval_is_performed_after_a_kill(engine: Engine) -> None:
    story = ConsoleStory(engine, four_eyes=True)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    seen = story.arrive()
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    shown = (proposal.row.id, proposal.row.content, seen.shown_digest)
    die(story, "officer.approve.after_commit", lambda desk: desk.approve_proposal(lee, *shown, SESSION_ONLY))
    assert story.look().state == "ACKNOWLEDGED"
    story.clock.forward(minutes=1)
    assert story.new_desk().resume_acts() == 1
    assert story.look().state == "DECIDED"
