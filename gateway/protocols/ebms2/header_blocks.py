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
    MAX_SEQUENCE_NUMBER,
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
    check_value_length,
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

_ORDER_XPATH: Final = "/soap:Envelope/soap:Header/eb:MessageOrder"
_STATUS_ATTRIBUTE: Final = make_eb_name("status")
_STATUSES: Final = ("Reset", "Continue")
# An xs:nonNegativeInteger; no sender writes a hundred zeros before it.
_DIGITS: Final = re.compile(r"\+?[0-9]{1,32}|-0{1,32}", re.ASCII)


def read_sequence_number(element: etree._Element) -> SequenceNumber:
    """Return the number and status of eb:MessageOrder (§9.1.1); its block attributes have been checked.

    Raises GW304 for a value that is not a number from 0 to 99999999, and for a Reset with another number
    than 0.
    """
    sequence = ElementSequence(element)
    number_element = sequence.take_required(make_eb_name("SequenceNumber"))
    sequence.check_end(extensible=True)
    check_attributes(number_element, optional=(_STATUS_ATTRIBUTE,))
    status = number_element.get(_STATUS_ATTRIBUTE, "Continue")
    if status not in _STATUSES:
        raise_header_error(
            number_element, "the status must be Reset or Continue", HEADER_INVALID, at="eb:status"
        )
    number = _read_order_number(number_element)
    if status == "Reset" and number != 0:
        raise_header_error(number_element, "a Reset must have the number 0", HEADER_INCONSISTENT)
    return SequenceNumber(number, status)


def _read_order_number(element: etree._Element) -> int:
    number_text = "" if len(element) else (element.text or "").strip(" \t\r\n")
    # bounded: at most 32 digits, by the pattern
    number = int(number_text) if _DIGITS.fullmatch(number_text) else None
    if number is None or number > MAX_SEQUENCE_NUMBER:
        detail = f"a sequence number must be 0 to {MAX_SEQUENCE_NUMBER}"
        raise_header_error(element, detail, HEADER_INCONSISTENT)
    return number


def check_agreed_order(
    sequence: SequenceNumber | None,
    pmode: PMode,
    *,
    has_elimination: bool,
    has_ack_request: bool,
    has_sync_reply: bool,
) -> None:
    """Raise GW304 for an order that contradicts the agreement, or the rest of the header (§9.2).

    The keyword arguments are whether the header has DuplicateElimination, an AckRequested for the To party,
    and SyncReply.
    """
    is_order_agreed = pmode.reliability.message_order
    if sequence is None:
        if is_order_agreed:
            raise GatewayError(
                HEADER_INCONSISTENT, "the agreement guarantees the order of messages", _ORDER_XPATH
            )
        return
    if not is_order_agreed:
        raise GatewayError(HEADER_INCONSISTENT, "no order of messages was agreed", _ORDER_XPATH)
    if not has_elimination:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder needs DuplicateElimination", _ORDER_XPATH)
    if not has_ack_request:
        raise GatewayError(
            HEADER_INCONSISTENT, "MessageOrder needs AckRequested of the To party", _ORDER_XPATH
        )
    if has_sync_reply:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder must not stand beside SyncReply", _ORDER_XPATH)


def require_agreed_order(unit: UserMessage, pmode: PMode) -> None:
    """Raise rather than send a message without a number for which an order was agreed."""
    if pmode.reliability.message_order and unit.sequence is None:
        detail = f"P-Mode {pmode.id} guarantees the order of messages, and this one has no number"
        raise GatewayError(OUR_MISTAKE, detail, "eb:MessageOrder")


def write_message_order(sequence: SequenceNumber, block_attributes: str) -> str:
    """Write eb:MessageOrder with the attributes `block_attributes` of every header block."""
    status = write_attribute("eb:status", sequence.status)
    return write_element(
        "eb:MessageOrder", write_leaf("eb:SequenceNumber", str(sequence.number), status), block_attributes
    )


