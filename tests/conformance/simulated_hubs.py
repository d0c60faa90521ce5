"""The hub as simulated partners meet it: its key, its calls, and a service of its own that can misbehave."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.cases import AgencyAnswer, AgencyCallback
from gateway.client import HttpReply, IncomingRequest, PartnerServer
from gateway.delivery import HttpClient, HttpLimits, ServiceCall, load_contract
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.service_contracts import CallAttachment
from gateway.delivery.soap_client import AnswerPolicy, open_signed_answer, sign_call
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.harmonize import load_bundle, make_placeholder_numbers, split_submission
from gateway.pki import Certificate, KeySigner, load_signer, read_certificate
from gateway.share import get_data_folder
from gateway.web.agency_service import build_agency_service
from gateway.web.soap_security import Caller, SoapSecurityPolicy
from gateway.wire import SoapFault, parse_xml, read_envelope, read_fault
from gateway.xmlsec import STRICT, verify_soap_envelope
from gateway_conformance.pki import SandboxParty, make_sandbox
from tests.kit.paths import ROOT
from tests.kit.soap import MemoryOfCalls

SAMPLE = (ROOT / "conformance/samples/import-three-items.xml").read_bytes()
LABEL = (ROOT / "conformance/samples/korean-label.pdf").read_bytes()
NAMES = ("hub", "agency", "customs", "broker", "stranger")
_numbers = itertools.count(1)


def clock() -> datetime:
    return datetime.now(UTC)


def make_partners(where: Path) -> Path:
    """Make a folder with the keys of everybody: hub and broker RSA, the rest EC."""
    kinds = {"hub": "rsa-2048", "broker": "rsa-2048"}
    parties = [SandboxParty(name, key_kind=kinds.get(name, "p-256")) for name in NAMES]
    make_sandbox(where, parties, clock())
    return where


def signer_of(keys: Path, name: str) -> KeySigner:
    return _load_signer((keys / f"{name}.key.pem").read_bytes(), (keys / f"{name}.cert.pem").read_bytes())


@cache
def _load_signer(key: bytes, certificate: bytes) -> KeySigner:
    # Reading a key proves its primes, which takes longer than a test.
    return load_signer(key, certificate)


@cache
def documents() -> Mapping[str, bytes]:
    """Return the request to each agency that the sample submission becomes."""
    root = parse_xml(SAMPLE)
    done = split_submission(root, load_bundle(get_data_folder("mappings")), make_placeholder_numbers(root))
    return {one.organisation: etree.tostring(one.xml) for one in done.requests}


@cache
def numbers() -> Mapping[str, str]:
    """Return the application number in each of these documents."""
    found = make_placeholder_numbers(parse_xml(SAMPLE))
    by_agency = {"KPTA": "A1", "KFDA": "A2", "NPQS": "A3"}
    return {agency: found[application]["application_number"] for agency, application in by_agency.items()}


def label() -> CallAttachment:
    return CallAttachment("korean-label@sample", "application/pdf", LABEL)


def application(url: str, agency: str = "KFDA", **changes: Any) -> ServiceCall:
    """Return the call that hands the sample's application to an agency; `changes` are those of `Call`."""
    values: dict[str, Any] = {
        "operation": "SubmitApplication",
        "message_id": f"urn:uuid:call-{next(_numbers)}",
        "address": url,
        "arguments": {"ApplicationNumber": numbers()[agency], "CaseNumber": "SW-1"},
        "document": parse_xml(documents()[agency]),
        "attachments": (label(),) if agency == "KFDA" else (),
    }
    return ServiceCall(**(values | changes))


