"""A notice that names no item takes back all that its agency said under a number, in every order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice, SignedReply
from gateway.errors import GatewayError
from gateway.hub import apply_agency_document, apply_call_back
from tests.flows.test_delivered_notices import make_document
from tests.flows.test_outside_documents import NUMBER, rows
from tests.flows.test_outside_results import name, report
from tests.flows.test_outside_results import say as say_result
from tests.flows.test_overtaken_decisions import forwarded, hear, rest, word
from tests.flows.test_requirement_ledger import used_of
from tests.kit.databases import BOTH
from tests.kit.levels import at_night
from tests.kit.story import Story

SPOKEN = SignedReply(b"<s/>", "ab" * 32)
#: What is approved, by its name: the item, the quantity, and the minute of its issue.
APPROVALS = {"a": (1, "100", 10), "b": (2, "100", 20), "c": (2, "50", 40)}
TAKEN_BACK = 30
#: How an agency takes back: by its own document, or our call.
#: Who takes back in this form, and under which law: no source says the code of the documents of KFDA.
AGENCIES = {"document": ("KPTA", "01"), "call": ("KFDA", "05")}
ORDERS = ["".join(order) for said in ("abw", "abcw") for order in permutations(said)]
#: Of the orders with what stands: what takes back is first, between and last; what stands is on each side.
_WITH_WHAT_STANDS = ("wabc", "awcb", "cbwa", "cabw")


def choose_orders(orders: Sequence[str]) -> list[Any]:
    """Return orders as cases: those without what stands, four with it, and at night the others."""
    return [
        each if "c" not in each or each in _WITH_WHAT_STANDS else pytest.param(each, marks=pytest.mark.night)
        for each in orders
    ]


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.tick(hours=2)
    return started


def stamp(minute: int) -> str:
    return f"2026112018{minute}00"


def moment(minute: int) -> datetime:
    zone = timezone(timedelta(hours=9))
    return datetime.strptime(stamp(minute), "%Y%m%d%H%M%S").replace(tzinfo=zone)


def approve(held: Story, which: str, form: str) -> None:
    agency, law = AGENCIES[form]
    item, quantity, minute = APPROVALS[which]
    one = Decision(item, law, DecisionCode.APPROVED, quantity=Decimal(quantity), unit="KGM")
    said = Notice(f"R-{which}", moment(minute), "R01", (one,))
    apply_call_back(held.hub, agency, AgencyCallback(said, requirement_number=NUMBER), SPOKEN)


def take_back(held: Story, form: str) -> None:
    agency, _ = AGENCIES[form]
    if form == "call":
        said = Notice("W-1", moment(TAKEN_BACK), "G02")
        apply_call_back(held.hub, agency, AgencyCallback(said, requirement_number=NUMBER), SPOKEN)
        return
    document = make_document(
        "GOVCBRRBH",
        f"<TypeCode>GOVCBRRBH</TypeCode><Declaration><TypeCode>GOVCBRFR2</TypeCode><ID>FOOD-2026-777</ID>"
        f"<AdditionalDocument><ID>{NUMBER}</ID></AdditionalDocument></Declaration><ID>W-1</ID>"
        f"<IssueDateTime>{stamp(TAKEN_BACK)}</IssueDateTime><Status><NameCode>G02</NameCode></Status>",
    )
    apply_agency_document(held.hub, agency, document, SPOKEN)


def say(held: Story, which: str, form: str) -> str:
    """Let the agency say something; return the problem with which it is refused."""
    try:
        take_back(held, form) if which == "w" else approve(held, which, form)
    except GatewayError as refused:
        return refused.problem.id
    finally:
        held.tick(seconds=1)
    return ""


def find_standing(held: Story) -> dict[int, tuple[str, str | None]]:
    """Return what was said last of each item."""
    said = sorted(rows(held)["requirement_results"], key=lambda one: one["issued_at"])
    return {one["item"]: (one["decision"], one["quantity"]) for one in said}


def expect(order: str) -> dict[int, tuple[str, str | None]]:
    return {1: ("REJECTED", None), 2: ("APPROVED", "50") if "c" in order else ("REJECTED", None)}


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("form", ["call", *at_night("document")])
@pytest.mark.parametrize("order", choose_orders(ORDERS))
def test_all_is_taken_back_that_was_issued_before_in_every_order(story: Story, order: str, form: str) -> None:
    refused = [which for which in order if say(story, which, form)]
    # Nothing is known that it could take back: its agency says it again.
    assert refused == (["w"] if order[0] == "w" else [])
    # Whatever is known now, a repeat is no other notice, and changes nothing.
    assert [say(story, which, form) for which in (*refused, *order)] == [""] * (len(refused) + len(order))
    before = rows(story)
    assert [say(story, which, form) for which in order] == [""] * len(order)
    assert rows(story) == before
    assert find_standing(story) == expect(order)
    name(story)
    story.tick()
    if "c" in order:
        assert (story.outcome()[0], used_of(story, NUMBER)) == ("APPROVED", {"KGM": "40"})
    else:
        assert (story.case().state, used_of(story, NUMBER)) == ("REFUSED", {})


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("form", ["document", *at_night("call")])
@pytest.mark.parametrize("order", choose_orders([one for one in ORDERS if one[0] != "w"]))
def test_a_declaration_that_waits_for_the_number_ends_alike(story: Story, order: str, form: str) -> None:
    name(story)
    story.tick()
    for which in order:
        assert say(story, which, form) == ""
        story.tick()
    story.tick(minutes=2)
    story.tick(minutes=2)
    approved = "c" in order
    assert story.outcome()[1][1] == ("APPROVED" if approved else "REJECTED")
    assert used_of(story, NUMBER) == ({"KGM": "40"} if approved else {})


@pytest.mark.long
def test_what_overtakes_the_decision_takes_back_all_of_the_application(engine: Engine) -> None:
    """Its number was said of other goods before; the application has an item of its own."""
    held = forwarded(engine)
    granted = word(held, "a", DecisionCode.APPROVED, 0)
    one = Decision(1, "05", DecisionCode.APPROVED, quantity=Decimal(5), unit="KGM")
    other = Notice("O-1", granted.issued_at, "R01", (one,))
    taken = Notice("W-1", granted.issued_at + timedelta(minutes=5), "G02")
    for said in (other, taken):
        hear(held, said, of_application=False)
    hear(held, granted, of_application=True)
    decided = {item: code for item, code, _ in rest(held)[-1]}
    assert decided[2] == "REJECTED"


def test_a_rejection_does_not_decide_where_two_agencies_have_the_number(engine: Engine) -> None:
    """The declaration names no agency: it waits until its certificate is known."""
    story = Story(engine)
    name(story)
    story.tick()
    say_result(story, DecisionCode.REJECTED, agency="KFDA", quantity=None)
    say_result(story, agency="NPQS", law="12")
    story.tick()
    assert story.outcome() == ("APPROVED", {})
    assert [awaited["number"] for awaited in report(story)["awaited"]] == [NUMBER]
