"""Envelopes of business messages that differ from one that was read before in known values only.

The values are the ids, the times, the digests and the signature of a message: all that a program changes from
one message to the next. An envelope is learned by reading another one like it, with other values, by the same
readers as every envelope: what they find must be what is said here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from itertools import count
from typing import Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.header_values import MessagingHeader, PartInfo, locate_part
from gateway.protocols.as4.packaging import find_messaging
from gateway.protocols.as4.signal_values import make_eb3_name
from gateway.protocols.element_reader import convert_instant
from gateway.wire import (
    DS,
    LONGEST_VALUE,
    TextTemplate,
    ValuePlace,
    WireLimits,
    canonicalize_element,
    fill_template,
    is_template_value,
    make_template,
    match_template,
    parse_xml,
    prescan_xml,
    read_envelope,
    split_at_values,
)
from gateway.xmlsec import (
    KnownSignature,
    SignaturePlan,
    decode_base64_octets,
    find_swa_security,
    get_signature_policy,
    has_known_forms,
    learn_signature,
    list_ids,
    read_known_references,
    read_swa_signature,
)

__all__ = ["KnownEnvelope", "KnownMessage", "learn_envelope", "read_known_envelope"]

_INFO: Final = make_eb3_name("MessageInfo")
_MESSAGE_ID: Final = f"{_INFO}/{make_eb3_name('MessageId')}"
_REFERENCE: Final = f"{_INFO}/{make_eb3_name('RefToMessageId')}"
_TIMESTAMP: Final = f"{_INFO}/{make_eb3_name('Timestamp')}"
_CONVERSATION: Final = f"{make_eb3_name('CollaborationInfo')}/{make_eb3_name('ConversationId')}"
_DIGEST: Final = f"{{{DS}}}DigestValue"
_VALUE: Final = f"{{{DS}}}SignatureValue"
_IDENTIFIER: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\-]*")


class _Kind(Enum):
    """What a value is: an id, a time, or octets in base64."""

    NAME = auto()
    TIME = auto()
    OCTETS = auto()


@dataclass(frozen=True, slots=True)
class _ValueNumbers:
    """The numbers of the values of an envelope by what they are; None where it has none."""

    message_id: int
    timestamp: int
    reference: int | None
    conversation: int | None
    content_ids: tuple[int, ...]
    identifiers: tuple[int, ...]
    digests: tuple[int, ...]
    signature: int


@dataclass(frozen=True, slots=True)
class KnownEnvelope:
    """What an envelope has in common with those like it.

    `unit` and `parts` are those of one of them. `identity` is the canonical form of eb:UserMessage. It was
    read by a signature `policy` and within `limits`, and holds for these alone.
    """

    template: TextTemplate
    count: int
    numbers: _ValueNumbers
    unit: UserMessage
    parts: tuple[PartInfo, ...]
    signature: KnownSignature
    identity: TextTemplate
    policy: str
    limits: WireLimits


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """An envelope that is like a known one: its values, the message without payloads, and its parts."""

    envelope: KnownEnvelope
    values: Sequence[bytes]
    unit: UserMessage
    parts: tuple[PartInfo, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the readers of every envelope find in one."""

    header: MessagingHeader
    unit: UserMessage
    plan: SignaturePlan
    identifiers: tuple[str, ...]


def read_known_envelope(known: KnownEnvelope, document: bytes) -> KnownMessage | None:
    """Return what an envelope like a known one says; None for another one, or where a value is wrong."""
    values = match_template(known.template, document, known.count)
    return None if values is None else _read_values(known, values)


def _read_values(known: KnownEnvelope, values: Sequence[bytes]) -> KnownMessage | None:
    numbers = known.numbers
    identifiers = {values[one] for one in numbers.identifiers}
    if len(identifiers) < len(numbers.identifiers) or not all(map(_IDENTIFIER.fullmatch, identifiers)):
        return None
    try:
        moment = convert_instant(values[numbers.timestamp].decode("ascii"))
    except ValueError:
        return None
    names = [values[one].decode("ascii") for one in numbers.content_ids]
    if len(set(names)) < len(names):
        return None
    unit = replace(
        known.unit,
        message_id=values[numbers.message_id].decode("ascii"),
        timestamp=moment,
        ref_to_message_id=None if numbers.reference is None else values[numbers.reference].decode("ascii"),
        conversation_id="" if numbers.conversation is None else values[numbers.conversation].decode("ascii"),
    )
    parts = tuple(
        replace(part, content_id=name, location=locate_part(name))
        for part, name in zip(known.parts, names, strict=True)
    )
    return KnownMessage(known, values, unit, parts)


def learn_envelope(document: bytes, policy: str, limits: WireLimits) -> KnownEnvelope | None:
    """Return what can be known of envelopes like one that was accepted; None where it cannot be known.

    It has one signed business message, whose certificate is in it, and nothing that is encrypted.
    """
    try:
        return _learn(document, policy, limits)
    except GatewayError:
        return None


