"""Signatures of ebMS 2.0 messages that must be refused, each for its own reason.

Where an attacker could not produce the signature value, the changed message is signed
again: then the one thing that was changed is the only thing that can be refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from gateway.errors import GatewayError
from gateway.pki import Certificate, KeySigner
from gateway.wire import DS, EB, SOAP11, XML, canonicalize_document, canonicalize_element
from gateway.xmlsec import LEGACY_NORWAY, SHA256, STRICT, compute_digest, find_signature
from gateway_conformance.hostile import naive_verifier
from gateway_conformance.message_signing import sign_message, verify_message_signature
from gateway_conformance.pki import CertificationAuthority
from tests.xmlsec.sample_messages import ATTACHMENTS, NEXT, NEXT_MSH, element, message, one, reread, resign

SIGNATURE = "//ds:Signature"
ENVELOPE_REFERENCE = "//ds:SignedInfo/ds:Reference[@URI='']"
TRANSFORMS = ENVELOPE_REFERENCE + "/ds:Transforms"


@dataclass
class Attack:
    """A signed message in the attacker's hands."""

    root: etree._Element
    parts: dict[str, bytes]
    signer: KeySigner
    other: KeySigner
    issuer: Certificate

    def at(self, path: str) -> etree._Element:
        return one(self.root, path)

    def resign(self) -> None:
        """Digest the envelope again and sign again, as the broker himself."""
        signature = next(each for each in self.root.iter(f"{{{DS}}}Signature") if len(each))
        for reference in self.root.xpath(ENVELOPE_REFERENCE, namespaces={"ds": DS}):
            octets = canonicalize_document(self.root, (signature, *filtered(self.root)))
            value = base64.b64encode(compute_digest(SHA256, octets)).decode()
            reference.find(f"{{{DS}}}DigestValue").text = value
        resign(self.root, self.signer, signature)


def filtered(root: etree._Element) -> list[etree._Element]:
    return [each for each in root.iter("*") if each.get(f"{{{SOAP11}}}actor") in (NEXT, NEXT_MSH)]


Change = Callable[[Attack], object]


def put(path: str, text: str, index: int = 0) -> Change:
    return lambda attack: attack.at(path).insert(index, element(text))


def remove(path: str) -> Change:
    return lambda attack: naive_verifier.detach_element(attack.at(path))


def set_attribute(path: str, name: str, value: str) -> Change:
    return lambda attack: attack.at(path).set(name, value)


def set_text(path: str, change: Callable[[str], str]) -> Change:
    def set_it(attack: Attack) -> None:
        target = attack.at(path)
        target.text = change(target.text or "")

    return set_it


def forged_around_object(attack: Attack) -> None:
    original = deepcopy(attack.root)
    holder = element("<ds:Object/>")
    holder.append(original)
    attack.at(SIGNATURE).append(holder)
    attack.at("/soap:Envelope/soap:Header/eb:MessageHeader/eb:Action").text = "Withdraw"


def signature_into_wrapper(attack: Attack) -> None:
    wrapper = element("<eb:Wrapper/>")
    header = attack.at("//soap:Header")
    wrapper.append(attack.at(SIGNATURE))
    header.append(wrapper)


def signature_into_body(attack: Attack) -> None:
    attack.at("//soap:Body").append(attack.at(SIGNATURE))


def second_signature(attack: Attack) -> None:
    attack.at("//soap:Header").append(deepcopy(attack.at(SIGNATURE)))


def signature_signed_too(attack: Attack) -> None:
    attack.at("//soap:Body").append(element("<ds:Signature/>"))


def second_signed_info(attack: Attack) -> None:
    attack.at(SIGNATURE).insert(0, deepcopy(attack.at("//ds:SignedInfo")))


def hidden(text: str) -> Change:
    return put("//soap:Header", text, 1)


def swap_parts(attack: Attack) -> None:
    one_name, other_name = attack.parts
    attack.parts = {one_name: attack.parts[other_name], other_name: attack.parts[one_name]}


