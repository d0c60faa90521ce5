"""ebMS 2.0 packaging: MIME, the SOAP envelope in it, the Manifest and the payloads it names."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    MIME_MALFORMED,
    NOT_SOAP,
    PART_MISSING,
    TOO_LARGE,
    GatewayError,
)
from gateway.model import Octets, Payload
from gateway.protocols.core import Parcel
from gateway.protocols.ebms2.elements import Sequence, attributes, eb, elements, refuse, soap, text
from gateway.protocols.ebms2.header import (
    NEXT_MSH,
    TO_PARTY_MSH,
    UNDERSTOOD,
    MessageHeader,
    read_message_header,
)
from gateway.wire.mime import Part, read_related, write_related
from gateway.wire.namespaces import XLINK, XML
from gateway.wire.prescan import Limits
from gateway.wire.soap import Envelope, Fault, read_envelope, read_fault, require_understood
from gateway.wire.writing import attribute, element, leaf
from gateway.wire.xml import parse_xml

__all__ = [
    "BodyContent",
    "Named",
    "Package",
    "check_present",
    "check_vouched",
    "find_message_header",
    "manifest_text",
    "open_package",
    "payloads",
    "read_body",
    "wrap",
]

SOAP_ACTION: Final = '"ebXML"'
CONTENT_TYPE: Final = "text/xml; charset=UTF-8"

_HREF, _XLINK_TYPE, _ROLE = f"{{{XLINK}}}href", f"{{{XLINK}}}type", f"{{{XLINK}}}role"
_ID, _VERSION = eb("id"), eb("version")
# The schema leaves it out, yet some send it on the Manifest.
_MUST_UNDERSTAND: Final = soap("mustUnderstand")
_LANG: Final = f"{{{XML}}}lang"
_UNRESERVED: Final = "@!$&'()*+,;=:-._~/"


@dataclass(frozen=True, slots=True)
class Package:
    """A parcel taken apart: the envelope, its octets, and the other parts by content id."""

    envelope: Envelope
    octets: bytes
    parts: Mapping[str, Part]
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Named:
    """One payload that the Manifest names."""

    content_id: str
    properties: tuple[tuple[str, str], ...]
    location: str


@dataclass(frozen=True, slots=True)
class BodyContent:
    """What stands in the SOAP Body: a Manifest, or one of the status elements, or nothing."""

    manifest: tuple[Named, ...] = ()
    status_request: etree._Element | None = None
    status_response: etree._Element | None = None


def open_package(parcel: Parcel, limits: Limits) -> Package:
    """Return the sound envelope of a parcel and its parts (ebMS 2.0 §2.1); nothing of ebMS is read yet."""
    if parcel.body.size > limits.body:
        detail = f"the body has {parcel.body.size} octets, {limits.body} are allowed"
        raise GatewayError(TOO_LARGE, detail, "body")
    with parcel.body.open() as stream:
        data = stream.read()
    related = read_related(parcel.header("Content-Type"), data, limits)
    if related.root.media_type != "text/xml":
        # ebMS 2.0 §2.1.2: SOAP 1.1 over HTTP and in multipart is text/xml.
        raise GatewayError(
            MEDIA_TYPE_REFUSED,
            f"the envelope is {related.root.media_type[:80]!r}, not text/xml",
            "Content-Type",
        )
    envelope = read_envelope(parse_xml(related.root.content, limits, envelope=True))
    if envelope.version != "1.1":
        raise GatewayError(NOT_SOAP, "ebMS 2.0 is carried by SOAP 1.1", "/soap:Envelope")
    require_understood(envelope, UNDERSTOOD, (TO_PARTY_MSH, NEXT_MSH))
    return Package(envelope, related.root.content, _by_id(related.attachments), read_fault(envelope))


def find_message_header(parcel: Parcel, limits: Limits) -> tuple[MessageHeader | None, bool]:
    """Return the MessageHeader of a parcel that may be wrong elsewhere, and whether SyncReply stands with it.

    None when it cannot be read.
    """
    try:
        header = _header_of(parcel, limits)
        element = None if header is None else header.find(eb("MessageHeader"))
        if header is None or element is None:
            return None, False
        return read_message_header(element), header.find(eb("SyncReply")) is not None
    except GatewayError:
        return None, False


def _header_of(parcel: Parcel, limits: Limits) -> etree._Element | None:
    with parcel.body.open() as stream:
        data = stream.read(limits.body + 1)
    root = read_related(parcel.header("Content-Type"), data, limits).root.content
    return read_envelope(parse_xml(root, limits, envelope=True)).header


def _by_id(parts: Iterable[Part]) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for part in parts:
        if not part.content_id:
            raise GatewayError(MIME_MALFORMED, "a part without Content-ID cannot be named by the Manifest")
        if part.content_id in found:
            raise GatewayError(MIME_MALFORMED, "two parts have one Content-ID", _cid(part.content_id))
        found[part.content_id] = part
    return found


def _cid(content_id: str) -> str:
    # RFC 2392 §2: a Content-ID in a cid: URI is percent-encoded.
    return "cid:" + quote(content_id[:256], safe=_UNRESERVED)


def read_body(body: etree._Element) -> BodyContent:
    """Return what stands in the SOAP Body; anything but ebMS 2.0 elements is refused."""
    content = list(islice(elements(body), 2))  # a third would say no more than a second
    if not content:
        return BodyContent()
    element = content[0]
    if len(content) > 1:
        refuse(content[1], "the Body holds one element of ebMS 2.0, or none")
    if element.tag == eb("Manifest"):
        return BodyContent(manifest=_manifest(element))
    if element.tag == eb("StatusRequest"):
        return BodyContent(status_request=element)
    if element.tag != eb("StatusResponse"):
        refuse(element, f"{etree.QName(element).localname[:80]} does not belong into the Body of ebMS 2.0")
    return BodyContent(status_response=element)


def _manifest(element: etree._Element) -> tuple[Named, ...]:
    """Return the payloads that eb:Manifest names (ebMS 2.0 §3.2)."""
    attributes(element, required=(_VERSION,), optional=(_ID, _MUST_UNDERSTAND), foreign=True)
    if element.get(_VERSION) != "2.0":
        refuse(element, "the version of this handler is 2.0", HEADER_INCONSISTENT, at="eb:version")
    sequence = Sequence(element)
    named = tuple(_named(one) for one in sequence.many(eb("Reference"), least=1))
    sequence.end(extensible=True)
    if len({one.content_id for one in named}) < len(named):
        refuse(element, "the Manifest names one part twice", HEADER_INCONSISTENT)
    return named


def _named(element: etree._Element) -> Named:
    attributes(element, required=(_HREF,), optional=(_ID, _XLINK_TYPE, _ROLE), foreign=True)
    if element.get(_XLINK_TYPE, "simple") != "simple":
        refuse(element, "the link is a simple one", at="xlink:type")
    sequence = Sequence(element)
    for schema in sequence.many(eb("Schema")):
        attributes(schema, required=(eb("location"),), optional=(_VERSION,))
    descriptions = sequence.many(eb("Description"))
    sequence.end(extensible=True)
    properties = [("role", element.get(_ROLE, ""))] if element.get(_ROLE) else []
    for one in descriptions:
        attributes(one, required=(_LANG,))
        properties.append(("description", text(one)))
    return Named(_content_id(element), tuple(properties), element.get(_HREF, "")[:256])


def _content_id(element: etree._Element) -> str:
    href = element.get(_HREF, "")
    # A payload elsewhere would have to be fetched; nothing is ever fetched (ebMS 2.0 §3.2.2).
    if not href.startswith("cid:") or len(href) > 1024:
        refuse(element, f"payloads travel with the message: {href[:120]!r} is no cid: URI", PART_MISSING)
    try:
        return unquote_to_bytes(href[4:]).decode("utf-8")
    except UnicodeDecodeError:
        refuse(element, "no such cid: URI", HEADER_INVALID, at="xlink:href")


def check_present(manifest: tuple[Named, ...], parts: Mapping[str, Part]) -> None:
    """Refuse a payload that is named but absent (ebMS 2.0 §3.2.2)."""
    for one in manifest:
        if one.content_id not in parts:
            raise GatewayError(PART_MISSING, "the Manifest names a part that is not there", one.location)


def check_vouched(manifest: tuple[Named, ...], parts: Mapping[str, Part], signed: Collection[str]) -> None:
    """Refuse a part that nobody vouches for.

    ebMS 2.0 §3.2 lets a part that the Manifest does not name be ignored.  It is, when the
    signature covers it; otherwise anybody on the way may have added it, and it is refused.
    """
    known = {one.content_id for one in manifest}.union(signed)
    for content_id in parts:
        if content_id not in known:
            raise GatewayError(
                MIME_MALFORMED, "neither Manifest nor signature names this part", _cid(content_id)
            )


def payloads(manifest: tuple[Named, ...], parts: Mapping[str, Part]) -> tuple[Payload, ...]:
    """Return the payloads in the order of the Manifest."""
    return tuple(
        Payload(
            one.content_id, parts[one.content_id].media_type, parts[one.content_id].content, one.properties
        )
        for one in manifest
    )


def manifest_text(found: tuple[Payload, ...]) -> str:
    """Return an eb:Manifest that names the payloads, nothing when there is none."""
    if not found:
        return ""
    return element("eb:Manifest", "".join(map(_reference_text, found)), attribute("eb:version", "2.0"))


def _reference_text(payload: Payload) -> str:
    properties = dict(payload.properties)
    attributes = attribute("xlink:href", _cid(payload.content_id))
    if "role" in properties:
        attributes += attribute("xlink:role", properties["role"])
    descriptions = [
        leaf("eb:Description", value, attribute("xml:lang", "en"))
        for name, value in payload.properties
        if name == "description"
    ]
    return element("eb:Reference", "".join(descriptions), attributes + attribute("xlink:type", "simple"))


def wrap(root: bytes, found: tuple[Payload, ...], message_id: str) -> Parcel:
    """Return the parcel of an envelope: plain text/xml when there is no payload, else multipart/related."""
    if not found:
        return Parcel({"Content-Type": CONTENT_TYPE, "SOAPAction": SOAP_ACTION}, Octets(root))
    # Nobody who wrote a payload knew the message id, so no payload holds this boundary.
    boundary = f"=-{hashlib.sha256(root).hexdigest()[:40]}"
    content_type, body = write_related(root, [_part(one) for one in found], boundary, message_id)
    return Parcel({"Content-Type": content_type, "SOAPAction": SOAP_ACTION}, Octets(body))


def _part(payload: Payload) -> Part:
    headers = {"content-type": payload.media_type}
    return Part(headers, payload.content_id, payload.media_type, payload.content)
