"""Vouching: two signatures, and who may give the second."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta

import pytest

from gateway.errors import GatewayError
from gateway.recognition import (
    Admission,
    RecognitionContext,
    SchemePointer,
    TrustedList,
    admit_voucher,
    open_vouched_document,
    vouch_for_document,
)
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document
from gateway_conformance.foreign_verifier import find_signature_fault
from gateway_conformance.pki import IssuedCertificate, issue_certificate
from tests.recognition.sample_lists import (
    DAY,
    NOW,
    country,
    document,
    own_list,
    rule,
    service,
    standing,
    trust,
)

GATEWAY = issue_certificate(country("Zed").authority, "CN=Zed Gateway", NOW - 10 * DAY)
RULES = (rule(["gold"], ["vouched"], "qualified"), rule(["tin"], ["vouched"], "basic"))


def made(
    *levels: str, gateway: IssuedCertificate = GATEWAY, at: datetime = NOW, territory: str = "ZZ"
) -> bytes:
    return vouch_for_document(document("Yan"), levels or ("gold",), territory, gateway.signer, now=at)


def root(signer: IssuedCertificate = GATEWAY, territory: str = "ZZ", role: str = "voucher") -> TrustedList:
    named = SchemePointer(territory, (signer.certificate,), role, rules=RULES)  # type: ignore[arg-type]
    return own_list(schemes=(named,))[1]


def judged(data: bytes, own: TrustedList | None, *, trusted: bool = True) -> Admission:
    anchors = [
        country("Home").authority.certificate,
        *([country("Zed").authority.certificate] if trusted else []),
    ]
    return admit_voucher(open_vouched_document(data), NOW, RecognitionContext(trust(*anchors), own))


def test_both_signatures_are_kept() -> None:
    data = document("Yan")
    octets = vouch_for_document(data, ["gold", "tin"], "ZZ", GATEWAY.signer, now=NOW)
    assert find_signature_fault(octets, GATEWAY.certificate, NOW) is None
    vouched = open_vouched_document(octets)
    assert vouched.document == data
    assert verify_document(parse_xml(vouched.document)).certificate == country("Yan").party.certificate
    assert (vouched.signer, vouched.voucher) == (country("Yan").party.certificate, GATEWAY.certificate)
    assert (vouched.territory, vouched.levels, vouched.judged) == ("ZZ", {"gold", "tin"}, NOW)


def test_who_vouched_is_told() -> None:
    admission = judged(made(), root())
    assert (admission.mode, admission.levels) == ("vouched", {"qualified"})
    assert admission.source == "CN=Zed Gateway for ZZ, admitted by anchor"
    assert judged(made("gold", "tin"), root()).levels == {"qualified", "basic"}


def test_of_whom_we_judge_ourselves_no_word_is_asked() -> None:
    """What stands on our list is there to be read, by whomever it is vouched for."""
    named = SchemePointer("ZZ", (GATEWAY.certificate,), "voucher", rules=RULES)
    told = {}
    for status in ("granted", "withdrawn"):
        listed = service(country("Yan").authority, standing("ca", status))
        own = own_list(schemes=(named,), services=(listed,), rules=(rule(["ca"], ["granted"], "basic"),))[1]
        found = judged(made(), own)
        told[status] = (found.mode, found.verdict.reason)
    assert told["granted"] == ("vouched", "")
    mode, reason = told["withdrawn"]
    assert (mode, "is 'withdrawn' on the list of KR" in reason) == (None, True)


@pytest.mark.parametrize(
    ("data", "own", "words"),
    [
        (made(), None, "no own trusted list"),
        (made(), root(role="list"), "may not vouch"),
        (made(), root(territory="YY"), "may not vouch"),
        (made(territory="YY"), root(), "may not vouch"),
        (made(), root(country("Mallory").party), "may not vouch"),
        (made("lead"), root(), "no rule maps"),
        (made(at=NOW - timedelta(days=1, seconds=1)), root(), "too long ago"),
        (made(at=NOW + timedelta(hours=1)), root(), "in the future"),
    ],
    ids=["no list", "role", "territory", "other territory", "signer", "level", "old", "future"],
)
def test_a_word_that_counts_for_nothing(data: bytes, own: TrustedList | None, words: str) -> None:
    admission = judged(data, own)
    assert (admission.mode, admission.levels) == (None, frozenset())
    assert words in admission.verdict.reason


def test_a_named_voucher_must_be_good_itself() -> None:
    assert judged(made(), root(), trusted=False).mode is None


def test_a_document_whose_signature_is_wrong_is_not_vouched_for() -> None:
    with pytest.raises(GatewayError, match="GW202"):
        vouch_for_document(
            document("Yan").replace(b"cargo", b"arms!"), ["gold"], "ZZ", GATEWAY.signer, now=NOW
        )


def resealed(change: dict[bytes, bytes]) -> bytes:
    """Change what the gateway says and have the gateway sign that."""
    data = made()
    bare = data[: data.index(b"<ds:Signature")] + b"</Vouched>"
    for before, after in change.items():
        assert before in bare
        bare = bare.replace(before, after)
    return serialize_element(sign_document(parse_xml(bare), GATEWAY.signer, now=NOW))


def carried(document: bytes) -> dict[bytes, bytes]:
    inner = open_vouched_document(made()).document
    return {
        base64.b64encode(inner): base64.b64encode(document),
        hashlib.sha256(inner).hexdigest().encode(): hashlib.sha256(document).hexdigest().encode(),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (carried(document("Yan").replace(b"cargo", b"arms!")), "GW202"),
        (carried(document("Mallory")), "GW209 vouched for another signer"),
        ({b'version="1"': b'version="2"'}, "GW402 not a document that was vouched for"),
        ({b'judged="2026': b'judged="2036'}, "GW209 .* not valid when it was judged"),
        (
            {hashlib.sha256(document("Yan")).hexdigest().encode(): b"00"},
            "GW402 the document has another digest",
        ),
    ],
    ids=["inner changed", "inner of another", "version", "judged later", "digest"],
)
def test_a_gateway_that_errs_is_found_out(change: dict[bytes, bytes], words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        open_vouched_document(resealed(change))


def test_the_outer_signature_is_looked_at_first() -> None:
    data = made()
    with pytest.raises(GatewayError, match="GW202"):
        open_vouched_document(data.replace(b'territory="ZZ"', b'territory="YY"'))
    with pytest.raises(GatewayError, match="GW202"):
        open_vouched_document(data.replace(b'value="gold"', b'value="lead"'))


def test_nobody_vouches_for_himself() -> None:
    party = country("Yan").party
    with pytest.raises(GatewayError, match="GW209 a party cannot vouch for itself"):
        open_vouched_document(made(gateway=party))
