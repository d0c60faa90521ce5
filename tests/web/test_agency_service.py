"""The service that agencies call: values in, a signed answer out, every refusal a fault."""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.cases import AgencyAcknowledgment, AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import (
    DECISION_CONFLICT,
    KEY_UNAVAILABLE,
    NO_ROOM,
    PROBLEMS,
    REPLY_UNMATCHED,
    GatewayError,
)
from gateway.process_log import format_text
from gateway.share import get_data_folder
from gateway.web.agency_service import build_agency_service
from gateway.web.soap_security import Caller, SoapSecurityGate, SoapSecurityPolicy
from gateway.wire import (
    SERVICE_AGENCY,
    SOAP11,
    WSA,
    WSSE,
    WSU,
    AddressingHeaders,
    SoapFault,
    WireLimits,
    parse_xml,
    read_addressing,
    read_envelope,
    read_fault,
    serialize_element,
)
from gateway.xmlsec import STRICT, verify_soap_envelope
from tests.kit.mtom import (
    PRODUCTS,
    Package,
    join_parts,
    make_part,
    make_root,
    pack_as_cxf,
    pack_as_wcf,
    pack_as_wss4j,
)
from tests.kit.soap import (
    NOW,
    MemoryOfCalls,
    admit_agency,
    agency_call,
    envelope,
    issued,
    signed,
    signer,
    wrapper,
)

ADDRESS = "https://hub.example/soap/agency"
ACKNOWLEDGE = "<ApplicationNumber>A-1</ApplicationNumber><ReceiptNumber>R  1</ReceiptNumber>"
INFORMATION = """<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>N-1</NoticeNumber>
<IssuedAt>2026-11-20T18:00:00+09:00</IssuedAt><Pointer>42A/67A[1]</Pointer><Pointer> 42A/D023 </Pointer>
<Text> 성분표를 내십시오 </Text><Deadline>2026-12-01T00:00:00.5Z</Deadline>"""
ENVELOPE_12 = b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>'
HEADLESS = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'
NIL = '<law i:nil="true" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/>'
DECISION = """<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>N-2</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>R01</StatusCode>
<Decision><item>1</item><law>01</law><decision>APPROVED</decision><number>P  1</number><date>2026-11-20</date>
<quantity>10.500</quantity><unit>KGM</unit><condition>keep  dry</condition><condition>b</condition></Decision>
<Decision><item>2</item><law>70</law><decision>REJECTED</decision></Decision>"""


@dataclass
class Recorder:
    """Keeps what agencies say in their calls, or raises `failure`."""

    said: list[tuple[AgencyCallback, Caller]] = field(default_factory=list)
    failure: Exception | None = None

    def apply(self, call: AgencyCallback | etree._Element, caller: Caller) -> None:
        assert isinstance(call, AgencyCallback)
        if self.failure is not None:
            raise self.failure
        self.said.append((call, caller))


@dataclass
class Answer:
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def fault(self) -> SoapFault:
        found = read_fault(read_envelope(parse_xml(self.body)))
        assert found is not None
        return found

    @property
    def problem(self) -> str:
        return self.fault.detail[0].findtext("{*}Id")


@dataclass
class World:
    handler: Recorder
    application: SoapSecurityGate

    def post(self, body: bytes, **environ: Any) -> Answer:
        return call(
            self.application,
            {
                "REQUEST_METHOD": "POST",
                "CONTENT_TYPE": "text/xml; charset=utf-8",
                "CONTENT_LENGTH": str(len(body)),
                "wsgi.input": io.BytesIO(body),
            }
            | environ,
        )


def call(application: SoapSecurityGate, environ: dict[str, Any]) -> Answer:
    started: list[Any] = []
    environ = {name: value for name, value in environ.items() if value is not None}
    body = b"".join(application(environ, lambda *line: started.append(line)))
    [(status, headers)] = started
    assert dict(headers)["Content-Length"] == str(len(body))
    return Answer(status, dict(headers), body)


