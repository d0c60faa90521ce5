"""What two parties agreed: P-Modes, the book that finds them, and the file they are read from."""

from __future__ import annotations

from gateway.agreements.book import SIGNAL_SERVICE, AgreementBook, Route
from gateway.agreements.pmode import (
    PMode,
    Reliability,
    Security,
    pmode_from_json,
    pmode_to_json,
)
from gateway.agreements.read import read_pmodes

__all__ = [
    "SIGNAL_SERVICE",
    "AgreementBook",
    "PMode",
    "Reliability",
    "Route",
    "Security",
    "pmode_from_json",
    "pmode_to_json",
    "read_pmodes",
]
