"""The values of eb:Messaging of ebMS 3.0, as its reader gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.message_model import ErrorSignal, PullRequest, Receipt, Unit, UserMessage

__all__ = ["GZIP_TYPE", "SIGNATURE", "MessagingHeader", "PartInfo", "RefusedBundle", "locate_part"]

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
    compressed: bool
    location: str


@dataclass(frozen=True, slots=True)
class MessagingHeader:
    """What eb:Messaging says: the unit, still without payloads, and the parts that belong to it.

    `bundled` are the receipts and errors that came beside a business message or a PullRequest, or beside
    an error.
    """

    element: etree._Element
    unit_element: etree._Element
    unit: Unit
    parts: tuple[PartInfo, ...] = ()
    bundled: tuple[Receipt | ErrorSignal, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """A receipt that is refused, and what it came beside, which is refused for that alone.

    Both name their parties.
    """

    receipt: Receipt
    beside: UserMessage | PullRequest


def locate_part(content_id: str) -> str:
    """Return what an error says of the place of a part."""
    return f"cid:{content_id[:256]}"
