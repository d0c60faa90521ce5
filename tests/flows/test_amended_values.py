"""An amendment changes what is said of one item: what was decided about the others stands."""

from __future__ import annotations

import random

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.hub.completion import operator_actions
from gateway.hub.requirements.granted_certificates import list_usable_certificates
from gateway.store import read_transaction
from gateway.store.decisions import list_by_request
from tests.flows.craft import Change, all_of, at, supplement, text
from tests.flows.item_changes import add_item, amendment, concern, remove_item
from tests.flows.test_amended_items import amended, calls_of, decide
from tests.flows.test_amendments import run_and_die
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import QUIET, Story, unreachable

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
#: The application of KFDA is about the items 2, 4 and 5.
THREE = (add_item(4, 2), concern("A2", 4, 2), add_item(5, 2, "Plain wafers"), concern("A2", 5, 2))


def name_of(item: int, words: str) -> Change:
    """Say another Korean name of an item, which KFDA alone asks for."""
    return text(f"Application[@id='A2']/Fields/Item[@sequence='{item}']/ProductNameKo", words)


def describe(item: int, words: str) -> Change:
    """Say something else of an item in the declaration."""

    def change(root: etree._Element) -> None:
        goods = root.findall(".//{*}GovernmentAgencyGoodsItem")
        found = next(one for one in goods if one.findtext("{*}SequenceNumeric") == str(item))
        at(found, "Commodity/Description").text = words

    return change


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine, agreement=QUIET)
    started.submit(started.submission(all_of(*THREE)))
    started.tick()
    started.decide("KPTA")
    started.decide("NPQS")
    return started


def amend(story: Story, *changes: Change) -> None:
    story.submit(story.submission(amendment(*THREE, *changes)), action="Amend")
    story.tick()


def counting(story: Story) -> dict[int, str]:
    """Return what is decided about the items of KFDA, and counts."""
    with read_transaction(story.house.engine) as conn:
        rows = list_by_request(conn, story.request("KFDA").id)
    return {row.item: row.number for row in rows if row.superseded_by is None}


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("change", [name_of, describe])
def test_what_is_decided_about_other_items_stands(story: Story, change: type) -> None:
    """Whether the declaration says something else of the item, or the application alone."""
    decide(story, "KFDA", {2: APPROVED, 5: APPROVED}, "N1")
    decide(story, "KFDA", {4: REJECTED}, "N0")
    story.tick()
    assert story.outcome()[0] == "PARTIAL"
    amend(story, change(5, "플레인 와플"))
    assert (story.case().state, story.request("KFDA").state) == ("IN_PROGRESS", "ACKNOWLEDGED")
    assert counting(story) == {2: "N1-2", 4: "N0-4"}
    assert calls_of(story, "KFDA") == ["SubmitApplication", "SubmitSupplement"]
    assert calls_of(story, "KPTA") == ["SubmitApplication"]
    assert story.customs_codes() == ["18", "19", "18"]
    decide(story, "KFDA", {5: REJECTED}, "N2")
    story.tick()
    assert story.case().state == "CLOSED"
    assert story.outcome()[1] == {
        1: "APPROVED", 2: "APPROVED", 3: "APPROVED", 4: "REJECTED", 5: "REJECTED",
    }  # fmt: skip


@pytest.mark.long
def test_what_all_items_share_makes_all_lapse(story: Story) -> None:
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    amend(story, name_of(4, "다른"), text(".//Importer/Name", "Another importer"))
    assert counting(story) == {}


@pytest.mark.long
def test_items_that_change_come_and_go_at_once(story: Story) -> None:
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    amend(story, remove_item(5), name_of(4, "다른"), add_item(6, 2, "More"), concern("A2", 6, 2))
    assert counting(story) == {2: "N1-2"}
    (told,) = amended(story)
    assert (told["added"], told["removed"]) == ([6], [5])
    decide(story, "KFDA", {4: APPROVED, 6: APPROVED}, "N2")
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    # Back to the former name: another change of the item.
    story.submit(
        story.submission(amendment(*THREE, remove_item(5), add_item(6, 2, "More"), concern("A2", 6, 2))),
        action="Amend",
    )
    story.tick()
    assert counting(story) == {2: "N1-2", 6: "N2-6"}


