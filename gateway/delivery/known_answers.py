"""Opens answers whose envelopes are like those that came before, but for what is in the Body.

An answer that is opened so would be opened as a whole with the same result. One that is not, for whatever
reason, is opened as a whole, and that says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.pki import Certificate
from gateway.protocols import (
    EnvelopeKind,
    EnvelopeMemory,
    HeaderElements,
    KnownMessage,
    MessageValues,
    ReadEnvelope,
    keep_envelope,
    read_known_envelope,
)
from gateway.wire import (
    DS,
    SOAP11,
    WSA,
    WSSE,
    WSU,
    WireLimits,
    has_small_totals,
    parse_xml,
    read_addressing,
    read_envelope,
    split_at_body,
)
from gateway.xmlsec import (
    POLICIES,
    SignaturePolicy,
    TimestampWindow,
    Transform,
    apply_canonicalization,
    get_signature_policy,
    is_within_window,
    list_ids,
    list_soap_forms,
    verify_known_signature,
)

__all__ = [
    "ANSWERS",
    "UNKNOWN_CONTENT",
    "AnswerTerms",
    "SignedAnswer",
    "open_known_answer",
    "remember_answer",
]

_ENVELOPE, _BODY = f"{{{SOAP11}}}Envelope", f"{{{SOAP11}}}Body"
#: Elements that an answer has once at most, wherever they stand.
_ONCE: Final = (
    *(_ENVELOPE, f"{{{SOAP11}}}Header", _BODY, f"{{{WSSE}}}Security", f"{{{WSSE}}}BinarySecurityToken"),
    *(f"{{{WSU}}}Timestamp", f"{{{DS}}}Signature"),
)
#: What nothing is known of: comments and sections, and what may be the identifier of an element.
UNKNOWN_CONTENT: Final = re.compile(rb"<!|[\s:][Ii][Dd]\s*=")


@dataclass(frozen=True, slots=True)
class AnswerTerms:
    """How the signature of an answer is verified; what is known of an answer holds for these alone."""

    policy: SignaturePolicy
    limits: WireLimits
    window: TimestampWindow


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What an answer says under a verified signature; whose it is, and to what, is not judged yet."""

    certificate: Certificate
    action: str
    relates_to: str | None
    content: Sequence[etree._Element]


@dataclass(frozen=True, slots=True)
class _AnswerHeader:
    """What the header of an answer says, and how its Body is canonicalised."""

    action: str
    relates_to: str | None
    body_method: Transform


def open_known_answer(
    document: bytes, terms: AnswerTerms, now: datetime, memory: EnvelopeMemory[Any]
) -> SignedAnswer | None:
    """Return an answer whose signature and Timestamp are right; None where none like it is known."""
    split = split_at_body(document)
    if split is None or UNKNOWN_CONTENT.search(split.content) or not has_small_totals(document, terms.limits):
        return None
    sender = memory.find_sender(ANSWERS.protocol, split.hollow, ANSWERS.certificate_end)
    for known in memory.list_envelopes(sender):
        if (POLICIES.get(known.policy), known.limits) != (terms.policy, terms.limits):
            continue
        message = read_known_envelope(ANSWERS, known, split.hollow)
        if message is None:
            continue
        try:
            answer = _open(message, split.framed, terms, now)
        except GatewayError:
            return None
        if answer is not None:
            memory.note_met(sender, known)
            return answer
    return None


def _open(
    message: KnownMessage[_AnswerHeader], framed: bytes, terms: AnswerTerms, now: datetime
) -> SignedAnswer | None:
    envelope, header, values = message.envelope, message.content, message.values
    numbers = envelope.numbers
    if numbers.expires is None or not is_within_window(
        values[numbers.timestamp].decode(), values[numbers.expires].decode(), now, terms.window
    ):
        return None
    root = parse_xml(framed, terms.limits, envelope=True)
    if [one.tag for one in root.iter(*_ONCE)] != [_ENVELOPE, _BODY]:
        return None
    body = root[0]
    # The Body is the one part whose form is not known.
    signed = verify_known_signature(
        envelope.signature,
        values,
        lambda _: apply_canonicalization(body, header.body_method),
        lambda _: None,
    )
    if signed is None:
        return None
    return SignedAnswer(signed.certificate, header.action, header.relates_to, list(body.iterchildren("*")))


def remember_answer(
    document: bytes, certificate: Certificate, terms: AnswerTerms, memory: EnvelopeMemory[Any]
) -> None:
    """Learn the envelope of an answer that was accepted as a whole, if it is worth it."""
    split = split_at_body(document)
    if split is not None and POLICIES.get(terms.policy.name) == terms.policy:
        keep_envelope(ANSWERS, memory, split.hollow, certificate, terms.policy.name, terms.limits)


def _read(document: bytes, policy: str, limits: WireLimits) -> ReadEnvelope[_AnswerHeader] | None:
    """Return what is in an answer with an empty Body."""
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    split = split_at_body(document)
    if envelope.header is None or split is None or split.hollow != document:
        return None
    if not _has_same_frame(envelope.root, parse_xml(split.framed, limits, envelope=True)):
        return None
    said = read_addressing(envelope.header)
    forms = list_soap_forms(envelope.root, get_signature_policy(policy))
    created, expires = forms.timestamp
    relation = envelope.header.find(f"{{{WSA}}}RelatesTo")
    return ReadEnvelope(
        _AnswerHeader(said.action, said.relates_to, forms.body_method),
        HeaderElements(envelope.header.find(f"{{{WSA}}}MessageID"), created, relation, None, expires),
        (),
        tuple(list_ids(envelope.root)),
        forms.signature,
    )


def _has_same_frame(root: etree._Element, framed: etree._Element) -> bool:
    """Return whether the Body is empty and has the same ancestors in both, but for what is before it."""
    whole, alone = (
        [(one.tag, one.nsmap, dict(one.attrib)) for one in (top, top[-1])] for top in (root, framed)
    )
    return whole == alone and len(framed) == 1 and not (len(root[-1]) or root[-1].text)


def _change(header: _AnswerHeader, said: MessageValues) -> _AnswerHeader:
    return replace(header, relates_to=said.reference)


ANSWERS: Final = EnvelopeKind("soap-answer", "text/xml", b"BinarySecurityToken>", _read, _change)
