"""ebMS 2.0 packaging: MIME, the SOAP envelope, the Manifest and the payloads that it names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    MIME_MALFORMED,
    NOT_SOAP,
    PART_MISSING,
    GatewayError,
)
from gateway.message_model import NEXT_MSH, TO_PARTY_MSH, MemoryBody, Payload, as_body
from gateway.protocols.core import Parcel, SentUnit
from gateway.protocols.ebms2.header_blocks import (
    UNDERSTOOD_BLOCKS,
    MessageHeader,
    check_element_version,
    read_message_header,
)
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    list_elements,
    make_eb_name,
    make_soap_name,
    raise_header_error,
    read_free_text,
)
from gateway.protocols.payload_parts import (
    decode_cid_uri,
    format_cid_uri,
    index_parts,
    make_boundary,
    make_mime_part,
)
from gateway.wire import (
    XLINK,
    MimePart,
    RelatedParts,
    SoapEnvelope,
    SoapFault,
    WireLimits,
    check_must_understand,
    join_multipart_related,
    parse_media_type,
    parse_xml,
    read_attribute,
    read_envelope,
    read_fault,
    read_multipart_related,
    read_root_part,
    write_attribute,
    write_element,
    write_leaf,
)

SOAP_ACTION: Final = '"ebXML"'
ENVELOPE_TYPE: Final = "text/xml"
CONTENT_TYPE: Final = f"{ENVELOPE_TYPE}; charset=UTF-8"

_HREF, _XLINK_TYPE, _ROLE = f"{{{XLINK}}}href", f"{{{XLINK}}}type", f"{{{XLINK}}}role"
_ID, _VERSION = make_eb_name("id"), make_eb_name("version")
# The schema does not have this attribute on the Manifest, but some senders write it.
_MUST_UNDERSTAND: Final = make_soap_name("mustUnderstand")


@dataclass(frozen=True, slots=True)
class MessagePackage:
    """The parts of a parcel: the envelope, its octets, and the other parts by content id."""

    envelope: SoapEnvelope
    envelope_octets: bytes
    parts: Mapping[str, MimePart]
    fault: SoapFault | None


@dataclass(frozen=True, slots=True)
class ManifestReference:
    """One payload that the Manifest names."""

    content_id: str
    properties: tuple[tuple[str, str], ...]
    location: str


@dataclass(frozen=True, slots=True)
class SoapBodyContent:
    """The content of the SOAP Body: a Manifest, or one of the status elements, or nothing."""

    manifest: tuple[ManifestReference, ...] = ()
    status_request: etree._Element | None = None
    status_response: etree._Element | None = None


def open_package(parcel: Parcel, limits: WireLimits) -> MessagePackage:
    """Return the envelope of a parcel and its parts (ebMS 2.0 §2.1); no ebMS element is read yet."""
    return make_package(parcel.read_parts(limits), limits)


def make_package(related: RelatedParts, limits: WireLimits) -> MessagePackage:
    """Return the envelope and the parts of a body that was read as MIME."""
    envelope = _read_root(related.root, limits)
    return MessagePackage(
        envelope, related.root.content, index_parts(related.attachments), read_fault(envelope)
    )


def read_ebms2_envelope(parcel: Parcel, limits: WireLimits) -> SoapEnvelope:
    """Return the envelope of a parcel that was read as a whole before; its other parts are not read."""
    return _read_root(read_root_part(parcel.get_header("Content-Type"), parcel.body, limits), limits)


def _read_root(root: MimePart, limits: WireLimits) -> SoapEnvelope:
    """Return the SOAP 1.1 envelope in the root part; raise GW101, GW105, GW106 for any other."""
    if root.media_type != ENVELOPE_TYPE:
        # ebMS 2.0 §2.1.2: SOAP 1.1 over HTTP and in multipart is text/xml.
        raise GatewayError(
            MEDIA_TYPE_REFUSED, f"the envelope is {root.media_type[:80]!r}, not text/xml", "Content-Type"
        )
    envelope = read_envelope(parse_xml(root.content, limits, is_envelope=True))
    if envelope.version != "1.1":
        raise GatewayError(NOT_SOAP, "the envelope must be SOAP 1.1", "/soap:Envelope")
    check_must_understand(envelope, UNDERSTOOD_BLOCKS, (TO_PARTY_MSH, NEXT_MSH))
    return envelope


def find_reply_header(parcel: Parcel, limits: WireLimits) -> tuple[MessageHeader | None, bool]:
    """Return the MessageHeader of a possibly malformed parcel, and whether SyncReply is present.

    The header is None when it cannot be read.
    """
    try:
        header = _read_soap_header(parcel, limits)
        element = None if header is None else header.find(make_eb_name("MessageHeader"))
        if header is None or element is None:
            return None, False
        return read_message_header(element), header.find(make_eb_name("SyncReply")) is not None
    except GatewayError:
        return None, False


def _read_soap_header(parcel: Parcel, limits: WireLimits) -> etree._Element | None:
    root = read_multipart_related(parcel.get_header("Content-Type"), parcel.body, limits).root.content
    return read_envelope(parse_xml(root, limits, is_envelope=True)).header


def read_soap_body(body: etree._Element) -> SoapBodyContent:
    """Return the content of the SOAP Body; raise for anything but ebMS 2.0 elements."""
    body_elements = list(islice(list_elements(body), 2))  # two are enough to raise an error
    if not body_elements:
        return SoapBodyContent()
    element = body_elements[0]
    if len(body_elements) > 1:
        raise_header_error(body_elements[1], "the Body must hold one element of ebMS 2.0, or none")
    if element.tag == make_eb_name("Manifest"):
        return SoapBodyContent(manifest=_read_manifest(element))
    if element.tag == make_eb_name("StatusRequest"):
        return SoapBodyContent(status_request=element)
    if element.tag != make_eb_name("StatusResponse"):
        raise_header_error(
            element, f"{etree.QName(element).localname[:80]} does not belong into the Body of ebMS 2.0"
        )
    return SoapBodyContent(status_response=element)


def _read_manifest(element: etree._Element) -> tuple[ManifestReference, ...]:
    """Return the payloads that eb:Manifest names (ebMS 2.0 §3.2)."""
    check_attributes(element, required=(_VERSION,), optional=(_ID, _MUST_UNDERSTAND), foreign=True)
    check_element_version(element)
    sequence = ElementSequence(element)
    references = tuple(
        _read_manifest_reference(child) for child in sequence.take_all(make_eb_name("Reference"), min_count=1)
    )
    sequence.check_end(extensible=True)
    if len({reference.content_id for reference in references}) < len(references):
        raise_header_error(element, "the Manifest names one part twice", HEADER_INCONSISTENT)
    return references


def _read_manifest_reference(element: etree._Element) -> ManifestReference:
    """Return an eb:Reference of the Manifest: the Content-ID of a payload, its role and descriptions."""
    check_attributes(element, required=(_HREF,), optional=(_ID, _XLINK_TYPE, _ROLE), foreign=True)
    if read_attribute(element, _XLINK_TYPE, "simple") != "simple":
        raise_header_error(element, "the link must be a simple link", at="xlink:type")
    sequence = ElementSequence(element)
    for schema in sequence.take_all(make_eb_name("Schema")):
        check_attributes(schema, required=(make_eb_name("location"),), optional=(_VERSION,))
    descriptions = sequence.take_all(make_eb_name("Description"))
    sequence.check_end(extensible=True)
    role = read_attribute(element, _ROLE)
    properties = [("role", role)] if role else []
    properties += [
        ("description", description_text)
        for description in descriptions
        if (description_text := read_free_text([description]))
    ]
    return ManifestReference(
        _parse_content_id(element), tuple(properties), read_attribute(element, _HREF, "")[:256]
    )


def _parse_content_id(element: etree._Element) -> str:
    """Return the Content-ID in the xlink:href of `element`; raise GW108 for a URI that is no cid: URI."""
    href = read_attribute(element, _HREF, "")
    # An external payload would have to be fetched, but the gateway never fetches (ebMS 2.0 §3.2.2).
    if not href.startswith("cid:") or len(href) > 1024:
        raise_header_error(
            element, f"a payload must be in the message: {href[:120]!r} is not a cid: URI", PART_MISSING
        )
    content_id = decode_cid_uri(href)
    if content_id is None:
        raise_header_error(element, "no such cid: URI", HEADER_INVALID, at="xlink:href")
    return content_id


def check_parts_present(manifest: tuple[ManifestReference, ...], parts: Mapping[str, MimePart]) -> None:
    """Raise for a payload that is named but absent (ebMS 2.0 §3.2.2)."""
    for reference in manifest:
        if reference.content_id not in parts:
            raise GatewayError(
                PART_MISSING, "the Manifest names a part that is not there", reference.location
            )


def reject_unnamed_parts(
    manifest: tuple[ManifestReference, ...], parts: Mapping[str, MimePart], signed_ids: Collection[str]
) -> None:
    """Raise for a part that neither the Manifest nor the signature names.

    ebMS 2.0 §3.2 permits a part that the Manifest does not name to be ignored. It is ignored
    when the signature covers it; otherwise any intermediary may have added it, and it is
    refused.
    """
    named_ids = {reference.content_id for reference in manifest}.union(signed_ids)
    for content_id in parts:
        if content_id not in named_ids:
            raise GatewayError(
                MIME_MALFORMED, "neither Manifest nor signature names this part", format_cid_uri(content_id)
            )


def collect_payloads(
    manifest: tuple[ManifestReference, ...], parts: Mapping[str, MimePart]
) -> tuple[Payload, ...]:
    """Return the payloads in the order of the Manifest."""
    return tuple(
        Payload(
            reference.content_id,
            parts[reference.content_id].media_type,
            parts[reference.content_id].octets,
            reference.properties,
        )
        for reference in manifest
    )


def write_manifest(payloads: tuple[Payload, ...]) -> str:
    """Return an eb:Manifest that names the payloads, an empty text when there is none."""
    if not payloads:
        return ""
    return write_element(
        "eb:Manifest", "".join(map(_write_manifest_reference, payloads)), write_attribute("eb:version", "2.0")
    )


def _write_manifest_reference(payload: Payload) -> str:
    properties = dict(payload.properties)
    attributes = write_attribute("xlink:href", format_cid_uri(payload.content_id))
    if "role" in properties:
        attributes += write_attribute("xlink:role", properties["role"])
    descriptions = [
        write_leaf("eb:Description", value, write_attribute("xml:lang", "en"))
        for name, value in payload.properties
        if name == "description"
    ]
    return write_element(
        "eb:Reference", "".join(descriptions), attributes + write_attribute("xlink:type", "simple")
    )


def build_parcel(
    envelope_octets: bytes, payloads: tuple[Payload, ...], message_id: str, sent_unit: SentUnit | None = None
) -> Parcel:
    """Return the parcel of an envelope: text/xml without payloads, else multipart/related."""
    if not payloads:
        return Parcel(
            {"Content-Type": CONTENT_TYPE, "SOAPAction": SOAP_ACTION},
            MemoryBody(envelope_octets),
            sent_unit=sent_unit,
        )
    parts = list(map(make_mime_part, payloads))
    content_type, body = join_multipart_related(
        envelope_octets, parts, make_boundary(envelope_octets), message_id
    )
    return Parcel({"Content-Type": content_type, "SOAPAction": SOAP_ACTION}, body, sent_unit=sent_unit)


def rebuild_parcel(package: MessagePackage, envelope_octets: bytes, parcel: Parcel, root_id: str) -> Parcel:
    """Return a parcel with another envelope around the same parts, each with its headers and octets."""
    content_type, body = parcel.get_header("Content-Type"), as_body(envelope_octets)
    if parse_media_type(content_type).name == "multipart/related":
        parts = list(package.parts.values())
        content_type, body = join_multipart_related(
            envelope_octets, parts, make_boundary(envelope_octets), root_id
        )
    return Parcel({"Content-Type": content_type, "SOAPAction": SOAP_ACTION}, body)
