"""An agency rejects or cancels in a parent what a child has taken."""

from __future__ import annotations

from copy import deepcopy

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.hub import apply_call_back
from gateway.hub.completion.outside_decisions import select_inherited_subjects
from gateway.store import read_transaction
from tests.flows.craft import Change, all_of, at, reference, withdrawal
from tests.flows.item_changes import amendment, drop_application, remove_item
from tests.flows.test_late_children import ALL_OF_ONE, Family
from tests.flows.test_partial_release import ITEM, child
from tests.kit.story import ITEMS, LAWS, Story, asked

DOCUMENTS = {"KPTA": "KPTA-PHARM-IMP", "NPQS": "NPQS-PLA-IMP"}
APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED


@pytest.fixture
def family(engine: Engine) -> Family:
    return Family(Story(engine))


def take_with_application(family: Family, agency: str) -> None:
    """Let the child C1 take item 1 and apply to an agency for it; the agency approves it."""
    story = family.story
    story.submit(story.submission(add_application(family.numbers["parent"], agency)), attach=False)
    for _ in range(2):
        story.tick(seconds=1)
    family.numbers["C1"] = str(story.case().number)
    request = story.request(agency)
    assert [1, LAWS[agency]] in request.required
    decision = Decision(1, LAWS[agency], APPROVED, "OWN-1")
    notice = Notice(f"{agency}-OWN", story.clock(), "R01", (decision,))
    apply_call_back(story.hub, agency, AgencyCallback(notice, request.number))
    story.tick(minutes=1)
    assert family.find("C1").outcome == "APPROVED"


def add_application(parent: str, agency: str) -> Change:
    """Take item 1 of a parent in the child C1, with an application of the child to an agency."""

    def change(root: etree._Element) -> None:
        goods = root.findall(ITEM)[ITEMS[agency] - 1]
        documents = [deepcopy(document) for document in goods.findall("{*}AdditionalDocument")]
        values = at(root, "Supplement")
        application = at(root, f"Application[@document='{DOCUMENTS[agency]}']")
        at(application, "Items").text = "1"
        at(application, "Fields/Item").set("sequence", "1")
        child("C1", parent, ALL_OF_ONE)(root)
        for document in documents:
            at(root, ".//GovernmentAgencyGoodsItem/Commodity").addprevious(document)
        for value in list(values):
            if value.get("item", "1") != "1":
                values.remove(value)
        root.extend((values, application))

    return change


def find_result(family: Family, name: str) -> etree._Element:
    """Return the last Result of a case."""
    results = family.story.inbox.documents("Result")
    return [result for result in results if result.findtext("{*}CaseNumber") == family.numbers[name]][-1]


def list_reported(family: Family) -> set[tuple[str, str]]:
    """Return organisation and decision of each decision in the last Result of the child C1."""
    return {
        (decision.get("organisation", ""), decision.get("decision", ""))
        for decision in find_result(family, "C1").findall("{*}Decision")
    }


def test_a_child_keeps_the_decisions_of_its_parent_under_laws_that_it_does_not_apply_for(
    family: Family,
) -> None:
    """It applies for the item under another law: what the parent's agency corrects is reported for it."""
    take_with_application(family, "NPQS")
    assert list_reported(family) == {("KPTA", "APPROVED"), ("NPQS", "APPROVED")}
    family.decide("KPTA", REJECTED, "N2")
    assert family.find("C1").outcome == "REJECTED"
    assert list_reported(family) == {("KPTA", "REJECTED"), ("NPQS", "APPROVED")}


def test_a_child_has_its_own_decision_under_the_law_that_it_applies_for(family: Family) -> None:
    take_with_application(family, "KPTA")
    family.clear("C1")
    family.decide("KPTA", REJECTED, "N2")
    assert (family.find("parent").outcome, family.find("C1").outcome) == ("PARTIAL", "APPROVED")
    assert list_reported(family) == {("KPTA", "APPROVED")}
    assert family.late("C1") == []


def test_customs_hears_of_a_late_decision_under_a_law_that_the_child_does_not_apply_for(
    family: Family,
) -> None:
    take_with_application(family, "NPQS")
    family.clear("C1")
    family.decide("KPTA", REJECTED, "N2")
    assert family.late("C1") == [[("1", "REJECTED")]]


def test_each_generation_inherits_the_items_and_laws_that_it_and_those_between_do_not_apply_for(
    family: Family,
) -> None:
    take_with_application(family, "NPQS")
    family.take("G1", (1, "20.5", "10"), of="C1")
    parent, first_child, grandchild = (family.find(name).id for name in ("parent", "C1", "G1"))
    subjects = {(1, "01"), (1, "12"), (3, "12")}
    with read_transaction(family.story.house.engine) as conn:
        assert select_inherited_subjects(conn, parent, parent, subjects) == subjects
        assert select_inherited_subjects(conn, first_child, parent, subjects) == {(1, "01")}
        assert select_inherited_subjects(conn, grandchild, parent, subjects) == {(1, "01")}
        assert select_inherited_subjects(conn, grandchild, first_child, subjects) == {(1, "01"), (1, "12")}


@pytest.mark.parametrize(
    ("agency", "outcome", "problems"), [("NPQS", "REJECTED", ["GW410"]), ("KPTA", "APPROVED", [])]
)
def test_a_cancelled_application_of_the_parent_counts_for_the_law_that_the_child_does_not_apply_for(
    family: Family, agency: str, outcome: str, problems: list[str]
) -> None:
    """The agency that approved the item for the parent takes this back; the child applied to `agency`."""
    take_with_application(family, agency)
    family.hear("KPTA", asked(family.story, "KPTA", "G1", status="G01", pointers=()))
    assert family.find("C1").outcome == outcome
    result = find_result(family, "C1")
    assert [problem.get("id") for problem in result.findall("{*}Problem")] == problems


def remove_first_item(family: Family) -> None:
    """Send the parent again without item 1 and without its application."""
    story = family.story
    change = amendment(remove_item(1), drop_application("A1"))
    story.submit(story.submission(change), action="Amend")
    story.tick(seconds=1)


def test_an_item_that_left_before_it_was_rejected_is_not_removed_from_the_parent(family: Family) -> None:
    """Its goods are in the child. When they are back, it is removed as any rejected item."""
    family.take("C1", ALL_OF_ONE)
    family.take("C2", (3, "1", "1"))
    family.decide("KPTA", REJECTED, "N2")
    remove_first_item(family)
    assert family.story.problems() == [("GW407", "/Submission/Reference")]
    assert family.find("parent").detail["items"] == [1, 2, 3]
    change = all_of(withdrawal, reference("C1"))
    family.story.submit(family.story.submission(change), action="Withdraw", attach=False)
    family.story.tick(seconds=5)
    remove_first_item(family)
    assert family.find("parent").detail["items"] == [2, 3]
