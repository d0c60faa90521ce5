"""Reads elements of lists: what is missing or malformed is GW402 with its place."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final, NoReturn

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.pki.certificates import Certificate, read_certificate
from gateway.wire.schemas import collapsed
from gateway.wire.xml import xpath_of

__all__ = [
    "certificates_below",
    "instant",
    "malformed",
    "one",
    "optional",
    "text",
    "visible",
    "words",
    "written_instant",
]

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_LONGEST: Final = 4096


def malformed(detail: str, element: etree._Element) -> NoReturn:
    """Raise GW402 with the place of the element."""
    raise GatewayError(DOCUMENT_INVALID, detail, xpath_of(element))


def optional(element: etree._Element, path: str) -> etree._Element | None:
    """Return the only element of a path below another, or None; two are refused."""
    found = element.findall(path)
    if len(found) > 1:
        malformed(f"{_shown(path)} stands here twice", found[1])
    return found[0] if found else None


def one(element: etree._Element, path: str) -> etree._Element:
    """Return the one element of a path below another."""
    found = optional(element, path)
    if found is None:
        malformed(f"{_shown(path)} is missing", element)
    return found


def words(element: etree._Element) -> str:
    """Return the text of an element that has no children; what moves a cursor is made visible."""
    if len(element):
        malformed("elements where only text belongs", element)
    found = collapsed(element.text or "")
    if not found or len(found) > _LONGEST:
        malformed("the text is empty or too long", element)
    return visible(found)


def visible(said: str) -> str:
    """Return text that can be shown: signs that cannot are U+FFFD, which no word we compare with has."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in said)


def text(element: etree._Element, path: str) -> str:
    """Return the text of the one element of a path."""
    return words(one(element, path))


def instant(value: str | None, element: etree._Element) -> datetime:
    """Return a moment with its zone."""
    if value is None or not _INSTANT.fullmatch(value):
        malformed("not a time with a zone", element)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        malformed("not a time", element)


def written_instant(moment: datetime) -> str:
    """Write a moment as `instant` reads it, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def certificates_below(element: etree._Element, tag: str) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Return the certificates below an element, and why others there could not be taken."""
    found: dict[Certificate, None] = {}
    unread = []
    for each in element.iter(tag):
        try:
            found[_certificate(each)] = None
        except GatewayError as refusal:
            unread.append(refusal.detail)
    return tuple(found), tuple(unread)


def _certificate(element: etree._Element) -> Certificate:
    return read_certificate(_octets(element))


def _octets(element: etree._Element) -> bytes:
    if len(element):
        malformed("elements where only text belongs", element)
    try:
        return base64.b64decode("".join((element.text or "").split()).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        malformed("not base64", element)


def _shown(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "", path)
