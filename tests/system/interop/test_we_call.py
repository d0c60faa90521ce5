"""CXF takes our calls and we take its answers, of every kind."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment, DecisionCode, Notice
from gateway.delivery import HttpClient, HttpLimits, ServiceCall
from gateway.delivery import load_contract as contract_named
from gateway.delivery.service_contracts import CallAttachment, ServiceContract
from gateway.delivery.soap_client import (
    AnswerPolicy,
    SoapCaller,
    SoapDestination,
    open_signed_answer,
    sign_call,
)
from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError
from gateway.pki import Certificate
from gateway.share import get_data_folder
from gateway.wire import AGENCY, bind_document_namespaces, canonicalize_element, parse_xml, serialize_element
from tests.system.interop.peer import Keys, Peer, Serving

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

DOCUMENT = "urn:single-window:document:interop:1"
DECLARATION = "urn:wco:datamodel:WCO:DEC-DMS:2"
SCHEMA = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="{DOCUMENT}"
 elementFormDefault="qualified"><xs:element name="Request"><xs:complexType><xs:sequence>
 <xs:element name="At" type="xs:dateTime"/><xs:element name="Quantity" type="xs:decimal"/>
 <xs:element name="Text" type="xs:string" maxOccurs="unbounded"/></xs:sequence>
 <xs:attribute name="note"/></xs:complexType></xs:element></xs:schema>"""
REQUEST = etree.fromstring(
    f'<d:Request xmlns:d="{DOCUMENT}" note=" a  b "><d:At>2026-11-20T09:00:00.000Z</d:At>\n'
    f'<Quantity xmlns="{DOCUMENT}">010.500</Quantity>'
    "<d:Text>  의약품 &amp; 𠮷 &#13; </d:Text><d:Text/></d:Request>"
)
NOTICE = f"""<SubmitApplicationResponse xmlns="{AGENCY}"><Answer><Notice><NoticeNumber>N-1</NoticeNumber>
<IssuedAt>${{now}}</IssuedAt><StatusCode>R01</StatusCode><Decision><item>1</item><law>01</law>
<decision>APPROVED</decision><quantity>10.500</quantity></Decision><Text>좋음</Text></Notice></Answer>
</SubmitApplicationResponse>"""
RECEIPT = "<Answer><Acknowledged><ReceiptNumber>R-${count}</ReceiptNumber></Acknowledged></Answer>"
RECEIVED = f'<SubmitApplicationResponse xmlns="{AGENCY}">{RECEIPT}</SubmitApplicationResponse>'
RULES = {
    "notice": {"response": NOTICE},
    "client": {"fault": {"code": "Client", "text": "no such law"}},
    "server": {"fault": {"code": "Server", "text": "database is down"}},
    "busy": {"http": 503, "text": "busy"},
    "garbage": {"garbage": True},
    "unsigned": {"unsigned": True, "response": RECEIVED},
    "wrong": {
        "response": f'<SubmitApplicationResponse xmlns="{AGENCY}"><Answer/></SubmitApplicationResponse>'
    },
    "other": {"response": RECEIVED.replace("SubmitApplication", "CancelApplication")},
    "lost": {"close": True, "response": RECEIVED},
}


def rules() -> str:
    """Return rules by ApplicationNumber: what comes before its dash names the behaviour."""
    listed = [
        {"name": name, "when": {"xpath": {"//a:ApplicationNumber": f"/^{name}-/"}}, "then": then}
        | ({"times": 1} if name == "lost" else {})
        for name, then in RULES.items()
    ]
    receipt = f'<${{body.name}}Response xmlns="${{body.namespace}}">{RECEIPT}</${{body.name}}Response>'
    listed.append({"name": "receipt", "when": {}, "then": {"response": receipt}})
    return json.dumps({"namespaces": {"a": AGENCY}, "rules": listed})


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ServiceContract]:
    place = tmp_path_factory.mktemp("wsdl")
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    data = bind_document_namespaces(template, "INTEROP", {DOCUMENT: "request.xsd"})
    (place / "agency.wsdl").write_bytes(data)
    (place / "request.xsd").write_text(SCHEMA, encoding="utf-8")
    (place / "rules.json").write_text(rules(), encoding="utf-8")
    return place, ServiceContract("INTEROP", data)


