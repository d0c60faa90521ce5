"""Approved items leave a decided case in child declarations: exactly, once, and without asking again."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import (
    AgencyCallback,
    ClearedItem,
    CustomsCall,
    CustomsNotice,
    DecisionCode,
    Notice,
    SignedReply,
)
from gateway.hub import admit_submission, apply_call_back, inspect_submission, make_inspection_rules
from gateway.hub.completion.outside_decisions import list_all_decisions
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.operations import read_case_report
from gateway.pki import KeySigner
from gateway.store import agency_requests, cases, item_releases, read_transaction
from gateway.wire import WCO_DEC, serialize_element
from tests.flows.craft import Change, all_of, at, reference, text, withdrawal, without_applications
from tests.flows.item_changes import drop_application, remove_item
from tests.flows.test_amendments import amendment, run_and_die
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.kills import die_at
from tests.kit.levels import at_night
from tests.kit.story import AGENCIES, Story

ITEM = ".//{*}GovernmentAgencyGoodsItem"
PARENT = "42A/67A[1]/68A[1]"
REJECTED = DecisionCode.REJECTED


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story with a decided parent: items 1 and 3 approved, item 2 rejected."""
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all("KFDA")
    story.decide("KFDA", REJECTED)
    story.tick()
    assert (story.case().outcome, story.case().state) == ("PARTIAL", "CLOSED")
    return story


def child(name: str, parent: str, *items: tuple[int, str, str]) -> Callable[[etree._Element], None]:
    """Take items of a case: item, net mass, pieces."""

    def change(root: etree._Element) -> None:
        without_applications(root)
        for one in root.findall("{*}Supplement"):
            root.remove(one)
        for goods in root.findall(ITEM):
            number = int(goods.findtext("{*}SequenceNumeric") or 0)
            taken = [one for one in items if one[0] == number]
            if not taken:
                goods.getparent().remove(goods)  # type: ignore[union-attr]
                continue
            for old in goods.findall("{*}AdditionalDocument"):
                goods.remove(old)
            at(goods, "Commodity/GoodsMeasure/NetNetWeightMeasure").text = taken[0][1]
            at(goods, "Commodity/GoodsMeasure/TariffQuantity").text = taken[0][2]
            previous = etree.Element(f"{{{WCO_DEC}}}PreviousDocument")
            etree.SubElement(previous, f"{{{WCO_DEC}}}ID").text = parent
            etree.SubElement(previous, f"{{{WCO_DEC}}}TypeCode").text = "998"
            etree.SubElement(previous, f"{{{WCO_DEC}}}LineNumeric").text = str(number)
            goods.append(previous)
        quantity = root.find(".//{*}Declaration/{*}GoodsItemQuantity")
        if quantity is not None:
            quantity.text = str(len(items))

    return all_of(change, reference(name))


def take(story: Story, name: str, *items: tuple[int, str, str], parent: str = "") -> None:
    story.submit(story.submission(child(name, parent or story.parent, *items)), attach=False)  # type: ignore[attr-defined]
    story.tick(seconds=1)


@pytest.fixture(autouse=True)
def _remember(story: Story) -> None:
    story.parent = story.case().number  # type: ignore[attr-defined]
    story.parent_id = story.case().id  # type: ignore[attr-defined]


def report(story: Story) -> dict[str, Any]:
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, story.parent_id)  # type: ignore[attr-defined]
        assert row is not None
        return read_case_report(conn, row)


def stays(story: Story) -> dict[tuple[int, str], str]:
    return {(one["item"], one["measure"][:3]): one["quantity"] for one in report(story)["stays"]}


@pytest.mark.story("a trader takes approved items in a child declaration")
@BOTH
def test_approved_items_leave_without_asking_again(story: Story) -> None:
    asked = len([call for call in story.soap.calls if call.destination in AGENCIES])
    take(story, "C1", (1, "200.5", "40"))
    story.tick()
    assert (story.case().state, story.outcome()) == ("CLOSED", ("APPROVED", {1: "APPROVED"}))
    (decision,) = story.result().findall("{*}Decision")
    assert (decision.get("organisation"), decision.get("document")) == ("KPTA", "KPTA-PHARM-IMP")
    assert len([call for call in story.soap.calls if call.destination in AGENCIES]) == asked
    told = [call for call in story.soap.calls if call.destination == "customs"][-3:]
    assert {call.text("CaseNumber") for call in told} == {story.case().number}
    assert [call.text("PendingCode") for call in told] == [None, "18", "19"]
    assert stays(story) == {(1, "Net"): "220", (1, "Tar"): "60"}
    assert report(story)["released"][0]["child"] == story.case().number
    assert "released" in story.evidence("case", story.parent_id)  # type: ignore[attr-defined]
    assert "taken" in story.evidence("case", story.case().id)


