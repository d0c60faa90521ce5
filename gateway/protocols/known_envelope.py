"""Envelopes of business messages that differ from one that was read before in known values only.

The values are the ids, the times, the digests and the signature of a message: all that a program changes from
one message to the next. How an envelope is read, and what it says, is for its protocol: an `EnvelopeKind`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.errors import GatewayError
from gateway.protocols.envelope_values import (
    HeaderElements,
    MessageValues,
    ValueNumbers,
    find_envelope_values,
    read_message_values,
    write_like_envelope,
)
from gateway.wire import TextTemplate, WireLimits, fill_template, match_template, split_at_values
from gateway.xmlsec import KnownSignature, SignatureForms, has_known_forms, learn_signature

__all__ = [
    "LARGEST_ENVELOPE",
    "EnvelopeKind",
    "KnownEnvelope",
    "KnownMessage",
    "ReadEnvelope",
    "learn_envelope",
    "read_known_envelope",
]

#: Octets of an envelope that is learned, and of its canonical forms together. A larger one lists things, and
#: no two lists are alike.
LARGEST_ENVELOPE: Final = 32 * 1024
LARGEST_FORMS: Final = 64 * 1024

_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class ReadEnvelope(Generic[_Content]):
    """What the readers of every envelope find in one: what it says, and where its values are.

    `content_ids` are those of its payloads, `identifiers` the values of attributes that identify elements.
    `identity` is the canonical form by which a repeated message is recognised, where its protocol has one.
    """

    content: _Content
    header: HeaderElements
    content_ids: tuple[str, ...]
    identifiers: tuple[str, ...]
    signature: SignatureForms
    identity: bytes = b""


@dataclass(frozen=True, slots=True)
class EnvelopeKind(Generic[_Content]):
    """The envelopes of one protocol.

    `media_type` is that of their part, and `certificate_end` ends the tag after their certificate. `read`
    returns what is in one by a signature policy and within limits: None for anything but one signed business
    message alone; it raises for what is malformed. `change` returns a content with other values.
    """

    protocol: str
    media_type: str
    certificate_end: bytes
    read: Callable[[bytes, str, WireLimits], ReadEnvelope[_Content] | None]
    change: Callable[[_Content, MessageValues], _Content]


@dataclass(frozen=True, slots=True)
class KnownEnvelope(Generic[_Content]):
    """What an envelope has in common with those like it.

    `count` is the number of its values, `content` what one of them says. It was read by a signature `policy`
    and within `limits`, and holds for these alone.
    """

    template: TextTemplate
    count: int
    numbers: ValueNumbers
    content: _Content
    signature: KnownSignature
    identity: TextTemplate
    policy: str
    limits: WireLimits

    @property
    def size(self) -> int:
        """Return how many octets are kept of it."""
        return self.template.size + self.signature.size + self.identity.size

    @property
    def key(self) -> object:
        """Return what tells it apart from others of its sender."""
        return self.template, self.policy, self.limits


@dataclass(frozen=True, slots=True)
class KnownMessage(Generic[_Content]):
    """An envelope that is like a known one: its values, and what it says."""

    envelope: KnownEnvelope[_Content]
    values: Sequence[bytes]
    content: _Content

    @property
    def identity(self) -> bytes:
        """Return the canonical form by which a repeated message is recognised."""
        return fill_template(self.envelope.identity, self.values)


def read_known_envelope(
    kind: EnvelopeKind[_Content], known: KnownEnvelope[_Content], document: bytes
) -> KnownMessage[_Content] | None:
    """Return what an envelope like a known one says; None for another one, or where a value is wrong."""
    values = match_template(known.template, document, known.count)
    said = None if values is None else read_message_values(known.numbers, values)
    if values is None or said is None:
        return None
    return KnownMessage(known, values, kind.change(known.content, said))


def learn_envelope(
    kind: EnvelopeKind[_Content], document: bytes, policy: str, limits: WireLimits
) -> KnownEnvelope[_Content] | None:
    """Return what can be known of envelopes like one that was accepted; None where it cannot be known."""
    if len(document) > LARGEST_ENVELOPE:
        return None
    try:
        return _learn(kind, document, policy, limits)
    except GatewayError:
        return None


def _learn(
    kind: EnvelopeKind[_Content], document: bytes, policy: str, limits: WireLimits
) -> KnownEnvelope[_Content] | None:
    first = kind.read(document, policy, limits)
    if first is None or _count_form_octets(first) > LARGEST_FORMS:
        return None
    found = find_envelope_values(
        first.header, first.content_ids, first.identifiers, first.signature.structure
    )
    like = None if found is None else write_like_envelope(document, found[0], limits)
    second = None if like is None else kind.read(like.document, policy, limits)
    if found is None or like is None or second is None:
        return None
    numbers = found[1]
    known = KnownEnvelope(
        like.template,
        len(like.values),
        numbers,
        first.content,
        learn_signature(second.signature, like.values, numbers.digests, numbers.signature),
        split_at_values(second.identity, like.values),
        policy,
        limits,
    )
    agrees = _agrees(kind, known, document, first) and _agrees(kind, known, like.document, second)
    return known if agrees else None


def _count_form_octets(read: ReadEnvelope[_Content]) -> int:
    forms = (one.octets for one in read.signature.targets if one.octets is not None)
    return len(read.identity) + len(read.signature.signed_info) + sum(map(len, forms))


def _agrees(
    kind: EnvelopeKind[_Content],
    known: KnownEnvelope[_Content],
    document: bytes,
    read: ReadEnvelope[_Content],
) -> bool:
    """Return whether what is known says of an envelope what the readers found in it."""
    message = read_known_envelope(kind, known, document)
    if message is None:
        return False
    identifiers = sorted(message.values[one].decode() for one in known.numbers.identifiers)
    return (
        message.content == read.content
        and message.identity == read.identity
        and identifiers == sorted(read.identifiers)
        and has_known_forms(known.signature, read.signature, message.values)
    )
