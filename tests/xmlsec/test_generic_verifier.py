"""The judge of any signature: what it takes as a key, what policy refuses, what a verdict covers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.pki import KeySigner, TrustPolicy, TrustStore
from gateway.wire import C14N, DS, DS11, WSU, canonicalize_element, parse_xml, serialize_element
from gateway.xmlsec import (
    LEGACY_NORWAY,
    SHA256,
    STRICT,
    Transform,
    VerificationReport,
    apply_canonicalization,
    compute_digest,
    sign_document,
    sign_soap_envelope,
    validate_signer,
    verify_any_document,
    verify_any_signature,
)
from gateway.xmlsec.algorithms import C14N_11, ENVELOPED_SIGNATURE, EXCLUSIVE_C14N
from gateway.xmlsec.xml_signature import DigestReference, fill_signature_value
from gateway_conformance.message_signing import append_signature, append_x509_key_info, sign_message
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
)
from tests.xmlsec.sample_messages import ATTACHMENTS, document, message, one, request, resign

FORMS = (C14N, C14N_11, EXCLUSIVE_C14N)
CURVES = {"p-256": "1.2.840.10045.3.1.7", "p-384": "1.3.132.0.34", "p-521": "1.3.132.0.35"}
Bundle = Callable[..., etree._Element]


def judged(root: etree._Element, **parts: bytes) -> VerificationReport:
    return verify_any_document(serialize_element(root), parts, STRICT)


def short(judgement: VerificationReport) -> tuple[str, str | None, str | None]:
    problem = judgement.problem.id if judgement.problem else None
    return judgement.verdict, problem, judgement.policy_rule


@pytest.fixture
def bundle(signer: KeySigner) -> Bundle:
    """Two signed parts and one that is not, in a document that inherits names and attributes."""

    def make(form: str = C14N, key: KeySigner = signer) -> etree._Element:
        root = parse_xml(
            b'<b:Bundle xmlns:b="urn:b" xmlns="urn:d" xml:lang="ko"><b:A Id="a1">1<x/></b:A>'
            b'<b:B xml:id="b1"><!-- unseen --><b:C/></b:B><b:D>free</b:D></b:Bundle>'
        )
        references = [
            DigestReference(
                f"#{name}",
                SHA256,
                compute_digest(SHA256, apply_canonicalization(part, Transform(form))),
                (Transform(form),),
            )
            for name, part in (("a1", root[0]), ("b1", root[1]))
        ]
        made = append_signature(root, Transform(form), key.algorithm, references)
        append_x509_key_info(made, key.certificate)
        fill_signature_value(made, Transform(form), key)
        return root

    return make


# --- what is covered ------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_a_document(bundle: Bundle, form: str) -> None:
    judgement = judged(bundle(form))
    assert judgement.verdict == "valid", judgement
    assert judgement.covered == ("/b:Bundle/b:A", "/b:Bundle/b:B")
    root = bundle(form)
    root[2].text = "changed, and nobody signed it"
    assert judged(root).covered == judgement.covered
    root[0].text = "2"
    assert short(judged(root)) == ("invalid", "GW202", None)
    assert judged(root).covered == ()


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "p-521", "ed25519"])
def test_every_kind_of_key(bundle: Bundle, signers: dict[str, KeySigner], kind: str) -> None:
    judgement = judged(bundle(EXCLUSIVE_C14N, signers[kind]))
    assert judgement.verdict == "valid", judgement
    assert judgement.certificate == signers[kind].certificate


@pytest.mark.parametrize("form", FORMS)
def test_an_object_in_its_signature(signer: KeySigner, form: str) -> None:
    root = parse_xml(f'<ds:Signature xmlns:ds="{DS}" xmlns:u="urn:u"/>'.encode())
    holder = etree.SubElement(root, f"{{{DS}}}Object", Id="o")
    holder.append(document())
    reference = DigestReference(
        "#o",
        SHA256,
        compute_digest(SHA256, apply_canonicalization(holder, Transform(form))),
        (Transform(form),),
    )
    made = append_signature(root, Transform(form), signer.algorithm, (reference,))
    append_x509_key_info(made, signer.certificate)
    for index, child in enumerate(list(made)):
        root.insert(index, child)
    root.remove(made)
    root[1].text = base64.b64encode(signer.sign(apply_canonicalization(root[0], Transform(form)))).decode()
    assert judged(root).covered == ("/ds:Signature/ds:Object",)
    etree.SubElement(root, f"{{{DS}}}Object", Id="p").text = "beside it"
    assert judged(root).covered == ("/ds:Signature/ds:Object[1]",)
    one(root, "//s:Reference").text = "R-2"
    assert short(judged(root)) == ("invalid", "GW202", None)


def test_what_the_xpath_of_ebms_leaves_out_is_told(signer: KeySigner) -> None:
    root = message()
    sign_message(root, ATTACHMENTS, signer)
    parts = {f"cid:{name}": content for name, content in ATTACHMENTS.items()}
    parts["cid:certificate%201%25@broker.example"] = parts.pop("cid:certificate 1%@broker.example")
    judgement = verify_any_document(serialize_element(root), parts, STRICT)
    assert judgement.verdict == "valid", judgement
    assert judgement.excluded == (
        "/soap:Envelope/soap:Header/eb:SyncReply",
        "/soap:Envelope/soap:Header/eb:AckRequested",
    )
    one(root, "//eb:SyncReply").text = "hidden"
    assert short(verify_any_document(serialize_element(root), parts, STRICT)) == ("invalid", "GW203", None)


@pytest.mark.parametrize("form", [C14N, EXCLUSIVE_C14N])
def test_a_form_with_comments_covers_none_by_identifier(bundle: Bundle, form: str, signer: KeySigner) -> None:
    """XML Signature §4.4.3.3: what #identifier names has no comments, whatever the form."""
    root = bundle(form)
    commented = form.removesuffix("#") + "#WithComments"
    for method in (*root.iter(f"{{{DS}}}Transform"), *root.iter(f"{{{DS}}}CanonicalizationMethod")):
        method.set("Algorithm", commented)
    data = canonicalize_element(one(root, "//ds:SignedInfo"), exclusive=form == EXCLUSIVE_C14N)
    one(root, "//ds:SignatureValue").text = base64.b64encode(signer.sign(data)).decode()
    assert judged(root).verdict == "valid"


