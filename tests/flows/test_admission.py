"""What becomes of a submission that is as it should be."""

from __future__ import annotations

import base64

import pytest
from sqlalchemy import Engine

from gateway.hub import admit_submission
from gateway.message_model import Payload
from gateway.state_machines import CASE, MESSAGE, REQUEST
from gateway.store import messages, read_transaction
from gateway.wire import serialize_element
from tests.flows.craft import text, with_agent, without_applications
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import signer_named
from tests.kit.story import AGENCIES, AGREEMENT, LABEL, QUIET, Story


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@BOTH_AT_LANDING
def test_the_sample_goes_to_three_agencies_and_to_customs(story: Story) -> None:
    sent = story.submit()
    story.tick()
    told = [(call.destination, call.operation) for call in story.soap.calls]
    assert sorted(one for one in told if one[0] != "customs") == sorted(
        (name, "SubmitApplication") for name in AGENCIES
    )
    customs = [operation for destination, operation in told if destination == "customs"]
    assert customs == ["RegisterDeclaration", "ReportRequirements"]
    case = story.case()
    assert (case.state, case.declarant, case.applicant) == ("IN_PROGRESS", "broker1", "broker1")
    assert case.functional_reference == "HB2026-000123"
    assert {call.text("CaseNumber") for call in story.soap.calls} == {case.number}
    with read_transaction(story.house.engine) as conn:
        row = messages.find_by_message_id(conn, "in", "broker1", sent.message_id)
    assert row is not None
    assert (row.state, row.case_id) == ("PROCESSED", case.id)
    assert story.steps(MESSAGE, row.id) == [("accept", "ACCEPTED"), ("process", "PROCESSED")]
    assert story.evidence("message", row.id) == ["NRO"]
    assert story.evidence("case", case.id) == ["admitted"]


def test_each_agency_gets_its_own_number_and_its_own_attachments(story: Story) -> None:
    story.submit()
    story.tick()
    numbers = {story.number_of(name) for name in AGENCIES}
    assert len(numbers) == 3
    assert {len(number) for number in numbers} == {13}
    for name in AGENCIES:
        call = next(call for call in story.soap.calls if call.destination == name)
        attached = call.body.findall("{*}Attachment")
        assert len(attached) == (1 if name == "KFDA" else 0)
        assert call.body.find("{*}Document")[0].tag.startswith("{urn:single-window:document:")  # type: ignore[index]
    request = story.request("KFDA")
    assert (request.state, request.document, request.application) == ("ACKNOWLEDGED", "KFDA-FOOD-IMP", "A2")
    assert story.steps(REQUEST, request.id) == [("send", "SENT"), ("acknowledge", "ACKNOWLEDGED")]


def test_an_agency_hears_the_media_type_that_was_signed(story: Story) -> None:
    # What MIME calls a part, anybody on the way can change: the signature covers its content.
    renamed = Payload("korean-label@sample", "text/html", LABEL)
    first = story.broker.message("Submit", serialize_element(story.submission())).payloads[0]
    story.submit(attach=False, payloads=(first, renamed))
    story.tick()
    call = next(call for call in story.soap.calls if call.destination == "KFDA")
    (attached,) = call.body.findall("{*}Attachment")
    assert attached.get("mediaType") == "application/pdf"


def test_three_approvals_close_the_case(story: Story) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    case = story.case()
    assert (case.state, case.outcome) == ("CLOSED", "APPROVED")
    assert story.outcome() == ("APPROVED", dict.fromkeys((1, 2, 3), "APPROVED"))
    assert story.customs_codes() == ["18", "19"]
    assert story.steps(CASE, case.id) == [
        ("dispatch", "IN_PROGRESS"),
        ("decision", "IN_PROGRESS"),
        ("decision", "IN_PROGRESS"),
        ("last_decision", "DECIDED"),
        ("relayed", "CLOSED"),
    ]
    # The second look for the certificates that it names does not keep the case open. One writer needs none.
    looks = [] if story.house.engine.dialect.name == "sqlite" else ["look"]
    assert [row.subject_type for row in story.deliveries(state="QUEUED")] == looks
    story.clock.forward(minutes=1)
    story.tick()
    assert {row.state for row in story.deliveries()} == {"DELIVERED"}


def test_a_declaration_alone_concerns_customs_alone(story: Story) -> None:
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    assert [(call.destination, call.operation) for call in story.soap.calls] == [
        ("customs", "RegisterDeclaration")
    ]
    assert story.outcome() == ("APPROVED", {})
    case = story.case()
    assert (case.state, case.outcome) == ("CLOSED", "APPROVED")
    assert story.customs_codes() == []
    assert story.steps(CASE, case.id) == [("none_concerned", "DECIDED"), ("relayed", "CLOSED")]


def test_without_an_address_of_customs_nothing_is_queued_for_it(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    assert story.deliveries(destination="customs") == []
    assert story.case().state == "CLOSED"


@pytest.mark.long
@pytest.mark.parametrize("notices", [True, False])
def test_notices_are_told_where_that_is_agreed(engine: Engine, notices: bool) -> None:
    story = Story(engine, agreement=AGREEMENT if notices else QUIET)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    assert len(story.inbox.documents("Notice")) == (3 if notices else 0)
    assert story.case().state == "CLOSED"


def test_a_late_notice_after_the_result_still_lets_the_case_close(engine: Engine) -> None:
    """The notice is told to nobody, so no receipt of the applicant closes the case."""
    story = Story(engine, agreement=QUIET, customs=False)
    story.submit()
    story.tick()
    story.decide_all()
    real = story.agents["local"]

    class LastOfAll:
        """Lets the conclusion and its result go first."""

        def attempt_delivery(self, lease: object) -> None:
            if lease.parameters["task"] == "notify" and not story.inbox.got:  # type: ignore[attr-defined]
                raise RuntimeError("not yet")
            real.attempt_delivery(lease)

        get_retry_plan = staticmethod(real.get_retry_plan)
        record_failure = staticmethod(real.record_failure)

    story.agents["local"] = LastOfAll()
    story.tick()
    assert story.case().state == "DECIDED"
    story.tick(seconds=15)
    assert story.case().state == "CLOSED"


def test_an_agent_files_for_its_principal(story: Story) -> None:
    story.register("agent1", "AG-77")
    story.mandate("agent1", "broker1")
    story.submit(story.submission(with_agent("AG-77"), signer_named("agent1")))
    story.tick()
    case = story.case()
    assert (case.state, case.declarant, case.agent) == ("IN_PROGRESS", "broker1", "AG-77")


def test_a_sender_with_a_mandate_may_bring_what_another_signed(story: Story) -> None:
    story.register("importer", "IMP-1")
    story.mandate("broker1", "importer")
    story.submit(story.submission(text(".//Declarant/ID", "IMP-1"), signer_named("importer")))
    story.tick()
    case = story.case()
    assert (case.state, case.declarant, case.applicant) == ("IN_PROGRESS", "importer", "broker1")


def test_the_attachment_arrives_as_it_was_sent(story: Story) -> None:
    story.submit()
    story.tick()
    call = next(call for call in story.soap.calls if call.destination == "KFDA")
    assert base64.b64decode(call.text("Attachment") or "") == LABEL


def test_a_task_done_twice_changes_nothing(story: Story) -> None:
    """A worker that dies after the commit leaves a lease that another one takes over."""
    story.submit()
    story.tick()
    before = len(story.deliveries())
    admit_submission(story.hub, 1, lambda conn: None)
    assert len(story.deliveries()) == before
