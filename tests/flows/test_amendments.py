"""A declarant amends: the agencies whose requests change get them again, the others hear nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select

from gateway.cases import DecisionCode, Notice
from gateway.delivery.agents import LocalAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.hub import Hub
from gateway.hub.completion import operator_actions
from gateway.hub.submissions import admit
from gateway.state_machines import CASE, REQUEST
from gateway.store import exact_searches, read_transaction
from gateway.store.messages import messages
from gateway.store.transitions import list_transitions
from gateway.wire import WCO_DEC
from tests.flows.craft import Change, all_of, because, reference, text, withdrawal, without
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import AGENCIES, PLAN, QUIET, Call, Story, unreachable

NAME = text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g")


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    return started


def amendment(*changes: Change) -> Change:
    return all_of(text("Function", "13"), lambda root: because(root, "17", "A name was wrong."), *changes)


def amend(story: Story, *changes: Change) -> None:
    story.submit(story.submission(amendment(*changes)), action="Amend")
    story.tick()


def heard(story: Story) -> list[str]:
    """Return which agencies were sent their application again."""
    return sorted(one.destination for one in story.soap.calls if one.operation == "SubmitSupplement")


def told_customs(story: Story) -> list[str]:
    return [one.operation for one in story.soap.calls if one.destination == "customs"]


@pytest.mark.story("a trader amends a declaration, and only the agencies concerned hear of it")
@BOTH
def test_only_the_agency_whose_request_changes_hears_of_it(story: Story) -> None:
    story.tick()
    number = story.number_of("KFDA")
    amend(story, NAME)
    assert heard(story) == ["KFDA"]
    call = story.soap.calls[[one.operation for one in story.soap.calls].index("SubmitSupplement")]
    assert call.text("ApplicationNumber") == number
    assert "카라멜 와플 320 g" in call.envelope.decode()
    assert told_customs(story) == ["RegisterDeclaration", "ReportRequirements", "AmendDeclaration"]
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert story.evidence("case", story.case().id).count("amended") == 1


def test_a_common_value_changes_the_request_of_each_who_reads_it(story: Story) -> None:
    story.tick()
    amend(story, text(".//Declarant/Name", "한빛관세사무소"))
    assert heard(story) == ["KFDA", "NPQS"]


def test_an_amendment_that_changes_no_request_is_for_customs_alone(story: Story) -> None:
    """The case was decided: its result is told again, and no agency is asked."""
    story.tick()
    story.decide_all()
    story.tick()
    amend(story)
    assert heard(story) == []
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["APPROVED"] * 2
    assert told_customs(story)[2:] == ["ReportRequirements", "AmendDeclaration", "ReportRequirements"]
    assert story.customs_codes() == ["18", "19", "19"]
    assert story.case().state == "CLOSED"


def test_what_was_decided_about_a_changed_application_does_not_count(story: Story) -> None:
    story.tick()
    story.decide_all("KFDA")
    story.decide("KFDA", DecisionCode.REJECTED)
    story.tick()
    assert story.outcome()[0] == "PARTIAL"
    amend(story, NAME)
    assert heard(story) == ["KFDA"]
    assert (story.case().state, story.case().outcome) == ("IN_PROGRESS", None)
    request = story.request("KFDA")
    assert request.state in ("SENT", "ACKNOWLEDGED")
    assert (request.decided_by, request.decided_at) == (None, None)
    assert {story.request(one).state for one in ("KPTA", "NPQS")} == {"DECIDED"}
    assert story.customs_codes() == ["18", "19", "18"]
    story.decide("KFDA", number="N2")
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED", 3: "APPROVED"})
    assert story.customs_codes() == ["18", "19", "18", "19"]
    assert [one for one, _ in story.steps(CASE, story.case().id)][-3:] == [
        "amend",
        "last_decision",
        "relayed",
    ]


def test_a_second_amendment_is_compared_with_the_first(story: Story) -> None:
    story.tick()
    amend(story, NAME)
    amend(story, NAME)
    assert heard(story) == ["KFDA"]
    amend(story)
    assert heard(story) == ["KFDA", "KFDA"]


def test_an_amendment_is_compared_with_one_admitted_meanwhile(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agency keeps what was admitted last, also of two amendments that were composed at once."""
    story.tick()
    for changes in ((NAME,), ()):
        story.submit(story.submission(amendment(*changes)), action="Amend")
    with read_transaction(story.house.engine) as conn:
        first, second = (row.id for row in conn.execute(select(messages).order_by(messages.c.id)).all()[-2:])
    compose = admit.compose_amendment
    composed: list[int] = []

    def compose_late(*about: Any) -> Any:
        made = compose(*about)
        composed.append(1)
        if len(composed) == 1:
            admit.admit_submission(story.hub, first, lambda conn: None)
        return made

    monkeypatch.setattr(admit, "compose_amendment", compose_late)
    admit.admit_submission(story.hub, second, lambda conn: None)
    story.tick()
    sent = [one for one in story.soap.calls if one.operation == "SubmitSupplement"]
    assert ["카라멜 와플 320 g" in one.envelope.decode() for one in sent] == [True, False]
    assert story.evidence("case", story.case().id).count("amended") == 2


