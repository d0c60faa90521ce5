"""The protocol cores by name; a new protocol needs a new folder here and its name in `PROTOCOLS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.agreements import PMode
from gateway.protocols import as4, ebms2
from gateway.protocols.core import ProtocolCore

PROTOCOLS: Final[Mapping[str, ProtocolCore]] = MappingProxyType({core.name: core for core in (ebms2, as4)})


def list_unsupported_terms(pmode: PMode) -> tuple[str, ...]:
    """Return a sentence for each term of a P-Mode that its core does not support; none without a core."""
    core = PROTOCOLS.get(pmode.protocol)
    return () if core is None else core.list_unsupported_terms(pmode)
