"""Partners that refuse, are silent or talk garbage: what is tried again, as what, and who is told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment
from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, REFUSED_FOR_GOOD, GatewayError
from gateway.hub.completion import operator_actions
from gateway.process_log import format_text
from gateway.state_machines import DELIVERY, REQUEST
from gateway.store import delivery_leases, read_transaction, write_transaction
from tests.flows.craft import reference, supplement
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.story import AGENCIES, Story, asked, content_of, unreachable

REFUSED = GatewayError(REFUSED_FOR_GOOD, "fault soap:Client: no such document")
PASSING = {
    "silence": unreachable("no answer within 30 s"),
    "fault of the server": GatewayError(
        PARTNER_FAULT, "it answered with a fault", theirs="fault soap:Server: try later"
    ),
    "garbage": GatewayError(ANSWER_NOT_UNDERSTOOD, "not XML"),
}


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def calls(story: Story, agency: str) -> list[tuple[str, str]]:
    """Return MessageID and Body of each call to an agency."""
    made = [call for call in story.soap.calls if call.destination == agency]
    return [
        (re.findall(rb"MessageID[^>]*>([^<]+)<", call.envelope)[0].decode(), content_of(call))
        for call in made
    ]


def try_all(story: Story) -> None:
    """Let so much time go by that every try is used up."""
    for _ in range(6):
        story.tick(minutes=10)


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("problem", PASSING.values(), ids=list(PASSING))
def test_what_may_pass_is_tried_again_with_the_same_words(story: Story, problem: GatewayError) -> None:
    story.say("KFDA", problem, problem)
    story.submit()
    story.tick()
    (delivery,) = story.deliveries(destination="KFDA")
    assert (delivery.state, delivery.problem) == ("QUEUED", problem.problem.id)
    assert story.request("KFDA").state == "PREPARED"
    story.tick(seconds=15)
    assert len(calls(story, "KFDA")) == 2
    story.tick(seconds=15)
    assert len(calls(story, "KFDA")) == 2
    story.tick(seconds=15)
    assert len(calls(story, "KFDA")) == 3
    assert len(set(calls(story, "KFDA"))) == 1
    assert story.request("KFDA").state == "ACKNOWLEDGED"


@pytest.mark.long
@pytest.mark.parametrize("problem", PASSING.values(), ids=list(PASSING))
def test_when_every_try_is_used_up_the_request_is_stranded(story: Story, problem: GatewayError) -> None:
    story.say("KFDA", *[problem] * 9)
    story.submit()
    try_all(story)
    assert len(calls(story, "KFDA")) == 4
    request, delivery = story.request("KFDA"), story.deliveries(destination="KFDA")[0]
    assert (request.state, delivery.state, delivery.problem) == ("STRANDED", "FAILED", "GW604")
    assert story.evidence("delivery", delivery.id) == ["undeliverable"]
    assert story.steps(REQUEST, request.id) == [("undeliverable", "STRANDED")]
    assert [event for event, _ in story.steps(DELIVERY, delivery.id)] == ["lease", "defer"] * 3 + [
        "lease",
        "refuse",
    ]
    with read_transaction(story.house.engine) as conn:
        tried = delivery_leases.list_attempts(conn, delivery.id)
    assert [(one.outcome, one.problem) for one in tried] == [("defer", problem.problem.id)] * 3 + [
        ("refuse", "GW604")
    ]
    assert {story.request(one).state for one in AGENCIES if one != "KFDA"} == {"ACKNOWLEDGED"}


def test_what_is_refused_for_good_is_not_tried_again(story: Story) -> None:
    story.say("KFDA", REFUSED)
    story.submit()
    try_all(story)
    assert len(calls(story, "KFDA")) == 1
    assert (story.request("KFDA").state, story.deliveries(destination="KFDA")[0].problem) == (
        "STRANDED",
        "GW602",
    )


@pytest.mark.long
def test_an_operator_sends_a_stranded_request_again(story: Story) -> None:
    story.say("KFDA", REFUSED)
    story.submit()
    story.tick()
    delivery = story.deliveries(destination="KFDA")[0]
    story.operate(operator_actions.requeue_delivery, delivery.id)
    assert story.request("KFDA").state == "SENT"
    story.tick()
    assert len(set(calls(story, "KFDA"))) == 1
    assert len(calls(story, "KFDA")) == 2
    request = story.request("KFDA")
    assert (request.state, request.receipt_number is not None) == ("ACKNOWLEDGED", True)
    assert story.steps(REQUEST, request.id) == [
        ("undeliverable", "STRANDED"),
        ("resend", "SENT"),
        ("send", "SENT"),
        ("acknowledge", "ACKNOWLEDGED"),
    ]
    assert story.evidence("delivery", delivery.id) == ["undeliverable", "operator"]
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_a_stranded_request_may_still_be_decided(story: Story) -> None:
    """The agency had it all along; only its answers were lost."""
    story.say("KFDA", *[PASSING["silence"]] * 9)
    story.submit()
    try_all(story)
    story.decide_all()
    assert (story.request("KFDA").state, story.case().state) == ("DECIDED", "DECIDED")
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert story.deliveries(destination="KFDA")[0].state == "FAILED"
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_a_call_that_fails_after_the_decision_lets_the_case_close(story: Story) -> None:
    def decides_and_breaks(_: object) -> None:
        if story.request("KFDA").state == "PREPARED":
            story.hear("KFDA", story.notice("KFDA"))
        raise PASSING["silence"]

    story.say("KFDA", *[decides_and_breaks] * 9)
    story.submit()
    story.tick()
    story.decide_all("KFDA")
    for _ in range(3):
        assert (story.request("KFDA").state, story.case().state) == ("DECIDED", "DECIDED")
        story.tick(minutes=1)
    assert story.outcome()[0] == "APPROVED"
    assert story.deliveries(destination="KFDA")[0].state == "FAILED"
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_what_an_operator_cancels_is_waited_for_no_more(story: Story) -> None:
    story.say("customs", REFUSED)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    assert story.case().state == "DECIDED"
    for delivery in story.deliveries(destination="customs"):
        story.operate(operator_actions.cancel_delivery, delivery.id)
    assert story.case().state == "CLOSED"
    assert story.evidence("case", story.case().id)[-1] == "closed"


@pytest.mark.long
def test_a_supplement_that_is_refused_does_not_hold_up_the_next(story: Story) -> None:
    story.submit()
    story.tick()
    story.say("KFDA", REFUSED)
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    assert story.request("KFDA").state == "STRANDED"
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    assert story.request("KFDA").state == "ACKNOWLEDGED"


@pytest.mark.parametrize(
    ("code", "before", "state"),
    [("", "STRANDED", "SENT"), ("D01", *["INFORMATION_REQUIRED"] * 2), ("R01", "DECIDED", "DECIDED")],
)
def test_sending_an_application_again_hides_nothing_that_its_agency_has_said(
    story: Story, code: str, before: str, state: str
) -> None:
    story.say("KFDA", REFUSED)
    story.submit()
    story.tick()
    if code == "R01":
        story.decide("KFDA")
    elif code:
        story.hear("KFDA", asked(story, "KFDA", "Q1", status=code))
    assert story.request("KFDA").state == before
    story.operate(operator_actions.requeue_delivery, story.deliveries(destination="KFDA")[0].id)
    assert story.request("KFDA").state == state


@pytest.mark.long
def test_a_supplement_waits_for_an_application_that_never_arrived(story: Story) -> None:
    story.say("KFDA", REFUSED)
    story.submit()
    story.tick()
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    made = [call.operation for call in story.soap.calls if call.destination == "KFDA"]
    assert made == ["SubmitApplication"]
    story.operate(operator_actions.requeue_delivery, story.deliveries(destination="KFDA")[0].id)
    story.tick()
    made = [call.operation for call in story.soap.calls if call.destination == "KFDA"]
    assert made == ["SubmitApplication"] * 2 + ["SubmitSupplement"]


@pytest.mark.long
@pytest.mark.parametrize("words", ["unknown code", "other item", "contradiction"])
def test_an_answer_that_makes_no_sense_is_stranded_and_half_of_it_is_not_kept(
    story: Story, words: str
) -> None:
    def nonsense(_: object) -> object:
        notice = story.notice(
            "KFDA", status={"unknown code": "Q99", "contradiction": "R04"}.get(words, "R01")
        )
        if words == "other item":
            notice = replace(notice, decisions=(replace(notice.decisions[0], item=3),))
        return notice

    story.say("KFDA", nonsense)
    story.submit()
    story.tick()
    request = story.request("KFDA")
    assert (request.state, request.status_code) == ("STRANDED", None)
    assert story.evidence("request", request.id) == []
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"


def test_two_applications_may_share_a_receipt_number(story: Story) -> None:
    story.say("KFDA", AgencyAcknowledgment("R-1"), AgencyAcknowledgment("R-1"))
    story.submit()
    story.tick()
    story.submit(story.submission(reference("HB2026-000124")))
    story.tick()
    assert (story.request("KFDA").state, story.request("KFDA").receipt_number) == ("ACKNOWLEDGED", "R-1")


def test_what_is_queued_beyond_its_time_strands_its_request(story: Story) -> None:
    story.say("KFDA", *[PASSING["silence"]] * 9)
    story.submit()
    story.tick()
    delivery = story.deliveries(destination="KFDA")[0]
    with write_transaction(story.house.engine) as conn:
        changed = tables.deliveries.update().where(tables.deliveries.c.id == delivery.id)
        conn.execute(changed.values(expires_at=story.clock()))
    story.tick(seconds=1)
    assert (story.deliveries(destination="KFDA")[0].state, story.request("KFDA").state) == (
        "FAILED",
        "STRANDED",
    )
    assert story.evidence("delivery", delivery.id) == ["undeliverable"]


# Customs


@pytest.mark.long
def test_customs_hears_of_the_declaration_first_however_long_it_is_away(story: Story) -> None:
    story.say("customs", *[PASSING["silence"]] * 2)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert story.case().state == "DECIDED"
    assert {call.operation for call in story.soap.calls if call.destination == "customs"} == {
        "RegisterDeclaration"
    }
    story.tick(minutes=1)
    story.tick(minutes=1)
    made = [call for call in story.soap.calls if call.destination == "customs"]
    assert [call.operation for call in made] == ["RegisterDeclaration"] * 3 + ["ReportRequirements"] * 2
    assert story.customs_codes() == ["18", "19"]
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_customs_that_refuses_is_told_to_the_operator(story: Story) -> None:
    story.say("customs", REFUSED)
    story.submit()
    story.tick()
    story.decide_all()
    try_all(story)
    first = story.deliveries(destination="customs")[0]
    assert (first.state, story.case().state) == ("FAILED", "DECIDED")
    assert story.customs_codes() == []
    story.operate(operator_actions.requeue_delivery, first.id)
    story.tick()
    assert story.customs_codes() == ["18", "19"]
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_an_agency_without_an_address_holds_back_only_its_own_call(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    """The other agencies are asked at once; the call that waits uses up no try and goes on by itself."""
    address = story.addresses.pop("KPTA")
    story.submit()
    for _ in range(30):
        story.tick(minutes=5)
    assert story.case().state == "IN_PROGRESS"
    (waiting,) = story.deliveries(destination="KPTA")
    assert (waiting.agent, waiting.state, waiting.problem) == ("soap", "QUEUED", "GW607")
    assert waiting.last_sentence == "there is no address for KPTA at agency.KPTA.endpoint"
    others = [row for row in story.deliveries(case_id=story.case().id) if row.id != waiting.id]
    assert {"KFDA", "customs"} <= {row.destination for row in others}
    assert {row.state for row in others} == {"DELIVERED"}
    (first, *_) = [format_text(line) for line in caplog.records if line.name.startswith("gateway.delivery")]
    assert "GW607 there is no address for KPTA at agency.KPTA.endpoint" in first
    assert " partner=KPTA " in first
    story.addresses["KPTA"] = address
    story.tick(minutes=5)
    (sent,) = story.deliveries(destination="KPTA")
    assert (sent.id, sent.state) == (waiting.id, "DELIVERED")
    assert any("works again partner=KPTA delivery=" in format_text(line) for line in caplog.records)


def test_an_agency_whose_contract_is_not_agreed_holds_back_only_its_own_call(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be composed by a WSDL that nobody has agreed to: the call is composed when there is one."""
    address = story.addresses.pop("KPTA")
    monkeypatch.setattr(story.hub.composer, "_find_wsdl", lambda _: "agencies/NONE.wsdl")
    story.submit()
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    (waiting,) = story.deliveries(destination="KPTA")
    assert (waiting.state, waiting.problem) == ("QUEUED", "GW607")
    assert {row.state for row in story.deliveries(destination="KFDA")} == {"DELIVERED"}
    story.addresses["KPTA"] = address
    story.tick(minutes=5)
    assert story.delivery(destination="KPTA").state == "DELIVERED"
    (call,) = [one for one in story.soap.calls if one.destination == "KPTA"]
    assert call.text("ApplicationNumber") == story.request("KPTA").number
