"""The interface of a protocol core, and the cores by name.

A new protocol is one more folder here and one more line in `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.protocols import ebms2
from gateway.protocols.core import (
    OpenedMessage,
    Parcel,
    ProtocolContext,
    ProtocolCore,
    RejectionResponse,
    SentUnit,
)

__all__ = [
    "PROTOCOLS",
    "OpenedMessage",
    "Parcel",
    "ProtocolContext",
    "ProtocolCore",
    "RejectionResponse",
    "SentUnit",
]

PROTOCOLS: Final[Mapping[str, ProtocolCore]] = MappingProxyType({ebms2.name: ebms2})
