"""Signs what was changed, so that the change is judged by what lies behind the signature."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from random import Random

from lxml import etree

from gateway.pki import Signer
from gateway.wire import DS, SOAP11, WSSE, canonicalize_element, parse_xml
from gateway.xmlsec import sign_document, sign_soap_envelope
from gateway_conformance.message_signing import sign_message
from tests.fuzz.posts import UNSIGNABLE, Sign
from tests.fuzz.target import Mutate
from tests.fuzz.trees import change_tree, mutate_xml, parsed, written

__all__ = ["document_signer", "message_signer", "request_signer", "without"]

_SIGNATURE = f"{{{DS}}}Signature"
_HEADER = f"{{{SOAP11}}}Header"


def without(root: etree._Element, tag: str) -> None:
    """Take every element of a name away, with what is in it."""
    for one in list(root.iter(tag)):
        parent = one.getparent()
        if parent is not None:
            parent.remove(one)


def message_signer(signer: Signer) -> Sign:
    """Return what changes an ebMS envelope and signs it; at times it changes the signature itself."""

    def sign(root: etree._Element, attachments: Mapping[str, bytes], rng: Random) -> etree._Element:
        if rng.random() < 0.3:
            return _resealed(root, signer, rng)
        without(root, _SIGNATURE)
        root = _reread(change_tree(root, rng))
        sign_message(root, attachments, signer)
        return root

    return sign


def request_signer(signer: Signer, now: datetime) -> Sign:
    """Return the same for a SOAP request or answer with a Security header."""

    def sign(root: etree._Element, _attachments: Mapping[str, bytes], rng: Random) -> etree._Element:
        if rng.random() < 0.3:
            return _resealed(root, signer, rng)
        without(root, f"{{{WSSE}}}Security")
        root = _reread(change_tree(root, rng))
        sign_soap_envelope(root, signer, now=now)
        return root

    return sign


def document_signer(signer: Signer, now: datetime, resealed: float = 0.3) -> Mutate:
    """Return the mutation of a document that ends with a XAdES signature."""

    def mutate(data: bytes, rng: Random) -> bytes:
        root = parsed(data)
        if root is None or rng.random() < 0.2:
            return mutate_xml(data, rng)
        try:
            if rng.random() < resealed:
                return written(_resealed(root, signer, rng))
            without(root, _SIGNATURE)
            return written(sign_document(_reread(change_tree(root, rng)), signer, now=now))
        except UNSIGNABLE:
            return mutate_xml(data, rng)

    return mutate


def _reread(root: etree._Element) -> etree._Element:
    return parse_xml(written(root))


def _resealed(root: etree._Element, signer: Signer, rng: Random) -> etree._Element:
    """Change the signature and make its value right again, so that the value refuses nothing."""
    signature = next(root.iter(_SIGNATURE))
    change_tree(signature, rng)
    root = _reread(root)
    signature = next(root.iter(_SIGNATURE))
    info, value = signature.find(f"{{{DS}}}SignedInfo"), signature.find(f"{{{DS}}}SignatureValue")
    if info is None or value is None:
        return root
    method = info[0].get("Algorithm", "") if len(info) else ""
    octets = canonicalize_element(
        info, exclusive=method.startswith("http://www.w3.org/2001/10/xml-exc-c14n#")
    )
    value.text = base64.b64encode(signer.sign(octets)).decode("ascii")
    for certificate in signature.iter(f"{{{DS}}}X509Certificate"):
        certificate.text = base64.b64encode(signer.certificate.der).decode("ascii")
    return root