# --- keys ------------------------------


def _key_info(root: etree._Element) -> etree._Element:
    return one(root, "//ds:KeyInfo")


def _key_value(root: etree._Element, key: object) -> None:
    value = etree.SubElement(_key_info(root), f"{{{DS}}}KeyValue")
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        holder = etree.SubElement(value, f"{{{DS}}}RSAKeyValue")
        for name, number in (("Modulus", numbers.n), ("Exponent", numbers.e)):
            octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
            etree.SubElement(holder, f"{{{DS}}}{name}").text = base64.b64encode(octets).decode()
        return
    assert isinstance(key, ec.EllipticCurvePublicKey)
    oid = {256: CURVES["p-256"], 384: CURVES["p-384"], 521: CURVES["p-521"]}[key.curve.key_size]
    holder = etree.SubElement(value, f"{{{DS11}}}ECKeyValue")
    etree.SubElement(holder, f"{{{DS11}}}NamedCurve", URI=f"urn:oid:{oid}")
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    etree.SubElement(holder, f"{{{DS11}}}PublicKey").text = base64.b64encode(point).decode()


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "p-521"])
def test_a_bare_key_proves_the_value_and_names_nobody(
    bundle: Bundle, signers: dict[str, KeySigner], kind: str
) -> None:
    root = bundle(C14N, signers[kind])
    info = _key_info(root)
    info.remove(info[0])
    _key_value(root, signers[kind].certificate.public_key)
    judgement = judged(root)
    assert judgement.verdict == "valid", judgement
    assert judgement.certificate is None
    assert "no certificate" in judgement.reason
    one(root, "//ds:SignatureValue").text = base64.b64encode(b"\x01" * 64).decode()
    assert short(judged(root)) == ("invalid", "GW202", None)


def test_a_bare_key_in_der(bundle: Bundle, signer: KeySigner, other: KeySigner) -> None:
    for key, verdict in ((signer, "valid"), (other, "invalid")):
        root = bundle()
        info = _key_info(root)
        info.remove(info[0])
        octets = key.certificate.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        etree.SubElement(info, f"{{{DS11}}}DEREncodedKeyValue").text = base64.b64encode(octets).decode()
        assert judged(root).verdict == verdict


def test_words_about_the_certificate_are_not_read(bundle: Bundle) -> None:
    root = bundle()
    etree.SubElement(_key_info(root), f"{{{DS}}}KeyName").text = "somebody else"
    data = one(root, "//ds:X509Data")
    etree.SubElement(data, f"{{{DS}}}X509SubjectName").text = "CN=somebody else"
    assert judged(root).verdict == "valid"
    data.remove(data[0])
    assert short(judged(root)) == ("refused by policy", "GW204", "key source")


