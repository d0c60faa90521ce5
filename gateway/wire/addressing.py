"""WS-Addressing 1.0 headers: written for outgoing messages, read strictly from incoming ones.

The gateway supports only request and answer on one connection (SOAP binding, anonymous reply
address). Apart from ``To`` and ``From``, the only address that a header may name is therefore
the anonymous one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.errors import HEADER_INVALID, NOT_SUPPORTED, GatewayError
from gateway.wire.element_access import read_attribute
from gateway.wire.namespaces import ANONYMOUS, SOAP11, WSA
from gateway.wire.text_characters import has_more_octets

_HEADER_NAMES: Final = ("Action", "MessageID", "To", "RelatesTo", "From", "ReplyTo", "FaultTo")
_ENDPOINT_NAMES: Final = ("From", "ReplyTo", "FaultTo")
_REPLY_RELATIONSHIP: Final = "http://www.w3.org/2005/08/addressing/reply"
_MAX_IRI_OCTETS: Final = 1024


@dataclass(frozen=True, slots=True)
class AddressingHeaders:
    """The values of the addressing headers of one message; `relates_to` names the message answered."""

    action: str
    message_id: str
    to: str | None = None
    relates_to: str | None = None


def write_addressing(header: etree._Element, values: AddressingHeaders) -> None:
    """Append `values` to a SOAP Header, with an anonymous ReplyTo unless the message is itself an answer."""
    _append_header(header, "Action", values.action)
    _append_header(header, "MessageID", values.message_id)
    if values.to is not None:
        _append_header(header, "To", values.to)
    if values.relates_to is not None:
        _append_header(header, "RelatesTo", values.relates_to)
        return
    reply_to = etree.SubElement(header, f"{{{WSA}}}ReplyTo", nsmap={"wsa": WSA})
    _append_header(reply_to, "Address", ANONYMOUS)


def build_addressed_envelope(content: etree._Element, values: AddressingHeaders) -> etree._Element:
    """Return an unsigned SOAP 1.1 envelope with `content` as its Body."""
    root = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    write_addressing(etree.SubElement(root, f"{{{SOAP11}}}Header"), values)
    etree.SubElement(root, f"{{{SOAP11}}}Body").append(content)
    return root


def add_destination(header: etree._Element, address: str) -> None:
    """Append ``To`` to a SOAP Header that was written before its address was known."""
    _append_header(header, "To", address)


def _append_header(parent: etree._Element, header_name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{WSA}}}{header_name}", nsmap={"wsa": WSA}).text = text


def read_addressing(header: etree._Element) -> AddressingHeaders:
    """Read the addressing headers among the children of a SOAP Header.

    Raises GW107 when a header is missing, occurs twice, is unknown or is not an IRI, and
    GW311 when a reply is requested anywhere but on the connection.
    """
    headers_by_name: dict[str, etree._Element] = {}
    for child in header.iterchildren(f"{{{WSA}}}*"):
        header_name = etree.QName(child).localname
        if header_name not in _HEADER_NAMES:
            raise _make_header_error(f"wsa:{header_name[:40]} is not known", header_name)
        if header_name in headers_by_name:
            raise _make_header_error(f"wsa:{header_name} stands twice", header_name)
        headers_by_name[header_name] = child
    for header_name in _ENDPOINT_NAMES:
        if header_name in headers_by_name:
            _check_endpoint(header_name, headers_by_name[header_name])
    return AddressingHeaders(
        action=_read_required_iri(headers_by_name, "Action"),
        message_id=_read_required_iri(headers_by_name, "MessageID"),
        to=_read_iri(headers_by_name["To"], "To") if "To" in headers_by_name else None,
        relates_to=_read_relates_to(headers_by_name.get("RelatesTo")),
    )


def _read_required_iri(headers_by_name: dict[str, Any], header_name: str) -> str:
    if header_name not in headers_by_name:
        raise _make_header_error(f"wsa:{header_name} is missing", header_name)
    return _read_iri(headers_by_name[header_name], header_name)


def _read_relates_to(element: etree._Element | None) -> str | None:
    """Return the id of the request that a reply names, None without wsa:RelatesTo; raise for another type."""
    if element is None:
        return None
    relationship_type = read_attribute(element, "RelationshipType", _REPLY_RELATIONSHIP)
    if relationship_type != _REPLY_RELATIONSHIP:
        raise _make_header_error(f"RelationshipType {relationship_type[:80]!r} is not known", "RelatesTo")
    return _read_iri(element, "RelatesTo")


def _check_endpoint(header_name: str, element: etree._Element) -> None:
    """Check an endpoint reference; From may name any address, which is never used.

    ReplyTo and FaultTo must name the anonymous address, because answers go back on the
    connection only.
    """
    addresses = element.findall(f"{{{WSA}}}Address")
    if len(addresses) != 1:
        raise _make_header_error(f"wsa:{header_name} needs one Address", header_name)
    address = _read_iri(addresses[0], f"{header_name}/wsa:Address")
    if header_name != "From" and address != ANONYMOUS:
        raise GatewayError(
            NOT_SUPPORTED,
            f"wsa:{header_name} must be anonymous: answers are given on the connection",
            _format_location(header_name),
        )


def _read_iri(element: etree._Element, header_name: str) -> str:
    if len(element):
        raise _make_header_error(f"wsa:{header_name} holds more than text", header_name)
    iri = (element.text or "").strip(" \t\r\n")
    # Ids are columns of indexes, for which the database counts octets.
    if has_more_octets(iri, _MAX_IRI_OCTETS):
        raise _make_header_error(f"wsa:{header_name} has more than {_MAX_IRI_OCTETS:,} octets", header_name)
    if not iri or " " in iri or not iri.isprintable():
        raise _make_header_error(f"wsa:{header_name} is not an IRI", header_name)
    return iri


def _make_header_error(detail: str, header_name: str) -> GatewayError:
    return GatewayError(HEADER_INVALID, detail, _format_location(header_name))


def _format_location(header_name: str) -> str:
    return f"/soap:Envelope/soap:Header/wsa:{header_name[:60]}"
