"""Which fee is still due does not depend on the order in which notices arrive that name no fee.

What is expected is calculated from the rule of the manual (fees.md) alone: a notice that names none is about
the fee of its kind that was levied last, of those that were due when it was issued.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from gateway.cases import FeeAct, Money, NamedFee, Notice, ProviderEvent, ReceiveAct
from gateway.errors import FEE_WRONG, GatewayError
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.store import fees, make_engine, read_transaction
from tests.flows.test_deadlines import rows
from tests.flows.test_fees import KRW, SECRET, Provider, fees_of, movements, pay, provider, story
from tests.kit.databases import KINDS, Templates
from tests.kit.officers import ConsoleStory
from tests.kit.story import Story

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"


class Said(NamedTuple):
    """A notice about a fee: its name, its code, the minute of its issue, what it names, and an amount."""

    name: str
    code: str
    minute: int
    names: str = ""
    amount: int | None = None


LEVIES = ("Y01", "Y05")
KIND = {"Y01": "a", "Y02": "a", "Y04": "a", "Y05": "b", "Y06": "b", "Y08": "b"}
ENDS = {"Y02": "CANCELLED", "Y06": "CANCELLED", "Y04": "CONFIRMED", "Y08": "CONFIRMED"}

#: What was said, in the order in which it was issued.
STORIES: dict[str, tuple[Said, ...]] = {
    "one of two is confirmed": (
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("E", "Y04", 3),
    ),
    "one of two is cancelled": (
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("E", "Y02", 3),
    ),
    "one of two with numbers is cancelled": (
        Said("A", "Y05", 1, "F1", 30000), Said("B", "Y05", 2, "F2", 5000), Said("E", "Y06", 3),
    ),
    "without amounts": (Said("A", "Y05", 1), Said("B", "Y05", 2), Said("E", "Y08", 3)),
    "one ends between the levies": (
        Said("A", "Y01", 1, "", 30000), Said("E", "Y04", 2), Said("B", "Y01", 3, "", 5000),
        Said("C", "Y02", 4),
    ),
    "one is cancelled and one confirmed": (
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("C", "Y02", 3),
        Said("E", "Y04", 4),
    ),
    "one is named, and one not": (
        Said("A", "Y01", 1, "F1", 30000), Said("B", "Y01", 2, "F2", 5000), Said("E", "Y04", 3),
        Said("N", "Y04", 4, "F2"),
    ),
    "two kinds": (
        Said("A", "Y01", 1, "", 30000), Said("B", "Y05", 2, "", 5000), Said("C", "Y01", 3, "", 700),
        Said("E", "Y04", 4),
    ),
    "what was said before a levy is not about it": (
        Said("E", "Y04", 1), Said("A", "Y01", 2, "", 30000), Said("B", "Y01", 3, "", 5000),
    ),
    "three levies and two ends": (
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("E", "Y04", 3),
        Said("C", "Y01", 4, "", 700), Said("D", "Y02", 5),
    ),
}  # fmt: skip


def expect(said: Sequence[Said]) -> dict[str, str]:
    """Return what becomes of each fee, by the rule of the manual."""
    found: dict[str, str] = {}
    for place, one in enumerate(said):
        if one.code in LEVIES:
            found[one.name] = "DUE"
            continue
        meant = [
            levy.name
            for levy in said[:place]
            if found.get(levy.name) == "DUE"
            and KIND[levy.code] == KIND[one.code]
            and one.names in ("", levy.names)
        ]
        if meant:
            found[meant[-1]] = ENDS[one.code]
    return found


def see(story: Story, agency: str) -> dict[str, str]:
    """Return what became of each fee; of one that is due again, what it is now."""
    due = {"LEVIED": "DUE", "ORDERED": "DUE"}
    return {
        row.notice: due.get(row.state, row.state) for row in fees_of(story, agency) if row.notice is not None
    }


def make_notice(one: Said, base: Any) -> Notice:
    money = None if one.amount is None else Money(Decimal(one.amount), "KRW")
    named = NamedFee(money, payment_notice=one.names) if money or one.names else None
    return Notice(one.name, base + timedelta(minutes=one.minute), one.code, fee=named)


def check(story: Story, said: Sequence[Said], agency: str = AGENCY) -> None:
    """Compare fees, state and deadlines with what follows from what was said."""
    wanted = expect(said)
    assert see(story, agency) == wanted
    due = [name for name, state in wanted.items() if state == "DUE"]
    assert story.request(agency).state == ("FEE_DUE" if due else "ACKNOWLEDGED")
    assert story.request(agency).open_fees == len(due)
    (decide,) = rows(story, agency, "decide")
    assert decide.state == ("HELD" if due else "OPEN")


def list_orders(name: str) -> list[tuple[Said, ...]]:
    """Return every order of arrival; of five notices some."""
    said = STORIES[name]
    found = list(itertools.permutations(said))
    return found if len(said) < 5 else random.Random(name).sample(found, 30)


@pytest.mark.night
@pytest.mark.parametrize("provided", [True, False], ids=["provider", "elsewhere"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STORIES)
def test_the_same_fees_are_due_in_every_order(
    name: str, kind: str, templates: Templates, tmp_path: Any, *, provided: bool
) -> None:
    for order in list_orders(name):
        url = templates.fresh(kind)
        engine = make_engine(url)
        held = Story(engine)
        held.hub.payments = PaymentPolicy(provided, {}, SECRET)
        held.submit()
        held.tick(hours=1)
        base = held.clock() - timedelta(minutes=30)
        for place, one in enumerate(order, start=1):
            held.hear(AGENCY, make_notice(one, base))
            told = sorted(order[:place], key=lambda said: said.minute)
            # Of several ends before the levy of a fee the first that arrived counts, until it is not alone.
            if sum(said.code in LEVIES for said in told) > 1:
                check(held, told)
        engine.dispose()
        templates.drop(url)


@pytest.mark.long
@pytest.mark.parametrize("code", ["Y02", "Y04"])
def test_what_is_due_again_can_be_paid_and_what_is_not_is_given_back(
    story: Story, provider: Provider, code: str
) -> None:
    """The first fee was ended though the second one was meant: it has another order at the provider."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    said = [Said("A", "Y01", 1, "F1", 30000), Said("E", code, 3), Said("B", "Y01", 2, "F2", 30000)]
    for one in said:
        story.hear(AGENCY, make_notice(one, base))
        story.tick(seconds=1)
    number = story.request(AGENCY).number
    assert see(story, AGENCY) == {"A": "DUE", "B": ENDS[code]}
    (again,) = [row for row in fees_of(story, AGENCY) if row.state == "ORDERED"]
    assert (again.payment_notice, again.notice, again.amount) == ("F1", "A", "30000")
    orders = [one["order"] for one in provider.list_calls("orders")]
    cancelled = [one["order"] for one in provider.list_calls("cancellations")]
    assert again.number in orders
    assert (f"{number}-F01" in orders, f"{number}-F01" in cancelled) == (True, True)
    assert pay(story, f"{number}-F01", "P-1") == "late"
    assert pay(story, again.number, "P-2") == "counted"
    story.tick(seconds=1)
    assert [one["payment"] for one in provider.list_calls("refunds")] == ["P-1"]
    assert story.request(AGENCY).state == "ACKNOWLEDGED"
    # A number is used for one fee, and names the one that is due.
    story.hear(AGENCY, make_notice(Said("N", "Y04", 9, "F1"), base))
    assert [row.state for row in fees_of(story, AGENCY) if row.id == again.id] == ["CONFIRMED"]


