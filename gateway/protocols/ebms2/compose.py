"""Writes the envelope of a message: the header blocks in their customary order, then the Body.

It is written as text and canonical as it stands, because the digest of every receipt is
taken of it: a tree would be built, canonicalised and thrown away for each.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from gateway.protocols.ebms2.header import TO_PARTY_MSH
from gateway.protocols.ebms2.package import manifest_text
from gateway.protocols.ebms2.signals import ACTIONS
from gateway.protocols.ebms2.signature import references_text
from gateway.wire.namespaces import DS, EB, SOAP11, SOAP11_NEXT, XLINK
from gateway.wire.writing import attribute, element, leaf
from gateway.wire.xml import parse_xml
from gateway.xmlsec.references import canonical_text

__all__ = ["NAMESPACES", "Written", "compose", "stamp", "write"]

_PREFIXES: Final = {"ds": DS, "eb": EB, "soap": SOAP11, "xlink": XLINK}
#: The declarations of the root, as the canonical form of everything below it inherits them.
NAMESPACES: Final = "".join(attribute(f"xmlns:{prefix}", name) for prefix, name in _PREFIXES.items())
_UNDERSTOOD: Final = attribute("soap:mustUnderstand", "1")
_VERSION: Final = attribute("eb:version", "2.0")
_BLOCK: Final = _UNDERSTOOD + _VERSION
_TO_PARTY: Final = attribute("soap:actor", TO_PARTY_MSH)
_ENGLISH: Final = attribute("xml:lang", "en")
_SYNC_REPLY: Final = element("eb:SyncReply", "", attribute("soap:actor", SOAP11_NEXT) + _BLOCK)
_ACTION_OF: Final = {kind: action for action, kind in ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class Written:
    """An envelope without signature: what comes before the place of the signature, and after it.

    ``for_next`` is the block in it that is addressed to the next node, which no signature covers.
    """

    before: str
    after: str
    for_next: str = ""

    @property
    def signable(self) -> bytes:
        """Return the canonical octets that the signature covers."""
        before = self.before.replace(self.for_next, "", 1) if self.for_next else self.before
        return (canonical_text(before) + self.after).encode()

    def with_signature(self, signature: str = "") -> bytes:
        """Return the envelope, with a signature as the last block of its header."""
        return (self.before + signature + self.after).encode()


def stamp(moment: datetime) -> str:
    """Return a moment as ebMS 2.0 wants it: UTC with a Z (§3.1.6.2)."""
    utc = moment.astimezone(UTC)
    precision = "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.isoformat(timespec=precision)[:-6] + "Z"


def compose(units: tuple[Unit, ...]) -> etree._Element:
    """Return the unsigned envelope that carries `units`: the first gives the header, the rest ride."""
    return parse_xml(write(units).with_signature())


def write(units: tuple[Unit, ...]) -> Written:
    """Write the unsigned envelope that carries `units`: the first gives the header, the rest ride."""
    first, *riders = units
    for rider in riders:
        _check_rider(first, rider)
    synchronous = isinstance(first, UserMessage | Ping | StatusRequest) and first.sync_reply
    return Written(
        f"<soap:Envelope{NAMESPACES}><soap:Header>{_header(units, synchronous=synchronous)}",
        f"</soap:Header>{element('soap:Body', _body(units))}</soap:Envelope>",
        _SYNC_REPLY if synchronous else "",
    )


def _check_rider(first: Unit, rider: Unit) -> None:
    names = ("message_id", "sender", "receiver", "agreement", "conversation_id", "timestamp")
    same = all(getattr(first, name) == getattr(rider, name) for name in names)
    rides = isinstance(rider, Receipt)
    if isinstance(rider, ErrorSignal) and isinstance(first, UserMessage):
        rides = rider.severity == "Warning" and rider.ref_to_message_id == first.ref_to_message_id
    if not (isinstance(first, UserMessage) and same and rides):
        raise GatewayError(OUR_MISTAKE, "these units do not travel in one message")


def _header(units: tuple[Unit, ...], *, synchronous: bool) -> str:
    first = units[0]
    blocks = [_message_header(first), _SYNC_REPLY if synchronous else ""]
    if isinstance(first, UserMessage) and first.ack_requested is not None:
        signed = attribute("eb:signed", "true" if first.ack_requested.signed else "false")
        blocks.append(element("eb:AckRequested", "", _TO_PARTY + _UNDERSTOOD + signed + _VERSION))
    for unit in units:
        if isinstance(unit, Receipt):
            blocks.append(_acknowledgment(unit))
        elif isinstance(unit, ErrorSignal):
            blocks.append(_error_list(unit))
    return "".join(blocks)


def _body(units: tuple[Unit, ...]) -> str:
    first = units[0]
    if isinstance(first, UserMessage):
        return manifest_text(first.payloads)
    return _status(first) if isinstance(first, StatusRequest | StatusResponse) else ""


def _party(name: str, party: Party) -> str:
    ids = "".join(
        leaf("eb:PartyId", one.value, "" if one.type is None else attribute("eb:type", one.type))
        for one in party.ids
    )
    return element(name, ids + ("" if party.role is None else leaf("eb:Role", party.role)))


def _message_header(unit: Unit) -> str:
    business = unit if isinstance(unit, UserMessage) else None
    kind = business.service_type if business else None
    parts = [
        _party("eb:From", unit.sender),
        _party("eb:To", unit.receiver),
        leaf("eb:CPAId", unit.agreement),
        leaf("eb:ConversationId", unit.conversation_id),
        leaf(
            "eb:Service",
            business.service if business else SIGNAL_SERVICE,
            "" if kind is None else attribute("eb:type", kind),
        ),
        leaf("eb:Action", business.action if business else _ACTION_OF[type(unit)]),
        _message_data(unit),
    ]
    if business and business.duplicate_elimination:
        parts.append(element("eb:DuplicateElimination"))
    if business and business.description:
        parts.append(leaf("eb:Description", business.description, _ENGLISH))
    return element("eb:MessageHeader", "".join(parts), _BLOCK)


def _message_data(unit: Unit) -> str:
    parts = [leaf("eb:MessageId", unit.message_id), leaf("eb:Timestamp", stamp(unit.timestamp))]
    if not isinstance(unit, Ping | StatusRequest) and unit.ref_to_message_id is not None:
        parts.append(leaf("eb:RefToMessageId", unit.ref_to_message_id))
    if isinstance(unit, UserMessage) and unit.expires_at is not None:
        parts.append(leaf("eb:TimeToLive", stamp(unit.expires_at)))
    return element("eb:MessageData", "".join(parts))


def _acknowledgment(unit: Receipt) -> str:
    content = (
        leaf("eb:Timestamp", stamp(unit.received_at))
        + leaf("eb:RefToMessageId", unit.ref_to_message_id)
        + ("" if unit.acting_party is None else _party("eb:From", unit.acting_party))
        + references_text(unit.references)
    )
    return element("eb:Acknowledgment", content, _TO_PARTY + _BLOCK)


def _error_list(unit: ErrorSignal) -> str:
    entries = [
        element(
            "eb:Error",
            leaf("eb:Description", one.description, _ENGLISH) if one.description else "",
            attribute("eb:codeContext", one.context)
            + attribute("eb:errorCode", one.code)
            + (attribute("eb:location", one.location) if one.location else "")
            + attribute("eb:severity", one.severity),
        )
        for one in unit.errors
    ]
    severity = attribute("eb:highestSeverity", unit.severity)
    return element("eb:ErrorList", "".join(entries), _UNDERSTOOD + severity + _VERSION)


def _status(unit: StatusRequest | StatusResponse) -> str:
    content, status = leaf("eb:RefToMessageId", unit.about), ""
    if isinstance(unit, StatusResponse):
        status = attribute("eb:messageStatus", unit.status)
        if unit.received_at is not None:
            content += leaf("eb:Timestamp", stamp(unit.received_at))
    return element(f"eb:{type(unit).__name__}", content, status + _VERSION)
