"""mf:MessageFragment of ebMS 3.0 part 2: read exactly as its schema defines it, and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.errors import FRAGMENT_MALFORMED, NOT_SUPPORTED, GatewayError
from gateway.message_model import Body, UserMessage
from gateway.protocols.as4.header_values import MessagingHeader, PartInfo
from gateway.protocols.as4.packaging import SOAP_TYPE, As4Package
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    raise_header_error,
    read_boolean_attribute,
    read_plain_text,
)
from gateway.protocols.fragment_values import FragmentHeader, SourceType
from gateway.protocols.payload_parts import decode_cid_uri, format_cid_uri
from gateway.wire import (
    MF,
    SOAP12,
    WSU,
    build_xpath,
    is_for_receiver,
    read_attribute,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec import VerifiedSignature

#: The qualified name of the header block.
MESSAGE_FRAGMENT: Final = f"{{{MF}}}MessageFragment"
#: Its place.
FRAGMENT: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment"
#: The media type of the part that is a piece of the source message.
FRAGMENT_TYPE: Final = "application/octet-stream"
_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ROLE: Final = f"{{{SOAP12}}}role"
_ID: Final = f"{{{WSU}}}Id"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}")
_RELATED_TYPE: Final = "Multipart/Related"
_GZIP: Final = "gzip"


def format_source_headers(source: SourceType, action: str) -> dict[str, str]:
    """Return the MIME header of the joined message."""
    content_type = (
        f'multipart/related; type="{SOAP_TYPE}"; start="<{source.start}>"; boundary="{source.boundary}"'
    )
    content_type += "" if source.start_info is None else f'; start-info="{source.start_info}"'
    headers = {"Content-Type": f'{content_type}; action="{action}"' if action else content_type}
    return {**headers, "Content-Description": source.description} if source.description else headers


@dataclass(frozen=True, slots=True)
class Fragment:
    """One verified fragment: its header, the header of its message, its octets, and who signed it.

    `identity` is equal for two fragments with one message id exactly when they say the same.
    """

    header: FragmentHeader
    unit: UserMessage
    octets: bytes | Body
    verified_signature: VerifiedSignature
    identity: str


def find_fragment_element(package: As4Package) -> etree._Element | None:
    """Return mf:MessageFragment, None where there is none; raise GW350 unless it is one block of the Header.

    The Body of a fragment is empty.
    """
    envelope = package.envelope
    elements = list(envelope.root.iter(MESSAGE_FRAGMENT))
    if not elements:
        return None
    if len(elements) != 1 or elements[0].getparent() is not envelope.header:
        detail = "mf:MessageFragment must occur once, as a block of the SOAP Header"
        raise GatewayError(FRAGMENT_MALFORMED, detail, "/soap12:Envelope/soap12:Header")
    if envelope.body_elements or (envelope.body.text or "").strip():
        detail = "the Body of a fragment must be empty"
        raise GatewayError(FRAGMENT_MALFORMED, detail, "/soap12:Envelope/soap12:Body")
    return elements[0]


def require_bare_message(header: MessagingHeader) -> None:
    """Raise GW350 unless a fragment has one business message, without PayloadInfo and without signals."""
    if not isinstance(header.unit, UserMessage) or header.bundled_units or header.parts:
        detail = "a fragment must have one UserMessage without PayloadInfo and no signal"
        raise GatewayError(FRAGMENT_MALFORMED, detail, build_xpath(header.element))


def get_fragment_part(header: FragmentHeader, package: As4Package) -> PartInfo:
    """Return the part that is the fragment: the only one, of the type of fragments; else GW350."""
    if set(package.parts) != {header.content_id}:
        detail = "a fragment must have one part, and href of MessageFragment must name it"
        raise GatewayError(FRAGMENT_MALFORMED, detail, f"{FRAGMENT}/@href")
    part = package.parts[header.content_id]
    content_type = part.headers.get("content-type", part.media_type)
    if part.media_type != FRAGMENT_TYPE or content_type != FRAGMENT_TYPE:
        detail = f"the part of a fragment must be {FRAGMENT_TYPE}, not {content_type[:80]!r}"
        raise GatewayError(FRAGMENT_MALFORMED, detail, format_cid_uri(header.content_id))
    return PartInfo(header.content_id, (), FRAGMENT_TYPE, is_compressed=False, location=f"{FRAGMENT}/@href")


def read_fragment_header(element: etree._Element) -> FragmentHeader:
    """Return the content of mf:MessageFragment; raise GW107, GW311, GW350 (part 2, appendix I)."""
    check_attributes(element, required=(_MUST_UNDERSTAND,), optional=("href", _ID, _ROLE), foreign=True)
    if not is_for_receiver(element, "1.2"):
        raise_header_error(element, "this header is for another role", at="soap12:role")
    if not read_boolean_attribute(element, _MUST_UNDERSTAND):
        raise_header_error(element, "MessageFragment must be understood", at="soap12:mustUnderstand")
    content_id = decode_cid_uri(read_attribute(element, "href", ""))
    if not content_id:
        raise_header_error(
            element, "the attribute must name a part by a cid: URI", FRAGMENT_MALFORMED, "href"
        )
    sequence = ElementSequence(element)
    group = read_plain_text(sequence.take_required(_make_fragment_name("GroupId")))
    message_size = _read_number(sequence.take_optional(_make_fragment_name("MessageSize")))
    count = _read_number(sequence.take_optional(_make_fragment_name("FragmentCount")))
    number = _read_number(sequence.take_required(_make_fragment_name("FragmentNum")))
    assert number is not None  # it is required
    source = _read_source_type(sequence.take_optional(_make_fragment_name("MessageHeader")))
    action = _read_optional_parameter(sequence.take_optional(_make_fragment_name("Action")))
    compressed_size = _read_compression(sequence)
    sequence.check_end(extensible=True)
    return FragmentHeader(content_id, group, number, message_size, count, source, action, compressed_size)


def _make_fragment_name(local_name: str) -> str:
    return f"{{{MF}}}{local_name}"


def is_header_value(value: str) -> bool:
    """Return whether a value can be written into the MIME header: one line that ends no quotes."""
    is_plain_text = value.isascii() and value.isprintable() and value == value.strip()
    return is_plain_text and not set('"\\<>') & set(value)


def _read_optional_parameter(element: etree._Element | None) -> str | None:
    """Return the text of an element, which may be empty; None where the element is absent.

    The text becomes a value of the MIME header and is therefore one line.
    """
    if element is None:
        return None
    if len(element) or element.text:
        return _read_parameter(element)
    check_attributes(element)
    return ""


def _read_number(element: etree._Element | None) -> int | None:
    if element is None:
        return None
    value = read_plain_text(element)
    if not _NUMBER.fullmatch(value):
        raise_header_error(element, "the value must be a positive number without leading zeros")
    return int(value)  # bounded: at most 15 ASCII digits, by the pattern


def _read_source_type(element: etree._Element | None) -> SourceType | None:
    """Return the MIME parameters of the source message in mf:MessageHeader, None without this element."""
    if element is None:
        return None
    check_attributes(element)
    sequence = ElementSequence(element)
    content_type_element = sequence.take_required(_make_fragment_name("Content-Type"))
    boundary = _read_parameter(sequence.take_required(_make_fragment_name("Boundary")))
    type_element = sequence.take_required(_make_fragment_name("Type"))
    start = _read_parameter(sequence.take_required(_make_fragment_name("Start")))
    start_info = sequence.take_optional(_make_fragment_name("StartInfo"))
    description = _read_optional_parameter(sequence.take_optional(_make_fragment_name("Content-Description")))
    sequence.check_end()
    if read_plain_text(content_type_element) != _RELATED_TYPE:
        raise_header_error(content_type_element, f"Content-Type must be {_RELATED_TYPE}")
    if read_plain_text(type_element) != SOAP_TYPE:
        # eDelivery AS4 1.15 §1.5.6.2; the schema of part 2 knows the types of SOAP 1.1 and MTOM alone.
        raise_header_error(type_element, f"the source message must be {SOAP_TYPE}", NOT_SUPPORTED)
    start_info_text = None if start_info is None else _read_parameter(start_info)
    return SourceType(boundary, start, start_info_text, description)


def _read_parameter(element: etree._Element) -> str:
    """Return a parameter of the Content-Type that is written again: it cannot end its own quotes."""
    value = read_plain_text(element)
    if not is_header_value(value):
        raise_header_error(element, "the value must be a parameter of a media type")
    return value


def _read_compression(sequence: ElementSequence) -> int | None:
    """Return CompressedMessageSize in octets, None without compression; raise GW311 unless it is gzip."""
    algorithm = sequence.take_optional(_make_fragment_name("CompressionAlgorithm"))
    if algorithm is None:
        return None
    if read_plain_text(algorithm) != _GZIP:
        # eDelivery AS4 1.15 §1.5.6.7: gzip is the one algorithm.
        raise_header_error(algorithm, "fragments must be compressed by gzip", NOT_SUPPORTED)
    return _read_number(sequence.take_required(_make_fragment_name("CompressedMessageSize")))


def write_fragment_header(header: FragmentHeader, wsu_id: str) -> str:
    """Return mf:MessageFragment as text that is its own exclusive canonical form."""
    content = write_leaf("mf:GroupId", header.group)
    content += _write_number("mf:MessageSize", header.message_size)
    content += _write_number("mf:FragmentCount", header.count)
    content += _write_number("mf:FragmentNum", header.number)
    content += "" if header.source is None else _write_source_type(header.source)
    content += "" if header.action is None else write_leaf("mf:Action", header.action)
    if header.compressed_size is not None:
        content += write_leaf("mf:CompressionAlgorithm", _GZIP)
        content += _write_number("mf:CompressedMessageSize", header.compressed_size)
    attributes = (
        ("xmlns:mf", MF),
        ("xmlns:soap12", SOAP12),
        ("xmlns:wsu", WSU),
        ("href", format_cid_uri(header.content_id)),
        ("wsu:Id", wsu_id),
        ("soap12:mustUnderstand", "true"),
    )
    return write_element(
        "mf:MessageFragment", content, "".join(write_attribute(*attribute) for attribute in attributes)
    )


def _write_number(element_name: str, number: int | None) -> str:
    return "" if number is None else write_leaf(element_name, str(number))


def _write_source_type(source: SourceType) -> str:
    values = (
        ("mf:Content-Type", _RELATED_TYPE),
        ("mf:Boundary", source.boundary),
        ("mf:Type", SOAP_TYPE),
        ("mf:Start", source.start),
        ("mf:StartInfo", source.start_info),
        ("mf:Content-Description", source.description),
    )
    content = "".join(write_leaf(name, value) for name, value in values if value is not None)
    return write_element("mf:MessageHeader", content)
