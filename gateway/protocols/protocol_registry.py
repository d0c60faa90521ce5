"""The protocol cores by name; a new protocol needs a new folder here and a new line in `PROTOCOLS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.protocols import ebms2
from gateway.protocols.core import ProtocolCore

__all__ = ["PROTOCOLS"]

PROTOCOLS: Final[Mapping[str, ProtocolCore]] = MappingProxyType({ebms2.name: ebms2})