def swap_transforms(attack: Attack) -> None:
    transforms = attack.at(TRANSFORMS)
    transforms.append(transforms[0])


def replace_certificate(attack: Attack) -> None:
    text = base64.b64encode(attack.other.certificate.der).decode()
    attack.at("//ds:X509Certificate").text = text


def second_leaf(attack: Attack) -> None:
    text = base64.b64encode(attack.other.certificate.der).decode()
    put("//ds:X509Data", f"<ds:X509Certificate>{text}</ds:X509Certificate>")(attack)


def long_chain(attack: Attack) -> None:
    text = base64.b64encode(attack.issuer.der).decode()
    for _ in range(4):
        put("//ds:X509Data", f"<ds:X509Certificate>{text}</ds:X509Certificate>")(attack)


def foreign_key_value(attack: Attack) -> None:
    put("//ds:KeyInfo", key_value(attack.other))(attack)


def key_value(signer: KeySigner) -> str:
    numbers = signer.certificate.public_key.public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    return (
        '<ds:KeyValue><e:ECKeyValue xmlns:e="http://www.w3.org/2009/xmldsig11#">'
        '<e:NamedCurve URI="urn:oid:1.2.840.10045.3.1.7"/>'
        f"<e:PublicKey>{base64.b64encode(point).decode()}</e:PublicKey></e:ECKeyValue></ds:KeyValue>"
    )


def duplicate_ids(attack: Attack) -> None:
    attack.at("//eb:MessageHeader").set(f"{{{EB}}}id", "a")
    attack.at("//soap:Body").set(f"{{{XML}}}id", "a")


def comment_in(path: str) -> Change:
    def change(attack: Attack) -> None:
        target = attack.at(path)
        text = target.text or ""
        target.text = text[:2]
        comment = etree.Comment("evil")
        target.insert(0, comment)
        comment.tail = text[2:]

    return change


def extra_part(attack: Attack) -> None:
    attack.parts = {**attack.parts, "slipped-in": b"malware"}


def other_content(attack: Attack) -> None:
    name = next(iter(attack.parts))
    attack.parts = {**attack.parts, name: attack.parts[name].replace(b"100", b"900")}


def lost_part(attack: Attack) -> None:
    attack.parts = dict(list(attack.parts.items())[:1])


def again(path: str) -> Change:
    def change(attack: Attack) -> None:
        found = attack.at(path)
        found.addnext(deepcopy(found))

    return change


def no_references(attack: Attack) -> None:
    for reference in attack.root.xpath("//ds:SignedInfo/ds:Reference", namespaces={"ds": DS}):
        naive_verifier.detach_element(reference)


def two_spellings(attack: Attack) -> None:
    again(CID)(attack)
    first = attack.root.xpath(CID, namespaces={"ds": DS})[0]
    first.set("URI", "cid:%64eclaration@broker.example")


CID = "//ds:SignedInfo/ds:Reference[starts-with(@URI, 'cid:declaration')]"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
C14N_11 = "http://www.w3.org/2006/12/xml-c14n11"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
METHOD = "http://www.w3.org/2001/04/xmldsig-more#"
TRANSFORM = '<ds:Transform Algorithm="{}"/>'
XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"
BASE64 = "http://www.w3.org/2000/09/xmldsig#base64"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ACTOR = f'soap:actor="{NEXT}"'
HEADER_AGAIN = (
    f'<eb:MessageHeader eb:version="2.0" {ACTOR}><eb:Action>Withdraw</eb:Action></eb:MessageHeader>'
)

