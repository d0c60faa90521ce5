"""The values of eb:Messaging of ebMS 3.0, as its reader gives them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from lxml import etree

from gateway.message_model import UNNAMED_PARTY, ErrorSignal, PullRequest, Receipt, Unit, UserMessage
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    check_value_length,
    raise_header_error,
    read_instant,
    read_message_id,
)
from gateway.wire import EB3, read_attribute

#: Where the signature of a message is.
SIGNATURE: Final = "/soap12:Envelope/soap12:Header/wsse:Security/ds:Signature"
#: The media type of a part that is compressed (AS4 profile §3.1).
GZIP_TYPE: Final = "application/gzip"


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One payload that eb:PayloadInfo names: its Content-ID, its type as stated, whether it is compressed."""

    content_id: str
    properties: tuple[tuple[str, str], ...]
    media_type: str | None
    is_compressed: bool
    location: str


@dataclass(frozen=True, slots=True)
class MessagingHeader:
    """The content of eb:Messaging: the unit, still without payloads, and the parts that belong to it.

    `bundled_units` are the receipts and errors that came beside a business message or a PullRequest, or
    beside an error.
    """

    element: etree._Element
    unit_element: etree._Element
    unit: Unit
    parts: tuple[PartInfo, ...] = ()
    bundled_units: tuple[Receipt | ErrorSignal, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """A refused receipt, and the unit that it was bundled with, which is refused only for that reason.

    Both name their parties.
    """

    receipt: Receipt
    main_unit: UserMessage | PullRequest


def format_part_location(content_id: str) -> str:
    """Return the location of a part as errors name it."""
    return f"cid:{content_id[:256]}"


@cache
def make_eb3_name(name: str) -> str:
    """Return the qualified name of an element of ebMS 3.0."""
    return f"{{{EB3}}}{name}"


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """The values of eb:MessageInfo."""

    timestamp: datetime
    message_id: str
    ref_to_message_id: str | None

    def make_unit_values(self) -> dict[str, Any]:
        """Return the values of a signal, which names neither parties nor agreement nor conversation."""
        return {
            "message_id": self.message_id,
            "timestamp": self.timestamp,
            "conversation_id": "",
            "sender": UNNAMED_PARTY,
            "receiver": UNNAMED_PARTY,
            "agreement": "",
        }


def read_message_info(element: etree._Element) -> MessageInfo:
    """Return the values of eb:MessageInfo (core §5.2.2.1)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    timestamp_element = sequence.take_required(make_eb3_name("Timestamp"))
    id_element = sequence.take_required(make_eb3_name("MessageId"))
    reference_element = sequence.take_optional(make_eb3_name("RefToMessageId"))
    sequence.check_end()
    check_attributes(timestamp_element)
    ref_to_message_id = None if reference_element is None else read_message_id(reference_element)
    return MessageInfo(read_instant(timestamp_element), read_message_id(id_element), ref_to_message_id)


def read_optional_attribute(element: etree._Element, attribute_name: str) -> str | None:
    """Return the value of an attribute, None where it is absent; a padded, empty or long one is refused."""
    value = read_attribute(element, attribute_name)
    if value is None:
        return None
    if not value or value != value.strip():
        raise_header_error(element, "the value is empty or has white space around it", at=attribute_name)
    check_value_length(element, value, attribute_name)
    return value