def _chain(root: etree._Element, *certificates: bytes) -> None:
    data = one(root, "//ds:X509Data")
    for certificate in certificates:
        etree.SubElement(data, f"{{{DS}}}X509Certificate").text = base64.b64encode(certificate).decode()


def test_a_chain_has_one_leaf(
    bundle: Bundle, authority: CertificationAuthority, other: KeySigner, signer: KeySigner, now: datetime
) -> None:
    root = bundle()
    _chain(root, authority.certificate.der)
    judgement = judged(root)
    assert (judgement.verdict, judgement.certificate) == ("valid", signer.certificate)
    assert judgement.extra_certificates == (authority.certificate,)
    _chain(root, other.certificate.der)
    assert short(judged(root)) == ("refused by policy", "GW204", "key source")
    root = bundle()
    _chain(root, make_authority("CN=of someone else", now).certificate.der)
    assert judged(root).certificate == signer.certificate


def _retrieval(root: etree._Element, _other: KeySigner) -> None:
    etree.SubElement(_key_info(root), f"{{{DS}}}RetrievalMethod", URI="http://127.0.0.1:9/")


def _other_value(root: etree._Element, other: KeySigner) -> None:
    _key_value(root, other.certificate.public_key)


def _second_data(root: etree._Element, other: KeySigner) -> None:
    data = etree.SubElement(_key_info(root), f"{{{DS}}}X509Data")
    etree.SubElement(data, f"{{{DS}}}X509Certificate").text = base64.b64encode(other.certificate.der).decode()


def _nothing(root: etree._Element, _other: KeySigner) -> None:
    info = _key_info(root)
    info.remove(info[0])


def _no_info(root: etree._Element, _other: KeySigner) -> None:
    info = _key_info(root)
    info.getparent().remove(info)


def _broken_certificate(root: etree._Element, _other: KeySigner) -> None:
    one(root, "//ds:X509Certificate").text = "AAAA"


def _unknown_kind_of_key(root: etree._Element, other: KeySigner) -> None:
    _nothing(root, other)
    octets = bytes.fromhex("301130090605 2a03040506 0500 030400010203".replace(" ", ""))
    element = etree.SubElement(_key_info(root), f"{{{DS11}}}DEREncodedKeyValue")
    element.text = base64.b64encode(octets).decode()


def _wrong_point(root: etree._Element, other: KeySigner) -> None:
    _nothing(root, other)
    _key_value(root, other.certificate.public_key)
    point = one(root, "//ds:KeyValue")[0][1]
    point.text = base64.b64encode(b"\x04" + bytes(64)).decode()


def _unknown_curve(root: etree._Element, other: KeySigner) -> None:
    _nothing(root, other)
    _key_value(root, other.certificate.public_key)
    one(root, "//ds:KeyValue")[0][0].set("URI", "urn:oid:1.3.132.0.10")


@pytest.mark.parametrize(
    "change",
    [
        _retrieval,
        _other_value,
        _second_data,
        _nothing,
        _no_info,
        _broken_certificate,
        _unknown_kind_of_key,
        _wrong_point,
        _unknown_curve,
    ],
)
def test_other_sources_of_keys_are_refused(
    bundle: Bundle, other: KeySigner, change: Callable[[etree._Element, KeySigner], None]
) -> None:
    root = bundle()
    change(root, other)
    assert short(judged(root)) == ("refused by policy", "GW204", "key source")


def test_a_weak_key_is_refused(bundle: Bundle) -> None:
    key = rsa.generate_private_key(65537, 1024)
    root = bundle()
    _nothing(root, None)
    _key_value(root, key.public_key())
    one(root, "//ds:SignatureMethod").set("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256")
    assert short(judged(root)) == ("refused by policy", "GW204", "algorithm")


