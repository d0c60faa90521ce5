"""The envelope of a SOAP 1.1 message over HTTP: the body itself, or the root part of an MTOM package.

A product with MTOM switched on packs every message (XOP 1.0, SOAP 1.1 Binding for MTOM 1.0), also one that
has nothing to pack. Such a package is read. CXF puts the signer's certificate, too, into a part of its own;
this part is put back where it belongs. Every other part is refused: no call and no answer has octets of that
kind, and only the envelope is kept as evidence.
"""

from __future__ import annotations

import base64
from typing import Final, NoReturn
from urllib.parse import unquote

from lxml import etree

from gateway.errors import MEDIA_TYPE_REFUSED, GatewayError, raise_resource_problem
from gateway.wire.element_access import list_attributes
from gateway.wire.header_fields import MediaType, is_text_xml, parse_media_type, raise_mime_error
from gateway.wire.mime import XOP_TYPE, MimePart, get_start_id, read_multipart_related
from gateway.wire.namespaces import WSSE, XOP
from gateway.wire.strict_elements import XML_SPACE
from gateway.wire.xml import parse_xml, serialize_element
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

_INCLUDE_TAG: Final = f"{{{XOP}}}Include"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_CID_SCHEME: Final = "cid:"
#: In base64 these are as many characters as a certificate may have.
_MAX_CERTIFICATE_OCTETS: Final = 24 * 1024
_WRONG_TYPE_TEXT: Final = "SOAP 1.1 must be sent as text/xml in UTF-8"


def is_soap11_type(content_type: str) -> bool:
    """Return whether a Content-Type is one of SOAP 1.1: text/xml in UTF-8, or an MTOM package of it."""
    if is_text_xml(content_type):
        return True
    try:
        media_type = parse_media_type(content_type)
    except GatewayError:
        return False
    return _is_package(media_type) and is_text_xml(media_type.parameters.get("start-info", "text/xml"))


def _is_package(media_type: MediaType) -> bool:
    return (
        media_type.name == "multipart/related" and media_type.parameters.get("type", "").lower() == XOP_TYPE
    )


def unwrap_soap_envelope(content_type: str, body: bytes, limits: WireLimits = DEFAULT_LIMITS) -> bytes:
    """Return the octets of the envelope in a body whose type is one of SOAP 1.1 (`is_soap11_type`).

    They are those of the body or of its root part; only where the certificate of the signature was a part of
    its own, they are written anew, with it. Raises GW101, GW102, GW103 or GW104 for a package that is
    malformed or holds anything else.
    """
    media_type = parse_media_type(content_type)
    if not _is_package(media_type):
        return body
    try:
        return _read_package(content_type, media_type, body, limits)
    except GatewayError as problem:
        raise_resource_problem(problem)
        detail = f"{problem.detail} (in an MTOM package: MTOM can be switched off at the sender)"
        raise GatewayError(problem.problem, detail, problem.location) from problem


def _read_package(content_type: str, media_type: MediaType, body: bytes, limits: WireLimits) -> bytes:
    """Return the envelope in an MTOM package; a certificate in a part of its own is put back into it."""
    related_parts = read_multipart_related(content_type, body, limits, (XOP_TYPE,))
    root, start_id = related_parts.root, get_start_id(media_type)
    if start_id and root.content_id != start_id:
        raise_mime_error("the start parameter names no part", "Content-Type")
    root_type = parse_media_type(root.headers.get("content-type", "")).parameters.get("type", "text/xml")
    if not is_text_xml(root_type):
        raise GatewayError(MEDIA_TYPE_REFUSED, _WRONG_TYPE_TEXT, "root part")
    envelope = parse_xml(root.content, limits, is_envelope=True)
    inclusions = list(envelope.iter(_INCLUDE_TAG))
    if not inclusions and not related_parts.attachments:
        return root.content
    if len(inclusions) != len(related_parts.attachments):
        _raise_part_error(
            "there is a part that the envelope does not include, or an inclusion without a part"
        )
    _restore_tokens(inclusions, {part.content_id: part for part in related_parts.attachments})
    return serialize_element(envelope)


def _restore_tokens(inclusions: list[etree._Element], parts: dict[str, MimePart]) -> None:
    """Replace each inclusion by the octets of its part in base64 (XOP 1.0 §3.2)."""
    for inclusion in inclusions:
        token = inclusion.getparent()
        if token is None or token.tag != _TOKEN:
            _raise_part_error("an element of the envelope is sent as a part of its own")
        attributes = dict(list_attributes(inclusion))
        if list(attributes) != ["href"] or len(inclusion) or inclusion.text:
            _raise_part_error("an inclusion has more than its link")
        href = attributes["href"]
        part = (
            parts.pop(unquote(href[len(_CID_SCHEME) :]), None)
            if href[: len(_CID_SCHEME)].lower() == _CID_SCHEME
            else None
        )
        if part is None or not part.content_id:
            _raise_part_error(f"{href[:80]!r} names no part, or one that was named before")
        if len(part.content) > _MAX_CERTIFICATE_OCTETS:
            _raise_part_error(f"a certificate may have at most {_MAX_CERTIFICATE_OCTETS} octets")
        text_beside = f"{token.text or ''}{inclusion.tail or ''}"
        if len(token) != 1 or text_beside.strip(XML_SPACE):
            _raise_part_error("the certificate stands in the envelope and in a part of its own")
        token.remove(inclusion)
        token.text = base64.b64encode(part.content).decode("ascii")


def _raise_part_error(detail: str) -> NoReturn:
    raise_mime_error(detail, "part of the package")