_ID, _TYPE, _SIGNED_ATTRIBUTE, _VERSION = (
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
        raise_header_error(element, "the version must be 2.0", HEADER_INCONSISTENT, at="eb:version")


def read_header_blocks(header: etree._Element) -> HeaderBlocks:
    """Return the blocks of a SOAP Header; each at most once for an actor, MessageHeader exactly once."""
    blocks, next_handler_blocks = _sort_header_blocks(header)
    if make_eb_name("MessageHeader") not in blocks:
        raise GatewayError(HEADER_INVALID, "there is no eb:MessageHeader", _HEADER)
    sync_reply_element = blocks.get(make_eb_name("SyncReply"))
    order_element = blocks.get(make_eb_name("MessageOrder"))
    return HeaderBlocks(
        header=read_message_header(blocks[make_eb_name("MessageHeader")]),
        sync_reply=sync_reply_element is not None and _check_sync_reply(sync_reply_element),
        ack_requested=_read_ack_request(blocks.get(_ACK_REQUESTED)),
        hop_ack_requested=_read_ack_request(next_handler_blocks.get(_ACK_REQUESTED)),
        acknowledgment=blocks.get(_ACKNOWLEDGMENT),
        hop_acknowledgment=next_handler_blocks.get(_ACKNOWLEDGMENT),
        error_list=blocks.get(make_eb_name("ErrorList")),
        signature=blocks.get(_SIGNATURE),
        sequence=None if order_element is None else _read_message_order(order_element),
    )


def _sort_header_blocks(
    header: etree._Element,
) -> tuple[dict[str, etree._Element], dict[str, etree._Element]]:
    """Return the blocks of a SOAP Header by name: those of the To party, and those of the next handler."""
    to_party_blocks: dict[str, etree._Element] = {}
    next_handler_blocks: dict[str, etree._Element] = {}
    for element in list_elements(header):
        block_name = str(element.tag)
        _check_block_name(element, block_name)
        is_hop = (
            block_name in (_ACK_REQUESTED, _ACKNOWLEDGMENT) and read_attribute(element, _ACTOR) == NEXT_MSH
        )
        blocks = next_handler_blocks if is_hop else to_party_blocks
        if block_name in blocks and block_name in UNDERSTOOD_BLOCKS:
            raise_header_error(element, "this header block stands twice")
        blocks[block_name] = element
    return to_party_blocks, next_handler_blocks


_ACK_REQUESTED: Final = make_eb_name("AckRequested")
_ACKNOWLEDGMENT: Final = make_eb_name("Acknowledgment")
_BLOCK_NAMES: Final = (
    "MessageHeader",
    "SyncReply",
    "MessageOrder",
    "AckRequested",
    "Acknowledgment",
    "ErrorList",
)
UNDERSTOOD_BLOCKS: Final = frozenset({_SIGNATURE, *map(make_eb_name, _BLOCK_NAMES)})


def _check_block_name(element: etree._Element, block_name: str) -> None:
    """Raise for a block that ebMS 2.0 does not have.

    Mandatory blocks of other namespaces were refused together with the envelope. The others
    may be ignored (SOAP 1.1 §4.2.3) and are not read.
    """
    if block_name not in UNDERSTOOD_BLOCKS and block_name.startswith(f"{{{EB}}}"):
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
    message_id, timestamp, ref_to_message_id, expires_at = _read_message_data(
        sequence.take_required(make_eb_name("MessageData"))
    )
    elimination_element = sequence.take_optional(make_eb_name("DuplicateElimination"))
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
        ref_to_message_id=ref_to_message_id,
        expires_at=expires_at,
        duplicate_elimination=elimination_element is not None and _check_empty(elimination_element),
        description=read_free_text(descriptions),
    )


def read_party(element: etree._Element) -> Party:
    """Return the party of eb:From or eb:To (ebMS 2.0 §3.1.1)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    ids = tuple(
        PartyId(*_read_typed_value(id_element))
        for id_element in sequence.take_all(make_eb_name("PartyId"), min_count=1)
    )
    role = sequence.take_optional(make_eb_name("Role"))
    sequence.check_end()
    if len(ids) > 1 and len({party_id.type for party_id in ids}) < len(ids):
        raise_header_error(element, "two ids of one party have the same type", HEADER_INCONSISTENT)
    return Party(ids, None if role is None else read_plain_text(role))


def _read_typed_value(element: etree._Element) -> tuple[str, str | None]:
    """Return value and type of a PartyId or Service; without a type it must be a URI (§3.1.1.1, §3.1.4.1)."""
    check_attributes(element, optional=(_TYPE,))
    value, value_type = read_text(element), read_attribute(element, _TYPE)
    if value_type is None and not is_uri(value):
        raise_header_error(element, "without a type the value must be a URI", HEADER_INCONSISTENT)
    if value_type == "":
        raise_header_error(element, "the type is empty", at="eb:type")
    check_value_length(element, value_type or "", "eb:type")
    return value, value_type


def _read_message_data(
    element: etree._Element,
) -> tuple[str, datetime, str | None, datetime | None]:
    """Return MessageId, Timestamp, RefToMessageId and TimeToLive (ebMS 2.0 §3.1.6)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    id_element = sequence.take_required(make_eb_name("MessageId"))
    timestamp_element = sequence.take_required(make_eb_name("Timestamp"))
    reference_element = sequence.take_optional(make_eb_name("RefToMessageId"))
    expiry_element = sequence.take_optional(make_eb_name("TimeToLive"))
    sequence.check_end()
    for time_element in (timestamp_element, expiry_element):
        if time_element is not None:
            check_attributes(time_element)
    return (
        read_message_id(id_element),
        read_instant(timestamp_element),
        None if reference_element is None else read_message_id(reference_element),
        None if expiry_element is None else read_instant(expiry_element),
    )


