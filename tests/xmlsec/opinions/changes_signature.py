"""Changes of the signature itself; "signed again" makes its value right for what was changed."""

from __future__ import annotations

import base64
import re
from copy import deepcopy
from dataclasses import replace
from random import Random

from lxml import etree

from gateway.wire import DS, canonicalize_element
from tests.xmlsec.opinions.change import CHANGES, Change, found, text, tree, whole
from tests.xmlsec.opinions.messages import KINDS, Message, signer

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_SIGNATURES = (
    _MORE + "rsa-sha256", _MORE + "rsa-sha512", _MORE + "ecdsa-sha256", _MORE + "ecdsa-sha512",
    DS + "rsa-sha1", DS + "hmac-sha1", _MORE + "hmac-sha256", "urn:unknown",
)  # fmt: skip
_DIGESTS = (
    "http://www.w3.org/2001/04/xmlenc#sha512", _MORE + "sha384", DS + "sha1", _MORE + "md5", "urn:unknown",
)  # fmt: skip
_FORMS = (
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments",
    "http://www.w3.org/2001/10/xml-exc-c14n#",
    "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
    "http://www.w3.org/2006/12/xml-c14n11",
    "urn:unknown",
)
_OTHER = (
    DS + "base64", "http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/2002/06/xmldsig-filter2",
    "urn:unknown", DS + "enveloped-signature", *_FORMS,
)  # fmt: skip
_VALUES = "//ds:SignatureValue | //ds:SignedInfo//ds:DigestValue"


def _choose(random: Random, root: etree._Element, path: str) -> etree._Element | None:
    places = found(root, path)
    return random.choice(places) if places else None


# --- values --------------------------------------------------------------------------------------


@tree("value: a bit of a digest or value changed")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, _VALUES)
    if one is None:
        return False
    octets = bytearray(base64.b64decode(one.text or ""))
    octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)
    one.text = base64.b64encode(octets).decode()
    return True


@tree("value: cut, lengthened or emptied")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, _VALUES)
    if one is None:
        return False
    octets = base64.b64decode(one.text or "")
    one.text = base64.b64encode(random.choice([octets[:-1], b"\0" + octets, octets + b"\0", b""])).decode()
    return True


@tree("base64: white space in it")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, _VALUES + " | //ds:X509Certificate | //wsse:BinarySecurityToken")
    if one is None:
        return False
    data = one.text or ""
    at = random.randint(0, len(data))
    one.text = data[:at] + random.choice([" ", "\n", "\n\t"]) + data[at:]
    return True


@tree("base64: other characters in it")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, _VALUES)
    if one is None:
        return False
    data = one.text or ""
    at = random.randint(0, len(data))
    one.text = data[:at] + random.choice(["!", "*", ".", "é", "-", "=", "\xa0"]) + data[at:]
    return True


@tree("base64: another spelling of the same octets")
def _(random: Random, root: etree._Element) -> bool:
    padded = [one for one in found(root, _VALUES) if (one.text or "").rstrip().endswith("=")]
    if not padded:
        return False
    one = random.choice(padded)
    bare = (one.text or "").rstrip().rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(bare[-1]) + 1]  # the bits that padding leaves over, set
    padding = "=" * (-len(bare) % 4)
    one.text = random.choice([bare, bare + padding + "=", bare[:-1] + last + padding])
    return True


@text("comment: in a value of the signature")
def _(random: Random, data: str) -> str | None:
    places = [one for one in re.finditer(r"<[\w.-]*:?(?:Digest|Signature)Value>[^<]+", data)]
    if not places:
        return None
    at = random.choice(places).end() - random.randint(0, 8)
    return data[:at] + "<!-- c -->" + data[at:]


# --- algorithms, references, transforms -------------------------------------------------------------


def _both(name: str, change: Change) -> None:
    """Add a change as it is, and with the value of the signature made right for it."""
    whole(name)(change)

    def signed_again(random: Random, message: Message) -> Message | None:
        made = change(random, message) if message.signer else None
        return made and _signed_again(made)

    whole(f"{name}, signed again")(signed_again)


def both(name: str):
    """Name a change of the tree that is tried as it is and signed again."""

    def add(change) -> None:
        tree(name)(change)
        _both(name, CHANGES.pop(name))

    return add


def _signed_again(message: Message) -> Message | None:
    root = etree.fromstring(message.xml)
    signed_info, value = found(root, "//ds:SignedInfo"), found(root, "//ds:SignatureValue")
    if len(signed_info) != 1 or len(value) != 1 or message.signer is None:
        return None
    form = (found(root, "//ds:CanonicalizationMethod") or [root])[0].get("Algorithm", "")
    comments = form.endswith("#WithComments")
    data = canonicalize_element(signed_info[0], exclusive="exc-c14n" in form, with_comments=comments)
    value[0].text = base64.b64encode(message.signer.sign(data)).decode()
    return replace(message, xml=etree.tostring(root.getroottree(), encoding="utf-8"))