@pytest.mark.refusal("a trader takes more than was approved")
def test_the_rest_leaves_and_no_more(story: Story) -> None:
    take(story, "C1", (1, "200.5", "40"))
    take(story, "C2", (1, "220.001", "60"))
    (problem,) = story.result().findall("{*}Problem")
    assert (problem.get("id"), problem.get("pointer")) == ("GW415", PARENT)
    assert (problem.text or "").endswith("220.001 KGM leave, 220 KGM stay")
    take(story, "C2", (1, "0.22", "60"))
    take(story, "C3", (1, "219.78", "60"))
    assert story.problems() == [("GW415", PARENT)]
    assert stays(story) == {(1, "Net"): "219.78", (1, "Tar"): "0"}


def test_a_rejected_item_stays(story: Story) -> None:
    take(story, "C1", (1, "1", "1"), (2, "1", "1"))
    assert story.problems() == [("GW414", PARENT.replace("[1]/68A[1]", "[1]/68A[2]"))]
    assert stays(story) == {}


def test_other_goods_are_not_what_was_approved(story: Story) -> None:
    change = all_of(
        child("C1", story.parent, (1, "1", "1")),  # type: ignore[attr-defined]
        text(".//Commodity/Description", "Something else"),
    )
    story.submit(story.submission(change), attach=False)
    story.tick()
    assert story.problems() == [("GW414", PARENT)]


def test_a_parent_that_is_not_there_and_one_that_is_not_decided(story: Story) -> None:
    take(story, "C1", (1, "1", "1"), parent="SW26000000999X")
    assert story.problems() == [("GW416", f"{PARENT}/99A[1]/D018")]
    story.submit(story.submission(reference("P2")))
    story.tick()
    undecided = story.case().number
    take(story, "C2", (1, "1", "1"), parent=undecided)
    assert story.problems() == [("GW416", f"{PARENT}/99A[1]/D018")]


def reject_parent(story: Story) -> None:
    for agency in ("KPTA", "NPQS"):
        story.decide(agency, REJECTED, number="N2", at=story.clock() + timedelta(minutes=1))
    story.tick(minutes=2)


def withdraw_parent(story: Story) -> None:
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    for agency in ("KPTA", "NPQS"):
        story.hear(agency, Notice(f"{agency}-G", story.clock(), "G03"))
    story.tick()


@pytest.mark.parametrize(
    ("end_parent", "outcome"), [(reject_parent, "REJECTED"), (withdraw_parent, "WITHDRAWN")]
)
def test_nothing_leaves_a_parent_of_which_no_approval_is_left(
    story: Story, end_parent: Callable[[Story], None], outcome: str
) -> None:
    """Who checks the child before it is filed is told the same."""
    end_parent(story)
    assert story.case().outcome == outcome
    document = story.submission(child("C1", story.parent, (1, "1", "2")))  # type: ignore[attr-defined]
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    inspected = inspect_submission(serialize_element(document), {}, rules)
    assert {finding.problem.id for finding in inspected.findings} == {"GW416"}
    story.submit(document, attach=False)
    story.tick(seconds=1)
    assert story.problems() == [("GW416", f"{PARENT}/99A[1]/D018")]
    assert find_taken_items(story, story.parent_id) == []  # type: ignore[attr-defined]


OF_IMPORTER = text(".//Declarant/ID", "IMP-1")


def find_taken_items(story: Story, parent_id: int) -> list[tuple[int, str]]:
    """Return item and quantity of each row that has left a case and not come back."""
    with read_transaction(story.house.engine) as conn:
        rows = item_releases.list_releases_from(conn, parent_id)
    return [(row.item, row.quantity) for row in rows if row.returned_at is None]


