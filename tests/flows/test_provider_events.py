"""What the payment provider says fits what the hub knows in each part, or is refused, and counts once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.cases import Money, ProviderEvent, read_money
from gateway.errors import GatewayError
from gateway.hub.fees.payment_events import apply_provider_event
from tests.flows.test_fee_odd_orders import hold, settle
from tests.flows.test_fees import KRW, Provider, fees_of, movements, notice, pay, provider, story
from tests.kit.story import Story

__all__ = ["provider", "story"]

LESS, DOLLARS = read_money("29999", "KRW"), read_money("30000", "USD")
AHEAD = timedelta(days=1, seconds=1)


def refuse(story: Story, event: ProviderEvent) -> tuple[str, str]:
    """Return id and place of the problem by which an event is refused."""
    with pytest.raises(GatewayError) as refused:
        apply_provider_event(story.hub, event)
    return refused.value.problem.id, refused.value.location


@pytest.fixture
def orders(story: Story, provider: Provider) -> list[str]:
    """Return the orders of two fees of one amount, of two agencies."""
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    settle(story)
    return [fees_of(story, agency)[0].number for agency in ("KPTA", "NPQS")]


#: How a payment differs from the order, and the place of the problem.
WRONG_PAYMENTS: list[tuple[dict[str, Any], str]] = [
    ({"order": "F-1"}, "order"),
    ({"money": LESS}, "amount"),
    ({"money": DOLLARS}, "amount"),
]


def test_a_payment_that_fits_no_order_is_not_counted(story: Story, orders: list[str]) -> None:
    payment = ProviderEvent("paid", orders[0], "P-1", KRW, story.clock())
    for changes, location in [*WRONG_PAYMENTS, ({"at": story.clock() + AHEAD}, "at")]:
        assert refuse(story, replace(payment, **changes)) == ("GW712", location)
    assert movements(story, "KPTA") == movements(story, "NPQS") == []
    assert apply_provider_event(story.hub, payment) == "counted"


def test_one_reference_is_one_payment_of_one_order(story: Story, orders: list[str]) -> None:
    """A second event under it is the same payment, or is refused; no other fee is paid by it."""
    payment = ProviderEvent("paid", orders[0], "P-1", KRW, story.clock())
    assert apply_provider_event(story.hub, payment) == "counted"
    for changes in ({"order": orders[1]}, {"money": LESS}, {"money": DOLLARS}):
        assert refuse(story, replace(payment, **changes)) == ("GW712", "reference")
    assert apply_provider_event(story.hub, payment) == "repeated"
    assert movements(story, "KPTA") == [("payment", "COUNTED", "30000", "")]
    assert movements(story, "NPQS") == []
    assert [row.state for row in fees_of(story, "NPQS")] == ["ORDERED"]


def test_a_refund_is_one_that_was_ordered_and_is_done_once(
    story: Story, provider: Provider, orders: list[str]
) -> None:
    pay(story, orders[0])
    pay(story, orders[0], "P-2")
    # The order to give the money back does not reach the provider, which has heard of it all the same.
    provider.down = 1
    story.tick(seconds=1)
    number = f"{orders[0]}-R01"
    refund = ProviderEvent("refunded", orders[0], "R-9", KRW, story.clock(), number)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"order": orders[1]}, "refund"),
        ({"refund": f"{orders[0]}-R02"}, "refund"),
        ({"money": LESS}, "amount"),
        ({"money": Money(KRW.amount, "USD")}, "amount"),
        ({"at": story.clock() + AHEAD}, "at"),
    ]
    for changes, location in wrong:
        assert refuse(story, replace(refund, **changes)) == ("GW712", location)
    assert ("refund", "ORDERED", "30000", "paid twice") in movements(story, "KPTA")
    assert apply_provider_event(story.hub, refund) == "refunded"
    for changes, location in [*wrong, ({"reference": "R-10"}, "reference")]:
        assert refuse(story, replace(refund, **changes)) == ("GW712", location)
    assert apply_provider_event(story.hub, refund) == "repeated"
    assert movements(story, "KPTA")[-1] == ("refund", "DONE", "30000", "paid twice")


def test_a_payment_of_a_time_ahead_is_counted_and_told(
    story: Story, orders: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Money that was paid is not refused for want of a right clock."""
    ahead = story.clock() + timedelta(hours=9)
    for number, at in zip(orders, (story.clock() + timedelta(minutes=5), ahead), strict=True):
        assert apply_provider_event(story.hub, ProviderEvent("paid", number, number, KRW, at)) == "counted"
    (line,) = (record for record in caplog.records if "ahead of the clock" in record.getMessage())
    assert ahead.isoformat(timespec="seconds") in line.getMessage()
    assert line.__dict__["case_id"] == story.case().id


def test_a_payment_of_a_time_ahead_was_made_when_it_is_told_at_the_latest(
    story: Story, orders: list[str]
) -> None:
    """The clock of the agency that has confirmed the fee meanwhile is minutes ahead."""
    confirmed_at = story.clock() + timedelta(minutes=4)
    story.hear("NPQS", replace(notice(story, "N2", "Y04"), issued_at=confirmed_at))
    payment = ProviderEvent("paid", orders[1], "P-1", KRW, story.clock() + timedelta(hours=9))
    assert apply_provider_event(story.hub, payment) == "counted"
    story.tick(minutes=5)
    assert apply_provider_event(story.hub, replace(payment, reference="P-2")) == "excess"