# name: (what is done, signed again by the broker, expected problem)
ATTACKS: dict[str, tuple[Change, bool, str]] = {
    "01 forged root, original in Object": (forged_around_object, False, "GW202"),
    "04 signature inside a wrapper": (signature_into_wrapper, True, "GW202"),
    "04 signature in the Body": (signature_into_body, True, "GW202"),
    "06 Object in the signature": (put(SIGNATURE, "<ds:Object/>", 3), True, "GW202"),
    "09 one value as eb:id and xml:id": (duplicate_ids, True, "GW202"),
    "12 two signatures": (second_signature, False, "GW202"),
    "12 two signatures, one signed": (signature_signed_too, True, "GW202"),
    "13 envelope not signed": (remove(ENVELOPE_REFERENCE), True, "GW203"),
    "13 attachment not signed": (remove(CID), True, "GW203"),
    "14 attachment added": (extra_part, False, "GW203"),
    "14 signed attachment missing": (lost_part, False, "GW108"),
    "15 attachments swapped": (swap_parts, False, "GW202"),
    "15 attachment changed": (other_content, False, "GW202"),
    "17 two SignedInfo": (second_signed_info, False, "GW202"),
    "18 comment in PartyId": (comment_in("//eb:From/eb:PartyId"), True, "GW202"),
    "18 comment in DigestValue": (comment_in(ENVELOPE_REFERENCE + "/ds:DigestValue"), True, "GW202"),
    "18 comment in SignatureValue": (comment_in("//ds:SignatureValue"), False, "GW202"),
    "19 C14N with comments": (
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", C14N + "#WithComments"),
        True,
        "GW204",
    ),
    "19 C14N 1.1 of SignedInfo": (
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", C14N_11),
        True,
        "GW204",
    ),
    "19 exclusive C14N of SignedInfo": (
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", EXCLUSIVE),
        True,
        "GW204",
    ),
    "21 unknown transform": (put(TRANSFORMS, TRANSFORM.format("urn:x")), True, "GW202"),
    "21 XSLT": (put(TRANSFORMS, TRANSFORM.format(XSLT)), True, "GW202"),
    "21 base64": (put(TRANSFORMS, TRANSFORM.format(BASE64)), True, "GW202"),
    "21 enveloped twice": (put(TRANSFORMS, TRANSFORM.format(ENVELOPED)), True, "GW202"),
    "21 other order": (swap_transforms, True, "GW202"),
    "21 no transforms": (remove(TRANSFORMS), True, "GW202"),
    "21 no XPath": (remove(TRANSFORMS + "/ds:Transform[ds:XPath]"), True, "GW202"),
    "21 transform on an attachment": (
        put(CID, f"<ds:Transforms>{TRANSFORM.format(C14N)}</ds:Transforms>"),
        True,
        "GW202",
    ),
    "22 XPath leaves out more": (
        set_text("//ds:XPath", lambda t: f"not(self::eb:Manifest) and {t}"),
        True,
        "GW202",
    ),
    "22 XPath leaves out all": (set_text("//ds:XPath", lambda _: "false()"), True, "GW202"),
    "22 XPath of another actor": (
        set_text("//ds:XPath", lambda t: t.replace("nextMSH", "toPartyMSH")),
        True,
        "GW202",
    ),
    "22 XPath with a prefix bound elsewhere": (
        set_text("//ds:XPath", lambda t: t.replace("soap:", "ds:")),
        True,
        "GW202",
    ),
    "22 XPath with an unbound prefix": (
        set_text("//ds:XPath", lambda t: t.replace("soap:", "nobody:")),
        True,
        "GW202",
    ),
    "22 XPath that is none": (set_text("//ds:XPath", lambda _: "not(§)"), True, "GW202"),
    "22 XPath of a megabyte": (set_text("//ds:XPath", lambda t: t + " " * 2**20), True, "GW202"),
    "23 hidden MessageHeader": (hidden(HEADER_AGAIN), False, "GW203"),
    "23 hidden Manifest": (hidden(f'<eb:Manifest {ACTOR} eb:version="2.0"/>'), False, "GW203"),
    "23 hidden ErrorList": (hidden(f"<eb:ErrorList {ACTOR}/>"), False, "GW203"),
    "23 hidden MessageOrder": (hidden(f"<eb:MessageOrder {ACTOR}/>"), False, "GW203"),
    "23 content in SyncReply": (put("//eb:SyncReply", "<eb:MessageHeader/>"), False, "GW203"),
    "23 text in AckRequested": (set_text("//eb:AckRequested", lambda _: "x"), False, "GW203"),
    "23 Manifest in an Acknowledgment": (
        hidden(f"<eb:Acknowledgment {ACTOR}><eb:Manifest/></eb:Acknowledgment>"),
        False,
        "GW203",
    ),
    "23 two SyncReply": (hidden(f"<eb:SyncReply {ACTOR}/>"), False, "GW203"),
    "23 SyncReply in the Body": (
        put("//soap:Body", f'<eb:SyncReply soap:actor="{NEXT_MSH}"/>'),
        False,
        "GW203",
    ),
    "23 actor on the Manifest": (
        set_attribute("//eb:Manifest", f"{{{SOAP11}}}actor", NEXT),
        False,
        "GW203",
    ),
    "23 actor on the Envelope": (
        set_attribute("/soap:Envelope", f"{{{SOAP11}}}actor", NEXT),
        False,
        "GW203",
    ),
    "24 HMAC": (
        set_attribute("//ds:SignatureMethod", "Algorithm", METHOD + "hmac-sha256"),
        True,
        "GW204",
    ),
    "25 HMACOutputLength": (
        put("//ds:SignatureMethod", "<ds:HMACOutputLength>8</ds:HMACOutputLength>"),
        True,
        "GW204",
    ),
    "26 rsa-sha1": (
        set_attribute("//ds:SignatureMethod", "Algorithm", RSA_SHA1),
        True,
        "GW204",
    ),
    "26 RSA named for an EC key": (
        set_attribute("//ds:SignatureMethod", "Algorithm", METHOD + "rsa-sha256"),
        True,
        "GW204",
    ),
    "26 digest SHA-1": (
        set_attribute(ENVELOPE_REFERENCE + "/ds:DigestMethod", "Algorithm", SHA1),
        True,
        "GW204",
    ),
    "27 r = s = 0": (
        set_text("//ds:SignatureValue", lambda _: base64.b64encode(bytes(64)).decode()),
        False,
        "GW202",
    ),
    "28 KeyValue of another": (foreign_key_value, False, "GW202"),
    "28 KeyName": (put("//ds:KeyInfo", "<ds:KeyName>x</ds:KeyName>"), False, "GW202"),
    "28 RetrievalMethod": (
        put("//ds:KeyInfo", '<ds:RetrievalMethod URI="http://127.0.0.1/"/>'),
        False,
        "GW202",
    ),
    "28 two leaves": (second_leaf, False, "GW202"),
    "28 one leaf of five": (long_chain, False, "GW202"),
    "28 X509SubjectName": (
        put("//ds:X509Data", "<ds:X509SubjectName>CN=x</ds:X509SubjectName>"),
        False,
        "GW202",
    ),
    "28 two X509Data": (again("//ds:X509Data"), False, "GW202"),
    "28 certificate of another": (replace_certificate, False, "GW202"),
    "28 no KeyInfo": (remove("//ds:KeyInfo"), False, "GW202"),
    "28 certificate is none": (
        set_text("//ds:X509Certificate", lambda _: "AAAA"),
        False,
        "GW205",
    ),
    "35 garbage in SignatureValue": (
        set_text("//ds:SignatureValue", lambda t: t[:9] + "!*!" + t[9:]),
        False,
        "GW202",
    ),
    "35 unpadded": (set_text("//ds:SignatureValue", lambda t: t.rstrip("=")), False, "GW202"),
    "35 text after padding": (
        set_text("//ds:SignatureValue", lambda t: t + "AAAA"),
        False,
        "GW202",
    ),
    "35 spare bits set": (
        set_text("//ds:SignatureValue", lambda t: t[:-3] + chr(ord(t[-3]) + 1) + "=="),
        False,
        "GW202",
    ),
    "reference twice": (again(CID), True, "GW202"),
    "attachment by two spellings": (two_spellings, True, "GW202"),
    "SignedInfo without references": (no_references, True, "GW202"),
    "SignedInfo without method": (remove("//ds:SignatureMethod"), False, "GW202"),
    "SignedInfo enveloped": (
        set_attribute("//ds:CanonicalizationMethod", "Algorithm", ENVELOPED),
        False,
        "GW202",
    ),
    "text in SignedInfo": (set_text("//ds:SignedInfo", lambda _: "x"), True, "GW202"),
    "foreign attribute on Reference": (set_attribute(CID, "{urn:evil}Id", "x"), True, "GW202"),
    "Manifest reference by Type": (set_attribute(CID, "Type", f"{DS}Manifest"), True, "GW202"),
    "changed header": (set_text("//eb:Action", lambda _: "Withdraw"), False, "GW202"),
}

