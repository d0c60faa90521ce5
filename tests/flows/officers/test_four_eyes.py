"""Four eyes: one officer proposes, another one approves, and what was not seen is not approved."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode, DecisionPurpose, InformationAct, Notice
from gateway.errors import GatewayError
from gateway.store import officer_work, read_transaction
from gateway.web.officers import SESSION_ONLY, ActView, ApplicationView, Officer
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


def proposed(engine: Engine) -> tuple[ConsoleStory, Officer, ApplicationView, ActView]:
    """Return a story with an application for which kim has proposed a decision."""
    story = ConsoleStory(engine, four_eyes=True)
    kim = story.officer("kim", "approver")
    seen = story.arrive()
    done = story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    assert done.state == "PROPOSED"
    seen = story.look()
    assert seen.proposal is not None
    return story, kim, seen, seen.proposal


@BOTH
@pytest.mark.parametrize("purpose", [DecisionPurpose.CORRECT, DecisionPurpose.REVOKE])
def test_what_is_decided_is_changed_by_two_officers(engine: Engine, purpose: DecisionPurpose) -> None:
    story, kim, seen, proposal = proposed(engine)
    lee = story.officer("lee", "approver")
    story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY)
    decided = story.look()
    act = story.decision(DecisionCode.REJECTED, purpose)
    with refused("GW707.*propose it"):
        story.desk.perform_act(kim, decided.number, act, decided.shown_digest)
    now = story.look()
    assert now == decided, "nothing was changed by one officer"
    story.desk.propose_act(kim, decided.number, act, decided.shown_digest)
    waiting = story.look().proposal
    assert waiting is not None
    with refused("GW707.*does not approve"):
        story.desk.approve_proposal(
            kim, waiting.row.id, waiting.row.content, decided.shown_digest, SESSION_ONLY
        )
    story.desk.approve_proposal(lee, waiting.row.id, waiting.row.content, decided.shown_digest, SESSION_ONLY)
    assert story.look().decisions[0].decision == DecisionCode.REJECTED


def states(story: ConsoleStory, request: int) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return [row.state for row in officer_work.list_acts(conn, request)]


@pytest.mark.story("an approver approves what another officer has proposed")
def test_another_officer_approves_what_was_proposed(engine: Engine) -> None:
    story, kim, seen, proposal = proposed(engine)
    assert seen.state == "ACKNOWLEDGED"
    with refused("GW707.*propose it"):
        story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    with refused("GW707.*does not approve"):
        story.desk.approve_proposal(
            kim, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
        )
    with refused("GW707.*decisions.approve"):
        officer = story.officer("han")
        story.desk.approve_proposal(
            officer, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
        )
    lee = story.officer("lee", "approver")
    with refused("GW706"):
        story.desk.approve_proposal(lee, proposal.row.id, "0" * 64, seen.shown_digest, SESSION_ONLY)
    with refused("GW706"):
        story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, "0" * 64, SESSION_ONLY)
    done = story.desk.approve_proposal(
        lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
    )
    assert done.state == "PERFORMED"
    assert story.look().state == "DECIDED"
    with read_transaction(engine) as conn:
        (row,) = officer_work.list_acts(conn, seen.request.id)
    assert (row.name, row.approver_name) == ("kim", "lee")


@pytest.mark.refusal("an approver approves a proposal about a former state")
def test_a_proposal_about_another_state_is_not_approved(engine: Engine) -> None:
    """The application changes after the proposal: a call-back of the agency, as a supplement would."""
    story, _, seen, proposal = proposed(engine)
    lee = story.officer("lee", "approver")
    ask = InformationAct("Which lot?")
    with refused("GW708.*under way"):
        story.desk.perform_act(lee, seen.number, ask, seen.shown_digest)
    story.hear_at_console(ask)
    now = story.look()
    assert now.shown_digest != seen.shown_digest
    for shown in (seen.shown_digest, now.shown_digest):
        with refused("GW706"):
            story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, shown, SESSION_ONLY)
    story.desk.return_proposal(lee, proposal.row.id, proposal.row.content, "look at the question first")
    assert states(story, seen.request.id) == ["RETURNED"]


def test_an_approved_act_counts_though_the_notice_ahead_was_not_the_last(engine: Engine) -> None:
    story = ConsoleStory(engine, four_eyes=True)
    seen, kim, lee = story.arrive(), story.officer("kim", "approver"), story.officer("lee", "approver")
    now = story.clock()
    story.hear_of(Notice("own-1", now + timedelta(hours=1), "R02", story.decision().decisions))
    story.hear_of(Notice("own-2", now, "C04"))
    seen, act = story.look(), story.decision(DecisionCode.REJECTED, DecisionPurpose.CORRECT)
    story.desk.propose_act(kim, seen.number, act, seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY)
    assert story.look().decisions[0].decision == DecisionCode.REJECTED


def test_a_proposal_is_returned_or_withdrawn_and_the_next_one_decides(engine: Engine) -> None:
    story, kim, seen, proposal = proposed(engine)
    lee = story.officer("lee", "approver")
    with refused("GW707"):
        story.desk.withdraw_proposal(lee, proposal.row.id, proposal.row.content)
    with refused("GW707"):
        story.desk.return_proposal(kim, proposal.row.id, proposal.row.content, "mine")
    with refused("GW707.*reason"):
        story.desk.return_proposal(lee, proposal.row.id, proposal.row.content, "  ")
    story.desk.return_proposal(lee, proposal.row.id, proposal.row.content, "the quantity is wrong")
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    second = story.look().proposal
    assert second is not None
    story.desk.withdraw_proposal(kim, second.row.id, second.row.content)
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    third = story.look().proposal
    assert third is not None
    done = story.desk.approve_proposal(lee, third.row.id, third.row.content, seen.shown_digest, SESSION_ONLY)
    assert done.state == "PERFORMED"
    assert states(story, seen.request.id) == ["RETURNED", "WITHDRAWN", "PERFORMED"]


def test_of_twenty_approvals_and_returns_at_once_one_has_an_effect(engine: Engine) -> None:
    story, _, seen, proposal = proposed(engine)
    many = [story.officer(f"officer-{number}", "approver") for number in range(4)]

    def step(number: int) -> str:
        who = many[number % len(many)]
        try:
            if number % 3 == 0:
                story.desk.return_proposal(who, proposal.row.id, proposal.row.content, "again")
                return "RETURNED"
            done = story.desk.approve_proposal(
                who, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
            )
        except GatewayError as problem:
            if problem.problem.id != "GW706":
                raise
            return "lost"
        return done.state

    with ThreadPoolExecutor(20) as pool:
        ended = Counter(pool.map(step, range(20)))
    assert ended["lost"] == 19, ended
    (state,) = states(story, seen.request.id)
    assert ended[state] == 1
    decided = story.evidence("request", seen.request.id).count("notice")
    assert decided == (1 if state == "PERFORMED" else 0)
