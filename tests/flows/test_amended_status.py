"""After an amendment the status code of an application is that of the last notice that still counts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from gateway.cases import Decision, DecisionCode, NamedFee, Notice
from gateway.hub.fees.agency_payment_notes import settle_fee_elsewhere, waive_fee
from gateway.store import write_transaction
from tests.flows.craft import text
from tests.flows.test_amendments import NAME, amend
from tests.flows.test_fees import KRW, Provider, fees_of, pay, provider, story
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory
from tests.kit.story import Story

__all__ = ["provider", "story"]  # fixtures

AGENCY = "KFDA"
#: What the agency says after the amendment, by the minute of its issue: all before the overtaken approval.
SAID = {"C04": -60, "D01": -50, "R04": -40}


def say(story: Story, name: str, code: str, at: datetime, *decided: DecisionCode) -> None:
    said = tuple(Decision(2, "05", one, f"P-{name}") for one in decided)
    story.hear(AGENCY, Notice(name, at, code, said))
    story.tick(seconds=1)


def approve_and_amend(story: Story) -> datetime:
    """Let the agency approve, and the application change; return when the approval was issued."""
    story.submit()
    story.tick(hours=2)
    base = story.clock()
    say(story, "first", "R01", base, DecisionCode.APPROVED)
    assert story.request(AGENCY).status_code == "R01"
    amend(story, NAME)
    return base


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("order", list(itertools.permutations(SAID)), ids="-".join)
def test_a_decision_that_does_not_count_is_not_shown_whatever_the_clock_of_the_agency_says(
    engine: Engine, order: tuple[str, ...]
) -> None:
    story = Story(engine)
    base = approve_and_amend(story)
    assert (story.request(AGENCY).state, story.request(AGENCY).status_code) == ("ACKNOWLEDGED", None)
    for place, code in enumerate(order, start=1):
        decided = [DecisionCode.REJECTED] if code == "R04" else []
        say(story, code, code, base + timedelta(minutes=SAID[code]), *decided)
        last = max(order[:place], key=SAID.__getitem__)
        assert story.request(AGENCY).status_code == last, order[:place]
    story.decide_all(AGENCY)
    story.tick(seconds=1)
    assert (story.outcome()[0], story.outcome()[1][2]) == ("PARTIAL", "REJECTED")


@pytest.mark.long
def test_what_was_said_before_and_still_stands_is_shown(engine: Engine) -> None:
    """A fee that is open stays due; of what was asked nothing stands."""
    story = Story(engine)
    story.submit()
    story.tick(hours=2)
    base = story.clock()
    story.hear(AGENCY, Notice("F", base - timedelta(minutes=9), "Y01", fee=NamedFee(payment_notice="F1")))
    story.hear(AGENCY, Notice("Q", base - timedelta(minutes=5), "D01", text="Which lot?"))
    amend(story, NAME)
    assert (story.request(AGENCY).state, story.request(AGENCY).status_code) == ("FEE_DUE", "Y01")
    # It is told after the amendment, and was issued before the levy.
    story.hear(AGENCY, Notice("C", base - timedelta(minutes=10), "C04"))
    assert story.request(AGENCY).status_code == "Y01"
    amend(story, text("Application[@id='A2']/Fields/Item/ProductNameKo", "와플"))
    story.hear(AGENCY, Notice("E", base, "Y04", fee=NamedFee(payment_notice="F1")))
    assert (story.request(AGENCY).state, story.request(AGENCY).status_code) == ("ACKNOWLEDGED", "Y04")


@pytest.mark.long
def test_an_officer_sees_no_code_of_what_was_decided_before(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    seen = story.arrive()
    kim = story.officer("kim")
    story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    amend(story, NAME)
    assert story.look().request.status_code is None
    story.desk.perform_act(kim, seen.number, story.decision(DecisionCode.REJECTED), story.look().shown_digest)
    assert story.look().request.status_code == "R04"


#: The fee is levied after the inspection was told of, and that is heard after the amendment.
FEE_ORDERS = [one for one in itertools.permutations(("amend", "end", "told")) if one.index("amend") < 2]


@pytest.mark.parametrize("way", ["paid", "waived", "settled"])
@pytest.mark.parametrize("order", FEE_ORDERS, ids="-".join)
def test_the_code_of_a_levy_is_shown_as_long_as_its_fee_is_open(
    story: Story, provider: Provider, order: tuple[str, ...], way: str
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(hours=2)
    base = story.clock()
    story.hear(AGENCY, Notice("F", base - timedelta(minutes=5), "Y05", fee=NamedFee(KRW)))
    story.tick(seconds=1)
    for place, what in enumerate(order, start=1):
        if what == "amend":
            amend(story, NAME)
        elif what == "told":
            story.hear(AGENCY, Notice("T", base - timedelta(minutes=9), "C04"))
        else:
            end_fee(story, way)
        story.tick(seconds=1)
        done = order[:place]
        if "amend" in done:
            told = "told" in done and order.index("told") > order.index("amend")
            since = "C04" if told else None
            assert story.request(AGENCY).status_code == (since if "end" in done else "Y05"), done


def end_fee(story: Story, way: str) -> None:
    """Let the fee of the application be paid, here or elsewhere, or be demanded no more."""
    (fee,) = fees_of(story, AGENCY)
    if way == "paid":
        assert pay(story, fee.number) == "counted"
        return
    act = waive_fee if way == "waived" else settle_fee_elsewhere
    with write_transaction(story.house.engine) as conn:
        act(conn, fee.id, story.clock(), "operator", "at the counter")
