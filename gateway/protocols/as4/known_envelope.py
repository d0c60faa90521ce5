"""Envelopes of business messages that differ from one that was read before in known values only.

The values are the ids, the times, the digests and the signature of a message: all that a program changes from
one message to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.header_values import MessagingHeader, PartInfo, locate_part
from gateway.protocols.as4.packaging import find_messaging
from gateway.protocols.as4.signal_values import make_eb3_name
from gateway.protocols.envelope_values import (
    EnvelopeValues,
    HeaderElements,
    ValueNumbers,
    find_envelope_values,
    read_message_values,
    write_like_envelope,
)
from gateway.wire import (
    TextTemplate,
    WireLimits,
    canonicalize_element,
    fill_template,
    match_template,
    parse_xml,
    read_envelope,
    split_at_values,
)
from gateway.xmlsec import (
    KnownSignature,
    SignatureForms,
    find_swa_security,
    get_signature_policy,
    has_known_forms,
    learn_signature,
    list_ids,
    list_signed_forms,
    read_swa_signature,
)

__all__ = ["KnownEnvelope", "KnownMessage", "learn_envelope", "read_known_envelope"]

_INFO: Final = make_eb3_name("MessageInfo")
_MESSAGE_ID: Final = f"{_INFO}/{make_eb3_name('MessageId')}"
_TIMESTAMP: Final = f"{_INFO}/{make_eb3_name('Timestamp')}"
_REFERENCE: Final = f"{_INFO}/{make_eb3_name('RefToMessageId')}"
_CONVERSATION: Final = f"{make_eb3_name('CollaborationInfo')}/{make_eb3_name('ConversationId')}"


@dataclass(frozen=True, slots=True)
class KnownEnvelope:
    """What an envelope has in common with those like it.

    `unit` and `parts` are those of one of them, `count` is the number of its values. `identity` is the
    canonical form of eb:UserMessage. It was read by a signature `policy` and within `limits`, and holds for
    these alone.
    """

    template: TextTemplate
    count: int
    numbers: ValueNumbers
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

    document: bytes
    header: MessagingHeader
    unit: UserMessage
    signature: SignatureForms
    identity: bytes
    identifiers: tuple[str, ...]


def read_known_envelope(known: KnownEnvelope, document: bytes) -> KnownMessage | None:
    """Return what an envelope like a known one says; None for another one, or where a value is wrong."""
    values = match_template(known.template, document, known.count)
    return None if values is None else _read_values(known, values)


def _read_values(known: KnownEnvelope, values: Sequence[bytes]) -> KnownMessage | None:
    said = read_message_values(known.numbers, values)
    if said is None:
        return None
    unit = replace(
        known.unit,
        message_id=said.message_id,
        timestamp=said.timestamp,
        ref_to_message_id=said.reference,
        conversation_id=said.conversation,
    )
    parts = tuple(
        replace(part, content_id=name, location=locate_part(name))
        for part, name in zip(known.parts, said.content_ids, strict=True)
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


def _learn(document: bytes, policy: str, limits: WireLimits) -> KnownEnvelope | None:
    first = _read(document, policy, limits)
    found = None if first is None else _find_values(first)
    like = None if found is None else write_like_envelope(document, found[0], limits)
    second = None if like is None else _read(like.document, policy, limits)
    if first is None or found is None or like is None or second is None:
        return None
    values, numbers = found
    known = KnownEnvelope(
        like.template,
        len(like.values),
        numbers,
        first.unit,
        first.header.parts,
        learn_signature(second.signature, like.values, numbers.digests, numbers.signature),
        split_at_values(second.identity, like.values),
        policy,
        limits,
    )
    agrees = _agrees(known, first, values.values) and _agrees(known, second, like.values)
    return known if agrees else None


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
    identity = canonicalize_element(header.unit_element, exclusive=True)
    forms, identifiers = list_signed_forms(plan), tuple(list_ids(envelope.root))
    return _Reading(document, header, header.unit, forms, identity, identifiers)


def _find_values(reading: _Reading) -> tuple[EnvelopeValues, ValueNumbers] | None:
    unit = reading.header.unit_element
    elements = HeaderElements(*map(unit.find, (_MESSAGE_ID, _TIMESTAMP, _REFERENCE, _CONVERSATION)))
    names = (one.content_id for one in reading.header.parts)
    return find_envelope_values(elements, names, reading.identifiers, reading.signature.structure)


def _agrees(known: KnownEnvelope, reading: _Reading, values: Sequence[bytes]) -> bool:
    """Return whether what is known says of an envelope what the readers found in it."""
    message = _read_values(known, values)
    identifiers = sorted(values[one].decode() for one in known.numbers.identifiers)
    return (
        message is not None
        and match_template(known.template, reading.document, known.count) == list(values)
        and (message.unit, message.parts) == (reading.unit, reading.header.parts)
        and identifiers == sorted(reading.identifiers)
        and fill_template(known.identity, values) == reading.identity
        and has_known_forms(known.signature, reading.signature, values)
    )
