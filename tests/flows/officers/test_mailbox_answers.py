"""The mailbox of the console answers calls: as a value, and signed by the agency as evidence."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment, AgencyAnswer, Notice
from gateway.delivery.agents import ConsoleMailbox
from gateway.delivery.agents.console_mailbox import AnsweredCall, MailboxApplication
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.service_contracts import ServiceCall, load_contract
from gateway.delivery.soap_client import open_signed_answer, sign_call
from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import format_instant, parse_xml
from gateway.xmlsec import STRICT, verify_soap_envelope
from tests.kit.house import Away, signer_named
from tests.kit.officers import ConsoleStory

AGENCY = "KPTA"
XML = {"content-type": "text/xml; charset=utf-8"}


def compose_question(story: ConsoleStory) -> bytes:
    """Return the call that asks whether an agency cancels; composed before the agency had an address."""
    return compose(story, "CancelApplication", Reason="withdrawn")


def compose(story: ConsoleStory, operation: str, **arguments: Any) -> bytes:
    call = ServiceCall(operation, "urn:uuid:question", None, {"ApplicationNumber": "A-1", **arguments})
    return load_contract(story.addresses[AGENCY].wsdl).compose_envelope(call)


def answer_question(
    story: ConsoleStory, envelope: bytes | None = None, *, cancellable: bool = True, number: str = "A-1"
) -> AnsweredCall:
    mailbox = ConsoleMailbox(story.hub, story.hub.composer, story.keys)  # type: ignore[arg-type]
    application = MailboxApplication(1, 1, number, is_cancellable=cancellable, is_switched=False)
    return mailbox.answer_call(envelope or compose_question(story), AGENCY, application)


@pytest.mark.parametrize("cancellable", [True, False], ids=["cancelled", "received"])
def test_the_signed_answer_says_what_is_applied(engine: Engine, *, cancellable: bool) -> None:
    """A partner's answer is read as this one is here."""
    story = ConsoleStory(engine, AGENCY)
    story.clock.forward(microseconds=1999)
    answered = answer_question(story, cancellable=cancellable)
    expected: AgencyAnswer = AgencyAcknowledgment("C-A-1")
    if cancellable:
        assert isinstance(answered.answer, Notice)
        expected = Notice(answered.answer.number, answered.answer.issued_at, "G03")
        assert format_instant(expected.issued_at) == format_instant(story.clock())
    assert answered.answer == expected
    destination: Any = story.hub.composer.resolve_destination(AGENCY)  # type: ignore[attr-defined]
    contract = load_contract(destination.wsdl)
    call = sign_call(compose_question(story), contract, story.hub.signer, story.clock())
    http_answer = HttpAnswer(200, XML, answered.signed_reply.envelope)
    assert open_signed_answer(http_answer, call, contract, destination.answer_policy, story.clock()) == (
        answered.answer,
        answered.signed_reply,
    )
    envelope = parse_xml(answered.call)
    verified = verify_soap_envelope(envelope, STRICT, now=story.clock())
    assert verified.certificate == story.hub.signer.certificate
    assert envelope.findtext("{*}Header/{*}To") == f"urn:single-window:console:{AGENCY}"


def test_one_question_has_one_number_of_a_notice(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    first = answer_question(story).answer
    story.clock.forward(seconds=9)
    second = answer_question(story).answer
    assert isinstance(first, Notice)
    assert isinstance(second, Notice)
    assert first.number == second.number
    assert first.issued_at < second.issued_at


def test_only_the_question_cancels(engine: Engine) -> None:
    """News of clearance comes to the mailbox while the agency is asked whether it cancels."""
    story = ConsoleStory(engine, AGENCY)
    facts = {"CaseNumber": "C-1", "NoticeNumber": "N-1", "IssuedAt": story.clock(), "ResultCode": "C1"}
    answered = answer_question(story, compose(story, "NotifyClearance", **facts), cancellable=True)
    assert answered.answer == AgencyAcknowledgment("C-A-1")


def test_an_answer_that_the_contract_does_not_take_is_not_given(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    with pytest.raises(GatewayError, match=r"^GW603.*ReceiptNumber"):
        answer_question(story, cancellable=False, number="A" * 200)


@pytest.mark.parametrize(
    ("signer", "problem"),
    [(signer_named("kfda"), "GW603"), (Away("kpta"), "GW803"), (Away("kfda"), "GW803")],
    ids=["of another agency", "unavailable", "both"],
)
def test_nothing_rests_until_the_key_of_the_agency_is_there(
    engine: Engine, signer: KeySigner, problem: str
) -> None:
    story = ConsoleStory(engine, AGENCY)
    story.keys.get_signer = lambda agency: signer  # type: ignore[method-assign]
    story.submit()
    story.tick()
    waiting = story.delivery(destination=AGENCY)
    assert (waiting.state, waiting.problem, story.rested()) == ("QUEUED", problem, [])
    assert story.request(AGENCY).receipt_number is None
    del story.keys.get_signer
    story.tick(minutes=5)
    assert [call.operation for call in story.rested()] == ["SubmitApplication"]
    assert story.request(AGENCY).state == "ACKNOWLEDGED"
