"""A verifier as it is often written: correct for honest messages, and accepting many forged ones.

It checks digests and the signature value. It does not check where the signed elements are,
what is signed, whether identifiers are unique, or whether the key is trusted. A forgery counts
as an attack if this verifier accepts it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, cast
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.wire import C14N_EXCLUSIVE, DS, DS11, SOAP11, WSSE

__all__ = [
    "Parts",
    "accepts_signature",
    "dereference_octets",
    "derive_hmac_key",
    "detach_element",
    "find_signature",
]

_XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_ENVELOPED: Final = f"{DS}enveloped-signature"
_BY_ANY_ID: Final = "//*[@*[translate(local-name(), 'ID', 'id')='id']=$i]"
_WITH_COMMENTS: Final = "#WithComments"
_OUTPUT_LENGTH: Final = f"{{{DS}}}HMACOutputLength"
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1}

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303  # it takes what it is given
    "md5": hashes.MD5(),  # noqa: S303  # it takes what it is given
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

#: The parts beside an envelope, by Content-ID.
Parts = Mapping[str, bytes]


def accepts_signature(root: etree._Element, parts: Parts | None = None) -> bool:
    """Return whether the verifier accepts a document with its parts by Content-ID."""
    root = deepcopy(root)
    try:
        signature = find_signature(root)
        signed_info = _get_child(signature, "SignedInfo")
        digests = all(
            _verify_digest(signature, reference, parts or {})
            for reference in signed_info.iter(f"{{{DS}}}Reference")
        )
        return digests and _verify_signature_value(signature, signed_info)
    except (LookupError, StopIteration, ValueError, TypeError, InvalidSignature, etree.LxmlError):
        return False


def find_signature(root: etree._Element) -> etree._Element:
    """Return the first ds:Signature of a document that has a SignedInfo."""
    return next(one for one in root.iter(f"{{{DS}}}Signature") if one.find(f"{{{DS}}}SignedInfo") is not None)


def detach_element(node: etree._Element) -> None:
    """Remove an element from its tree and keep the text after it."""
    parent, before = node.getparent(), node.getprevious()
    if parent is None:
        return
    if before is None:
        parent.text = (parent.text or "") + (node.tail or "")
    else:
        before.tail = (before.tail or "") + (node.tail or "")
    parent.remove(node)


def derive_hmac_key(certificate: x509.Certificate) -> bytes:
    """Return the public key as the HMAC key of a verifier that does not check the kind of key."""
    return certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _get_child(element: etree._Element, name: str) -> etree._Element:
    return next(element.iterchildren(f"{{{DS}}}{name}"))


def _decode_text(element: etree._Element) -> bytes:
    # Characters outside base64 are ignored, as most decoders do.
    return base64.b64decode("".join(cast("list[str]", element.xpath("text()"))))


def _find_hash_by_name(algorithm: str) -> hashes.HashAlgorithm:
    """Return a hash by the end of an algorithm's name, without regard to the rest."""
    name = algorithm.rpartition("-")[2].rpartition("#")[2]
    return _HASHES.get(name.lower(), hashes.SHA256())


def _verify_digest(signature: etree._Element, reference: etree._Element, parts: Parts) -> bool:
    method = _get_child(reference, "DigestMethod").get("Algorithm", "")
    found = hashlib.new(
        _find_hash_by_name(method).name,
        dereference_octets(signature, reference, parts),
        usedforsecurity=False,
    )
    return _decode_text(_get_child(reference, "DigestValue")) == found.digest()


def dereference_octets(signature: etree._Element, reference: etree._Element, parts: Parts) -> bytes:
    """Return the octets of a reference: the first match of its name, after its transforms."""
    uri = reference.get("URI", "").strip()
    if uri.startswith("cid:"):
        return parts[unquote(uri[4:])]
    root = signature.getroottree().getroot()
    if uri:
        # "#x", "##x", "x" and "#xpointer(id('x'))" all come out as x.
        wanted = uri.rpartition("'")[0].rpartition("'")[2] or uri.lstrip("#")
        target = cast("list[etree._Element]", root.xpath(_BY_ANY_ID, i=wanted))[0]
    else:
        target = next(signature.iterancestors(f"{{{SOAP11}}}Envelope"), root)
    return _apply_transforms(target, signature, list(reference.iter(f"{{{DS}}}Transform")))