@pytest.mark.long
def test_a_fee_that_was_paid_is_not_made_due_again(story: Story, provider: Provider) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    story.hear(AGENCY, make_notice(Said("A", "Y01", 1, "", 30000), base))
    story.tick(seconds=1)
    assert pay(story, fees_of(story, AGENCY)[0].number) == "counted"
    story.hear(AGENCY, make_notice(Said("E", "Y04", 3), base))
    story.hear(AGENCY, make_notice(Said("B", "Y01", 2, "", 5000), base))
    assert see(story, AGENCY) == {"A": "CONFIRMED", "B": "DUE"}


#: The first fee is confirmed after the provider had its money, and the second one is cancelled.
OVERTAKING = {
    "A": Said("A", "Y01", 1, "", 30000), "C": Said("C", "Y04", 2),
    "B": Said("B", "Y01", 3, "", 5000), "D": Said("D", "Y02", 4),
    # Nothing is due any more: it gives back what was confirmed, and so does the other one.
    "E": Said("E", "Y02", 5), "R": Said("R", "Y16", 6), "S": Said("S", "Y04", 3),
}  # fmt: skip


def hear_overtaking(story: Story, provider: Provider, order: Sequence[str]) -> list[str]:
    """Let the notices arrive, and then the payment of the first fee be told; return what is given back."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    for one in order:
        story.hear(AGENCY, make_notice(OVERTAKING[one], base))
        story.tick(seconds=1)
    assert see(story, AGENCY) == {"A": "CONFIRMED", "B": "CONFIRMED" if "S" in order else "CANCELLED"}
    fee = [row for row in fees_of(story, AGENCY) if row.notice == "A"][-1]
    event = ProviderEvent("paid", fee.number, "P-1", KRW, base + timedelta(seconds=90))
    assert apply_provider_event(story.hub, event) == "counted"
    story.tick(seconds=1)
    return [one["amount"] for one in provider.list_calls("refunds")]


@pytest.mark.parametrize("order", list(itertools.permutations("ACBD")), ids="".join)
def test_a_cancellation_that_came_before_its_levy_gives_nothing_back_of_another_fee(
    story: Story, provider: Provider, order: tuple[str, ...]
) -> None:
    assert hear_overtaking(story, provider, order) == []
    assert movements(story, AGENCY) == [("payment", "COUNTED", "30000", "")]


@pytest.mark.night
@pytest.mark.parametrize(
    ("order", "back"),
    [
        (order, back)
        for rest, back in {"BDE": ["30000"], "BDR": ["30000"], "BDS": [], "BDER": ["30000"]}.items()
        for order in itertools.permutations(rest)
    ],
    ids=lambda one: "".join(one) or "0",
)
def test_what_is_given_back_of_a_confirmed_fee_is_the_same_in_every_order(
    story: Story, provider: Provider, order: tuple[str, ...], back: list[str]
) -> None:
    """Another notice gives the first fee back, whichever cancellation was thought to do so before."""
    assert hear_overtaking(story, provider, ("A", "C", *order)) == back
    assert fees_of(story, AGENCY)[0].state == ("REFUNDED" if back else "CONFIRMED")


def test_what_was_kept_of_a_later_fee_is_dropped_when_the_fee_that_was_meant_comes(
    story: Story, provider: Provider
) -> None:
    """The cancellation was thought to give back the second of two fees; it is about a third one."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    said = [
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("E", "Y04", 4),
        Said("F", "Y04", 6), Said("X", "Y02", 10), Said("C", "Y01", 8, "", 700),
    ]  # fmt: skip
    for one in said:
        story.hear(AGENCY, make_notice(one, base))
    check(story, sorted(said, key=lambda one: one.minute))
    assert see(story, AGENCY) == {"A": "CONFIRMED", "B": "CONFIRMED", "C": "CANCELLED"}
    for fee, minute in zip(fees_of(story, AGENCY)[:2], (5, 3), strict=True):
        money = Money(Decimal(fee.amount), "KRW")
        paid = ProviderEvent("paid", fee.number, f"P-{fee.notice}", money, base + timedelta(minutes=minute))
        assert apply_provider_event(story.hub, paid) == "counted"
    story.tick(seconds=1)
    assert provider.list_calls("refunds") == []


