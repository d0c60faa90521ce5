"""How envelopes of ebMS 2.0 are read and changed that are like one before (`protocols.known_envelope`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.message_model import DigestReference, Receipt, UserMessage
from gateway.protocols.ebms2.header_blocks import HeaderBlocks, read_header_blocks
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import ENVELOPE_TYPE, ManifestReference, read_soap_body
from gateway.protocols.element_reader import make_eb_name
from gateway.protocols.envelope_values import HeaderElements, MessageValues
from gateway.protocols.known_envelope import EnvelopeKind, ReadEnvelope
from gateway.wire import DS, WireLimits, parse_xml, read_envelope
from gateway.xmlsec import get_signature_policy, list_ids, read_message_forms

__all__ = ["EBMS2_ENVELOPES", "Ebms2Content"]

_HEADER: Final = make_eb_name("MessageHeader")
_DATA: Final = f"{_HEADER}/{make_eb_name('MessageData')}"
_RECEIPT: Final = make_eb_name("Acknowledgment")
_PATHS: Final = (
    f"{_DATA}/{make_eb_name('MessageId')}",
    f"{_DATA}/{make_eb_name('Timestamp')}",
    f"{_DATA}/{make_eb_name('RefToMessageId')}",
    f"{_HEADER}/{make_eb_name('ConversationId')}",
    f"{_DATA}/{make_eb_name('TimeToLive')}",
    f"{_RECEIPT}/{make_eb_name('Timestamp')}",
    f"{_RECEIPT}/{make_eb_name('RefToMessageId')}",
)
_REPEATED: Final = f"{_RECEIPT}/{{{DS}}}Reference/{{{DS}}}DigestValue"
_CID: Final = "cid:"
#: Octets of the URI of a payload that an error names.
_LONGEST_PLACE: Final = 256


@dataclass(frozen=True, slots=True)
class Ebms2Content:
    """What an envelope says: its message without payloads, or its receipt, and the parts that it names.

    Of its header blocks it has what is the same in each envelope like it.
    """

    blocks: HeaderBlocks
    unit: UserMessage | Receipt
    manifest: tuple[ManifestReference, ...]


def _read(document: bytes, policy: str, limits: WireLimits) -> ReadEnvelope[Ebms2Content] | None:
    envelope = read_envelope(parse_xml(document, limits, envelope=True))
    if envelope.header is None:
        return None
    blocks, body = read_header_blocks(envelope.header), read_soap_body(envelope.body)
    unit, *bundled = make_units(MessageContent(blocks, body, ()))
    if not isinstance(unit, UserMessage | Receipt) or bundled or not _is_plain(blocks, unit):
        return None
    parts = tuple(one.content_id for one in body.manifest)
    forms = read_message_forms(envelope.root, parts, get_signature_policy(policy), limits)
    if forms.targets[0].octets is None:
        # What a signature covers is told in the order of its references, the envelope first.
        return None
    repeated = unit.references if isinstance(unit, Receipt) else ()
    return ReadEnvelope(
        Ebms2Content(_leave_out_values(blocks), unit, body.manifest),
        _find_elements(envelope.header),
        (*parts, *(one.uri[len(_CID) :] for one in repeated if one.uri.startswith(_CID))),
        tuple(list_ids(envelope.root)),
        forms,
    )


def _is_plain(blocks: HeaderBlocks, unit: UserMessage | Receipt) -> bool:
    """Return whether an envelope has one message, or one receipt of the To party's handler."""
    receipt = None if isinstance(unit, Receipt) else blocks.acknowledgment
    return receipt is None and blocks.hop_acknowledgment is None and blocks.error_list is None


def _leave_out_values(blocks: HeaderBlocks) -> HeaderBlocks:
    """Return header blocks without the values of one envelope, and without its elements."""
    header = replace(
        blocks.header,
        message_id="",
        timestamp=datetime.min,
        conversation_id="",
        ref_to_message_id=None,
        expires_at=None,
    )
    return replace(blocks, header=header, signature=None, acknowledgment=None)


def _find_elements(header: etree._Element) -> HeaderElements:
    message_id, timestamp, reference, conversation, expires, received, about = map(header.find, _PATHS)
    return HeaderElements(
        message_id,
        timestamp,
        about if reference is None else reference,
        conversation,
        expires,
        received,
        tuple(header.iterfind(_REPEATED)),
    )


def _change(content: Ebms2Content, said: MessageValues) -> Ebms2Content:
    names = iter(said.content_ids)
    manifest = tuple([_rename_part(one, next(names)) for one in content.manifest])
    changed: dict[str, Any] = {
        "message_id": said.message_id,
        "timestamp": said.timestamp,
        "conversation_id": said.conversation,
        "ref_to_message_id": said.reference,
    }
    if isinstance(content.unit, Receipt):
        changed["received_at"] = said.received
        changed["references"] = _change_references(content.unit.references, said.repeated, names)
    else:
        changed["expires_at"] = said.expires
    return Ebms2Content(content.blocks, replace(content.unit, **changed), manifest)


def _rename_part(named: ManifestReference, content_id: str) -> ManifestReference:
    return replace(named, content_id=content_id, location=f"{_CID}{content_id}"[:_LONGEST_PLACE])


def _change_references(
    references: Sequence[DigestReference], digests: Sequence[bytes], names: Iterator[str]
) -> tuple[DigestReference, ...]:
    """Return references that a receipt repeats with other digests, and other parts by their names."""
    return tuple(
        DigestReference(
            _CID + next(names) if one.uri.startswith(_CID) else one.uri,
            one.digest_algorithm,
            digest,
            one.transforms,
        )
        for one, digest in zip(references, digests, strict=True)
    )


EBMS2_ENVELOPES: Final = EnvelopeKind("ebms2", ENVELOPE_TYPE, b"X509Certificate>", _read, _change)
