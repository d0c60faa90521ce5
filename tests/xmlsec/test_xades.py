"""XAdES-B of documents: our own, those of plain signxml, and what must be refused."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from lxml import etree
from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.xades import XAdESSignatureConfiguration, XAdESSigner, XAdESVerifier

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import DS, XADES, XML, canonicalize_document, canonicalize_element, serialize_element
from gateway.xmlsec import (
    SHA256,
    Transform,
    apply_canonicalization,
    compute_digest,
    sign_document,
    verify_document,
)
from gateway.xmlsec.algorithms import ED25519
from gateway_conformance.foreign_verifier import find_signature_fault
from gateway_conformance.hostile import naive_verifier
from tests.xmlsec.sample_messages import document, element, one, reread, resign

KINDS = ["rsa-2048", "p-256", "p-384"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("root_id", ["", "d1"])
def test_what_we_sign_verifies(signers: dict[str, KeySigner], now: datetime, kind: str, root_id: str) -> None:
    root = document(root_id)
    before = canonicalize_document(root)
    assert sign_document(root, signers[kind], now=now) is root
    arrived = reread(root)
    signed = verify_document(arrived)
    assert signed.certificate == signers[kind].certificate
    assert signed.signing_time == now.replace(microsecond=0)
    assert signed.covered == ("/",)
    assert signed.references[0].uri == ""
    assert arrived[-1].tag == f"{{{DS}}}Signature"
    assert canonicalize_document(arrived, (arrived[-1],)) == before


@pytest.mark.parametrize(
    "declared",
    [
        f'xmlns:dsig="{DS}"',
        f'xmlns:x="{XADES}"',
        f'xmlns="{DS}"',
        f'xmlns="urn:a" xmlns:ds="urn:b" xmlns:x="{DS}"',
        f'xmlns:ds="{DS}" xmlns:xades="{XADES}"',
    ],
)
def test_a_document_with_prefixes_of_its_own_is_signed(
    signers: dict[str, KeySigner], now: datetime, declared: str
) -> None:
    root = etree.fromstring(f"<a {declared}><b>1</b></a>")
    sign_document(root, signers["p-256"], now=now)
    assert verify_document(root).covered == ("/",)
    assert verify_document(reread(root)).covered == ("/",)


@pytest.mark.parametrize(
    "text",
    [
        '<a xmlns="urn:a"><b>1</b>가</a>',
        '<a xml:lang="ko" b="&lt;/a&gt;">x<!-- </a> --></a>',
        "<!-- before --><a>1</a><!-- after -->",
        '<n:a xmlns:n="urn:n" xmlns:ds="urn:other" q="n:b"><n:b/></n:a>',
        "<a/>",
        f'<a xmlns:dsig="{DS}"><b/></a>',
        f'<x:a xmlns:x="{XADES}"/>',
    ],
)
def test_a_document_of_any_shape_is_signed(signers: dict[str, KeySigner], now: datetime, text: str) -> None:
    octets = serialize_element(sign_document(etree.fromstring(text), signers["p-256"], now=now))
    assert verify_document(etree.fromstring(octets)).covered == ("/",)
    assert find_signature_fault(octets, signers["p-256"].certificate, now) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("root_id", ["", "d1"])
def test_plain_signxml_agrees(signers: dict[str, KeySigner], now: datetime, kind: str, root_id: str) -> None:
    root = document(root_id)
    root.set(f"{{{XML}}}lang", "ko")
    sign_document(root, signers[kind], now=now)
    results = XAdESVerifier().verify(
        serialize_element(root),
        x509_cert=signers[kind].certificate.pem.decode(),
        expect_config=XAdESSignatureConfiguration(verification_time=now),
    )
    assert len(results) == 3
    assert results[0].signed_data == canonicalize_document(root, (root[-1],))


@pytest.mark.parametrize("changed", ["//s:Reference", "//xades:SigningTime", "//ds:SignatureValue"])
def test_the_foreign_verifier_finds_a_change(signer: KeySigner, now: datetime, changed: str) -> None:
    root = sign_document(document(), signer, now=now)
    assert find_signature_fault(serialize_element(root), signer.certificate, now) is None
    target = one(root, changed)
    target.text = ("3" if target.text[0] != "3" else "4") + target.text[1:]
    assert find_signature_fault(serialize_element(root), signer.certificate, now) is not None


def test_the_foreign_verifier_needs_the_signer_and_its_time(
    signer: KeySigner, other: KeySigner, now: datetime
) -> None:
    octets = serialize_element(sign_document(document(), signer, now=now))
    assert find_signature_fault(octets, other.certificate, now) is not None
    assert find_signature_fault(octets, signer.certificate, now + timedelta(days=10_000)) is not None
    assert find_signature_fault(serialize_element(document()), signer.certificate, now) is not None


def test_the_naive_reader_agrees(signer: KeySigner, now: datetime) -> None:
    root = document("d1")
    sign_document(root, signer, now=now)
    assert naive_verifier.accepts_signature(reread(root))


def plainly_signed(signer: KeySigner, root: etree._Element, **settings: Any) -> etree._Element:
    """Sign as a program would that uses signxml as it comes."""
    made = XAdESSigner(signature_algorithm=SignatureMethod(signer.algorithm), **settings)
    certificate = x509.load_der_x509_certificate(signer.certificate.der)
    return made.sign(root, key=signer.key, cert=[certificate])


C14NS = {
    "1.1": CanonicalizationMethod.CANONICAL_XML_1_1,
    "1.0": CanonicalizationMethod.CANONICAL_XML_1_0,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", C14NS)
def test_plain_signxml_is_taken(signers: dict[str, KeySigner], kind: str, method: str) -> None:
    signer = signers[kind]
    for algorithm in (DigestAlgorithm.SHA256, DigestAlgorithm.SHA512):
        root = plainly_signed(signer, document(), c14n_algorithm=C14NS[method], digest_algorithm=algorithm)
        signed = verify_document(reread(root))
        assert signed.certificate == signer.certificate
        assert signed.signing_time is not None


def test_plain_signxml_with_an_xml_id_is_taken(signer: KeySigner) -> None:
    """Canonical XML 1.1 does not inherit the xml:id of the root; 1.0 would."""
    root = plainly_signed(signer, document("d1"))
    assert verify_document(reread(root)).certificate == signer.certificate
    assert b"xml:id" in canonicalize_element(one(root, "//ds:SignedInfo"))


def test_c14n_11_below_an_xml_base_is_refused(signer: KeySigner) -> None:
    root = document()
    root.set(f"{{{XML}}}base", "urn:base")
    with pytest.raises(GatewayError) as refusal:
        verify_document(reread(plainly_signed(signer, root)))
    assert refusal.value.problem.id == "GW204"


def test_only_known_methods_canonicalise() -> None:
    with pytest.raises(GatewayError, match="not a canonicalisation"):
        apply_canonicalization(document(), Transform("urn:x"))


def redigest(root: etree._Element, signer: KeySigner) -> None:
    """Digest the document again and sign again."""
    signature = one(root, "/*/ds:Signature")
    reference = one(root, "/*/ds:Signature/ds:SignedInfo/ds:Reference[1]")
    copy = deepcopy(root)
    naive_verifier.detach_element(one(copy, "/*/ds:Signature"))
    exclusive = "exc-c14n" in reference[0][-1].get("Algorithm")
    value = compute_digest(SHA256, canonicalize_element(copy, exclusive=exclusive))
    reference.find(f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()
    assert signature is not None
    resign(root, signer)


def test_reference_by_xml_id_and_exclusive_c14n(signer: KeySigner, now: datetime) -> None:
    root = document("d1")
    sign_document(root, signer, now=now)
    reference = one(root, "//ds:SignedInfo/ds:Reference[1]")
    reference.set("URI", "#d1")
    redigest(root, signer)
    assert verify_document(reread(root)).references[0].uri == "#d1"
    reference[0][1].set("Algorithm", "http://www.w3.org/2001/10/xml-exc-c14n#")
    redigest(root, signer)
    arrived = reread(root)
    assert verify_document(arrived).references[0].uri == "#d1"
    one(arrived, "//s:Reference").text = "R-2"
    with pytest.raises(GatewayError, match="GW202"):
        verify_document(arrived)


def test_comments_do_not_survive(signer: KeySigner, now: datetime) -> None:
    root = document()
    sign_document(root, signer, now=now)
    arrived = reread(root)
    target = one(arrived, "//s:Reference")
    target.text = "R"
    comment = etree.Comment("what a reader of .text would not see past")
    target.append(comment)
    comment.tail = "-1"
    arrived.append(etree.Comment("after the signature"))
    verify_document(arrived)
    assert target.text == "R-1"
    assert not list(arrived.iter(etree.Comment))


def test_signing_is_repeatable_and_once(signer: KeySigner, now: datetime) -> None:
    one_root, other_root = document(), document()
    sign_document(one_root, signer, now=now)
    sign_document(other_root, signer, now=now.astimezone(timezone(timedelta(hours=9))))
    assert serialize_element(one_root[-1][0]) == serialize_element(other_root[-1][0])
    with pytest.raises(GatewayError, match="GW901"):
        sign_document(one_root, signer, now=now)


def test_a_key_of_ed25519_signs_no_document(signers: dict[str, KeySigner], now: datetime) -> None:
    with pytest.raises(GatewayError, match="GW803 an Ed25519 key signs messages, but no documents"):
        sign_document(document(), signers["ed25519"], now=now)


def test_ed25519_rightly_signed_is_refused_too(signers: dict[str, KeySigner], now: datetime) -> None:
    root = document()
    sign_document(root, signers["p-256"], now=now)
    certificate = signers["ed25519"].certificate.der
    one(root, "//ds:X509Certificate").text = base64.b64encode(certificate).decode()
    value = base64.b64encode(compute_digest(SHA256, certificate)).decode()
    one(root, "//xades:CertDigest/ds:DigestValue").text = value
    one(root, "//ds:SignatureMethod").set("Algorithm", ED25519)
    resign(root, signers["ed25519"])
    with pytest.raises(GatewayError) as refusal:
        verify_document(reread(root))
    assert refusal.value.problem.id == "GW204"


def test_unsigned() -> None:
    with pytest.raises(GatewayError) as refusal:
        verify_document(document())
    assert refusal.value.problem.id == "GW201"


Change = Callable[[etree._Element], object]


def at(path: str, do: Callable[[etree._Element], object]) -> Change:
    return lambda root: do(one(root, path))


def setting(path: str, name: str, value: str) -> Change:
    return at(path, lambda target: target.set(name, value))


def writing(path: str, new: Callable[[str], str]) -> Change:
    return at(path, lambda target: setattr(target, "text", new(target.text)))


def adding(path: str, text: str) -> Change:
    return at(path, lambda target: target.append(element(text)))


def comment_in(path: str) -> Change:
    return at(path, lambda target: target.append(etree.Comment("x")))


def drop(path: str) -> Change:
    return at(path, naive_verifier.detach_element)


def again(path: str) -> Change:
    return at(path, lambda target: target.addnext(deepcopy(target)))


def wrap(root: etree._Element) -> None:
    """Put the signed document into an Object of its own signature, and a forged one around."""
    original = deepcopy(root)
    one(root, "/*/s:Reference").text = "R-forged"
    root.attrib.pop(f"{{{XML}}}id", None)
    holder = element("<ds:Object/>")
    holder.append(original)
    one(root, "/*/ds:Signature").append(holder)


def forged_root(root: etree._Element) -> None:
    """Move signature and signed document below a forged root that stands around both."""
    original = deepcopy(root)
    signature = one(root, "/*/ds:Signature")
    naive_verifier.detach_element(one(original, "/*/ds:Signature"))
    one(root, "/*/s:Reference").text = "R-forged"
    root.insert(0, original)
    assert signature is root[-1]


def other_certificate(root: etree._Element) -> None:
    one(root, "//xades:CertDigest/ds:DigestValue").text = base64.b64encode(bytes(32)).decode()


def not_last(root: etree._Element) -> None:
    root.insert(0, one(root, "/*/ds:Signature"))


def deeper(root: etree._Element) -> None:
    one(root, "/*/*[1]").append(one(root, "/*/ds:Signature"))


FIRST = "//ds:SignedInfo/ds:Reference[1]"
SECOND = "//ds:SignedInfo/ds:Reference[2]"
PROPERTIES = "//xades:SignedSignatureProperties"
FORMAT = "//xades:DataObjectFormat"
XSLT = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>'

# name: (what is done, signed again, expected problem)
ATTACKS: dict[str, tuple[Change, bool, str]] = {
    "01 original in Object": (wrap, False, "GW202"),
    "04 original inside forged": (forged_root, False, "GW202"),
    "09 root's xml:id as Id": (setting("/*/s:Reference", "Id", "d1"), False, "GW202"),
    "09 root's xml:id as evil:Id": (setting("/*/s:Reference", "{urn:evil}Id", "d1"), False, "GW202"),
    "09 SignedProperties twice": (again("//xades:SignedProperties"), False, "GW202"),
    "10 ##d1": (setting(FIRST, "URI", "##d1"), True, "GW202"),
    "10 xpointer": (setting(FIRST, "URI", "#xpointer(/)"), True, "GW202"),
    "10 another element": (setting(FIRST, "URI", "#elsewhere"), True, "GW202"),
    "11 file": (setting(FIRST, "URI", "file:///etc/passwd"), True, "GW202"),
    "11 http": (setting(FIRST, "URI", "http://169.254.169.254/"), True, "GW202"),
    "12 two signatures": (again("/*/ds:Signature"), False, "GW202"),
    "12 signature not last": (not_last, False, "GW202"),
    "12 signature deeper": (deeper, False, "GW202"),
    "13 document not referenced": (drop(FIRST), True, "GW203"),
    "13 properties not referenced": (drop(SECOND), True, "GW203"),
    "13 properties by no type": (at(SECOND, lambda e: e.attrib.pop("Type")), True, "GW202"),
    "17 two SignedInfo": (again("//ds:SignedInfo"), False, "GW202"),
    "18 comment in DigestValue": (comment_in(FIRST + "/ds:DigestValue"), True, "GW202"),
    "18 comment in SigningTime": (comment_in("//xades:SigningTime"), False, "GW202"),
    "20 no canonical form": (
        at("/*", lambda e: e.insert(0, etree.fromstring('<x xmlns="relative/name"/>'))), False, "GW202"),
    "19 with comments": (
        setting("//ds:CanonicalizationMethod", "Algorithm", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"),
        True,
        "GW204",
    ),
    "21 XSLT": (adding(FIRST + "/ds:Transforms", XSLT), True, "GW202"),
    "21 unknown": (setting(FIRST + "/ds:Transforms/ds:Transform[1]", "Algorithm", "urn:x"), True, "GW202"),
    "21 not enveloped": (drop(FIRST + "/ds:Transforms/ds:Transform[1]"), True, "GW202"),
    "21 enveloped properties": (
        setting(SECOND + "//ds:Transform", "Algorithm", DS + "enveloped-signature"), True, "GW202"),
    "21 two C14N of properties": (again(SECOND + "/ds:Transforms/ds:Transform"), True, "GW202"),
    "24 HMAC": (setting("//ds:SignatureMethod", "Algorithm", DS + "hmac-sha1"), True, "GW204"),
    "26 SHA-1": (setting(FIRST + "/ds:DigestMethod", "Algorithm", DS + "sha1"), True, "GW204"),
    "26 rsa-sha1": (setting("//ds:SignatureMethod", "Algorithm", DS + "rsa-sha1"), True, "GW204"),
    "26 RSA for an EC key": (
        setting("//ds:SignatureMethod", "Algorithm", SignatureMethod.RSA_SHA256.value), True, "GW204"),
    "28 KeyName": (adding("//ds:KeyInfo", "<ds:KeyName>x</ds:KeyName>"), False, "GW202"),
    "28 two certificates": (again("//ds:X509Certificate"), False, "GW202"),
    "28 signing certificate is another": (other_certificate, False, "GW202"),
    "28 digest of it by SHA-1": (
        setting("//xades:CertDigest/ds:DigestMethod", "Algorithm", DS + "sha1"), False, "GW204"),
    "35 garbage": (writing("//ds:SignatureValue", lambda old: "!" + old), False, "GW202"),
    "no SigningTime": (drop("//xades:SigningTime"), False, "GW202"),
    "SigningTime without zone": (writing("//xades:SigningTime", lambda old: old.rstrip("Z")), False, "GW202"),
    "SigningTime is no time": (
        writing("//xades:SigningTime", lambda _: "2026-13-01T00:00:00Z"), False, "GW202"),
    "no SigningCertificateV2": (drop("//xades:SigningCertificateV2"), False, "GW202"),
    "two SigningCertificateV2": (again("//xades:SigningCertificateV2"), False, "GW202"),
    "unknown property": (
        at(PROPERTIES, lambda e: etree.SubElement(e, f"{{{XADES}}}SignerRoleV2")), False, "GW202"),
    "unsigned properties": (
        at("//xades:QualifyingProperties", lambda e: etree.SubElement(e, f"{{{XADES}}}UnsignedProperties")),
        False,
        "GW202",
    ),
    "other Target": (setting("//xades:QualifyingProperties", "Target", "#x"), False, "GW202"),
    "second Object": (again("//ds:Object"), False, "GW202"),
    "format of another reference": (setting(FORMAT, "ObjectReference", "#x"), False, "GW202"),
    "unknown in the format": (
        at(FORMAT, lambda e: etree.SubElement(e, f"{{{XADES}}}ObjectIdentifier")), False, "GW202"),
    "element in the MIME type": (
        at("//xades:MimeType", lambda e: etree.SubElement(e, "x")), False, "GW202"),
    "reference twice": (again(FIRST), True, "GW202"),
    "document by both names": (at(FIRST, lambda e: (again(FIRST)(e), e.set("URI", "#d1"))), True, "GW202"),
    "changed text": (writing("/*/s:Reference", lambda _: "R-2"), False, "GW202"),
    "changed attribute": (setting("/*", "version", "2"), False, "GW202"),
    "changed binding of a name in a value": (lambda root: rebind(root), False, "GW202"),
    "changed time": (writing("//xades:SigningTime", lambda _: "2020-01-01T00:00:00Z"), False, "GW202"),
    "signature value of nothing": (writing("//ds:SignatureValue", lambda _: "AAAA"), False, "GW202"),
}  # fmt: skip


def rebind(root: etree._Element) -> None:
    """Give the prefix q, which only a value uses, another namespace."""
    fields = one(root, "/*/*[local-name()='Fields']")
    other = etree.Element(fields.tag, nsmap={None: "urn:fields", "q": "urn:other"})
    other[:] = list(fields)
    other.tail = fields.tail
    root.replace(fields, other)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(signer: KeySigner, now: datetime, name: str) -> None:
    root = document("d1")
    sign_document(root, signer, now=now)
    one(root, FIRST).set("URI", "#d1" if name.startswith(("01", "04", "09")) else "")
    redigest(root, signer)
    verify_document(reread(root))
    root = reread(root)
    change, signed_again, problem = ATTACKS[name]
    change(root)
    if signed_again:
        resign(root, signer)
    with pytest.raises(GatewayError) as refusal:
        verify_document(root if name.startswith("20") else reread(root))
    assert refusal.value.problem.id == problem, refusal.value


def sign_parts_again(root: etree._Element, signer: KeySigner) -> None:
    """Digest the document and the parts of its signature again, and sign again: all values are right."""
    parts = {part.get("Id"): part for part in one(root, "/*/ds:Signature").iter() if part.get("Id")}
    for reference in root.iterfind(f".//{{{DS}}}Reference"):
        part = parts.get(reference.get("URI")[1:])
        if part is not None:
            value = compute_digest(SHA256, canonicalize_element(part, exclusive=True))
            reference.find(f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()
    redigest(root, signer)


def sha1_certificate(root: etree._Element) -> None:
    """Name the certificate by its SHA-1."""
    certificate = base64.b64decode(one(root, "//ds:X509Certificate").text)
    value = base64.b64encode(hashlib.sha1(certificate).digest()).decode()
    one(root, "//xades:CertDigest/ds:DigestMethod").set("Algorithm", DS + "sha1")
    one(root, "//xades:CertDigest/ds:DigestValue").text = value


def again_without_id(path: str) -> Change:
    """Repeat a reference, without the identifier that would then stand twice."""

    def repeat(root: etree._Element) -> None:
        second = deepcopy(one(root, path))
        second.attrib.pop("Id", None)
        one(root, "//ds:SignedInfo").append(second)

    return repeat


def format_of_the_properties(root: etree._Element) -> None:
    one(root, SECOND).set("Id", "r2")
    one(root, FORMAT).set("ObjectReference", "#r2")


def one_id_for_two(root: etree._Element) -> None:
    """Give KeyInfo the identifier of SignedProperties; the references differ by their type alone."""
    identifier = one(root, "//xades:SignedProperties").get("Id")
    one(root, "//ds:KeyInfo").set("Id", identifier)
    one(root, "//ds:SignedInfo/ds:Reference[3]").set("URI", f"#{identifier}")


def append(path: str, tag: str) -> Change:
    return at(path, lambda e: etree.SubElement(e, f"{{{XADES}}}{tag}"))


# What a signer may not write, though each digest and the signature value are right: what is done, the reason
FLAWS: dict[str, tuple[Change, str]] = {
    "the certificate is another": (other_certificate, "is not the certificate in KeyInfo"),
    "the certificate by SHA-1": (sha1_certificate, "GW204 digest algorithm"),
    "more in CertDigest": (append("//xades:CertDigest", "X"), "CertDigest must hold"),
    "more in Cert": (append("//xades:Cert", "X"), "a Cert must hold"),
    "an attribute of Cert": (setting("//xades:Cert", "URI", "urn:x"), "xades:Cert"),
    "no SigningTime": (drop("//xades:SigningTime"), "this element must hold SigningTime"),
    "no SigningCertificateV2": (
        drop("//xades:SigningCertificateV2"), "this element must hold SigningTime"),
    "two SigningCertificateV2": (
        again("//xades:SigningCertificateV2"), "this element must hold SigningTime"),
    "a role": (append(PROPERTIES, "SignerRoleV2"), "this element must hold SigningTime"),
    "no zone": (writing("//xades:SigningTime", lambda old: old.rstrip("Z")), "SigningTime: "),
    "no time": (writing("//xades:SigningTime", lambda _: "2026-13-01T00:00:00Z"), "SigningTime: "),
    "an unknown property": (
        at("//xades:SignedDataObjectProperties", lambda e: setattr(e, "tag", f"{{{XADES}}}X")),
        "an unknown signed property",
    ),
    "a third part": (append("//xades:SignedProperties", "X"), "SignedProperties must hold"),
    "the format of nothing": (setting(FORMAT, "ObjectReference", "#x"), "does not name the reference"),
    "the format of the properties": (format_of_the_properties, "does not name the reference"),
    "more in the format": (append(FORMAT, "ObjectIdentifier"), "a DataObjectFormat must hold"),
    "an element as MIME type": (append("//xades:MimeType", "X"), "xades:MimeType"),
    "another Target": (
        setting("//xades:QualifyingProperties", "Target", "#x"), "another signature as Target"),
    "unsigned properties": (
        append("//xades:QualifyingProperties", "UnsignedProperties"), "xades:QualifyingProperties"),
    "the document has a type": (setting(FIRST, "Type", "urn:x"), "the document must be signed by"),
    "the document twice": (again_without_id(FIRST), "two references to the document"),
    "the properties twice": (again_without_id(SECOND), "two references to the SignedProperties"),
    "one identifier for two": (one_id_for_two, "stands on more than one element"),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_refused_though_it_is_rightly_signed(signer: KeySigner, now: datetime, name: str) -> None:
    root = sign_document(document(), signer, now=now)
    change, reason = FLAWS[name]
    sign_parts_again(root, signer)
    verify_document(reread(root))
    change(root)
    sign_parts_again(root, signer)
    with pytest.raises(GatewayError, match=re.escape(reason)):
        verify_document(reread(root))


def test_what_only_the_fifth_edition_of_xml_names_is_refused(signer: KeySigner, now: datetime) -> None:
    """Libxml2 reads a prefix that expat, which writes this canonical form, does not."""
    root = document()
    sign_document(root, signer, now=now)
    text = serialize_element(root).decode()
    info = text.replace("<ds:SignedInfo>", '<ds:SignedInfo xmlns:\u0370="urn:x">', 1)
    method = (
        '<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="#default"/>'
    )
    whole = re.sub(
        r"(<ds:CanonicalizationMethod [^>]*)/>", rf"\1>{method}</ds:CanonicalizationMethod>", info, count=1
    )
    with pytest.raises(GatewayError, match="GW202 SignedInfo has no canonical form"):
        verify_document(etree.fromstring(whole.encode()))


@pytest.mark.parametrize("name", ["Id", "ID", "id", "{urn:evil}Id"])
def test_a_second_bearer_of_the_identifier_is_refused_even_when_signed(
    signer: KeySigner, now: datetime, name: str
) -> None:
    root = document("d1")
    one(root, "/*/s:Reference").set(name, "d1")
    sign_document(root, signer, now=now)
    verify_document(reread(root))
    one(root, FIRST).set("URI", "#d1")
    redigest(root, signer)
    with pytest.raises(GatewayError, match="identifier 'd1'"):
        verify_document(reread(root))


@pytest.mark.parametrize("change", [forged_root], ids=["forged root"])
def test_wrapping_would_fool_someone(signer: KeySigner, now: datetime, change: Change) -> None:
    """A reader who takes the first element of that Id, wherever it stands, sees the original there."""
    root = document("d1")
    sign_document(root, signer, now=now)
    one(root, FIRST).set("URI", "#d1")
    redigest(root, signer)
    change(root)
    root.attrib.pop(f"{{{XML}}}id")
    assert naive_verifier.accepts_signature(reread(root))
    assert root[1].text == "R-forged"
    with pytest.raises(GatewayError):
        verify_document(reread(root))


def test_another_signer_is_another_certificate(signer: KeySigner, other: KeySigner, now: datetime) -> None:
    root = document()
    sign_document(root, other, now=now)
    assert verify_document(root).certificate == other.certificate
    one(root, "//ds:X509Certificate").text = base64.b64encode(signer.certificate.der).decode()
    with pytest.raises(GatewayError, match="GW202"):
        verify_document(root)


def test_times_with_other_zones(signer: KeySigner) -> None:
    root = plainly_signed(signer, document())
    signed = verify_document(reread(root))
    assert signed.signing_time is not None
    assert signed.signing_time.tzinfo is UTC
