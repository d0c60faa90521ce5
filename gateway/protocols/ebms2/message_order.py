"""The header block eb:MessageOrder: the place of a message in its conversation (ebMS 2.0 chapter 9)."""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import HEADER_INCONSISTENT, HEADER_INVALID, OUR_MISTAKE, GatewayError
from gateway.message_model import LAST_SEQUENCE_NUMBER, SequenceNumber, UserMessage
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    make_eb_name,
    raise_header_error,
)
from gateway.wire import write_attribute, write_element, write_leaf

__all__ = ["check_agreed_order", "read_sequence_number", "require_agreed_order", "write_message_order"]

_PLACE: Final = "/soap:Envelope/soap:Header/eb:MessageOrder"
_STATUS: Final = make_eb_name("status")
_STATUSES: Final = ("Reset", "Continue")
# An xs:nonNegativeInteger; no sender writes a hundred zeros before it.
_DIGITS: Final = re.compile(r"\+?[0-9]{1,32}|-0{1,32}", re.ASCII)


def read_sequence_number(element: etree._Element) -> SequenceNumber:
    """Return the number and status of eb:MessageOrder (§9.1.1); its block attributes have been checked.

    Raises GW304 for what is no number from 0 to 99999999, and for a Reset with another number than 0.
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
    found = int(text) if _DIGITS.fullmatch(text) else None
    if found is None or found > LAST_SEQUENCE_NUMBER:
        detail = f"a sequence number is 0 to {LAST_SEQUENCE_NUMBER}"
        raise_header_error(element, detail, HEADER_INCONSISTENT)
    return found


def check_agreed_order(
    sequence: SequenceNumber | None, pmode: PMode, together: tuple[bool, bool, bool]
) -> None:
    """Raise GW304 for an order that contradicts the agreement, or the rest of the header (§9.2).

    `together` says whether the header has DuplicateElimination, an AckRequested for the To party, and
    SyncReply.
    """
    agreed = pmode.reliability.message_order
    if sequence is None:
        if agreed:
            raise GatewayError(HEADER_INCONSISTENT, "the agreement guarantees the order of messages", _PLACE)
        return
    if not agreed:
        raise GatewayError(HEADER_INCONSISTENT, "no order of messages was agreed", _PLACE)
    eliminates, acknowledged, synchronous = together
    if not eliminates:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder needs DuplicateElimination", _PLACE)
    if not acknowledged:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder needs AckRequested of the To party", _PLACE)
    if synchronous:
        raise GatewayError(HEADER_INCONSISTENT, "MessageOrder does not stand beside SyncReply", _PLACE)


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
