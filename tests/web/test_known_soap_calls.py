"""Calls whose envelope is like one before: answered in less time with the same octets, or refused alike."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import DECISION_CONFLICT, SIGNER_MISMATCH, GatewayError
from gateway.protocols import EnvelopeMemory, read_known_envelope, soap_forms
from gateway.protocols.known_soap import SOAP_ANSWERS, SOAP_CALLS, open_known_soap, remember_soap
from gateway.protocols.soap_forms import SignatureMoment, SigningForms, sign_whole_envelope
from gateway.web import soap_security
from gateway.web.agency_service import build_agency_service
from gateway.web.replay_cache import SeenCall
from gateway.web.soap_security import SoapSecurityGate
from gateway.wire import ANONYMOUS, WSA, AddressingHeaders, split_at_body
from gateway.wire.namespaces import SERVICE_AGENCY
from gateway.wire.xml_prescan import WireLimits
from gateway.xmlsec.algorithms import LEGACY_NORWAY
from tests.delivery.test_known_answers import CONTENTS, GOOD, OCTETS, VALUES, sign_values
from tests.kit.soap import NOW, admit_agency, agency_call, issued, signer
from tests.web.test_agency_service import ACKNOWLEDGE, ADDRESS, DECISION, Recorder, security

LATER = NOW + timedelta(minutes=3)
TERMS: dict[str, Any] = {"clock": lambda: LATER, "new_id": lambda: "urn:uuid:reply", "addresses": ()}


class Forgetful(EnvelopeMemory[Any]):
    """Keeps nothing, so that every call is read whole."""

    def add(self, sender: bytes, envelope: Any) -> None:
        """Keep nothing."""


@dataclass
class Seen:
    """Takes every call, and writes down what is remembered of it."""

    calls: list[SeenCall] = field(default_factory=list)

    @contextmanager
    def admit_call(self, call: SeenCall, now: datetime) -> Iterator[None]:
        self.calls.append(call)
        yield


class Hub:
    """The service for agencies with what it was told; `said` is all that a call had for effect."""

    def __init__(self, memory: EnvelopeMemory[Any], **changes: Any) -> None:
        self.handler, self.seen, self.refused = Recorder(), Seen(), list[object]()
        words = {**TERMS, "memory": self.seen, "envelopes": memory, "tell_refusal": self.note, **changes}
        self.gate: SoapSecurityGate = build_agency_service(self.handler, security(**words))

    def note(self, party: str | None, problem: GatewayError) -> None:
        self.refused.append((party, problem.problem.id, problem.detail, problem.location))

    def post(self, body: bytes, **more: Any) -> list[Any]:
        """Return the answer to a call, and all that it had for effect."""
        for one in (self.handler.said, self.seen.calls, self.refused):
            one.clear()
        started: list[Any] = []
        environ = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "text/xml; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **more,
        }
        octets = b"".join(self.gate(environ, lambda *line: started.append(line)))
        return [started, octets, *map(list, (self.handler.said, self.seen.calls, self.refused))]


def warm(**changes: Any) -> Hub:
    """Return a hub that has accepted a call of each of two operations."""
    hub = Hub(EnvelopeMemory(), **changes)
    for name, content in (("Acknowledge", ACKNOWLEDGE), ("SubmitDecision", DECISION)):
        hub.post(agency_call(name, content, "urn:uuid:first", at=LATER))
    return hub


WARM, COLD = warm(), Hub(Forgetful())


def compare(body: bytes, known: Hub = WARM, whole: Hub = COLD, **more: Any) -> list[Any]:
    """Post a call to both hubs and return what both say."""
    said = known.post(body, **more)
    assert said == whole.post(body, **more)
    return said


def call(content: str = DECISION, operation: str = "SubmitDecision") -> bytes:
    return agency_call(operation, content, "urn:uuid:other", at=LATER)


@pytest.fixture
def opened_so(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets one entry for each call that was opened by what is known."""
    found: list[object] = []
    open_known = soap_security.open_known_soap

    def note(*words: Any) -> Any:
        opened = open_known(*words)
        if opened is not None:
            found.append(opened)
        return opened

    monkeypatch.setattr(soap_security, "open_known_soap", note)
    return found


@pytest.mark.parametrize(("name", "content"), [("SubmitDecision", DECISION), ("Acknowledge", ACKNOWLEDGE)])
def test_the_next_call_of_an_agency_is_opened_by_its_envelope(
    name: str, content: str, opened_so: list[object]
) -> None:
    started, _, said, seen, refused = compare(call(content, name))
    assert started[0][0] == "200 OK"
    assert (len(said), len(seen), refused) == (1, 1, [])
    assert len(opened_so) == 1


