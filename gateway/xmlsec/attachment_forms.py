"""What is digested of a signed attachment (WS-Security, SwA profile 1.1 §5.4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.message_model import Body, count_octets, read_octets
from gateway.wire import WireLimits, canonicalize_document, find_plain_form, parse_scanned_xml, prescan_xml
from gateway.xmlsec.algorithms import DigestInput
from gateway.xmlsec.line_ends import iterate_crlf_lines

__all__ = ["SwaAttachment", "canonicalize_attachment", "is_signed_as_is"]

_XML_TYPE: Final = re.compile(r"(?:text|application)/xml|(?:application|image)/[\w!#$&^.+-]+\+xml")


@dataclass(frozen=True, slots=True)
class SwaAttachment:
    """An attachment as it was signed: its media type, by which it is canonicalised, and its octets."""

    media_type: str
    content: bytes | Body


def is_signed_as_is(media_type: str) -> bool:
    """Return whether an attachment of this type is digested as it is, neither as XML nor as text."""
    essence = media_type.partition(";")[0].strip().lower()
    return not essence.startswith("text/") and _XML_TYPE.fullmatch(essence) is None


def canonicalize_attachment(name: str, part: SwaAttachment, limits: WireLimits) -> DigestInput:
    """Return the octets of an attachment that are digested (SwA profile §5.4.2).

    A comment in XML is covered by no such digest, so a part that has one is refused. XML is canonicalised
    in memory, so a large part is not XML: who compresses it sends none.
    """
    if _XML_TYPE.fullmatch(part.media_type):
        return _canonicalize_xml_attachment(name, part, limits)
    if part.media_type.startswith("text/"):
        return iterate_crlf_lines(part.content)
    return part.content


def _canonicalize_xml_attachment(name: str, part: SwaAttachment, limits: WireLimits) -> bytes:
    if count_octets(part.content) > limits.xml:
        detail = f"a part of XML has at most {limits.xml} octets: compress it"
        raise GatewayError(errors.TOO_LARGE, detail, f"cid:{name[:256]}")
    content = read_octets(part.content)
    try:
        prescan_xml(content, limits)
        plain = find_plain_form(content)
        if plain is not None:
            return plain
        root = parse_scanned_xml(content)
    except GatewayError as wrong:
        raise GatewayError(wrong.problem, wrong.detail, f"cid:{name[:256]}") from None
    if _has_comment(root):
        detail = "the signature does not cover comments of an XML part: leave them out, or compress it"
        raise GatewayError(errors.NOT_COVERED, detail, f"cid:{name[:256]}")
    return canonicalize_document(root, exclusive=True)


def _has_comment(root: etree._Element) -> bool:
    beside = (root.itersiblings(etree.Comment, preceding=back) for back in (True, False))
    return any(next(found, None) is not None for found in (root.iter(etree.Comment), *beside))
