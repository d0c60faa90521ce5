"""Envelopes of business messages that differ from one that was read before in known values only.

The values are the ids, the times, the digests and the signature of a message: all that a program changes from
one message to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.ebms2.header_blocks import HeaderBlocks, read_header_blocks
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import ManifestReference, read_soap_body
from gateway.protocols.element_reader import make_eb_name
from gateway.protocols.envelope_values import (
    EnvelopeValues,
    HeaderElements,
    ValueNumbers,
    find_envelope_values,
    read_message_values,
    write_like_envelope,
)
from gateway.wire import TextTemplate, WireLimits, match_template, parse_xml, read_envelope
from gateway.xmlsec import (
    KnownSignature,
    SignatureForms,
    get_signature_policy,
    has_known_forms,
    learn_signature,
    list_ids,
    read_message_forms,
)

__all__ = ["KnownEnvelope", "KnownMessage", "learn_envelope", "read_known_envelope"]

_HEADER: Final = make_eb_name("MessageHeader")
_DATA: Final = f"{_HEADER}/{make_eb_name('MessageData')}"
_PATHS: Final = (
    f"{_DATA}/{make_eb_name('MessageId')}",
    f"{_DATA}/{make_eb_name('Timestamp')}",
    f"{_DATA}/{make_eb_name('RefToMessageId')}",
    f"{_HEADER}/{make_eb_name('ConversationId')}",
    f"{_DATA}/{make_eb_name('TimeToLive')}",
)
#: Octets of the URI of a payload that an error names.
_LONGEST_PLACE: Final = 256


@dataclass(frozen=True, slots=True)
class KnownEnvelope:
    """What an envelope has in common with those like it.

    `blocks`, `unit` and `manifest` are those of one of them, `count` is the number of its values. It was
    read by a signature `policy` and within `limits`, and holds for these alone.
    """

    template: TextTemplate
    count: int
    numbers: ValueNumbers
    blocks: HeaderBlocks
    unit: UserMessage
    manifest: tuple[ManifestReference, ...]
    signature: KnownSignature
    policy: str
    limits: WireLimits


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """An envelope that is like a known one: its values, the message without payloads, and its parts."""

    envelope: KnownEnvelope
    values: Sequence[bytes]
    blocks: HeaderBlocks
    unit: UserMessage
    manifest: tuple[ManifestReference, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the readers of every envelope find in one."""

    document: bytes
    header: etree._Element
    blocks: HeaderBlocks
    unit: UserMessage
    manifest: tuple[ManifestReference, ...]
    signature: SignatureForms
    identifiers: tuple[str, ...]


def read_known_envelope(known: KnownEnvelope, document: bytes) -> KnownMessage | None:
    """Return what an envelope like a known one says; None for another one, or where a value is wrong."""
    values = match_template(known.template, document, known.count)
    return None if values is None else _read_values(known, values)


def _read_values(known: KnownEnvelope, values: Sequence[bytes]) -> KnownMessage | None:
    said = read_message_values(known.numbers, values)
    if said is None:
        return None
    changed: dict[str, Any] = {
        "message_id": said.message_id,
        "timestamp": said.timestamp,
        "ref_to_message_id": said.reference,
        "conversation_id": said.conversation,
        "expires_at": said.expires,
    }
    manifest = tuple(
        replace(one, content_id=name, location=f"cid:{name}"[:_LONGEST_PLACE])
        for one, name in zip(known.manifest, said.content_ids, strict=True)
    )
    blocks = replace(known.blocks, header=replace(known.blocks.header, **changed))
    return KnownMessage(known, values, blocks, replace(known.unit, **changed), manifest)


def learn_envelope(document: bytes, policy: str, limits: WireLimits) -> KnownEnvelope | None:
    """Return what can be known of envelopes like one that was accepted; None where it cannot be known.

    It has one signed business message, and nothing beside it.
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
        first.blocks,
        first.unit,
        first.manifest,
        learn_signature(second.signature, like.values, numbers.digests, numbers.signature),
        policy,
        limits,
    )
    agrees = _agrees(known, first, values.values) and _agrees(known, second, like.values)
    return known if agrees else None


def _read(document: bytes, policy: str, limits: WireLimits) -> _Reading | None:
    """Return what is in an envelope; None for anything but one business message alone."""
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    if envelope.header is None:
        return None
    # The elements are of this envelope alone; there is no acknowledgment and no error in it.
    blocks, body = read_header_blocks(envelope.header), read_soap_body(envelope.body)
    beside = (blocks.acknowledgment, blocks.hop_acknowledgment, blocks.error_list)
    unit, *bundled = make_units(MessageContent(blocks, body, ()))
    if not isinstance(unit, UserMessage) or bundled or any(one is not None for one in beside):
        return None
    names = {one.content_id for one in body.manifest}
    forms = read_message_forms(envelope.root, names, get_signature_policy(policy), limits)
    return _Reading(
        document,
        envelope.header,
        replace(blocks, signature=None),
        unit,
        body.manifest,
        forms,
        tuple(list_ids(envelope.root)),
    )


def _find_values(reading: _Reading) -> tuple[EnvelopeValues, ValueNumbers] | None:
    elements = HeaderElements(*map(reading.header.find, _PATHS))
    names = (one.content_id for one in reading.manifest)
    return find_envelope_values(elements, names, reading.identifiers, reading.signature.structure)


def _agrees(known: KnownEnvelope, reading: _Reading, values: Sequence[bytes]) -> bool:
    """Return whether what is known says of an envelope what the readers found in it."""
    message = _read_values(known, values)
    identifiers = sorted(values[one].decode() for one in known.numbers.identifiers)
    return (
        message is not None
        and match_template(known.template, reading.document, known.count) == list(values)
        and (message.blocks, message.unit, message.manifest)
        == (reading.blocks, reading.unit, reading.manifest)
        and identifiers == sorted(reading.identifiers)
        and has_known_forms(known.signature, reading.signature, values)
    )
