"""A message of the tested gateway, read as far as it can be read, and the sent one that it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import DS, EB, SOAP11, XLINK, MimePart, parse_xml, read_multipart_related

BACK_CHANNEL: Final = "back channel"
CALLBACK: Final = "callback"
_PREFIXES: Final = {"soap": SOAP11, "eb": EB, "ds": DS, "xlink": XLINK}


def select_nodes(root: etree._Element | None, path: str, values: Mapping[str, str] | None = None) -> Any:
    """Return the result of an XPath (prefixes soap, eb, ds and xlink); an empty list without a tree."""
    if root is None:
        return []
    variables: dict[str, Any] = dict(values or {})
    return root.xpath(path, namespaces=_PREFIXES, **variables)


def find_text(root: etree._Element | None, path: str) -> str:
    """Return the text of the first element or attribute at a path; empty when there is none."""
    nodes = cast("list[Any]", select_nodes(root, path))
    if not nodes:
        return ""
    return str(nodes[0]) if isinstance(nodes[0], str) else (nodes[0].text or "").strip()


@dataclass(frozen=True)
class ReceivedMessage:
    """One HTTP message with a body, by the way on which it came (`status` None for a POST of the gateway).

    `path` is the path that the gateway called, for a callback. `seconds` is the duration of the exchange.
    """

    channel: str
    status: int | None
    headers: Mapping[str, str]
    body: bytes
    path: str = ""
    seconds: float = 0.0

    @cached_property
    def parts(self) -> tuple[MimePart, ...]:
        """Return root and other parts; none when the body is no message."""
        try:
            related = read_multipart_related(self.headers.get("content-type", ""), self.body)
        except GatewayError:
            return ()
        return (related.root, *related.attachments)

    @cached_property
    def root(self) -> etree._Element | None:
        """Return the SOAP envelope; None when there is none."""
        if not self.parts:
            return None
        try:
            root = parse_xml(self.parts[0].content)
        except GatewayError:
            return None
        return root if root.tag == f"{{{SOAP11}}}Envelope" else None

    @property
    def action(self) -> str:
        """Return eb:Action."""
        return find_text(self.root, "//eb:MessageHeader/eb:Action")

    @property
    def message_id(self) -> str:
        """Return eb:MessageId."""
        return find_text(self.root, "//eb:MessageHeader/eb:MessageData/eb:MessageId")

    @property
    def ref_to(self) -> str:
        """Return eb:RefToMessageId of the header."""
        return find_text(self.root, "//eb:MessageHeader/eb:MessageData/eb:RefToMessageId")

    @property
    def conversation(self) -> str:
        """Return eb:ConversationId."""
        return find_text(self.root, "//eb:MessageHeader/eb:ConversationId")

    @property
    def error_codes(self) -> tuple[str, ...]:
        """Return the codes of all errors of severity Error."""
        path = "//eb:ErrorList/eb:Error[@eb:severity='Error']/@eb:errorCode"
        return tuple(str(code) for code in select_nodes(self.root, path))

    @property
    def fault(self) -> str:
        """Return the local name of the SOAP fault code; empty without a fault."""
        return find_text(self.root, "/soap:Envelope/soap:Body/soap:Fault/faultcode").rpartition(":")[2]

    def __str__(self) -> str:
        """Return the message in words."""
        status = "" if self.status is None else f"HTTP {self.status}: "
        if self.root is None:
            return (
                f"{status}{len(self.body)} octets that are no message" if self.body else f"{status}no message"
            )
        if self.fault:
            text = find_text(self.root, "//faultstring")
            return f"{status}SOAP fault {self.fault} {text[:160]}"
        text = " ".join(
            str(description)
            for description in select_nodes(self.root, "//eb:ErrorList//eb:Description/text()")
        )
        codes = f" {'/'.join(self.error_codes)} {text[:160]}" if self.error_codes else ""
        return f"{status}{self.action or 'an envelope without Action'}{codes}"