URIS = [
    "##id",
    "#id",
    "#xpointer(/)",
    "#xpointer(id('x'))",
    "#id ",
    "%23id",
    "file:///etc/passwd",
    "http://169.254.169.254/",
    "ftp://x/",
    "declaration@broker.example",
    "CID:declaration@broker.example",
    " cid:declaration@broker.example",
    "cid:" + "x" * 2000,
    "cid:%ff",
]


@pytest.fixture
def attack(signer: KeySigner, other: KeySigner, authority: CertificationAuthority) -> Attack:
    root = message()
    sign_message(root, ATTACHMENTS, signer)
    return Attack(reread(root), dict(ATTACHMENTS), signer, other, authority.certificate)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(attack: Attack, name: str) -> None:
    change, signed_again, problem = ATTACKS[name]
    verify_message_signature(attack.root, attack.parts, STRICT)
    change(attack)
    if signed_again:
        attack.resign()
    attack.root = reread(attack.root)
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(attack.root, attack.parts, STRICT)
    assert refusal.value.problem.id == problem, refusal.value


@pytest.mark.parametrize("name", [name for name in ATTACKS if name[:2] in ("21", "22")])
def test_transforms_are_exact_even_where_they_do_nothing(
    signer: KeySigner, other: KeySigner, authority: CertificationAuthority, name: str
) -> None:
    root = message(next_blocks="")
    sign_message(root, ATTACHMENTS, signer)
    attack = Attack(reread(root), dict(ATTACHMENTS), signer, other, authority.certificate)
    change, _, problem = ATTACKS[name]
    change(attack)
    attack.resign()
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(reread(attack.root), attack.parts, STRICT)
    assert refusal.value.problem.id == problem
    assert "digest" not in refusal.value.detail