@both("algorithm: another signature method")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignatureMethod")
    assert one is not None
    one.set("Algorithm", random.choice([each for each in _SIGNATURES if each != one.get("Algorithm")]))
    return True


@both("algorithm: another digest method")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo//ds:DigestMethod")
    assert one is not None
    one.set("Algorithm", random.choice(_DIGESTS))
    return True


@both("algorithm: another canonical form of SignedInfo")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:CanonicalizationMethod")
    assert one is not None
    one.set("Algorithm", random.choice([each for each in _FORMS if each != one.get("Algorithm")]))
    return True


@both("algorithm: parameters of the signature method")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:SignatureMethod")[0]
    etree.SubElement(one, f"{{{DS}}}HMACOutputLength").text = "0"
    return True


@both("transform: removed")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo//ds:Transform")
    if one is None:
        return False
    parent = one.getparent()
    assert parent is not None
    parent.remove(one)
    return True


@both("transform: added")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo//ds:Transforms")
    if one is None:
        return False
    one.insert(
        random.randint(0, len(one)), one.makeelement(f"{{{DS}}}Transform", Algorithm=random.choice(_OTHER))
    )
    return True


@both("transform: exchanged")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo//ds:Transform")
    if one is None:
        return False
    one.set("Algorithm", random.choice([each for each in _OTHER if each != one.get("Algorithm")]))
    return True


@both("transform: order changed")
def _(_random: Random, root: etree._Element) -> bool:
    several = [one for one in found(root, "//ds:SignedInfo//ds:Transforms") if len(one) > 1]
    if not several:
        return False
    several[0].append(several[0][0])
    return True


@both("transform: XPath written otherwise")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo//ds:XPath")
    if one is None:
        return False
    words = one.text or ""
    one.text = random.choice(
        [
            words.replace(" | ", "|"),
            words.replace("(", "( ").replace("=", " = "),
            words.replace('"', "'"),
            words.replace("ancestor-or-self", "self"),
            f"({words})",
            "true()",
            "not(self::*[local-name()='Body'])",
            words.replace("next", "nxt"),
            words + " and not(ancestor-or-self::node()[local-name()='Manifest'])",
        ]
    )
    return True


@both("reference: another URI")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo/ds:Reference")
    assert one is not None
    uri = one.get("URI", "")
    bare = uri.removeprefix("#")
    others = [
        "", "#nothing", "#" + uri, uri + " ", f"#xpointer(id('{bare}'))", "#xpointer(/)",
        "cid:nothing@evil.example", "http://127.0.0.1:9/", "file:///etc/hostname", uri.replace("@", "%40"),
        uri.upper(),
    ]  # fmt: skip
    one.set("URI", random.choice([each for each in others if each != uri]))
    return True


@both("reference: without URI")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo/ds:Reference")
    assert one is not None
    del one.attrib["URI"]
    return True


@both("reference: repeated")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo/ds:Reference")
    assert one is not None
    one.addnext(deepcopy(one))
    return True


@both("reference: removed")
def _(random: Random, root: etree._Element) -> bool:
    several = found(root, "//ds:SignedInfo/ds:Reference")
    if len(several) < 2:
        return False
    one = random.choice(several)
    parent = one.getparent()
    assert parent is not None
    parent.remove(one)
    return True


@both("reference: order changed")
def _(_random: Random, root: etree._Element) -> bool:
    several = found(root, "//ds:SignedInfo/ds:Reference")
    if len(several) < 2:
        return False
    several[-1].addnext(several[0])
    return True


@both("reference: Type or Id added")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:SignedInfo/ds:Reference")
    assert one is not None
    one.set(*random.choice([("Type", DS + "Object"), ("Id", "r9"), ("Evil", "x")]))
    return True