def _apply_transforms(
    target: etree._Element, signature: etree._Element, transforms: list[etree._Element]
) -> bytes:
    """Run the transforms that it knows and pass over the others."""
    methods = [one.get("Algorithm", "") for one in transforms]
    path = _find_child_path(target, signature)
    alone = _copy_as_document(target, exclusive=any(one.startswith(C14N_EXCLUSIVE) for one in methods))
    if _ENVELOPED in methods and path is not None:
        detach_element(_follow_child_path(alone, path))
    for one in transforms:
        if one.get("Algorithm") == _XPATH:
            _apply_xpath_filter(alone, one[0])
    return _canonicalize_node(alone, methods[-1] if methods else "")


def _find_child_path(target: etree._Element, signature: etree._Element) -> list[int] | None:
    """Return the path from a target down to the signature, None when the signature is not inside."""
    steps: list[int] = []
    node = signature
    while node is not target:
        parent = node.getparent()
        if parent is None:
            return None
        steps.insert(0, parent.index(node))
        node = parent
    return steps


def _follow_child_path(node: etree._Element, steps: list[int]) -> etree._Element:
    for step in steps:
        node = node[step]
    return node


def _apply_xpath_filter(root: etree._Element, xpath: etree._Element) -> None:
    """Run the XPath transform as the standard describes it, with any expression."""
    names = {prefix: uri for prefix, uri in xpath.nsmap.items() if prefix}
    find = etree.XPath(xpath.text or "", namespaces=names)
    for node in [each for each in root.iter("*") if not find(each)]:
        if node.getparent() is not None:
            detach_element(node)


def _copy_as_document(target: etree._Element, *, exclusive: bool) -> etree._Element:
    """Return a copy of an element as a document, with what it inherits where that is part of its form."""
    if target.getparent() is None:
        return deepcopy(target)
    copied = etree.fromstring(etree.tostring(target, with_tail=False))
    for ancestor in () if exclusive else target.iterancestors():
        for name, value in ancestor.attrib.items():
            if str(name).startswith("{http://www.w3.org/XML"):
                copied.set(name, copied.get(name, value))
    return copied


def _canonicalize_node(node: etree._Element, method: str) -> bytes:
    exclusive = method.startswith(C14N_EXCLUSIVE)
    comments = method.endswith(_WITH_COMMENTS[1:])
    return etree.tostring(node, method="c14n", exclusive=exclusive, with_comments=comments)


def _verify_signature_value(signature: etree._Element, signed_info: etree._Element) -> bool:
    method = _get_child(signed_info, "SignatureMethod")
    algorithm = method.get("Algorithm", "")
    form = _get_child(signed_info, "CanonicalizationMethod").get("Algorithm", "")
    data = _canonicalize_node(_copy_as_document(signed_info, exclusive=form.startswith(C14N_EXCLUSIVE)), form)
    value = _decode_text(_get_child(signature, "SignatureValue"))
    if "#hmac-" in algorithm:
        return _verify_hmac_value(signature, method, value, data)
    return _verify_with_key(_find_public_key(signature), value, data, _find_hash_by_name(algorithm))


def _verify_hmac_value(signature: etree._Element, method: etree._Element, value: bytes, data: bytes) -> bool:
    name = _find_hash_by_name(method.get("Algorithm", "")).name
    made = hmac.new(derive_hmac_key(_find_certificate(signature)), data, name).digest()
    length = method.findtext(_OUTPUT_LENGTH)
    return value == (made if length is None else made[: int(length) // 8])


def _find_certificate(signature: etree._Element) -> x509.Certificate:
    """Return the first certificate at any place of the message."""
    root = signature.getroottree().getroot()
    texts = signature.iter(f"{{{DS}}}X509Certificate")
    found = next(texts, None)
    if found is None:
        found = next(root.iter(f"{{{WSSE}}}BinarySecurityToken"))
    return x509.load_der_x509_certificate(_decode_text(found))


def _find_public_key(signature: etree._Element) -> Any:
    """Return the key of the KeyValue if present, otherwise that of the certificate."""
    value = next(signature.iter(f"{{{DS}}}RSAKeyValue"), None)
    if value is not None:
        modulus, exponent = (int.from_bytes(_decode_text(one), "big") for one in value)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    value = next(signature.iter(f"{{{DS11}}}ECKeyValue"), None)
    if value is not None:
        curve = _CURVES[value[0].get("URI", "")]()
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, _decode_text(value[1]))
    return _find_certificate(signature).public_key()


def _verify_with_key(key: Any, value: bytes, data: bytes, algorithm: Any) -> bool:
    """Check a signature value by the kind of key, without regard to the SignatureMethod."""
    half = len(value) // 2
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, data, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(value, data)
    elif isinstance(key, ec.EllipticCurvePublicKey | dsa.DSAPublicKey):
        pair = encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(pair, data, ec.ECDSA(algorithm))
        else:
            key.verify(pair, data, algorithm)
    else:
        return False
    return True