@pytest.mark.parametrize("uri", URIS)
def test_reference_uris_are_exact(attack: Attack, uri: str) -> None:
    attack.at(CID).set("URI", uri)
    attack.resign()
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(reread(attack.root), attack.parts, STRICT)
    assert refusal.value.problem.id == "GW202", refusal.value


def test_a_reference_has_a_uri(attack: Attack) -> None:
    del attack.at(CID).attrib["URI"]
    resign(attack.root, attack.signer)
    with pytest.raises(GatewayError, match="GW202"):
        verify_message_signature(attack.root, attack.parts, STRICT)


def test_a_processing_instruction_is_refused(attack: Attack) -> None:
    attack.at("//eb:Action").append(etree.ProcessingInstruction("p", "x"))
    attack.resign()
    with pytest.raises(GatewayError, match="GW202"):
        verify_message_signature(attack.root, attack.parts, STRICT)


# the actor on an element that was there changes what is signed: even a naive reader sees that
FOOLING = [
    name
    for name in ATTACKS
    if name[:2] in ("14", "23") and "missing" not in name and " actor on " not in name
]


@pytest.mark.parametrize("name", FOOLING)
def test_attack_would_fool_someone(attack: Attack, name: str) -> None:
    """The attacks that need no key are real: who only checks digests and value takes them."""
    change, signed_again, _ = ATTACKS[name]
    assert not signed_again
    change(attack)
    assert naive_verifier.accepts_signature(reread(attack.root), attack.parts)


