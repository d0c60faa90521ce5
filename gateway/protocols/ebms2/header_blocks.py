"""The header blocks of ebMS 2.0: MessageHeader, SyncReply, MessageOrder, AckRequested, and their places."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.agreements import SIGNAL_SERVICE, MessageRoute, PMode, is_uri
from gateway.errors import HEADER_INCONSISTENT, HEADER_INVALID, OUR_MISTAKE, GatewayError
from gateway.message_model import (
    LAST_SEQUENCE_NUMBER,
    NEXT_MSH,
    TO_PARTY_MSH,
    AckRequest,
    Party,
    PartyId,
    SequenceNumber,
    UserMessage,
)
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    list_elements,
    make_eb_name,
    make_soap_name,
    raise_header_error,
    read_boolean_attribute,
    read_free_text,
    read_instant,
    read_message_id,
    read_plain_text,
    read_text,
)
from gateway.wire import DS, EB, SOAP11_NEXT, read_attribute, write_attribute, write_element, write_leaf

_ORDER_PATH: Final = "/soap:Envelope/soap:Header/eb:MessageOrder"
_STATUS: Final = make_eb_name("status")
_STATUSES: Final = ("Reset", "Continue")
# An xs:nonNegativeInteger; no sender writes a hundred zeros before it.
_DIGITS: Final = re.compile(r"\+?[0-9]{1,32}|-0{1,32}", re.ASCII)


def read_sequence_number(element: etree._Element) -> SequenceNumber:
    """Return the number and status of eb:MessageOrder (§9.1.1); its block attributes have been checked.

    Raises GW304 for a value that is not a number from 0 to 99999999, and for a Reset with another number
    than 0.
    """
    sequence = ElementSequence(element)
    written = sequence.take_required(make_eb_name("SequenceNumber"))
    sequence.check_end(extensible=True)
    check_attributes(written, optional=(_STATUS,))
    status = written.get(_STATUS, "Continue")
    if status not in _STATUSES:
        raise_header_error(written, "the status is Reset or Continue", HEADER_INVALID, at="eb:status")
    number = _read_number(written)
    if status == "Reset" and number != 0:
        raise_header_error(written, "a Reset has the number 0", HEADER_INCONSISTENT)
    return SequenceNumber(number, status)


def _read_number(element: etree._Element) -> int:
    text = "" if len(element) else (element.text or "").strip(" \t\r\n")
    number = int(text) if _DIGITS.fullmatch(text) else None  # bounded: at most 32 digits, by the pattern
    if number is None or number > LAST_SEQUENCE_NUMBER:
        detail = f"a sequence number is 0 to {LAST_SEQUENCE_NUMBER}"
        raise_header_error(element, detail, HEADER_INCONSISTENT)
    return number


def check_agreed_order(
    sequence: SequenceNumber | None,
    pmode: PMode,
    *,
    duplicate_elimination: bool,
    ack_requested: bool,
    sync_reply: bool,
) -> None:
    """Raise GW304 for an order that contradicts the agreement, or the rest of the header (§9.2).

    The keyword arguments are whether the header has DuplicateElimination, an AckRequested for the To party,
    and SyncReply.
    """
    agreed = pmode.reliability.message_order
    if sequence is None:
        if agreed:
            raise GatewayError(
                HEADER_INCONSISTENT, "the agreement guarantees the order of messages", _ORDER_PATH
            )
        return
    if not agreed:
        raise GatewayError(HEADER_INCONSISTENT, "no order of messages was agreed", _ORDER_PATH)
    if not duplicate_elimination:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder needs DuplicateElimination", _ORDER_PATH)
    if not ack_requested:
        raise GatewayError(
            HEADER_INCONSISTENT, "MessageOrder needs AckRequested of the To party", _ORDER_PATH
        )
    if sync_reply:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder does not stand beside SyncReply", _ORDER_PATH)


def require_agreed_order(unit: UserMessage, pmode: PMode) -> None:
    """Raise rather than send a message without a number for which an order was agreed."""
    if pmode.reliability.message_order and unit.sequence is None:
        detail = f"P-Mode {pmode.id} guarantees the order of messages, and this one has no number"
        raise GatewayError(OUR_MISTAKE, detail, "eb:MessageOrder")


def write_message_order(sequence: SequenceNumber, block: str) -> str:
    """Write eb:MessageOrder with the attributes `block` of every header block."""
    status = write_attribute("eb:status", sequence.status)
    return write_element(
        "eb:MessageOrder", write_leaf("eb:SequenceNumber", str(sequence.number), status), block
    )


_ID, _TYPE, _SIGNED, _VERSION = (
    make_eb_name("id"),
    make_eb_name("type"),
    make_eb_name("signed"),
    make_eb_name("version"),
)
_ACTOR, _MUST_UNDERSTAND = make_soap_name("actor"), make_soap_name("mustUnderstand")
_SIGNATURE: Final = f"{{{DS}}}Signature"
_VERSION_2: Final = "2.0"
_HEADER: Final = "/soap:Envelope/soap:Header"


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """The values of eb:MessageHeader."""

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
    def is_signal(self) -> bool:
        """Return whether the message is a signal between the handlers themselves (ebMS 2.0 §3.1.4)."""
        return self.service == SIGNAL_SERVICE

    @property
    def route(self) -> MessageRoute:
        """Return the values that determine the P-Mode."""
        return MessageRoute(
            self.sender, self.receiver, self.agreement, self.service, self.action, self.service_type
        )


@dataclass(frozen=True, slots=True)
class HeaderBlocks:
    """The header blocks of one message; ``message_units`` reads those of signals.

    Blocks whose names begin with `hop` are those for the next handler, which no signature covers.
    """

    header: MessageHeader
    sync_reply: bool
    ack_requested: AckRequest | None
    hop_ack_requested: AckRequest | None
    acknowledgment: etree._Element | None
    hop_acknowledgment: etree._Element | None
    error_list: etree._Element | None
    signature: etree._Element | None
    sequence: SequenceNumber | None = None


def check_block_attributes(
    element: etree._Element, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> None:
    """Check the attributes of a header block (ebMS 2.0 §2.3.8).

    It has eb:version 2.0, soap:mustUnderstand and those in `required`; it may have eb:id and those in
    `optional`, and none else. Raises GatewayError for the first that is wrong.
    """
    check_attributes(element, (_VERSION, _MUST_UNDERSTAND, *required), (_ID, *optional), foreign=True)
    read_boolean_attribute(element, _MUST_UNDERSTAND)
    check_element_version(element)


def check_element_version(element: etree._Element) -> None:
    """Raise for an element of another version of ebMS (§2.3.8)."""
    if read_attribute(element, _VERSION) != _VERSION_2:
        raise_header_error(
            element, "the version of this handler is 2.0", HEADER_INCONSISTENT, at="eb:version"
        )


def read_header_blocks(header: etree._Element) -> HeaderBlocks:
    """Return the blocks of a SOAP Header; each at most once for an actor, MessageHeader exactly once."""
    blocks, for_next = _sort_header_blocks(header)
    if make_eb_name("MessageHeader") not in blocks:
        raise GatewayError(HEADER_INVALID, "there is no eb:MessageHeader", _HEADER)
    sync_reply = blocks.get(make_eb_name("SyncReply"))
    order = blocks.get(make_eb_name("MessageOrder"))
    return HeaderBlocks(
        header=read_message_header(blocks[make_eb_name("MessageHeader")]),
        sync_reply=sync_reply is not None and _check_sync_reply(sync_reply),
        ack_requested=_read_ack_request(blocks.get(_ACK_REQUESTED)),
        hop_ack_requested=_read_ack_request(for_next.get(_ACK_REQUESTED)),
        acknowledgment=blocks.get(_ACKNOWLEDGMENT),
        hop_acknowledgment=for_next.get(_ACKNOWLEDGMENT),
        error_list=blocks.get(make_eb_name("ErrorList")),
        signature=blocks.get(_SIGNATURE),
        sequence=None if order is None else _read_order(order),
    )


def _sort_header_blocks(
    header: etree._Element,
) -> tuple[dict[str, etree._Element], dict[str, etree._Element]]:
    """Return the blocks of a SOAP Header by name: those of the To party, and those of the next handler."""
    for_to_party: dict[str, etree._Element] = {}
    for_next: dict[str, etree._Element] = {}
    for element in list_elements(header):
        name = str(element.tag)
        _check_block_name(element, name)
        is_hop = name in (_ACK_REQUESTED, _ACKNOWLEDGMENT) and read_attribute(element, _ACTOR) == NEXT_MSH
        blocks = for_next if is_hop else for_to_party
        if name in blocks and name in UNDERSTOOD:
            raise_header_error(element, "this header block stands twice")
        blocks[name] = element
    return for_to_party, for_next


_ACK_REQUESTED: Final = make_eb_name("AckRequested")
_ACKNOWLEDGMENT: Final = make_eb_name("Acknowledgment")
_BLOCKS: Final = ("MessageHeader", "SyncReply", "MessageOrder", "AckRequested", "Acknowledgment", "ErrorList")
UNDERSTOOD: Final = frozenset({_SIGNATURE, *map(make_eb_name, _BLOCKS)})


def _check_block_name(element: etree._Element, name: str) -> None:
    """Raise for a block that ebMS 2.0 does not have.

    Mandatory blocks of other namespaces were refused together with the envelope. The others
    may be ignored (SOAP 1.1 §4.2.3) and are not read.
    """
    if name not in UNDERSTOOD and name.startswith(f"{{{EB}}}"):
        raise_header_error(element, f"ebMS 2.0 has no header block {etree.QName(element).localname[:80]}")


def read_message_header(element: etree._Element) -> MessageHeader:
    """Return the values of eb:MessageHeader (ebMS 2.0 §3.1)."""
    check_block_attributes(element)
    sequence = ElementSequence(element)
    sender = read_party(sequence.take_required(make_eb_name("From")))
    receiver = read_party(sequence.take_required(make_eb_name("To")))
    agreement = read_plain_text(sequence.take_required(make_eb_name("CPAId")))
    conversation_id = read_plain_text(sequence.take_required(make_eb_name("ConversationId")))
    service, service_type = _read_typed_value(sequence.take_required(make_eb_name("Service")))
    action = read_plain_text(sequence.take_required(make_eb_name("Action")))
    message_id, timestamp, ref_to, expires_at = _read_message_data(
        sequence.take_required(make_eb_name("MessageData"))
    )
    elimination = sequence.take_optional(make_eb_name("DuplicateElimination"))
    descriptions = sequence.take_all(make_eb_name("Description"))
    sequence.check_end(extensible=True)
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
        duplicate_elimination=elimination is not None and _check_empty(elimination),
        description=read_free_text(descriptions),
    )


def read_party(element: etree._Element) -> Party:
    """Return the party of eb:From or eb:To (ebMS 2.0 §3.1.1)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    ids = tuple(
        PartyId(*_read_typed_value(id_element))
        for id_element in sequence.take_all(make_eb_name("PartyId"), least=1)
    )
    role = sequence.take_optional(make_eb_name("Role"))
    sequence.check_end()
    if len(ids) > 1 and len({party_id.type for party_id in ids}) < len(ids):
        raise_header_error(element, "two ids of one party have the same type", HEADER_INCONSISTENT)
    return Party(ids, None if role is None else read_plain_text(role))


