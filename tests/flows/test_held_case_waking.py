"""A held case goes on at once when others bring what it lacks, without a message of its declarant."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, DecisionCode
from gateway.cli import main
from gateway.evidence import list_subject_leaves
from gateway.hub import apply_call_back, wake_held_case
from gateway.operations import add_case_waiting, read_custody_times
from gateway.store import cases, deliveries, parties, read_transaction, requirement_results, write_transaction
from gateway.wire import WCO_DEC
from tests.flows.craft import Change, all_of, reference, supplement, withdrawal, without
from tests.flows.item_changes import remove_item
from tests.flows.test_held_cases import HOLD, run_and_die
from tests.flows.test_outside_results import say
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import ITEM, used_of, using
from tests.flows.test_withdrawals import cancelling
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import AGENCIES, Story

NUMBER = "NPQS-77"


def naming(number: str, quantity: str = "10", item: int = 3, unit: str = "KGM") -> Change:
    """Let an item use a certificate; the applications stay."""

    def change(root: etree._Element) -> None:
        goods = root.findall(ITEM)[item - 1]
        made = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
        etree.SubElement(made, f"{{{WCO_DEC}}}ID").text = number
        off = etree.SubElement(made, f"{{{WCO_DEC}}}WriteOff")
        etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode=unit).text = quantity
        goods.insert([one.tag.rpartition("}")[2] for one in goods].index("Commodity"), made)

    return change


HELD = all_of(reference("HELD-1"), without("Application[@id='A3']"), naming(NUMBER))


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story whose case is held, and names a number that nobody knows."""
    started = Story(engine)
    started.hub.need_policy = HOLD
    started.submit(started.submission(HELD))
    started.tick()
    return started


def find(story: Story, name: str = "HELD-1") -> Any:
    with read_transaction(story.house.engine) as conn:
        return cases.find_by_reference(conn, "broker1", name)


def waits(story: Story) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return [row.number for row in requirement_results.list_awaited_uses(conn, find(story).id)]


def asked(story: Story) -> set[str]:
    number = find(story).number
    return {call.destination for call in story.soap.calls if call.text("CaseNumber") == number}


def held_notices(story: Story) -> int:
    return len([one for one in story.inbox.documents("Notice") if one.find("{*}Held") is not None])


@pytest.mark.long
@BOTH
def test_a_result_without_an_application_lets_it_go_on(story: Story) -> None:
    # It waits for each number that it names, also that of an item with an application.
    assert (find(story).state, waits(story), asked(story)) == ("HELD", ["수허02-1184", NUMBER], set())
    (missing,) = story.inbox.documents("Notice")[0].iter("{*}Missing")
    assert (missing.text or "").endswith(f"; the item names requirement {NUMBER}: it is not known yet")
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.tick()
    assert find(story).state == "IN_PROGRESS"
    assert asked(story) == {"KPTA", "KFDA", "customs"}
    assert used_of(story, NUMBER) == {"KGM": "10"}
    assert NUMBER not in waits(story)
    assert story.evidence("case", find(story).id).count("admitted") == 1
    story.decide_all("NPQS")
    story.tick()
    story.tick(hours=50)
    assert (find(story).state, find(story).outcome) == ("CLOSED", "APPROVED")
    assert held_notices(story) == 1


@pytest.mark.long
def test_what_does_not_bring_it_leaves_it_held_and_tells_nobody(story: Story) -> None:
    say(story, DecisionCode.REJECTED, agency="NPQS", number=NUMBER, law="12")
    say(story, agency="KFDA", number=NUMBER, notice="R2")
    story.tick()
    assert (find(story).state, held_notices(story), asked(story)) == ("HELD", 1, set())
    story.tick(hours=49)
    assert (find(story).state, waits(story)) == ("REFUSED", [])
    say(story, agency="NPQS", number=NUMBER, law="12", notice="R3", at=story.clock())
    story.tick()
    assert (find(story).state, asked(story)) == ("REFUSED", set())