def test_what_was_admitted_last_is_in_force_whichever_arrived_first(story: Story) -> None:
    """Of two amendments the one that arrived first is admitted last: the third is compared with that."""
    story.tick()
    for changes in ((DECLARANT,), ()):
        story.submit(story.submission(amendment(*changes)), action="Amend")
    with read_transaction(story.house.engine) as conn:
        first, second = (row.id for row in conn.execute(select(messages).order_by(messages.c.id)).all()[-2:])
    for message in (second, first):
        admit.admit_submission(story.hub, message, lambda conn: None)
    amend(story, DECLARANT, naming(*DECLARANT_NAME))
    assert warned(story) == [("GW418", "42A/06A[1]/97A[1]")]
    amend(story, naming(*DECLARANT_NAME))
    assert warned(story) == []


def test_a_decision_before_the_agency_has_the_amended_application_does_not_count(story: Story) -> None:
    story.tick()
    story.decide_all("KFDA")
    story.say("KFDA", unreachable())
    amend(story, NAME)
    story.decide("KFDA", number="OLD")
    story.tick()
    assert (story.case().state, story.request("KFDA").state) == ("IN_PROGRESS", "SENT")
    assert story.evidence("request", story.request("KFDA").id).count("notice") == 1
    assert not story.inbox.documents("Result")
    story.tick(minutes=5)
    assert heard(story) == ["KFDA", "KFDA"]
    assert story.case().state == "IN_PROGRESS"
    story.decide("KFDA", number="NEW")
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED", 3: "APPROVED"})


def submitted(story: Story, agency: str) -> list[str]:
    """Return the calls about an agency's application, in their order."""
    return [one.operation for one in story.soap.calls if one.destination == agency]


def test_an_application_that_was_refused_for_good_is_submitted_anew(engine: Engine) -> None:
    """Its agency has nothing to amend: it gets the amended application as a first one, until it takes it."""
    story = Story(engine)
    story.say("KFDA", *[GatewayError(REFUSED_FOR_GOOD, "name unknown")] * 2)
    story.submit()
    story.tick()
    amend(story)
    assert submitted(story, "KFDA") == ["SubmitApplication"]  # what it refused is not repeated
    amend(story, NAME)
    assert submitted(story, "KFDA") == ["SubmitApplication"] * 2
    assert story.request("KFDA").state == "STRANDED"
    amend(story, text("Application[@id='A2']/Fields/Item/ProductNameKo", "초코 와플"))
    assert submitted(story, "KFDA") == ["SubmitApplication"] * 3
    last = [one for one in story.soap.calls if one.destination == "KFDA"][-1]
    assert "초코 와플" in last.envelope.decode()
    assert last.text("ApplicationNumber") == story.number_of("KFDA")
    assert story.request("KFDA").state == "ACKNOWLEDGED"
    assert {one.state for one in story.deliveries(destination="KFDA")} == {"CANCELLED", "DELIVERED"}
    story.decide_all()
    story.tick()
    assert (story.outcome()[0], story.case().state) == ("APPROVED", "CLOSED")


def test_what_an_agency_refused_twice_is_nowhere_when_it_is_withdrawn(engine: Engine) -> None:
    story = Story(engine)
    story.say("KFDA", *[GatewayError(REFUSED_FOR_GOOD, "name unknown")] * 2)
    story.submit()
    story.tick()
    amend(story, NAME)
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert story.request("KFDA").cancellation == "UNTOLD"
    assert "CancelApplication" not in submitted(story, "KFDA")


