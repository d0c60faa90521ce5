"""Reads the values of a CPA from its elements: texts, numbers, durations, times, references, algorithms.

The schema has accepted the document, so each value has the right form. A value that the form allows and the
number types of the hub cannot hold, such as a duration of a billion years, is cut to a bound that every rule
reports as too long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_model import Algorithm, Place
from gateway.wire import DS, DSIG_MORE, TP, XENC, XENC11, XPathIndex, collapse_whitespace, parse_datetime

#: The namespace of the terms that CPPA 2.0 has no word for.
TERMS_NAMESPACE: Final = "urn:single-window:agreement:1"
#: Longer than any number of seconds, or any count, that an agreement may mean.
MAX_CPA_NUMBER: Final = 10**12

_DURATION: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_DURATION_UNITS: Final = (
    *(("years", 365 * 86_400), ("months", 30 * 86_400), ("days", 86_400)),
    *(("hours", 3_600), ("minutes", 60)),
)
_MAX_DIGITS: Final = 12
_END_OF_DAY: Final = re.compile(r"T24:00:00(?:\.0+)?(?![0-9.])")


def parse_duration(text: str) -> int:
    """Return the seconds of an xs:duration, rounded up; a month has 30 days, a year 365."""
    match = _DURATION.fullmatch(collapse_whitespace(text))
    if match is None:
        return MAX_CPA_NUMBER
    total_seconds = sum(_parse_count(match[name]) * seconds for name, seconds in _DURATION_UNITS)
    seconds = match["seconds"] or "0"
    whole_seconds, _, fraction = seconds.partition(".")
    total_seconds += _parse_count(whole_seconds) + math.ceil(float("0." + (fraction or "0")[:_MAX_DIGITS]))
    total_seconds = min(total_seconds, MAX_CPA_NUMBER)
    return -total_seconds if match["sign"] else total_seconds


def _parse_count(digits: str | None) -> int:
    if digits is None:
        return 0
    return int(digits) if len(digits) <= _MAX_DIGITS else MAX_CPA_NUMBER


def format_duration(seconds: int) -> str:
    """Return seconds as an xs:duration, in the largest units that hold them: ``PT5M``, ``P5D``."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    time_text = "".join(
        f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if number
    )
    day_text = f"P{days}D" if days else "P"
    return day_text + (f"T{time_text}" if time_text else "") if days or time_text else "PT0S"


def parse_cpa_time(text: str) -> datetime | None:
    """Return an xs:dateTime in UTC, taken as UTC if it has no zone; None for one that Python cannot hold.

    The hour 24 is the end of a day (XML Schema part 2, 3.2.7): an agreement may well end so.
    """
    day_start_text = _END_OF_DAY.sub("T00:00:00", text)
    try:
        moment = parse_datetime(day_start_text, default_zone=UTC)
        return moment if day_start_text == text else moment + timedelta(days=1)
    except (ValueError, OverflowError):
        return None