#: What signatures are made and verified by; the rest is the same with each key.
EACH_KEY = pytest.mark.parametrize("agency", ["agency-rsa", "agency-ec"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def agency(
    peer: Peer,
    contract: tuple[Path, ServiceContract],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Serving]]:
    place = contract[0]
    options = (
        "--wsdl",
        place / "agency.wsdl",
        "--validate-xsd",
        "--rules",
        place / "rules.json",
    )
    party = getattr(request, "param", "agency-rsa")
    with peer.serve(tmp_path_factory.mktemp("agency"), *options, party=party) as serving:
        yield party, serving


@dataclass(frozen=True)
class Line:
    """A line from us to one office of the agency."""

    keys: Keys
    contract: ServiceContract
    party: str
    url: str
    sender: HttpClient

    def judge(self, certificate: Certificate, now: datetime) -> None:
        if certificate.sha256 != self.keys.issued[self.party].certificate.sha256:
            raise GatewayError(CERTIFICATE_UNTRUSTED, "not the agency")

    def compose(self, number: str, message_id: str | None = None, **more: object) -> bytes:
        arguments = {"ApplicationNumber": number, "CaseNumber": "C-1"}
        message_id = message_id or f"urn:uuid:{uuid.uuid4()}"
        return self.contract.compose_envelope(
            ServiceCall(
                "SubmitApplication", message_id, self.url, arguments, more.pop("document", REQUEST), **more
            )
        )

    def deliver(self, envelope: bytes, by: str = "hub-rsa") -> object:
        call = sign_call(envelope, self.contract, self.keys.issued[by].signer, datetime.now(UTC))
        answer = self.sender.post(self.url, call.headers, call.body)
        return open_signed_answer(answer, call, self.contract, AnswerPolicy(self.judge), datetime.now(UTC))[0]


@pytest.fixture
def line(
    peer: Peer, contract: tuple[Path, ServiceContract], agency: tuple[str, Serving]
) -> Iterator[Callable[[str], Line]]:
    sender = HttpClient(HttpLimits(total_seconds=60))
    party, serving = agency
    yield lambda code: Line(peer.keys, contract[1], party, serving.url(code), sender)
    sender.close()


@EACH_KEY
@pytest.mark.parametrize("by", ["hub-rsa", "hub-ec"])
def test_a_call_is_taken_validated_and_answered(
    line: Callable[[str], Line], agency: tuple[str, Serving], by: str
) -> None:
    code = f"TAKEN-{by}"
    office = line(code)
    assert isinstance(office.deliver(office.compose("A-1"), by), AgencyAcknowledgment)
    assert agency[1].count(code, "received") == 1


def test_what_arrives_is_what_was_split(line: Callable[[str], Line], agency: tuple[str, Serving]) -> None:
    office = line("SAME")
    office.deliver(
        office.compose("A-1", attachments=(CallAttachment("a@b", "application/pdf", b"%PDF" * 9000),))
    )
    [file] = (agency[1].home / "SAME").glob("*.envelope.xml")
    there = parse_xml(file.read_bytes()).find(f".//{{{DOCUMENT}}}Request")
    assert canonicalize_element(there, exclusive=True) == canonicalize_element(REQUEST, exclusive=True)


@pytest.mark.night
def test_a_document_against_its_schema_is_refused_there(line: Callable[[str], Line]) -> None:
    """The strict wildcard is enforced by the far side: it shows that the check above was made at all."""
    office = line("STRICT")
    wrong = etree.fromstring(f'<Request xmlns="{DOCUMENT}"><At>yesterday</At></Request>')
    with pytest.raises(GatewayError) as caught:
        office.deliver(office.compose("A-1", document=wrong))
    assert caught.value.problem.id in ("GW602", "GW608")


def test_a_repeat_is_answered_as_the_first_time_and_counts_once(
    line: Callable[[str], Line], agency: tuple[str, Serving]
) -> None:
    office = line("REPEAT")
    envelope = office.compose("A-1")
    answers = [office.deliver(envelope) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert (agency[1].count("REPEAT", "received"), agency[1].count("REPEAT", "duplicates")) == (1, 2)


def test_after_a_lost_answer_the_repeat_gets_it(
    line: Callable[[str], Line], agency: tuple[str, Serving]
) -> None:
    office = line("LOST")
    envelope = office.compose("lost-1")
    with pytest.raises(GatewayError) as caught:
        office.deliver(envelope)
    assert caught.value.problem.id == "GW601"
    assert isinstance(office.deliver(envelope), AgencyAcknowledgment)
    assert agency[1].count("LOST", "received") == 1


@pytest.mark.night
def test_identical_octets_would_be_a_replay(line: Callable[[str], Line]) -> None:
    """Why every attempt is signed anew."""
    office = line("REPLAY")
    call = sign_call(
        office.compose("A-1"), office.contract, office.keys.issued["hub-rsa"].signer, datetime.now(UTC)
    )
    first, second = (office.sender.post(office.url, call.headers, call.body) for _ in range(2))
    assert (first.status, second.status) == (200, 500)


def test_another_body_under_the_same_message_id_is_refused(
    line: Callable[[str], Line], agency: tuple[str, Serving]
) -> None:
    office = line("CONFLICT")
    office.deliver(office.compose("A-1", "urn:uuid:same"))
    with pytest.raises(GatewayError):
        office.deliver(office.compose("A-2", "urn:uuid:same"))
    assert agency[1].count("CONFLICT", "received") == 1


@pytest.mark.night
def test_a_stranger_is_refused_by_the_agency_and_asked_again_later(line: Callable[[str], Line]) -> None:
    office = line("STRANGER")
    with pytest.raises(GatewayError) as caught:
        office.deliver(office.compose("A-1"), "stranger")
    assert caught.value.problem.id == "GW608"


@pytest.mark.night
@EACH_KEY
def test_a_notice(line: Callable[[str], Line]) -> None:
    office = line("NOTICE")
    answer = office.deliver(office.compose("notice-1"))
    assert isinstance(answer, Notice)
    assert (answer.number, answer.status_code, answer.text) == ("N-1", "R01", "좋음")
    assert [(one.item, one.law, one.decision, str(one.quantity)) for one in answer.decisions] == [
        (1, "01", DecisionCode.APPROVED, "10.500")
    ]


@pytest.mark.night
@pytest.mark.parametrize(
    ("number", "expected", "words"),
    [
        ("client-1", "GW602", "no such law"),
        ("server-1", "GW608", "database is down"),
        ("busy-1", "GW608", "503"),
        ("garbage-1", "GW603", "GW104"),
        ("unsigned-1", "GW603", "GW201"),
    ],
)
def test_other_answers(line: Callable[[str], Line], number: str, expected: str, words: str) -> None:
    office = line("OTHER")
    with pytest.raises(GatewayError) as caught:
        office.deliver(office.compose(number))
    assert caught.value.problem.id == expected
    assert words in f"{caught.value.detail} {caught.value.theirs}"


@pytest.mark.night
@pytest.mark.parametrize("number", ["wrong-1", "other-1"])
def test_an_answer_against_the_contract(line: Callable[[str], Line], number: str) -> None:
    """CXF, which validates, makes a fault of it; either way it is tried again."""
    office = line("WRONG")
    with pytest.raises(GatewayError) as caught:
        office.deliver(office.compose(number))
    assert caught.value.problem.id in ("GW603", "GW608")


@EACH_KEY
def test_the_caller_of_the_hub_does_the_same(line: Callable[[str], Line], peer: Peer) -> None:
    """`SoapCaller` over the shipped template and an address from the settings."""
    office = line("AGENT")
    destination = SoapDestination("agency-template.wsdl", office.url, AnswerPolicy(office.judge))
    agent = SoapCaller(office.sender, lambda: peer.keys.issued["hub-ec"].signer, lambda: datetime.now(UTC))
    arguments = {"ApplicationNumber": "A-1", "Reason": "취하"}
    cancel = ServiceCall("CancelApplication", "urn:uuid:cancel", destination.endpoint, arguments)
    posted = agent.post_call(contract_named(destination.wsdl).compose_envelope(cancel), destination)
    assert isinstance(agent.read_answer(posted)[0], AgencyAcknowledgment)


def receipts(place: Path) -> Path:
    """Return a rules file that acknowledges everything."""
    answer = f'<${{body.name}}Response xmlns="${{body.namespace}}">{RECEIPT}</${{body.name}}Response>'
    file = place / "receipts.json"
    file.write_text(json.dumps({"rules": [{"name": "receipt", "when": {}, "then": {"response": answer}}]}))
    return file


@pytest.mark.night
def test_customs_checks_the_declaration_in_its_shell_and_bare(
    peer: Peer, vectors: Path, tmp_path: Path
) -> None:
    agreed = contract_named("customs.wsdl")
    wsdl = Path(str(get_data_folder("wsdl").joinpath("customs.wsdl")))
    shell = parse_xml((vectors / "data" / "own" / "import-three-items.xml").read_bytes())
    bare = shell.find(f".//{{{DECLARATION}}}Declaration")
    wrong = parse_xml(serialize_element(shell))
    etree.SubElement(wrong.find(f".//{{{DECLARATION}}}Declaration"), f"{{{DECLARATION}}}Nonsense")
    options = ("--wsdl", wsdl, "--validate-xsd", "--explain-faults", "--rules", receipts(tmp_path))
    sender = HttpClient(HttpLimits(total_seconds=60))
    with peer.serve(tmp_path / "customs", *options) as serving:
        office = Line(peer.keys, agreed, "agency-rsa", serving.url("CUSTOMS"), sender)

        def register(document: etree._Element) -> object:
            call = ServiceCall(
                "RegisterDeclaration", f"urn:uuid:{uuid.uuid4()}", office.url, {"CaseNumber": "C"}, document
            )
            return office.deliver(agreed.compose_envelope(call))

        assert isinstance(register(shell), AgencyAcknowledgment)
        assert isinstance(register(bare), AgencyAcknowledgment)
        with pytest.raises(GatewayError) as caught:
            register(wrong)
    sender.close()
    assert "Nonsense" in caught.value.theirs
