"""How envelopes of AS4 are read and changed that are like one before (`protocols.known_envelope`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway.message_model import UserMessage
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.header_values import PartInfo, locate_part
from gateway.protocols.as4.packaging import SOAP_TYPE, find_messaging
from gateway.protocols.as4.signal_values import make_eb3_name
from gateway.protocols.envelope_values import HeaderElements, MessageValues
from gateway.protocols.known_envelope import EnvelopeKind, ReadEnvelope
from gateway.wire import WireLimits, canonicalize_element, parse_xml, read_envelope
from gateway.xmlsec import (
    find_swa_security,
    get_signature_policy,
    list_ids,
    list_signed_forms,
    read_swa_signature,
)

__all__ = ["AS4_ENVELOPES", "As4Content"]

_INFO: Final = make_eb3_name("MessageInfo")
_PATHS: Final = (
    f"{_INFO}/{make_eb3_name('MessageId')}",
    f"{_INFO}/{make_eb3_name('Timestamp')}",
    f"{_INFO}/{make_eb3_name('RefToMessageId')}",
    f"{make_eb3_name('CollaborationInfo')}/{make_eb3_name('ConversationId')}",
)


@dataclass(frozen=True, slots=True)
class As4Content:
    """The business message of an envelope without payloads, and the parts that it names."""

    unit: UserMessage
    parts: tuple[PartInfo, ...]


def _read(document: bytes, policy: str, limits: WireLimits) -> ReadEnvelope[As4Content] | None:
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    header = read_messaging(find_messaging(envelope))
    security = find_swa_security(envelope.root)
    if not isinstance(header.unit, UserMessage) or header.bundled or security is None:
        return None
    names = tuple(one.content_id for one in header.parts)
    # No certificate is known: it must be in the envelope.
    plan = read_swa_signature(
        security, (header.element, envelope.body), names, get_signature_policy(policy), limits=limits
    )
    message_id, timestamp, reference, conversation = map(header.unit_element.find, _PATHS)
    return ReadEnvelope(
        As4Content(header.unit, header.parts),
        HeaderElements(message_id, timestamp, reference, conversation),
        names,
        tuple(list_ids(envelope.root)),
        list_signed_forms(plan),
        canonicalize_element(header.unit_element, exclusive=True),
    )


def _change(content: As4Content, said: MessageValues) -> As4Content:
    unit = replace(
        content.unit,
        message_id=said.message_id,
        timestamp=said.timestamp,
        ref_to_message_id=said.reference,
        conversation_id=said.conversation,
    )
    parts = tuple(
        replace(part, content_id=name, location=locate_part(name))
        for part, name in zip(content.parts, said.content_ids, strict=True)
    )
    return As4Content(unit, parts)


AS4_ENVELOPES: Final = EnvelopeKind("as4", SOAP_TYPE, b"BinarySecurityToken>", _read, _change)