@pytest.mark.long
def test_a_decision_of_another_case_lets_it_go_on(story: Story) -> None:
    story.submit(story.submission(reference("OTHER-1")))
    story.tick()
    notice = story.notice("NPQS")
    (one,) = notice.decisions
    granted = replace(one, number=NUMBER, quantity=Decimal(100), unit="KGM")
    said = AgencyCallback(replace(notice, decisions=(granted,)), story.number_of("NPQS"))
    apply_call_back(story.hub, "NPQS", said)
    story.tick()
    assert find(story).state == "IN_PROGRESS"
    assert used_of(story, NUMBER) == {"KGM": "10"}


@pytest.mark.long
@pytest.mark.parametrize(("agency", "state"), [("NPQS", "IN_PROGRESS"), ("KFDA", "HELD")])
def test_a_registered_certificate_lets_it_go_on(
    story: Story, engine: Engine, tmp_path: Path, agency: str, state: str
) -> None:
    """NPQS has one law alone, so a certificate of it is under this law; that of KFDA may be under three."""
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    words = ["--quantity", "100", "--unit", "KGM", "--home", str(tmp_path), "--by", "anna"]
    assert main(["requirement", "add", NUMBER, "--agency", agency, *words]) == 0
    # The verb has queued it by the clock of the machine, which is not that of the story.
    queued = [row for row in story.deliveries() if row.dedupe_key.startswith(f"known:{agency}")]
    story.operate(deliveries.try_delivery, queued[0].id)
    story.tick()
    assert find(story).state == state


@pytest.mark.long
def test_a_parent_that_is_decided_lets_its_child_go_on(story: Story) -> None:
    story.submit(story.submission(reference("PARENT-1")))
    story.tick()
    parent = find(story, "PARENT-1")
    part = child("CHILD-1", parent.number, (1, "200.5", "40"))
    story.submit(story.submission(part), attach=False)
    story.tick()
    assert find(story, "CHILD-1").state == "HELD"
    story.decide_all("KFDA")
    story.tick()
    assert find(story, "CHILD-1").state == "HELD"
    story.decide("KFDA")
    story.tick()
    assert (find(story, "CHILD-1").state, find(story, "CHILD-1").outcome) == ("CLOSED", "APPROVED")


@pytest.mark.long
@pytest.mark.parametrize(
    ("ends", "kilos", "refused"),
    [("approved", "200.5", []), ("approved", "9999", ["GW415"]), ("rejected", "200.5", ["GW508"]),
     ("withdrawn", "200.5", ["GW416"])],
)  # fmt: skip
def test_a_child_waits_for_its_parent_also_where_its_item_lacks_no_document(
    story: Story, ends: str, kilos: str, refused: list[str]
) -> None:
    """What is approved leaves when the whole parent is decided: until then the child is held."""
    story.submit(story.submission(reference("PARENT-1")))
    story.tick()
    parent = find(story, "PARENT-1").number
    story.decide("KPTA")
    story.submit(story.submission(child("CHILD-1", parent, (1, kilos, "40"))), attach=False)
    story.tick()
    assert find(story, "CHILD-1").state == "HELD"
    (missing,) = story.inbox.documents("Notice")[-1].iter("{*}Missing")
    assert dict(missing.attrib) == {"pointer": "42A/67A[1]/68A[1]/99A[1]/D018"}
    assert missing.text == f"'{parent}' is not decided: nothing leaves of it yet"
    if ends == "withdrawn":
        cancelling(story, KPTA="G03", KFDA="G03", NPQS="G03")
        change = all_of(reference("PARENT-1"), withdrawal)
        story.submit(story.submission(change), action="Withdraw", attach=False)
    else:
        story.clock.forward(minutes=1)
        code = DecisionCode.APPROVED if ends == "approved" else DecisionCode.REJECTED
        story.decide("KPTA", code, number="N2")
        story.decide_all("KPTA")
    for _ in range(3):
        story.tick(seconds=5)
    told = {"withdrawn": "REFUSED"}.get(ends, None if refused else "APPROVED")
    assert find(story, "CHILD-1").outcome == told
    story.tick(hours=49)
    assert find(story, "CHILD-1").state == ("REFUSED" if refused else "CLOSED")
    # Of a parent that has been decided, or is no more, it is not said that it was not decided in time.
    assert [one["id"] for one in find(story, "CHILD-1").detail.get("problems", ())] == refused