def _read_typed_value(element: etree._Element) -> tuple[str, str | None]:
    """Return value and type of a PartyId or Service; without a type it must be a URI (§3.1.1.1, §3.1.4.1)."""
    check_attributes(element, optional=(_TYPE,))
    value, kind = read_text(element), read_attribute(element, _TYPE)
    if kind is None and not is_uri(value):
        raise_header_error(element, "without a type the value must be a URI", HEADER_INCONSISTENT)
    if kind == "":
        raise_header_error(element, "the type is empty", at="eb:type")
    return value, kind


def _read_message_data(
    element: etree._Element,
) -> tuple[str, datetime, str | None, datetime | None]:
    """Return MessageId, Timestamp, RefToMessageId and TimeToLive (ebMS 2.0 §3.1.6)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    message_id = sequence.take_required(make_eb_name("MessageId"))
    timestamp = sequence.take_required(make_eb_name("Timestamp"))
    ref_to = sequence.take_optional(make_eb_name("RefToMessageId"))
    time_to_live = sequence.take_optional(make_eb_name("TimeToLive"))
    sequence.check_end()
    for time_element in (timestamp, time_to_live):
        if time_element is not None:
            check_attributes(time_element)
    return (
        read_message_id(message_id),
        read_instant(timestamp),
        None if ref_to is None else read_message_id(ref_to),
        None if time_to_live is None else read_instant(time_to_live),
    )


def _check_empty(element: etree._Element) -> bool:
    check_attributes(element)
    if len(element) or element.text:
        raise_header_error(element, "this element is empty")
    return True


def _check_sync_reply(element: etree._Element) -> bool:
    """Check eb:SyncReply (ebMS 2.0 §4.3)."""
    check_block_attributes(element, required=(_ACTOR,))
    ElementSequence(element).check_end(extensible=True)
    if read_attribute(element, _ACTOR) != SOAP11_NEXT:
        raise_header_error(element, "SyncReply is for the next node", HEADER_INCONSISTENT, at="soap:actor")
    return True


def _read_order(element: etree._Element) -> SequenceNumber:
    """Return the place of the message in eb:MessageOrder (ebMS 2.0 §9.1)."""
    check_block_attributes(element)
    return read_sequence_number(element)


def _read_ack_request(element: etree._Element | None) -> AckRequest | None:
    """Return the request in eb:AckRequested (ebMS 2.0 §6.3.1), None without one."""
    if element is None:
        return None
    check_block_attributes(element, required=(_SIGNED,), optional=(_ACTOR,))
    ElementSequence(element).check_end(extensible=True)
    read_actor(element)
    return AckRequest(read_boolean_attribute(element, _SIGNED))


def read_actor(element: etree._Element) -> str:
    """Return the actor of an acknowledgment, requested or given; without one the To party (§6.3.1.2)."""
    actor = read_attribute(element, _ACTOR, TO_PARTY_MSH)
    if actor not in (TO_PARTY_MSH, NEXT_MSH):
        raise_header_error(
            element,
            "the actor is the To party's handler or the next one",
            HEADER_INCONSISTENT,
            at="soap:actor",
        )
    return actor


def check_soap_action(header: MessageHeader, soap_action: str) -> None:
    """Raise for a SOAPAction that contradicts the header (ebMS 2.0 appendix B.2).

    It should be "ebXML"; some senders write service and action, which must then be those of
    the header.
    """
    value = soap_action.strip().strip('"')
    permitted = ("", "ebXML", f"{header.service}/{header.action}", f"{header.service}:{header.action}")
    if value not in permitted:
        raise GatewayError(HEADER_INCONSISTENT, f"SOAPAction {value[:80]!r} is not ebXML", "SOAPAction")


def check_agreed_terms(blocks: HeaderBlocks, pmode: PMode) -> None:
    """Raise for a business message that requests another quality of service than agreed.

    Requests to the next handler are not compared: any handler on the way may have changed them.
    """
    terms = pmode.reliability
    acked = blocks.ack_requested
    # Where the next handler acknowledges, nothing was agreed about the To party's.
    ack_term = terms.ack_requested if terms.ack_actor == "toPartyMSH" else "per_message"
    _check_agreed_term(ack_term, acked is not None, "eb:AckRequested")
    if acked is not None:
        _check_agreed_term(terms.ack_signed, acked.signed, "eb:AckRequested/@eb:signed")
    location = "eb:MessageHeader/eb:DuplicateElimination"
    _check_agreed_term(terms.duplicate_elimination, blocks.header.duplicate_elimination, location)
    if blocks.sync_reply and pmode.sync_reply_mode == "none":
        detail = "no reply in the HTTP answer was agreed"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_HEADER}/eb:SyncReply")
    check_agreed_order(
        blocks.sequence,
        pmode,
        duplicate_elimination=blocks.header.duplicate_elimination,
        ack_requested=acked is not None,
        sync_reply=blocks.sync_reply,
    )


def _check_agreed_term(term: str, requested: bool, location: str) -> None:
    if (term == "always" and not requested) or (term == "never" and requested):
        raise GatewayError(HEADER_INCONSISTENT, f"the agreement says {term}", f"{_HEADER}/{location}")
