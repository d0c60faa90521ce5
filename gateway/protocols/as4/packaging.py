"""AS4 packaging: MIME, the SOAP 1.2 envelope, and the payload parts (AS4 §5.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from gateway.errors import (
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    MIME_MALFORMED,
    NOT_SOAP,
    NOT_SUPPORTED,
    PART_MISSING,
    GatewayError,
)
from gateway.message_model import Payload, compute_body_digest, count_octets
from gateway.protocols.as4.header_values import GZIP_TYPE, PartInfo, make_eb3_name
from gateway.protocols.core import Parcel, UnwrappedPart
from gateway.protocols.payload_parts import expand_content, format_cid_uri, index_parts
from gateway.wire import (
    EB3,
    WSSE,
    MimePart,
    RelatedParts,
    SoapEnvelope,
    SoapFault,
    WireLimits,
    check_must_understand,
    parse_xml,
    read_envelope,
    read_fault,
    read_root_part,
)

#: The media type of octets without a known type.
OCTETS_TYPE: Final = "application/octet-stream"
SOAP_TYPE: Final = "application/soap+xml"
#: The header blocks of every message of AS4.
UNDERSTOOD_BLOCKS: Final = frozenset({f"{{{EB3}}}Messaging", f"{{{WSSE}}}Security"})
_ENVELOPE: Final = "/soap12:Envelope"
_SIGNAL: Final = make_eb3_name("SignalMessage")
_ERROR: Final = make_eb3_name("Error")


@dataclass(frozen=True, slots=True)
class As4Package:
    """The parts of a parcel: the envelope, and the other parts by content id."""

    envelope: SoapEnvelope
    parts: Mapping[str, MimePart]
    fault: SoapFault | None


def open_as4_package(
    parcel: Parcel, limits: WireLimits, understood_blocks: frozenset[str] = UNDERSTOOD_BLOCKS
) -> As4Package:
    """Return the envelope of a parcel and its parts; nothing of ebMS is read yet.

    `understood_blocks` are the header blocks that the caller understands, by their qualified names.
    """
    return make_as4_package(parcel.read_parts(limits), limits, understood_blocks)


def make_as4_package(
    related: RelatedParts, limits: WireLimits, understood_blocks: frozenset[str] = UNDERSTOOD_BLOCKS
) -> As4Package:
    """Return the envelope and the parts of a body that was read as MIME; see `open_as4_package`."""
    envelope = _read_root(related.root, limits, understood_blocks)
    # Core §6.2.6: a Fault beside eb:Error says no more than the error.
    fault = None if _is_error_alone(envelope) else read_fault(envelope)
    return As4Package(envelope, index_parts(related.attachments), fault)


def read_as4_envelope(
    parcel: Parcel, limits: WireLimits, understood_blocks: frozenset[str] = UNDERSTOOD_BLOCKS
) -> SoapEnvelope:
    """Return the envelope of a parcel that was read as a whole before; its other parts are not read."""
    root = read_root_part(parcel.get_header("Content-Type"), parcel.body, limits)
    return _read_root(root, limits, understood_blocks)


def _read_root(root: MimePart, limits: WireLimits, understood_blocks: frozenset[str]) -> SoapEnvelope:
    """Return the SOAP 1.2 envelope in the root part; raise GW101, GW105, GW106 for any other."""
    if root.media_type != SOAP_TYPE:
        detail = f"the envelope is {root.media_type[:80]!r}, not {SOAP_TYPE}"
        raise GatewayError(MEDIA_TYPE_REFUSED, detail, "Content-Type")
    envelope = read_envelope(parse_xml(root.content, limits, is_envelope=True))
    if envelope.version != "1.2":
        raise GatewayError(NOT_SOAP, "the envelope must be SOAP 1.2", "/soap:Envelope")
    check_must_understand(envelope, understood_blocks)
    return envelope


def find_messaging(envelope: SoapEnvelope) -> etree._Element:
    """Return the one eb:Messaging of an envelope; raise GW107 for any other place or number."""
    elements = list(envelope.root.iter(make_eb3_name("Messaging")))
    if len(elements) != 1 or elements[0].getparent() is not envelope.header:
        detail = "eb:Messaging must occur once, as a block of the SOAP Header"
        raise GatewayError(HEADER_INVALID, detail, f"{_ENVELOPE}/soap12:Header")
    if _is_error_alone(envelope):
        return elements[0]
    if envelope.body_elements or "".join(map(str, envelope.body.itertext())).strip():
        # AS4 permits one payload in the Body, eDelivery none: a payload is a part.
        raise GatewayError(NOT_SUPPORTED, "a payload in the SOAP Body", f"{_ENVELOPE}/soap12:Body")
    return elements[0]


def _is_error_alone(envelope: SoapEnvelope) -> bool:
    """Return whether an envelope carries errors and no other unit; its Body says nothing then (core §6.2)."""
    messaging = None if envelope.header is None else envelope.header.find(make_eb3_name("Messaging"))
    units = [] if messaging is None else list(messaging.iterchildren("*"))
    return bool(units) and all(unit.tag == _SIGNAL and unit.find(_ERROR) is not None for unit in units)


def check_parts_named(part_infos: tuple[PartInfo, ...], parts: Mapping[str, MimePart]) -> None:
    """Raise for a PartInfo without its part, and for a part without a PartInfo."""
    for part_info in part_infos:
        if part_info.content_id not in parts:
            raise GatewayError(PART_MISSING, "PayloadInfo names a part that is not there", part_info.location)
    named_ids = {part_info.content_id for part_info in part_infos}
    for content_id in parts:
        if content_id not in named_ids:
            detail = "PayloadInfo does not name this part"
            raise GatewayError(MIME_MALFORMED, detail, format_cid_uri(content_id))


def collect_as4_payloads(
    part_infos: tuple[PartInfo, ...], parts: Mapping[str, MimePart], max_octets: int
) -> tuple[tuple[Payload, ...], tuple[UnwrappedPart, ...]]:
    """Return the payloads in the order of PayloadInfo, expanded, and how the compressed ones came.

    `max_octets` is the number of octets that all payloads together may have after expansion.
    """
    payloads, unwrapped_parts = [], []
    for part_info in part_infos:
        payload, unwrapped_part = _make_payload(part_info, parts[part_info.content_id], max_octets)
        payloads.append(payload)
        unwrapped_parts += [unwrapped_part] if unwrapped_part is not None else []
        max_octets -= count_octets(payload.octets)
    return tuple(payloads), tuple(unwrapped_parts)


def _make_payload(
    part_info: PartInfo, part: MimePart, max_octets: int
) -> tuple[Payload, UnwrappedPart | None]:
    """Return a payload, expanded if compressed; for a compressed one also the digest of the part received."""
    # The MIME header of a part is not signed (SwA profile §5.2), and of a part without compression AS4 §3.1
    # wants no MimeType: without one its type is not known, and nothing is done by it.
    media_type = part_info.media_type or OCTETS_TYPE
    payload = Payload(part_info.content_id, media_type, part.octets, part_info.properties)
    if not part_info.is_compressed:
        declared_type = media_type.partition(";")[0].strip().lower()
        if part_info.media_type is not None and declared_type != part.media_type:
            detail = f"the part is {part.media_type[:80]!r}, and its MimeType {declared_type[:80]!r}"
            raise GatewayError(MIME_MALFORMED, detail, part_info.location)
        return payload, None
    if part.media_type != GZIP_TYPE:
        raise GatewayError(MIME_MALFORMED, f"a compressed part must be {GZIP_TYPE}", part_info.location)
    content = expand_content(part.octets, max_octets, part_info.location)
    digest = compute_body_digest(part.octets)
    return replace(payload, octets=content), UnwrappedPart(
        part_info.content_id, digest, digest, compressed=True
    )
