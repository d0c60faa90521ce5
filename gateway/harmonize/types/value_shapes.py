"""The shape of a single value: it validates a text and is written as an XML Schema simple type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Final
from xml.sax.saxutils import quoteattr

from gateway.errors import CODE_UNKNOWN, RULE_BROKEN, VALUE_DOES_NOT_FIT, Problem
from gateway.wire import describe_choices, describe_pattern, quote_value

__all__ = [
    "CHARSETS",
    "DECIMAL",
    "KINDS",
    "ValueShape",
    "count_octets",
    "is_simple_pattern",
    "write_simple_type",
]

CHARSETS: Final = ("euc-kr", "cp949", "utf-8", "ascii")
KINDS: Final = ("text", "decimal", "integer", "digits", "day", "date", "moment", "boolean")
DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})")
# A pattern is a sequence of characters and classes, each with an optional count, and of a few choices
# of fixed words.  Python and XML Schema read it alike; bounded counts keep the match fast.
_PATTERN_FORM: Final = re.compile(
    r"(?:(?:\[[A-Za-z0-9가-힣 ._/:,;#+*=@()%'-]+\]|[A-Za-z0-9가-힣 _/-])(?:\{[0-9]{1,4}(?:,[0-9]{1,4})?\})?"
    r"|\([A-Za-z0-9가-힣 _/-]+(?:\|[A-Za-z0-9가-힣 _/-]+)*\)(?:\{0,1\})?)+"
)
_MOST_CHOICES: Final = 3
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_SPACE: Final = " \t\r\n"
_DAY: Final = re.compile(r"[0-9]{8}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"  # XML Schema has no zone beyond fourteen hours
)
#: Every month of every year has these days; the others are looked up in the calendar.
_USUAL_DAYS: Final = {
    "day": r"[1-9][0-9]{3}(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])",
    "date": r"[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])",
}
#: So many digits a usual number has at most, before and after its point.
_MANY_DIGITS: Final = 18
_NUMBERS: Final = ("decimal", "integer")
_TIMES: Final = {"day": "a day (CCYYMMDD)", "date": "a date", "moment": "a date or a date with time"}
_BASE: Final = {"decimal": "xs:decimal", "integer": "xs:integer", "boolean": "xs:boolean"}
_PATTERN: Final = {"digits": r"[0-9]+", "day": _DAY.pattern, "date": _DATE.pattern}


@dataclass(frozen=True, slots=True)
class ValueShape:
    """The form of one value; a bound of None does not apply.

    `longest` counts characters, `octets` counts octets in `charset`; `exact` makes the
    bound a fixed length.  `total` and `fraction` are digits as in XML Schema.
    """

    kind: str = "text"
    longest: int | None = None
    octets: int | None = None
    charset: str = "utf-8"
    exact: bool = False
    total: int | None = None
    fraction: int | None = None
    low: str | None = None
    high: str | None = None
    pattern: str | None = None
    codes: tuple[str, ...] | None = None
    list_name: str = ""
    _members: frozenset[str] | None = field(default=None, init=False, repr=False, compare=False)
    _fitting: int = field(init=False, repr=False, compare=False)
    _match_usual: Callable[[str], re.Match[str] | None] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = self.kind == "text" and self.pattern is None and not self.exact
        bound = self.octets if self.longest is None else self.longest
        # Of a plain text, so many characters fit; where octets are counted, so many of ASCII.
        object.__setattr__(self, "_fitting", bound or 0 if plain else 0)
        object.__setattr__(self, "_match_usual", _find_usual_form(self))

    def find_violation(self, text: str) -> tuple[Problem, str] | None:
        """Return the problem and a message where `text` does not have this shape, else None."""
        if self.codes is not None:
            if text in (self._members or self._cache_members(self.codes)):
                return None
            name, known = self.list_name or "of the field", describe_choices(self.codes)
            return CODE_UNKNOWN, f"{quote_value(text)} is not in the list {name}; expected is {known}"
        if 0 < len(text) <= self._fitting and (self.longest is not None or text.isascii()):
            return None  # the common case: a plain text that is short enough
        if self._match_usual is not None and self._match_usual(text) is not None:
            return None
        if self.kind in _NUMBERS:
            return self._find_number_violation(text) or self._find_length_violation(text)
        return self._find_kind_violation(text) or self._find_length_violation(text)

    def _cache_members(self, codes: tuple[str, ...]) -> frozenset[str]:
        """Return the codes as a set, made at the first use, since lists can be long."""
        members = frozenset(codes)
        object.__setattr__(self, "_members", members)
        return members

    def get_max_length(self) -> int | None:
        """Return how many characters a value has at most, None where there is no bound."""
        if self.codes is not None:
            return max(map(len, self.codes), default=0)
        if self.kind in ("day", "date"):
            return 8 if self.kind == "day" else 10
        return self.longest if self.longest is not None else self.octets

    def _find_kind_violation(self, text: str) -> tuple[Problem, str] | None:
        if self.kind in _TIMES and not _is_valid_time(text, self.kind):
            return RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is {_TIMES[self.kind]}"
        if self.kind == "boolean" and text not in ("true", "false", "1", "0"):
            return RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is true or false"
        if self.kind == "digits" and not (text.isascii() and text.isdigit()):
            return VALUE_DOES_NOT_FIT, f"{quote_value(text)} has other characters than digits"
        if self.pattern is not None and not _compile_pattern(self.pattern).fullmatch(text):
            expected = describe_pattern(self.pattern)
            return RULE_BROKEN, f"{quote_value(text)} is not allowed; expected is {expected}"
        return None

    def _find_number_violation(self, text: str) -> tuple[Problem, str] | None:
        text = text.strip(_SPACE)
        form = DECIMAL if self.kind == "decimal" else _INTEGER
        if not form.fullmatch(text):
            return RULE_BROKEN, f"{quote_value(text)} is not a number"
        whole, _, part = text.lstrip("+-").partition(".")
        fraction, digits = len(part.rstrip("0")), len(whole.lstrip("0"))
        if self.fraction is not None and fraction > self.fraction:
            return VALUE_DOES_NOT_FIT, f"{quote_value(text)} has more than {self.fraction} decimals"
        if self.total is not None and digits + fraction > self.total:
            return VALUE_DOES_NOT_FIT, f"{quote_value(text)} has more than {self.total} digits"
        return None if self.low is None and self.high is None else self._find_range_violation(text)

    def _find_range_violation(self, text: str) -> tuple[Problem, str] | None:
        if self.low is not None and Decimal(text) < Decimal(self.low):
            return RULE_BROKEN, f"{quote_value(text)} is less than {self.low}{self._describe_range()}"
        if self.high is not None and Decimal(text) > Decimal(self.high):
            return RULE_BROKEN, f"{quote_value(text)} is more than {self.high}{self._describe_range()}"
        return None

    def _describe_range(self) -> str:
        return f"; expected is {self.low} to {self.high}" if self.low and self.high else ""

    def _find_length_violation(self, text: str) -> tuple[Problem, str] | None:
        if self.longest is not None:
            size, bound, what = len(text), self.longest, "characters"
        elif self.octets is not None:
            found = count_octets(text, self.charset)
            if found is None:
                return (
                    VALUE_DOES_NOT_FIT,
                    f"{quote_value(text)} has a character that {self.charset} does not have",
                )
            size, bound, what = found, self.octets, f"octets of {self.charset}"
        else:
            return None
        if size == 0 or size > bound or (self.exact and size != bound):
            word = "exactly" if self.exact else "at most"
            return VALUE_DOES_NOT_FIT, f"{quote_value(text)} has {size} {what}, {word} {bound} fit"
        return None


def is_simple_pattern(pattern: str) -> bool:
    """Return whether `pattern` is one of the simple patterns that mappings may use."""
    if len(pattern) > 200 or not _PATTERN_FORM.fullmatch(pattern):
        return False
    if len(re.findall(r"\|[^]]*?\)", pattern)) > _MOST_CHOICES:
        return False
    try:
        return bool(_compile_pattern(pattern))
    except re.error:
        return False


def count_octets(text: str, charset: str) -> int | None:
    """Return the length of `text` in octets of `charset`, None where `charset` cannot encode it."""
    if text.isascii():
        return len(text)  # ASCII has the same octets in each of the charsets
    try:
        return len(text.encode(charset))
    except UnicodeEncodeError:
        return None


def write_simple_type(shape: ValueShape, indent: str) -> list[str]:
    """Return the lines of an ``xs:simpleType`` that accepts what `shape` accepts.

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
    if shape.codes is not None:
        return [("enumeration", code) for code in shape.codes]
    if shape.kind in ("decimal", "integer"):
        pairs = [("totalDigits", shape.total), ("fractionDigits", shape.fraction)]
        facets = [(name, str(value)) for name, value in pairs if value is not None]
        facets += [("minInclusive", shape.low)] if shape.low is not None else []
        return facets + ([("maxInclusive", shape.high)] if shape.high is not None else [])
    if shape.kind == "boolean":
        return []
    bound = shape.longest if shape.longest is not None else shape.octets
    facets = []
    if bound is not None and shape.exact and shape.longest is not None:
        facets.append(("length", str(bound)))
    else:
        facets.append(("minLength", "1"))
        facets += [("maxLength", str(bound))] if bound is not None else []
    pattern = shape.pattern or _PATTERN.get(shape.kind)
    return facets + ([("pattern", pattern)] if pattern else [])


