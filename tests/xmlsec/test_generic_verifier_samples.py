"""Any signature judged: our own profiles, and files that many other programs wrote."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import parse_xml
from gateway.xmlsec import (
    LEGACY_NORWAY,
    STRICT,
    sign_document,
    sign_soap_envelope,
    verify_any_signature,
    verify_document,
)
from gateway_conformance.message_signing import sign_message
from tests.xmlsec.sample_messages import ATTACHMENTS, document, message, one, request, reread

PARTS = {
    "cid:declaration@broker.example": ATTACHMENTS["declaration@broker.example"],
    "cid:certificate%201%25@broker.example": ATTACHMENTS["certificate 1%@broker.example"],
}


def test_messages(signer: KeySigner) -> None:
    root = message()
    sign_message(root, ATTACHMENTS, signer)
    judgement = verify_any_signature(reread(root), PARTS, STRICT)
    assert judgement.verdict == "valid", judgement
    assert judgement.covered == ("/", *PARTS)
    assert judgement.certificate == signer.certificate
    changed = {uri: content + b" " for uri, content in PARTS.items()}
    judgement = verify_any_signature(reread(root), changed, STRICT)
    assert (judgement.verdict, judgement.covered) == ("invalid", ())
    missing = verify_any_signature(reread(root), {}, STRICT)
    assert (missing.verdict, missing.problem and missing.problem.id) == ("invalid", "GW108")


def test_requests_and_documents(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    judgement = verify_any_signature(reread(root), {}, STRICT)
    assert judgement.verdict == "valid", judgement
    assert judgement.covered[:2] == (
        "/soap:Envelope/soap:Body",
        "/soap:Envelope/soap:Header/wsse:Security/wsu:Timestamp",
    )
    root = document("d1")
    sign_document(root, signer, now=now)
    assert verify_any_signature(reread(root), {}, STRICT).covered[0] == "/"
    one(root, "//ds:SignatureValue").text = "AAAA"
    assert verify_any_signature(reread(root), {}, STRICT).verdict == "invalid"
    judgement = verify_any_signature(document(), {}, STRICT)
    assert (judgement.verdict, judgement.problem and judgement.problem.id) == ("invalid", "GW201")


# written by other programs, most of them in Java
VALID = [
    "dss/tsl/eu-lotl.xml",
    "dss/tsl/eu-lotl-250.xml",
    "dss/tsl/eu-lotl-pivot.xml",
    "dss/tsl/fi-v6.xml",
    "dss/tsl/ie-tl.xml",
    "dss/xades/dss2517/xades-valid-object.xml",
    "dss/xades/dss2517/xades-valid-reference.xml",
    "dss/xades/dss3732/xades-enveloped-arcTst132.xml",
    "dss/xades/dss1770/dss1770.xml",
    "dss/xades/Signature-X-CZ_SEF-4.xml",
    "xmldsig-signxml/xades/11068_signed.xml",
]
INVALID = [
    "dss/tsl/eu-lotl-broken-sig.xml",
    "dss/tsl/eu-lotl-no-tl-version.xml",
    "dss/tsl/fi-v6-no-service-information.xml",
    "dss/tsl/fi-v6-no-tsp-information.xml",
]


@pytest.mark.vectors
@pytest.mark.parametrize("name", VALID + INVALID)
def test_files_of_others(vectors: Path, name: str) -> None:
    root = parse_xml((vectors / "vectors" / name).read_bytes())
    judgement = verify_any_signature(root, {}, LEGACY_NORWAY)
    assert judgement.verdict == ("valid" if name in VALID else "invalid"), judgement
    assert bool(judgement.covered) == (name in VALID)


@pytest.mark.vectors
def test_no_file_raises_anything_else(vectors: Path) -> None:
    verdicts: Counter[str] = Counter()
    by_profile: list[str] = []
    folders = ("xmldsig-signxml", "xmldsig-xmlsec", "xmldsig-santuario", "dss")
    for path in (path for folder in folders for path in (vectors / "vectors" / folder).rglob("*.xml")):
        data = path.read_bytes()
        if b"SignatureValue" not in data:
            continue
        try:
            root = parse_xml(data)
        except GatewayError:
            verdicts["not read"] += 1
            continue
        verdicts[verify_any_signature(root, {}, LEGACY_NORWAY).verdict] += 1
        with contextlib.suppress(GatewayError):
            verify_document(root)
            by_profile.append(path.name)
    assert sum(verdicts.values()) > 500
    assert verdicts["valid"] >= len(VALID)
    assert verdicts["invalid"] >= len(INVALID)
    # by the Digital Signature Service in Java, and by a commercial archive
    assert {"fi-v6.xml", "xades-valid-reference.xml"} <= set(by_profile)
