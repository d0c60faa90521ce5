"""Opens signed SOAP envelopes that are like those that came before, but for what is in the Body.

A call or an answer that is opened so would be opened as a whole with the same result. One that is not, for
whatever reason, is opened as a whole, and that says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.pki import Certificate
from gateway.protocols.envelope_memory import EnvelopeMemory
from gateway.protocols.envelope_values import HeaderElements, MessageValues
from gateway.protocols.known_envelope import EnvelopeKind, KnownMessage, ReadEnvelope
from gateway.protocols.known_messages import keep_envelope, open_like_known
from gateway.wire import (
    DS,
    SOAP11,
    WSA,
    WSSE,
    WSU,
    AddressingHeaders,
    WireLimits,
    has_small_totals,
    parse_xml,
    read_addressing,
    read_envelope,
    split_at_body,
)
from gateway.xmlsec import (
    POLICIES,
    KnownSignature,
    SignaturePolicy,
    TimestampWindow,
    Transform,
    VerifiedSignature,
    apply_canonicalization,
    describe_known_signature,
    get_signature_policy,
    has_right_signature,
    is_within_window,
    list_ids,
    list_soap_forms,
)

__all__ = [
    "SOAP_ANSWERS",
    "SOAP_CALLS",
    "KnownSoap",
    "SoapTerms",
    "holds_unknown_content",
    "open_known_soap",
    "remember_soap",
]

_ENVELOPE, _BODY = f"{{{SOAP11}}}Envelope", f"{{{SOAP11}}}Body"
#: Elements that an envelope has once at most, wherever they stand.
_ONCE: Final = (
    *(_ENVELOPE, f"{{{SOAP11}}}Header", _BODY, f"{{{WSSE}}}Security", f"{{{WSSE}}}BinarySecurityToken"),
    *(f"{{{WSU}}}Timestamp", f"{{{DS}}}Signature"),
)
#: What may follow the identifier of an element: the sign is rarer than the letters of its name.
_IDENTIFIER: Final = re.compile(rb"=(?:(?<=[\s:][Ii][Dd]=)|(?<=[Dd]\s=)|(?<=\s\s=))")
#: Octets that an attribute has at least.
_SHORTEST_ATTRIBUTE: Final = 4


@dataclass(frozen=True, slots=True)
class SoapTerms:
    """How the signature of an envelope is verified; what is known of an envelope holds for these alone."""

    policy: SignaturePolicy
    limits: WireLimits
    window: TimestampWindow


@dataclass(frozen=True, slots=True)
class KnownSoap:
    """What an envelope says under a verified signature; its signer is not judged yet.

    `root` is the envelope without its header. All in it is signed.
    """

    known: KnownSignature
    values: Sequence[bytes]
    addressing: AddressingHeaders
    root: etree._Element

    @property
    def certificate(self) -> Certificate:
        """Return the certificate of the verified signature."""
        return self.known.certificate

    @property
    def signature(self) -> VerifiedSignature:
        """Return what the verified signature covers."""
        found = describe_known_signature(self.known, self.values)
        assert found is not None, "each digest was compared"
        return found

    @property
    def content(self) -> list[etree._Element]:
        """Return the elements directly in the Body."""
        return list(self.root[0].iterchildren("*"))


@dataclass(frozen=True, slots=True)
class _SoapHeader:
    """What the header of an envelope says, and how its Body is canonicalised."""

    addressing: AddressingHeaders
    body_method: Transform


SoapKind = EnvelopeKind[_SoapHeader]


def holds_unknown_content(octets: bytes) -> bool:
    """Return whether there is something of which nothing is known.

    These are comments and sections, and what may be the identifier of an element.
    """
    if b"<!" in octets or octets.count(b"=") * _SHORTEST_ATTRIBUTE > len(octets):
        return True
    return _IDENTIFIER.search(octets) is not None


def open_known_soap(
    kind: SoapKind, document: bytes, terms: SoapTerms, now: datetime, memory: EnvelopeMemory[Any]
) -> KnownSoap | None:
    """Return an envelope whose signature and Timestamp are right; None where none like it is known."""
    split = split_at_body(document)
    if split is None or holds_unknown_content(split.content):
        return None
    if not has_small_totals(document, terms.limits):
        return None
    framed = split.framed
    return open_like_known(kind, memory, split.hollow, lambda message: _open(message, framed, terms, now))


def _open(
    message: KnownMessage[_SoapHeader], framed: bytes, terms: SoapTerms, now: datetime
) -> KnownSoap | None:
    envelope, header, values = message.envelope, message.content, message.values
    if (POLICIES.get(envelope.policy), envelope.limits) != (terms.policy, terms.limits):
        return None
    numbers = envelope.numbers
    if numbers.expires is None or not is_within_window(
        values[numbers.timestamp].decode(), values[numbers.expires].decode(), now, terms.window
    ):
        return None
    root = parse_xml(framed, terms.limits, envelope=True)
    # What is between the tags may end the Body, and begin another element under that name.
    if len(root) != 1 or [one.tag for one in root.iter(*_ONCE)] != [_ENVELOPE, _BODY]:
        return None
    # The Body is the one part whose form is not known.
    is_right = has_right_signature(
        envelope.signature,
        values,
        lambda _: apply_canonicalization(root[0], header.body_method),
        lambda _: None,
    )
    return KnownSoap(envelope.signature, values, header.addressing, root) if is_right else None


def remember_soap(
    kind: SoapKind, document: bytes, certificate: Certificate, terms: SoapTerms, memory: EnvelopeMemory[Any]
) -> None:
    """Learn an envelope that was accepted as a whole, if it is worth it.

    What its receiver demands of header blocks holds for those like it, and is not looked at again: what is
    learned as of a `kind` is for the receivers of that kind.
    """
    split = split_at_body(document)
    if split is not None and POLICIES.get(terms.policy.name) == terms.policy:
        keep_envelope(kind, memory, split.hollow, certificate, terms.policy.name, terms.limits)


def _read(document: bytes, policy: str, limits: WireLimits) -> ReadEnvelope[_SoapHeader] | None:
    """Return what is in an envelope with an empty Body."""
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
        _SoapHeader(said, forms.body_method),
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


def _change(header: _SoapHeader, said: MessageValues) -> _SoapHeader:
    same = header.addressing
    addressing = AddressingHeaders(same.action, said.message_id, same.to, said.reference)
    return _SoapHeader(addressing, header.body_method)


SOAP_ANSWERS: Final = EnvelopeKind("soap-answer", "text/xml", b"BinarySecurityToken>", _read, _change)
SOAP_CALLS: Final = replace(SOAP_ANSWERS, protocol="soap-call")