def test_other_spellings_of_the_same_xpath_are_taken(attack: Attack) -> None:
    xpath = attack.at("//ds:XPath")
    text = xpath.text.replace("|", "\n|\t").replace("(", " ( ").replace('"', "'").replace("=", " = ")
    renamed = etree.SubElement(xpath.getparent(), xpath.tag, nsmap={"ds": DS, "S-1.x": SOAP11})
    renamed.text = "\n" + text.replace("soap:", "S-1.x:") + " "
    xpath.getparent().remove(xpath)
    attack.resign()
    assert verify_message_signature(reread(attack.root), attack.parts, STRICT).excluded


def test_a_signed_info_with_an_unknown_attribute_is_refused(attack: Attack) -> None:
    attack.at("//ds:SignedInfo").set("strange", "1")
    attack.resign()
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(reread(attack.root), attack.parts, STRICT)
    assert "strange" in refusal.value.detail


def test_key_value_of_the_same_key_is_taken(attack: Attack) -> None:
    put("//ds:KeyInfo", key_value(attack.signer))(attack)
    assert (
        verify_message_signature(reread(attack.root), attack.parts, STRICT).certificate
        == attack.signer.certificate
    )


def test_two_key_values_are_refused_also_of_the_same_key(attack: Attack) -> None:
    for _ in range(2):
        put("//ds:KeyInfo", key_value(attack.signer))(attack)
    with pytest.raises(GatewayError, match="at most a KeyValue"):
        verify_message_signature(reread(attack.root), attack.parts, STRICT)


