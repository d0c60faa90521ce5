"""Customs ends the clearance of a child declaration: the agency that wants to know hears of its items."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from gateway.cases import ClearedItem, CustomsCall, CustomsNotice, DecisionCode
from gateway.hub.customs.customs_reports import apply_customs_call
from tests.flows.test_late_children import ALL_OF_ONE, SPOKEN, Family
from tests.flows.test_withdrawals import run_and_die
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import Story


@pytest.fixture
def family(engine: Engine) -> Family:
    return Family(Story(engine))


def list_news(family: Family) -> list[tuple[str | None, ...]]:
    """Return case, application, result and items of each call that tells an agency of clearance."""
    names = {number: name for name, number in family.numbers.items()}
    return [
        (
            names[call.text("CaseNumber")],
            call.destination,
            call.text("ApplicationNumber"),
            call.text("ResultCode"),
            call.text("StatusCode"),
            *("=".join(part.text or "" for part in one) for one in call.body.findall("{*}Item")),
        )
        for call in family.story.soap.calls
        if call.operation == "NotifyClearance"
    ]


@BOTH
def test_the_agency_hears_of_each_child_with_its_item(family: Family) -> None:
    """Under its own application, though the parent is never cleared; a grandchild counts as a child does."""
    number = family.requests["KPTA"]
    family.take("C1", ALL_OF_ONE)
    family.take("C2", (3, "1", "1"))
    family.take("G1", (1, "20.5", "10"), of="C1")
    for name in ("C1", "C2", "G1"):
        family.clear(name)
    assert list_news(family) == [
        ("C1", "KPTA", number, "5EC", "Z04", "1=5EC"),
        ("G1", "KPTA", number, "5EC", "Z04", "1=5EC"),
    ]
    family.clear("C1", "10")
    assert list_news(family)[2:] == [("C1", "KPTA", number, "10", None, "1=10")]
    assert {family.find(name).state for name in family.numbers} == {"CLOSED"}


def test_what_customs_says_of_the_item_itself_counts(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    family.clear("C1", items=(ClearedItem(1, "03"),))
    assert list_news(family) == [("C1", "KPTA", family.requests["KPTA"], "5EC", "Z04", "1=03")]


def test_a_result_of_a_child_that_another_one_has_overtaken_is_not_told(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    now = family.story.clock()
    family.clear("C1", "10", at=now)
    family.clear("C1", at=now - timedelta(seconds=1))
    assert [one[3] for one in list_news(family)] == ["10"]


@BOTH
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_the_agency_hears_once_though_the_hub_dies(family: Family, side: str) -> None:
    story = family.story
    family.take("C1", ALL_OF_ONE)
    said = CustomsNotice("CUS-C1", story.clock(), "5EC")
    apply_customs_call(story.hub, CustomsCall(said, case_number=family.numbers["C1"]), SPOKEN)
    die_at(story, f"customs.told.{side}", lambda hub: run_and_die(story, hub))
    for _ in range(3):
        story.tick(minutes=2)
    assert len(list_news(family)) == 1
    assert {row.state for row in story.deliveries(case_id=family.find("parent").id)} == {"DELIVERED"}


def test_no_decision_is_late_for_a_clearance_that_was_cancelled(family: Family) -> None:
    """In every order of arrival, where customs has cancelled before the agency decides."""
    now = family.story.clock()
    family.story.tick(minutes=5)
    family.clear("parent", "10", at=now + timedelta(minutes=2))
    family.decide("KPTA", DecisionCode.REJECTED, "N2", at=now + timedelta(minutes=3))
    family.clear("parent", at=now + timedelta(minutes=1))
    assert (family.late("parent"), family.recorded("parent")) == ([], 0)