def test_a_refusal_tells_of_every_document_and_parent_that_was_waited_for(story: Story) -> None:
    story.submit(story.submission(reference("PARENT-1")))
    story.tick()
    part = child("CHILD-1", find(story, "PARENT-1").number, (2, "1", "1"))
    story.submit(story.submission(part), attach=False)
    story.tick()
    story.tick(hours=49)
    case = find(story, "CHILD-1")
    document, parent = case.detail["problems"]
    assert (document["id"], parent["id"]) == ("GW508", "GW416")
    assert "it was not filed by 2026-11-22" in document["text"]
    assert "it was not decided by 2026-11-22" in parent["text"]
    with read_transaction(story.house.engine) as conn:
        (refusal,) = [row for row in list_subject_leaves(conn, "case", case.id) if row.kind == "refused"]
    assert json.loads(refusal.data)["problems"] == "GW508; GW416"


def read_waiting(story: Story, name: str) -> tuple[str, str | None, str | None]:
    """Return what the list of cases and the custody of a held case say."""
    case = find(story, name)
    with read_transaction(story.house.engine) as conn:
        rows = [{"id": case.id, "state": case.state}]
        add_case_waiting(conn, rows, story.clock())
        (one,) = read_custody_times(conn, case, story.hub.timetable.read_timetable(conn), story.clock())
    return str(rows[0]["waits_for"]).split(",")[0], one["holder"], one["task"]


@pytest.mark.long
def test_what_a_held_child_waits_for_is_told(story: Story) -> None:
    assert read_waiting(story, "HELD-1") == ("applications that are missing", "applicant", "file")
    story.submit(story.submission(reference("PARENT-1")))
    story.tick()
    parent = find(story, "PARENT-1").number
    story.decide("KPTA")
    story.submit(story.submission(child("CHILD-1", parent, (1, "9999", "40"))), attach=False)
    story.tick()
    assert read_waiting(story, "CHILD-1") == ("the decision on its parent case", "hub", "parent")
    story.submit(story.submission(child("CHILD-2", parent, (2, "1", "1"))), attach=False)
    story.tick()
    assert read_waiting(story, "CHILD-2") == ("applications that are missing", "applicant", "file")
    story.decide_all("KPTA")
    story.tick()
    assert read_waiting(story, "CHILD-1") == ("its declarant to file it again", "applicant", "file_again")


@pytest.mark.parametrize("ends", ["withdrawn", "time is over"])
def test_children_end_with_a_parent_that_nothing_can_leave(story: Story, ends: str) -> None:
    """The parent is held itself; a child of the child ends with it, whatever documents it lacks."""
    parent = find(story).number
    story.submit(story.submission(child("CHILD-1", parent, (1, "1", "1"))), attach=False)
    story.tick(hours=1)
    below = child("CHILD-2", find(story, "CHILD-1").number, (1, "1", "1"))
    story.submit(story.submission(below), attach=False)
    story.tick()
    assert [find(story, one).state for one in ("CHILD-1", "CHILD-2")] == ["HELD", "HELD"]
    if ends == "withdrawn":
        change = all_of(reference("HELD-1"), withdrawal)
        story.submit(story.submission(change), action="Withdraw", attach=False)
        story.tick()
    else:
        story.tick(hours=47)
        story.tick(minutes=1)
    story.tick()
    for name in ("CHILD-1", "CHILD-2"):
        assert find(story, name).state == "REFUSED", name
        (problem,) = find(story, name).detail["problems"]
        assert problem["id"] == "GW416"
        assert "nothing leaves of it any more" in problem["text"]
        with read_transaction(story.house.engine) as conn:
            queued = [row for row in deliveries.list_by_case(conn, find(story, name).id)
                      if row.state not in ("DELIVERED", "CANCELLED")]  # fmt: skip
        assert not queued
    assert story.result().findtext("{*}Outcome") == "REFUSED"
    # The reference can be used again; what is filed now is told the same at once.
    story.submit(story.submission(child("CHILD-1", parent, (1, "1", "1"))), attach=False)
    story.tick()
    assert find(story, "CHILD-1").state == "REFUSED"
    assert [one["id"] for one in find(story, "CHILD-1").detail["problems"]] == ["GW416"]


