"""Business messages of ours with one payload that differ in their values only: each is sealed as text.

What is written of them depends on the agreement, on the certificate, and on values that are written as they
are. So the text of messages with the same terms is written as any other message once, in whole, and split at
its values. Whatever has another value, or more than that, is written as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.message_model import (
    AckRequest,
    DigestReference,
    MemoryBody,
    Party,
    Payload,
    UserMessage,
)
from gateway.pki import Certificate, Signer
from gateway.protocols.core import Parcel, SentUnit
from gateway.protocols.ebms2.envelope_writer import NAMESPACES, format_instant, write_envelope
from gateway.protocols.ebms2.message_signature import sign_envelope
from gateway.protocols.ebms2.packaging import build_parcel, make_boundary
from gateway.protocols.signed_references import to_model_reference
from gateway.wire import TextTemplate, fill_template, split_at_values
from gateway.xmlsec import SHA256

__all__ = ["seal_by_form"]

#: What is written as it is in a text, an attribute, a URI and a header field, and is no longer than allowed.
_PLAIN: Final = re.compile(r"[A-Za-z0-9+/=.@:_\-]{1,255}")
#: A message that has any of these is written as a whole.
_NOT_WRITTEN: Final = (
    *("expires_at", "description", "sequence"),
    *("mpc", "properties", "agreement_type", "pmode_named"),
)


class _Terms(NamedTuple):
    """What the messages of one form have in common."""

    sender: Party
    receiver: Party
    agreement: str
    service: str
    service_type: str | None
    action: str
    duplicate_elimination: bool
    ack_requested: AckRequest | None
    hop_ack_requested: AckRequest | None
    sync_reply: bool
    answers: bool
    media_type: str
    certificate: Certificate
    algorithm: str


class _Values(NamedTuple):
    """What differs between them: what is given, and what follows from that."""

    message_id: bytes
    conversation: bytes
    timestamp: bytes
    reference: bytes
    content_id: bytes
    content: bytes
    whole_digest: bytes = b""
    content_digest: bytes = b""
    signature: bytes = b""
    envelope: bytes = b""
    boundary: bytes = b""


@dataclass(frozen=True, slots=True)
class _MessageForm:
    """The texts of such messages, and the transforms of what is signed of their envelope."""

    signable: TextTemplate
    signed_info: TextTemplate
    envelope: TextTemplate
    content_type: TextTemplate
    body: TextTemplate
    soap_action: str
    transforms: tuple[tuple[str, ...], ...]


def seal_by_form(unit: UserMessage, signer: Signer) -> Parcel | None:
    """Return a message that is signed, neither compressed nor encrypted; None where it has no form."""
    given = _read_values(unit)
    form = None if given is None else _find_form(_read_terms(unit, signer))
    if given is None or form is None:
        return None
    whole = hashlib.sha256(fill_template(form.signable, given)).digest()
    content = hashlib.sha256(given.content).digest()
    values = [*given]
    values[_WHOLE_DIGEST], values[_CONTENT_DIGEST] = base64.b64encode(whole), base64.b64encode(content)
    values[_SIGNATURE] = base64.b64encode(signer.sign(fill_template(form.signed_info, values)))
    values[_ENVELOPE] = fill_template(form.envelope, values)
    values[_BOUNDARY] = boundary = make_boundary(values[_ENVELOPE]).encode()
    if boundary in given.content or boundary in values[_ENVELOPE]:
        return None
    headers = {
        "Content-Type": fill_template(form.content_type, values).decode(),
        "SOAPAction": form.soap_action,
    }
    references = (
        DigestReference("", SHA256, whole, form.transforms),
        DigestReference(f"cid:{unit.payloads[0].content_id}", SHA256, content),
    )
    sent = SentUnit(replace(unit, payloads=()), references)
    return Parcel(headers, MemoryBody(fill_template(form.body, values)), sent=sent)


_WHOLE_DIGEST, _CONTENT_DIGEST, _SIGNATURE, _ENVELOPE, _BOUNDARY = map(
    _Values._fields.index, ("whole_digest", "content_digest", "signature", "envelope", "boundary")
)


def _read_values(unit: UserMessage) -> _Values | None:
    """Return the values of a message; None where it has other ones, or one that is not written as it is."""
    if len(unit.payloads) != 1 or any(getattr(unit, name) for name in _NOT_WRITTEN):
        return None
    (payload,) = unit.payloads
    # One that is given and empty is written as a whole, and refused there.
    reference = "none" if unit.ref_to_message_id is None else unit.ref_to_message_id
    moment = format_instant(unit.timestamp)
    texts = (unit.message_id, unit.conversation_id, moment, reference, payload.content_id)
    plain = all(map(_PLAIN.fullmatch, texts)) and unit.message_id.casefold() != payload.content_id.casefold()
    if not plain or payload.properties or not isinstance(payload.octets, bytes):
        return None
    message, conversation, timestamp, referred, content_id = map(str.encode, texts)
    return _Values(message, conversation, timestamp, referred, content_id, payload.octets)


def _read_terms(unit: UserMessage, signer: Signer) -> _Terms:
    return _Terms(
        unit.sender,
        unit.receiver,
        unit.agreement,
        unit.service,
        unit.service_type,
        unit.action,
        unit.duplicate_elimination,
        unit.ack_requested,
        unit.hop_ack_requested,
        unit.sync_reply,
        unit.ref_to_message_id is not None,
        unit.payloads[0].media_type,
        signer.certificate,
        signer.algorithm,
    )


@lru_cache(maxsize=256)
def _find_form(terms: _Terms) -> _MessageForm | None:
    """Return the form of messages with these terms; None where another one of them is not written so."""
    first, second = (_write_example(terms, moment) for moment in _MOMENTS)
    parts = [
        split_at_values(text, first.values[:known])
        for text, known in zip(first.texts, _KNOWN_BEFORE, strict=True)
    ]
    if [fill_template(part, second.values) for part in parts] != second.texts:
        return None
    signable, signed_info, envelope, content_type, body = parts
    return _MessageForm(
        signable, signed_info, envelope, content_type, body, first.soap_action, first.transforms
    )


#: So many values are known when a text of a form is written: the envelope is one of the last.
_KNOWN_BEFORE: Final = (_WHOLE_DIGEST, _SIGNATURE, _ENVELOPE, len(_Values._fields), len(_Values._fields))
_MOMENTS: Final = (
    datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
    datetime(2011, 12, 13, 14, 15, 16, 171000, tzinfo=UTC),
)


class _Example(NamedTuple):
    """A message with made-up values, and its texts in the order of those of a form."""

    values: _Values
    texts: list[bytes]
    soap_action: str
    transforms: tuple[tuple[str, ...], ...]


class _NotingSigner:
    """Signs nothing, but notes what is to be signed."""

    def __init__(self, terms: _Terms, value: bytes) -> None:
        self.certificate = terms.certificate
        self.algorithm = terms.algorithm
        self.noted = b""
        self._value = value

    def sign(self, data: bytes) -> bytes:
        """Return the same value for all data."""
        self.noted = data
        return self._value


def _write_example(terms: _Terms, moment: datetime) -> _Example:
    """Return a message as it is written as a whole, whose values stand nowhere else in it."""
    name = moment.strftime("%Y-of-example")
    content = f"<content-{name}/>".encode()
    payload = Payload(f"content-id-{name}", terms.media_type, content)
    unit = UserMessage(
        message_id=f"message-id-{name}",
        conversation_id=f"conversation-{name}",
        sender=terms.sender,
        receiver=terms.receiver,
        agreement=terms.agreement,
        timestamp=moment,
        service=terms.service,
        service_type=terms.service_type,
        action=terms.action,
        ref_to_message_id=f"reference-{name}" if terms.answers else None,
        duplicate_elimination=terms.duplicate_elimination,
        ack_requested=terms.ack_requested,
        hop_ack_requested=terms.hop_ack_requested,
        sync_reply=terms.sync_reply,
        payloads=(payload,),
    )
    signer = _NotingSigner(terms, name.encode() * 4)
    written = write_envelope((unit,))
    signable = written.signable_octets
    signature = sign_envelope(signable, NAMESPACES, {payload.content_id: content}, signer)
    envelope = written.with_signature(signature.text)
    parcel = build_parcel(envelope, unit.payloads, unit.message_id)
    whole, of_content = (base64.b64encode(one.digest_value) for one in signature.references)
    values = _Values(
        unit.message_id.encode(),
        unit.conversation_id.encode(),
        format_instant(moment).encode(),
        f"reference-{name}".encode(),
        payload.content_id.encode(),
        content,
        whole,
        of_content,
        base64.b64encode(name.encode() * 4),
        envelope,
        make_boundary(envelope).encode(),
    )
    content_type = parcel.get_header("Content-Type").encode()
    texts = [signable, signer.noted, envelope, content_type, parcel.read_octets()]
    transforms = to_model_reference(signature.references[0]).transforms
    return _Example(values, texts, parcel.get_header("SOAPAction"), transforms)
