"""What two parties agreed: P-Modes, the book that finds them, and the file they are read from."""

from __future__ import annotations

from gateway.agreements.agreement_file import read_pmodes
from gateway.agreements.pmode import (
    PMode,
    Reliability,
    Security,
    pmode_from_json,
    pmode_to_json,
)
from gateway.agreements.pmode_index import SIGNAL_SERVICE, MessageRoute, PModeIndex

__all__ = [
    "SIGNAL_SERVICE",
    "MessageRoute",
    "PMode",
    "PModeIndex",
    "Reliability",
    "Security",
    "pmode_from_json",
    "pmode_to_json",
    "read_pmodes",
]