def test_every_octet_changed_gets_the_same_answer() -> None:
    body = call(ACKNOWLEDGE, "Acknowledge")
    for at in range(len(body)):
        other = b"<" if at % 7 == 0 else bytes([body[at] ^ 1])
        compare(body[:at] + other + body[at + 1 :])


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 6000), length=st.integers(0, 200), octets=OCTETS)
def test_random_changes_get_the_same_answer(at: int, length: int, octets: bytes) -> None:
    body = call()
    at %= len(body)
    compare(body[:at] + octets + body[at + length :])


@settings(max_examples=200, deadline=None)
@given(source=st.integers(0, 6000), target=st.integers(0, 6000), length=st.integers(1, 900))
def test_octets_of_another_call_get_the_same_answer(source: int, target: int, length: int) -> None:
    one, body = agency_call("SubmitDecision", DECISION), call()
    source, target = source % len(one), target % len(body)
    compare(body[:target] + one[source : source + length] + body[target + length :])


def like_known(body: bytes) -> Any:
    """Return the values of a call whose envelope is known."""
    split = split_at_body(body)
    assert split is not None
    for sender in WARM.gate._security.envelopes._senders.values():
        for one in sender.known:
            found = read_known_envelope(SOAP_CALLS, one, split.hollow)
            if found is not None:
                return found
    raise AssertionError("no envelope like it is known")


ELEMENT = f'<SubmitDecision xmlns="{SERVICE_AGENCY}">{DECISION}</SubmitDecision>'
BODIES = [
    *(one.replace(GOOD, ELEMENT).replace("<Answer", "<Decision").replace("R-1", "R01") for one in CONTENTS),
    *(ELEMENT.replace("<Decision>", one.partition("<Answer>")[0][-40:]) for one in CONTENTS[4:8]),
    ELEMENT.replace("R01", "<!-- a -->R01"),
    ELEMENT.replace("R01", "<![CDATA[R01]]>"),
    ELEMENT.replace("R01", "<?a b?>R01"),
    ELEMENT.replace("<law>", '<law Id="s-1">', 1),
    ELEMENT.replace("<item>1<", "<item>x<"),
    ELEMENT.replace("APPROVED", "REFUSED"),
    ELEMENT.replace("10.500", "1e400"),
    f'<Acknowledge xmlns="{SERVICE_AGENCY}">{ACKNOWLEDGE}</Acknowledge>',
    f'<Unknown xmlns="{SERVICE_AGENCY}"/>',
]


@pytest.mark.parametrize("content", BODIES, ids=range(len(BODIES)))
def test_whatever_an_agency_signs_in_a_body_is_answered_alike(content: str) -> None:
    found = like_known(call())
    try:
        body = sign_values(found, found.values, content.encode())
    except etree.XMLSyntaxError:
        body = call().replace(ELEMENT.encode(), content.encode())
    compare(body)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_values_an_agency_signs_are_answered_alike(data: st.DataObject) -> None:
    found = like_known(call())
    numbers, values = found.envelope.numbers, list(found.values)
    for number in range(len(values)):
        if number not in (*numbers.digests, numbers.signature) and data.draw(st.booleans()):
            values[number] = data.draw(VALUES).encode()
    compare(sign_values(found, values, ELEMENT.encode()))


def refuse(*_: Any) -> Any:
    raise GatewayError(SIGNER_MISMATCH, "not any more", "here")


SPOILT: list[dict[str, Any]] = [
    {"admit": refuse},
    {"admit_client": refuse},
    {"addresses": (ADDRESS,)},
    {"clock": lambda: LATER + timedelta(minutes=6)},
    {"clock": lambda: LATER - timedelta(minutes=2)},
    {"policy": LEGACY_NORWAY},
    *(
        {"limits": WireLimits(**one)}
        for one in ({"envelope": 100}, {"depth": 3}, {"value": 70}, {"elements": 9})
    ),
]


@pytest.mark.parametrize("changes", SPOILT, ids=range(len(SPOILT)))
def test_the_terms_of_the_service_are_asked_for_each_call(changes: dict[str, Any]) -> None:
    known, whole = Hub(WARM.gate._security.envelopes, **changes), Hub(Forgetful(), **changes)
    compare(call(), known, whole)


@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_SOAPACTION": '"urn:other"'},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"CONTENT_TYPE": "application/soap+xml"},
    ],
    ids=str,
)
def test_http_is_checked_for_each_call(more: dict[str, str]) -> None:
    started, *_ = compare(call(), **more)
    assert started[0][0] != "200 OK"