@dataclass
class CallingHub:
    """The hub's calling side: the real contract, the real signature, the real judgement of answers."""

    keys: Path
    partner: str = "agency"
    wsdl: str = "agency-template.wsdl"
    by: str = "hub"
    time_out: float = 20.0

    def compose(self, call: ServiceCall) -> bytes:
        return load_contract(self.wsdl).compose_envelope(call)

    def send(self, url: str, envelope: bytes, spoil: Callable[[bytes], bytes] = bytes) -> HttpAnswer:
        """Sign and send once; `spoil` changes the octets after the signature."""
        sealed = sign_call(envelope, load_contract(self.wsdl), signer_of(self.keys, self.by), clock())
        sender = HttpClient(
            HttpLimits(connect_seconds=60, read_seconds=self.time_out, total_seconds=self.time_out)
        )
        try:
            return sender.post(url, sealed.headers, spoil(sealed.body))
        finally:
            sender.close()

    def call(self, url: str, call: ServiceCall | bytes) -> AgencyAnswer:
        """Make a call and return what the partner answered, judged as the hub judges it."""
        envelope = call if isinstance(call, bytes) else self.compose(call)
        agreed = load_contract(self.wsdl)
        sealed = sign_call(envelope, agreed, signer_of(self.keys, self.by), clock())
        sender = HttpClient(
            HttpLimits(connect_seconds=60, read_seconds=self.time_out, total_seconds=self.time_out)
        )
        try:
            answer = sender.post(url, sealed.headers, sealed.body)
        finally:
            sender.close()
        return open_signed_answer(answer, sealed, agreed, AnswerPolicy(check_signer=self._judge), clock())[0]

    def _judge(self, certificate: Certificate, _: datetime) -> None:
        if certificate.sha256 != signer_of(self.keys, self.partner).certificate.sha256:
            raise GatewayError(SIGNER_MISMATCH, "not the partner")

    def fault(self, answer: HttpAnswer) -> SoapFault:
        """Return the fault of an answer, which the partner must have signed."""
        root = parse_xml(answer.body)
        fault = read_fault(read_envelope(root))
        assert fault is not None, answer.body
        self._judge(verify_soap_envelope(root, STRICT, now=clock()).certificate, clock())
        return fault


@dataclass
class Heard:
    """One call of an agency: its operation, what it said, and the octets."""

    operation: str
    said: AgencyCallback
    message_id: str
    envelope: bytes


@dataclass
class ListeningHub:
    """The hub's service for agencies with a handler that writes down; answers 503 to `refuse` calls first.

    With `repeats` every answer is the one to the first call.
    """

    keys: Path
    refuse: int = 0
    signs_as: str = "hub"
    repeats: bool = False
    answered: list[bytes] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    delivered: list[etree._Element] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._application = build_agency_service(self._apply, self._security())
        self.server = PartnerServer(self._serve)
        self.url = f"http://127.0.0.1:{self.server.port}/soap/agency"
        self.server.start()

    def _security(self) -> SoapSecurityPolicy:
        known = {read_certificate((self.keys / "agency.cert.pem").read_bytes()).sha256: "agency"}

        def admit(certificate: Certificate, _: datetime) -> str:
            if certificate.sha256 not in known:
                raise GatewayError(SIGNER_MISMATCH, "nobody knows this certificate")
            return known[certificate.sha256]

        return SoapSecurityPolicy(
            signer=lambda: signer_of(self.keys, self.signs_as),
            admit=admit,
            clock=clock,
            new_id=lambda: f"urn:uuid:answer-{next(_numbers)}",
            memory=MemoryOfCalls(),
        )

    def _serve(self, request: IncomingRequest) -> HttpReply:
        if self.refuse:
            self.refuse -= 1
            self.refused.append(request.body)
            return HttpReply(503, "text/plain", b"later\n")
        environ = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": request.headers["content-type"],
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_SOAPACTION": request.headers.get("soapaction", ""),
            "wsgi.input": io.BytesIO(request.body),
        }
        status: list[str] = []
        body = b"".join(self._application(environ, lambda line, *_: status.append(line)))
        self.answered.append(body)
        return HttpReply(int(status[0][:3]), body=self.answered[0] if self.repeats else body)

    def _apply(self, call: AgencyCallback | etree._Element, caller: Caller) -> None:
        if not isinstance(call, AgencyCallback):
            self.delivered.append(call)
            return
        (element,) = read_envelope(parse_xml(caller.envelope)).body_elements
        operation = etree.QName(element).localname
        self.heard.append(Heard(operation, call, caller.message_id, caller.envelope))

    def close(self) -> None:
        self.server.close()
