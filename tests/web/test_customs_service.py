"""The service that customs calls has every rule of the one that agencies call, and is for customs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lxml import etree

from gateway.cases import ClearedItem, CustomsCall, CustomsNotice, CustomsReason
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.share import get_data_folder
from gateway.web.agency_service import apply_call_of_customs, build_customs_service
from gateway.web.soap_security import Caller
from gateway.wire import (
    SERVICE_CUSTOMS,
    SOAP11,
    WSA,
    WSSE,
    WSU,
    AddressingHeaders,
    parse_xml,
    serialize_element,
)
from tests.kit.soap import NOW, envelope, issued, signed, wrapper
from tests.web.test_agency_service import (
    ENVELOPE_12,
    HEADLESS,
    World,
    address,
    block,
    call,
    drop,
    put,
    security,
    verified,
)

CLEARANCE = """<CaseNumber>SW-1</CaseNumber><NoticeNumber>K  1</NoticeNumber>
<IssuedAt>2026-11-20T18:00:00+09:00</IssuedAt><ResultCode>5EC</ResultCode><Text> released </Text>
<Item><item>1</item><ResultCode>5EC</ResultCode></Item>"""
ANSWER = """<CaseNumber>SW-1</CaseNumber><NoticeNumber>K-2</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt>
<ResultCode>R25</ResultCode><Reason><Code>E1</Code><Pointer> 42A/67A[1] </Pointer><Text>wrong</Text></Reason>
<Reason><Text>bad</Text></Reason>"""
ADDRESS = "https://hub.example/soap/customs"
OWN = f"{{{SERVICE_CUSTOMS}}}"
Change = Callable[[etree._Element], object]


@dataclass
class Recorder:
    """Keeps what customs says in its calls."""

    said: list[tuple[CustomsCall, Caller]] = field(default_factory=list)

    def apply(self, call: CustomsCall, caller: Caller) -> None:
        self.said.append((call, caller))


@pytest.fixture
def world() -> World:
    handler: Any = Recorder()
    return World(handler, build_customs_service(handler.apply, security(addresses=(ADDRESS,))))


def customs_call(content: str = CLEARANCE, operation: str = "ReportClearance", **words: Any) -> bytes:
    """Return a signed call of customs."""
    values = AddressingHeaders(f"{SERVICE_CUSTOMS}:{operation}", words.pop("message_id", "urn:uuid:call-1"))
    return signed(envelope(wrapper(SERVICE_CUSTOMS, operation, content), values), **words)


def changed(change: Change) -> bytes:
    """Return a good call, changed after it was signed."""
    root = parse_xml(customs_call())
    change(root)
    return serialize_element(root)


def with_headers(change: Change) -> bytes:
    """Return a call whose header is changed before it is signed."""
    values = AddressingHeaders(f"{SERVICE_CUSTOMS}:ReportClearance", "urn:uuid:call-1")
    root = envelope(wrapper(SERVICE_CUSTOMS, "ReportClearance", CLEARANCE), values)
    change(root[0])
    return signed(root)


def wrap(root: etree._Element) -> None:
    etree.SubElement(root[0], "{urn:x}Wrapper").append(root[-1])
    forged = etree.SubElement(root, f"{{{SOAP11}}}Body")
    forged.append(wrapper(SERVICE_CUSTOMS, "ReportClearance", CLEARANCE.replace("5EC", "10")))


def test_a_result_of_clearance(world: World) -> None:
    octets = customs_call()
    answer = world.post(octets)
    assert answer.status == "200 OK"
    assert verified(answer).relates_to == "urn:uuid:call-1"
    [(said, caller)] = world.handler.said
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    notice = CustomsNotice("K 1", at, "5EC", " released ", items=(ClearedItem(1, "5EC"),))
    assert said == CustomsCall(notice, case_number="SW-1", is_clearance_result=True)  # type: ignore[comparison-overlap]
    assert caller.envelope == octets
    by_reference = CLEARANCE.replace("CaseNumber", "DeclarationReference")
    assert world.post(customs_call(by_reference, message_id="urn:uuid:call-2")).status == "200 OK"
    assert world.handler.said[-1][0] == CustomsCall(notice, reference="SW-1")  # type: ignore[comparison-overlap]


def test_the_second_item_has_a_result_of_its_own(world: World) -> None:
    second = "</Item><Item><item> 3 </item><ResultCode> 10\n</ResultCode></Item>"
    assert world.post(customs_call(CLEARANCE.replace("</Item>", second))).status == "200 OK"
    said: Any = world.handler.said[0][0]
    assert said.notice.items == (ClearedItem(1, "5EC"), ClearedItem(3, "10"))


def test_an_answer_that_comes_later(world: World) -> None:
    assert world.post(customs_call(ANSWER, "ReportAnswer")).status == "200 OK"
    said: Any = world.handler.said[0][0]
    assert not said.is_clearance_result
    assert said.notice.reasons == (CustomsReason("wrong", "42A/67A[1]", "E1"), CustomsReason("bad"))


REFUSED = {
    "unsigned": (changed(drop(f"{{{WSSE}}}Security")), "GW201"),
    "stranger": (customs_call(by="stranger"), "GW209"),
    "expired": (customs_call(at=NOW - timedelta(minutes=6)), "GW211"),
    "future": (customs_call(at=NOW + timedelta(minutes=2)), "GW211"),
    "code changed": (changed(put(f"{OWN}ResultCode", "10")), "GW202"),
    "MessageID changed": (changed(put(f"{{{WSA}}}MessageID", "urn:x")), "GW202"),
    "timestamp changed": (changed(put(f"{{{WSU}}}Created", "2026-11-20T09:00:00.001Z")), "GW202"),
    "header added": (changed(lambda root: block(f"{{{WSA}}}To", ADDRESS)(root[0])), "GW203"),
    "wrapped": (changed(wrap), "GW107"),
    "second body": (changed(lambda root: root.append(parse_xml(serialize_element(root[-1])))), "GW107"),
    "two requests": (
        changed(lambda root: root[-1].append(parse_xml(serialize_element(root[-1][0])))),
        "GW311",
    ),
    "no MessageID": (with_headers(drop(f"{{{WSA}}}MessageID")), "GW107"),
    "another Action": (with_headers(put(f"{{{WSA}}}Action", f"{SERVICE_CUSTOMS}:ReportAnswer")), "GW304"),
    "to the service of agencies": (
        with_headers(block(f"{{{WSA}}}To", "https://hub.example/soap/agency")),
        "GW304",
    ),
    "reply elsewhere": (with_headers(address("ReplyTo", "http://attacker.example/")), "GW311"),
    "unknown mandatory block": (with_headers(block("{urn:x}Trace", mustUnderstand="1")), "GW106"),
    "no argument": (customs_call(""), "GW402"),
    "both names": (customs_call("<DeclarationReference>Q</DeclarationReference>" + CLEARANCE), "GW402"),
    "item zero": (customs_call(CLEARANCE.replace("<item>1<", "<item>0<")), "GW402"),
    "time without zone": (customs_call(CLEARANCE.replace("+09:00", "")), "GW402"),
    "entity": (b'<!DOCTYPE x [<!ENTITY e "y">]><x>&e;</x>', "GW104"),
    "deep": (b"<x>" * 500 + b"</x>" * 500, "GW102"),
    "SOAP 1.2": (ENVELOPE_12, "GW105"),
    "no header": (HEADLESS, "GW107"),
}


@pytest.mark.long
@pytest.mark.parametrize(("body", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_signed_fault(world: World, body: bytes, problem: str) -> None:
    answer = world.post(body)
    assert answer.problem == problem
    assert world.handler.said == []
    assert verified(answer).action == f"{SERVICE_CUSTOMS}:Refusal"


def test_the_same_octets_are_taken_once_and_a_repeat_signed_anew_goes_to_the_handler(world: World) -> None:
    octets = customs_call()
    assert world.post(octets).status == "200 OK"
    assert world.post(octets).problem == "GW211"
    assert world.post(customs_call(at=NOW + timedelta(seconds=1))).status == "200 OK"
    other = customs_call(CLEARANCE.replace("5EC", "10"))
    assert world.post(other).status == "500 Internal Server Error"
    assert len(world.handler.said) == 2


def test_the_wsdl_is_the_file_with_our_address(world: World) -> None:
    answer = call(world.application, {"REQUEST_METHOD": "GET", "QUERY_STRING": "wsdl"})
    shipped = get_data_folder("wsdl").joinpath("hub-customs.wsdl").read_bytes()
    assert answer.body == shipped.replace(b"http://localhost/soap/customs", ADDRESS.encode())


def test_an_agency_is_not_customs() -> None:
    hub: Any = None
    said = CustomsCall(CustomsNotice("K1", NOW, "5EC"), case_number="SW-1")
    caller = Caller("KFDA", issued("agency").certificate, "urn:uuid:1", b"")
    with pytest.raises(GatewayError) as refused:
        apply_call_of_customs(hub, "customs", said, caller)
    assert refused.value.problem is SIGNER_MISMATCH
