"""What a call in the mailbox brings: the document for the agency, and its attachments."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from lxml import etree

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.wire import WireLimits, parse_xml, read_envelope

__all__ = ["CallAttachment", "extract_attachments", "extract_document"]


@dataclass(frozen=True, slots=True)
class CallAttachment:
    """A file in a call, with its digest; nothing about it is to be believed."""

    cid: str
    media_type: str
    sha256: str
    content: bytes = field(repr=False)


def extract_document(call: bytes, limits: WireLimits) -> etree._Element:
    """Return the document of the agency in a stored call, as the root of a tree of its own."""
    part = _find_content(call, limits).find("{*}Document")
    if part is None or not len(part):
        raise GatewayError(EVIDENCE_BROKEN, "the stored call has no document", "/soap:Envelope/soap:Body")
    return etree.fromstring(etree.tostring(part[0], with_tail=False))


def extract_attachments(call: bytes, limits: WireLimits) -> tuple[CallAttachment, ...]:
    """Return the files in a stored call."""
    return tuple(
        _read_attachment(element) for element in _find_content(call, limits).iterchildren("{*}Attachment")
    )


def _find_content(call: bytes, limits: WireLimits) -> etree._Element:
    return read_envelope(parse_xml(call, limits, envelope=True)).body_elements[0]


def _read_attachment(element: etree._Element) -> CallAttachment:
    content = base64.b64decode("".join((element.text or "").split()), validate=True)
    digest = hashlib.sha256(content).hexdigest()
    return CallAttachment(element.get("cid", ""), element.get("mediaType", ""), digest, content)
