"""The service `/soap/agency` with a handler that writes down what it is told."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from gateway.cases.agency_notices import AgencyCallback, Notice
from gateway.errors import CERTIFICATE_UNTRUSTED, DECISION_CONFLICT, GatewayError
from gateway.pki.certificates import Certificate, read_certificate
from gateway.pki.signing_keys import load_signer
from gateway.web.agency_service import build_agency_service
from gateway.web.soap_security import Caller, SoapSecurityPolicy

FOLDER = Path(os.environ["INTEROP_FOLDER"])
KNOWN = {
    read_certificate((FOLDER / f"{name}.cert.pem").read_bytes()).sha256: name
    for name in ("agency-rsa", "agency-ec")
}


def admit(certificate: Certificate, now: datetime) -> str:
    if certificate.sha256 not in KNOWN:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "nobody knows this certificate")
    return KNOWN[certificate.sha256]


class Handler:
    """Writes one line for each call; a notice whose number starts with C is a conflict, with E a mistake."""

    def acknowledge(self, said: AgencyCallback, caller: Caller) -> None:
        self.write("acknowledge", said, caller)

    def request_information(self, said: AgencyCallback, caller: Caller) -> None:
        self.write("request_information", said, caller)

    def submit_decision(self, said: AgencyCallback, caller: Caller) -> None:
        assert isinstance(said.answer, Notice)
        if said.answer.number.startswith("C"):
            raise GatewayError(DECISION_CONFLICT, "R01 with REJECTED", "SubmitDecision/Decision[1]")
        if said.answer.number.startswith("E"):
            raise ZeroDivisionError(said.answer.number)
        self.write("submit_decision", said, caller)

    def write(self, name: str, said: AgencyCallback, caller: Caller) -> None:
        with (FOLDER / "calls").open("a", encoding="utf-8") as file:
            file.write(f"{name} {caller.party} {said!r}\n")


application = build_agency_service(
    Handler(),
    SoapSecurityPolicy(
        signer=lambda: load_signer(
            (FOLDER / "hub-rsa.key.pem").read_bytes(), (FOLDER / "hub-rsa.cert.pem").read_bytes()
        ),
        admit=admit,
        clock=lambda: datetime.now(UTC),
        new_id=lambda: f"urn:uuid:{uuid.uuid4()}",
        addresses=(os.environ["INTEROP_ADDRESS"],),
    ),
)
