"""Reads the values of a CPA from its elements: texts, numbers, durations, times, references.

The schema has accepted the document, so a value has its form. What a form allows and a number of
ours cannot hold, such as a duration of a billion years, is cut to a bound that every rule finds too
long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_model import Algorithm, Place
from gateway.wire import TP, XPathIndex, collapse_whitespace

__all__ = [
    "FAR_AWAY",
    "TERMS",
    "CpaElements",
    "format_duration",
    "parse_duration",
    "parse_moment",
]

#: The namespace of the terms that CPPA 2.0 has no word for.
TERMS: Final = "urn:single-window:agreement:1"
#: Longer than any number of seconds, or any count, that an agreement may mean.
FAR_AWAY: Final = 10**12

_DURATION: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_UNITS: Final = (
    *(("years", 365 * 86_400), ("months", 30 * 86_400), ("days", 86_400)),
    *(("hours", 3_600), ("minutes", 60)),
)
_MOST_DIGITS: Final = 12


def parse_duration(text: str) -> int:
    """Return the seconds of an xs:duration, rounded up; a month has 30 days, a year 365."""
    found = _DURATION.fullmatch(collapse_whitespace(text))
    if found is None:
        return FAR_AWAY
    total = sum(_parse_count(found[name]) * seconds for name, seconds in _UNITS)
    seconds = found["seconds"] or "0"
    whole, _, part = seconds.partition(".")
    total += _parse_count(whole) + math.ceil(float("0." + (part or "0")[:_MOST_DIGITS]))
    total = min(total, FAR_AWAY)
    return -total if found["sign"] else total


def _parse_count(digits: str | None) -> int:
    if digits is None:
        return 0
    return int(digits) if len(digits) <= _MOST_DIGITS else FAR_AWAY


def format_duration(seconds: int) -> str:
    """Return seconds as an xs:duration, in the largest units that hold them: ``PT5M``, ``P5D``."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    times = "".join(
        f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if number
    )
    text = f"P{days}D" if days else "P"
    return text + (f"T{times}" if times else "") if days or times else "PT0S"


def parse_moment(text: str) -> datetime | None:
    """Return the UTC time of an xs:dateTime, in UTC where it has no zone; None for one we cannot hold."""
    try:
        found = datetime.fromisoformat(collapse_whitespace(text))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class CpaElements:
    """Reads the elements of one document, which must not change meanwhile."""

    def __init__(self) -> None:
        self._paths = XPathIndex()
        #: The place, the id, and what it may name.
        self.references: list[tuple[Place, str, tuple[str, ...]]] = []
        #: What each id names: a local name and a place.
        self.names: dict[str, tuple[str, Place]] = {}

    def find_place(self, element: etree._Element) -> Place:
        """Return the place of an element."""
        line: Any = element.sourceline
        return Place(self._paths.get_xpath(element), int(line or 0))

    def list_children(self, element: etree._Element | None, *names: str) -> list[etree._Element]:
        """Return the child elements of these local names, in document order."""
        if element is None:
            return []
        return list(element.iterchildren(*(f"{{{TP}}}{name}" for name in names)))

    def find_child(self, element: etree._Element | None, name: str) -> etree._Element | None:
        """Return the first child element of this local name."""
        return next(iter(self.list_children(element, name)), None)

    def read_text(self, element: etree._Element | None) -> str:
        """Return the text of an element without its comments; an empty text for None."""
        if element is None:
            return ""
        parts: Iterable[Any] = (element.text, *(child.tail for child in element))
        return "".join(part for part in parts if part)

    def read_attribute(self, element: etree._Element, name: str, default: str = "") -> str:
        """Return an attribute as written."""
        found: Any = element.get(f"{{{TP}}}{name}")
        return default if found is None else str(found)

    def read_word(self, element: etree._Element, name: str, default: str = "") -> str:
        """Return an attribute whose white space means nothing."""
        return collapse_whitespace(self.read_attribute(element, name, default))

    def read_optional(self, element: etree._Element, name: str) -> str | None:
        """Return an attribute, or None where there is none."""
        return self.read_attribute(element, name) or None

    def read_boolean(self, element: etree._Element, name: str) -> bool | None:
        """Return an xs:boolean attribute, or None where there is none."""
        word = self.read_word(element, name)
        return word in ("true", "1") if word else None

    def read_integer(self, element: etree._Element, name: str) -> int | None:
        """Return an xs:integer attribute, or None where there is none."""
        return parse_integer(self.read_attribute(element, name))

    def read_seconds(self, element: etree._Element, name: str) -> int | None:
        """Return an xs:duration attribute in seconds, or None where there is none."""
        text = self.read_attribute(element, name)
        return parse_duration(text) if text else None

    def read_child_integer(self, element: etree._Element | None, name: str) -> int | None:
        """Return the integer of a child element, or None where there is none."""
        return parse_integer(self.read_text(self.find_child(element, name)))

    def read_child_seconds(self, element: etree._Element | None, name: str) -> int | None:
        """Return the duration of a child element in seconds, or None where there is none."""
        child = self.find_child(element, name)
        return None if child is None else parse_duration(self.read_text(child))

    def read_name(self, element: etree._Element, attribute: str) -> str:
        """Return the id that an element has, and note what it names."""
        found = self.read_word(element, attribute)
        self.names[found] = (str(etree.QName(element).localname), self.find_place(element))
        return found

    def read_reference(self, element: etree._Element, attribute: str, *targets: str) -> str:
        """Return the id that an attribute refers to, and note that it must name one of `targets`."""
        found = self.read_word(element, attribute)
        self.references.append((self.find_place(element).find_attribute(attribute), found, targets))
        return found

    def read_text_reference(self, element: etree._Element, *targets: str) -> str:
        """Return the id that the text of an element refers to, and note what it must name."""
        found = collapse_whitespace(self.read_text(element))
        self.references.append((self.find_place(element), found, targets))
        return found

    def read_child_reference(
        self, element: etree._Element | None, name: str, attribute: str, target: str
    ) -> str | None:
        """Return the id that a child element refers to, or None where there is no such child."""
        child = self.find_child(element, name)
        return None if child is None else self.read_reference(child, attribute, target)

    def read_algorithms(self, element: etree._Element | None, name: str) -> tuple[Algorithm, ...]:
        """Return the algorithms that child elements name."""
        return tuple(
            Algorithm(
                self.find_place(one),
                collapse_whitespace(self.read_text(one)),
                self.read_word(one, "w3c") or None,
                self.read_word(one, "oid") or None,
                self.read_integer(one, "minimumStrength"),
            )
            for one in self.list_children(element, name)
        )


def parse_integer(text: str) -> int | None:
    """Return an xs:integer, cut to `FAR_AWAY`; None for an empty text."""
    digits = collapse_whitespace(text)
    if not digits:
        return None
    negative, bare = digits.startswith("-"), digits.lstrip("+-").lstrip("0") or "0"
    number = int(bare) if len(bare) <= _MOST_DIGITS and bare.isascii() and bare.isdigit() else FAR_AWAY
    return -number if negative else number
