"""Signatures of ebMS 2.0 messages that must be accepted, our own and those of others."""

from __future__ import annotations

import email
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import DS, EB, canonicalize_document, parse_xml, serialize_element
from gateway.xmlsec import LEGACY_NORWAY, STRICT, find_signature
from gateway.xmlsec.ebms2_signature import ENVELOPE_TRANSFORMS
from gateway.xmlsec.xml_signature import read_reference
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.message_signing import append_reference, sign_message, verify_message_signature
from tests.xmlsec.sample_messages import ACK_NEXT, ATTACHMENTS, STYLES, SYNC_REPLY, message, one, reread


@pytest.mark.long
@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "p-521", "ed25519"])
@pytest.mark.parametrize("style", STYLES)
def test_what_we_sign_verifies(signers: dict[str, KeySigner], kind: str, style: str) -> None:
    root = message(style)
    sign_message(root, ATTACHMENTS, signers[kind])
    signed = verify_message_signature(reread(root), ATTACHMENTS, STRICT)
    assert signed.certificate == signers[kind].certificate
    assert signed.signature_algorithm == signers[kind].algorithm
    assert [reference.uri for reference in signed.references] == [
        "",
        "cid:declaration@broker.example",
        "cid:certificate%201%25@broker.example",
    ]
    assert signed.covered == ("/", *(reference.uri for reference in signed.references[1:]))
    assert signed.excluded == (
        "/soap:Envelope/soap:Header/eb:SyncReply",
        "/soap:Envelope/soap:Header/eb:AckRequested",
    )


@pytest.mark.parametrize("style", STYLES)
def test_the_xpath_transform_run_for_real_agrees(signer: KeySigner, style: str) -> None:
    root = message(style)
    sign_message(root, ATTACHMENTS, signer)
    assert naive_verifier.accepts_signature(reread(root), ATTACHMENTS)


# not "inherited": signxml reads SignedInfo without the xml:lang that Canonical XML 1.0 lets it inherit
@pytest.mark.parametrize("style", ["usual", "capitals", "default"])
def test_signxml_agrees_where_nothing_is_filtered(signer: KeySigner, now: datetime, style: str) -> None:
    root = message(style, next_blocks="")
    sign_message(root, ATTACHMENTS, signer)
    parts = {"cid:" + quote(name, safe="@"): content for name, content in ATTACHMENTS.items()}
    results = XMLVerifier().verify(
        serialize_element(root),
        x509_cert=signer.certificate.pem.decode(),
        uri_resolver=parts.get,
        validate_schema=False,
        expect_config=SignatureConfiguration(expect_references=3, verification_time=now),
    )
    assert len(results) == 3


def test_the_next_node_may_add_and_take_its_blocks(signer: KeySigner) -> None:
    root = message(next_blocks=SYNC_REPLY + ACK_NEXT)
    sign_message(root, {}, signer)
    for tag in ("SyncReply", "AckRequested"):
        naive_verifier.detach_element(next(root.iter(f"{{{EB}}}{tag}")))
    assert verify_message_signature(reread(root), {}, STRICT).excluded == ()
    plain = message(next_blocks="")
    sign_message(plain, {}, signer)
    header = plain[0]
    header.insert(1, etree.fromstring(SYNC_REPLY))
    assert verify_message_signature(reread(plain), {}, STRICT).excluded == (
        "/soap:Envelope/soap:Header/eb:SyncReply",
    )


def test_an_acknowledgment_for_the_next_node_is_excluded(signer: KeySigner) -> None:
    block = ACK_NEXT.replace("AckRequested", "Acknowledgment").replace(
        "/>",
        "><eb:Timestamp>2026-11-20T09:00:00Z</eb:Timestamp><eb:RefToMessageId>m</eb:RefToMessageId>"
        "<eb:From><eb:PartyId>urn:p</eb:PartyId></eb:From></eb:Acknowledgment>",
    )
    root = message(next_blocks=block)
    sign_message(root, {}, signer)
    assert verify_message_signature(reread(root), {}, STRICT).excluded == (
        "/soap:Envelope/soap:Header/eb:Acknowledgment",
    )


def test_the_signature_is_the_last_header_and_leaves_the_rest_alone(signer: KeySigner) -> None:
    root = message()
    before = canonicalize_document(root)
    sign_message(root, ATTACHMENTS, signer)
    element = find_signature(root)
    assert element is not None
    assert element is root[0][-1]
    assert canonicalize_document(root, (element,)) == before
    verified = canonicalize_document(root)
    verify_message_signature(root, ATTACHMENTS, STRICT)
    assert canonicalize_document(root) == verified


def test_references_survive_into_an_acknowledgment(signer: KeySigner) -> None:
    root = message("default")
    sign_message(root, ATTACHMENTS, signer)
    signed = verify_message_signature(reread(root), ATTACHMENTS, STRICT)
    for style in STYLES:
        receipt = message(style)
        for reference in signed.references:
            append_reference(receipt[0][0], reference)
        copies = reread(receipt)[0][0].iterfind(f"{{{DS}}}Reference")
        assert tuple(read_reference(copy) for copy in copies) == signed.references
    assert signed.references[0].transforms == ENVELOPE_TRANSFORMS


