"""How envelopes of ebMS 2.0 are read and changed that are like one before (`protocols.known_envelope`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.message_model import UserMessage
from gateway.protocols.ebms2.header_blocks import HeaderBlocks, read_header_blocks
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import ENVELOPE_TYPE, ManifestReference, read_soap_body
from gateway.protocols.element_reader import make_eb_name
from gateway.protocols.envelope_values import HeaderElements, MessageValues
from gateway.protocols.known_envelope import EnvelopeKind, ReadEnvelope
from gateway.wire import WireLimits, parse_xml, read_envelope
from gateway.xmlsec import get_signature_policy, list_ids, read_message_forms

__all__ = ["EBMS2_ENVELOPES", "Ebms2Content"]

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
class Ebms2Content:
    """The header blocks of an envelope, its message without payloads, and the parts that it names."""

    blocks: HeaderBlocks
    unit: UserMessage
    manifest: tuple[ManifestReference, ...]


def _read(document: bytes, policy: str, limits: WireLimits) -> ReadEnvelope[Ebms2Content] | None:
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    if envelope.header is None:
        return None
    blocks, body = read_header_blocks(envelope.header), read_soap_body(envelope.body)
    beside = (blocks.acknowledgment, blocks.hop_acknowledgment, blocks.error_list)
    unit, *bundled = make_units(MessageContent(blocks, body, ()))
    if not isinstance(unit, UserMessage) or bundled or any(one is not None for one in beside):
        return None
    names = tuple(one.content_id for one in body.manifest)
    forms = read_message_forms(envelope.root, names, get_signature_policy(policy), limits)
    if forms.targets[0].octets is None:
        # What a signature covers is told in the order of its references, the envelope first.
        return None
    return ReadEnvelope(
        # The element of the signature is of this envelope alone.
        Ebms2Content(replace(blocks, signature=None), unit, body.manifest),
        HeaderElements(*map(envelope.header.find, _PATHS)),
        names,
        tuple(list_ids(envelope.root)),
        forms,
    )


def _change(content: Ebms2Content, said: MessageValues) -> Ebms2Content:
    changed: dict[str, Any] = {
        "message_id": said.message_id,
        "timestamp": said.timestamp,
        "ref_to_message_id": said.reference,
        "conversation_id": said.conversation,
        "expires_at": said.expires,
    }
    manifest = tuple(
        replace(one, content_id=name, location=f"cid:{name}"[:_LONGEST_PLACE])
        for one, name in zip(content.manifest, said.content_ids, strict=True)
    )
    blocks = replace(content.blocks, header=replace(content.blocks.header, **changed))
    return Ebms2Content(blocks, replace(content.unit, **changed), manifest)


EBMS2_ENVELOPES: Final = EnvelopeKind("ebms2", ENVELOPE_TYPE, b"X509Certificate>", _read, _change)
