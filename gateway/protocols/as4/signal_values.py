"""What messages and signals of ebMS 3.0 have in common: names, MessageInfo, attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from lxml import etree

from gateway.message_model import UNNAMED
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    raise_header_error,
    read_instant,
    read_text,
)
from gateway.wire import EB3, XML

__all__ = ["LANG", "MessageInfo", "make_eb3_name", "read_message_info", "read_optional_attribute"]

LANG: Final = f"{{{XML}}}lang"
_LONGEST_ATTRIBUTE: Final = 1024
_NOT_IN_ID: Final = re.compile(r"[\s<>]")


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
            "sender": UNNAMED,
            "receiver": UNNAMED,
            "agreement": "",
        }


def read_message_info(element: etree._Element) -> MessageInfo:
    """Return the values of eb:MessageInfo (core §5.2.2.1)."""
    check_attributes(element)
    sequence = ElementSequence(element)
    stamp = sequence.take_required(make_eb3_name("Timestamp"))
    message_id = sequence.take_required(make_eb3_name("MessageId"))
    reference = sequence.take_optional(make_eb3_name("RefToMessageId"))
    sequence.check_end()
    check_attributes(stamp)
    about = None if reference is None else _read_message_id(reference)
    return MessageInfo(read_instant(stamp), _read_message_id(message_id), about)


def _read_message_id(element: etree._Element) -> str:
    """Return a message id, which is one token without angle brackets (RFC 2822 msg-id)."""
    check_attributes(element)
    value = read_text(element)
    if _NOT_IN_ID.search(value):
        raise_header_error(element, "a message id has neither white space nor angle brackets")
    return value


def read_optional_attribute(element: etree._Element, name: str) -> str | None:
    """Return the value of an attribute, None where it is absent; an empty or padded one is refused."""
    value = element.get(name)
    if value is None:
        return None
    if not value or value != value.strip() or len(value) > _LONGEST_ATTRIBUTE:
        raise_header_error(element, "the value is empty, too long, or has white space around it", at=name)
    return value