def test_unsigned(signer: KeySigner) -> None:
    assert find_signature(message()) is None
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(message(), {}, STRICT)
    assert refusal.value.problem.id == "GW201"
    root = message()
    sign_message(root, {}, signer)
    with pytest.raises(GatewayError) as refusal:
        sign_message(root, {}, signer)
    assert refusal.value.problem.id == "GW901"


def test_only_soap_envelopes_are_signed(signer: KeySigner) -> None:
    root = message()
    for target in (etree.Element("{http://www.w3.org/2003/05/soap-envelope}Envelope"), root[0]):
        with pytest.raises(GatewayError, match="GW202"):
            sign_message(target, {}, signer)
    assert find_signature(root) is None
    headless = message()
    headless.remove(headless[0])
    with pytest.raises(GatewayError, match="GW901"):
        sign_message(headless, {}, signer)


@pytest.mark.long
@settings(max_examples=400, deadline=None)
@given(place=st.integers(min_value=0), octet=st.integers(min_value=1, max_value=255))
def test_one_changed_octet_changes_nothing_or_is_refused(signer: KeySigner, place: int, octet: int) -> None:
    root = message(next_blocks="")
    sign_message(root, {}, signer)
    element = find_signature(root)
    assert element is not None
    data = bytearray(serialize_element(root))
    data[place % len(data)] ^= octet
    try:
        changed = parse_xml(bytes(data))
        signed = verify_message_signature(changed, {}, STRICT)
    except GatewayError:
        return
    other = find_signature(changed)
    assert other is not None
    assert canonicalize_document(changed, (other,)) == canonicalize_document(root, (element,))
    # KeyInfo is not signed: another certificate of the same key is for those who judge it
    assert signed.certificate.public_key == signer.certificate.public_key


LIVE = {
    "message-signed": ["", "cid:301b2a01-772d-490a-9d4d-c2461a1da062"],
    "message-signed-sync": ["", "cid:d313bfcd-c76d-49f1-9150-68da7c496627"],
    "message-signed-two-payloads": [
        "",
        "cid:9fe871ab-d6cc-45c3-9816-d168f5a5c5f7",
        "cid:b31ff52e-2e00-48f2-9cfb-e4adb474b616",
    ],
    "acknowledgment-signed": [""],
    "acknowledgment-signed-sync-response": [""],
}


def received(path: Path) -> tuple[etree._Element, dict[str, bytes]]:
    """Take a stored HTTP message apart, start line or not."""
    raw = path.read_bytes()
    first, rest = raw.split(b"\n", 1)
    parsed = email.message_from_bytes(rest if b":" not in first.split(b" ")[0] else raw)
    if not parsed.is_multipart():
        return parse_xml(parsed.get_payload(decode=True).strip()), {}
    top, *others = parsed.get_payload()
    parts = {part["Content-ID"].strip("<>"): part.get_payload(decode=True) for part in others}
    return parse_xml(top.get_payload(decode=True).strip()), parts


@pytest.mark.vectors
@pytest.mark.parametrize("name", LIVE)
def test_messages_of_a_live_peer(vectors: Path, name: str) -> None:
    root, parts = received(vectors / "outside/ebms2/ebms-core-live" / f"{name}.http")
    signed = verify_message_signature(root, parts, STRICT)
    assert [reference.uri for reference in signed.references] == LIVE[name]
    excluded = "/soap:Envelope/soap:Header/eb:SyncReply"
    assert signed.excluded == ((excluded,) if name == "message-signed-sync" else ())
    assert signed.certificate.subject in ("CN=party-a", "CN=party-b")
    one(root, "//eb:Timestamp/ancestor::eb:MessageData/eb:Timestamp").text = "2026-01-01T00:00:00Z"
    with pytest.raises(GatewayError, match="GW202"):
        verify_message_signature(root, parts, STRICT)


@pytest.mark.vectors
def test_unsigned_messages_of_a_live_peer(vectors: Path) -> None:
    files = sorted((vectors / "outside/ebms2/ebms-core-live").glob("*.http"))
    unsigned = [file for file in files if file.stem not in LIVE]
    assert len(unsigned) == 13
    for file in unsigned:
        with pytest.raises(GatewayError, match="GW201"):
            verify_message_signature(*received(file), STRICT)


@pytest.mark.vectors
def test_norwegian_message_passes_only_under_its_policy(vectors: Path) -> None:
    path = vectors / "outside/ebms2/messages/navikt-riktigsignature.txt"
    root, parts = received(path)
    signed = verify_message_signature(root, parts, LEGACY_NORWAY)
    assert [reference.uri for reference in signed.references] == ["", *(f"cid:{part}" for part in parts)]
    assert signed.excluded == ()
    with pytest.raises(GatewayError, match="GW204"):
        verify_message_signature(root, parts, STRICT)
    parts = {name: content + b" " for name, content in parts.items()}
    with pytest.raises(GatewayError, match="GW202"):
        verify_message_signature(root, parts, LEGACY_NORWAY)