def test_an_amendment_behind_a_failed_call_waits_as_stranded_and_goes_on_when_that_is_requeued(
    engine: Engine,
) -> None:
    story = Story(engine)
    story.say("KFDA", *[unreachable()] * 4)
    story.submit()
    for _ in range(8):
        story.tick(minutes=10)
    assert story.request("KFDA").state == "STRANDED"
    amend(story, NAME)
    assert story.request("KFDA").state == "STRANDED"  # nothing is under way
    failed = story.delivery(destination="KFDA", state="FAILED")
    with read_transaction(story.house.engine) as conn:
        last = list_transitions(conn, REQUEST, story.request("KFDA").id)[-1]
    assert last.detail == f"waits for delivery {failed.id}, which has failed"
    story.operate(operator_actions.requeue_delivery, failed.id)
    story.tick(minutes=10)
    assert submitted(story, "KFDA") == ["SubmitApplication"] * 5 + ["SubmitSupplement"]
    assert story.request("KFDA").state == "ACKNOWLEDGED"


def test_a_later_amendment_replaces_one_that_failed(story: Story) -> None:
    """An operator cannot send the older one behind it, and what is decided about the newer one counts."""
    story.tick()
    story.say("KFDA", *[unreachable()] * 4)
    amend(story, NAME)
    for _ in range(8):
        story.tick(minutes=10)
    assert story.request("KFDA").state == "STRANDED"
    failed = story.delivery(destination="KFDA", state="FAILED")
    amend(story, text("Application[@id='A2']/Fields/Item/ProductNameKo", "초코 와플"))
    assert {one.state for one in story.deliveries(destination="KFDA")} == {"CANCELLED", "DELIVERED"}
    with pytest.raises(GatewayError, match="CANCELLED"):
        story.operate(operator_actions.requeue_delivery, failed.id)
    story.decide_all()
    story.tick()
    assert (story.outcome()[0], story.case().state) == ("APPROVED", "CLOSED")


def test_a_correction_counts_when_the_answer_to_the_amended_call_was_lost(story: Story) -> None:
    """The agency decided while it was called, so that it has what was amended; only our retry is left."""
    story.tick()
    story.decide_all("KFDA")

    def decide_and_fall_silent(call: Call) -> Any:
        story.decide("KFDA", number="N1")
        raise unreachable("connection reset")

    story.say("KFDA", decide_and_fall_silent)
    amend(story, NAME)
    assert story.outcome()[0] == "APPROVED"
    story.decide("KFDA", DecisionCode.REJECTED, number="N2")
    story.tick(minutes=5)
    assert story.outcome() == ("PARTIAL", {1: "APPROVED", 2: "REJECTED", 3: "APPROVED"})
    assert story.case().state == "CLOSED"


