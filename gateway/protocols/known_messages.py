"""Opens messages whose envelopes are like those that came before, whatever their protocol.

A message that is opened so would be opened as a whole with the same result. One that is not, for whatever
reason, is opened as a whole, and that says what is wrong with it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from types import UnionType
from typing import Any, TypeVar

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.pki import Certificate
from gateway.protocols.core import OpenedMessage, ProtocolContext
from gateway.protocols.envelope_memory import EnvelopeMemory
from gateway.protocols.known_envelope import (
    LARGEST_ENVELOPE,
    EnvelopeKind,
    KnownMessage,
    learn_envelope,
    read_known_envelope,
)
from gateway.wire import RelatedParts, WireLimits

__all__ = ["is_plain_message", "keep_envelope", "open_by_envelope", "open_like_known", "remember_envelope"]

_Content = TypeVar("_Content")
_Opened = TypeVar("_Opened")


def open_by_envelope(
    kind: EnvelopeKind[_Content],
    related: RelatedParts,
    context: ProtocolContext,
    open_message: Callable[[KnownMessage[_Content]], OpenedMessage | None],
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails.

    `open_message` makes the checks; it returns None or raises for what fails.
    """
    if context.envelopes is None or related.root.media_type != kind.media_type:
        return None
    return open_like_known(kind, context.envelopes, related.root.content, open_message)


def open_like_known(
    kind: EnvelopeKind[_Content],
    memory: EnvelopeMemory[Any],
    document: bytes,
    open_message: Callable[[KnownMessage[_Content]], _Opened | None],
) -> _Opened | None:
    """Return what `open_message` makes of an envelope like a known one of its sender; None where it fails."""
    sender = memory.find_sender(kind.protocol, document, kind.certificate_end)
    for known in memory.list_envelopes(sender):
        message = read_known_envelope(kind, known, document)
        if message is None:
            continue
        try:
            opened = open_message(message)
        except GatewayError:
            # What is refused is looked at again as a whole: it costs up to twice as much.
            return None
        if opened is not None:
            memory.note_met(sender, known)
            return opened
    return None


def is_plain_message(opened: OpenedMessage, kinds: type | UnionType = UserMessage) -> bool:
    """Return whether this is one signed message of `kinds` to us, neither encrypted nor a fragment."""
    return (
        isinstance(opened.unit, kinds)
        and len(opened.units) == 1
        and opened.signed is not None
        and opened.onward is None
        and opened.fragment is None
        and not any(one.key for one in opened.unwrapped)
    )


def remember_envelope(
    kind: EnvelopeKind[_Content], opened: OpenedMessage, document: bytes, context: ProtocolContext
) -> None:
    """Learn the envelope of a plain message that was opened as a whole, if it is worth it."""
    if context.envelopes is not None and opened.signed is not None and opened.pmode is not None:
        policy, limits = opened.pmode.security.policy, context.limits
        keep_envelope(kind, context.envelopes, document, opened.signed.certificate, policy, limits)


def keep_envelope(
    kind: EnvelopeKind[_Content],
    memory: EnvelopeMemory[Any],
    document: bytes,
    certificate: Certificate,
    policy: str,
    limits: WireLimits,
) -> None:
    """Learn an envelope that was accepted, for the signer that was verified, if it is worth it.

    Nothing that goes wrong here refuses what was accepted.
    """
    if len(document) > LARGEST_ENVELOPE:
        return
    sender = memory.find_sender(kind.protocol, document, kind.certificate_end)
    if sender != memory.make_sender(kind.protocol, base64.b64encode(certificate.der)):
        return
    for known in memory.list_envelopes(sender):
        alike = (known.policy, known.limits) == (policy, limits)
        if alike and read_known_envelope(kind, known, document) is not None:
            return
    if memory.take_credit(sender):
        with suppress(Exception):
            learned = learn_envelope(kind, document, policy, limits)
            if learned is not None:
                memory.add(sender, learned)
