"""Fees when things come in odd orders: notices of what nobody has, late news, other clocks, lost calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.cases import (
    AgencyAcknowledgment,
    AgencyAnswer,
    AgencyCallback,
    DecisionCode,
    Money,
    NamedFee,
    Notice,
    ProviderEvent,
)
from gateway.errors import FEE_WRONG, PAYMENT_REFUSED, REPLY_UNMATCHED, TRANSITION_REFUSED, GatewayError
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.hub.fees.payment_policy import Tariff
from gateway.state_machines import FEE
from gateway.store import decisions, deliveries, read_transaction
from gateway.store.transitions import list_transitions
from tests.flows.test_fees import (
    KRW,
    Provider,
    calls,
    fees_of,
    movements,
    notice,
    pay,
    provider,
    story,
    told_of,
    withdraw,
)
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked, unreachable

__all__ = ["provider", "story"]

EUROS = Money(Decimal("12.50"), "EUR")


def hold(story: Story) -> str:
    """Submit; return the number of the application that waits for its fee."""
    story.submit()
    story.tick(seconds=1)
    return str(story.request("KPTA").number)


def say(story: Story, number: str, answer: AgencyAnswer) -> str:
    return apply_call_back(story.hub, "KPTA", AgencyCallback(answer, number))


def settle(story: Story) -> None:
    for _ in range(2):
        story.tick(seconds=1)


@pytest.mark.long
@BOTH
def test_an_agency_decides_nothing_that_is_held_for_its_fee(story: Story, provider: Provider) -> None:
    number = hold(story)
    levy = Notice("KPTA-L", story.clock(), "Y05", fee=NamedFee(KRW))
    for answer in (
        story.notice("KPTA"),
        AgencyAcknowledgment("R-1"),
        Notice("G", story.clock(), "G01"),
        levy,
    ):
        with pytest.raises(GatewayError) as refused:
            say(story, number, answer)
        assert refused.value.problem is REPLY_UNMATCHED
    assert [row.state for row in fees_of(story, "KPTA")] == ["ORDERED"]
    pay(story, f"{number}-F01")
    settle(story)
    story.decide_all()
    settle(story)
    assert story.outcome()[0] == "APPROVED"


#: What an agency may not say of an application that it was not sent; a decision is that of its item.
UNFORWARDED_NOTICES: dict[str, Callable[[Story], AgencyAnswer]] = {
    "an approval": lambda story: story.notice("KPTA"),
    "a rejection": lambda story: story.notice("KPTA", DecisionCode.REJECTED),
    "the fee cancelled, with an approval": lambda story: story.notice("KPTA", status="Y02"),
    "the fee confirmed, with an approval": lambda story: story.notice("KPTA", status="Y04"),
    "the fee cancelled, with a rejection": lambda story: story.notice(
        "KPTA", DecisionCode.REJECTED, status="Y02"
    ),
    "the fee confirmed, with a rejection": lambda story: story.notice(
        "KPTA", DecisionCode.REJECTED, status="Y04"
    ),
    "an acknowledgment": lambda story: AgencyAcknowledgment("R-1"),
    "a cancellation": lambda story: Notice("KPTA-N1", story.clock(), "G01"),
    "another fee": lambda story: Notice("KPTA-N1", story.clock(), "Y05", fee=NamedFee(KRW)),
    "a refund": lambda story: Notice("KPTA-N1", story.clock(), "Y16"),
    "a question": lambda story: asked(story, "KPTA", "N1"),
    "a code that nobody knows": lambda story: Notice("KPTA-N1", story.clock(), "Z99"),
}


@pytest.mark.parametrize("make_answer", UNFORWARDED_NOTICES.values(), ids=list(UNFORWARDED_NOTICES))
def test_a_notice_about_an_application_that_is_held_for_its_fee_is_refused(
    story: Story, provider: Provider, make_answer: Callable[[Story], AgencyAnswer]
) -> None:
    """One that ends the fee may not decide as well: the agency has not seen the application."""
    number = hold(story)
    notices_before = len(story.inbox.documents("Notice"))
    with pytest.raises(GatewayError) as refused:
        say(story, number, make_answer(story))
    assert refused.value.problem is REPLY_UNMATCHED
    settle(story)
    with read_transaction(story.house.engine) as conn:
        assert decisions.list_by_request(conn, story.request("KPTA").id) == []
    assert (story.request("KPTA").state, story.request("KPTA").status_code) == ("FEE_DUE", "Y17")
    assert [row.state for row in fees_of(story, "KPTA")] == ["ORDERED"]
    assert (calls(story, "KPTA"), len(story.inbox.documents("Notice"))) == ([], notices_before)
    pay(story, f"{number}-F01")
    settle(story)
    assert calls(story, "KPTA") == ["SubmitApplication"]


@pytest.mark.parametrize(("code", "state"), [("Y02", "CANCELLED"), ("Y04", "CONFIRMED")])
def test_a_fee_that_its_agency_waives_or_has_lets_the_application_go(
    story: Story, provider: Provider, code: str, state: str
) -> None:
    number = hold(story)
    say(story, number, Notice("KPTA-W", story.clock(), code))
    settle(story)
    assert calls(story, "KPTA") == ["SubmitApplication"]
    assert [row.state for row in fees_of(story, "KPTA")] == [state]
    story.decide_all()
    settle(story)
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.long
def test_the_clock_of_an_agency_delays_no_order(story: Story, provider: Provider) -> None:
    hold(story)
    ahead = story.clock() + timedelta(hours=20)
    end = datetime(2026, 12, 23, 15, tzinfo=UTC)
    story.hub.zone = story.hub.zone.__class__(timedelta(hours=9))
    story.hear("NPQS", Notice("N1", ahead, "Y01", deadline=end, fee=NamedFee(KRW)))
    (fee,) = fees_of(story, "NPQS")
    with read_transaction(story.house.engine) as conn:
        order = deliveries.find_by_dedupe_key(conn, f"payment:order:{fee.number}")
    assert order is not None
    assert order.created_at == story.clock()
    # The deadline is in the night; where the hub is it is the next day.
    assert fee.due_on.isoformat() == "2026-12-24"
    story.tick(seconds=1)
    assert fees_of(story, "NPQS")[0].state == "ORDERED"


def test_a_payment_that_its_agency_confirmed_first_is_no_second_one(story: Story, provider: Provider) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    story.tick(minutes=1)
    paid_at = story.clock()
    story.tick(minutes=1)
    story.hear("NPQS", notice(story, "N2", "Y04"))
    number = fees_of(story, "NPQS")[0].number
    tell = [ProviderEvent("paid", number, name, KRW, paid_at) for name in ("P-1", "P-1", "P-2")]
    assert [apply_provider_event(story.hub, one) for one in tell] == ["counted", "repeated", "excess"]
    settle(story)
    assert [one["payment"] for one in provider.list_calls("refunds")] == ["P-2"]
    assert fees_of(story, "NPQS")[0].state == "CONFIRMED"


def test_a_refund_is_of_the_payment_that_counts_though_another_was_told_first(
    story: Story, provider: Provider
) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    story.tick(minutes=1)
    paid_at = story.clock()
    story.tick(minutes=1)
    story.hear("NPQS", notice(story, "N2", "Y04"))
    story.tick(minutes=1)
    number = fees_of(story, "NPQS")[0].number
    assert pay(story, number, "P-2") == "excess"
    assert apply_provider_event(story.hub, ProviderEvent("paid", number, "P-1", KRW, paid_at)) == "counted"
    story.hear("NPQS", notice(story, "N3", "Y16"))
    settle(story)
    assert [one["payment"] for one in provider.list_calls("refunds")] == ["P-2", "P-1"]
    assert fees_of(story, "NPQS")[0].state == "REFUNDED"


def test_an_operator_ends_a_call_about_a_payment_whatever_waits_for_its_fee(
    story: Story, provider: Provider
) -> None:
    """The fee has the row id of an application that waits: the call is about the fee, and waits for none."""
    story.addresses["NPQS"] = replace(story.addresses["NPQS"], has_payment_notices=True)
    story.hub.payments = replace(story.hub.payments, tariffs={"KFDA-FOOD-IMP": Tariff(KRW)})
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y05", money=KRW))
    (levied,) = fees_of(story, "NPQS")
    assert (levied.id, story.request("KFDA").state) == (story.request("KFDA").id, "FEE_DUE")
    story.tick(seconds=1)
    story.say("NPQS", *[unreachable()] * 3)
    pay(story, levied.number)
    settle(story)
    (call,) = [row for row in story.deliveries(agent="soap") if row.subject_type == "fee"]
    story.operate(operator_actions.cancel_delivery, call.id)
    (call,) = [row for row in story.deliveries(agent="soap") if row.subject_type == "fee"]
    assert call.state == "CANCELLED"


def test_a_payment_after_its_agency_had_the_money_is_given_back(story: Story, provider: Provider) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    story.hear("NPQS", notice(story, "N2", "Y04"))
    story.tick(minutes=1)
    assert pay(story, fees_of(story, "NPQS")[0].number) == "excess"


@pytest.mark.long
def test_what_was_paid_for_a_decided_application_is_kept(story: Story, provider: Provider) -> None:
    number = hold(story)
    pay(story, f"{number}-F01")
    settle(story)
    story.decide("KPTA")
    settle(story)
    story.hear("KPTA", Notice("KPTA-C", story.clock(), "G01"))
    settle(story)
    assert story.request("KPTA").state == "CANCELLED"
    assert movements(story, "KPTA") == [("payment", "COUNTED", "30000", "")]


@pytest.mark.long
def test_a_cancellation_gives_back_what_a_refund_left(story: Story, provider: Provider) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=EUROS))
    pay(story, fees_of(story, "NPQS")[0].number, money=EUROS)
    part = Money(Decimal("2.50"), "EUR")
    story.hear("NPQS", notice(story, "N2", "Y16", money=part))
    settle(story)
    story.hear("NPQS", notice(story, "N3", "Y02"))
    settle(story)
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["2.50", "10.00"]
    assert [(row.state, row.amount) for row in fees_of(story, "NPQS")] == [("REFUNDED", "12.50")]


@pytest.mark.long
def test_a_refund_of_what_is_not_paid_yet_is_refused_and_not_forgotten(
    story: Story, provider: Provider
) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    back = notice(story, "N2", "Y16")
    with pytest.raises(GatewayError) as refused:
        story.hear("NPQS", back)
    assert refused.value.problem is FEE_WRONG
    pay(story, fees_of(story, "NPQS")[0].number)
    story.hear("NPQS", back)
    settle(story)
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["30000"]


@pytest.mark.long
def test_a_refund_is_kept_until_the_provider_tells_of_the_payment(story: Story, provider: Provider) -> None:
    """The agency has confirmed the fee and given it back; the provider tells later that it was paid."""
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=EUROS))
    settle(story)
    (fee,) = fees_of(story, "NPQS")
    paid = ProviderEvent("paid", fee.number, "P-1", EUROS, story.clock())
    story.tick(seconds=60)
    story.hear("NPQS", notice(story, "N2", "Y04"))
    for name, amount in (("N3", "2.00"), ("N4", "0.50")):
        story.hear("NPQS", notice(story, name, "Y16", money=Money(Decimal(amount), "EUR")))
    for too_much in (Money(Decimal("10.01"), "EUR"), Money(Decimal(1), "KRW")):
        with pytest.raises(GatewayError) as refused:
            story.hear("NPQS", notice(story, "N0", "Y16", money=too_much))
        assert refused.value.problem is FEE_WRONG
    assert provider.list_calls("refunds") == []
    assert apply_provider_event(story.hub, paid) == "counted"
    assert apply_provider_event(story.hub, paid) == "repeated"
    settle(story)
    refunds = [(one["amount"], one["payment"]) for one in provider.list_calls("refunds")]
    assert refunds == [("2.00", "P-1"), ("0.50", "P-1")]
    # The rest, said after it, and no more than that.
    story.hear("NPQS", notice(story, "N5", "Y16"))
    settle(story)
    story.hear("NPQS", notice(story, "N6", "Y16"))
    settle(story)
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["2.00", "0.50", "10.00"]
    assert [row.state for row in fees_of(story, "NPQS")] == ["REFUNDED"]


@pytest.mark.long
def test_a_number_is_levied_once_however_often_its_end_came_before(story: Story, provider: Provider) -> None:
    hold(story)
    for name, code in (("N1", "Y06"), ("N2", "Y06")):
        story.hear("NPQS", notice(story, name, code, payment_notice="N-1"))
    story.hear("NPQS", notice(story, "N3", "Y05", money=KRW, payment_notice="N-1"))
    with pytest.raises(GatewayError) as refused:
        story.hear("NPQS", notice(story, "N4", "Y05", money=EUROS, payment_notice="N-1"))
    assert (refused.value.problem, refused.value.location) == (FEE_WRONG, "Fee/PaymentNotice")
    assert [(row.state, row.amount) for row in fees_of(story, "NPQS")] == [
        ("CANCELLED", KRW.digits),
        ("CANCELLED", None),
    ]


@pytest.mark.long
def test_one_refund_has_one_number_of_the_provider(story: Story, provider: Provider) -> None:
    number = f"{hold(story)}-F01"
    pay(story, number)
    pay(story, number, "P-2")
    settle(story)
    refund = f"{number}-R01"
    again = ProviderEvent("refunded", number, f"R-{refund}", KRW, story.clock(), refund)
    assert apply_provider_event(story.hub, again) == "repeated"
    other = ProviderEvent("refunded", number, "R-9", KRW, story.clock(), refund)
    with pytest.raises(GatewayError) as refused:
        apply_provider_event(story.hub, other)
    assert (refused.value.problem, refused.value.location) == (PAYMENT_REFUSED, "reference")


@pytest.mark.long
def test_a_payment_of_the_future_is_not_counted(story: Story, provider: Provider) -> None:
    number = f"{hold(story)}-F01"
    ahead = ProviderEvent("paid", number, "P-1", KRW, datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    with pytest.raises(GatewayError) as refused:
        apply_provider_event(story.hub, ahead)
    assert (refused.value.problem, refused.value.location) == (PAYMENT_REFUSED, "at")
    assert movements(story, "KPTA") == []


def test_an_operator_does_not_cancel_what_waits_for_its_fee(story: Story, provider: Provider) -> None:
    number = hold(story)
    (held,) = story.deliveries(state="HELD")
    with pytest.raises(GatewayError) as refused:
        story.operate(operator_actions.cancel_delivery, held.id)
    assert refused.value.problem is TRANSITION_REFUSED
    pay(story, f"{number}-F01")
    settle(story)
    assert calls(story, "KPTA") == ["SubmitApplication"]


@pytest.mark.long
def test_what_an_operator_holds_is_not_released_by_a_fee(story: Story, provider: Provider) -> None:
    number = hold(story)
    pay(story, f"{number}-F01")
    (queued,) = [one for one in story.deliveries(destination="KPTA") if one.state == "QUEUED"]
    story.operate(operator_actions.hold_delivery, queued.id)
    say(story, number, Notice("KPTA-Y", story.clock(), "Y04"))
    settle(story)
    assert (fees_of(story, "KPTA")[0].state, calls(story, "KPTA")) == ("CONFIRMED", [])
    story.operate(operator_actions.release_delivery, queued.id)
    settle(story)
    assert calls(story, "KPTA") == ["SubmitApplication"]


@pytest.mark.long
@pytest.mark.parametrize("lost", [1, 9], ids=["waits", "failed"])
def test_an_order_is_never_opened_behind_its_cancellation(
    story: Story, provider: Provider, lost: int
) -> None:
    provider.down = lost
    hold(story)
    for _ in range(1 if lost == 1 else 8):
        story.tick(minutes=10 if lost > 1 else 0)
    provider.down = 0
    withdraw(story)
    for _ in range(4):
        story.tick(minutes=10)
    asked = [name for name, _ in provider.asked]
    assert asked[-1] == "cancellations"
    assert asked.count("cancellations") == 1
    assert {one.state for one in story.deliveries(agent="payment")} <= {"DELIVERED", "CANCELLED"}
    (fee,) = fees_of(story, "KPTA")
    with read_transaction(story.house.engine) as conn:
        assert [row.event for row in list_transitions(conn, FEE, fee.id)].count("cancel") == 1


@pytest.mark.long
def test_an_address_that_no_browser_opens_is_no_answer(story: Story, provider: Provider) -> None:
    provider.address = "javascript:alert(1)//{}"
    hold(story)
    assert fees_of(story, "KPTA")[0].state == "LEVIED"
    assert story.delivery(agent="payment").problem == "GW603"


@pytest.mark.long
def test_what_is_levied_for_a_cancelled_application_is_shown_and_not_due(
    story: Story, provider: Provider
) -> None:
    """The fee is listed, nothing is ordered, and the applicant hears that it is not due."""
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "C1", "G01"))
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "L1", "Y05", money=EUROS, payment_notice="A-78"))
    settle(story)
    assert [(one.state, one.amount) for one in fees_of(story, "NPQS")] == [("CANCELLED", "12.50")]
    assert [one for one in provider.list_calls("orders") if one["payee"] == "NPQS"] == []
    assert [len(told_of(story, code)) for code in ("Y05", "Y06")] == [1, 1]
    assert story.request("NPQS").state == "CANCELLED"


@pytest.mark.long
def test_what_was_paid_for_a_cancelled_application_is_given_back_when_its_agency_says_so(
    story: Story, provider: Provider
) -> None:
    """It was not refundable of itself; what the agency says afterwards counts all the same."""
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "L1", "Y05", money=EUROS, payment_notice="A-78"))
    story.tick(seconds=1)
    pay(story, fees_of(story, "NPQS")[0].number, money=EUROS)
    story.hear("NPQS", notice(story, "C1", "G01"))
    settle(story)
    assert fees_of(story, "NPQS")[0].state == "PAID"
    story.hear("NPQS", notice(story, "B1", "Y16", payment_notice="A-78"))
    settle(story)
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["12.50"]
    assert fees_of(story, "NPQS")[0].state == "REFUNDED"


@pytest.mark.long
@pytest.mark.parametrize("answered_between", [False, True])
@pytest.mark.parametrize("second", ["Y06", "Y16"])
def test_what_went_back_in_two_refunds_is_refunded_whenever_the_provider_answers(
    story: Story, provider: Provider, second: str, *, answered_between: bool
) -> None:
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y05", payment_notice="A", money=KRW))
    settle(story)
    (fee,) = fees_of(story, "NPQS")
    pay(story, fee.number)
    settle(story)
    story.hear("NPQS", notice(story, "N2", "Y16", payment_notice="A", money=Money(Decimal(1), KRW.currency)))
    if answered_between:
        settle(story)
        assert [row.state for row in fees_of(story, "NPQS")] == ["PARTLY_REFUNDED"]
    story.hear("NPQS", notice(story, "N3", second, payment_notice="A"))
    settle(story)
    assert [row.state for row in fees_of(story, "NPQS")] == ["REFUNDED"]
    assert [one[:2] for one in movements(story, "NPQS")][1:] == [("refund", "DONE")] * 2