@pytest.mark.parametrize("code", ["Y02", "Y04"])
def test_an_end_moves_to_a_later_levy_while_an_earlier_fee_is_due(
    story: Story, provider: Provider, code: str
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    said = [
        Said("A", "Y01", 1, "", 30000), Said("B", "Y01", 2, "", 5000), Said("E", code, 4),
        Said("C", "Y01", 3, "", 700),
    ]  # fmt: skip
    for one in said:
        story.hear(AGENCY, make_notice(one, base))
    check(story, sorted(said, key=lambda one: one.minute))
    assert see(story, AGENCY) == {"A": "DUE", "B": "DUE", "C": ENDS[code]}


#: The first fee was levied without an amount, and ended in the second of its levy.
AT_ONCE = {
    "A": Said("A", "Y01", 2, "N1"), "C": Said("C", "Y02", 2, "N1"), "B": Said("B", "Y01", 1, "", 5000),
}  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations("ACB")), ids="".join)
def test_a_fee_that_ended_in_the_second_of_its_levy_takes_no_other_levy(
    story: Story, provider: Provider, order: tuple[str, ...]
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    for one in order:
        story.hear(AGENCY, make_notice(AT_ONCE[one], base))
    check(story, sorted(AT_ONCE.values(), key=lambda said: said.minute))
    assert {row.notice: row.amount for row in fees_of(story, AGENCY)} == {"A": None, "B": "5000"}
    # Its number was used.
    with pytest.raises(GatewayError) as refused:
        story.hear(AGENCY, make_notice(Said("N", "Y01", 9, "N1", 700), base))
    assert refused.value.problem is FEE_WRONG


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_officers_end_the_fee_that_they_levied_last(kind: str, templates: Templates) -> None:
    url = templates.fresh(kind)
    engine = make_engine(url)
    held = ConsoleStory(engine, AGENCY)
    held.arrive()
    kim = held.officer("kim")
    for act in (
        FeeAct("Y01", "30000", currency="KRW"),
        FeeAct("Y01", "5000", currency="KRW"),
        ReceiveAct("Y04"),
    ):
        held.clock.forward(minutes=1)
        held.desk.perform_act(kim, held.look().number, act, held.look().shown_digest)
    with read_transaction(engine) as conn:
        found = [row.state for row in fees.list_by_request(conn, held.request(AGENCY).id)]
    assert (found, held.look().state) == (["LEVIED", "CONFIRMED"], "FEE_DUE")
    engine.dispose()
    templates.drop(url)


def test_of_what_was_said_before_the_column_was_there_a_notice_is_about_what_it_finds(
    story: Story, provider: Provider
) -> None:
    """Nobody knows what the earlier notices named: nothing is changed back."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=1)
    base = story.clock() - timedelta(minutes=30)
    for one in (Said("A", "Y01", 1, "", 30000), Said("E", "Y04", 3)):
        story.hear(AGENCY, make_notice(one, base))
    with story.house.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE notices SET fee_notice = NULL")
        conn.exec_driver_sql("UPDATE fees SET ended_by = NULL")
    story.hear(AGENCY, make_notice(Said("B", "Y01", 2, "", 5000), base))
    assert see(story, AGENCY) == {"A": "CONFIRMED", "B": "DUE"}
    story.hear(AGENCY, make_notice(Said("D", "Y02", 4), base))
    assert see(story, AGENCY) == {"A": "CONFIRMED", "B": "CANCELLED"}