@pytest.mark.parametrize("function", ["Submit", "Amend"])
def test_nothing_leaves_the_case_of_another_declarant(story: Story, function: str) -> None:
    """The case is approved and its number is right; a new child and an amended one may not name it.

    Who checks the child before it is filed is told the same.
    """
    story.register("importer", "IMP-1")
    story.mandate("broker1", "importer")
    importer, amended_parts = signer_named("importer"), [amended] if function == "Amend" else []
    own_parent = None
    if function == "Amend":
        own_parent = open_decided(story, "P2", OF_IMPORTER, signer=importer)
        first_child = all_of(child("C1", own_parent.number, (1, "1", "2")), OF_IMPORTER)
        story.submit(story.submission(first_child, importer), attach=False)
        story.tick(seconds=1)
        assert (story.outcome()[0], story.case().declarant) == ("APPROVED", "importer")
    refusal = ("GW416", f"{PARENT}/99A[1]/D018")
    of_another = child("C1", story.parent, (1, "1", "2"))  # type: ignore[attr-defined]
    document = story.submission(all_of(of_another, OF_IMPORTER, *amended_parts), importer)
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    inspected = inspect_submission(serialize_element(document), {}, rules)
    assert [(finding.problem.id, finding.pointer) for finding in inspected.findings] == [refusal]
    story.submit(document, action=function, attach=False)
    story.tick(seconds=1)
    assert story.problems() == [refusal]
    assert (story.result().findtext("{*}Problem") or "").endswith("is no case of this declarant")
    assert find_taken_items(story, story.parent_id) == []  # type: ignore[attr-defined]
    if own_parent is not None:
        assert find_taken_items(story, own_parent.id) == [(1, "1"), (1, "2")]


def test_a_withdrawn_child_gives_back(story: Story) -> None:
    take(story, "C1", (1, "420.5", "100"))
    change = all_of(withdrawal, reference("C1"))
    story.submit(story.submission(change), action="Withdraw", attach=False)
    story.tick(seconds=1)
    assert story.case().state == "WITHDRAWN"
    assert stays(story) == {(1, "Net"): "420.5", (1, "Tar"): "100"}
    take(story, "C2", (1, "420.5", "100"))
    assert story.outcome()[0] == "APPROVED"


def test_the_parent_of_what_has_left_is_not_changed(story: Story) -> None:
    take(story, "C1", (1, "1", "1"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)
    assert story.problems()[0][0] == "GW407"
    story.submit(story.submission(amendment()), action="Amend")
    story.tick(seconds=1)
    assert story.problems()[0][0] == "GW407"


def test_what_an_agency_changes_after_the_child_has_left_is_told_to_both(story: Story) -> None:
    take(story, "C1", (1, "1", "1"))
    story.tick()
    told = len(story.inbox.documents("Result"))
    story.decide("KPTA", REJECTED, number="N2", at=story.clock() + timedelta(minutes=1))
    story.tick(seconds=5)
    results = story.inbox.documents("Result")[told:]
    assert {(one.findtext("{*}CaseNumber"), one.findtext("{*}Outcome")) for one in results} == {
        (story.parent, "PARTIAL"),  # type: ignore[attr-defined]
        (story.case().number, "REJECTED"),
    }
    # What has left has left: nothing comes back by that.
    assert stays(story)[1, "Tar"] == "99"


def test_a_child_that_is_rejected_since_gives_back(story: Story) -> None:
    """Else its items would stay in it for ever, and nobody could amend or withdraw the parent."""
    take(story, "C1", (1, "1", "1"))
    story.decide("KPTA", REJECTED, number="N2", at=story.clock() + timedelta(minutes=1))
    story.tick(seconds=5)
    assert story.case().outcome == "REJECTED"
    change = all_of(withdrawal, reference("C1"))
    story.submit(story.submission(change), action="Withdraw", attach=False)
    story.tick(seconds=5)
    assert (story.case().state, story.outcome()[0]) == ("WITHDRAWN", "WITHDRAWN")
    assert stays(story) == {(1, "Net"): "420.5", (1, "Tar"): "100"}
    story.submit(story.submission(amendment()), action="Amend")
    story.tick(seconds=1)
    assert story.case().state == "WITHDRAWN", "the amendment of the parent is not refused"


def test_an_amended_child_takes_what_it_says_then(story: Story) -> None:
    take(story, "C1", (1, "420.5", "100"))
    change = all_of(child("C1", story.parent, (1, "20.5", "10")), amended)  # type: ignore[attr-defined]
    story.submit(story.submission(change), action="Amend", attach=False)
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    assert stays(story) == {(1, "Net"): "400", (1, "Tar"): "90"}


def amended(root: etree._Element) -> None:
    """Make it the amendment of the same."""
    amendment()(root)


@BOTH
def test_two_children_at_the_same_instant(story: Story) -> None:
    """Both want the whole: one has it, the other is refused."""
    for name in ("C1", "C2"):
        change = child(name, story.parent, (1, "420.5", "100"))  # type: ignore[attr-defined]
        story.submit(story.submission(change), attach=False)
    workers = [story.new_worker(name, threads=1) for name in ("a", "b")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda worker: worker.run_once(), workers))
    story.tick(seconds=1)
    with read_transaction(story.house.engine) as conn:
        outcomes = sorted(row.outcome for row in cases.list_cases(conn, limit=2))
    assert outcomes == ["APPROVED", "REFUSED"]
    assert stays(story) == {(1, "Net"): "0", (1, "Tar"): "0"}