@BOTH
def test_an_amendment_ends_a_withdrawal_that_was_refused(story: Story) -> None:
    """What is rejected afterwards is rejected, and not withdrawn."""
    story.tick()
    for agency in AGENCIES:
        story.say(agency, Notice(f"{agency}-C1", story.clock(), "G04", (), "heard"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    amend(story, NAME)
    for agency in AGENCIES:
        story.decide(agency, DecisionCode.REJECTED)
    story.tick()
    assert story.outcome()[0] == "REJECTED"
    assert story.result().find("{*}Problem") is None
    assert "WithdrawDeclaration" not in told_customs(story)
    assert story.case().state == "CLOSED"


def naming(*chain: tuple[str, str, str]) -> Change:
    """Let the amendment name a place: class, number and tag of each step; an empty one is left out."""

    def change(root: etree._Element) -> None:
        one = root.find(".//{*}Amendment")
        assert one is not None
        for section, number, tag in chain:
            step = etree.SubElement(one, f"{{{WCO_DEC}}}Pointer")
            for name, value in (
                ("SequenceNumeric", number),
                ("DocumentSectionCode", section),
                ("TagID", tag),
            ):
                if value:
                    etree.SubElement(step, f"{{{WCO_DEC}}}{name}").text = value

    return change


DECLARANT = text(".//Declarant/Name", "한빛관세사무소")
DECLARANT_NAME = (("42A", "", ""), ("57B", "1", ""), ("", "", "R124"))
PLACE = "42A/57B[1]/R124"


def warned(story: Story) -> list[tuple[str, str]]:
    found = (story.case().detail or {}).get("warnings", ())
    return [(one["id"], one["pointer"]) for one in found if one["id"] in ("GW417", "GW418")]


def test_pointers_of_an_amendment_are_compared_with_what_it_changes(story: Story) -> None:
    """Each amendment is compared with the one before it; without a pointer nothing is said."""
    story.tick()
    amend(story, DECLARANT)
    assert warned(story) == []
    amend(story, naming(*DECLARANT_NAME))  # the name is again what it was first
    assert warned(story) == []
    amend(story, naming(*DECLARANT_NAME))
    assert warned(story) == [("GW418", "42A/06A[1]/97A[1]")]
    amend(story, DECLARANT, naming(("42A", "", ""), ("67A", "1", "")))
    assert warned(story) == [("GW417", PLACE), ("GW418", "42A/06A[1]/97A[1]")]
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"


def sequence(root: etree._Element) -> None:
    item = root.findall(".//{*}GovernmentAgencyGoodsItem")[2]
    item.find("{*}SequenceNumeric").text = "4"  # type: ignore[union-attr]
    root.find("{*}Application[@id='A3']/{*}Items").text = "4"  # type: ignore[union-attr]
    root.find("{*}Application[@id='A3']//{*}Item").set("sequence", "4")  # type: ignore[union-attr]
    for one in root.findall("{*}Supplement/{*}Value[@item='3']"):
        one.set("item", "4")


def exchange_ids(root: etree._Element) -> None:
    for name, other in (("A2", "-"), ("A3", "A2"), ("-", "A3")):
        root.find(f"{{*}}Application[@id='{name}']").set("id", other)  # type: ignore[union-attr]


REFUSED: dict[str, tuple[list[Change], tuple[str, str]]] = {
    "no reason": ([without(".//Amendment")], ("GW404", "42A/06A[1]/099")),
    "unknown reference": ([reference("X-1")], ("GW407", "/Submission/Reference")),
    "renumbered": ([sequence], ("GW420", "42A/67A[1]/68A[4]")),
    "left out": ([without("Application[@id='A3']")], ("GW404", "/Submission/Application")),
    "another document": ([exchange_ids], ("GW407", "APP[2]")),
    "withdrawn": ([], ("GW407", "/Submission/Reference")),
}


@pytest.mark.refusal("a trader amends what cannot be amended")
@pytest.mark.parametrize("why", REFUSED)
def test_an_amendment_that_cannot_be_is_refused(story: Story, why: str) -> None:
    story.tick()
    if why == "withdrawn":
        story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
        story.tick()
    changes, problem = REFUSED[why]
    amend(story, *changes)
    assert story.problems() == [problem]
    assert heard(story) == []


def run_and_die(story: Story, hub: Hub) -> None:
    hub.composer = story.hub.composer
    agents: dict[str, Any] = {"local": LocalAgent(hub, PLAN)}
    pace = WorkerSettings(
        threads=1, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    while worker.run_once():
        pass


@BOTH
def test_wherever_a_process_dies_a_case_is_amended_once(engine: Engine) -> None:
    story = Story(engine, agreement=QUIET)
    for number, side in enumerate(("before_commit", "after_commit")):
        name = reference(f"AMENDED-{number}")
        story.submit(story.submission(name))
        story.tick()
        story.submit(story.submission(amendment(name, NAME)), action="Amend")
        die_at(story, f"admit.amendment.{side}", lambda hub: run_and_die(story, hub))
        story.tick(minutes=2)
        assert heard(story) == ["KFDA"] * (number + 1)
        assert story.evidence("case", story.case().id).count("amended") == 1


def test_an_amended_case_is_found_by_its_former_and_its_new_references(story: Story) -> None:
    story.tick()
    amend(story, text(".//TransportEquipment/ID", "MSKU1234565"))
    with read_transaction(story.hub.engine) as conn:
        for value in ("AKE26714KE", "MSKU1234565", "HB-PO-2026-311"):
            (case,) = exact_searches.find_cases(conn, value)
            assert case.number == story.case().number
