"""The shape of a single value: it validates a text and is written as an XML Schema simple type.

A simple pattern is a sequence of characters and classes, each with an optional count, and of a few choices
of fixed words.  Python and XML Schema read it alike; bounded counts keep the match fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Final, cast
from xml.sax.saxutils import quoteattr

from gateway.errors import CODE_UNKNOWN, RULE_BROKEN, VALUE_DOES_NOT_FIT, Problem
from gateway.wire import (
    CalendarFormat,
    describe_character,
    describe_choices,
    describe_pattern,
    encode_text,
    is_calendar_text,
    quote_value,
)

_SIMPLE_PATTERN: Final = re.compile(
    r"(?:(?:\[[A-Za-z0-9가-힣 ._/:,;#+*=@()%'-]+\]|[A-Za-z0-9가-힣 _/-])(?:\{[0-9]{1,4}(?:,[0-9]{1,4})?\})?"
    r"|\([A-Za-z0-9가-힣 _/-]+(?:\|[A-Za-z0-9가-힣 _/-]+)*\)(?:\{0,1\})?)+"
)
_PART: Final = re.compile(r"(?:\[([^]]*)\]|\(([^)]*)\)|(.))(?:\{([0-9]+)(?:,([0-9]+))?\})?")
_LETTER_RANGE: Final = re.compile(r"(.)-(.)")
_MAX_PATTERN_LENGTH: Final = 200
_MAX_CHOICE_GROUPS: Final = 3


@dataclass(frozen=True, slots=True)
class PatternPart:
    """One part of a pattern: the characters or words of which one occurs there, `low` to `high` times."""

    choices: tuple[str, ...]
    low: int
    high: int


def is_simple_pattern(pattern: str) -> bool:
    """Return whether `pattern` is one of the simple patterns that mappings may use."""
    if len(pattern) > _MAX_PATTERN_LENGTH or not _SIMPLE_PATTERN.fullmatch(pattern):
        return False
    if len(re.findall(r"\|[^]]*?\)", pattern)) > _MAX_CHOICE_GROUPS:
        return False
    try:
        return bool(re.compile(pattern, re.ASCII))
    except re.error:
        return False


def parse_simple_pattern(pattern: str) -> list[PatternPart]:
    """Return the parts of a simple pattern, in order."""
    parts = []
    for letters, alternatives, character, low, high in _PART.findall(pattern):
        choices = (
            tuple(alternatives.split("|")) if alternatives else tuple(character or _expand_letters(letters))
        )
        least = int(low or 1)
        parts.append(PatternPart(choices, least, int(high or least)))
    return parts


def _expand_letters(letters: str) -> str:
    """Return every character of a class, of which some are written as ranges."""
    return _LETTER_RANGE.sub(lambda ends: "".join(map(chr, range(ord(ends[1]), ord(ends[2]) + 1))), letters)


CHARSETS: Final = ("euc-kr", "cp949", "utf-8", "ascii")
KINDS: Final = ("text", "decimal", "integer", "digits", "day", "date", "moment", "boolean")
DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_SPACE: Final = " \t\r\n"
#: Every month of every year has these days; the others are looked up in the calendar.
_USUAL_DATE: Final = r"[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
#: The usual form of the time behind the day of a moment.
_USUAL_TIME: Final = (
    r"(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])?)?"
)
_USUAL: Final = {
    "day": _USUAL_DATE.replace("-(", "("),
    "date": _USUAL_DATE,
    "moment": _USUAL_DATE + _USUAL_TIME,
    "boolean": "true|false|1|0",
}
#: The number of characters of the longest text that a pattern of `_USUAL` matches.
_LONGEST_USUAL: Final = 25
#: The pattern that no text matches.
_NOTHING: Final = "(?!)"
#: The most digits of a usual number, before and after its point.
_MAX_USUAL_DIGITS: Final = 18
#: A text with this number of characters or more is unusual.
_MAX_USUAL_CHARACTERS: Final = 100_000
_NUMBER_KINDS: Final = ("decimal", "integer")
_TIMES: Final = {"day": "a day (CCYYMMDD)", "date": "a date", "moment": "a date or a date with time"}
_BASE: Final = {"decimal": "xs:decimal", "integer": "xs:integer", "boolean": "xs:boolean"}
_PATTERN: Final = {"digits": r"[0-9]+", "day": r"[0-9]{8}", "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}"}


@dataclass(frozen=True, slots=True)
class Violation:
    """The reason why a text does not have a shape: the problem, and a message that quotes the text."""

    problem: Problem
    detail: str


@dataclass(frozen=True, slots=True)
class ValueShape:
    """The form of one value; a bound of None does not apply.

    `max_length` counts characters, `octets` counts octets in `charset`; `is_fixed_length` makes the
    bound a fixed length.  `total_digits` and `fraction_digits` are digits as in XML Schema.  `fits` is a
    quick test: it is never true for a text without this shape, and it is false for every text until
    `find_violation` was called once.
    """

    kind: str = "text"
    max_length: int | None = None
    octets: int | None = None
    charset: str = "utf-8"
    is_fixed_length: bool = False
    total_digits: int | None = None
    fraction_digits: int | None = None
    min_value: str | None = None
    max_value: str | None = None
    pattern: str | None = None
    codes: tuple[str, ...] | None = None
    list_name: str = ""
    fits: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The check is compiled at the first use: lists can be long, and most shapes are never used.
        object.__setattr__(self, "fits", _fits_no_text)

    def find_violation(self, text: str) -> Violation | None:
        """Return why `text` does not have this shape, None where it has it."""
        if self.fits is _fits_no_text:
            object.__setattr__(self, "fits", _make_quick_check(self))
        if self.fits(text):
            return None
        if self.codes is not None:
            name, choices = self.list_name or "of the field", describe_choices(self.codes)
            return Violation(
                CODE_UNKNOWN, f"{quote_value(text)} is not in the list {name}; expected is {choices}"
            )
        if self.kind in _NUMBER_KINDS:
            return self._find_number_violation(text) or self._find_length_violation(text)
        return self._find_kind_violation(text) or self._find_length_violation(text)

    def get_max_length(self) -> int | None:
        """Return how many characters a value has at most, None where there is no bound."""
        if self.codes is not None:
            return max(map(len, self.codes), default=0)
        if self.kind in ("day", "date"):
            return 8 if self.kind == "day" else 10
        return self.max_length if self.max_length is not None else self.octets

    def _find_kind_violation(self, text: str) -> Violation | None:
        """Return the violation of a text that lacks the form of its kind or does not match the pattern."""
        if self.kind in _TIMES and not is_calendar_text(text, cast(CalendarFormat, self.kind)):
            return Violation(
                RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is {_TIMES[self.kind]}"
            )
        if self.kind == "boolean" and text not in ("true", "false", "1", "0"):
            return Violation(RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is true or false")
        if self.kind == "digits" and not (text.isascii() and text.isdigit()):
            return Violation(VALUE_DOES_NOT_FIT, f"{quote_value(text)} has other characters than digits")
        if self.pattern is not None and not _compile_pattern(self.pattern).fullmatch(text):
            expected = describe_pattern(self.pattern)
            return Violation(RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is {expected}")
        return None

    def _find_number_violation(self, text: str) -> Violation | None:
        """Return the violation of a text that is no number, has too many digits, or is out of range."""
        text = text.strip(_SPACE)
        number_pattern = DECIMAL if self.kind == "decimal" else _INTEGER
        if not number_pattern.fullmatch(text):
            return Violation(RULE_BROKEN, f"{quote_value(text)} is not a number")
        whole, _, part = text.lstrip("+-").partition(".")
        fraction, digits = len(part.rstrip("0")), len(whole.lstrip("0"))
        if self.fraction_digits is not None and fraction > self.fraction_digits:
            return Violation(
                VALUE_DOES_NOT_FIT, f"{quote_value(text)} has more than {self.fraction_digits} decimals"
            )
        if self.total_digits is not None and digits + fraction > self.total_digits:
            return Violation(
                VALUE_DOES_NOT_FIT, f"{quote_value(text)} has more than {self.total_digits} digits"
            )
        return None if self.min_value is None and self.max_value is None else self._find_range_violation(text)

    def _find_range_violation(self, text: str) -> Violation | None:
        """Return the violation of a number below `min_value` or above `max_value`."""
        if self.min_value is not None and Decimal(text) < Decimal(self.min_value):
            return Violation(
                RULE_BROKEN, f"{quote_value(text)} is less than {self.min_value}{self._describe_range()}"
            )
        if self.max_value is not None and Decimal(text) > Decimal(self.max_value):
            return Violation(
                RULE_BROKEN, f"{quote_value(text)} is more than {self.max_value}{self._describe_range()}"
            )
        return None

    def _describe_range(self) -> str:
        return (
            f"; expected is {self.min_value} to {self.max_value}" if self.min_value and self.max_value else ""
        )

    def _find_length_violation(self, text: str) -> Violation | None:
        """Return the violation of a text that is empty, too long, or not of the fixed length.

        The length is in characters, or in octets of `charset` where only `octets` is set.
        """
        if self.max_length is not None:
            size, bound, size_unit = len(text), self.max_length, "characters"
        elif self.octets is not None:
            try:
                size = len(encode_text(text, self.charset))
            except UnicodeEncodeError as error:
                lacking = f"{describe_character(text, error.start)}, which {self.charset} does not have"
                return Violation(VALUE_DOES_NOT_FIT, f"{quote_value(text)} has the character {lacking}")
            bound, size_unit = self.octets, f"octets of {self.charset}"
        else:
            return None
        if size == 0 or size > bound or (self.is_fixed_length and size != bound):
            word = "exactly" if self.is_fixed_length else "at most" if size else "1 to"
            return Violation(
                VALUE_DOES_NOT_FIT, f"{quote_value(text)} has {size} {size_unit}, {word} {bound} fit"
            )
        return None


def count_octets(text: str, charset: str) -> int | None:
    """Return the length of `text` in octets of `charset`, None where `charset` cannot encode it."""
    if text.isascii():
        return len(text)  # ASCII has the same octets in each of the charsets
    try:
        return len(encode_text(text, charset))
    except UnicodeEncodeError:
        return None


def write_simple_type(shape: ValueShape, indent: str) -> list[str]:
    """Return the lines of an ``xs:simpleType`` that accepts the values that `shape` accepts.

    Lengths in octets become lengths in characters, since XML Schema has no others; the gateway
    checks the exact count itself.
    """
    if shape.kind == "moment" and shape.codes is None:
        return [f'{indent}<xs:simpleType><xs:union memberTypes="xs:date xs:dateTime"/></xs:simpleType>']
    base = _BASE.get(shape.kind, "xs:string") if shape.codes is None else "xs:string"
    facets = [f"<xs:{name} value={quoteattr(value)}/>" for name, value in _list_facets(shape)]
    lines = [f"{indent}<xs:simpleType>", f'{indent}  <xs:restriction base="{base}">']
    lines += [f"{indent}    {facet}" for facet in facets]
    return [*lines, f"{indent}  </xs:restriction>", f"{indent}</xs:simpleType>"]


def _list_facets(shape: ValueShape) -> list[tuple[str, str]]:
    """Return the XML Schema facets of a shape, each with its value."""
    if shape.codes is not None:
        return [("enumeration", code) for code in shape.codes]
    if shape.kind in ("decimal", "integer"):
        pairs = [("totalDigits", shape.total_digits), ("fractionDigits", shape.fraction_digits)]
        facets = [(name, str(value)) for name, value in pairs if value is not None]
        facets += [("minInclusive", shape.min_value)] if shape.min_value is not None else []
        return facets + ([("maxInclusive", shape.max_value)] if shape.max_value is not None else [])
    if shape.kind == "boolean":
        return []
    bound = shape.max_length if shape.max_length is not None else shape.octets
    facets = []
    if bound is not None and shape.is_fixed_length and shape.max_length is not None:
        facets.append(("length", str(bound)))
    else:
        facets.append(("minLength", "1"))
        facets += [("maxLength", str(bound))] if bound is not None else []
    pattern = shape.pattern or _PATTERN.get(shape.kind)
    return facets + ([("pattern", pattern)] if pattern else [])


def _fits_no_text(_text: str) -> bool:
    """Return False: no quick test has been made yet."""
    return False


def _make_quick_check(shape: ValueShape) -> Callable[[str], object]:
    """Return a quick test of a text: it is never true for a text that does not have the shape.

    It may be false for a text that has the shape; `find_violation` then decides.
    """
    if shape.codes is not None:
        return frozenset(shape.codes).__contains__
    return _match_usual_pattern(_build_usual_pattern(shape) or _NOTHING)


def _build_usual_pattern(shape: ValueShape) -> str | None:
    """Return the pattern of the usual texts of a shape; None if the shape has no quick test."""
    if shape.kind in ("text", "digits"):
        return _build_usual_text_pattern(shape)
    if shape.pattern is not None or shape.is_fixed_length:
        return None
    if shape.kind in _NUMBER_KINDS:
        return _build_usual_number_pattern(shape)
    return _USUAL[shape.kind] if _has_room(shape, _LONGEST_USUAL) else None


def _build_usual_text_pattern(shape: ValueShape) -> str | None:
    """Return the pattern of the usual texts or digits of a shape, None where its bound is too large.

    It checks the length and the shape's own pattern. Where the bound counts octets, only ASCII matches.
    """
    bound = shape.octets if shape.max_length is None else shape.max_length
    if bound is not None and not 0 < bound < _MAX_USUAL_CHARACTERS:
        return None
    is_ascii = shape.max_length is None and bound is not None
    signs = "[0-9]" if shape.kind == "digits" else r"[\x00-\x7f]" if is_ascii else r"[\s\S]"
    quantifier = "+" if bound is None else f"{{{bound}}}" if shape.is_fixed_length else f"{{1,{bound}}}"
    return signs + quantifier if shape.pattern is None else rf"(?={signs}{quantifier}\Z)(?:{shape.pattern})"


def _build_usual_number_pattern(shape: ValueShape) -> str | None:
    """Return a pattern of unsigned numbers that all fit the shape; None where its limits permit none."""
    if shape.max_value is not None or shape.min_value not in (None, "0"):
        return None
    fraction = 0 if shape.kind == "integer" else _count_usual_digits(shape.fraction_digits)
    whole = _count_usual_digits(None if shape.total_digits is None else shape.total_digits - fraction)
    if whole < 1 or not _has_room(shape, whole + 1 + fraction):
        return None
    part = rf"(?:\.[0-9]{{1,{fraction}}})?" if fraction > 0 else ""
    return f"[0-9]{{1,{whole}}}{part}"


def _count_usual_digits(max_digits: int | None) -> int:
    return _MAX_USUAL_DIGITS if max_digits is None else min(max_digits, _MAX_USUAL_DIGITS)


def _has_room(shape: ValueShape, longest: int) -> bool:
    """Return whether the bounds of a shape allow a text of `longest` ASCII characters."""
    return all(bound is None or bound >= longest for bound in (shape.max_length, shape.octets))


@cache
def _match_usual_pattern(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(pattern, re.ASCII).fullmatch


@cache
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
