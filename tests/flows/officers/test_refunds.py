"""Officers at the console give back a fee that was paid: before their decision, and after it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionPurpose, ProviderEvent, ReceiveAct
from gateway.config import PaymentSettings
from gateway.delivery.agents import PaymentAgent
from gateway.errors import GatewayError
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.web.officers import SESSION_ONLY, Officer
from tests.flows.test_fees import KRW, SECRET, Provider, fees_of, movements, pay
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory
from tests.kit.story import PLAN


@pytest.fixture
def story(engine: Engine) -> ConsoleStory:
    started = ConsoleStory(engine, "KPTA", four_eyes=True)
    started.hub.payments = PaymentPolicy(True, {"KPTA-PHARM-IMP": Tariff(KRW, days=10)}, SECRET)
    return started


@pytest.fixture
def provider(story: ConsoleStory, tmp_path: Any) -> Provider:
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    settings = PaymentSettings.model_validate(
        {"endpoint": "https://pay.example", "secret": {"file": str(file)}}, context={"home": tmp_path}
    )
    made = Provider(story)
    story.agents["payment"] = PaymentAgent(story.hub, made, settings, PLAN)
    story.worker = story.new_worker("w2")
    return made


def arrive(story: ConsoleStory, *, how: str = "at the provider") -> str:
    """Let an application arrive whose fee was paid; return its number."""
    story.submit()
    story.tick(seconds=1)
    number = str(story.request("KPTA").number)
    if how == "at the provider":
        pay(story, f"{number}-F01")
    else:
        story.desk.perform_act(story.officer("clerk"), number, ReceiveAct("Y04"), story.look().shown_digest)
    story.tick(seconds=1)
    return number


def decide(story: ConsoleStory, kim: Officer, lee: Officer, purpose: str = "decide") -> None:
    number, act = story.look().number, story.decision(purpose=DecisionPurpose(purpose))
    story.desk.propose_act(kim if purpose == "decide" else story.officer("kang", "approver"), number, act,
                           story.look().shown_digest)  # fmt: skip
    view = story.look()
    assert view.proposal is not None
    story.desk.approve_proposal(
        lee, view.proposal.row.id, view.proposal.row.content, view.shown_digest, SESSION_ONLY
    )
    story.tick(seconds=1)
    assert story.look().state == "DECIDED"


def give_back(story: ConsoleStory, officer: Officer) -> str:
    """Return the id of the problem with which the refund is refused, or nothing."""
    try:
        done = story.desk.perform_act(
            officer, story.look().number, ReceiveAct("Y16"), story.look().shown_digest
        )
    except GatewayError as problem:
        return problem.problem.id
    story.tick(seconds=1)
    assert done.problem is None
    return ""


def list_codes(story: ConsoleStory) -> set[str]:
    return {one.code for one in story.desk.list_status_codes("receive", story.look().number)}


@BOTH
def test_an_approver_gives_a_fee_back_once_when_the_application_is_decided(
    story: ConsoleStory, provider: Provider
) -> None:
    arrive(story)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    decide(story, kim, lee)
    assert list_codes(story) == {"Y16"}
    assert give_back(story, kim) == "GW707", "of what is decided an approver speaks"
    assert give_back(story, lee) == ""
    assert [(one["amount"], one["currency"]) for one in provider.list_calls("refunds")] == [("30000", "KRW")]
    assert [one.state for one in fees_of(story, "KPTA")] == ["REFUNDED"]
    assert story.look().state == "DECIDED"
    assert give_back(story, lee) == "GW705"
    assert not story.look().was_paid
    assert len(provider.list_calls("refunds")) == 1


def test_what_was_given_back_before_the_decision_is_not_given_back_after_it(
    story: ConsoleStory, provider: Provider
) -> None:
    arrive(story)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    assert give_back(story, kim) == ""
    decide(story, kim, lee)
    assert (list_codes(story), give_back(story, lee)) == (set(), "GW705")
    assert [one[:3] for one in movements(story, "KPTA") if one[0] == "refund"] == [
        ("refund", "DONE", "30000")
    ]


def test_of_two_approvers_with_one_page_one_gives_back(story: ConsoleStory, provider: Provider) -> None:
    number = arrive(story)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    decide(story, kim, lee)
    shown = story.look().shown_digest
    story.desk.perform_act(lee, number, ReceiveAct("Y16"), shown)
    with pytest.raises(GatewayError, match="GW706"):
        story.desk.perform_act(story.officer("park", "approver"), number, ReceiveAct("Y16"), shown)
    story.tick(seconds=1)
    assert len(provider.list_calls("refunds")) == 1


def test_a_payment_that_is_told_late_is_given_back_once(story: ConsoleStory, provider: Provider) -> None:
    """It was confirmed at the desk: what is given back is kept until the provider tells of the payment."""
    paid_at = story.clock()
    number = arrive(story, how="at the desk")
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    decide(story, kim, lee)
    assert give_back(story, lee) == ""
    assert (list_codes(story), give_back(story, lee)) == (set(), "GW705")
    assert provider.list_calls("refunds") == []
    with pytest.raises(GatewayError):
        story.desk.perform_act(lee, number, ReceiveAct("C04"), story.look().shown_digest)
    event = ProviderEvent("paid", f"{number}-F01", "P-1", KRW, paid_at)
    assert apply_provider_event(story.hub, event) == "counted"
    story.tick(seconds=1)
    assert len(provider.list_calls("refunds")) == 1


def test_after_a_correction_too(story: ConsoleStory, provider: Provider) -> None:
    arrive(story)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    decide(story, kim, lee)
    decide(story, kim, lee, "correct")
    assert give_back(story, lee) == ""
    assert len(provider.list_calls("refunds")) == 1