def security(**changes: Any) -> SoapSecurityPolicy:
    ids = (f"urn:uuid:answer-{number}" for number in itertools.count())
    values: dict[str, Any] = {
        "signer": lambda: signer("hub"),
        "admit": admit_agency,
        "clock": lambda: NOW,
        "new_id": lambda: next(ids),
        "addresses": (ADDRESS,),
        "memory": MemoryOfCalls(),
    }
    return SoapSecurityPolicy(**values | changes)


@pytest.fixture
def world() -> World:
    handler = Recorder()
    return World(handler, build_agency_service(handler.apply, security()))


def verified(answer: Answer) -> AddressingHeaders:
    """Return the addressing of an answer that the hub has signed."""
    root = parse_xml(answer.body)
    result = verify_soap_envelope(root, STRICT, now=NOW)
    assert result.certificate.sha256 == issued("hub").certificate.sha256
    header = read_envelope(root).header
    assert header is not None
    return read_addressing(header)


def test_acknowledge(world: World) -> None:
    octets = agency_call("Acknowledge", ACKNOWLEDGE)
    answer = world.post(octets)
    assert answer.status == "200 OK"
    [(said, caller)] = world.handler.said
    assert said == AgencyCallback(AgencyAcknowledgment("R 1"), application_number="A-1")
    assert (caller.party, caller.message_id) == ("agency", "urn:uuid:call-1")
    assert caller.envelope == octets, "the octets as received, for evidence"
    assert caller.certificate.sha256 == issued("agency").certificate.sha256


@pytest.mark.parametrize("message_id", ["urn:uuid:call-1", "a&b", "\u00e9", "x" * 600, "s-1", ADDRESS])
def test_the_answer_is_signed_and_names_the_call(world: World, message_id: str) -> None:
    answer = world.post(agency_call("Acknowledge", ACKNOWLEDGE, message_id))
    assert verified(answer) == AddressingHeaders(
        f"{SERVICE_AGENCY}:AcknowledgeResponse", "urn:uuid:answer-0", f"{WSA}/anonymous", message_id
    )
    assert (
        read_envelope(parse_xml(answer.body)).body_elements[0].tag
        == f"{{{SERVICE_AGENCY}}}AcknowledgeResponse"
    )
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"


def test_request_information(world: World) -> None:
    assert world.post(agency_call("RequestInformation", INFORMATION)).status == "200 OK"
    notice = Notice(
        number="N-1",
        issued_at=NOW,
        status_code="D01",
        text=" 성분표를 내십시오 ",
        pointers=("42A/67A[1]", "42A/D023"),
        deadline=datetime(2026, 12, 1, 0, 0, 0, 500000, tzinfo=UTC),
    )
    assert world.handler.said[0][0] == AgencyCallback(notice, "A-1")


def test_submit_decision(world: World) -> None:
    assert world.post(agency_call("SubmitDecision", DECISION)).status == "200 OK"
    first = Decision(
        1,
        "01",
        DecisionCode.APPROVED,
        "P 1",
        date(2026, 11, 20),
        Decimal("10.500"),
        "KGM",
        ("keep  dry", "b"),
    )
    notice = Notice("N-2", NOW, "R01", (first, Decision(2, "70", DecisionCode.REJECTED)))
    [(said, _)] = world.handler.said
    assert said == AgencyCallback(notice, "A-1")
    assert str(said.answer.decisions[0].quantity) == "10.500", "trailing zeros are kept"


def test_a_decision_may_name_the_requirement_and_hold_no_item(world: World) -> None:
    content = DECISION.replace("ApplicationNumber", "RequirementNumber").partition("<Decision>")[0]
    assert world.post(agency_call("SubmitDecision", content)).status == "200 OK"
    [(said, _)] = world.handler.said
    assert (said.application_number, said.requirement_number) == (None, "A-1")
    assert said.answer.decisions == ()


