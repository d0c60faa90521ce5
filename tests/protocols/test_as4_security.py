"""AS4: signature wrapping, what is not covered, tampering, and every way to name the signer's certificate."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from lxml import etree

from gateway.agreements import PModeIndex
from gateway.errors import GatewayError
from gateway.message_model import Payload, UserMessage
from gateway.pki import Certificate, get_parsed_certificate
from gateway.protocols import Parcel, as4
from gateway.protocols.as4.message_sealing import build_parcel, make_parts, write_as4_envelope
from gateway.wire import DS, SOAP12, WSSE, WSU, X509_PKI_PATH_TOKEN, X509_TOKEN
from gateway.xmlsec import SigningToken, SwaAttachment, write_swa_security
from tests.protocols import as4_samples, sample_parties

AGREED = sample_parties.pmode("as4", **as4_samples.TERMS)
Change = Callable[[etree._Element], object]
SECURITY = "soap12:Header/wsse:Security"
KEY_INFO = f"{SECURITY}/ds:Signature/ds:KeyInfo"


def refusal(parcel: Parcel, known: tuple[Certificate, ...] = ()) -> str:
    with pytest.raises(GatewayError) as caught:
        as4.verify_parcel(parcel, "strict", sample_parties.context(candidate_certificates=known))
    return str(caught.value)


def changed(change: Change) -> str:
    """Return the refusal of a good message with a changed envelope."""
    return refusal(as4_samples.change_tree(as4_samples.seal(), change))


def set_text(path: str, text: str) -> Change:
    def change(root: etree._Element) -> None:
        as4_samples.find(root, path).text = text

    return change


def move_messaging_away(root: etree._Element) -> None:
    """Put another Messaging into the header and the signed one where nobody reads it."""
    header = as4_samples.find(root, "soap12:Header")
    signed = as4_samples.find(header, "eb3:Messaging")
    forged = copy.deepcopy(signed)
    forged.set(f"{{{WSU}}}Id", "other")
    as4_samples.find(forged, ".//eb3:Action").text = "Forged"
    header.replace(signed, forged)
    etree.SubElement(header, "{urn:x}wrap").append(signed)


def rename_signed_block(root: etree._Element) -> None:
    """Give the id of the signed Messaging to a second block of another name."""
    header = as4_samples.find(root, "soap12:Header")
    signed = as4_samples.find(header, "eb3:Messaging")
    other = etree.SubElement(header, "{urn:x}block")
    other.set(f"{{{WSU}}}Id", signed.get(f"{{{WSU}}}Id", ""))


def swap_body(root: etree._Element) -> None:
    """Put the signed Body into the header, and an unsigned one with content in its place."""
    body = as4_samples.find(root, "soap12:Body")
    fresh = etree.Element(body.tag)
    etree.SubElement(fresh, "{urn:x}payload")
    root.replace(body, fresh)
    etree.SubElement(as4_samples.find(root, "soap12:Header"), "{urn:x}wrap").append(body)


def drop_reference(prefix: str) -> Change:
    def change(root: etree._Element) -> None:
        info = as4_samples.find(root, f"{SECURITY}/ds:Signature/ds:SignedInfo")
        for one in info.findall("ds:Reference", as4_samples.NAMES):
            if one.get("URI", "").startswith(prefix):
                info.remove(one)

    return change


def copy_signature(root: etree._Element) -> None:
    signature = as4_samples.find(root, f"{SECURITY}/ds:Signature")
    etree.SubElement(as4_samples.find(root, "soap12:Header"), "{urn:x}wrap").append(copy.deepcopy(signature))


def add_security(root: etree._Element) -> None:
    etree.SubElement(as4_samples.find(root, "soap12:Header"), f"{{{WSSE}}}Security")


def add_comment(root: etree._Element) -> None:
    as4_samples.find(root, ".//eb3:Service").append(etree.Comment("x"))


def set_role(root: etree._Element) -> None:
    as4_samples.find(root, SECURITY).set(f"{{{SOAP12}}}role", "ebms")


def set_other_role(root: etree._Element) -> None:
    as4_samples.find(root, SECURITY).set(f"{{{SOAP12}}}role", "urn:other")


def set_transform(root: etree._Element) -> None:
    for one in root.iter(f"{{{DS}}}Transform"):
        if "Attachment" in one.get("Algorithm", ""):
            one.set("Algorithm", "http://www.w3.org/2001/10/xml-exc-c14n#")


ROLE = f"{{{SOAP12}}}role"


@pytest.mark.parametrize("role", ["next", "ultimateReceiver"])
def test_a_header_is_for_us_by_each_role_of_the_last_receiver(role: str) -> None:
    address = f"http://www.w3.org/2003/05/soap-envelope/role/{role}"

    def address_security(root: etree._Element) -> None:
        # The role of Security is not signed.
        as4_samples.find(root, SECURITY).set(ROLE, address)

    opened = as4_samples.verify(as4_samples.change_tree(as4_samples.seal(), address_security))
    assert opened.verified_signature is not None

    def address_messaging(root: etree._Element) -> None:
        as4_samples.find(root, "soap12:Header/eb3:Messaging").set(ROLE, address)

    # It is read, and it is signed.
    assert changed(address_messaging).startswith("GW202 the digest of reference '#messaging-")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_other_role, "GW311 this Security header is for another role"),
        (move_messaging_away, "GW107 eb:Messaging must occur once"),
        (rename_signed_block, "GW202 identifier 'messaging-"),
        (swap_body, "GW311 a payload in the SOAP Body"),
        (drop_reference("#messaging"), "GW203 this part must be signed and is not at /soap12:Envelope/"),
        (drop_reference("#body"), "GW203 this part must be signed"),
        (drop_reference("cid:p2"), "GW203 the signature does not cover part 'p2@broker.example'"),
        (copy_signature, "GW202 a Security header may hold one signature"),
        (add_security, "GW202 wsse:Security must occur once"),
        (add_comment, "GW107"),
        (set_role, "GW311 a name with a password"),
        (set_transform, "GW202 an attachment must be signed by its content"),
        (set_text(".//eb3:Action", "Forged"), "GW202 the digest of reference '#messaging-"),
        (set_text(".//ds:DigestValue", "A" * 43 + "="), "GW202 the signature value is wrong"),
        (set_text(f"{SECURITY}/wsse:BinarySecurityToken", "AAAA"), "GW205"),
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(change: Change, said: str) -> None:
    assert changed(change).startswith(said)


def test_a_changed_part_is_refused() -> None:
    parcel = sample_parties.replaced(as4_samples.seal(), "가".encode(), "나".encode())
    assert "the digest of reference 'cid:p1@broker.example' is wrong" in refusal(parcel)


def test_parts_are_digested_by_their_media_type() -> None:
    # The space in a tag is not in the canonical form of XML, and line ends of a text become CRLF.
    for old, new in ((b'<a b="1">', b"<a  b='1' >"), (b"one\ntwo", b"one\r\ntwo")):
        as4_samples.verify(sample_parties.replaced(as4_samples.seal(), old, new))
    parcel = sample_parties.replaced(as4_samples.seal(), b'<a b="1">', b'<a b="1"><!-- x -->')
    assert refusal(parcel).startswith("GW203 the signature does not cover comments")


def test_the_type_of_a_part_is_the_one_that_is_signed() -> None:
    parcel = sample_parties.replaced(
        as4_samples.seal(), b"Content-Type: application/octet-stream", b"Content-Type: application/pdf"
    )
    assert refusal(parcel).startswith("GW103 the part is 'application/pdf', and its MimeType")


def seal_without_types(unit: UserMessage) -> Parcel:
    """Return a message as of a handler that writes no MimeType, which AS4 wants of compressed parts alone."""
    context = sample_parties.context()
    envelope = write_as4_envelope(unit, is_compressed=False)
    properties = re.compile(r"<eb3:PartProperties>.*?</eb3:PartProperties>")
    envelope = replace(envelope, messaging=properties.sub("", envelope.messaging))
    parts = make_parts(unit.payloads, is_compressed=False)
    written = write_swa_security(
        {envelope.messaging_id: envelope.messaging.encode(), envelope.body_id: envelope.body.encode()},
        {part.content_id: SwaAttachment(part.media_type, part.octets) for part in parts},
        context.signers["broker1"],
        SigningToken("token"),
    )
    return build_parcel(envelope.with_security(written.text), parts, unit.message_id)


def test_a_type_that_nothing_signs_is_not_handed_on() -> None:
    parcel = seal_without_types(as4_samples.message())
    for changed_type in (b"application/octet-stream", b"application/pdf", b"image/png"):
        sent = sample_parties.replaced(
            parcel, b"Content-Type: application/octet-stream", b"Content-Type: " + changed_type
        )
        opened = as4.open_units(sent, sample_parties.context(agreements=PModeIndex((AGREED,))))
        payloads = opened.unit.payloads  # type: ignore[union-attr]
        assert {one.media_type for one in payloads} == {"application/octet-stream"}
        assert [one.octets for one in payloads] == [one.octets for one in as4_samples.message().payloads]
        # Of XML and text the canonical form is signed: those digests are not of what is handed on.
        assert set(opened.payload_digests) == {"p2@broker.example"}


def test_a_part_that_is_not_named_and_one_that_is_missing_are_refused() -> None:
    parcel = sample_parties.replaced(as4_samples.seal(), b"cid:p3@broker.example", b"cid:p4@broker.example")
    # The signature names it, too, and is asked first: it is the one who is believed.
    assert refusal(parcel).startswith("GW108 the signed part 'p4@broker.example' is not in the message")
    without = as4_samples.change_tree(
        as4_samples.seal(),
        lambda root: as4_samples.find(root, ".//eb3:PayloadInfo").remove(
            as4_samples.find(root, ".//eb3:PartInfo[3]")
        ),
    )
    assert refusal(without).startswith("GW103 PayloadInfo does not name this part")


def test_what_else_stands_in_a_security_header_is_refused() -> None:
    def add(root: etree._Element) -> None:
        as4_samples.find(root, SECURITY).insert(0, etree.Element(f"{{{WSSE}}}UsernameToken"))

    assert changed(add).startswith("GW311 UsernameToken in a Security header is not supported")


def test_soap_of_another_version_and_another_media_type_are_refused() -> None:
    parcel = as4_samples.seal()
    assert refusal(Parcel({"Content-Type": "text/xml"}, parcel.body)).startswith("GW10")
    alone = as4_samples.find_envelope(sample_parties.octets(as4_samples.seal(as4_samples.ERROR)))
    old = alone.replace(SOAP12.encode(), b"http://schemas.xmlsoap.org/soap/envelope/")
    assert refusal(sample_parties.parcel(old, "application/soap+xml")).startswith(
        "GW105 the envelope must be SOAP 1.2"
    )


def name_by(kind: str, certificate: Certificate) -> Change:
    """Return a change that names the signer's certificate in another way; KeyInfo itself is not signed."""
    parsed = get_parsed_certificate(certificate)
    encode = lambda octets: base64.b64encode(octets).decode()  # noqa: E731
    authority = sample_parties.authority().certificate
    path_content = authority.der + certificate.der
    path = b"\x30\x82" + len(path_content).to_bytes(2) + path_content
    both = [get_parsed_certificate(authority), parsed]
    profile = X509_TOKEN.removesuffix("X509v3")
    texts = {
        "token": (X509_TOKEN, encode(certificate.der)),
        "path": (X509_PKI_PATH_TOKEN, encode(path)),
        "pkcs7": (f"{profile}PKCS7", encode(pkcs7.serialize_certificates(both, Encoding.DER))),
    }
    digest = hashlib.sha1(certificate.der, usedforsecurity=False).digest()
    identifiers = {
        "key": (f"{profile}X509SubjectKeyIdentifier", encode(certificate.subject_key_identifier or b"")),
        "whole": (X509_TOKEN, encode(certificate.der)),
        "thumb": ("http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1",
                  encode(digest)),
    }  # fmt: skip

    def change(root: etree._Element) -> None:
        reference = as4_samples.find(root, f"{KEY_INFO}/wsse:SecurityTokenReference")
        if kind in texts:
            token = as4_samples.find(root, f"{SECURITY}/wsse:BinarySecurityToken")
            token.set("ValueType", texts[kind][0])
            token.text = texts[kind][1]
            reference[0].set("ValueType", texts[kind][0])
            return
        del reference[0]
        if kind in identifiers:
            named = etree.SubElement(reference, f"{{{WSSE}}}KeyIdentifier", ValueType=identifiers[kind][0])
            named.text = identifiers[kind][1]
            return
        data = etree.SubElement(reference, f"{{{DS}}}X509Data")
        if kind == "data":
            etree.SubElement(data, f"{{{DS}}}X509Certificate").text = encode(certificate.der)
            return
        issuer = etree.SubElement(data, f"{{{DS}}}X509IssuerSerial")
        etree.SubElement(issuer, f"{{{DS}}}X509IssuerName").text = parsed.issuer.rfc4514_string()
        etree.SubElement(issuer, f"{{{DS}}}X509SerialNumber").text = str(certificate.serial)

    return change


