"""The SOAP calls of the hub, and the port that composes their envelopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lxml import etree

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.message_model import Payload
from gateway.wire import WrittenElement

__all__ = [
    "CANCELLATION",
    "CLEARANCE_NEWS",
    "CUSTOMS",
    "DRAFTED",
    "CallComposer",
    "OutgoingCall",
    "RejectingComposer",
]

#: The destination of calls to customs; every other destination is an organisation's code.
CUSTOMS = "customs"
#: The operation that asks an agency to cancel an application.
CANCELLATION = "CancelApplication"
#: The operation that tells an agency how customs ended clearance.
CLEARANCE_NEWS = "NotifyClearance"
#: The parameter of a delivery whose stored call is a draft, until it has been composed.
DRAFTED: Final = "drafted"


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """One SOAP call: destination, operation, MessageID, arguments; `document` fills the schema's wildcard.

    `scope` says what is to be decided, beside the document: ``items``, and the ``laws`` for each of them.
    """

    destination: str
    operation: str
    message_id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    document: etree._Element | WrittenElement | None = None
    attachments: tuple[Payload, ...] = ()
    scope: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class CallComposer(Protocol):
    """Composes the unsigned envelope of a call; its MessageID and Body never change afterwards."""

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Return the envelope to store; raises GW504 when the call does not fit the partner's contract."""

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Return the draft of a call that its contract does not take now; it is composed when it is sent."""

    def has_destination(self, destination: str) -> bool:
        """Return whether the destination is configured."""

    def wants_payments(self, destination: str) -> bool:
        """Return whether an agency wants to be told that a fee was paid."""


class RejectingComposer:
    """Composes no calls: for processes that receive messages and leave the calls to the workers."""

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Raise GW801: this process makes no calls."""
        raise GatewayError(SETTINGS_WRONG, f"this process makes no calls to {call.destination[:40]!r}")

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Raise GW801: this process makes no calls."""
        return self.compose_call(call)

    def has_destination(self, destination: str) -> bool:
        """Return False: this process has no partners."""
        del destination
        return False

    def wants_payments(self, destination: str) -> bool:
        """Return False: this process has no partners."""
        del destination
        return False
