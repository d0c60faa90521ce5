"""An amended declaration has items that it had not, and lacks items that it had."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.config import NeedSettings
from gateway.evidence import list_subject_leaves
from gateway.hub import apply_call_back
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.hub.submissions import admit
from gateway.store import agency_requests, cases, fees, read_transaction
from gateway.store.messages import messages
from tests.flows.craft import Change, all_of, attribute, because, reference, text, withdrawal
from tests.flows.item_changes import (
    add_item,
    amendment,
    concern,
    drop_application,
    new_application,
    remove_item,
)
from tests.flows.test_amendments import NAME, run_and_die
from tests.flows.test_fees import KRW, SECRET
from tests.flows.test_requirement_ledger import register, used_of, using
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import QUIET, Story, unreachable

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
WAFERS = (add_item(4, 2), concern("A2", 4, 2))
NO_BULBS = (remove_item(3), drop_application("A3"))


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine, agreement=QUIET)
    started.submit()
    started.tick()
    return started


def amend(story: Story, *changes: Change, **words: Any) -> None:
    story.submit(story.submission(amendment(*changes)), action="Amend", **words)
    story.tick()


def calls_of(story: Story, agency: str) -> list[str]:
    return [one.operation for one in story.soap.calls if one.destination == agency]


def decide(story: Story, agency: str, items: dict[int, DecisionCode], number: str) -> None:
    """Let an agency decide items of its application in one notice."""
    request = story.request(agency)
    law = [*request.required, *(request.removed or ())][0][1]
    said = tuple(Decision(item, law, code, f"{number}-{item}") for item, code in items.items())
    code = "R04" if REJECTED in items.values() else "R01"
    notice = Notice(f"{agency}-{number}", story.clock(), code, said)
    apply_call_back(story.hub, agency, AgencyCallback(notice, request.number))


def answer_cancellation(story: Story, agency: str, status: str) -> None:
    notice = Notice(f"{agency}-{status}", story.clock(), status, (), "heard")
    apply_call_back(story.hub, agency, AgencyCallback(notice, story.number_of(agency)))
    story.tick()


def amended(story: Story) -> list[dict[str, Any]]:
    """Return what the evidence says of the amendments of the case."""
    with read_transaction(story.house.engine) as conn:
        rows = list_subject_leaves(conn, "case", story.case().id)
    return [json.loads(row.data) for row in rows if row.kind == "amended"]


@pytest.mark.long
@BOTH
def test_an_added_item_goes_to_the_agency_that_it_concerns(story: Story) -> None:
    """The other agencies hear nothing, and what this one has decided stands."""
    story.decide_all("KFDA")
    decide(story, "KFDA", {2: REJECTED}, "N1")
    story.tick()
    assert story.outcome()[0] == "PARTIAL"
    amend(story, *WAFERS)
    assert calls_of(story, "KFDA") == ["SubmitApplication", "SubmitSupplement"]
    assert calls_of(story, "KPTA") == calls_of(story, "NPQS") == ["SubmitApplication"]
    assert (story.case().state, story.request("KFDA").state) == ("IN_PROGRESS", "ACKNOWLEDGED")
    assert story.customs_codes() == ["18", "19", "18"]
    (told,) = amended(story)
    assert (told["added"], told["removed"], told["new"]) == ([4], [], [])
    decide(story, "KFDA", {4: APPROVED}, "N2")
    story.tick()
    assert story.outcome() == ("PARTIAL", {1: "APPROVED", 2: "REJECTED", 3: "APPROVED", 4: "APPROVED"})
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_totals_follow_the_items_and_another_change_makes_decisions_lapse(story: Story) -> None:
    story.decide_all()
    story.tick()
    amend(
        story,
        *WAFERS,
        text(".//Declaration/TotalPackageQuantity", "70"),
        text(".//InvoiceAmount", "36796.00"),
    )
    assert story.request("KFDA").state == "ACKNOWLEDGED"
    decide(story, "KFDA", {4: APPROVED}, "N2")
    assert story.request("KFDA").state == "DECIDED"
    story.tick()
    amend(story, add_item(4, 2), concern("A2", 4, 2), NAME, text(".//InvoiceAmount", "36796.00"))
    assert story.request("KFDA").state == "ACKNOWLEDGED"
    decide(story, "KFDA", {4: APPROVED}, "N3")
    assert story.request("KFDA").state == "ACKNOWLEDGED"  # item 2 is open again


def test_an_item_of_which_the_unit_alone_changes_is_decided_again(story: Story) -> None:
    """The decision on it lapses, that on the other item of the application stands."""
    amend(story, *WAFERS)
    decide(story, "KFDA", {2: REJECTED}, "N1")
    decide(story, "KFDA", {4: APPROVED}, "N2")
    story.decide_all("KFDA")
    story.tick()
    unit = attribute(".//GovernmentAgencyGoodsItem[2]//NetNetWeightMeasure", "unitCode", "TNE")
    amend(story, *WAFERS, unit)
    assert story.request("KFDA").state == "ACKNOWLEDGED"
    decide(story, "KFDA", {2: APPROVED}, "N3")
    story.tick()
    assert story.request("KFDA").state == "DECIDED"
    assert story.outcome() == ("APPROVED", dict.fromkeys((1, 2, 3, 4), "APPROVED"))


@pytest.mark.long
def test_a_newly_concerned_agency_gets_an_application(engine: Engine) -> None:
    story = Story(engine, agreement=QUIET)
    story.hub.payments = PaymentPolicy(True, {"NPQS-PLA-IMP": Tariff(KRW, days=10)}, SECRET)
    story.submit(story.submission(all_of(*NO_BULBS)))
    story.tick()
    for agency in ("KPTA", "KFDA"):
        story.decide(agency)
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED"})
    amend(story)
    assert story.case().state == "IN_PROGRESS"
    assert calls_of(story, "KPTA") == calls_of(story, "KFDA") == ["SubmitApplication"]
    # Its fee is due before it is forwarded.
    assert (calls_of(story, "NPQS"), story.request("NPQS").state) == ([], "FEE_DUE")
    with read_transaction(story.house.engine) as conn:
        (fee,) = fees.list_by_request(conn, story.request("NPQS").id)
    assert fee.gate == "forwarding"
    assert story.customs_codes() == ["18", "19", "18"]


@pytest.mark.long
def test_a_new_application_is_the_first_that_its_agency_hears(story: Story) -> None:
    amend(story, add_item(4, 3, "Narcissus bulbs"), new_application("A4", 4, "A3"))
    assert calls_of(story, "NPQS") == ["SubmitApplication", "SubmitApplication"]
    first, second = (one for one in story.soap.calls if one.destination == "NPQS")
    assert b"<" in second.envelope
    assert first.text("ApplicationNumber") != second.text("ApplicationNumber")
    assert [one.text("FunctionCode") for one in (first, second)] == [first.text("FunctionCode")] * 2
    with read_transaction(story.house.engine) as conn:
        rows = agency_requests.list_by_case(conn, story.case().id)
    assert [(row.application, row.sequence) for row in rows] == [(f"A{n}", n) for n in (1, 2, 3, 4)]
    assert amended(story)[0]["new"] == [rows[-1].number]


@pytest.mark.long
@pytest.mark.parametrize("status", ["G03", "G04"])
def test_an_agency_whose_items_are_all_removed_is_asked_to_cancel(story: Story, status: str) -> None:
    story.decide("KPTA")
    story.decide("KFDA")
    amend(story, *NO_BULBS)
    assert calls_of(story, "NPQS") == ["SubmitApplication", "CancelApplication"]
    assert calls_of(story, "KPTA") == calls_of(story, "KFDA") == ["SubmitApplication"]
    assert story.case().state == "IN_PROGRESS"
    answer_cancellation(story, "NPQS", status)
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED"})
    assert story.result().findall("{*}Problem") == []
    # That its agency keeps it is told, and decides nothing about the case.
    found = [(one.get("id"), one.get("pointer")) for one in story.result().findall("{*}Warning")]
    kept = [one for one in found if one[0] == "GW409"]
    assert kept == ([("GW409", "APP[3]")] if status == "G04" else [])
    assert story.case().state == "CLOSED"
    (told,) = amended(story)
    assert (told["removed"], told["cancelled"]) == ([3], [story.number_of("NPQS")])


@pytest.mark.long
def test_an_agency_that_cancels_after_all_is_not_told_as_one_that_keeps(story: Story) -> None:
    """G03 counts whenever it comes: after a G04 there is one Result more, which has no warning."""
    story.decide("KPTA")
    story.decide("KFDA")
    amend(story, *NO_BULBS)
    told = []
    for status in ("G04", "G03"):
        answer_cancellation(story, "NPQS", status)
        story.tick(minutes=1)
        told.append([one.get("id") for one in story.result().findall("{*}Warning")].count("GW409"))
    assert told == [1, 0]
    assert (story.case().state, story.request("NPQS").state) == ("CLOSED", "CANCELLED")


@pytest.mark.long
def test_what_no_agency_has_heard_of_is_cancelled_at_once(engine: Engine) -> None:
    story = Story(engine, agreement=QUIET)
    story.submit()
    story.submit(story.submission(amendment(*NO_BULBS)), action="Amend")
    story.tick()
    request = story.request("NPQS")
    assert (request.state, request.cancellation, request.required) == ("CANCELLED", "UNTOLD", [])
    assert calls_of(story, "NPQS") == []


@pytest.mark.long
def test_while_an_agency_is_asked_about_removed_items_the_case_can_be_changed(story: Story) -> None:
    amend(story, *NO_BULBS)
    amend(story, *NO_BULBS, NAME)
    assert calls_of(story, "KFDA") == ["SubmitApplication", "SubmitSupplement"]
    assert calls_of(story, "NPQS") == ["SubmitApplication", "CancelApplication"]
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert calls_of(story, "NPQS").count("CancelApplication") == 1
    for agency in ("NPQS", "KPTA", "KFDA"):
        answer_cancellation(story, agency, "G03")
    assert story.case().state == "WITHDRAWN"


@pytest.mark.long
def test_a_withdrawal_may_repeat_the_submission_as_it_was_amended(story: Story) -> None:
    """The application that an amendment has left out is no part of the declaration any more."""
    amend(story, *NO_BULBS)
    again = all_of(*NO_BULBS, text("Function", "1"), lambda root: because(root, "82", "again"))
    story.submit(story.submission(all_of(again, drop_application("A2"))), action="Withdraw")
    story.tick()
    assert [problem for problem, _ in story.problems()] == ["GW404"]
    story.submit(story.submission(again), action="Withdraw")
    story.tick()
    assert calls_of(story, "KFDA")[-1] == "CancelApplication"


@pytest.mark.long
def test_a_withdrawal_waits_for_the_agency_of_a_removed_item_too(story: Story) -> None:
    """Nobody else is asked; until that agency has answered, the withdrawal is under way."""
    amend(story, *NO_BULBS)
    decide(story, "KPTA", {1: REJECTED}, "N1")
    decide(story, "KFDA", {2: REJECTED}, "N1")
    for refused in (False, True):
        story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
        story.tick()
        assert (story.case().state == "REFUSED") == refused
    amend(story, *NO_BULBS, NAME)
    assert story.problems() == [("GW407", "/Submission/Reference")]
    answer_cancellation(story, "NPQS", "G03")
    assert story.outcome()[0] == "WITHDRAWN"


@pytest.mark.long
def test_a_removed_item_decides_nothing_whatever_its_agency_says(story: Story) -> None:
    amend(story, *WAFERS)
    decide(story, "KFDA", {2: APPROVED}, "N1")
    story.say("KFDA", unreachable())
    amend(story)  # without item 4: what is left is decided
    assert story.request("KFDA").state == "DECIDED"
    decide(story, "KFDA", {4: REJECTED}, "N2")
    assert story.evidence("request", story.request("KFDA").id).count("notice") == 2
    story.tick(minutes=5)
    story.decide_all("KFDA")
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED", 3: "APPROVED"})
    assert story.customs_codes() == ["18", "19"]


def test_an_item_that_is_replaced_by_another_may_still_be_decided_by_an_agency_that_has_not_heard(
    story: Story,
) -> None:
    """One amendment takes item 2 out of an application and adds item 4; the agency is away meanwhile."""
    story.say("KFDA", unreachable())
    amend(story, *WAFERS, remove_item(2))
    required_items = {item for item, _ in story.request("KFDA").required}
    removed_items = {item for item, _ in story.request("KFDA").removed or ()}
    assert (required_items, removed_items) == ({4}, {2})
    decide(story, "KFDA", {2: REJECTED}, "N1")
    assert story.request("KFDA").state == "SENT", "a removed item decides nothing"
    decide(story, "KFDA", {4: APPROVED}, "N2")
    assert story.request("KFDA").state == "DECIDED"


def renumber(root: Any) -> None:
    """Let the bulbs, item 3, become item 4."""
    item = root.findall(".//{*}GovernmentAgencyGoodsItem")[2]
    item.find("{*}SequenceNumeric").text = "4"
    root.find("{*}Application[@id='A3']/{*}Items").text = "4"
    root.find("{*}Application[@id='A3']//{*}Item").set("sequence", "4")
    for one in root.findall("{*}Supplement/{*}Value[@item='3']"):
        one.set("item", "4")


REFUSED: dict[str, tuple[list[Change], tuple[str, str]]] = {
    "renumbered": ([renumber], ("GW420", "42A/67A[1]/68A[4]")),
    "used again": ([*WAFERS], ("GW419", "42A/67A[1]/68A[4]")),
    "below the last": ([add_item(4, 2), add_item(5, 2)], ("GW419", "42A/67A[1]/68A[4]")),
    "all removed": (
        [add_item(9, 2), concern("A2", 9, 2), *(remove_item(n) for n in (1, 2, 3)),
         drop_application("A1"), drop_application("A3")],
        ("GW404", "42A/67A[1]"),
    ),
    "missing application": ([drop_application("A3")], ("GW404", "/Submission/Application")),
    "left out": ([text("Application[@id='A3']/Items", "2")], ("GW404", "APP[3]/Items")),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("why", REFUSED)
def test_numbers_of_items_are_never_used_for_other_goods(story: Story, why: str) -> None:
    if why in ("used again", "below the last"):
        last = 4 if why == "used again" else 5
        amend(story, add_item(last, 2, "Rye wafers"), concern("A2", last, 2))
        amend(story)  # and it is removed again
    before = len(story.soap.calls)
    changes, problem = REFUSED[why]
    amend(story, *changes)
    assert story.problems() == [problem]
    assert len(story.soap.calls) == before


@pytest.mark.long
def test_of_two_amendments_at_once_the_second_is_judged_after_the_first(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both add an application for item 4 under the same id: the second amends what the first has added."""
    bulbs = (add_item(4, 3, "Narcissus bulbs"), new_application("A4", 4, "A3"))
    for _ in range(2):
        story.submit(story.submission(amendment(*bulbs)), action="Amend")
    with read_transaction(story.house.engine) as conn:
        first, second = (row.id for row in conn.execute(select(messages).order_by(messages.c.id)).all()[-2:])
    compose = admit.compose_amendment
    composed: list[int] = []

    def compose_late(*about: Any) -> Any:
        composed.append(1)
        if len(composed) == 1:
            admit.admit_submission(story.hub, first, lambda conn: None)
        return compose(*about)

    monkeypatch.setattr(admit, "compose_amendment", compose_late)
    admit.admit_submission(story.hub, second, lambda conn: None)
    story.tick()
    assert calls_of(story, "NPQS") == ["SubmitApplication"] * 2
    assert len(amended(story)) == 2


