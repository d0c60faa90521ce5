"""The service `/soap/agency` with a handler that writes down what it is told."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from lxml import etree

from gateway.cases import AgencyCallback, Notice
from gateway.errors import CERTIFICATE_UNTRUSTED, DECISION_CONFLICT, GatewayError
from gateway.pki import Certificate, load_signer, read_certificate
from gateway.web.agency_service import build_agency_service
from gateway.web.soap_security import AnswerHeader, Caller, SoapSecurityPolicy
from gateway.wire import parse_xml, read_envelope
from tests.kit.soap import MemoryOfCalls

FOLDER = Path(os.environ["INTEROP_FOLDER"])
KNOWN = {
    read_certificate((FOLDER / f"{name}.cert.pem").read_bytes()).sha256: name
    for name in ("agency-rsa", "agency-ec")
}


def admit(certificate: Certificate, now: datetime) -> str:
    if certificate.sha256 not in KNOWN:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "nobody knows this certificate")
    return KNOWN[certificate.sha256]


def apply(call: AgencyCallback | etree._Element, caller: Caller) -> AnswerHeader | None:
    """Write one line for each call; a notice whose number starts with C is a conflict, with E a mistake.

    With O it is overruled by the notice 10.
    """
    assert isinstance(call, AgencyCallback)
    number = call.answer.number if isinstance(call.answer, Notice) else ""
    if number.startswith("C"):
        raise GatewayError(DECISION_CONFLICT, "R01 with REJECTED", "SubmitDecision/Decision[1]")
    if number.startswith("E"):
        raise ZeroDivisionError(number)
    (element,) = read_envelope(parse_xml(caller.envelope)).body_elements
    with (FOLDER / "calls").open("a", encoding="utf-8") as file:
        file.write(f"{etree.QName(element).localname} {caller.party} {call!r}\n")
    return AnswerHeader("Overruled", "10") if number.startswith("O") else None


application = build_agency_service(
    apply,
    SoapSecurityPolicy(
        signer=lambda: load_signer(
            (FOLDER / "hub-rsa.key.pem").read_bytes(), (FOLDER / "hub-rsa.cert.pem").read_bytes()
        ),
        admit=admit,
        clock=lambda: datetime.now(UTC),
        new_id=lambda: f"urn:uuid:{uuid.uuid4()}",
        memory=MemoryOfCalls(),
        addresses=(os.environ["INTEROP_ADDRESS"],),
    ),
)