def taking(name: str, parent: str) -> Callable[[etree._Element], None]:
    """Amend a whole declaration so that each of its items is one of a parent."""

    def change(root: etree._Element) -> None:
        for goods in root.findall(ITEM):
            previous = etree.Element(f"{{{WCO_DEC}}}PreviousDocument")
            etree.SubElement(previous, f"{{{WCO_DEC}}}ID").text = parent
            etree.SubElement(previous, f"{{{WCO_DEC}}}TypeCode").text = "998"
            goods.append(previous)

    return all_of(amendment(), reference(name), change)


def open_decided(story: Story, name: str, *changes: Change, signer: KeySigner | None = None) -> Any:
    """Open a case in which all is approved."""
    story.submit(story.submission(all_of(reference(name), *changes), signer))
    story.tick()
    for agency in AGENCIES:
        (number,) = {row.number for row in list_requests(story) if row.agency == agency}
        said = story.notice(agency, number=f"{name}-{agency}")
        apply_call_back(story.hub, agency, AgencyCallback(said, number))
    story.tick()
    return story.case()


def list_requests(story: Story) -> Any:
    with read_transaction(story.house.engine) as conn:
        return agency_requests.list_by_case(conn, story.case().id)


def find(story: Story, case: Any) -> Any:
    with read_transaction(story.house.engine) as conn:
        list_all_decisions(conn, case.id)
        return cases.find_by_id(conn, case.id)


def test_a_case_is_not_its_own_parent(story: Story) -> None:
    one = open_decided(story, "S1")
    story.submit(story.submission(taking("S1", one.number)), action="Amend")
    story.tick(seconds=1)
    assert story.problems() == [("GW416", f"{PARENT}/99A[1]/D018")]
    assert "is this case itself" in (story.result().find("{*}Problem").text or "")
    assert find(story, one).state == "CLOSED"


@pytest.mark.parametrize("together", [False, *at_night(True)])
def test_two_cases_that_name_each_other_as_parent(story: Story, together: bool) -> None:
    """One of them takes the items of the other, at most; neither waits for ever, and both end."""
    one, other = open_decided(story, "E1"), open_decided(story, "E2")
    for name, parent in (("E1", other), ("E2", one)):
        story.submit(story.submission(taking(name, parent.number)), action="Amend")
        if not together:
            story.tick(seconds=1)
    workers = [story.new_worker(name, threads=1) for name in ("a", "b")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda worker: worker.run_once(), workers))
    for _ in range(3):
        story.tick(seconds=30)
    with read_transaction(story.house.engine) as conn:
        taken = [item_releases.list_children(conn, case.id) for case in (one, other)]
    assert sorted(map(len, taken)) in ([0, 0], [0, 1])
    assert {find(story, case).state for case in (one, other)} == {"CLOSED"}
    assert story.deliveries(state="FAILED") == []


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_process_that_dies_over_a_child(story: Story, place: str) -> None:
    change = child("C1", story.parent, (1, "20.5", "10"))  # type: ignore[attr-defined]
    story.submit(story.submission(change), attach=False)
    (task,) = [one for one in story.deliveries(state="QUEUED") if one.subject_type == "message"]
    die_at(
        story,
        f"admit.case.{place}_commit",
        lambda hub: admit_submission(hub, int(task.subject_id), lambda conn: None),
    )
    story.tick(minutes=5)
    assert story.outcome()[0] == "APPROVED"
    assert stays(story) == {(1, "Net"): "400", (1, "Tar"): "90"}


def remove_refused(story: Story, *changes: Callable[[etree._Element], None]) -> None:
    """Send the parent again without item 2, which goes back to its sender."""
    change = amendment(remove_item(2), drop_application("A2"), *changes)
    story.submit(story.submission(change), action="Amend", attach=False)
    story.tick(seconds=1)


