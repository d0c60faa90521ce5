"""Verifiers as they are often written: right on honest messages, fooled by wrapped ones.

They check digests and the signature value with care, and nothing about where the signed
things stand, which of them are signed at all, or who else has the same identifier.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from copy import deepcopy

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

DS = "{http://www.w3.org/2000/09/xmldsig#}"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_BY_ANY_ID = "//*[@*[local-name()='Id' or local-name()='id']=$i]"


def accepts(root: etree._Element, parts: Mapping[str, bytes] | None = None) -> bool:
    """Tell whether a naive verifier would take the document."""
    root = deepcopy(root)
    signature = next(root.iter(f"{DS}Signature"))
    signed_info = signature.find(f"{DS}SignedInfo")
    for reference in signed_info.iter(f"{DS}Reference"):
        data = octets(root, reference, parts or {})
        if base64.b64decode(reference.findtext(f"{DS}DigestValue")) != hashlib.sha256(data).digest():
            return False
    exclusive = signed_info[0].get("Algorithm") == EXCLUSIVE
    return _value_is_right(root, signature, _canonical(signed_info, exclusive))


def octets(root: etree._Element, reference: etree._Element, parts: Mapping[str, bytes]) -> bytes:
    uri = reference.get("URI")
    if uri.startswith("cid:"):
        return parts[uri[4:].replace("%20", " ").replace("%25", "%")]
    target = root if uri == "" else root.xpath(_BY_ANY_ID, i=uri[1:])[0]
    methods = {each.get("Algorithm"): each for each in reference.iter(f"{DS}Transform")}
    if target is root:
        target = deepcopy(root)
        if ENVELOPED in methods:
            remove(next(target.iter(f"{DS}Signature")))
        if XPATH in methods:
            _filter(target, methods[XPATH][0])
    return _canonical(target, EXCLUSIVE in methods)


def _filter(root: etree._Element, xpath: etree._Element) -> None:
    """Run the XPath transform as the standard describes it."""
    names = {prefix: uri for prefix, uri in xpath.nsmap.items() if prefix}
    for node in [each for each in root.iter() if not each.xpath(xpath.text, namespaces=names)]:
        if node.getparent() is not None:
            remove(node)


def remove(node: etree._Element) -> None:
    parent, before = node.getparent(), node.getprevious()
    if before is None:
        parent.text = (parent.text or "") + (node.tail or "")
    else:
        before.tail = (before.tail or "") + (node.tail or "")
    parent.remove(node)


def _canonical(node: etree._Element, exclusive: bool) -> bytes:
    if node.getparent() is None:
        return etree.tostring(node, method="c14n", exclusive=exclusive, with_comments=False)
    alone = etree.fromstring(etree.tostring(node, with_tail=False))
    for ancestor in [] if exclusive else node.iterancestors():
        for name, value in ancestor.attrib.items():
            if name.startswith("{http://www.w3.org/XML"):
                alone.set(name, alone.get(name, value))
    return etree.tostring(alone, method="c14n", exclusive=exclusive, with_comments=False)


def _value_is_right(root: etree._Element, signature: etree._Element, data: bytes) -> bool:
    text = next(each.text for each in root.iter(f"{DS}X509Certificate", "{*}BinarySecurityToken"))
    key = x509.load_der_x509_certificate(base64.b64decode(text)).public_key()
    value = base64.b64decode(signature.findtext(f"{DS}SignatureValue"))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    half = len(value) // 2
    encoded = encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
    key.verify(encoded, data, ec.ECDSA(hashes.SHA256()))
    return True
