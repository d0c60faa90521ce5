"""A message as it has been opened, with all that it was verified by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.hub.hub import Hub
from gateway.hub.register import RegisterSnapshot
from gateway.protocols import OpenedMessage, ProtocolContext, ProtocolCore

__all__ = ["ReceivedMessage"]


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """An opened parcel with what it was verified by; `way` is how its signer was admitted.

    What came in an HTTP answer is not `connected`: no answer of ours can go back on its connection.
    """

    hub: Hub
    protocol: ProtocolCore
    opened: OpenedMessage
    context: ProtocolContext
    knowledge: RegisterSnapshot
    way: Mapping[str, Any] | None = None
    connected: bool = True
