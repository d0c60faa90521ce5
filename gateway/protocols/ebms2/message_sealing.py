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
from gateway.protocols.ebms2.message_units import ACTIONS
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
from gateway.xmlsec import canonicalize_text

_PREFIXES: Final = {"ds": DS, "eb": EB, "soap": SOAP11, "xlink": XLINK}
#: The namespace declarations of the root, which the canonical form of every element below inherits.
NAMESPACES: Final = "".join(write_attribute(f"xmlns:{prefix}", name) for prefix, name in _PREFIXES.items())
_UNDERSTOOD: Final = write_attribute("soap:mustUnderstand", "1")
_VERSION: Final = write_attribute("eb:version", "2.0")
_BLOCK: Final = _UNDERSTOOD + _VERSION
_ENGLISH: Final = write_attribute("xml:lang", "en")
_ACTION_OF: Final = {kind: action for action, kind in ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class UnsignedEnvelope:
    """An envelope without signature: the text before the place of the signature, and after it.

    ``for_next`` are the blocks that are addressed to the next node, which no signature covers.
    """

    before: str
    after: str
    for_next: str = ""

    @property
    def signable_octets(self) -> bytes:
        """Return the canonical octets that the signature covers."""
        before = self.before.replace(self.for_next, "", 1) if self.for_next else self.before
        return (canonicalize_text(before) + self.after).encode()

    def with_signature(self, signature: str = "") -> bytes:
        """Return the envelope with a signature as the last block of its header."""
        return (self.before + signature + self.after).encode()


def _format_time(moment: datetime) -> str:
    """Return a time in the form of ebMS 2.0: UTC with a Z (§3.1.6.2)."""
    return format_instant(moment, "microseconds" if moment.microsecond % 1000 else "milliseconds")


def build_envelope_tree(units: tuple[Unit, ...]) -> etree._Element:
    """Return the unsigned envelope of `units`: the first has the header, the others are bundled."""
    return parse_xml(write_envelope(units).with_signature())


def write_envelope(units: tuple[Unit, ...]) -> UnsignedEnvelope:
    """Write the unsigned envelope of `units`: the first has the header, the others are bundled."""
    first, *riders = units
    for rider in riders:
        _check_bundled_unit(first, rider)
    for_next = _write_next_actor_headers(first)
    return UnsignedEnvelope(
        f"<soap:Envelope{NAMESPACES}><soap:Header>{_write_header(units, for_next)}",
        f"</soap:Header>{write_element('soap:Body', _write_body(units))}</soap:Envelope>",
        for_next,
    )


def _write_next_actor_headers(first: Unit) -> str:
    """Return the blocks for the next node: SyncReply, and AckRequested or Acknowledgment of that handler."""
    if isinstance(first, Receipt):
        return _write_acknowledgment(first) if first.actor == NEXT_MSH else ""
    synchronous = isinstance(first, UserMessage | Ping | StatusRequest) and first.sync_reply
    ack_request = first.hop_ack_requested if isinstance(first, UserMessage) else None
    return (write_sync_reply() if synchronous else "") + write_ack_request(ack_request, NEXT_MSH)


def write_sync_reply(namespaces: str = "") -> str:
    """Return eb:SyncReply (ebMS 2.0 §4.3)."""
    return write_element("eb:SyncReply", "", namespaces + write_attribute("soap:actor", SOAP11_NEXT) + _BLOCK)


def write_ack_request(ack_request: AckRequest | None, actor: str, namespaces: str = "") -> str:
    """Return eb:AckRequested for an actor (ebMS 2.0 §6.3.1), an empty text without a request."""
    if ack_request is None:
        return ""
    signed = write_attribute("eb:signed", "true" if ack_request.signed else "false")
    return write_element(
        "eb:AckRequested",
        "",
        namespaces + write_attribute("soap:actor", actor) + _UNDERSTOOD + signed + _VERSION,
    )


def _check_bundled_unit(first: Unit, rider: Unit) -> None:
    names = ("message_id", "sender", "receiver", "agreement", "conversation_id", "timestamp")
    same = all(getattr(first, name) == getattr(rider, name) for name in names)
    rides = isinstance(rider, Receipt) and isinstance(first, UserMessage)
    if isinstance(rider, ErrorSignal) and isinstance(first, UserMessage | Receipt):
        rides = rider.highest_severity == "Warning" and rider.ref_to_message_id == first.ref_to_message_id
    if not (same and rides):
        raise GatewayError(OUR_MISTAKE, "these units do not travel in one message")


def _write_header(units: tuple[Unit, ...], for_next: str) -> str:
    first = units[0]
    blocks = [_write_message_header(first), for_next]
    if isinstance(first, UserMessage):
        if first.sequence is not None:
            blocks.append(write_message_order(first.sequence, _BLOCK))
        blocks.append(write_ack_request(first.ack_requested, TO_PARTY_MSH))
    for unit in units:
        if isinstance(unit, Receipt) and unit.actor == TO_PARTY_MSH:
            blocks.append(_write_acknowledgment(unit))
        elif isinstance(unit, ErrorSignal):
            blocks.append(_write_error_list(unit))
    return "".join(blocks)


def _write_body(units: tuple[Unit, ...]) -> str:
    first = units[0]
    if isinstance(first, UserMessage):
        return write_manifest(first.payloads)
    return _write_status(first) if isinstance(first, StatusRequest | StatusResponse) else ""


def _write_party(name: str, party: Party) -> str:
    ids = "".join(
        write_leaf(
            "eb:PartyId",
            party_id.value,
            "" if party_id.type is None else write_attribute("eb:type", party_id.type),
        )
        for party_id in party.ids
    )
    return write_element(name, ids + ("" if party.role is None else write_leaf("eb:Role", party.role)))


def _write_agreement(sender: Party, receiver: Party, agreement: str) -> str:
    """Return the elements of the parties and the agreement: From, To, CPAId."""
    parties = _write_party("eb:From", sender) + _write_party("eb:To", receiver)
    return parties + write_leaf("eb:CPAId", agreement)


# Cached for business messages, which name our agreements; a signal may repeat values of an unknown sender.
_write_own_agreement: Final = lru_cache(maxsize=512)(_write_agreement)


def _write_message_header(unit: Unit) -> str:
    business = unit if isinstance(unit, UserMessage) else None
    kind = business.service_type if business else None
    write_agreement = _write_own_agreement if business else _write_agreement
    parts = [
        write_agreement(unit.sender, unit.receiver, unit.agreement),
        write_leaf("eb:ConversationId", unit.conversation_id),
        write_leaf(
            "eb:Service",
            business.service if business else SIGNAL_SERVICE,
            "" if kind is None else write_attribute("eb:type", kind),
        ),
        write_leaf("eb:Action", business.action if business else _ACTION_OF[type(unit)]),
        _write_message_data(unit),
    ]
    if business and business.duplicate_elimination:
        parts.append(write_element("eb:DuplicateElimination"))
    if business and business.description:
        parts.append(write_leaf("eb:Description", business.description, _ENGLISH))
    return write_element("eb:MessageHeader", "".join(parts), _BLOCK)


def _write_message_data(unit: Unit) -> str:
    parts = [
        write_leaf("eb:MessageId", unit.message_id),
        write_leaf("eb:Timestamp", _format_time(unit.timestamp)),
    ]
    if not isinstance(unit, Ping | StatusRequest | PullRequest) and unit.ref_to_message_id is not None:
        parts.append(write_leaf("eb:RefToMessageId", unit.ref_to_message_id))
    if isinstance(unit, UserMessage) and unit.expires_at is not None:
        parts.append(write_leaf("eb:TimeToLive", _format_time(unit.expires_at)))
    return write_element("eb:MessageData", "".join(parts))


def _write_acknowledgment(unit: Receipt) -> str:
    content = (
        write_leaf("eb:Timestamp", _format_time(unit.received_at))
        + write_leaf("eb:RefToMessageId", unit.ref_to_message_id)
        + ("" if unit.acting_party is None else _write_party("eb:From", unit.acting_party))
        + write_references(unit.references)
    )
    return write_element("eb:Acknowledgment", content, write_attribute("soap:actor", unit.actor) + _BLOCK)


def _write_error_list(unit: ErrorSignal) -> str:
    entries = [
        write_element(
            "eb:Error",
            write_leaf("eb:Description", entry.description, _ENGLISH) if entry.description else "",
            write_attribute("eb:codeContext", entry.context)
            + write_attribute("eb:errorCode", entry.code)
            + (write_attribute("eb:location", entry.location) if entry.location else "")
            + write_attribute("eb:severity", entry.severity),
        )
        for entry in unit.errors
    ]
    severity = write_attribute("eb:highestSeverity", unit.highest_severity)
    return write_element("eb:ErrorList", "".join(entries), _UNDERSTOOD + severity + _VERSION)


def _write_status(unit: StatusRequest | StatusResponse) -> str:
    content, status = write_leaf("eb:RefToMessageId", unit.queried_message_id), ""
    if isinstance(unit, StatusResponse):
        status = write_attribute("eb:messageStatus", unit.status)
        if unit.received_at is not None:
            content += write_leaf("eb:Timestamp", _format_time(unit.received_at))
    return write_element(f"eb:{type(unit).__name__}", content, status + _VERSION)


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel that contains `units`, signed by `pmode`; bundled units follow the first."""
    first = units[0]
    if isinstance(first, UserMessage) and pmode is not None:
        require_agreed_order(first, pmode)
    written = write_envelope(units)
    payloads = first.payloads if isinstance(first, UserMessage) else ()
    if pmode is not None and pmode.compresses_payloads:
        payloads = compress_payloads(payloads)
    signed = ""
    references: tuple[DigestReference, ...] = ()
    if any(needs_signature(unit, pmode) for unit in units):
        contents = {payload.content_id: payload.octets for payload in payloads}
        signer = context.keys[context.get_party_name(first.sender)]
        signature = sign_envelope(written.signable_octets, NAMESPACES, contents, signer)
        signed, references = signature.text, tuple(map(to_model_reference, signature.references))
    if payloads and pmode is not None and pmode.encryption is not None:
        payloads = encrypt_payloads(payloads, first.receiver, pmode.encryption, context)
    sent = SentUnit.make_without_payloads(first, references)
    return build_parcel(written.with_signature(signed), payloads, first.message_id, sent)
