"""The header blocks of ebMS 2.0: MessageHeader, SyncReply, AckRequested, and which may stand where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.agreements import SIGNAL_SERVICE, PMode, Route
from gateway.agreements.pmode import is_uri
from gateway.errors import HEADER_INCONSISTENT, HEADER_INVALID, NOT_SUPPORTED, GatewayError
from gateway.model import AckRequest, Party, PartyId
from gateway.protocols.ebms2.elements import (
    Sequence,
    attributes,
    boolean,
    eb,
    elements,
    moment,
    refuse,
    soap,
    text,
)
from gateway.wire.namespaces import DS, EB, SOAP11_NEXT, XML

__all__ = [
    "NEXT_MSH",
    "TO_PARTY_MSH",
    "UNDERSTOOD",
    "Blocks",
    "MessageHeader",
    "block",
    "check_action",
    "check_actor",
    "check_terms",
    "read_blocks",
    "read_message_header",
    "read_message_id",
    "read_party",
]

TO_PARTY_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"
NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"

_ID, _TYPE, _SIGNED, _VERSION = eb("id"), eb("type"), eb("signed"), eb("version")
_ACTOR, _MUST_UNDERSTAND = soap("actor"), soap("mustUnderstand")
_LANG: Final = f"{{{XML}}}lang"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_VERSION_2: Final = "2.0"
_NOT_IN_ID: Final = re.compile(r"[\s<>]")
_HEADER: Final = "/soap:Envelope/soap:Header"


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What eb:MessageHeader says."""

    sender: Party
    receiver: Party
    agreement: str
    conversation_id: str
    service: str
    service_type: str | None
    action: str
    message_id: str
    timestamp: datetime
    ref_to_message_id: str | None
    expires_at: datetime | None
    duplicate_elimination: bool
    description: str

    @property
    def signal(self) -> bool:
        """Return whether the message is one between the handlers themselves (ebMS 2.0 §3.1.4)."""
        return self.service == SIGNAL_SERVICE

    @property
    def route(self) -> Route:
        """Return the part by which the P-Mode is found."""
        return Route(self.sender, self.receiver, self.agreement, self.service, self.action, self.service_type)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The header blocks of one message; those of signals are read by ``signals``."""

    header: MessageHeader
    sync_reply: bool
    ack_requested: AckRequest | None
    acknowledgment: etree._Element | None
    error_list: etree._Element | None
    signature: etree._Element | None


def block(element: etree._Element, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> None:
    """Check the attributes that every header block has (ebMS 2.0 §2.3.8): version, mustUnderstand."""
    attributes(element, (_VERSION, _MUST_UNDERSTAND, *required), (_ID, *optional), foreign=True)
    boolean(element, _MUST_UNDERSTAND)
    if element.get(_VERSION) != _VERSION_2:
        refuse(element, "the version of this handler is 2.0", HEADER_INCONSISTENT, at="eb:version")


def read_blocks(header: etree._Element) -> Blocks:
    """Return the blocks of a SOAP Header; each at most once, MessageHeader exactly once."""
    found: dict[str, etree._Element] = {}
    for element in elements(header):
        name = str(element.tag)
        _check_block(element, name)
        if name in found and name in _KNOWN:
            refuse(element, "this header block stands twice")
        found[name] = element
    if eb("MessageHeader") not in found:
        raise GatewayError(HEADER_INVALID, "there is no eb:MessageHeader", _HEADER)
    sync_reply, ack_requested = found.get(eb("SyncReply")), found.get(eb("AckRequested"))
    return Blocks(
        header=read_message_header(found[eb("MessageHeader")]),
        sync_reply=sync_reply is not None and _sync_reply(sync_reply),
        ack_requested=None if ack_requested is None else _ack_requested(ack_requested),
        acknowledgment=found.get(eb("Acknowledgment")),
        error_list=found.get(eb("ErrorList")),
        signature=found.get(_SIGNATURE),
    )


_KNOWN: Final = frozenset(
    {_SIGNATURE, *map(eb, ("MessageHeader", "SyncReply", "AckRequested", "Acknowledgment", "ErrorList"))}
)
# MessageOrder is known well enough to be answered by NotSupported.
UNDERSTOOD: Final = _KNOWN | {eb("MessageOrder")}
_ORDERED: Final = eb("MessageOrder")


def _check_block(element: etree._Element, name: str) -> None:
    """Refuse a block of ebMS that this handler does not know.

    Blocks of other namespaces that must be understood were refused with the envelope; the
    others may be ignored (SOAP 1.1 §4.2.3), and are, for nothing of them is read.
    """
    if name in _KNOWN:
        return
    if name == _ORDERED:
        refuse(element, "MessageOrder is not supported", NOT_SUPPORTED)
    if name.startswith(f"{{{EB}}}"):
        refuse(element, f"ebMS 2.0 has no header block {etree.QName(element).localname[:80]}")


def read_message_header(element: etree._Element) -> MessageHeader:
    """Return what eb:MessageHeader says (ebMS 2.0 §3.1)."""
    block(element)
    sequence = Sequence(element)
    sender = read_party(sequence.required(eb("From")))
    receiver = read_party(sequence.required(eb("To")))
    agreement = _plain(sequence.required(eb("CPAId")))
    conversation_id = _plain(sequence.required(eb("ConversationId")))
    service, service_type = _typed(sequence.required(eb("Service")))
    action = _plain(sequence.required(eb("Action")))
    message_id, timestamp, ref_to, expires_at = _message_data(sequence.required(eb("MessageData")))
    elimination = sequence.optional(eb("DuplicateElimination"))
    descriptions = sequence.many(eb("Description"))
    sequence.end(extensible=True)
    return MessageHeader(
        sender=sender,
        receiver=receiver,
        agreement=agreement,
        conversation_id=conversation_id,
        service=service,
        service_type=service_type,
        action=action,
        message_id=message_id,
        timestamp=timestamp,
        ref_to_message_id=ref_to,
        expires_at=expires_at,
        duplicate_elimination=elimination is not None and _empty(elimination),
        description=" ".join([_description(one) for one in descriptions]),
    )


def read_party(element: etree._Element) -> Party:
    """Return the party of eb:From or eb:To (ebMS 2.0 §3.1.1)."""
    attributes(element)
    sequence = Sequence(element)
    ids = tuple(PartyId(*_typed(one)) for one in sequence.many(eb("PartyId"), least=1))
    role = sequence.optional(eb("Role"))
    sequence.end()
    if len(ids) > 1 and len({one.type for one in ids}) < len(ids):
        refuse(element, "two ids of one party have the same type", HEADER_INCONSISTENT)
    return Party(ids, None if role is None else _plain(role))


def _plain(element: etree._Element) -> str:
    attributes(element)
    return text(element)


def _typed(element: etree._Element) -> tuple[str, str | None]:
    """Return value and type of a PartyId or Service; without a type it must be a URI (§3.1.1.1, §3.1.4.1)."""
    attributes(element, optional=(_TYPE,))
    value, kind = text(element), element.get(_TYPE)
    if kind is None and not is_uri(value):
        refuse(element, "without a type the value must be a URI", HEADER_INCONSISTENT)
    if kind == "":
        refuse(element, "the type is empty", at="eb:type")
    return value, kind


def _message_data(
    element: etree._Element,
) -> tuple[str, datetime, str | None, datetime | None]:
    """Return MessageId, Timestamp, RefToMessageId and TimeToLive (ebMS 2.0 §3.1.6)."""
    attributes(element)
    sequence = Sequence(element)
    message_id = sequence.required(eb("MessageId"))
    timestamp = sequence.required(eb("Timestamp"))
    ref_to = sequence.optional(eb("RefToMessageId"))
    time_to_live = sequence.optional(eb("TimeToLive"))
    sequence.end()
    for one in (timestamp, time_to_live):
        if one is not None:
            attributes(one)
    return (
        read_message_id(message_id),
        moment(timestamp),
        None if ref_to is None else read_message_id(ref_to),
        None if time_to_live is None else moment(time_to_live),
    )


def read_message_id(element: etree._Element) -> str:
    """Return a message id, which is one word without angle brackets (RFC 2822 msg-id)."""
    value = _plain(element)
    if _NOT_IN_ID.search(value):
        refuse(element, "a message id has neither white space nor angle brackets")
    return value


def _description(element: etree._Element) -> str:
    attributes(element, required=(_LANG,))
    return text(element)


def _empty(element: etree._Element) -> bool:
    attributes(element)
    if len(element) or element.text:
        refuse(element, "this element is empty")
    return True


def _sync_reply(element: etree._Element) -> bool:
    """Check eb:SyncReply (ebMS 2.0 §4.3)."""
    block(element, required=(_ACTOR,))
    Sequence(element).end(extensible=True)
    if element.get(_ACTOR) != SOAP11_NEXT:
        refuse(element, "SyncReply is for the next node", HEADER_INCONSISTENT, at="soap:actor")
    return True


def _ack_requested(element: etree._Element) -> AckRequest:
    """Return what eb:AckRequested wants (ebMS 2.0 §6.3.1)."""
    block(element, required=(_SIGNED,), optional=(_ACTOR,))
    Sequence(element).end(extensible=True)
    check_actor(element)
    return AckRequest(boolean(element, _SIGNED))


def check_actor(element: etree._Element) -> None:
    """Refuse an acknowledgment, asked or given, for anyone but the To party (ebMS 2.0 §6.3.1.2)."""
    actor = element.get(_ACTOR, TO_PARTY_MSH)
    if actor == NEXT_MSH:
        refuse(
            element,
            "acknowledgments between intermediaries are not supported",
            NOT_SUPPORTED,
            at="soap:actor",
        )
    if actor != TO_PARTY_MSH:
        refuse(element, "the actor is the To party's handler", HEADER_INCONSISTENT, at="soap:actor")


def check_action(header: MessageHeader, soap_action: str) -> None:
    """Refuse a SOAPAction that contradicts the header (ebMS 2.0 appendix B.2).

    It should be "ebXML"; some send service and action there, and then it must be these.
    """
    value = soap_action.strip().strip('"')
    known = ("", "ebXML", f"{header.service}/{header.action}", f"{header.service}:{header.action}")
    if value not in known:
        raise GatewayError(HEADER_INCONSISTENT, f"SOAPAction {value[:80]!r} is not ebXML", "SOAPAction")


def check_terms(blocks: Blocks, pmode: PMode) -> None:
    """Refuse a business message that asks for another quality of service than was agreed."""
    terms = pmode.reliability
    acked = blocks.ack_requested
    _agreed(terms.ack_requested, acked is not None, "eb:AckRequested")
    if acked is not None:
        _agreed(terms.ack_signed, acked.signed, "eb:AckRequested/@eb:signed")
    where = "eb:MessageHeader/eb:DuplicateElimination"
    _agreed(terms.duplicate_elimination, blocks.header.duplicate_elimination, where)
    if blocks.sync_reply and pmode.sync_reply_mode == "none":
        detail = "no reply in the HTTP answer was agreed"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_HEADER}/eb:SyncReply")


def _agreed(term: str, asked: bool, where: str) -> None:
    if (term == "always" and not asked) or (term == "never" and asked):
        raise GatewayError(HEADER_INCONSISTENT, f"the agreement says {term}", f"{_HEADER}/{where}")