def test_a_chunked_body_is_read(world: World) -> None:
    body = agency_call("Acknowledge", ACKNOWLEDGE)
    assert world.post(body, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked").status == "200 OK"


@pytest.mark.long
@pytest.mark.parametrize(
    "action", [None, "", '""', f'"{SERVICE_AGENCY}:Acknowledge"', f"{SERVICE_AGENCY}:Acknowledge"]
)
def test_soap_action_may_be_absent_empty_or_right(world: World, action: str | None) -> None:
    assert world.post(agency_call("Acknowledge", ACKNOWLEDGE), HTTP_SOAPACTION=action).status == "200 OK"


def changed(change: Callable[[etree._Element], object], operation: str = "SubmitDecision") -> bytes:
    """Return a good call, changed after it was signed."""
    root = parse_xml(agency_call(operation, DECISION if operation == "SubmitDecision" else ACKNOWLEDGE))
    change(root)
    return serialize_element(root)


def drop(name: str) -> Callable[[etree._Element], object]:
    def change(root: etree._Element) -> None:
        element = root.find(f".//{name}")
        element.getparent().remove(element)

    return change


def put(name: str, text: str) -> Callable[[etree._Element], object]:
    return lambda root: setattr(root.find(f".//{name}"), "text", text)


def wrap(root: etree._Element) -> None:
    body = root[-1]
    etree.SubElement(root[0], "{urn:x}Wrapper").append(body)
    forged = etree.SubElement(root, f"{{{SOAP11}}}Body")
    forged.append(wrapper(SERVICE_AGENCY, "SubmitDecision", DECISION.replace("REJECTED", "APPROVED")))


def with_headers(change: Callable[[etree._Element], object], operation: str = "Acknowledge") -> bytes:
    """Return a call whose header is changed before it is signed."""
    content = ACKNOWLEDGE if operation == "Acknowledge" else DECISION
    root = envelope(
        wrapper(SERVICE_AGENCY, operation, content),
        AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", "urn:uuid:call-1"),
    )
    change(root[0])
    return signed(root)


def block(tag: str, text: str = "", **attributes: str) -> Callable[[etree._Element], object]:
    def change(header: etree._Element) -> None:
        etree.SubElement(
            header, tag, {f"{{{SOAP11}}}{name}": value for name, value in attributes.items()}
        ).text = text

    return change


def address(name: str, text: str) -> Callable[[etree._Element], object]:
    def change(header: etree._Element) -> None:
        for old in header.findall(f"{{{WSA}}}{name}"):
            header.remove(old)
        etree.SubElement(etree.SubElement(header, f"{{{WSA}}}{name}"), f"{{{WSA}}}Address").text = text

    return change


def body_of(content: str, operation: str = "SubmitDecision") -> bytes:
    return agency_call(operation, content)


WSA_ = f"{{{WSA}}}"
OWN = f"{{{SERVICE_AGENCY}}}"
REFUSED = {
    # security
    "unsigned": (changed(drop(f"{{{WSSE}}}Security")), "GW201", "wsse:InvalidSecurity"),
    "stranger": (
        agency_call("Acknowledge", ACKNOWLEDGE, by="stranger"),
        "GW209",
        "wsse:FailedAuthentication",
    ),
    "expired": (
        agency_call("Acknowledge", ACKNOWLEDGE, at=NOW - timedelta(minutes=6)),
        "GW211",
        "wsse:MessageExpired",
    ),
    "future": (
        agency_call("Acknowledge", ACKNOWLEDGE, at=NOW + timedelta(minutes=2)),
        "GW211",
        "wsse:MessageExpired",
    ),
    "decision changed": (changed(put(f"{OWN}decision", "REJECTED")), "GW202", "wsse:FailedCheck"),
    "action changed": (changed(put(f"{WSA_}MessageID", "urn:x")), "GW202", "wsse:FailedCheck"),
    "timestamp changed": (
        changed(put(f"{{{WSU}}}Created", "2026-11-20T09:00:00.001Z")),
        "GW202",
        "wsse:FailedCheck",
    ),
    "header added": (
        changed(lambda root: block(f"{WSA_}To", ADDRESS)(root[0])),
        "GW203",
        "wsse:InvalidSecurity",
    ),
    "wrapped": (changed(wrap), "GW107", "Client"),
    "second body": (
        changed(lambda root: root.append(etree.fromstring(serialize_element(root[-1])))),
        "GW107",
        "Client",
    ),
    # addressing
    "no addressing": (
        signed(envelope(wrapper(SERVICE_AGENCY, "Acknowledge", ACKNOWLEDGE), None)),
        "GW107",
        "Client",
    ),
    "no MessageID": (with_headers(drop(f"{WSA_}MessageID")), "GW107", "Client"),
    "two MessageIDs": (with_headers(block(f"{WSA_}MessageID", "urn:2")), "GW107", "Client"),
    "no Action": (with_headers(drop(f"{WSA_}Action")), "GW107", "Client"),
    "another Action": (with_headers(put(f"{WSA_}Action", "urn:other")), "GW304", "Client"),
    "another operation's Action": (
        with_headers(put(f"{WSA_}Action", f"{SERVICE_AGENCY}:SubmitDecision")),
        "GW304",
        "Client",
    ),
    "reply elsewhere": (with_headers(address("ReplyTo", "http://attacker.example/")), "GW311", "Client"),
    "faults elsewhere": (with_headers(address("FaultTo", "http://attacker.example/")), "GW311", "Client"),
    "to another hub": (with_headers(block(f"{WSA_}To", "https://other.example/")), "GW304", "Client"),
    "addressing of 2004": (
        with_headers(block("{http://schemas.xmlsoap.org/ws/2004/08/addressing}To", "x")),
        "GW107",
        "Client",
    ),
    "unknown block": (with_headers(block("{urn:x}Trace")), "GW107", "Client"),
    "unknown mandatory block": (
        with_headers(block("{urn:x}Trace", mustUnderstand="1")),
        "GW106",
        "MustUnderstand",
    ),
    "block for another actor": (
        with_headers(lambda header: header[0].set(f"{{{SOAP11}}}actor", "urn:other")),
        "GW107",
        "Client",
    ),
    # content
    "empty body": (signed(envelope(None, AddressingHeaders("urn:a", "urn:b"))), "GW311", "Client"),
    "two requests": (
        changed(lambda root: root[-1].append(etree.fromstring(serialize_element(root[-1][0])))),
        "GW311",
        "Client",
    ),
    "no such operation": (agency_call("FetchRequests", ""), "GW311", "Client"),
    "an answer": (agency_call("AcknowledgeResponse", ""), "GW311", "Client"),
    "no argument": (agency_call("Acknowledge", ""), "GW402", "Client"),
    "both numbers": (body_of("<RequirementNumber>Q</RequirementNumber>" + DECISION), "GW402", "Client"),
    "wrong order": (body_of(DECISION + "<StatusCode>R01</StatusCode>"), "GW402", "Client"),
    "unknown decision": (body_of(DECISION.replace("REJECTED", "rejected")), "GW402", "Client"),
    "item zero": (body_of(DECISION.replace("<item>1<", "<item>0<")), "GW402", "Client"),
    "item of 5,000 digits": (
        body_of(DECISION.replace("<item>1<", f"<item>{'9' * 5000}<")),
        "GW402",
        "Client",
    ),
    "negative quantity": (body_of(DECISION.replace("10.500", "-1")), "GW402", "Client"),
    "exponent": (body_of(DECISION.replace("10.500", "1E1000000")), "GW402", "Client"),
    "not a number": (body_of(DECISION.replace("10.500", "NaN")), "GW402", "Client"),
    "time without zone": (body_of(DECISION.replace("00:00Z", "00:00")), "GW402", "Client"),
    "year 12026": (body_of(DECISION.replace("2026-11-20T", "12026-11-20T")), "GW402", "Client"),
    "hour 24": (body_of(DECISION.replace("T09:00:00Z", "T24:00:00Z")), "GW402", "Client"),
    "30 February": (body_of(DECISION.replace("<date>2026-11-20", "<date>2026-02-30")), "GW402", "Client"),
    "before year one": (
        body_of(DECISION.replace("2026-11-20T09:00:00Z", "0001-01-01T00:00:00+14:00")),
        "GW402",
        "Client",
    ),
    "nil": (
        body_of(
            DECISION.replace(
                "<law>70</law>", '<law i:nil="true" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/>'
            )
        ),
        "GW402",
        "Client",
    ),
    "href of SOAP encoding": (
        body_of(DECISION.replace("<law>70</law>", '<law href="#x"/>')),
        "GW402",
        "Client",
    ),
    "another namespace": (
        body_of(DECISION.replace("<law>70</law>", '<law xmlns="urn:x">70</law>')),
        "GW402",
        "Client",
    ),
    # octets
    "nothing": (b"", "GW104", "Client"),
    "not XML": (b"<x", "GW104", "Client"),
    "entity": (b'<!DOCTYPE x [<!ENTITY e "y">]><x>&e;</x>', "GW104", "Client"),
    "external entity": (
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "GW104",
        "Client",
    ),
    "instruction": (b'<?xml-stylesheet href="x"?><x/>', "GW104", "Client"),
    "UTF-16": ("<x/>".encode("utf-16"), "GW104", "Client"),
    "deep": (b"<x>" * 500 + b"</x>" * 500, "GW102", "Client"),
    "not SOAP": (b"<x/>", "GW105", "VersionMismatch"),
    "SOAP 1.2": (
        ENVELOPE_12,
        "GW105",
        "VersionMismatch",
    ),
    "no header": (HEADLESS, "GW107", "Client"),
}


@pytest.mark.refusal("an agency's system sends a wrong call and gets a signed fault")
@pytest.mark.parametrize(("body", "problem", "code"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_signed_fault_with_id_and_place(
    world: World, body: bytes, problem: str, code: str
) -> None:
    answer = world.post(body)
    assert (answer.problem, answer.fault.code) == (problem, code)
    assert world.handler.said == []
    assert answer.fault.text == f"{problem} {PROBLEMS[problem].title}"
    assert verified(answer).action == f"{SERVICE_AGENCY}:Refusal"
    detail = answer.fault.detail[0]
    assert detail.findtext("{*}Location") or problem in ("GW102", "GW104")
    http = PROBLEMS[problem].codes.http
    assert answer.status.startswith(str(http if http in (400, 413, 415, 503) else 500))


@pytest.mark.parametrize("limits", [{"depth": 4}, {"envelope": 500}, {"elements": 10}, {"references": 2}])
def test_a_call_keeps_the_limits_of_the_settings(limits: dict[str, int]) -> None:
    handler = Recorder()
    strict = security(limits=WireLimits(**limits))
    answer = World(handler, build_agency_service(handler.apply, strict)).post(
        agency_call("Acknowledge", ACKNOWLEDGE)
    )
    assert (answer.problem, handler.said) == ("GW102", [])


@pytest.mark.parametrize(
    "name", ["expired", "decision changed", "another Action", "no argument", "header added"]
)
def test_a_fault_names_the_call_when_it_could_be_read(world: World, name: str) -> None:
    assert verified(world.post(REFUSED[name][0])).relates_to == "urn:uuid:call-1"


@pytest.mark.parametrize(
    ("environ", "problem", "status"),
    [
        ({"CONTENT_TYPE": "application/soap+xml"}, "GW101", "415"),
        ({"CONTENT_TYPE": "application/xml"}, "GW101", "415"),
        ({"CONTENT_TYPE": "multipart/related; type=text/xml; boundary=x"}, "GW101", "415"),
        ({"CONTENT_TYPE": "text/xml; charset=bogus"}, "GW101", "415"),
        ({"CONTENT_TYPE": "text/xml; charset=utf-16"}, "GW101", "415"),
        ({"CONTENT_TYPE": ""}, "GW101", "415"),
        ({"CONTENT_TYPE": None}, "GW101", "415"),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, "GW101", "415"),
        ({"CONTENT_LENGTH": "99999999999"}, "GW102", "413"),
        ({"CONTENT_LENGTH": "-1"}, "GW103", "400"),
        ({"CONTENT_LENGTH": "1000000"}, "GW103", "400"),
        ({"HTTP_SOAPACTION": '"urn:other"'}, "GW304", "500"),
        ({"HTTP_SOAPACTION": "\x01\x02"}, "GW304", "500"),
    ],
)
def test_http_is_checked_too(world: World, environ: dict[str, str | None], problem: str, status: str) -> None:
    answer = world.post(agency_call("Acknowledge", ACKNOWLEDGE), **environ)
    assert answer.problem == problem
    assert answer.status.startswith(status)
    assert world.handler.said == []


def post_package(world: World, package: Package) -> Answer:
    return world.post(package.body, CONTENT_TYPE=package.content_type)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_call_with_mtom_is_taken_and_answered_as_text_xml(world: World, product: str) -> None:
    octets = agency_call("Acknowledge", ACKNOWLEDGE)
    answer = post_package(world, PRODUCTS[product](octets))
    assert answer.status == "200 OK"
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert verified(answer).relates_to == "urn:uuid:call-1"
    [(_, caller)] = world.handler.said
    assert caller.envelope == octets, "the signed envelope, for evidence"


def test_a_call_with_mtom_is_no_other_call(world: World) -> None:
    """The same envelope, packed otherwise, is a replay."""
    octets = agency_call("Acknowledge", ACKNOWLEDGE)
    assert post_package(world, pack_as_cxf(octets)).status == "200 OK"
    assert post_package(world, pack_as_wcf(octets)).problem == "GW211"
    assert post_package(world, pack_as_wss4j(octets)).problem == "GW211"
    assert world.post(octets).problem == "GW211"
    assert len(world.handler.said) == 1


@pytest.mark.parametrize(
    ("package", "problem", "status"),
    [
        (
            join_parts(
                make_root(agency_call("Acknowledge", ACKNOWLEDGE)),
                make_part("Content-Type: text/plain\r\nContent-ID: <x>", b"x"),
            ),
            "GW103",
            "400",
        ),
        (pack_as_cxf(ENVELOPE_12), "GW105", "500"),
        (
            Package(pack_as_cxf(b"").content_type.replace("text/xml", "application/soap+xml"), b""),
            "GW101",
            "415",
        ),
        (pack_as_cxf(b"<x/>"), "GW105", "500"),
    ],
)
def test_another_call_with_mtom_is_refused_with_a_signed_fault(
    world: World, package: Package, problem: str, status: str
) -> None:
    answer = post_package(world, package)
    assert (answer.problem, answer.status[:3]) == (problem, status)
    assert verified(answer).action == f"{SERVICE_AGENCY}:Refusal"
    assert world.handler.said == []


def test_a_body_without_end_is_cut_off() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b" " * size

    stream = Endless()
    application = build_agency_service(Recorder().apply, security())
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "text/xml",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": stream,
    }
    answer = call(application, environ)
    assert answer.problem == "GW102"
    assert stream.given < 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (GatewayError(REPLY_UNMATCHED, "no such request <&>", "A-1"), "500", "Client"),
        (GatewayError(DECISION_CONFLICT, "R01 with REJECTED"), "500", "Client"),
        (GatewayError(NO_ROOM), "503", "Server"),
    ],
)
def test_what_the_handler_refuses_is_a_fault(
    world: World, failure: GatewayError, status: str, code: str
) -> None:
    world.handler.failure = failure
    answer = world.post(agency_call("SubmitDecision", DECISION))
    assert answer.status.startswith(status)
    assert (answer.problem, answer.fault.code) == (failure.problem.id, code)
    assert answer.fault.detail[0].findtext("{*}Text") == failure.detail
    verified(answer)