def test_what_the_handler_refuses_is_refused_alike_and_not_learned() -> None:
    hubs = Hub(EnvelopeMemory()), Hub(Forgetful())
    for hub in (WARM, COLD, *hubs):
        hub.handler.failure = GatewayError(DECISION_CONFLICT, "no", "there")
    try:
        compare(call())
        compare(call(), *hubs)
        assert not hubs[0].gate._security.envelopes._senders
    finally:
        WARM.handler.failure = COLD.handler.failure = None


@pytest.mark.parametrize("by", ["stranger", "hub"])
def test_nothing_is_learned_of_a_call_that_is_refused(by: str) -> None:
    hub = Hub(EnvelopeMemory())
    for body in (agency_call("SubmitDecision", DECISION, by=by, at=LATER), call().replace(b"R01", b"R02")):
        assert hub.post(body)[0][0][0] != "200 OK"
    assert not hub.gate._security.envelopes._senders


def test_an_answer_that_the_hub_accepted_makes_no_call_known() -> None:
    """What one receiver demands of a header is not what another one demands."""
    memory, body, terms = EnvelopeMemory[Any](), call(), WARM.gate._security.terms
    remember_soap(SOAP_ANSWERS, body, issued("agency").certificate, terms, memory)
    assert open_known_soap(SOAP_ANSWERS, body, terms, LATER, memory) is not None
    assert open_known_soap(SOAP_CALLS, body, terms, LATER, memory) is None


REPLY = AddressingHeaders(f"{SERVICE_AGENCY}:AcknowledgeResponse", "urn:uuid:r", ANONYMOUS, "urn:uuid:c")
RELATIONS = ["urn:uuid:c", "a&b", "\u00e9", "x" * 600, REPLY.action, ANONYMOUS, "urn:uuid:r", "s-1", "", None]


@pytest.mark.parametrize("relation", RELATIONS, ids=range(len(RELATIONS)))
@pytest.mark.parametrize(
    "content",
    [
        '<ns0:a xmlns:ns0="urn:a"/>',
        '<a xmlns="urn:a" xmlns:soap="urn:b"><soap:b c="&lt;"> \u00e9&#13; </soap:b></a>',
        '<a Id="s-2"/>',
        "<a><!-- b --></a>",
    ],
)
def test_an_envelope_by_its_form_has_the_octets_of_the_whole_way(relation: str | None, content: str) -> None:
    forms = SigningForms()
    for minutes in range(3):
        values = replace(REPLY, relates_to=relation, message_id=f"urn:uuid:{minutes}")
        moment = SignatureMoment(signer("hub"), NOW + timedelta(minutes=minutes))
        by_form, whole = (
            sign(etree.fromstring(content), values, moment)
            for sign in (forms.sign_envelope, sign_whole_envelope)
        )
        assert by_form == whole


def test_envelopes_are_signed_by_a_form_for_each_key_and_action(monkeypatch: pytest.MonkeyPatch) -> None:
    forms, whole = SigningForms(), list[object]()
    sign = sign_whole_envelope

    def note(*words: Any) -> bytes:
        whole.append(words)
        return sign(*words)

    monkeypatch.setattr(soap_forms, "sign_whole_envelope", note)
    for turn in range(3):
        for by in ("hub", "agency"):
            for action in ("urn:one", "urn:two"):
                values = replace(REPLY, action=action, message_id=f"urn:uuid:{turn}")
                octets = forms.sign_envelope(etree.Element("a"), values, SignatureMoment(signer(by), NOW))
                root = etree.fromstring(octets)
                assert root.findtext(f"*/{{{WSA}}}Action") == action
                assert root.findtext(f"*/{{{WSA}}}MessageID") == values.message_id
    assert len(whole) == 4
    assert not re.search(rb"learned", octets)


def test_forms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soap_forms, "_MOST_FORMS", 2)
    forms = SigningForms()
    for number in range(5):
        values = replace(REPLY, action=f"urn:{number}")
        forms.sign_envelope(etree.Element("a"), values, SignatureMoment(signer("agency"), NOW))
        assert 1 <= len(forms._forms) <= 2


def test_the_signer_of_each_call_is_admitted_once() -> None:
    asked: list[object] = []

    def admit(certificate: Any, now: datetime) -> str:
        asked.append(certificate)
        return admit_agency(certificate, now)

    Hub(WARM.gate._security.envelopes, admit=admit).post(call())
    assert len(asked) == 1