class CpaElements:
    """Reads the elements of one document of a file, which must not change meanwhile."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._paths = XPathIndex()
        #: Every reference: the place, the id, and the local names of the elements it may name.
        self.references: list[tuple[Place, str, tuple[str, ...]]] = []
        #: By each id: the local name of its element, and its place.
        self.elements_by_id: dict[str, tuple[str, Place]] = {}

    def find_place(self, element: etree._Element) -> Place:
        """Return the place of an element."""
        line: Any = element.sourceline
        return Place(self._paths.get_xpath(element), int(line or 0), self._file)

    def list_children(self, element: etree._Element | None, *child_names: str) -> list[etree._Element]:
        """Return the child elements of these local names, in document order."""
        if element is None:
            return []
        return list(element.iterchildren(*(f"{{{TP}}}{name}" for name in child_names)))

    def find_child(self, element: etree._Element | None, child_name: str) -> etree._Element | None:
        """Return the first child element of this local name."""
        return next(iter(self.list_children(element, child_name)), None)

    def read_text(self, element: etree._Element | None) -> str:
        """Return the text of an element without its comments; an empty text for None."""
        if element is None:
            return ""
        parts: Iterable[Any] = (element.text, *(child.tail for child in element))
        return "".join(part for part in parts if part)

    def read_attribute(self, element: etree._Element, attribute_name: str, default: str = "") -> str:
        """Return an attribute as written."""
        value: Any = element.get(f"{{{TP}}}{attribute_name}")
        return default if value is None else str(value)

    def read_token(self, element: etree._Element, attribute_name: str, default: str = "") -> str:
        """Return an attribute whose white space means nothing."""
        return collapse_whitespace(self.read_attribute(element, attribute_name, default))

    def read_optional(self, element: etree._Element, attribute_name: str) -> str | None:
        """Return an attribute, or None where there is none."""
        return self.read_attribute(element, attribute_name) or None

    def read_boolean(self, element: etree._Element, attribute_name: str) -> bool | None:
        """Return an xs:boolean attribute, or None where there is none."""
        token = self.read_token(element, attribute_name)
        return token in ("true", "1") if token else None

    def read_integer(self, element: etree._Element, attribute_name: str) -> int | None:
        """Return an xs:integer attribute, or None where there is none."""
        return parse_integer(self.read_attribute(element, attribute_name))

    def read_seconds(self, element: etree._Element, attribute_name: str) -> int | None:
        """Return an xs:duration attribute in seconds, or None where there is none."""
        text = self.read_attribute(element, attribute_name)
        return parse_duration(text) if text else None

    def read_child_integer(self, element: etree._Element | None, child_name: str) -> int | None:
        """Return the integer of a child element, or None where there is none."""
        return parse_integer(self.read_text(self.find_child(element, child_name)))

    def read_child_seconds(self, element: etree._Element | None, child_name: str) -> int | None:
        """Return the duration of a child element in seconds, or None where there is none."""
        child = self.find_child(element, child_name)
        return None if child is None else parse_duration(self.read_text(child))

    def read_id(self, element: etree._Element, attribute_name: str) -> str:
        """Return the id that an element has, and record the element under it."""
        identifier = self.read_token(element, attribute_name)
        self.elements_by_id[identifier] = (str(etree.QName(element).localname), self.find_place(element))
        return identifier

    def read_reference(self, element: etree._Element, attribute_name: str, *element_names: str) -> str:
        """Return the id that an attribute refers to, and note that it must name one of `element_names`."""
        identifier = self.read_token(element, attribute_name)
        self.references.append(
            (self.find_place(element).find_attribute(attribute_name), identifier, element_names)
        )
        return identifier

    def read_text_reference(self, element: etree._Element, *element_names: str) -> str:
        """Return the id in the text of an element; note that it must name one of `element_names`."""
        identifier = collapse_whitespace(self.read_text(element))
        self.references.append((self.find_place(element), identifier, element_names))
        return identifier

    def read_child_reference(
        self, element: etree._Element | None, child_name: str, attribute_name: str, element_name: str
    ) -> str | None:
        """Return the id that a child element refers to, or None where there is no such child."""
        child = self.find_child(element, child_name)
        return None if child is None else self.read_reference(child, attribute_name, element_name)

    def read_algorithms(self, element: etree._Element | None, child_name: str) -> tuple[Algorithm, ...]:
        """Return the algorithms that child elements name."""
        return tuple(
            Algorithm(
                self.find_place(child),
                collapse_whitespace(self.read_text(child)),
                self.read_token(child, "w3c") or None,
                self.read_token(child, "oid") or None,
            )
            for child in self.list_children(element, child_name)
        )


def parse_integer(text: str) -> int | None:
    """Return an xs:integer, cut to `MAX_CPA_NUMBER`; None for an empty text."""
    integer_text = collapse_whitespace(text)
    if not integer_text:
        return None
    is_negative, digits_alone = integer_text.startswith("-"), integer_text.lstrip("+-").lstrip("0") or "0"
    number = (
        int(digits_alone)
        if len(digits_alone) <= _MAX_DIGITS and digits_alone.isascii() and digits_alone.isdigit()
        else MAX_CPA_NUMBER
    )
    return -number if is_negative else number


_SEED: Final = "http://www.w3.org/2007/05/xmldsig-more#seed128-cbc"
_URIS: Final = (
    *(f"{DSIG_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)),
    *(f"{DS}rsa-sha1", f"{DS}dsa-sha1", "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"),
    *(f"{DS}sha1", f"{XENC}sha256", f"{DSIG_MORE}sha384", f"{XENC}sha512"),
    *(f"{XENC11}aes{bits}-gcm" for bits in (128, 192, 256)),
    *(f"{XENC}aes{bits}-cbc" for bits in (128, 192, 256)),
    *(f"{XENC}tripledes-cbc", _SEED),
    *(f"{XENC11}rsa-oaep", f"{XENC}rsa-oaep-mgf1p", f"{XENC}rsa-1_5"),
)
#: Names that are no part of a URI: OpenSSL's, those of RFC 8017, object identifiers of ciphers.
_OTHER_NAMES: Final = {
    **dict.fromkeys(("des-ede3-cbc", "3des", "tripledes", "1.2.840.113549.3.7"), f"{XENC}tripledes-cbc"),
    **dict.fromkeys(("seed", "seed-cbc", "1.2.410.200004.1.4"), _SEED),
    **dict.fromkeys(("rsaes-oaep", "1.2.840.113549.1.1.7"), f"{XENC11}rsa-oaep"),
    **dict.fromkeys(("rsa", "rsaes-pkcs1-v1_5", "1.2.840.113549.1.1.1"), f"{XENC}rsa-1_5"),
    **{f"id-aes{bits}-gcm": f"{XENC11}aes{bits}-gcm" for bits in (128, 192, 256)},
    **{
        f"2.16.840.1.101.3.4.1.{arc}": uri
        for arc, uri in (
            *((2, f"{XENC}aes128-cbc"), (22, f"{XENC}aes192-cbc"), (42, f"{XENC}aes256-cbc")),
            *((6, f"{XENC11}aes128-gcm"), (26, f"{XENC11}aes192-gcm"), (46, f"{XENC11}aes256-gcm")),
        )
    },
}


def _fold_name(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


_URI_BY_NAME: Final = {
    _fold_name(name): uri
    for name, uri in (
        *_OTHER_NAMES.items(),
        *((uri, uri) for uri in _URIS),
        *((uri.rpartition("#")[2], uri) for uri in _URIS),
    )
}


def find_algorithm_uri(name: str) -> str:
    """Return the URI of an algorithm with a short name (``RSA-SHA256``, ``aes256-gcm``); else the name."""
    return _URI_BY_NAME.get(_fold_name(name), name)
