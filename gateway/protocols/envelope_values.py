"""The values of an envelope that a program changes from one message to the next, and envelopes with others.

How an envelope is learned: its readers are given another one like it, with other values. What they find there
must be what is said of both.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Final, NamedTuple

from lxml import etree

from gateway.protocols.element_reader import convert_instant
from gateway.wire import (
    DS,
    LONGEST_WRAPPED,
    TextTemplate,
    ValuePlace,
    WireLimits,
    fill_template,
    is_template_value,
    make_template,
    prescan_xml,
)
from gateway.xmlsec import SignatureStructure, decode_base64_octets

__all__ = [
    "EnvelopeValues",
    "HeaderElements",
    "LikeEnvelope",
    "MessageValues",
    "ValueNumbers",
    "find_envelope_values",
    "read_message_values",
    "write_like_envelope",
]

_DIGEST: Final = f"{{{DS}}}DigestValue"
_VALUE: Final = f"{{{DS}}}SignatureValue"
_IDENTIFIER: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\-]*")
#: Content-IDs, identifiers and digests of an envelope: each is searched for in it.
_MOST_VALUES: Final = 64
_SPACE: Final = b"\n\t "
_Around = tuple[bytes, bytes]
#: Around the text of an element; a Content-ID in a URI; an identifier, and a reference to it. An attribute
#: whose name has another end is no value: some change what a canonical form is.
_AROUND_TEXT: Final[tuple[_Around, ...]] = ((b">", b"<"),)
_AROUND_CONTENT_ID: Final[tuple[_Around, ...]] = ((b'href="cid:', b'"'), (b'URI="cid:', b'"'))
_AROUND_IDENTIFIER: Final[tuple[_Around, ...]] = (
    *((before + name + b'="', b'"') for before in (b" ", b":") for name in (b"Id", b"id", b"ID", b"iD")),
    (b'URI="#', b'"'),
)


class _Kind(Enum):
    """What a value is: an id, a time, or octets in base64."""

    NAME = auto()
    TIME = auto()
    OCTETS = auto()


class HeaderElements(NamedTuple):
    """The elements of a header whose text is a value; None for those that it has not.

    The last two are those of a receipt: when the message was received, and the digests that it repeats.
    """

    message_id: etree._Element | None
    timestamp: etree._Element | None
    reference: etree._Element | None
    conversation: etree._Element | None
    expires: etree._Element | None = None
    received: etree._Element | None = None
    repeated: tuple[etree._Element, ...] = ()


@dataclass(frozen=True, slots=True)
class ValueNumbers:
    """The numbers of the values of an envelope by what they are; None for those that it has not."""

    message_id: int
    timestamp: int
    reference: int | None
    conversation: int | None
    expires: int | None
    received: int | None
    repeated: tuple[int, ...]
    content_ids: tuple[int, ...]
    identifiers: tuple[int, ...]
    digests: tuple[int, ...]
    signature: int


class MessageValues(NamedTuple):
    """What the values of an envelope say of its message."""

    message_id: str
    timestamp: datetime
    reference: str | None
    conversation: str
    expires: datetime | None
    received: datetime | None
    repeated: tuple[bytes, ...]
    content_ids: tuple[str, ...]


@dataclass(slots=True)
class EnvelopeValues:
    """The values of an envelope in the order of their numbers, what each is, and where it stands."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    kinds: list[_Kind] = field(default_factory=list)
    wrapped: int | None = None
    places: dict[ValuePlace, None] = field(default_factory=dict)

    def add(self, kind: _Kind, value: str, around: Sequence[_Around]) -> int:
        """Return the number of a value, which stands wherever it is between two of these strings."""
        octets = value.encode()
        number = self.numbers.setdefault(octets, len(self.numbers))
        if number == len(self.kinds):
            self.kinds.append(kind)
        self.places.update((ValuePlace(number, before, octets, after), None) for before, after in around)
        return number

    def add_text(self, kind: _Kind, element: etree._Element | None) -> int | None:
        """Return the number of the value that is the text of an element; None where there is none."""
        return None if element is None or not element.text else self.add(kind, element.text, _AROUND_TEXT)

    def add_texts(self, kind: _Kind, elements: Iterable[etree._Element]) -> tuple[int, ...]:
        """Return the numbers of the values that are the texts of elements; one without text has none."""
        numbers = (self.add_text(kind, one) for one in elements)
        return tuple(one for one in numbers if one is not None)