@both("form: an element or text too many in SignedInfo")
def _(random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:SignedInfo")[0]
    kind = random.randrange(3)
    if kind == 0:
        one.append(one.makeelement(f"{{{DS}}}Evil"))
    elif kind == 1:
        one.text = (one.text or "") + "text"
    else:
        one.append(etree.Comment("c"))
    return True


# --- keys ------------------------------------------------------------------------------------------


@tree("key: a name beside the certificate")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:KeyInfo")[0]
    one.insert(0, one.makeelement(f"{{{DS}}}KeyName"))
    one[0].text = "broker"
    return True


@tree("key: a KeyValue of another key beside the certificate")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:KeyInfo")[0]
    numbers = signer("rsa-2048", "other").certificate.public_key.public_numbers()
    value = etree.SubElement(etree.SubElement(one, f"{{{DS}}}KeyValue"), f"{{{DS}}}RSAKeyValue")
    for name, number in (("Modulus", numbers.n), ("Exponent", numbers.e)):
        octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
        etree.SubElement(value, f"{{{DS}}}{name}").text = base64.b64encode(octets).decode()
    return True


@tree("key: a second certificate")
def _(random: Random, root: etree._Element) -> bool:
    one = _choose(random, root, "//ds:X509Data")
    if one is None:
        return False
    leaf = one.makeelement(f"{{{DS}}}X509Certificate")
    leaf.text = base64.b64encode(signer("p-256", "other").certificate.der).decode()
    one.insert(random.randint(0, len(one)), leaf)
    return True


@tree("key: the certificate of another")
def _(random: Random, root: etree._Element) -> bool:
    for one in found(root, "//ds:X509Certificate | //wsse:BinarySecurityToken"):
        one.text = base64.b64encode(signer(random.choice(KINDS), "other").certificate.der).decode()
    return True


@tree("key: words about the certificate")
def _(_random: Random, root: etree._Element) -> bool:
    data = found(root, "//ds:X509Data")
    if not data:
        return False
    data[0].insert(0, data[0].makeelement(f"{{{DS}}}X509SubjectName"))
    data[0][0].text = "CN=someone"
    return True


@tree("key: no certificate")
def _(_random: Random, root: etree._Element) -> bool:
    for one in found(root, "//ds:KeyInfo | //wsse:BinarySecurityToken"):
        parent = one.getparent()
        assert parent is not None
        parent.remove(one)
    return True


@tree("key: to be fetched elsewhere")
def _(random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:KeyInfo")[0]
    method = one.makeelement(f"{{{DS}}}RetrievalMethod", URI="http://127.0.0.1:9/key")
    one.insert(random.randint(0, len(one)), method)
    return True


# --- identifiers, place and number -------------------------------------------------------------------

_ID_NAMES = ("Id", "ID", "id", "{urn:evil}Id", "{http://www.w3.org/XML/1998/namespace}id")


def _identified(root: etree._Element) -> list[tuple[etree._Element, str]]:
    referenced = {one.get("URI", "")[1:] for one in found(root, "//ds:SignedInfo/ds:Reference")} - {""}
    return [(one, str(name)) for one in root.iter("*") for name in one.attrib if one.get(name) in referenced]


@tree("identifier: on a second element")
def _(random: Random, root: etree._Element) -> bool:
    places = _identified(root)
    if not places:
        return False
    one, name = random.choice(places)
    others = [each for each in root.iter("*") if each is not one]
    random.choice(others).set(random.choice([name, *_ID_NAMES]), one.get(name, ""))
    return True


@tree("identifier: in another attribute")
def _(random: Random, root: etree._Element) -> bool:
    places = _identified(root)
    if not places:
        return False
    one, name = random.choice(places)
    value = one.attrib.pop(name)
    one.set(random.choice([each for each in _ID_NAMES if each != name]), value)
    return True


@tree("identifier: changed")
def _(random: Random, root: etree._Element) -> bool:
    places = _identified(root)
    if not places:
        return False
    one, name = random.choice(places)
    one.set(name, one.get(name, "") + "x")
    return True


@tree("identifier: content wrapped, another in its place")
def _(random: Random, root: etree._Element) -> bool:
    """Signature wrapping: what is signed goes where nobody reads, a forged copy takes its place."""
    places = [(one, name) for one, name in _identified(root) if one.getparent() is not None]
    if not places:
        return False
    one, name = random.choice(places)
    copy = deepcopy(one)
    del copy.attrib[name]
    copy.text = "forged"
    parent = one.getparent()
    assert parent is not None
    parent.replace(one, copy)
    target = random.choice([root, root[0], *found(root, "//soap:Header")])
    etree.SubElement(target, "{urn:evil}Wrapper").append(one)
    return True


@tree("signature: moved")
def _(random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:Signature")[0]
    parents = [each for each in root.iter("*") if one not in (each, *each.iterancestors())]
    if not parents or one.getparent() is None:
        return False
    random.choice(parents).append(one)
    return True


@tree("signature: a second one")
def _(random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:Signature")[0]
    if one.getparent() is None:
        return False
    copy = deepcopy(one)
    random.choice([one.addnext, one.addprevious, lambda each: root.append(each)])(copy)
    return True


@tree("signature: removed")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:Signature")[0]
    parent = one.getparent()
    if parent is None:
        return False
    parent.remove(one)
    return True


@tree("signature: an Object more")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:Signature")[0]
    etree.SubElement(one, f"{{{DS}}}Object").text = "hidden"
    return True


@tree("signature: SignedInfo twice")
def _(random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:SignedInfo")[0]
    copy = deepcopy(one)
    found(copy, ".//ds:DigestValue")[0].text = base64.b64encode(bytes(32)).decode()
    random.choice([one.addnext, one.addprevious])(copy)
    return True


@tree("signature: parts in another order")
def _(_random: Random, root: etree._Element) -> bool:
    one = found(root, "//ds:Signature")[0]
    one.append(one[0])
    return True