def test_a_token_outside_security_is_no_source(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    assert judged(root).certificate == signer.certificate
    root.insert(0, one(root, "//wsse:BinarySecurityToken"))
    assert short(judged(root)) == ("refused by policy", "GW204", "key source")


# --- what policy refuses ------------------------------


def _set(path: str, name: str, value: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = root.xpath(path, namespaces={"ds": DS})
        assert found
        found[0].set(name, value)

    return change


def _no_uri(root: etree._Element) -> None:
    del root.find(f".//{{{DS}}}Reference").attrib["URI"]


def _xpath(root: etree._Element) -> None:
    transform = root.find(f".//{{{DS}}}Transform")
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    etree.SubElement(transform, f"{{{DS}}}XPath").text = "not(ancestor-or-self::Signature)"


def _two_forms(root: etree._Element) -> None:
    transforms = root.find(f".//{{{DS}}}Transforms")
    etree.SubElement(transforms, f"{{{DS}}}Transform", Algorithm=C14N)


def _repeated(root: etree._Element) -> None:
    root.append(parse_xml(serialize_element(root.find(f"{{{DS}}}Signature"))))


def _other_attribute(root: etree._Element) -> None:
    root[0].set("AssertionID", root[0].attrib.pop("Id"))


def _within_itself(root: etree._Element) -> None:
    root.find(f".//{{{DS}}}KeyInfo").set("Id", "k1")
    reference = root.find(f".//{{{DS}}}Reference")
    reference.set("URI", "#k1")
    reference.find(f".//{{{DS}}}Transform").set("Algorithm", ENVELOPED_SIGNATURE)


def _strange_key_data(root: etree._Element) -> None:
    one(root, "//ds:X509Data").set("strange", "1")


REFUSED = {
    "attribute of X509Data": (_strange_key_data, "key source"),
    "HMAC": (_set("//ds:SignatureMethod", "Algorithm", DS + "hmac-sha1"), "algorithm"),
    "SHA-1": (_set("//ds:DigestMethod", "Algorithm", DS + "sha1"), "algorithm"),
    "form": (_set("//ds:CanonicalizationMethod", "Algorithm", "urn:x"), "algorithm"),
    "base64": (_set("//ds:Transform", "Algorithm", DS + "base64"), "transform"),
    "XSLT": (_set("//ds:Transform", "Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116"), "transform"),
    "filter": (_set("//ds:Transform", "Algorithm", "http://www.w3.org/2002/06/xmldsig-filter2"), "transform"),
    "XPath": (_xpath, "transform"),
    "two forms": (_two_forms, "transform"),
    "http": (_set("//ds:Reference", "URI", "http://127.0.0.1:9/"), "external reference"),
    "file": (_set("//ds:Reference", "URI", "file:///etc/hostname"), "external reference"),
    "relative": (_set("//ds:Reference", "URI", "other.xml"), "external reference"),
    "no URI": (_no_uri, "external reference"),
    "pointer": (_set("//ds:Reference", "URI", "#xpointer(id('a1'))"), "pointer"),
    "two hashes": (_set("//ds:Reference", "URI", "##a1"), "pointer"),
    "another attribute": (_other_attribute, "pointer"),
    "two signatures": (_repeated, "several signatures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_policy_refuses(bundle: Bundle, name: str) -> None:
    change, ground = REFUSED[name]
    root = bundle()
    change(root)
    judgement = judged(root)
    assert (judgement.verdict, judgement.policy_rule) == ("refused by policy", ground), judgement
    assert judgement.reason
    assert judgement.covered == ()


INVALID = {
    "dangling": (_set("//ds:Reference", "URI", "#nothing"), "GW202"),
    "missing part": (_set("//ds:Reference", "URI", "cid:gone@x"), "GW108"),
    "covers itself": (_within_itself, "GW202"),
    "no signature": (lambda root: root.remove(root.find(f"{{{DS}}}Signature")), "GW201"),
    "relative namespace": (lambda root: root[0].append(etree.Element("{relative}x")), "GW202"),
    "identifier twice": (lambda root: root[2].set("Id", "a1"), "GW202"),
    "identifier twice, evil": (lambda root: root[2].set("{urn:evil}Id", "a1"), "GW202"),
    "identifier twice, wsu": (lambda root: root[2].set(f"{{{WSU}}}Id", "a1"), "GW202"),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_invalid(bundle: Bundle, name: str) -> None:
    change, problem = INVALID[name]
    root = bundle()
    change(root)
    assert short(judged(root)) == ("invalid", problem, None)


def test_a_relative_namespace_around_signed_info(bundle: Bundle) -> None:
    """SignedInfo inherits it; the digests, in exclusive form, do not."""
    text = serialize_element(bundle(EXCLUSIVE_C14N)).replace(
        b"<ds:SignedInfo>", b'<ds:SignedInfo xmlns:r="r/s">'
    )
    assert short(verify_any_document(text, {}, STRICT)) == ("invalid", "GW202", None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]><a>&e;</a>', "GW104"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "GW104"),
        (b"<a><?x y?></a>", "GW104"),
        (b"not XML", "GW104"),
        (b"", "GW104"),
        (b"<a " + b" ".join(b'b%d=""' % i for i in range(100)) + b"/>", "GW102"),
    ],
)
def test_documents_that_nobody_parses(data: bytes, problem: str) -> None:
    assert short(verify_any_document(data, {}, STRICT)) == ("refused by policy", problem, "document")


# --- parts ------------------------------


@pytest.mark.parametrize("form", [None, C14N, C14N_11, EXCLUSIVE_C14N])
def test_parts_as_they_are_or_in_a_canonical_form(signer: KeySigner, form: str | None) -> None:
    content = b'<p xmlns:u="urn:unused" b="1" a="2"><!-- c --></p>'
    octets = {
        None: content,
        C14N: b'<p xmlns:u="urn:unused" a="2" b="1"></p>',
        C14N_11: b'<p xmlns:u="urn:unused" a="2" b="1"></p>',
        EXCLUSIVE_C14N: b'<p a="2" b="1"></p>',
    }[form]
    steps = () if form is None else (Transform(form),)
    root = parse_xml(b"<r/>")
    reference = DigestReference("cid:a%20b@x", SHA256, compute_digest(SHA256, octets), steps)
    made = append_signature(root, Transform(C14N), signer.algorithm, (reference,))
    append_x509_key_info(made, signer.certificate)
    fill_signature_value(made, Transform(C14N), signer)
    data = serialize_element(root)
    for name in ("cid:a%20b@x", "cid:a b@x"):
        assert verify_any_document(data, {name: content}, STRICT).covered == ("cid:a%20b@x",)
    assert verify_any_document(data, {"cid:a b@x": content + b" "}, STRICT).verdict == (
        "invalid" if form is None else "valid"
    )
    assert verify_any_document(data, {"cid:a b@x": b"<q/>"}, STRICT).verdict == "invalid"
    broken = verify_any_document(data, {"cid:a b@x": b"<q>"}, STRICT)
    assert broken.verdict == ("invalid" if form is None else "refused by policy")


# --- trust ------------------------------


def test_trust(bundle: Bundle, authority: CertificationAuthority, now: datetime) -> None:
    judgement = judged(bundle())
    policy = TrustPolicy(revocation="if_present")
    ours = TrustStore((authority.certificate,), policy=policy)
    foreign = TrustStore((make_authority("CN=Test CA", now).certificate,), policy=policy)
    assert validate_signer(judgement, ours, now) == judgement
    for store, at, problem in (
        (foreign, now, "GW205"),
        (ours, now + timedelta(days=9000), "GW206"),
        (ours, now - timedelta(days=9000), "GW206"),
    ):
        refused = validate_signer(judgement, store, at)
        assert short(refused) == ("invalid", problem, None)
        assert refused.covered == ()
    root = bundle()
    root[0].text = "changed"
    assert validate_signer(judged(root), ours, now) == judged(root)


def test_an_intermediate_that_was_sent_along_completes_the_path(bundle: Bundle, now: datetime) -> None:
    top = make_authority("CN=Top", now, path_length=1)
    middle = make_authority("CN=Middle", now, issuer=top)
    key = issue_certificate(middle, "CN=leaf", now, CertificateOrder()).signer
    store = TrustStore((top.certificate,), policy=TrustPolicy(revocation="if_present"))
    assert validate_signer(judged(bundle(C14N, key)), store, now).verdict == "invalid"
    root = bundle(C14N, key)
    _chain(root, middle.certificate.der)
    assert validate_signer(judged(root), store, now).verdict == "valid"


def test_nobody_vouches_for_a_bare_key(
    bundle: Bundle, authority: CertificationAuthority, signer: KeySigner, now: datetime
) -> None:
    root = bundle()
    _nothing(root, signer)
    _key_value(root, signer.certificate.public_key)
    store = TrustStore((authority.certificate,), policy=TrustPolicy(revocation="if_present"))
    assert short(validate_signer(judged(root), store, now)) == ("invalid", "GW205", None)


# --- every profile of our own, and policies ------------------------------


def test_documents_of_our_own(signer: KeySigner, now: datetime) -> None:
    root = document()
    sign_document(root, signer, now=now)
    judgement = judged(root)
    assert judgement.covered[0] == "/"
    assert judgement.covered[1].endswith("/xades:SignedProperties")


def test_sha1_is_for_norway_alone(bundle: Bundle, signers: dict[str, KeySigner]) -> None:
    key = signers["rsa-2048"]
    root = bundle(C14N, key)
    for reference, part in zip(root.iter(f"{{{DS}}}Reference"), root, strict=False):
        reference.find(f"{{{DS}}}DigestMethod").set("Algorithm", DS + "sha1")
        value = compute_digest(DS + "sha1", canonicalize_element(part))
        reference.find(f"{{{DS}}}DigestValue").text = base64.b64encode(value).decode()
    resign(root, key)
    assert verify_any_signature(root, {}, LEGACY_NORWAY).verdict == "valid"
    assert short(verify_any_signature(root, {}, STRICT)) == ("refused by policy", "GW204", "algorithm")