def test_memory_that_is_used_up_is_not_the_fault_of_the_agency(world: World) -> None:
    world.handler.failure = MemoryError()
    answer = world.post(agency_call("SubmitDecision", DECISION))
    assert (answer.status[:3], answer.problem, answer.fault.code) == ("503", "GW806", "Server")
    verified(answer)


def test_a_crash_is_our_mistake_and_quotes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.handler.failure = ValueError("secret value 760101-1234567")
    with caplog.at_level(logging.DEBUG):
        answer = world.post(agency_call("SubmitDecision", DECISION))
    assert (answer.status, answer.problem) == ("500 Internal Server Error", "GW901")
    assert b"secret" not in answer.body
    assert "secret" not in caplog.text
    (line,) = [format_text(record) for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("soap: ValueError at ")
    assert line.endswith(" partner=agency message_id=urn:uuid:call-1")
    assert not [record for record in caplog.records if record.name.startswith("spyne")]


def test_what_xml_cannot_carry_is_left_out_of_a_fault(world: World) -> None:
    world.handler.failure = GatewayError(REPLY_UNMATCHED, "a\x00b\ud800c\nd" + "x" * 5000, "\x1b[31m")
    answer = world.post(agency_call("SubmitDecision", DECISION))
    assert answer.problem == "GW701"
    text = answer.fault.detail[0].findtext("{*}Text")
    assert text.startswith("a b c d")
    assert len(text) == 500


def test_refusals_write_no_content_into_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for body, _, _ in REFUSED.values():
            world.post(body)
        world.post(agency_call("SubmitDecision", DECISION))
    assert "R01" not in caplog.text
    assert "keep  dry" not in caplog.text


def test_the_same_octets_are_taken_once(world: World) -> None:
    body = agency_call("Acknowledge", ACKNOWLEDGE)
    assert world.post(body).status == "200 OK"
    assert world.post(body).problem == "GW211"
    assert len(world.handler.said) == 1


def test_a_repeat_signed_anew_goes_to_the_handler_which_knows_it(world: World) -> None:
    for seconds in (0, 1):
        body = agency_call("Acknowledge", ACKNOWLEDGE, at=NOW + timedelta(seconds=seconds))
        assert world.post(body).status == "200 OK"
    first, second = world.handler.said
    assert first[0] == second[0]


def test_a_message_id_means_one_thing_once_it_was_taken(world: World) -> None:
    other = agency_call("Acknowledge", ACKNOWLEDGE.replace("A-1", "A-2"))
    assert world.post(agency_call("Acknowledge", ACKNOWLEDGE)).status == "200 OK"
    assert world.post(other).problem == "GW312"


def test_a_refused_call_leaves_its_message_id_free(world: World) -> None:
    world.handler.failure = GatewayError(REPLY_UNMATCHED)
    assert world.post(agency_call("Acknowledge", ACKNOWLEDGE)).problem == "GW701"
    world.handler.failure = None
    assert world.post(agency_call("Acknowledge", ACKNOWLEDGE.replace("A-1", "A-2"))).status == "200 OK"


def test_without_a_key_the_fault_is_unsigned_and_still_an_answer() -> None:
    class Lost:
        certificate = signer("hub").certificate
        algorithm = signer("hub").algorithm

        def sign(self, data: bytes) -> bytes:
            raise RuntimeError("token gone")

    application = build_agency_service(Recorder().apply, security(signer=Lost))
    answer = World(Recorder(), application).post(agency_call("Acknowledge", ACKNOWLEDGE))
    assert answer.problem == "GW901"


def test_while_the_key_is_away_nothing_is_answered_and_a_repeat_is_answered_then() -> None:
    class Away:
        certificate = signer("hub").certificate
        algorithm = signer("hub").algorithm
        away = True

        def sign(self, data: bytes) -> bytes:
            if self.away:
                raise GatewayError(KEY_UNAVAILABLE, "the token is away")
            return signer("hub").sign(data)

    key, handler = Away(), Recorder()
    world = World(handler, build_agency_service(handler.apply, security(signer=lambda: key)))
    answer = world.post(agency_call("Acknowledge", ACKNOWLEDGE))
    assert (answer.status, answer.problem) == ("503 Service Unavailable", "GW803")
    assert b"Signature" not in answer.body
    assert b"AcknowledgeResponse" not in answer.body
    key.away = False
    again = world.post(agency_call("Acknowledge", ACKNOWLEDGE, at=NOW + timedelta(seconds=1)))
    assert again.status == "200 OK"
    assert verified(again).action == f"{SERVICE_AGENCY}:AcknowledgeResponse"
    assert [said for said, _ in handler.said] == [AgencyCallback(AgencyAcknowledgment("R 1"), "A-1")] * 2


def test_a_judge_that_breaks_is_our_mistake() -> None:
    def admit(*_: object) -> str:
        raise KeyError("x")

    application = build_agency_service(Recorder().apply, security(admit=admit))
    assert World(Recorder(), application).post(agency_call("Acknowledge", ACKNOWLEDGE)).problem == "GW901"


def test_the_wsdl_is_the_file_with_our_address(world: World) -> None:
    answer = call(world.application, {"REQUEST_METHOD": "GET", "QUERY_STRING": "wsdl"})
    shipped = get_data_folder("wsdl").joinpath("hub-agency.wsdl").read_bytes()
    assert answer.body == shipped.replace(b"http://localhost/soap/agency", ADDRESS.encode())
    assert answer.body != shipped
    bare = build_agency_service(Recorder().apply, security(addresses=()))
    assert call(bare, {"REQUEST_METHOD": "GET", "QUERY_STRING": "WSDL"}).body == shipped


@pytest.mark.parametrize(
    "environ", [{"REQUEST_METHOD": "GET"}, {"REQUEST_METHOD": "PUT", "QUERY_STRING": "wsdl"}, {}]
)
def test_other_methods_are_not_served(world: World, environ: dict[str, Any]) -> None:
    answer = call(world.application, environ)
    assert (answer.status, answer.headers["Allow"]) == ("405 Method Not Allowed", "POST")


GOOD = agency_call("SubmitDecision", DECISION)


@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_a_signed_call_is_taken_and_nothing_escapes(world: World, data: st.DataObject) -> None:
    """Cut, doubled or replaced octets: a fault each time, unless the change is none to XML."""
    start = data.draw(st.integers(0, len(GOOD) - 1))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    new = data.draw(
        st.one_of(
            st.binary(max_size=12), st.just(GOOD[start:end] * 2), st.sampled_from([b"<", b"&x;", b"]]>"])
        )
    )
    body = GOOD[:start] + new + GOOD[end:]
    before = len(world.handler.said)
    answer = world.post(body)
    assert answer.status[:3] in ("200", "400", "413", "415", "500")
    for said, _ in world.handler.said[before:]:
        assert said.answer.decisions[1].decision == DecisionCode.REJECTED


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_any_octets_get_a_fault(world: World, body: bytes) -> None:
    assert world.post(body).problem in ("GW104", "GW105", "GW102")


@pytest.mark.long
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.text(max_size=40), form=st.sampled_from(["{}", "text/xml; charset={}", "text/xml; charset*={}"])
)
def test_any_content_type_is_judged(world: World, kind: str, form: str) -> None:
    answer = world.post(b"<x/>", CONTENT_TYPE=form.format(kind))
    assert answer.problem in ("GW101", "GW105")


@pytest.mark.long
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(action=st.text(max_size=40))
def test_any_soap_action_is_judged(world: World, action: str) -> None:
    answer = world.post(agency_call("Acknowledge", "<x/>"), HTTP_SOAPACTION=action)
    assert answer.problem in ("GW304", "GW402", "GW211")