def rsa_key_value(signer: KeySigner) -> str:
    numbers = signer.certificate.public_key.public_numbers()
    octets = (each.to_bytes((each.bit_length() + 7) // 8) for each in (numbers.n, numbers.e))
    modulus, exponent = (base64.b64encode(each).decode() for each in octets)
    return (
        f"<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{modulus}</ds:Modulus>"
        f"<ds:Exponent>{exponent}</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>"
    )


RSA_KEY_VALUES: dict[str, Callable[[str], str]] = {
    "attribute": lambda text: text.replace("<ds:RSAKeyValue", '<ds:RSAKeyValue x="1"'),
    "attribute on Modulus": lambda text: text.replace("<ds:Modulus", '<ds:Modulus x="1"'),
    "two exponents": lambda text: text.replace("</ds:RSA", "<ds:Exponent>AQAB</ds:Exponent></ds:RSA"),
    "another exponent": lambda text: text.replace("AQAB", "AQAC"),
    "another modulus": lambda text: text.replace("<ds:Modulus>", "<ds:Modulus>AQAB"),
    "no modulus": lambda text: re.sub("<ds:Modulus>.*</ds:Modulus>", "", text),
    "DSA": lambda text: text.replace("RSAKeyValue", "DSAKeyValue"),
}


def test_references_are_limited(signer: KeySigner) -> None:
    for count, taken in ((199, True), (200, False)):
        root = message()
        parts = {f"p{number}": b"" for number in range(count)}
        sign_message(root, parts, signer)
        if taken:
            assert len(verify_message_signature(root, parts, STRICT).references) == 200
            continue
        with pytest.raises(GatewayError, match="more than 200 references"):
            verify_message_signature(root, parts, STRICT)


def with_key_value(signer: KeySigner, change: Callable[[str], str]) -> etree._Element:
    root = message()
    sign_message(root, {}, signer)
    one(root, "//ds:KeyInfo").append(element(change(rsa_key_value(signer))))
    return reread(root)


def test_rsa_key_value_of_the_same_key_is_taken(signers: dict[str, KeySigner]) -> None:
    signer = signers["rsa-2048"]
    root = with_key_value(signer, lambda text: text)
    assert verify_message_signature(root, {}, STRICT).certificate == signer.certificate


@pytest.mark.parametrize("case", RSA_KEY_VALUES)
def test_other_rsa_key_values_are_refused(signers: dict[str, KeySigner], case: str) -> None:
    root = with_key_value(signers["rsa-2048"], RSA_KEY_VALUES[case])
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(root, {}, STRICT)
    assert refusal.value.problem.id == "GW202"
    assert "digest" not in refusal.value.detail


def test_sha1_rightly_signed_is_taken_under_its_policy_alone(signers: dict[str, KeySigner]) -> None:
    signer = signers["rsa-2048"]
    root = message()
    sign_message(root, {}, signer)
    one(root, "//ds:SignatureMethod").set("Algorithm", RSA_SHA1)
    data = canonicalize_element(one(root, "//ds:SignedInfo"))
    value = signer.key.sign(data, padding.PKCS1v15(), hashes.SHA1())
    one(root, "//ds:SignatureValue").text = base64.b64encode(value).decode()
    assert verify_message_signature(reread(root), {}, LEGACY_NORWAY).signature_algorithm == RSA_SHA1
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(reread(root), {}, STRICT)
    assert refusal.value.problem.id == "GW204"


def test_issuers_alone_sign_nothing(attack: Attack) -> None:
    text = base64.b64encode(attack.issuer.der).decode()
    attack.at("//ds:X509Certificate").text = text
    put("//ds:X509Data", f"<ds:X509Certificate>{text}</ds:X509Certificate>")(attack)
    with pytest.raises(GatewayError, match="exactly one certificate"):
        verify_message_signature(reread(attack.root), attack.parts, STRICT)


@pytest.mark.parametrize("index", [0, 1])
def test_issuers_beside_the_leaf_are_taken_and_not_used(attack: Attack, index: int) -> None:
    text = base64.b64encode(attack.issuer.der).decode()
    put("//ds:X509Data", f"<ds:X509Certificate>{text}</ds:X509Certificate>", index)(attack)
    assert (
        verify_message_signature(reread(attack.root), attack.parts, STRICT).certificate
        == attack.signer.certificate
    )


def test_base64_may_be_wrapped_anyhow(attack: Attack) -> None:
    set_text("//ds:SignatureValue", lambda text: "\r\n\t " + "\r\n".join(text) + " ")(attack)
    verify_message_signature(reread(attack.root), attack.parts, STRICT)


def test_norway_allows_what_it_names_and_no_more(attack: Attack) -> None:
    remove(TRANSFORMS + "/ds:Transform[ds:XPath]")(attack)
    attack.at("//ds:CanonicalizationMethod").set("Algorithm", EXCLUSIVE)
    signature = find_signature(attack.root)
    assert signature is not None
    octets = canonicalize_document(attack.root, (signature,))
    attack.at(ENVELOPE_REFERENCE + "/ds:DigestValue").text = base64.b64encode(
        compute_digest(SHA256, octets)
    ).decode()
    resign(attack.root, attack.signer)
    assert verify_message_signature(attack.root, attack.parts, LEGACY_NORWAY).excluded == ()
    with pytest.raises(GatewayError, match="GW204"):
        verify_message_signature(attack.root, attack.parts, STRICT)
    attack.at("//eb:SyncReply").getparent().remove(attack.at("//eb:SyncReply"))
    with pytest.raises(GatewayError, match="GW202"):
        verify_message_signature(attack.root, attack.parts, LEGACY_NORWAY)


def test_a_relative_namespace_is_a_refusal_and_no_crash(signer: KeySigner) -> None:
    root = message(next_blocks="")
    sign_message(root, {}, signer)
    one(root, "//eb:Manifest").append(etree.fromstring('<x xmlns="relative/name"/>'))
    with pytest.raises(GatewayError) as refusal:
        verify_message_signature(root, {}, STRICT)
    assert refusal.value.problem.id == "GW202"