def _check_empty(element: etree._Element) -> bool:
    check_attributes(element)
    if len(element) or element.text:
        raise_header_error(element, "this element must not be empty")
    return True


def _check_sync_reply(element: etree._Element) -> bool:
    """Check eb:SyncReply (ebMS 2.0 §4.3)."""
    check_block_attributes(element, required=(_ACTOR,))
    ElementSequence(element).check_end(extensible=True)
    if read_attribute(element, _ACTOR) != SOAP11_NEXT:
        raise_header_error(
            element, "SyncReply must be for the next node", HEADER_INCONSISTENT, at="soap:actor"
        )
    return True


def _read_message_order(element: etree._Element) -> SequenceNumber:
    """Return the place of the message in eb:MessageOrder (ebMS 2.0 §9.1)."""
    check_block_attributes(element)
    return read_sequence_number(element)


def _read_ack_request(element: etree._Element | None) -> AckRequest | None:
    """Return the request in eb:AckRequested (ebMS 2.0 §6.3.1), None without one."""
    if element is None:
        return None
    check_block_attributes(element, required=(_SIGNED_ATTRIBUTE,), optional=(_ACTOR,))
    ElementSequence(element).check_end(extensible=True)
    read_actor(element)
    return AckRequest(read_boolean_attribute(element, _SIGNED_ATTRIBUTE))


def read_actor(element: etree._Element) -> str:
    """Return the actor of an acknowledgment, requested or given; without one the To party (§6.3.1.2)."""
    actor = read_attribute(element, _ACTOR, TO_PARTY_MSH)
    if actor not in (TO_PARTY_MSH, NEXT_MSH):
        raise_header_error(
            element,
            "the actor must be the To party's handler or the next one",
            HEADER_INCONSISTENT,
            at="soap:actor",
        )
    return actor


def check_soap_action(header: MessageHeader, soap_action: str) -> None:
    """Raise for a SOAPAction that contradicts the header (ebMS 2.0 appendix B.2).

    It should be "ebXML"; some senders write service and action, which must then be those of
    the header.
    """
    action_value = soap_action.strip().strip('"')
    permitted_values = ("", "ebXML", f"{header.service}/{header.action}", f"{header.service}:{header.action}")
    if action_value not in permitted_values:
        raise GatewayError(
            HEADER_INCONSISTENT, f"SOAPAction {action_value[:80]!r} is not ebXML", "SOAPAction"
        )


def check_agreed_terms(blocks: HeaderBlocks, pmode: PMode) -> None:
    """Raise for a business message that requests another quality of service than agreed.

    Requests to the next handler are not compared: any handler on the way may have changed them.
    """
    reliability = pmode.reliability
    ack_request = blocks.ack_requested
    # Where the next handler acknowledges, nothing was agreed about the To party's.
    ack_term = reliability.ack_requested if reliability.ack_actor == "toPartyMSH" else "per_message"
    _check_agreed_term(ack_term, ack_request is not None, "eb:AckRequested")
    if ack_request is not None:
        _check_agreed_term(reliability.ack_signed, ack_request.signed, "eb:AckRequested/@eb:signed")
    location = "eb:MessageHeader/eb:DuplicateElimination"
    _check_agreed_term(reliability.duplicate_elimination, blocks.header.duplicate_elimination, location)
    if blocks.sync_reply and pmode.sync_reply_mode == "none":
        detail = "no reply in the HTTP answer was agreed"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_HEADER}/eb:SyncReply")
    check_agreed_order(
        blocks.sequence,
        pmode,
        has_elimination=blocks.header.duplicate_elimination,
        has_ack_request=ack_request is not None,
        has_sync_reply=blocks.sync_reply,
    )


def _check_agreed_term(agreed_choice: str, is_requested: bool, location: str) -> None:
    if (agreed_choice == "always" and not is_requested) or (agreed_choice == "never" and is_requested):
        raise GatewayError(
            HEADER_INCONSISTENT, f"the agreement says {agreed_choice}", f"{_HEADER}/{location}"
        )
