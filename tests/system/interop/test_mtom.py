"""CXF with MTOM switched on: we take its answers and its faults, and its calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment
from gateway.delivery import HttpClient, HttpLimits, ServiceCall, load_contract
from gateway.delivery.soap_client import AnswerPolicy, open_signed_answer, sign_call
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.pki import Certificate
from gateway.wire import AGENCY, SERVICE_AGENCY, parse_xml
from gateway.xmlsec import STRICT, verify_soap_envelope
from tests.system.interop.conftest import Hub
from tests.system.interop.peer import Peer, Serving, build

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

#: The product's own switch, for its services and for its client.
WITH_MTOM = {
    "Serve.java": (
        "endpoint.publish(address);",
        'endpoint.getProperties().put("mtom-enabled", "true"); endpoint.publish(address);',
    ),
    # What the program keeps of its request ends only when the last part is written.
    "Call.java": (
        "message.getInterceptorChain().add(new AbstractPhaseInterceptor<Message>(Phase.PRE_STREAM_ENDING) {",
        'message.put("mtom-enabled", "true"); message.getInterceptorChain().add('
        "new AbstractPhaseInterceptor<Message>(Phase.PREPARE_SEND_ENDING) { { addBefore("
        '"org.apache.cxf.interceptor.MessageSenderInterceptor$MessageSenderEndingInterceptor"); }',
    ),
}
RECEIPT = "<Answer><Acknowledged><ReceiptNumber>R-1</ReceiptNumber></Acknowledged></Answer>"
RESPONSE = f'<SubmitApplicationResponse xmlns="{AGENCY}">{RECEIPT}</SubmitApplicationResponse>'
RULES = {
    "namespaces": {"a": AGENCY},
    "rules": [
        {
            "name": "fault",
            "when": {"xpath": {"//a:ApplicationNumber": "/^fault/"}},
            "then": {"fault": {"code": "Client", "text": "no such law"}},
        },
        {
            "name": "receipt",
            "when": {},
            "then": {"response": RESPONSE},
        },
    ],
}
CONTRACT = load_contract("agency-template.wsdl")


@pytest.fixture(scope="module")
def mtom_peer(peer: Peer, vectors: Path) -> Peer:
    return Peer(build(vectors / "peers" / "cxf-agency", WITH_MTOM), peer.keys)


@pytest.fixture(scope="module")
def agency(mtom_peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    place = tmp_path_factory.mktemp("agency")
    (place / "rules.json").write_text(json.dumps(RULES), encoding="utf-8")
    with mtom_peer.serve(place / "home", "--rules", place / "rules.json") as serving:
        yield serving


@pytest.mark.parametrize("number", ["A-1", "fault-1"])
def test_its_answers_and_faults_are_read(peer: Peer, agency: Serving, number: str) -> None:
    url, own = agency.url("MTOM"), peer.keys.issued["agency-rsa"].certificate.sha256

    def judge(certificate: Certificate, _: datetime) -> None:
        if certificate.sha256 != own:
            raise GatewayError(SIGNER_MISMATCH, "not the agency")

    words = {"ApplicationNumber": number, "CaseNumber": "C-1"}
    document = etree.fromstring('<D xmlns="urn:single-window:document:test-doc:1"/>')
    stored = CONTRACT.compose_envelope(
        ServiceCall("SubmitApplication", f"urn:uuid:{uuid.uuid4()}", url, words, document)
    )
    now = datetime.now(UTC)
    call = sign_call(stored, CONTRACT, peer.keys.issued["hub-rsa"].signer, now)
    sender = HttpClient(HttpLimits(total_seconds=60))
    answer = sender.post(url, call.headers, call.body)
    sender.close()
    assert "application/xop+xml" in answer.headers["content-type"]
    assert b"application/ciphervalue" in answer.body, "the certificate is a part of its own"
    if number == "fault-1":
        with pytest.raises(GatewayError, match="GW602") as refused:
            open_signed_answer(answer, call, CONTRACT, AnswerPolicy(judge), now)
        assert "no such law" in refused.value.theirs
        return
    read, kept = open_signed_answer(answer, call, CONTRACT, AnswerPolicy(judge), now)
    assert read == AgencyAcknowledgment("R-1")
    assert verify_soap_envelope(parse_xml(kept.envelope), STRICT, now=now).certificate.sha256 == own


def test_its_calls_are_taken_and_it_believes_the_answer(mtom_peer: Peer, hub: Hub, tmp_path: Path) -> None:
    before = len(hub.calls())
    content = "<ApplicationNumber>A-1</ApplicationNumber><ReceiptNumber>R-1</ReceiptNumber>"
    file, sent = tmp_path / "body.xml", tmp_path / "sent"
    file.write_text(f'<Acknowledge xmlns="{SERVICE_AGENCY}">{content}</Acknowledge>', encoding="utf-8")
    options = ("--wsdl", f"{hub.url}?wsdl", "--operation", "Acknowledge", "--body", file)
    report = mtom_peer.call(*options, "--save-request", sent)
    assert b"application/xop+xml" in sent.read_bytes()
    assert report["ok"], report
    assert report["response_signed"]
    assert len(hub.calls()) == before + 1
