"""Wrapped, mixed and incomplete WS-Security signatures, each refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import DS, SOAP11, WSSE, WSU
from gateway.xmlsec import STRICT, sign_soap_envelope, verify_soap_envelope
from gateway_conformance.hostile import naive_verifier
from tests.xmlsec.sample_messages import element, one, request, reread, resign

ID = f"{{{WSU}}}Id"
XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
TARGETS = {"Body": "/soap:Envelope/soap:Body", "Timestamp": "//wsu:Timestamp", "Action": "//wsa:Action"}
HEADER = "/soap:Envelope/soap:Header"


def into_object(root: etree._Element, original: etree._Element) -> None:
    holder = element("<ds:Object/>")
    holder.append(original)
    one(root, "//ds:Signature").append(holder)


def into_header(root: etree._Element, original: etree._Element) -> None:
    wrapper = etree.Element("{urn:evil}Wrapper")
    wrapper.append(original)
    one(root, HEADER).insert(0, wrapper)


def into_security(root: etree._Element, original: etree._Element) -> None:
    one(root, "//wsse:Security").insert(0, original)


def bare_into_header(root: etree._Element, original: etree._Element) -> None:
    one(root, HEADER).insert(0, original)


def into_forged(root: etree._Element, original: etree._Element) -> None:
    one(root, "//*[@forged]").append(original)


def before_forged(root: etree._Element, original: etree._Element) -> None:
    one(root, "//*[@forged]").addprevious(original)


def after_forged(root: etree._Element, original: etree._Element) -> None:
    one(root, "//*[@forged]").addnext(original)


PLACES = [into_object, into_header, into_security, bare_into_header, into_forged, before_forged, after_forged]
IDENTIFIERS = {"same": lambda given: given, "other": lambda given: given + "-forged", "none": lambda _: None}


def wrap(root: etree._Element, target: str, place: Callable[..., None], identifier: str) -> None:
    """Put a forged element where the signed one was, and the signed one somewhere else."""
    original = one(root, TARGETS[target])
    forged = deepcopy(original)
    forged.set("forged", "yes")
    if len(forged):
        forged[0].text = "forged"
    given = IDENTIFIERS[identifier](forged.attrib.pop(ID))
    if given is not None:
        forged.set(ID, given)
    original.getparent().replace(original, forged)
    place(root, original)


@pytest.fixture
def signed(signer: KeySigner, now: datetime) -> etree._Element:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    return reread(root)


@pytest.mark.parametrize("identifier", IDENTIFIERS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("target", TARGETS)
def test_wrapping_is_refused(
    signed: etree._Element, now: datetime, target: str, place: Callable[..., None], identifier: str
) -> None:
    wrap(signed, target, place, identifier)
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(reread(signed), STRICT, now=now)
    allowed = ("GW202", "GW203", "GW211") if target == "Timestamp" else ("GW202", "GW203")
    assert refusal.value.problem.id in allowed, refusal.value


# what stands before the forged element is found first
FOOLING = [
    (target, place)
    for target in TARGETS
    for place in (into_header, into_security, bare_into_header, before_forged)
    if (target, place) != ("Action", into_security)
]


@pytest.mark.parametrize(("target", "place"), FOOLING)
def test_wrapping_would_fool_someone(signed: etree._Element, target: str, place: Callable[..., None]) -> None:
    wrap(signed, target, place, "same")
    assert naive_verifier.accepts_signature(reread(signed))
    assert one(signed, "//*[@forged]").getparent() is not None


def change_of(path: str, do: Callable[[etree._Element], object]) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        do(one(root, path))

    return change


def adding(path: str, text: str) -> Callable[[etree._Element], None]:
    return change_of(path, lambda target: target.append(element(text)))


def setting(path: str, name: str, value: str) -> Callable[[etree._Element], None]:
    return change_of(path, lambda target: target.set(name, value))


def writing(path: str, new: Callable[[str], str]) -> Callable[[etree._Element], None]:
    return change_of(path, lambda target: setattr(target, "text", new(target.text)))


def long_prefix_list(root: etree._Element) -> None:
    transform = one(root, BODY_REFERENCE + "/ds:Transforms/ds:Transform")
    etree.SubElement(transform, f"{{{EXCLUSIVE}}}InclusiveNamespaces", PrefixList="a " * 33)


def drop(path: str) -> Callable[[etree._Element], None]:
    return lambda root: naive_verifier.detach_element(one(root, path))


def drop_reference_to(path: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        naive_verifier.detach_element(one(root, f"//ds:Reference[@URI='#{one(root, path).get(ID)}']"))

    return change


def again(path: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        copy = deepcopy(one(root, path))
        copy.attrib.pop(ID, None)
        one(root, path).addnext(copy)

    return change


def two_ids(name: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        one(root, "//x:Trace").set(name, one(root, TARGETS["Body"]).get(ID))

    return change


def move(path: str, to: str) -> Callable[[etree._Element], None]:
    return lambda root: one(root, to).append(one(root, path))


def set_all_transforms(algorithm: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        for transform in root.iter(f"{{{DS}}}Transform"):
            transform.set("Algorithm", algorithm)

    return change


def swap_certificate(other: KeySigner) -> str:
    return base64.b64encode(other.certificate.der).decode()


BODY_REFERENCE = "//ds:Reference[1]"
STR = "//wsse:SecurityTokenReference"
TOKEN = "//wsse:BinarySecurityToken"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
STR_TRANSFORM = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"
)

# name: (what is done, signed again, expected problem)
ATTACKS: dict[str, tuple[Callable[[etree._Element], None], bool, str]] = {
    "08 same wsu:Id on another element": (two_ids(ID), False, "GW202"),
    "09 same value as Id": (two_ids("Id"), False, "GW202"),
    "09 same value as ID": (two_ids("ID"), False, "GW202"),
    "09 same value as id": (two_ids("id"), False, "GW202"),
    "09 same value as xml:id": (two_ids(XML_ID), False, "GW202"),
    "09 same value as evil:Id": (two_ids("{urn:evil}Id"), False, "GW202"),
    "09 Body named by Id alone": (
        change_of(TARGETS["Body"], lambda e: e.set("Id", e.attrib.pop(ID))), True, "GW202"),
    "09 Body named by xml:id alone": (
        change_of(TARGETS["Body"], lambda e: e.set(XML_ID, e.attrib.pop(ID))), True, "GW202"),
    "12 two signatures": (again("//ds:Signature"), False, "GW202"),
    "12 signature in the Body": (move("//ds:Signature", TARGETS["Body"]), False, "GW201"),
    "13 no signature": (drop("//ds:Signature"), False, "GW201"),
    "13 no Security": (drop("//wsse:Security"), False, "GW201"),
    "13 Body not signed": (drop_reference_to(TARGETS["Body"]), True, "GW203"),
    "13 Timestamp not signed": (drop_reference_to(TARGETS["Timestamp"]), True, "GW203"),
    "13 Action not signed": (drop_reference_to(TARGETS["Action"]), True, "GW203"),
    "13 addressing header added": (
        adding(HEADER, "<wsa:ReplyTo><wsa:Address>urn:x</wsa:Address></wsa:ReplyTo>"),
        False,
        "GW203",
    ),
    "13 no Timestamp": (drop("//wsu:Timestamp"), False, "GW211"),
    "13 two Timestamps": (again("//wsu:Timestamp"), False, "GW211"),
    "13 no token": (drop(TOKEN), False, "GW202"),
    "18 comment in a header": (
        change_of("//wsa:Action", lambda e: e.append(etree.Comment("x"))), False, "GW202"),
    "20 no canonical form": (
        change_of(TARGETS["Body"], lambda e: e.append(etree.fromstring('<x xmlns="relative/name"/>'))),
        False,
        "GW202",
    ),
    "21 inclusive C14N of parts": (set_all_transforms(C14N), True, "GW202"),
    "21 C14N with comments": (set_all_transforms(EXCLUSIVE + "WithComments"), True, "GW202"),
    "21 STR-Transform": (set_all_transforms(STR_TRANSFORM), True, "GW202"),
    "21 enveloped-signature": (set_all_transforms(DS + "enveloped-signature"), True, "GW202"),
    "21 no transforms": (drop(BODY_REFERENCE + "/ds:Transforms"), True, "GW202"),
    "21 inclusive SignedInfo": (
        setting("//ds:CanonicalizationMethod", "Algorithm", C14N), True, "GW204"),
    "24 HMAC": (
        setting("//ds:SignatureMethod", "Algorithm", DS + "hmac-sha1"), True, "GW204"),
    "26 SHA-1": (
        setting(BODY_REFERENCE + "/ds:DigestMethod", "Algorithm", DS + "sha1"), True, "GW204"),
    "28 X509Data in KeyInfo": (
        adding("//ds:KeyInfo", "<ds:X509Data/>"), False, "GW202"),
    "28 KeyValue in KeyInfo": (
        adding("//ds:KeyInfo", "<ds:KeyValue/>"), False, "GW202"),
    "28 KeyIdentifier": (
        adding(STR, "<wsse:KeyIdentifier/>"), False, "GW202"),
    "28 two references": (again(STR + "/wsse:Reference"), False, "GW202"),
    "28 reference to nothing": (setting(STR + "/wsse:Reference", "URI", "#x"), False, "GW202"),
    "28 reference without ValueType": (
        change_of(STR + "/wsse:Reference", lambda e: e.attrib.pop("ValueType")), False, "GW202"),
    "28 PKIPath token": (setting(TOKEN, "ValueType", "urn:x"), False, "GW202"),
    "28 token in hexadecimal": (setting(TOKEN, "EncodingType", "urn:x"), False, "GW202"),
    "29 token outside Security": (move(TOKEN, HEADER), False, "GW202"),
    "29 two tokens": (again(TOKEN), False, "GW202"),
    "29 second Security": (again("//wsse:Security"), False, "GW202"),
    "29 Security in the Body": (move("//wsse:Security", TARGETS["Body"]), False, "GW202"),
    "29 UsernameToken beside": (
        adding("//wsse:Security", "<wsse:UsernameToken/>"), False, "GW202"),
    "35 garbage in the token": (writing(TOKEN, lambda old: "!*!" + old), False, "GW202"),
    "second Body": (again(TARGETS["Body"]), False, "GW202"),
    "second Header": (again(HEADER), False, "GW202"),
    "Envelope in the Body": (
        adding(TARGETS["Body"], "<soap:Envelope/>"), False, "GW202"),
    "trailing element": (
        adding("/soap:Envelope", "<eb:Trailer/>"), False, "GW202"),
    "reference twice": (again(BODY_REFERENCE), True, "GW202"),
    "too many prefixes": (long_prefix_list, True, "GW102"),
    "changed Body": (writing("//x:Weight", lambda _: "900"), False, "GW202"),
    "changed attribute": (setting("//x:Weight", "unit", "g"), False, "GW202"),
    "changed address": (writing("//wsa:To", lambda _: "https://evil/"), False, "GW202"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(signed: etree._Element, signer: KeySigner, now: datetime, name: str) -> None:
    change, signed_again, problem = ATTACKS[name]
    change(signed)
    if signed_again:
        resign(signed, signer)
    if not name.startswith("20"):
        signed = reread(signed)
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(signed, STRICT, now=now)
    assert refusal.value.problem.id == problem, refusal.value


@pytest.mark.parametrize(
    "uri", ["", "##s-2", "#s-2 ", "s-2", "#xpointer(id('s-2'))", "cid:s-2", "http://x/#s-2", "#"]
)
def test_reference_uris_are_exact(signed: etree._Element, signer: KeySigner, now: datetime, uri: str) -> None:
    one(signed, BODY_REFERENCE).set("URI", uri)
    resign(signed, signer)
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(reread(signed), STRICT, now=now)
    assert refusal.value.problem.id == "GW202"


def test_another_key_in_the_token(signed: etree._Element, other: KeySigner, now: datetime) -> None:
    one(signed, TOKEN).text = swap_certificate(other)
    with pytest.raises(GatewayError, match="GW202"):
        verify_soap_envelope(reread(signed), STRICT, now=now)
    resign(signed, other)
    # a good signature by someone else: who may say what is for others to judge
    assert verify_soap_envelope(reread(signed), STRICT, now=now).certificate == other.certificate


def test_business_identifiers_may_repeat(signer: KeySigner, now: datetime) -> None:
    root = request()
    submit = one(root, "//x:Submit")
    for _ in range(2):
        etree.SubElement(submit, "{urn:agency}Item", id="1", Id="1", ID="1")
    sign_soap_envelope(root, signer, now=now)
    verify_soap_envelope(reread(root), STRICT, now=now)


def test_other_soap_versions_are_refused(now: datetime, signer: KeySigner) -> None:
    root = etree.fromstring(
        '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body/></e:Envelope>'
    )
    for act in (
        lambda: verify_soap_envelope(root, STRICT, now=now),
        lambda: sign_soap_envelope(root, signer, now=now),
    ):
        with pytest.raises(GatewayError, match="GW202"):
            act()
    assert SOAP11 not in root.tag
    assert root.find(f".//{{{WSSE}}}Security") is None
