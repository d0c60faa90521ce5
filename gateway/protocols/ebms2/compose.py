"""Writes the envelope of a message: the header blocks in their customary order, then the Body."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway.agreements import SIGNAL_SERVICE
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.model import (
    ErrorSignal,
    Party,
    Ping,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.ebms2.elements import eb, soap
from gateway.protocols.ebms2.header import TO_PARTY_MSH
from gateway.protocols.ebms2.package import write_manifest
from gateway.protocols.ebms2.signals import ACTIONS
from gateway.protocols.ebms2.signature import write_references
from gateway.wire.namespaces import DS, EB, SOAP11, SOAP11_NEXT, XLINK, XML

__all__ = ["compose", "stamp"]

_NSMAP: Final = {"soap": SOAP11, "eb": EB, "ds": DS, "xlink": XLINK}
_BLOCK: Final = {eb("version"): "2.0", soap("mustUnderstand"): "1"}
_ACTOR: Final = soap("actor")
_LANG: Final = f"{{{XML}}}lang"
_ACTION_OF: Final = {kind: action for action, kind in ACTIONS.items()}


def stamp(moment: datetime) -> str:
    """Return a moment as ebMS 2.0 wants it: UTC with a Z (§3.1.6.2)."""
    utc = moment.astimezone(UTC)
    precision = "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.isoformat(timespec=precision)[:-6] + "Z"


def compose(units: tuple[Unit, ...]) -> etree._Element:
    """Return the unsigned envelope that carries `units`: the first gives the header, the rest ride."""
    first, *riders = units
    for rider in riders:
        _check_rider(first, rider)
    try:
        return _envelope(units)
    except ValueError as mistake:
        raise GatewayError(OUR_MISTAKE, "a value cannot be written as XML") from mistake


def _check_rider(first: Unit, rider: Unit) -> None:
    names = ("message_id", "sender", "receiver", "agreement", "conversation_id", "timestamp")
    same = all(getattr(first, name) == getattr(rider, name) for name in names)
    rides = isinstance(rider, Receipt)
    if isinstance(rider, ErrorSignal) and isinstance(first, UserMessage):
        rides = rider.severity == "Warning" and rider.ref_to_message_id == first.ref_to_message_id
    if not (isinstance(first, UserMessage) and same and rides):
        raise GatewayError(OUR_MISTAKE, "these units do not travel in one message")


def _envelope(units: tuple[Unit, ...]) -> etree._Element:
    root = etree.Element(soap("Envelope"), nsmap=_NSMAP)
    header = etree.SubElement(root, soap("Header"))
    body = etree.SubElement(root, soap("Body"))
    first = units[0]
    _message_header(header, first)
    if isinstance(first, UserMessage | Ping | StatusRequest) and first.sync_reply:
        etree.SubElement(header, eb("SyncReply"), {**_BLOCK, _ACTOR: SOAP11_NEXT})
    if isinstance(first, UserMessage):
        if first.ack_requested is not None:
            signed = "true" if first.ack_requested.signed else "false"
            attributes = {**_BLOCK, eb("signed"): signed, _ACTOR: TO_PARTY_MSH}
            etree.SubElement(header, eb("AckRequested"), attributes)
        if first.payloads:
            write_manifest(body, first.payloads)
    for unit in units:
        if isinstance(unit, Receipt):
            _acknowledgment(header, unit)
        elif isinstance(unit, ErrorSignal):
            _error_list(header, unit)
        elif isinstance(unit, StatusRequest | StatusResponse):
            _status(body, unit)
    return root


def _leaf(parent: etree._Element, name: str, value: str) -> etree._Element:
    element = etree.SubElement(parent, eb(name))
    element.text = value
    return element


def _party(parent: etree._Element, name: str, party: Party) -> None:
    element = etree.SubElement(parent, eb(name))
    for one in party.ids:
        leaf = _leaf(element, "PartyId", one.value)
        if one.type is not None:
            leaf.set(eb("type"), one.type)
    if party.role is not None:
        _leaf(element, "Role", party.role)


def _message_header(parent: etree._Element, unit: Unit) -> None:
    element = etree.SubElement(parent, eb("MessageHeader"), _BLOCK)
    _party(element, "From", unit.sender)
    _party(element, "To", unit.receiver)
    _leaf(element, "CPAId", unit.agreement)
    _leaf(element, "ConversationId", unit.conversation_id)
    business = unit if isinstance(unit, UserMessage) else None
    service = _leaf(element, "Service", business.service if business else SIGNAL_SERVICE)
    if business and business.service_type is not None:
        service.set(eb("type"), business.service_type)
    _leaf(element, "Action", business.action if business else _ACTION_OF[type(unit)])
    _message_data(element, unit)
    if business and business.duplicate_elimination:
        etree.SubElement(element, eb("DuplicateElimination"))
    if business and business.description:
        _leaf(element, "Description", business.description).set(_LANG, "en")


def _message_data(parent: etree._Element, unit: Unit) -> None:
    data = etree.SubElement(parent, eb("MessageData"))
    _leaf(data, "MessageId", unit.message_id)
    _leaf(data, "Timestamp", stamp(unit.timestamp))
    if not isinstance(unit, Ping | StatusRequest) and unit.ref_to_message_id is not None:
        _leaf(data, "RefToMessageId", unit.ref_to_message_id)
    if isinstance(unit, UserMessage) and unit.expires_at is not None:
        _leaf(data, "TimeToLive", stamp(unit.expires_at))


def _acknowledgment(header: etree._Element, unit: Receipt) -> None:
    element = etree.SubElement(header, eb("Acknowledgment"), {**_BLOCK, _ACTOR: TO_PARTY_MSH})
    _leaf(element, "Timestamp", stamp(unit.received_at))
    _leaf(element, "RefToMessageId", unit.ref_to_message_id)
    if unit.acting_party is not None:
        _party(element, "From", unit.acting_party)
    write_references(element, unit.references)


def _error_list(header: etree._Element, unit: ErrorSignal) -> None:
    element = etree.SubElement(header, eb("ErrorList"), {**_BLOCK, eb("highestSeverity"): unit.severity})
    for one in unit.errors:
        attributes = {
            eb("codeContext"): one.context,
            eb("errorCode"): one.code,
            eb("severity"): one.severity,
        }
        if one.location:
            attributes[eb("location")] = one.location
        entry = etree.SubElement(element, eb("Error"), attributes)
        if one.description:
            _leaf(entry, "Description", one.description).set(_LANG, "en")


def _status(body: etree._Element, unit: StatusRequest | StatusResponse) -> None:
    element = etree.SubElement(body, eb(type(unit).__name__), {eb("version"): "2.0"})
    _leaf(element, "RefToMessageId", unit.about)
    if isinstance(unit, StatusResponse):
        element.set(eb("messageStatus"), unit.status)
        if unit.received_at is not None:
            _leaf(element, "Timestamp", stamp(unit.received_at))
