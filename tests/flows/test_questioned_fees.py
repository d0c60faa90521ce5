"""A fee that is levied while its agency is asked whether it cancels the application is payable afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest

from gateway.cases import AgencyAcknowledgment, NamedFee, Notice
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub.completion import operator_actions
from gateway.hub.fees.agency_payment_notes import settle_fee_elsewhere, waive_fee
from tests.flows.test_deadlines import rows, states
from tests.flows.test_fee_kills import die
from tests.flows.test_fees import KRW, Provider, fees_of, pay, provider, story, told_of, withdraw
from tests.flows.test_late_approvals import approve, hear, request_of, withdraw_rejected
from tests.kit.databases import BOTH
from tests.kit.story import Story

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"


def ask_after_withdrawal(held: Story) -> int:
    """Let an agency approve after the withdrawal; return the case (row id), whose question is open."""
    held.hub.payments = replace(held.hub.payments, tariffs={})
    case = withdraw_rejected(held, AGENCY)
    approve(held, case, AGENCY, "1")
    held.say(AGENCY, AgencyAcknowledgment("heard"))
    held.tick(minutes=1)
    assert request_of(held, case, AGENCY).cancellation == "ASKED"
    return case


def levy(held: Story, case: int, number: str = "F1") -> None:
    fee = NamedFee(KRW, date(2026, 12, 9), number, refundable=True)
    hear(held, case, AGENCY, Notice(number, held.clock(), "Y05", fee=fee))
    held.tick(minutes=1)


def say(held: Story, case: int, code: str) -> None:
    hear(held, case, AGENCY, Notice(f"N-{code}", held.clock(), code))
    held.tick(minutes=1)


def unask(held: Story, case: int) -> None:
    act = partial(operator_actions.end_question, reason="confirmed by telephone")
    held.operate(act, request_of(held, case, AGENCY).id)
    held.tick(minutes=1)


def orders(made: Provider) -> int:
    return len(made.list_calls("orders"))


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("ends", [partial(say, code="G04"), unask], ids=["G04", "operator"])
def test_a_fee_waits_for_the_answer_and_is_payable_when_the_application_stands(
    story: Story, provider: Provider, ends: Callable[..., None]
) -> None:
    """However long the agency says nothing, nobody can pay; nor does an operator let it be paid."""
    case = ask_after_withdrawal(story)
    levy(story, case)
    story.tick(days=3)
    assert ([one.state for one in fees_of(story, AGENCY)], orders(provider)) == (["LEVIED"], 0)
    (held,) = story.deliveries(agent="payment")
    for act in (operator_actions.release_delivery, operator_actions.cancel_delivery):
        with pytest.raises(GatewayError) as refused:
            story.operate(act, held.id)
        assert refused.value.problem is TRANSITION_REFUSED
    assert [one.find("{*}Fee") for one in told_of(story, "Y05")] == [None]
    ends(story, case)
    (fee,) = fees_of(story, AGENCY)
    assert (fee.state, orders(provider)) == ("ORDERED", 1)
    assert "address" in told_of(story, "Y05")[-1].find("{*}Fee").attrib
    assert pay(story, fee.number) == "counted"


@pytest.mark.long
@pytest.mark.parametrize("tried", [False, True])
def test_what_is_ordered_then_is_an_order_as_every_other(
    story: Story, provider: Provider, tried: bool
) -> None:
    """An operator holds and releases it, and a cancellation is told."""
    case = ask_after_withdrawal(story)
    levy(story, case)
    provider.down = 9 if tried else 0
    hear(story, case, AGENCY, Notice("N-G04", story.clock(), "G04"))
    if tried:
        story.tick(seconds=1)
    (order,) = story.deliveries(agent="payment")
    story.operate(operator_actions.hold_delivery, order.id)
    hear(story, case, AGENCY, Notice("E", story.clock(), "Y06", fee=NamedFee(payment_notice="F1")))
    story.operate(operator_actions.release_delivery, order.id)
    provider.down = 0
    story.tick(minutes=30)
    assert [one.state for one in fees_of(story, AGENCY)] == ["CANCELLED"]
    assert len(provider.list_calls("cancellations")) == 1


@pytest.mark.long
def test_an_agency_that_cancels_gets_no_fee(story: Story, provider: Provider) -> None:
    case = ask_after_withdrawal(story)
    levy(story, case)
    say(story, case, "G03")
    assert [one.state for one in fees_of(story, AGENCY)] == ["CANCELLED"]
    assert (orders(provider), provider.list_calls("cancellations")) == (0, [])
    assert [row.state for row in story.deliveries(agent="payment")] == ["CANCELLED"]
    assert len(told_of(story, "Y06")) == 1


@pytest.mark.long
def test_what_was_levied_before_the_question_is_payable_and_goes_back(
    story: Story, provider: Provider
) -> None:
    """The declarant may pay it while the agency is asked; what is levied behind it waits."""
    story.submit()
    story.tick()
    fee = NamedFee(KRW, None, "F1", refundable=True)
    story.hear(AGENCY, Notice("F1", story.clock(), "Y05", fee=fee))
    story.tick(seconds=1)
    story.say(AGENCY, AgencyAcknowledgment("heard"))
    withdraw(story)
    case = int(story.case().id)
    assert request_of(story, case, AGENCY).cancellation == "ASKED"
    levy(story, case, "F2")
    first, second = fees_of(story, AGENCY)
    assert (first.state, second.state) == ("ORDERED", "LEVIED")
    assert pay(story, first.number) == "counted"
    say(story, case, "G03")
    assert [one.state for one in fees_of(story, AGENCY)] == ["REFUNDED", "CANCELLED"]
    assert [one["refund"] for one in provider.list_calls("refunds")] == [f"{first.number}-R01"]


@pytest.mark.long
@pytest.mark.parametrize("first", ["G03", "levy"])
def test_a_levy_and_a_cancellation_give_the_same_in_either_order(
    story: Story, provider: Provider, first: str
) -> None:
    case = ask_after_withdrawal(story)
    steps: list[Any] = [partial(levy, story, case), partial(say, story, case, "G03")]
    for step in steps[::-1] if first == "G03" else steps:
        step()
    assert ([one.state for one in fees_of(story, AGENCY)], orders(provider)) == (["CANCELLED"], 0)


@pytest.mark.long
@pytest.mark.parametrize("first", ["G04", "levy"])
def test_a_levy_and_a_refusal_to_cancel_give_the_same_in_either_order(
    story: Story, provider: Provider, first: str
) -> None:
    case = ask_after_withdrawal(story)
    steps: list[Any] = [partial(levy, story, case), partial(say, story, case, "G04")]
    for step in steps[::-1] if first == "G04" else steps:
        step()
    assert ([one.state for one in fees_of(story, AGENCY)], orders(provider)) == (["ORDERED"], 1)


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("ended", ["cancelled", "confirmed", "waived", "settled"])
def test_a_fee_that_ends_while_it_waits_is_never_ordered(
    story: Story, provider: Provider, ended: str
) -> None:
    case = ask_after_withdrawal(story)
    levy(story, case)
    (fee,) = fees_of(story, AGENCY)
    if ended in ("cancelled", "confirmed"):
        code = "Y06" if ended == "cancelled" else "Y08"
        hear(story, case, AGENCY, Notice("E", story.clock(), code, fee=NamedFee(payment_notice="F1")))
    else:
        act = waive_fee if ended == "waived" else settle_fee_elsewhere
        story.operate(lambda *words: act(*words, "at the counter"), fee.id)
    say(story, case, "G04")
    wanted = "CANCELLED" if ended in ("cancelled", "waived") else "CONFIRMED"
    assert ([one.state for one in fees_of(story, AGENCY)], provider.asked) == ([wanted], [])
    # It was paid elsewhere, if at all, and is given back there.
    hear(story, case, AGENCY, Notice("B", story.clock(), "Y16", fee=NamedFee(payment_notice="F1")))
    story.tick(minutes=1)
    assert provider.asked == []


@pytest.mark.long
@pytest.mark.parametrize("ends", [partial(say, code="G04"), unask], ids=["G04", "operator"])
def test_the_deadline_begins_when_the_application_stands(
    story: Story, provider: Provider, ends: Callable[..., None]
) -> None:
    story.submit()
    story.tick()
    story.say(AGENCY, AgencyAcknowledgment("heard"))
    withdraw(story)
    case = int(story.case().id)
    levy(story, case)
    assert rows(story, AGENCY, "pay") == []
    story.tick(hours=1)
    ends(story, case)
    (owed,) = rows(story, AGENCY, "pay")
    assert (owed.state, owed.due_at.date()) == ("OPEN", date(2026, 12, 9))
    assert (story.request(AGENCY).due_at, states(story, AGENCY)["decide"][-1]) == (owed.due_at, "HELD")


def ask(held: Story) -> int:
    """Let the declarant withdraw, and the agency say nothing; return the case (row id)."""
    held.hub.payments = replace(held.hub.payments, tariffs={})
    held.submit()
    held.tick()
    held.say(AGENCY, AgencyAcknowledgment("heard"))
    withdraw(held)
    case = int(held.case().id)
    assert request_of(held, case, AGENCY).cancellation == "ASKED"
    assert states(held, AGENCY)["decide"] == ["CANCELLED"]
    return case


@pytest.mark.long
def test_a_fee_that_is_paid_while_it_waits_is_never_ordered(story: Story, provider: Provider) -> None:
    """The provider reports its payment, though no order of it was made there."""
    case = ask(story)
    levy(story, case)
    assert pay(story, fees_of(story, AGENCY)[0].number) == "counted"
    say(story, case, "G04")
    assert ([one.state for one in fees_of(story, AGENCY)], orders(provider)) == (["PAID"], 0)


@BOTH
@pytest.mark.parametrize("side", ["", "before_commit", "after_commit"])
def test_the_time_to_decide_begins_again_with_the_operators_act(
    story: Story, provider: Provider, side: str
) -> None:
    case = ask(story)
    story.tick(days=1)
    act = partial(operator_actions.end_question, reason="confirmed by telephone")
    story.operate(act, request_of(story, case, AGENCY).id)
    began = story.clock()
    if side:
        die(story, "deadlines.settled", side)
    story.tick(minutes=3)
    *_, decide = rows(story, AGENCY, "decide")
    assert (states(story, AGENCY)["decide"], abs(decide.started_at - began) < timedelta(seconds=1)) == (
        ["CANCELLED", "OPEN"],
        True,
    )
    assert request_of(story, case, AGENCY).due_at == decide.due_at