@pytest.mark.long
def test_the_ledger_follows_the_items(engine: Engine) -> None:
    """What a removed item used is given back, what an added one uses is written off, or nothing happens."""
    story = Story(engine, customs=False)
    register(story, "C-1", "100", "KGM")
    story.submit(
        story.submission(using("D1", (1, "C-1", "60", "KGM"), (2, "C-1", "30", "KGM"))), attach=False
    )
    story.tick()
    assert used_of(story, "C-1") == {"KGM": "90"}
    case = story.case().id

    def file(*changes: Change) -> None:
        amend(story, using("D1", (1, "C-1", "60", "KGM"), (2, "C-1", "30", "KGM")), *changes, attach=False)

    file(add_item(4, 1, "Syringes"))
    assert [one[0] for one in story.problems()] == ["GW411"]
    assert used_of(story, "C-1") == {"KGM": "90"}
    file(remove_item(1), add_item(4, 2, "Syringes"))
    assert used_of(story, "C-1") == {"KGM": "60"}
    file(remove_item(1))
    assert used_of(story, "C-1") == {"KGM": "30"}
    with read_transaction(story.house.engine) as conn:
        detail = cases.find_by_id(conn, case).detail  # type: ignore[union-attr]
    assert detail["item_numbers"] == {"last": 4, "removed": [1, 4]}


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_items_are_added_and_removed_once(engine: Engine, side: str) -> None:
    story = Story(engine, agreement=QUIET)
    name = reference("ITEMS-1")
    story.submit(story.submission(name))
    story.tick()
    bulbs = (add_item(4, 3, "Narcissus bulbs"), new_application("A4", 4, "A3"))
    change = amendment(name, *bulbs, remove_item(2), drop_application("A2"))
    story.submit(story.submission(change), action="Amend", attach=False)
    die_at(story, f"admit.amendment.{side}", lambda hub: run_and_die(story, hub))
    story.tick(minutes=2)
    assert calls_of(story, "NPQS") == ["SubmitApplication"] * 2
    assert calls_of(story, "KFDA") == ["SubmitApplication", "CancelApplication"]
    assert calls_of(story, "KPTA") == ["SubmitApplication"]
    assert len(amended(story)) == 1
    assert story.case().detail["items"] == [1, 3, 4]