@pytest.mark.long
def test_a_held_parent_that_is_decided_at_once_lets_its_child_go_on(story: Story) -> None:
    """All that it lacks is brought without an application: nobody is asked, so no notice decides it."""
    alone = all_of(using("PARENT-1", (3, NUMBER, "10", "KGM")), remove_item(1), remove_item(2))
    story.submit(story.submission(alone), attach=False)
    story.tick()
    part = child("CHILD-1", find(story, "PARENT-1").number, (3, "100", "100"))
    story.submit(story.submission(part), attach=False)
    story.tick()
    story.tick(minutes=5)
    assert [find(story, name).state for name in ("PARENT-1", "CHILD-1")] == ["HELD", "HELD"]
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.tick()
    for name in ("PARENT-1", "CHILD-1"):
        assert (find(story, name).state, find(story, name).outcome) == ("CLOSED", "APPROVED")


@pytest.mark.long
def test_an_admitted_case_that_waits_has_what_another_case_is_granted(story: Story) -> None:
    """It names a number that nobody knew: the ledger writes it off when a decision brings it."""
    more = all_of(reference("WAITS-1"), naming("P-9", "30"))
    for change in (more, reference("OTHER-1")):
        story.submit(story.submission(change))
    story.tick()
    number = next(
        call.text("ApplicationNumber")
        for call in reversed(story.soap.calls)
        if call.destination == "NPQS" and call.text("ApplicationNumber")
    )
    notice = story.notice("NPQS")
    granted = replace(notice.decisions[0], number="P-9", quantity=Decimal(100), unit="KGM")
    apply_call_back(story.hub, "NPQS", AgencyCallback(replace(notice, decisions=(granted,)), str(number)))
    story.tick()
    assert used_of(story, "P-9") == {"KGM": "30"}


@pytest.mark.long
def test_what_is_filed_meanwhile_counts_and_a_withdrawn_case_does_not_wake(story: Story) -> None:
    first = find(story).id
    again = all_of(HELD, supplement, without("Application[@id='A1']"))
    story.submit(story.submission(again), action="Supplement")
    story.tick()
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.tick()
    # The submission that was filed last lacks another document.
    assert (find(story).state, asked(story)) == ("HELD", set())
    story.submit(story.submission(all_of(reference("HELD-1"), withdrawal)), action="Withdraw", attach=False)
    story.tick()
    wake_held_case(story.hub, first, lambda conn: None)
    assert (find(story).state, asked(story)) == ("WITHDRAWN", set())


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["hold.looked", "admit.resumed"])
def test_wherever_a_process_dies_it_goes_on_once(story: Story, commit: str) -> None:
    for side in ("before_commit", "after_commit"):
        code = DecisionCode.REJECTED if commit == "hold.looked" else DecisionCode.APPROVED
        if find(story).state == "HELD":
            say(story, code, agency="NPQS", number=NUMBER, law="12", notice=side)
            die_at(story, f"{commit}.{side}", lambda hub: run_and_die(story, hub))
        story.tick(minutes=2)
        story.tick()
        if commit == "admit.resumed" and side == "before_commit":
            assert find(story).state == "IN_PROGRESS"
    assert find(story).state == ("HELD" if commit == "hold.looked" else "IN_PROGRESS")
    assert story.evidence("case", find(story).id).count("admitted") == (commit == "admit.resumed")
    calls = [one for one in story.soap.calls if one.operation == "SubmitApplication"]
    assert len({one.destination for one in calls} & set(AGENCIES)) == (2 if commit == "admit.resumed" else 0)


@pytest.mark.long
def test_what_keeps_it_from_going_on_is_told(story: Story) -> None:
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.tick()
    held = find(story).detail["held"]
    assert (find(story).state, [one["id"] for one in held["problems"]]) == ("HELD", ["GW205"])
    story.tick(hours=49)
    assert find(story).state == "REFUSED"
    assert [one["id"] for one in find(story).detail["problems"]] == ["GW508", "GW205"]
