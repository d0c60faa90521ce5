"""Opens messages by envelopes like theirs that were read before; any other message is opened as a whole.

Only the reading is left out. A learned envelope has the octets that its readers found signed in it; of each
message like it the same checks are made over its own octets, by the same functions.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Generic, TypeVar

from gateway.errors import GatewayError, confirm_refusal, find_refusal_id
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, ProtocolCore, SentUnit
from gateway.protocols.known_envelopes.envelope_templates import (
    Filler,
    ObjectTemplates,
    TextTemplate,
    are_names_distinct,
    find_envelope_values,
    split_document,
)
from gateway.wire import RelatedParts, WireLimits, parse_xml, prescan_xml

_MAX_SENDERS: Final = 256
_MAX_ENVELOPES: Final = 8
#: The number of the last characters of a certificate by which its sender is known.
_SENDER_LENGTH: Final = 64
_CERTIFICATE_ENDS: Final = (b"X509Certificate>", b"BinarySecurityToken>")
#: To learn an envelope takes as long as to read some six messages. Of a sender, the first
#: `_FIRST_LEARNED_COUNT` are learned, then one of each `_UNKNOWN_PER_LEARNED` that were not known.
_FIRST_LEARNED_COUNT: Final = 16
_UNKNOWN_PER_LEARNED: Final = 64
_Envelope = TypeVar("_Envelope")


def find_sender_key(document: bytes) -> bytes:
    """Return the end of the certificate in an envelope, unproved; empty where there is none."""
    end = max(map(document.rfind, _CERTIFICATE_ENDS))
    position = document.rfind(b"</", 0, max(0, end))
    return b"" if position < 0 else document[max(0, position - _SENDER_LENGTH) : position]


class _SenderState(Generic[_Envelope]):
    """The envelopes of one sender, the last learned first, and how many of its messages were not known."""

    __slots__ = ("envelopes", "unknown_count")

    def __init__(self) -> None:
        self.envelopes: tuple[_Envelope, ...] = ()
        self.unknown_count = 0


class EnvelopeMemory(Generic[_Envelope]):
    """The envelopes of each sender; it may be used by several threads."""

    def __init__(self) -> None:
        self._states_by_sender: OrderedDict[bytes, _SenderState[_Envelope]] = OrderedDict()
        self._lock = Lock()

    def list_envelopes(self, sender_key: bytes) -> tuple[_Envelope, ...]:
        """Return the envelopes of a sender, the last learned first."""
        sender_state = self._states_by_sender.get(sender_key)
        return () if sender_state is None else sender_state.envelopes

    def record_unknown_envelope(self, sender_key: bytes) -> bool:
        """Count an envelope that was not known; return whether to learn it is worth the time."""
        with self._lock:
            sender_state = self._get_sender_state(sender_key)
            sender_state.unknown_count += 1
            return (
                sender_state.unknown_count <= _FIRST_LEARNED_COUNT
                or sender_state.unknown_count % _UNKNOWN_PER_LEARNED == 0
            )

    def add_envelope(self, sender_key: bytes, envelope: _Envelope) -> None:
        """Keep an envelope of a sender, and leave out its oldest one where there are too many."""
        with self._lock:
            sender_state = self._get_sender_state(sender_key)
            sender_state.envelopes = (envelope, *sender_state.envelopes[: _MAX_ENVELOPES - 1])

    def _get_sender_state(self, sender_key: bytes) -> _SenderState[_Envelope]:
        """Return the state of a sender; if there are too many, drop the sender that was used longest ago."""
        sender_state = self._states_by_sender.setdefault(sender_key, _SenderState())
        self._states_by_sender.move_to_end(sender_key)
        if len(self._states_by_sender) > _MAX_SENDERS:
            self._states_by_sender.popitem(last=False)
        return sender_state


#: Octets of an envelope that is learned: a larger one lists things, and no two lists are alike.
_MAX_ENVELOPE_OCTETS: Final = 32 * 1024


@dataclass(frozen=True)
class KnownEnvelope:
    """The common parts of envelopes that one program writes, as they were read by a policy and within limits.

    `identifiers` and `content_ids` are the numbers of such values.
    """

    protocol: str
    policy: str
    limits: WireLimits
    template: TextTemplate
    identifiers: tuple[int, ...]
    content_ids: tuple[int, ...]
    fill_reading: Filler

    def make_reading(self, document: bytes) -> Any:
        """Return the reading of an envelope of this form; None for another envelope."""
        values = self.template.match(document)
        if values is None:
            return None
        identifiers = [values[number] for number in self.identifiers]
        if not are_names_distinct(identifiers, [values[number] for number in self.content_ids]):
            return None
        try:
            return self.fill_reading(values)
        except ValueError:
            return None


class KnownEnvelopes:
    """Opens messages for every protocol core, and remembers their envelopes; threads may share it."""

    def __init__(self) -> None:
        self._memory: EnvelopeMemory[KnownEnvelope] = EnvelopeMemory()

    def open_units(
        self,
        core: ProtocolCore,
        parcel: Parcel,
        context: ProtocolContext,
        expected_unit: SentUnit | None = None,
    ) -> OpenedMessage:
        """Return the units of a parcel after all checks, as `core.open_units` does; raise GatewayError."""
        related, is_refused, opened = parcel.read_parts(context.limits), False, None
        try:
            opened = self.open_by_envelope(core, related, parcel, context, expected_unit)
        except GatewayError as refusal:
            # A whole reading reports the problem, or finds that there is none.
            is_refused = find_refusal_id(refusal) is not None
        if opened is None:
            opened = confirm_refusal(
                lambda: core.open_related(related, parcel, context, expected_unit),
                is_already_refused=is_refused,
            )
            # A failure here does not refuse a message that was accepted.
            with suppress(Exception):
                self._learn_envelope(core, related.root.content, opened, context.limits)
        return opened

    def open_by_envelope(
        self,
        core: ProtocolCore,
        related: RelatedParts,
        parcel: Parcel,
        context: ProtocolContext,
        expected_unit: SentUnit | None = None,
    ) -> OpenedMessage | None:
        """Return a message after all checks, by a known envelope; None for one that must be read as a whole.

        Only the first known envelope of its form is tried: a forged message may be like many. Raises
        GatewayError where a check fails.
        """
        document = related.root.content
        for envelope in self._memory.list_envelopes(find_sender_key(document)):
            if (envelope.protocol, envelope.limits) != (core.name, context.limits):
                continue
            reading = envelope.make_reading(document)
            if reading is not None:
                return core.open_reading(reading, envelope.policy, related, parcel, context, expected_unit)
        return None

    def _learn_envelope(
        self, core: ProtocolCore, document: bytes, opened: OpenedMessage, limits: WireLimits
    ) -> None:
        """Learn the envelope of a message that was accepted, for the signer that was verified."""
        if opened.verified_signature is None or opened.pmode is None or len(document) > _MAX_ENVELOPE_OCTETS:
            return
        sender_key = find_sender_key(document)
        if not sender_key or not base64.b64encode(opened.verified_signature.certificate.der).endswith(
            sender_key
        ):
            return
        if self._memory.record_unknown_envelope(sender_key):
            envelope = learn_envelope(core, document, opened.pmode.security.policy, limits)
            if envelope is not None:
                self._memory.add_envelope(sender_key, envelope)


def learn_envelope(
    core: ProtocolCore, document: bytes, policy: str, limits: WireLimits
) -> KnownEnvelope | None:
    """Return the form of an envelope, by which others like it are read; None where the form is not certain.

    A second envelope with made-up values is read, too: the form must give the same reading as the reader for
    both of them. Raises GatewayError for an envelope that cannot be read.
    """
    first_reading = core.read_envelope(document, policy, limits)
    envelope_values = find_envelope_values(parse_xml(document, limits, is_envelope=True))
    if first_reading is None or envelope_values is None or b"<!" in document:
        return None
    base64_numbers, substitutes = envelope_values.list_numbers("base64"), envelope_values.make_substitutes()
    template = split_document(document, envelope_values.values, base64_numbers)
    if set(template.value_numbers) != set(range(len(substitutes))) or _has_namespace_value(template):
        return None
    for length in (1, 512):
        # Each limit grows or falls with the length of a value.
        prescan_xml(template.fill([b"a" * length] * len(substitutes)), limits, is_envelope=True)
    second_document = template.fill(substitutes)
    second_reading = core.read_envelope(second_document, policy, limits)
    fill_reading = ObjectTemplates(
        substitutes, envelope_values.list_numbers("time"), base64_numbers
    ).make_filler(second_reading)
    if fill_reading is None or any(value in document for value in substitutes):
        return None
    envelope = KnownEnvelope(
        core.name,
        policy,
        limits,
        template,
        envelope_values.list_numbers("identifier"),
        envelope_values.list_numbers("content_id"),
        fill_reading,
    )
    return (
        envelope
        if (envelope.make_reading(document), envelope.make_reading(second_document))
        == (first_reading, second_reading)
        else None
    )


def _has_namespace_value(template: TextTemplate) -> bool:
    """Return whether a value is the name of a namespace, which determines the order of attributes."""
    return any(constant.lower().endswith(b'xmlns:id="') for constant in template.constants)


#: Opens every message of the process; without this folder, `ProtocolCore.open_units` does.
open_message: Final = KnownEnvelopes().open_units
