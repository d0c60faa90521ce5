"""Signature wrapping: every variant on every target, each taken by the naive verifier."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.wrapping import calls as wrapping_calls
from gateway.conformance.hostile.wrapping import envelopes as wrapping_envelopes
from gateway.conformance.hostile.wrapping import parts as wrapping_parts
from gateway.conformance.hostile.wrapping.variants import Wrapping

__all__ = ["CASES", "WRAPPINGS"]

WRAPPINGS: Final[tuple[Wrapping, ...]] = (
    *wrapping_envelopes.WRAPPINGS,
    *wrapping_parts.WRAPPINGS,
    *wrapping_calls.WRAPPINGS,
)
CASES: Final[tuple[Case, ...]] = tuple(wrapping.case for wrapping in WRAPPINGS)