@dataclass(slots=True)
class _FoundValues:
    """The values of an envelope in the order of their numbers, what each is, and where it stands."""

    values: list[bytes] = field(default_factory=list)
    kinds: list[_Kind] = field(default_factory=list)
    places: dict[ValuePlace, None] = field(default_factory=dict)

    def add(self, kind: _Kind, value: str, *around: tuple[bytes, bytes]) -> int:
        """Return the number of a value that stands wherever it is between two strings."""
        octets = value.encode()
        if octets not in self.values:
            self.values.append(octets)
            self.kinds.append(kind)
        number = self.values.index(octets)
        self.places.update((ValuePlace(number, before, octets, after), None) for before, after in around)
        return number

    def add_text(self, kind: _Kind, element: etree._Element | None) -> int | None:
        """Return the number of the value that is the text of an element; None without one."""
        return None if element is None or not element.text else self.add(kind, element.text, (b">", b"<"))

    def make_others(self) -> list[bytes]:
        """Return another value of the same kind for each, of which none is a part of another."""
        return [_make_value(*one) for one in zip(self.kinds, count(), self.values)]


def _make_value(kind: _Kind, number: int, value: bytes) -> bytes:
    if kind is _Kind.TIME:
        return b"2001-02-03T04:05:06.%03dZ" % number
    if kind is _Kind.NAME:
        return b"learned-%d-value" % number
    octets = decode_base64_octets(value) or b""
    return base64.b64encode(hashlib.shake_256(b"%d" % number).digest(len(octets)))


def _find_values(reading: _Reading) -> tuple[_FoundValues, _ValueNumbers] | None:
    """Return the values of an envelope and their numbers; None where one is none of a template."""
    unit, found = reading.header.unit_element, _FoundValues()
    signature = reading.plan.structure.element
    name = partial(found.add_text, _Kind.NAME)
    message_id, timestamp = name(unit.find(_MESSAGE_ID)), found.add_text(_Kind.TIME, unit.find(_TIMESTAMP))
    reference, conversation = name(unit.find(_REFERENCE)), name(unit.find(_CONVERSATION))
    contents = [found.add(_Kind.NAME, one.content_id, (b'"cid:', b'"')) for one in reading.header.parts]
    identifiers = [found.add(_Kind.NAME, one, (b'="', b'"'), (b'"#', b'"')) for one in reading.identifiers]
    digests = [found.add_text(_Kind.OCTETS, one) for one in reading.plan.structure.signed_info.iter(_DIGEST)]
    value = found.add_text(_Kind.OCTETS, signature.find(_VALUE))
    if not all(map(is_template_value, found.values)):
        return None
    if message_id is None or timestamp is None or value is None:
        return None
    numbers = _ValueNumbers(
        message_id, timestamp, reference, conversation, tuple(contents), tuple(identifiers),
        tuple(one for one in digests if one is not None), value,
    )  # fmt: skip
    return found, numbers


def _prescan_extremes(template: TextTemplate, count: int, limits: WireLimits) -> None:
    """Raise unless an envelope of the template is within the limits, however long its values are.

    Each limit grows or falls with the length of a value, and so does what is compared with it.
    """
    for length in (1, LONGEST_VALUE):
        prescan_xml(fill_template(template, [b"a" * length] * count), limits, envelope=True)


def _agrees(known: KnownEnvelope, reading: _Reading, values: Sequence[bytes]) -> bool:
    """Return whether what is known says of an envelope what the readers found in it."""
    message, plan = _read_values(known, values), reading.plan
    return (
        message is not None
        and message.unit == reading.unit
        and message.parts == reading.header.parts
        and sorted(values[one].decode("ascii") for one in known.numbers.identifiers)
        == sorted(reading.identifiers)
        and read_known_references(known.signature, values) == plan.structure.references
        and decode_base64_octets(values[known.numbers.signature]) == plan.structure.value
        and known.signature.certificate == plan.certificate
        and fill_template(known.identity, values)
        == canonicalize_element(reading.header.unit_element, exclusive=True)
        and has_known_forms(known.signature, plan, values)
    )


def _learn(document: bytes, policy: str, limits: WireLimits) -> KnownEnvelope | None:
    first = _read(document, policy, limits)
    found = None if first is None else _find_values(first)
    if first is None or found is None:
        return None
    values, numbers = found
    template, others = make_template(document, values.places), values.make_others()
    if template is None or any(one in document for one in others):
        return None
    _prescan_extremes(template, len(others), limits)
    second = _read(fill_template(template, others), policy, limits)
    if second is None:
        return None
    known = KnownEnvelope(
        template,
        len(others),
        numbers,
        first.unit,
        first.header.parts,
        learn_signature(second.plan, others, numbers.digests, numbers.signature),
        split_at_values(canonicalize_element(second.header.unit_element, exclusive=True), others),
        policy,
        limits,
    )
    agrees = _agrees(known, first, values.values) and _agrees(known, second, others)
    return known if agrees and read_known_envelope(known, document) is not None else None


def _read(document: bytes, policy: str, limits: WireLimits) -> _Reading | None:
    """Return what is in an envelope; None for anything but one business message alone."""
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    header = read_messaging(find_messaging(envelope))
    security = find_swa_security(envelope.root)
    if not isinstance(header.unit, UserMessage) or header.bundled or security is None:
        return None
    names = {one.content_id for one in header.parts}
    plan = read_swa_signature(
        security, (header.element, envelope.body), names, get_signature_policy(policy), limits=limits
    )
    return _Reading(header, header.unit, plan, tuple(list_ids(envelope.root)))