def _is_valid_time(text: str, kind: str) -> bool:
    """Return whether `text` is an existing date or, for the kind ``moment``, date with time."""
    try:
        if (_DAY if kind == "day" else _DATE).fullmatch(text):
            return bool(date.fromisoformat(text))
        return kind == "moment" and bool(_MOMENT.fullmatch(text)) and bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _find_usual_form(shape: ValueShape) -> Callable[[str], re.Match[str] | None] | None:
    """Return what matches most numbers and days that have a shape, and no text that does not have it.

    None where there is no such form: a text that does not match may still have the shape.
    """
    if shape.codes is not None or shape.pattern is not None or shape.exact:
        return None
    if shape.kind in _USUAL_DAYS:
        return _match_usual_form(_USUAL_DAYS[shape.kind]) if _has_room(shape, 10) else None
    if shape.kind not in _NUMBERS or shape.high is not None or shape.low not in (None, "0"):
        return None
    fraction = 0 if shape.kind == "integer" else _count_usual_digits(shape.fraction)
    whole = _count_usual_digits(None if shape.total is None else shape.total - fraction)
    if whole < 1 or not _has_room(shape, whole + 1 + fraction):
        return None
    part = rf"(?:\.[0-9]{{1,{fraction}}})?" if fraction > 0 else ""
    return _match_usual_form(f"[0-9]{{1,{whole}}}{part}")


def _count_usual_digits(most: int | None) -> int:
    return _MANY_DIGITS if most is None else min(most, _MANY_DIGITS)


def _has_room(shape: ValueShape, longest: int) -> bool:
    """Return whether a text of so many ASCII characters is never too long for a shape."""
    return all(bound is None or bound >= longest for bound in (shape.longest, shape.octets))


@cache
def _match_usual_form(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(pattern, re.ASCII).fullmatch


@cache
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
