"""Seals units into a parcel: written, signed, compressed and encrypted as the P-Mode says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from lxml import etree

from gateway.agreements import SIGNAL_SERVICE, PMode
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import (
    NEXT_MSH,
    TO_PARTY_MSH,
    AckRequest,
    DigestReference,
    ErrorSignal,
    Party,
    Ping,
    PullRequest,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.core import Parcel, ProtocolContext, SentUnit
from gateway.protocols.ebms2.encrypted_payloads import compress_payloads, encrypt_payloads
from gateway.protocols.ebms2.header_blocks import require_agreed_order, write_message_order
from gateway.protocols.ebms2.message_reading import needs_signature, sign_envelope
from gateway.protocols.ebms2.message_units import UNIT_TYPE_BY_ACTION
from gateway.protocols.ebms2.packaging import build_parcel, write_manifest
from gateway.protocols.signed_values import to_model_reference, write_references
from gateway.wire import (
    DS,
    EB,
    SOAP11,
    SOAP11_NEXT,
    XLINK,
    format_instant,
    parse_xml,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec import canonicalize_reference_text

_PREFIXES: Final = {"ds": DS, "eb": EB, "soap": SOAP11, "xlink": XLINK}
#: The namespace declarations of the root, which the canonical form of every element below inherits.
NAMESPACES: Final = "".join(write_attribute(f"xmlns:{prefix}", name) for prefix, name in _PREFIXES.items())
_MUST_UNDERSTAND_ATTRIBUTE: Final = write_attribute("soap:mustUnderstand", "1")
_VERSION_ATTRIBUTE: Final = write_attribute("eb:version", "2.0")
_BLOCK_ATTRIBUTES: Final = _MUST_UNDERSTAND_ATTRIBUTE + _VERSION_ATTRIBUTE
_ENGLISH_ATTRIBUTE: Final = write_attribute("xml:lang", "en")
_ACTION_BY_TYPE: Final = {kind: action for action, kind in UNIT_TYPE_BY_ACTION.items()}


@dataclass(frozen=True, slots=True)
class UnsignedEnvelope:
    """An envelope without signature: the text before the place of the signature, and after it.

    ``next_actor_blocks`` are the blocks that are addressed to the next node, which no signature covers.
    """

    text_before: str
    text_after: str
    next_actor_blocks: str = ""

    @property
    def signable_octets(self) -> bytes:
        """Return the canonical octets that the signature covers."""
        signed_before = (
            self.text_before.replace(self.next_actor_blocks, "", 1)
            if self.next_actor_blocks
            else self.text_before
        )
        return (canonicalize_reference_text(signed_before) + self.text_after).encode()

    def with_signature(self, signature: str = "") -> bytes:
        """Return the envelope with a signature as the last block of its header."""
        return (self.text_before + signature + self.text_after).encode()


def _format_time(moment: datetime) -> str:
    """Return a time in the form of ebMS 2.0: UTC with a Z (§3.1.6.2)."""
    return format_instant(moment, "microseconds" if moment.microsecond % 1000 else "milliseconds")


def build_envelope_tree(units: tuple[Unit, ...]) -> etree._Element:
    """Return the unsigned envelope of `units`: the first has the header, the others are bundled."""
    return parse_xml(write_envelope(units).with_signature())


def write_envelope(units: tuple[Unit, ...]) -> UnsignedEnvelope:
    """Write the unsigned envelope of `units`: the first has the header, the others are bundled."""
    first_unit, *bundled_units = units
    for bundled_unit in bundled_units:
        _check_bundled_unit(first_unit, bundled_unit)
    next_actor_blocks = _write_next_actor_headers(first_unit)
    return UnsignedEnvelope(
        f"<soap:Envelope{NAMESPACES}><soap:Header>{_write_header(units, next_actor_blocks)}",
        f"</soap:Header>{write_element('soap:Body', _write_body(units))}</soap:Envelope>",
        next_actor_blocks,
    )


def _write_next_actor_headers(first_unit: Unit) -> str:
    """Return the blocks for the next node: SyncReply, and AckRequested or Acknowledgment of that handler."""
    if isinstance(first_unit, Receipt):
        return _write_acknowledgment(first_unit) if first_unit.actor == NEXT_MSH else ""
    has_sync_reply = isinstance(first_unit, UserMessage | Ping | StatusRequest) and first_unit.sync_reply
    ack_request = first_unit.hop_ack_requested if isinstance(first_unit, UserMessage) else None
    return (write_sync_reply() if has_sync_reply else "") + write_ack_request(ack_request, NEXT_MSH)


def write_sync_reply(namespaces: str = "") -> str:
    """Return eb:SyncReply (ebMS 2.0 §4.3)."""
    return write_element(
        "eb:SyncReply", "", namespaces + write_attribute("soap:actor", SOAP11_NEXT) + _BLOCK_ATTRIBUTES
    )


def write_ack_request(ack_request: AckRequest | None, actor: str, namespaces: str = "") -> str:
    """Return eb:AckRequested for an actor (ebMS 2.0 §6.3.1), an empty text without a request."""
    if ack_request is None:
        return ""
    signed_attribute = write_attribute("eb:signed", "true" if ack_request.signed else "false")
    return write_element(
        "eb:AckRequested",
        "",
        namespaces
        + write_attribute("soap:actor", actor)
        + _MUST_UNDERSTAND_ATTRIBUTE
        + signed_attribute
        + _VERSION_ATTRIBUTE,
    )


def _check_bundled_unit(first_unit: Unit, bundled_unit: Unit) -> None:
    """Raise GW901 unless `bundled_unit` is a receipt or a warning with the header of `first_unit`."""
    field_names = ("message_id", "sender", "receiver", "agreement", "conversation_id", "timestamp")
    has_same_header = all(getattr(first_unit, name) == getattr(bundled_unit, name) for name in field_names)
    may_be_bundled = isinstance(bundled_unit, Receipt) and isinstance(first_unit, UserMessage)
    if isinstance(bundled_unit, ErrorSignal) and isinstance(first_unit, UserMessage | Receipt):
        may_be_bundled = (
            bundled_unit.highest_severity == "Warning"
            and bundled_unit.ref_to_message_id == first_unit.ref_to_message_id
        )
    if not (has_same_header and may_be_bundled):
        raise GatewayError(OUR_MISTAKE, "these units do not travel in one message")


def _write_header(units: tuple[Unit, ...], next_actor_blocks: str) -> str:
    """Return the header blocks of `units` as text; `next_actor_blocks` are those for the next handler."""
    first_unit = units[0]
    blocks = [_write_message_header(first_unit), next_actor_blocks]
    if isinstance(first_unit, UserMessage):
        if first_unit.sequence is not None:
            blocks.append(write_message_order(first_unit.sequence, _BLOCK_ATTRIBUTES))
        blocks.append(write_ack_request(first_unit.ack_requested, TO_PARTY_MSH))
    for unit in units:
        if isinstance(unit, Receipt) and unit.actor == TO_PARTY_MSH:
            blocks.append(_write_acknowledgment(unit))
        elif isinstance(unit, ErrorSignal):
            blocks.append(_write_error_list(unit))
    return "".join(blocks)


def _write_body(units: tuple[Unit, ...]) -> str:
    first_unit = units[0]
    if isinstance(first_unit, UserMessage):
        return write_manifest(first_unit.payloads)
    return _write_status(first_unit) if isinstance(first_unit, StatusRequest | StatusResponse) else ""


def _write_party(element_name: str, party: Party) -> str:
    ids = "".join(
        write_leaf(
            "eb:PartyId",
            party_id.value,
            "" if party_id.type is None else write_attribute("eb:type", party_id.type),
        )
        for party_id in party.ids
    )
    return write_element(
        element_name, ids + ("" if party.role is None else write_leaf("eb:Role", party.role))
    )


def _write_agreement(sender: Party, receiver: Party, agreement: str) -> str:
    """Return the elements of the parties and the agreement: From, To, CPAId."""
    parties = _write_party("eb:From", sender) + _write_party("eb:To", receiver)
    return parties + write_leaf("eb:CPAId", agreement)


# Cached for business messages, which name our agreements; a signal may repeat values of an unknown sender.
_write_own_agreement: Final = lru_cache(maxsize=512)(_write_agreement)


def _write_message_header(unit: Unit) -> str:
    business_message = unit if isinstance(unit, UserMessage) else None
    service_type = business_message.service_type if business_message else None
    write_agreement = _write_own_agreement if business_message else _write_agreement
    element_texts = [
        write_agreement(unit.sender, unit.receiver, unit.agreement),
        write_leaf("eb:ConversationId", unit.conversation_id),
        write_leaf(
            "eb:Service",
            business_message.service if business_message else SIGNAL_SERVICE,
            "" if service_type is None else write_attribute("eb:type", service_type),
        ),
        write_leaf("eb:Action", business_message.action if business_message else _ACTION_BY_TYPE[type(unit)]),
        _write_message_data(unit),
    ]
    if business_message and business_message.duplicate_elimination:
        element_texts.append(write_element("eb:DuplicateElimination"))
    if business_message and business_message.description:
        element_texts.append(write_leaf("eb:Description", business_message.description, _ENGLISH_ATTRIBUTE))
    return write_element("eb:MessageHeader", "".join(element_texts), _BLOCK_ATTRIBUTES)


def _write_message_data(unit: Unit) -> str:
    element_texts = [
        write_leaf("eb:MessageId", unit.message_id),
        write_leaf("eb:Timestamp", _format_time(unit.timestamp)),
    ]
    if not isinstance(unit, Ping | StatusRequest | PullRequest) and unit.ref_to_message_id is not None:
        element_texts.append(write_leaf("eb:RefToMessageId", unit.ref_to_message_id))
    if isinstance(unit, UserMessage) and unit.expires_at is not None:
        element_texts.append(write_leaf("eb:TimeToLive", _format_time(unit.expires_at)))
    return write_element("eb:MessageData", "".join(element_texts))


def _write_acknowledgment(unit: Receipt) -> str:
    child_text = (
        write_leaf("eb:Timestamp", _format_time(unit.received_at))
        + write_leaf("eb:RefToMessageId", unit.ref_to_message_id)
        + ("" if unit.acting_party is None else _write_party("eb:From", unit.acting_party))
        + write_references(unit.references)
    )
    return write_element(
        "eb:Acknowledgment", child_text, write_attribute("soap:actor", unit.actor) + _BLOCK_ATTRIBUTES
    )


def _write_error_list(unit: ErrorSignal) -> str:
    entries = [
        write_element(
            "eb:Error",
            write_leaf("eb:Description", entry.description, _ENGLISH_ATTRIBUTE) if entry.description else "",
            write_attribute("eb:codeContext", entry.context)
            + write_attribute("eb:errorCode", entry.code)
            + (write_attribute("eb:location", entry.location) if entry.location else "")
            + write_attribute("eb:severity", entry.severity),
        )
        for entry in unit.errors
    ]
    severity = write_attribute("eb:highestSeverity", unit.highest_severity)
    return write_element(
        "eb:ErrorList", "".join(entries), _MUST_UNDERSTAND_ATTRIBUTE + severity + _VERSION_ATTRIBUTE
    )


def _write_status(unit: StatusRequest | StatusResponse) -> str:
    child_text, status_attribute = write_leaf("eb:RefToMessageId", unit.queried_message_id), ""
    if isinstance(unit, StatusResponse):
        status_attribute = write_attribute("eb:messageStatus", unit.status)
        if unit.received_at is not None:
            child_text += write_leaf("eb:Timestamp", _format_time(unit.received_at))
    return write_element(f"eb:{type(unit).__name__}", child_text, status_attribute + _VERSION_ATTRIBUTE)


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel that contains `units`, signed by `pmode`; bundled units follow the first."""
    first_unit = units[0]
    if isinstance(first_unit, UserMessage) and pmode is not None:
        require_agreed_order(first_unit, pmode)
    unsigned_envelope = write_envelope(units)
    payloads = first_unit.payloads if isinstance(first_unit, UserMessage) else ()
    if pmode is not None and pmode.compresses_payloads:
        payloads = compress_payloads(payloads)
    signature_text = ""
    references: tuple[DigestReference, ...] = ()
    if any(needs_signature(unit, pmode) for unit in units):
        octets_by_id = {payload.content_id: payload.octets for payload in payloads}
        signer = context.signers[context.get_party_name(first_unit.sender)]
        signature = sign_envelope(unsigned_envelope.signable_octets, NAMESPACES, octets_by_id, signer)
        signature_text, references = signature.text, tuple(map(to_model_reference, signature.references))
    if payloads and pmode is not None and pmode.encryption is not None:
        payloads = encrypt_payloads(payloads, first_unit.receiver, pmode.encryption, context)
    sent_unit = SentUnit.make_without_payloads(first_unit, references)
    return build_parcel(
        unsigned_envelope.with_signature(signature_text), payloads, first_unit.message_id, sent_unit
    )