@pytest.mark.long
def test_a_decision_before_the_agency_has_heard_counts_for_the_others(story: Story) -> None:
    """It is about the former goods of the changed item, and about the very goods of the other ones."""
    story.say("KFDA", *[unreachable()] * 4)
    amend(story, name_of(4, "다른"))
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED}, "N1")
    assert counting(story) == {2: "N1-2"}
    for _ in range(8):
        story.tick(minutes=10)
    assert story.request("KFDA").state == "STRANDED"
    decide(story, "KFDA", {4: APPROVED, 5: APPROVED}, "N2")
    assert counting(story) == {2: "N1-2", 5: "N2-5"}
    # The change that nobody has heard goes with the next one.
    amend(story, name_of(4, "다른"), name_of(5, "또"))
    assert counting(story) == {2: "N1-2"}
    decide(story, "KFDA", {4: APPROVED, 5: APPROVED}, "N3")
    story.tick()
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.long
def test_an_unheard_change_stays_with_the_amendment_that_replaces_it(story: Story) -> None:
    story.say("KFDA", *[unreachable()] * 8)
    amend(story, name_of(4, "다른"))
    for _ in range(8):
        story.tick(minutes=10)
    amend(story, name_of(4, "다른"), name_of(5, "또"))
    waiting = story.delivery(destination="KFDA", state="QUEUED")
    assert waiting.parameters["items"] == "4,5"
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    assert counting(story) == {2: "N1-2"}
    story.operate(operator_actions.cancel_delivery, waiting.id)
    decide(story, "KFDA", {4: APPROVED, 5: APPROVED}, "N2")
    assert counting(story) == {2: "N1-2", 4: "N2-4", 5: "N2-5"}


@pytest.mark.long
def test_a_certificate_of_another_item_can_be_used_meanwhile(story: Story) -> None:
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    amend(story, name_of(4, "다른"))
    decide(story, "KFDA", {4: APPROVED}, "N2")
    story.tick()
    assert counting(story) == {2: "N1-2", 4: "N2-4", 5: "N1-5"}
    with read_transaction(story.house.engine) as conn:
        assert list_usable_certificates(conn, ["N1-4"]) == []


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_process_that_dies_over_such_an_amendment(story: Story, place: str) -> None:
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    story.submit(story.submission(amendment(*THREE, name_of(4, "다른"))), action="Amend")
    die_at(story, f"admit.amendment.{place}_commit", lambda hub: run_and_die(story, hub))
    story.tick(seconds=120)
    assert counting(story) == {2: "N1-2", 5: "N1-5"}
    assert calls_of(story, "KFDA") == ["SubmitApplication", "SubmitSupplement"]
    decide(story, "KFDA", {4: APPROVED}, "N2")
    story.tick()
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.long
def test_an_agency_that_was_sent_a_supplement_is_told_the_change_of_one_item(engine: Engine) -> None:
    """What it was sent last is the supplement, and not what the declaration in force came with."""
    story = Story(engine, agreement=QUIET)
    story.submit(story.submission(all_of(*THREE)))
    story.tick()
    changed = all_of(*THREE, supplement, name_of(2, "보완"))
    story.submit(story.submission(changed), action="Supplement")
    story.tick()
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    amend(story, name_of(2, "보완"), name_of(4, "다른"))
    assert counting(story) == {2: "N1-2", 5: "N1-5"}
    amend(story, name_of(2, "또"), name_of(4, "다른"))
    assert counting(story) == {5: "N1-5"}


@pytest.mark.long
def test_each_agency_has_the_supplement_about_its_own_application(engine: Engine) -> None:
    """A later supplement about the application of another agency changes nothing of what it has."""

    def keep_application(number: str) -> Change:
        def change(root: etree._Element) -> None:
            for application in root.findall("{*}Application"):
                if application.get("id") != number:
                    root.remove(application)

        return change

    story = Story(engine, agreement=QUIET)
    story.submit(story.submission(all_of(*THREE)))
    story.tick()
    for number, changes in (("A2", [name_of(2, "보완")]), ("A1", [])):
        changed = all_of(*THREE, supplement, *changes, keep_application(number))
        story.submit(story.submission(changed), action="Supplement", attach=number == "A2")
        story.tick()
    assert calls_of(story, "KFDA") == ["SubmitApplication", "SubmitSupplement"]
    assert calls_of(story, "KPTA") == ["SubmitApplication", "SubmitSupplement"]
    decide(story, "KFDA", {2: APPROVED, 4: APPROVED, 5: APPROVED}, "N1")
    amend(story, name_of(2, "보완"), name_of(4, "다른"))
    assert counting(story) == {2: "N1-2", 5: "N1-5"}


@pytest.mark.long
def test_decisions_and_changes_in_any_order(story: Story) -> None:
    """A decision counts from when it is said until its item says something else."""
    rng = random.Random(7)
    names = dict.fromkeys((2, 4, 5), "")
    known: dict[int, str] = {}
    for step in range(12):
        items = rng.sample([2, 4, 5], rng.randint(1, 3))
        story.tick(seconds=61)
        if rng.random() < 0.4:
            decide(story, "KFDA", dict.fromkeys(items, APPROVED), f"R{step}")
            known |= {item: f"R{step}-{item}" for item in items}
        else:
            new = {item: rng.choice(["가", "나", "다"]) for item in items}
            known = {item: said for item, said in known.items() if new.get(item) in (None, names[item])}
            names |= new
            amend(story, *(name_of(item, words) for item, words in names.items() if words))
        assert counting(story) == known
        assert (story.request("KFDA").state == "DECIDED") == (len(known) == 3)