@pytest.mark.parametrize("total", [False, True])
def test_what_was_refused_is_removed_while_the_rest_has_left(story: Story, total: bool) -> None:
    """An agency that reads the number of items is told the new one, and decides nothing anew."""
    take(story, "C1", (1, "200.5", "40"))
    calls = len([one for one in story.soap.calls if one.destination in AGENCIES])
    remove_refused(story, *[text(".//Declaration/GoodsItemQuantity", "2")] * total)
    told = [(one.destination, one.operation) for one in story.soap.calls if one.destination in AGENCIES]
    assert told[calls:] == [("NPQS", "SubmitSupplement")] * total
    parent = report(story)
    assert (parent["outcome"], parent["state"]) == ("APPROVED", "CLOSED")
    (row,) = parent["removed"]
    assert (row["item"], row["refused"], row["reason"]) == (2, True, "17: A name was wrong.")
    assert stays(story) == {(1, "Net"): "220", (1, "Tar"): "60"}
    (row,) = [json.loads(one["data"]) for one in parent["evidence"] if one["kind"] == "amended"]
    assert (row["removed"], row["refused"]) == ([2], [2])
    remove_refused(story, text(".//Declaration/TotalPackageQuantity", "22"))
    assert story.problems() == [("GW407", "/Submission/Reference")]
    take(story, "C2", (1, "220", "60"))
    assert stays(story) == {(1, "Net"): "0", (1, "Tar"): "0"}


@pytest.mark.parametrize("why", ["another change", "approved", "another application"])
def test_nothing_else_of_the_parent_changes_while_items_have_left(story: Story, why: str) -> None:
    take(story, "C1", (1, "200.5", "40"))
    changes = {
        "another change": [text(".//Declarant/Name", "한빛관세사무소")],
        "approved": [remove_item(3), drop_application("A3")],
        "another application": [text("Application[@id='A3']//{*}Item/{*}EppoCode", "TULSS")],
    }
    before = report(story)["detail"]["items"]
    remove_refused(story, *changes[why])
    assert story.problems() == [("GW407", "/Submission/Reference")]
    assert report(story)["detail"]["items"] == before


@BOTH
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_refused_items_are_removed_once(story: Story, side: str) -> None:
    take(story, "C1", (1, "200.5", "40"))
    change = amendment(remove_item(2), drop_application("A2"))
    story.submit(story.submission(change), action="Amend", attach=False)
    die_at(story, f"admit.amendment.{side}", lambda hub: run_and_die(story, hub))
    story.tick(minutes=5)
    assert [one["item"] for one in report(story)["removed"]] == [2]
    assert story.evidence("case", story.parent_id).count("amended") == 1  # type: ignore[attr-defined]


def clear(story: Story, code: str, *items: tuple[int, str]) -> None:
    """Let customs report about the parent."""
    said = CustomsNotice(f"CUS-{code}", story.clock(), code, items=tuple(ClearedItem(*one) for one in items))
    call = CustomsCall(said, case_number=story.parent)  # type: ignore[attr-defined]
    apply_customs_call(story.hub, call, SignedReply(b"<signed call/>", "ab" * 32))
    story.tick(seconds=1)


def test_what_customs_has_cleared_in_the_parent_does_not_leave(story: Story) -> None:
    clear(story, "5EC")
    take(story, "C1", (1, "200.5", "40"))
    ((problem, _),) = story.problems()
    assert problem == "GW416"
    clear(story, "10")
    take(story, "C1", (1, "200.5", "40"))
    assert story.outcome()[0] == "APPROVED"


def test_an_item_that_customs_has_not_cleared_leaves(story: Story) -> None:
    clear(story, "5EC", (3, "5EC"), (1, "03"))
    take(story, "C1", (3, "10", "10"))
    assert story.problems()[0][0] == "GW416"
    take(story, "C2", (1, "200.5", "40"))
    assert story.outcome()[0] == "APPROVED"


def test_a_child_keeps_what_it_held_when_its_parent_is_cleared(story: Story) -> None:
    take(story, "C1", (1, "200.5", "40"))
    story.tick()
    clear(story, "5EC")
    for amount, outcome in (("420.5", "REFUSED"), ("100", "APPROVED")):
        change = all_of(child("C1", story.parent, (1, amount, "40")), amended)  # type: ignore[attr-defined]
        story.submit(story.submission(change), action="Amend", attach=False)
        for _ in range(2):
            story.tick(seconds=1)
        assert story.outcome()[0] == outcome
    assert stays(story) == {(1, "Net"): "320.5", (1, "Tar"): "60"}
