"""A message or a signal of the tested gateway as the suite sees it: envelope, parts and opened content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, as4
from gateway.wire import (
    DS,
    EB3,
    SOAP12,
    WSSE,
    WSU,
    XENC,
    XENC11,
    MimePart,
    parse_xml,
    read_multipart_related,
)

NAMES: Final = {
    "eb3": EB3,
    "soap12": SOAP12,
    "wsse": WSSE,
    "wsu": WSU,
    "ds": DS,
    "xenc": XENC,
    "xenc11": XENC11,
}


@dataclass
class SeenMessage:
    """The octets of one HTTP message, read as far as they can be read; nothing of them is believed."""

    headers: Mapping[str, str]
    body: bytes
    status: int | None = None
    trouble: str = field(init=False, default="")
    root: etree._Element | None = field(init=False, default=None)
    parts: tuple[MimePart, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if not self.body:
            return
        try:
            related = read_multipart_related(self._content_type, self.body)
            self.root, self.parts = parse_xml(related.root.content), tuple(related.attachments)
        except GatewayError as wrong:
            self.trouble = wrong.detail

    @property
    def _content_type(self) -> str:
        values = (value for name, value in self.headers.items() if name.lower() == "content-type")
        return next(values, "")

    @cached_property
    def parcel(self) -> Parcel:
        """Return the message for the protocol core."""
        return Parcel({"Content-Type": self._content_type}, MemoryBody(self.body))

    def open(self, context: ProtocolContext, sent: SentUnit | None = None) -> OpenedMessage:
        """Return the message after all checks of the protocol core; raises GatewayError."""
        return as4.open_units(self.parcel, context, sent)

    def select(self, path: str) -> list[Any]:
        """Return the nodes or values that an XPath expression selects; an empty list without an envelope."""
        selected: Any = [] if self.root is None else self.root.xpath(path, namespaces=NAMES)
        return selected if isinstance(selected, list) else [selected]

    def find_text(self, path: str) -> str:
        """Return the text of the first element or attribute at a path, else an empty text."""
        selected = self.select(path)
        if not selected:
            return ""
        return str(selected[0].text or "") if isinstance(selected[0], etree._Element) else str(selected[0])

    @property
    def message_id(self) -> str:
        """Return the MessageId."""
        return self.find_text("//eb3:MessageInfo/eb3:MessageId")

    @property
    def conversation(self) -> str:
        """Return the ConversationId."""
        return self.find_text("//eb3:ConversationId")

    @property
    def codes(self) -> list[str]:
        """Return the codes of errors that are failures."""
        errors = self.select("//eb3:SignalMessage/eb3:Error")
        return [
            error.get("errorCode", "") for error in errors if error.get("severity", "").lower() != "warning"
        ]

    @property
    def fault(self) -> str:
        """Return the value of the code of a SOAP Fault, else an empty text."""
        return self.find_text("//soap12:Fault/soap12:Code/soap12:Value") or self.find_text(
            "//*[local-name()='Fault']/faultcode"
        )

    def describe(self) -> str:
        """Return the message or answer in words: HTTP status, receipt, error codes or fault."""
        if self.root is None:
            status = "no answer" if self.status is None else f"HTTP {self.status}"
            return f"{status}, {self.trouble or 'without a message'}"
        kind = self.select("//eb3:SignalMessage/eb3:Receipt") and "a receipt"
        outcome = ", ".join(self.codes) or self.fault or kind or "something else"
        description = self.find_text("//eb3:Error/eb3:Description") or self.find_text(
            "//soap12:Reason/soap12:Text"
        )
        return f"HTTP {self.status}, {outcome}" + (f" ({description[:160]})" if description else "")
