"""Templates of envelopes that are alike: their constant octets, their values, and the objects read from them.

The values are the parts that a program changes from one message to the next. An object that was read from an
envelope and contains such a value is made anew with other values.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from lxml import etree

from gateway.wire import DS, EB, EB3, decode_base64_octets, list_attributes, parse_datetime

# Nothing in a value is markup or the beginning of a reference, and each canonical form writes it as it is.
_NAME_VALUE: Final = rb"[A-Za-z0-9+/=.@:_\-]{1,512}+"
#: Base64 may be in several lines.
_BASE64_VALUE: Final = rb"[A-Za-z0-9+/=\n\t ]{1,2048}+"
#: The octets before a value that is a text, an identifier, a reference to it, or a Content-ID in a URI.
_BEFORE_VALUE: Final = rb'(?:(?<=>)|(?<=[ :][Ii][Dd]=")|(?<=URI="#)|(?<=(?:href|.URI)="cid:))'
_AFTER_VALUE: Final = rb'(?=[<"])'


def _is_template_value(value: bytes, *, is_base64: bool) -> bool:
    """Return whether a template can have this value: 512 octets of a name, or 2048 of base64, at most."""
    return re.fullmatch(_BASE64_VALUE if is_base64 else _NAME_VALUE, value) is not None


@dataclass(frozen=True)
class TextTemplate:
    """One constant before each value and one after the last; `value_numbers` name the values.

    A number that occurs twice is one value in two places.
    """

    constants: tuple[bytes, ...]
    value_numbers: tuple[int, ...]
    pattern: re.Pattern[bytes]

    def fill(self, values: Sequence[bytes]) -> bytes:
        """Return the text with these values."""
        pieces = [self.constants[0]]
        for number, constant in zip(self.value_numbers, self.constants[1:], strict=True):
            pieces += (values[number], constant)
        return b"".join(pieces)

    def match(self, text: bytes) -> list[bytes] | None:
        """Return the values of a text by number; None for a text with other constants."""
        matched = self.pattern.fullmatch(text)
        pieces = () if matched is None else matched.groups()
        if pieces[::2] != self.constants:
            return None
        values = dict(zip(self.value_numbers, pieces[1::2], strict=True))
        return [values[number] for number in range(len(values))]


def split_document(document: bytes, values: Sequence[bytes], base64_numbers: Collection[int]) -> TextTemplate:
    """Return the template of a document: a value is variable only where XML can have a value.

    `base64_numbers` are the numbers of the values that are octets in base64.
    """
    return _make_template(document, values, base64_numbers, _BEFORE_VALUE + b"(%b)" + _AFTER_VALUE)


def split_text(text: bytes, values: Sequence[bytes], base64_numbers: Collection[int]) -> TextTemplate:
    """Return the template of a text, in which each occurrence of one of the values is variable."""
    return _make_template(text, values, base64_numbers, b"(%b)")


def _make_template(
    text: bytes, values: Sequence[bytes], base64_numbers: Collection[int], pattern: bytes
) -> TextTemplate:
    """Return the template of `text`; `pattern`, where %b stands for any of `values`, finds the places."""
    number_by_value = {value: number for number, value in enumerate(values)}
    alternatives = b"|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    pieces = re.split(pattern % alternatives, text)
    constants, value_numbers = tuple(pieces[::2]), tuple(number_by_value[value] for value in pieces[1::2])
    return TextTemplate(constants, value_numbers, _compile_pattern(constants, value_numbers, base64_numbers))


def _compile_pattern(
    constants: Sequence[bytes], value_numbers: Sequence[int], base64_numbers: Collection[int]
) -> re.Pattern[bytes]:
    """Return a pattern of gaps and values: the constants are compared afterwards, which takes less time."""
    pieces, seen_numbers = [b"(?s)"], set[int]()
    for constant, number in zip(constants, value_numbers, strict=False):
        value_pattern = _BASE64_VALUE if number in base64_numbers else _NAME_VALUE
        pieces.append(b"(.{%d})" % len(constant))
        pieces.append(
            b"((?P=v%d))" % number if number in seen_numbers else b"(?P<v%d>%b)" % (number, value_pattern)
        )
        seen_numbers.add(number)
    return re.compile(b"".join([*pieces, b"(.{%d})" % len(constants[-1])]))


#: Makes an object with the given values of its document; raises ValueError for a value not of its kind.
Filler = Callable[[Sequence[bytes]], Any]


def _decode_octets(value: bytes) -> bytes:
    """Return the octets of base64, which may be in several lines; raise ValueError for anything else."""
    octets = decode_base64_octets(value.translate(None, b" \t\n"))
    if octets is None:
        raise ValueError("not base64")
    return octets


def _parse_time(value: bytes) -> datetime:
    """Return a time as `element_reader.read_instant` reads it; raise ValueError."""
    return parse_datetime(value.decode(), default_zone=UTC)


@dataclass(frozen=True)
class ObjectTemplates:
    """Makes fillers for objects that were read from a document with `values`, none of them a part of another.

    `time_numbers` and `base64_numbers` are the numbers of those that are instants, and octets in base64.
    """

    values: Sequence[bytes]
    time_numbers: Sequence[int]
    base64_numbers: Sequence[int]

    def make_filler(self, source_object: Any) -> Filler | None:
        """Return a filler for objects like `source_object`; None if it contains none of the `values`."""
        if isinstance(source_object, str):
            template = split_text(source_object.encode(), self.values, self.base64_numbers)
            return (lambda values: template.fill(values).decode()) if template.value_numbers else None
        if isinstance(source_object, bytes):
            return self._make_octets_filler(source_object)
        if isinstance(source_object, datetime):
            return self._make_instant_filler(source_object)
        if isinstance(source_object, tuple):
            return self._make_tuple_filler(source_object)
        return self._make_dataclass_filler(source_object) if is_dataclass(source_object) else None

    def _make_octets_filler(self, source_octets: bytes) -> Filler | None:
        for number in self.base64_numbers:
            if _decode_octets(self.values[number]) == source_octets:
                return lambda values: _decode_octets(values[number])
        template = split_text(source_octets, self.values, self.base64_numbers)
        return template.fill if template.value_numbers else None

    def _make_instant_filler(self, source_time: datetime) -> Filler | None:
        for number in self.time_numbers:
            if _parse_time(self.values[number]) == source_time:
                return lambda values: _parse_time(values[number])
        return None

    def _make_tuple_filler(self, source_tuple: tuple[Any, ...]) -> Filler | None:
        pairs = [(item, self.make_filler(item)) for item in source_tuple]
        if all(fill is None for _, fill in pairs):
            return None
        return lambda values: tuple([item if fill is None else fill(values) for item, fill in pairs])

    def _make_dataclass_filler(self, source_object: Any) -> Filler | None:
        """Return what copies `source_object` with other values in its fields; None if none varies."""
        fillers = {
            field.name: fill
            for field in fields(source_object)
            if field.init and (fill := self.make_filler(getattr(source_object, field.name))) is not None
        }
        if not fillers:
            return None
        return lambda values: replace(source_object, **{name: fill(values) for name, fill in fillers.items()})


#: The kind of a value: a text, an instant, octets in base64, an identifier of an element, a Content-ID.
ValueKind = Literal["text", "time", "base64", "identifier", "content_id"]
_KIND_BY_NAME: Final[dict[object, ValueKind]] = {
    **{
        f"{{{namespace}}}{name}": "text"
        for namespace in (EB, EB3)
        for name in ("MessageId", "RefToMessageId", "ConversationId")
    },
    **dict.fromkeys((f"{{{EB}}}Timestamp", f"{{{EB}}}TimeToLive", f"{{{EB3}}}Timestamp"), "time"),
    **dict.fromkeys((f"{{{DS}}}DigestValue", f"{{{DS}}}SignatureValue"), "base64"),
}
#: Each value is searched for in the envelope.
_MAX_VALUES: Final = 64
_IDENTIFIER: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\-]*")
#: Readers shorten a longer Content-ID in the locations of their errors.
_MAX_CONTENT_ID_LENGTH: Final = 250
_CID_PREFIX: Final = "cid:"


@dataclass(frozen=True)
class EnvelopeValues:
    """The values of one envelope by number, and the kind of each."""

    values: Sequence[bytes]
    kinds: Sequence[ValueKind]

    def list_numbers(self, kind: ValueKind) -> tuple[int, ...]:
        """Return the numbers of the values of one kind."""
        return tuple(number for number, value_kind in enumerate(self.kinds) if value_kind == kind)

    def make_substitutes(self) -> list[bytes]:
        """Return other values of the same kinds; none of them is a part of another one."""
        return [
            _make_substitute(kind, number, value)
            for number, (kind, value) in enumerate(zip(self.kinds, self.values, strict=True))
        ]


def are_names_distinct(identifiers: Sequence[bytes], content_ids: Sequence[bytes]) -> bool:
    """Return whether identifiers are such, and all different, and Content-IDs all different and short."""
    return (
        len(set(identifiers)) == len(identifiers)
        and len(set(content_ids)) == len(content_ids)
        and all(map(_IDENTIFIER.fullmatch, identifiers))
        and max(map(len, content_ids), default=0) <= _MAX_CONTENT_ID_LENGTH
    )


def find_envelope_values(root: etree._Element) -> EnvelopeValues | None:
    """Return the values of an envelope; None where there are too many, or one that no template can have."""
    kind_by_value: dict[bytes, ValueKind] = {}
    for kind, value in (*_iterate_identifiers(root), *_iterate_values(root)):
        # Octets that are two things are the first of them; both must then be the same again.
        kind_by_value.setdefault(value.encode(), kind)
    are_template_values = all(
        _is_template_value(value, is_base64=kind == "base64") for value, kind in kind_by_value.items()
    )
    return (
        EnvelopeValues(list(kind_by_value), list(kind_by_value.values()))
        if are_template_values and len(kind_by_value) <= _MAX_VALUES
        else None
    )


def _iterate_identifiers(root: etree._Element) -> Iterator[tuple[ValueKind, str]]:
    """Yield the values of all attributes that may identify an element, in any spelling."""
    for element in root.iter("*"):
        for name, value in list_attributes(element):
            if str(name).rpartition("}")[2].lower() == "id":
                yield "identifier", str(value)


def _iterate_values(root: etree._Element) -> Iterator[tuple[ValueKind, str]]:
    """Yield kind and text of each element in `_KIND_BY_NAME`, and of each Content-ID in a cid: URI."""
    for element in root.iter("*"):
        if element.tag in _KIND_BY_NAME and element.text:
            yield _KIND_BY_NAME[element.tag], element.text
        for name, value in list_attributes(element):
            if str(name).rpartition("}")[2] in ("href", "URI") and str(value).startswith(_CID_PREFIX):
                yield "content_id", str(value).removeprefix(_CID_PREFIX)


def _make_substitute(kind: ValueKind, number: int, value: bytes) -> bytes:
    if kind == "time":
        return b"2001-02-03T04:05:06.%03dZ" % number
    if kind != "base64":
        return b"learned-%d-value" % number
    return base64.b64encode(hashlib.shake_256(b"%d" % number).digest(len(_decode_octets(value))))
