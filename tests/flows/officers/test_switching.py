"""An agency whose own system is away: an operator switches it to the console, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import (
    AgencyCallback,
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    FeeAct,
    InformationAct,
    InspectionAct,
    Notice,
    OfficerAct,
    ProviderEvent,
    ReceiveAct,
)
from gateway.errors import GatewayError
from gateway.hub import (
    apply_call_back,
    apply_provider_event,
    switch_agency_back,
    switch_agency_to_console,
)
from gateway.store import decisions, fees, officer_work, read_transaction, write_transaction
from gateway.web.officers import SESSION_ONLY, ApplicationView
from tests.flows.craft import all_of, text, withdrawal
from tests.flows.test_amendments import amendment
from tests.kit.databases import BOTH
from tests.kit.fee_turns import FEES, GATE, serve_fees
from tests.kit.officers import ConsoleStory
from tests.kit.story import ITEMS, LAWS, Call, unreachable

AGENCY = "KPTA"


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


def switch(story: ConsoleStory) -> Any:
    with write_transaction(story.house.engine) as conn:
        return switch_agency_to_console(conn, AGENCY, story.clock(), "op", "fire in the data centre")


def switch_back(story: ConsoleStory) -> Any:
    with write_transaction(story.house.engine) as conn:
        return switch_agency_back(conn, AGENCY, story.clock(), "op", "it is back")


def calls(story: ConsoleStory) -> int:
    return [call.destination for call in story.soap.calls].count(AGENCY)


@BOTH
def test_what_waited_is_decided_at_the_console_once(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY, console=False)
    story.say(AGENCY, unreachable(), unreachable())
    story.submit()
    story.tick()
    number = story.request(AGENCY).number
    kim = story.officer("kim")
    assert story.desk.read_application(AGENCY, number) is None
    done = switch(story)
    assert len(done.due) == 1
    story.tick()
    seen = story.look()
    assert (seen.state, len(story.rested()), calls(story)) == ("ACKNOWLEDGED", 1, 1)
    assert story.desk.perform_act(kim, number, story.decision(), seen.shown_digest).state == "PERFORMED"
    # The system comes back, and decides what it got before the connection was lost.
    late = story.notice(AGENCY, DecisionCode.REJECTED, number="late")
    with refused("GW703.*decided at the console"):
        apply_call_back(story.hub, AGENCY, AgencyCallback(late, number))
    assert switch_back(story).undecided_count == 0
    with refused("GW703"):
        apply_call_back(story.hub, AGENCY, AgencyCallback(late, number))
    story.decide_others()
    story.tick()
    assert story.outcome()[1][1] == "APPROVED"
    assert story.evidence("agency", AGENCY).count("operator") == 2  # type: ignore[arg-type]


def test_a_call_under_way_is_not_also_in_the_mailbox(engine: Engine) -> None:
    """The agency is switched while its system takes the call; its officers decide before it answers."""
    story = ConsoleStory(engine, AGENCY, console=False)
    kim = story.officer("kim")

    def answer(call: Call) -> Any:
        switch(story)
        number = call.text("ApplicationNumber") or ""
        seen = story.desk.read_application(AGENCY, number)
        assert seen is not None
        assert story.desk.perform_act(kim, number, story.decision(), seen.shown_digest).state == "PERFORMED"
        return story.notice(AGENCY, DecisionCode.REJECTED, number="immediate")

    story.say(AGENCY, answer)
    story.submit()
    story.tick()
    request = story.request(AGENCY)
    assert story.delivery(destination=AGENCY).state == "DELIVERED"
    with read_transaction(engine) as conn:
        assert officer_work.list_mailbox_calls(conn, request.id) == []
    assert story.evidence("request", request.id).count("overtaken") == 1
    story.decide_others()
    story.tick()
    assert story.outcome()[1][1] == "APPROVED"


def test_what_the_system_decided_is_not_decided_again(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY, console=False)
    story.submit()
    story.tick()
    kim = story.officer("kim")
    switch(story)
    seen = story.look()
    story.decide(AGENCY)
    with refused("GW706"):
        story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    seen = story.look()
    with refused("GW705.*is decided"):
        story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)


def test_what_rests_in_the_mailbox_stays_there_after_the_return(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY, console=False)
    kim = story.officer("kim")
    switch(story)
    with refused("GW705.*already"):
        switch(story)
    seen = story.arrive()
    assert switch_back(story).undecided_count == 1
    with refused("GW705.*no operator"):
        switch_back(story)
    assert calls(story) == 0
    assert story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest).state == "PERFORMED"


def show_before_return(engine: Engine, **options: Any) -> tuple[ConsoleStory, ApplicationView]:
    """Return a story, and an application of its agency's system as an officer saw it while that was away."""
    story = ConsoleStory(engine, AGENCY, console=False, **options)
    story.submit()
    story.tick()
    switch(story)
    return story, story.look()