@pytest.mark.parametrize("kind", ["token", "path", "pkcs7", "key", "whole", "thumb", "data", "issuer"])
def test_every_way_to_name_the_certificate(kind: str) -> None:
    signer = sample_parties.issued("broker1").certificate
    parcel = as4_samples.change_tree(as4_samples.seal(), name_by(kind, signer))
    others = (signer, sample_parties.issued("hub").certificate)
    context = sample_parties.context(candidate_certificates=others)
    opened = as4.verify_parcel(parcel, "strict", context)
    assert opened.verified_signature is not None
    assert opened.verified_signature.certificate == signer
    if kind in ("key", "thumb", "issuer"):
        assert refusal(parcel).startswith("GW205 no known certificate fits this description")
    forged = as4_samples.change_tree(
        as4_samples.seal(), name_by(kind, sample_parties.issued("broker2").certificate)
    )
    assert "the signature value is wrong" in refusal(
        forged, (*others, sample_parties.issued("broker2").certificate)
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("wsse:Reference", "GW202"),
        ("ds:KeyName", "GW202 this way to name a token is not supported"),
    ],
)
def test_other_names_of_a_certificate_are_refused(path: str, said: str) -> None:
    def change(root: etree._Element) -> None:
        reference = as4_samples.find(root, f"{KEY_INFO}/wsse:SecurityTokenReference")
        prefix, _, local = path.partition(":")
        reference[0].tag = f"{{{as4_samples.NAMES[prefix]}}}{local}"
        reference[0].set("URI", "#nowhere")

    assert changed(change).startswith(said)


def test_identity_is_that_of_the_content() -> None:
    first, again = (as4_samples.verify(as4_samples.seal()) for _ in range(2))
    assert first.identity == again.identity
    unit = as4_samples.message()
    for other in (
        replace(unit, action="Other"),
        replace(
            unit, payloads=(Payload("p1@broker.example", "application/xml", b"<b/>"), *unit.payloads[1:])
        ),
    ):
        assert as4_samples.verify(as4_samples.seal(other)).identity != first.identity


def test_a_timestamp_is_accepted_signed_or_not() -> None:
    def add_timestamp(root: etree._Element) -> None:
        stamp = etree.SubElement(as4_samples.find(root, SECURITY), f"{{{WSU}}}Timestamp")
        etree.SubElement(stamp, f"{{{WSU}}}Created").text = "2001-01-01T00:00:00Z"

    as4_samples.verify(as4_samples.change_tree(as4_samples.seal(), add_timestamp))