@pytest.mark.long
def test_an_application_that_its_agency_had_cancelled_goes_with_its_items(story: Story) -> None:
    """It is named in the Result as long as the declaration has its items, and no longer."""
    answer_cancellation(story, "NPQS", "G01")
    story.decide_all("NPQS")
    story.tick()
    assert story.outcome()[0] == "PARTIAL"
    assert [one.get("id") for one in story.result().findall("{*}Problem")] == ["GW410"]
    amend(story, *NO_BULBS)
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED"})
    assert story.result().findall("{*}Problem") == []
    assert calls_of(story, "NPQS") == ["SubmitApplication"]


@pytest.mark.long
def test_the_rules_of_need_are_asked_for_the_new_items(story: Story) -> None:
    story.hub.need_policy = NeedSettings(imports="refuse")
    amend(story, add_item(4, 3, "Narcissus bulbs"))
    assert story.problems() == [("GW508", "42A/67A[1]/68A[4]")]
    story.hub.need_policy = NeedSettings(imports="hold")
    amend(story, add_item(4, 3, "Narcissus bulbs"))
    assert story.problems() == [("GW508", "42A/67A[1]/68A[4]")]
    assert calls_of(story, "NPQS") == ["SubmitApplication"]
    amend(story, add_item(4, 3, "Narcissus bulbs"), concern("A3", 4, 3))
    assert calls_of(story, "NPQS") == ["SubmitApplication", "SubmitSupplement"]
