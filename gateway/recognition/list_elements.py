"""Reads elements of lists; a missing or malformed element raises GW402 with its XPath."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final, NoReturn

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.pki import Certificate, read_certificate
from gateway.wire import build_xpath, collapse_whitespace

__all__ = [
    "find_optional",
    "format_instant",
    "get_element",
    "make_visible",
    "parse_instant",
    "raise_malformed",
    "read_certificates_below",
    "read_element_text",
    "read_words",
]

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_LONGEST: Final = 4096


def raise_malformed(detail: str, element: etree._Element) -> NoReturn:
    """Raise GW402 with the XPath of the element."""
    raise GatewayError(DOCUMENT_INVALID, detail, build_xpath(element))


def find_optional(element: etree._Element, path: str) -> etree._Element | None:
    """Return the only element of a path below another, or None; raise for two."""
    found = element.findall(path)
    if len(found) > 1:
        raise_malformed(f"{_format_path(path)} stands here twice", found[1])
    return found[0] if found else None


def get_element(element: etree._Element, path: str) -> etree._Element:
    """Return the one element of a path below another; raise when it is missing."""
    found = find_optional(element, path)
    if found is None:
        raise_malformed(f"{_format_path(path)} is missing", element)
    return found


def read_words(element: etree._Element) -> str:
    """Return the text of an element without children; control characters are replaced."""
    if len(element):
        raise_malformed("elements where only text belongs", element)
    found = collapse_whitespace(element.text or "")
    if not found or len(found) > _LONGEST:
        raise_malformed("the text is empty or too long", element)
    return make_visible(found)


def make_visible(said: str) -> str:
    """Return printable text: other characters become U+FFFD, which no compared value contains."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in said)


def read_element_text(element: etree._Element, path: str) -> str:
    """Return the text of the one element of a path."""
    return read_words(get_element(element, path))


def parse_instant(value: str | None, element: etree._Element) -> datetime:
    """Return the time in UTC of a text with a time zone; raise GW402 for other text."""
    if value is None or not _INSTANT.fullmatch(value):
        raise_malformed("not a time with a zone", element)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise_malformed("not a time", element)


def format_instant(moment: datetime) -> str:
    """Return a time in the form that `parse_instant` reads, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_certificates_below(
    element: etree._Element, tag: str
) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Return the certificates below an element, and the reasons why others there were not accepted."""
    found: dict[Certificate, None] = {}
    unread = []
    for each in element.iter(tag):
        try:
            found[_read_certificate(each)] = None
        except GatewayError as refusal:
            unread.append(refusal.detail)
    return tuple(found), tuple(unread)


def _read_certificate(element: etree._Element) -> Certificate:
    return read_certificate(_decode_octets(element))


def _decode_octets(element: etree._Element) -> bytes:
    if len(element):
        raise_malformed("elements where only text belongs", element)
    try:
        return base64.b64decode("".join((element.text or "").split()).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise_malformed("not base64", element)


def _format_path(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "", path)