def list_act_states(story: ConsoleStory) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return [row.state for row in officer_work.list_acts(conn, story.request(AGENCY).id)]


ACTS: dict[str, OfficerAct] = {
    "decision": DecisionAct(
        DecisionPurpose.DECIDE, (Decision(ITEMS[AGENCY], LAWS[AGENCY], DecisionCode.APPROVED, "P-1"),)
    ),
    "question": InformationAct("Which lot?"),
    "inspection": InspectionAct("E01"),
    "fee": FeeAct("Y01", "30000", currency="KRW"),
    "receipt": ReceiveAct(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_nobody_acts_on_a_page_of_before_the_return(engine: Engine, act: OfficerAct) -> None:
    """Nothing of the application has changed; but its system has it again, and knows nothing of the act."""
    story, seen = show_before_return(engine)
    kim = story.officer("kim", "head")
    switch_back(story)
    with refused("GW707.*is with the system of KPTA, not at the console"):
        story.desk.perform_act(kim, seen.number, act, seen.shown_digest)
    assert list_act_states(story) == []
    assert story.desk.read_application(AGENCY, seen.number) is None
    with refused("GW701"):
        story.desk.claim_application(kim, seen.number, 0)
    # The next time that its system is away, the same page is good.
    switch(story)
    assert story.desk.perform_act(kim, seen.number, act, seen.shown_digest).state == "PERFORMED"


def test_nobody_proposes_or_approves_on_a_page_of_before_the_return(engine: Engine) -> None:
    story, seen = show_before_return(engine, four_eyes=True)
    kim, lee = story.officer("kim", "approver"), story.officer("lee", "approver")
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    switch_back(story)
    with refused("GW707.*KPTA is not at the console"):
        story.desk.approve_proposal(
            lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
        )
    assert list_act_states(story) == ["PROPOSED"]
    story.desk.withdraw_proposal(kim, proposal.row.id, proposal.row.content)
    with refused("GW707.*is with the system of KPTA, not at the console"):
        story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    assert list_act_states(story) == ["WITHDRAWN"]
    story.decide(AGENCY)
    assert story.request(AGENCY).state == "DECIDED"


def test_a_delivery_that_was_claimed_before_the_return_goes_to_the_system(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY, console=False)
    switch(story)
    story.keys.at_next_use = lambda: switch_back(story)
    story.submit()
    story.tick()
    with read_transaction(engine) as conn:
        assert officer_work.list_mailbox_calls(conn, story.request(AGENCY).id) == []
    story.tick(seconds=30)
    assert calls(story) == 1
    assert story.request(AGENCY).state == "ACKNOWLEDGED"


def test_what_the_console_decided_is_corrected_there_after_the_return(engine: Engine) -> None:
    """Its own system had received the application, and may not change it: its officers may."""
    story = ConsoleStory(engine, AGENCY, console=False)
    story.submit()
    story.tick()
    switch(story)
    lee = story.officer("lee", "approver")
    seen = story.look()
    story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    switch_back(story)
    for status in ("F01", "G02", "G01", "G03"):
        notice = Notice(f"own-{status}", story.clock(), status)
        with refused("GW703"):
            apply_call_back(story.hub, AGENCY, AgencyCallback(notice, seen.number))
    seen = story.look()
    act = story.decision(DecisionCode.REJECTED, DecisionPurpose.CORRECT)
    assert story.desk.perform_act(lee, seen.number, act, seen.shown_digest).state == "PERFORMED"


def decide_before_the_answer(
    engine: Engine, make_notice: Callable[[ConsoleStory], Notice]
) -> tuple[ConsoleStory, Any]:
    """Let officers decide while the question whether it cancels is under way to the system; it answers then.

    What it answers is kept as evidence. Returns the story, and the officer.
    """
    story = ConsoleStory(engine, AGENCY, console=False)
    kim = story.officer("kim", "head")
    story.submit()
    story.tick()
    number = story.request(AGENCY).number

    def answer(call: Call) -> Notice:
        switch(story)
        seen = story.look()
        assert story.desk.perform_act(kim, number, story.decision(), seen.shown_digest).state == "PERFORMED"
        return make_notice(story)

    story.say(AGENCY, answer)
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert story.evidence("request", story.request(AGENCY).id).count("overtaken") == 1
    return story, kim


def test_a_decision_in_the_answer_to_another_call_does_not_overrule_the_console(engine: Engine) -> None:
    """The question whether it cancels is under way to the system when its officers decide."""
    story, _ = decide_before_the_answer(
        engine, lambda story: story.notice(AGENCY, DecisionCode.REJECTED, number="late")
    )
    request = story.request(AGENCY)
    with read_transaction(engine) as conn:
        standing = [
            one.decision for one in decisions.list_by_request(conn, request.id) if not one.superseded_by
        ]
    assert standing == ["APPROVED"]


def test_the_system_does_not_cancel_what_the_console_has_approved(engine: Engine) -> None:
    """What it answers to a question that was under way is kept as evidence; its officers answer that."""
    story, kim = decide_before_the_answer(engine, lambda story: Notice("own", story.clock(), "G03"))
    request = story.request(AGENCY)
    number = request.number
    # Their approval has answered the question, as one of a system does; they may cancel later.
    assert (request.state, request.cancellation) == ("DECIDED", "REFUSED")
    with refused("GW703"):
        apply_call_back(story.hub, AGENCY, AgencyCallback(Notice("own-2", story.clock(), "G03"), number))
    seen = story.look()
    assert story.desk.perform_act(kim, number, ReceiveAct("G03"), seen.shown_digest).state == "PERFORMED"
    assert story.request(AGENCY).state == "CANCELLED"


def test_the_mailbox_still_cancels_what_is_to_be_decided_again(engine: Engine) -> None:
    """An amendment has overtaken what the officers decided: a withdrawal has nothing to ask them."""
    story = ConsoleStory(engine, AGENCY)
    kim = story.officer("kim", "head")
    seen = story.arrive()
    story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    changed = all_of(
        amendment(), text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Other capsules")
    )
    story.submit(story.submission(changed), action="Amend")
    story.tick()
    assert story.request(AGENCY).state == "ACKNOWLEDGED"
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert story.request(AGENCY).state == "CANCELLED"


def test_what_follows_a_decision_of_the_console_comes_there_after_the_return(engine: Engine) -> None:
    """Its system had the application, and may not decide it any more: an amendment is for its officers."""
    story = ConsoleStory(engine, AGENCY, console=False)
    kim = story.officer("kim", "head")
    story.submit()
    story.tick()
    switch(story)
    seen = story.look()
    story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    switch_back(story)
    story.decide_others()
    story.tick()
    sent = calls(story)
    changed = all_of(
        amendment(), text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Other capsules")
    )
    story.submit(story.submission(changed), action="Amend")
    story.tick()
    seen = story.look()
    assert (seen.state, len(story.rested()), calls(story)) == ("ACKNOWLEDGED", 1, sent)
    assert story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest).state == "PERFORMED"
    story.tick()
    assert story.request(AGENCY).state == "DECIDED"


@pytest.mark.parametrize("returned", [False, True], ids=["switched", "back"])
def test_the_note_of_a_payment_rests_with_its_application(
    engine: Engine, tmp_path: Path, returned: bool
) -> None:
    """Its system is away, and never had the application that was forwarded when its fee was paid."""
    story = ConsoleStory(engine, AGENCY, console=False)
    serve_fees(story, tmp_path)
    story.addresses[AGENCY] = replace(story.addresses[AGENCY], has_payment_notices=True)
    story.submit()
    story.tick(seconds=1)
    switch(story)
    with read_transaction(engine) as conn:
        (fee,) = fees.list_by_request(conn, story.request(AGENCY).id)
    story.say(AGENCY, *[unreachable()] * 9)
    paid = ProviderEvent("paid", fee.number, "P-1", FEES[GATE][1], story.clock())
    assert apply_provider_event(story.hub, paid) == "counted"
    if returned:
        # The application has come to rest; the note of the payment is not composed yet.
        story.worker.run_once()
        assert story.look().state == "ACKNOWLEDGED"
        switch_back(story)
    for _ in range(3):
        story.tick(minutes=5)
    assert calls(story) == 0
    assert [one.operation for one in story.rested()] == ["SubmitApplication", "NotifyPayment"]
    with read_transaction(engine) as conn:
        assert fees.find_by_id(conn, fee.id).told_at is not None  # type: ignore[union-attr]
    assert {one.state for one in story.deliveries(destination=AGENCY)} == {"DELIVERED"}
