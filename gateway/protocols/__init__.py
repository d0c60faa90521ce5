"""The interface of a protocol core, and the cores by name.

A new protocol is one more folder here and one more line in `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.protocols import ebms2
from gateway.protocols.core import Answer, Context, Opened, Parcel, Protocol, Sent

__all__ = ["PROTOCOLS", "Answer", "Context", "Opened", "Parcel", "Protocol", "Sent"]

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({ebms2.name: ebms2})