@dataclass(frozen=True, slots=True)
class LikeEnvelope:
    """An envelope like another one, with other values, and what both have in common."""

    template: TextTemplate
    values: list[bytes]
    document: bytes


def write_like_envelope(document: bytes, found: EnvelopeValues, limits: WireLimits) -> LikeEnvelope | None:
    """Return an envelope like `document` with other values than those found in it; None where none can be.

    Raises for one that is beyond the limits with the shortest or the longest values: each limit grows or
    falls with the length of a value, and so does what is compared with it.
    """
    values = [
        _make_value(kind, *one) for kind, one in zip(found.kinds, enumerate(found.numbers), strict=True)
    ]
    given = enumerate(found.numbers)
    if not all(is_template_value(value, wrapped=number == found.wrapped) for number, value in given):
        return None
    template = make_template(document, found.places, found.wrapped)
    if template is None or any(one in document for one in values):
        return None
    for length in (1, LONGEST_WRAPPED):
        prescan_xml(fill_template(template, [b"a" * length] * len(values)), limits, envelope=True)
    return LikeEnvelope(template, values, fill_template(template, values))


def _make_value(kind: _Kind, number: int, value: bytes) -> bytes:
    """Return another value of a kind; none of another number is a part of it."""
    if kind is _Kind.TIME:
        return b"2001-02-03T04:05:06.%03dZ" % number
    if kind is _Kind.NAME:
        return b"learned-%d-value" % number
    octets = decode_base64_octets(value.translate(None, _SPACE)) or b""
    return base64.b64encode(hashlib.shake_256(b"%d" % number).digest(len(octets)))


def find_envelope_values(
    header: HeaderElements,
    content_ids: Sequence[str],
    identifiers: Sequence[str],
    signature: SignatureStructure,
) -> tuple[EnvelopeValues, ValueNumbers] | None:
    """Return the values of an envelope with their numbers; None where it has too many or too few.

    `content_ids` are those of the payloads, `identifiers` the values of attributes that identify an element.
    """
    names = (*content_ids, *identifiers)
    if len(names) + len(signature.references) + len(header.repeated) > _MOST_VALUES:
        return None
    found = EnvelopeValues()
    message_id = found.add_text(_Kind.NAME, header.message_id)
    timestamp = found.add_text(_Kind.TIME, header.timestamp)
    value = found.wrapped = found.add_text(_Kind.OCTETS, signature.element.find(_VALUE))
    digests = found.add_texts(_Kind.OCTETS, signature.signed_info.iter(_DIGEST))
    if message_id is None or timestamp is None or value is None:
        return None
    return found, ValueNumbers(
        message_id,
        timestamp,
        found.add_text(_Kind.NAME, header.reference),
        found.add_text(_Kind.NAME, header.conversation),
        found.add_text(_Kind.TIME, header.expires),
        found.add_text(_Kind.TIME, header.received),
        found.add_texts(_Kind.OCTETS, header.repeated),
        tuple(found.add(_Kind.NAME, one, _AROUND_CONTENT_ID) for one in content_ids),
        tuple(found.add(_Kind.NAME, one, _AROUND_IDENTIFIER) for one in identifiers),
        digests,
        value,
    )


def read_message_values(numbers: ValueNumbers, values: Sequence[bytes]) -> MessageValues | None:
    """Return what values say of a message; None where one is not of its kind, or stands for two things."""
    identifiers = {values[one] for one in numbers.identifiers}
    if len(identifiers) < len(numbers.identifiers) or not all(map(_IDENTIFIER.fullmatch, identifiers)):
        return None
    content_ids = tuple([values[one].decode() for one in numbers.content_ids])
    if len(set(content_ids)) < len(content_ids):
        return None
    repeated = [decode_base64_octets(values[one]) for one in numbers.repeated]
    try:
        moment = convert_instant(values[numbers.timestamp].decode())
        expires, received = (
            None if one is None else convert_instant(values[one].decode())
            for one in (numbers.expires, numbers.received)
        )
    except ValueError:
        return None
    if None in repeated:
        return None
    return MessageValues(
        values[numbers.message_id].decode(),
        moment,
        None if numbers.reference is None else values[numbers.reference].decode(),
        "" if numbers.conversation is None else values[numbers.conversation].decode(),
        expires,
        received,
        tuple([one for one in repeated if one is not None]),
        content_ids,
    )
