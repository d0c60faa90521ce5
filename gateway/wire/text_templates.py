"""Documents that differ in a few values only: the octets that are alike, and the values between them.

Most documents of one sender are written by one program, each like the one before. Where all octets around the
values are those of a document that was read before, the new document has the same tree with other values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

__all__ = [
    "LONGEST_VALUE",
    "LONGEST_WRAPPED",
    "TextTemplate",
    "ValuePlace",
    "fill_template",
    "is_template_value",
    "make_template",
    "match_template",
    "split_at_values",
]

#: Octets of a value, and of one that is octets in base64 that no canonical form has.
LONGEST_VALUE: Final = 512
LONGEST_WRAPPED: Final = 2048
# None of these is markup, white space or the beginning of a reference in a text or in an attribute, and each
# canonical form writes them as they are. In a comment two hyphens would be.
_VALUE: Final = re.compile(rb"[A-Za-z0-9+/=.@:_\-]{1,%d}+" % LONGEST_VALUE)
_WRAPPED: Final = re.compile(rb"[A-Za-z0-9+/=\n\t ]{1,%d}+" % LONGEST_WRAPPED)
#: Octets that the compiled pattern takes for a value.
_PATTERN_OF_VALUE: Final = 320
_DELIMITERS: Final = (b"<", b'"')
# The name of a namespace determines the order of attributes in a canonical form.
_NAMESPACE: Final = re.compile(rb'\sxmlns(?::[^=\s]*)?="[^"]*\Z')


class ValuePlace(NamedTuple):
    """How a value is recognised in a document: the octets before it, its octets, the delimiter after it."""

    number: int
    before: bytes
    value: bytes
    after: bytes


@dataclass(frozen=True)
class TextTemplate:
    """Octets around values: one string before each value and one after the last; `numbers` name the values.

    A number that stands twice is one value in two places. `wrapped` is the number of a value that may be in
    several lines.
    """

    constants: tuple[bytes, ...]
    numbers: tuple[int, ...]
    wrapped: int | None = None

    @property
    def size(self) -> int:
        """Return how many octets it takes, with what its pattern takes for each value."""
        return sum(map(len, self.constants)) + _PATTERN_OF_VALUE * len(self.numbers)

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Return a pattern whose groups are in turn octets of the length of a constant, and a value.

        To compare the constants afterwards takes less time than a pattern of their octets.
        """
        pieces = [b"(?s)"]
        known: set[int] = set()
        for constant, number in zip(self.constants, self.numbers, strict=False):
            form = _WRAPPED if number == self.wrapped else _VALUE
            value = b"((?P=v%d))" % number if number in known else b"(?P<v%d>%b)" % (number, form.pattern)
            pieces += (b"(.{%d})" % len(constant), value)
            known.add(number)
        pieces.append(b"(.{%d})" % len(self.constants[-1]))
        return re.compile(b"".join(pieces))


def make_template(
    document: bytes, places: Iterable[ValuePlace], wrapped: int | None = None
) -> TextTemplate | None:
    """Return the template of a document, with a value where one of `places` is found.

    Returns None where two overlap, where one would be the name of a namespace, and for a document with
    comments or sections.
    """
    found = sorted(one for place in places for one in _find_places(document, place))
    constants, numbers, end = [], [], 0
    for start, length, number in found:
        if start < end or _NAMESPACE.search(document, end, start):
            return None
        constants.append(document[end:start])
        numbers.append(number)
        end = start + length
    if b"<!" in document:
        return None
    return TextTemplate((*constants, document[end:]), tuple(numbers), wrapped)


def _find_places(document: bytes, place: ValuePlace) -> Iterator[tuple[int, int, int]]:
    """Yield where a value begins, its length and its number."""
    assert place.after in _DELIMITERS, "a value ends where its characters end"
    wanted = place.before + place.value + place.after
    found = document.find(wanted)
    while found >= 0:
        yield found + len(place.before), len(place.value), place.number
        found = document.find(wanted, found + 1)


def split_at_values(text: bytes, values: Sequence[bytes]) -> TextTemplate:
    """Return the template of a text in which each of `values`, by its index, is a value wherever it stands.

    None of them is a part of another one.
    """
    indexes = {value: index for index, value in enumerate(values)}
    pieces = re.split(b"(" + b"|".join(map(re.escape, values)) + b")", text)
    return TextTemplate(tuple(pieces[::2]), tuple(indexes[one] for one in pieces[1::2]))


def is_template_value(value: bytes, *, wrapped: bool = False) -> bool:
    """Return whether a template can have this value, `wrapped` into lines or not."""
    return (_WRAPPED if wrapped else _VALUE).fullmatch(value) is not None


def match_template(template: TextTemplate, document: bytes, count: int) -> list[bytes] | None:
    """Return the values of a document by their numbers, `count` of them; None for another template.

    A value has letters, digits and ``+/=.@:_-``, and `LONGEST_VALUE` octets at most; the one that is wrapped
    has letters, digits, ``+/=`` and white space, and `LONGEST_WRAPPED` at most.
    """
    found = template.pattern.fullmatch(document)
    if found is None:
        return None
    pieces = found.groups()
    if pieces[::2] != template.constants:
        return None
    values = [b""] * count
    for number, value in zip(template.numbers, pieces[1::2], strict=True):
        values[number] = value
    return values


def fill_template(template: TextTemplate, values: Sequence[bytes]) -> bytes:
    """Return the document of a template that has these values."""
    pieces = [template.constants[0]]
    for number, constant in zip(template.numbers, template.constants[1:], strict=True):
        pieces += (values[number], constant)
    return b"".join(pieces)
