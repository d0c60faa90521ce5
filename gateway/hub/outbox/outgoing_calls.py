"""Calls that the hub wants made, and the port through which they are put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lxml import etree

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.message_model import Payload

__all__ = ["CUSTOMS", "CallComposer", "OutgoingCall", "RejectingComposer"]

#: The destination of calls to customs; every other is an organisation's code.
CUSTOMS = "customs"


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """One SOAP call: where to, what, under which MessageID; `document` goes under the wildcard."""

    destination: str
    operation: str
    message_id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    document: etree._Element | None = None
    attachments: tuple[Payload, ...] = ()


class CallComposer(Protocol):
    """Puts a call into words: the unsigned envelope whose MessageID and Body never change again."""

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Return the envelope to store; raises GW504 when it does not fit the partner's contract."""

    def has_destination(self, destination: str) -> bool:
        """Tell whether the destination is configured."""


class RejectingComposer:
    """Words no calls: for processes that take messages in and leave calling to the workers."""

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Refuse: this process makes no calls."""
        raise GatewayError(SETTINGS_WRONG, f"this process makes no calls to {call.destination[:40]!r}")

    def has_destination(self, destination: str) -> bool:
        """Return False: this process knows no partner."""
        del destination
        return False
