"""Vouching: a national gateway signs a signed document of a party of its country; both signatures stay.

The party's document is included octet for octet, so that its own signature stays valid. The
enclosing document has the gateway's statement on the signer and is signed like a Result.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.pki import Certificate, Signer
from gateway.recognition.list_elements import (
    format_instant,
    get_element,
    make_visible,
    parse_instant,
    raise_malformed,
)
from gateway.wire import DEFAULT_LIMITS, WireLimits, parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document

__all__ = [
    "VOUCHED_DOCUMENT",
    "VouchedDocument",
    "is_vouched_document",
    "open_vouched_document",
    "vouch_for_document",
]

VOUCHED_DOCUMENT: Final = "urn:single-window:vouched:1"
# The stubs of lxml do not support the default namespace.
_NSMAP: Final[Any] = {None: VOUCHED_DOCUMENT}
_V: Final = f"{{{VOUCHED_DOCUMENT}}}"
_ROOT: Final = f"{_V}Vouched"


@dataclass(frozen=True, slots=True)
class VouchedDocument:
    """A document with two valid signatures: of the party, and of the gateway that vouches for it.

    ``levels`` are terms of the gateway's own country; ``judged`` is the time when it
    validated the signer.
    """

    document: bytes
    signer: Certificate
    voucher: Certificate
    territory: str
    levels: frozenset[str]
    judged: datetime


def vouch_for_document(
    document: bytes, levels: Iterable[str], territory: str, signer: Signer, *, now: datetime
) -> bytes:
    """Add a gateway's signature to a validly signed document; the caller has validated its signer."""
    inner = verify_document(parse_xml(document)).certificate
    root = etree.Element(_ROOT, nsmap=_NSMAP)
    root.set("version", "1")
    root.set("territory", territory)
    root.set("judged", format_instant(now))
    named = etree.SubElement(root, f"{_V}Signer", sha256=inner.sha256)
    named.text = inner.subject
    for level in sorted(set(levels)):
        etree.SubElement(root, f"{_V}Level", value=level)
    carried = etree.SubElement(root, f"{_V}Document", sha256=hashlib.sha256(document).hexdigest())
    carried.text = base64.b64encode(document).decode("ascii")
    return serialize_element(sign_document(root, signer, now=now))


def is_vouched_document(root: etree._Element) -> bool:
    """Return whether a document is a vouched document."""
    return root.tag == _ROOT


def open_vouched_document(data: bytes, *, limits: WireLimits = DEFAULT_LIMITS) -> VouchedDocument:
    """Verify both signatures, the outer one first; the authority of the gateway is checked elsewhere.

    Raises GW201 to GW204 for a signature, GW209 where the gateway vouches for
    another signer than that of the document.
    """
    root = parse_xml(data, limits)
    outer = verify_document(root)
    if not is_vouched_document(root) or root.get("version") != "1":
        raise_malformed("not a document that was vouched for, version 1", root)
    judged = parse_instant(root.get("judged"), root)
    document = _extract_document(root)
    inner = verify_document(parse_xml(document, limits)).certificate
    if get_element(root, f"{_V}Signer").get("sha256") != inner.sha256:
        raise GatewayError(SIGNER_MISMATCH, "vouched for another signer than the document's", "Signer")
    if inner == outer.certificate:
        raise GatewayError(SIGNER_MISMATCH, "a party cannot vouch for itself", "Signer")
    if not inner.not_before <= judged <= inner.not_after:
        detail = f"the certificate of {inner.subject[:120]} was not valid when it was judged"
        raise GatewayError(SIGNER_MISMATCH, detail, "Signer")
    return VouchedDocument(
        document=document,
        signer=inner,
        voucher=outer.certificate,
        territory=make_visible(root.get("territory", "")),
        levels=frozenset(each.get("value", "") for each in root.iterchildren(f"{_V}Level")),
        judged=judged,
    )


def _extract_document(root: etree._Element) -> bytes:
    carried = get_element(root, f"{_V}Document")
    try:
        document = base64.b64decode((carried.text or "").encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise_malformed("not base64", carried)
    if hashlib.sha256(document).hexdigest() != carried.get("sha256"):
        raise_malformed("the document has another digest than is said", carried)
    return document
