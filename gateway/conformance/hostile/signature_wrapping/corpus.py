"""Signature wrapping: every variant on every target, each taken by the naive verifier."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.signature_wrapping import attachment_wrapping as wrapping_parts
from gateway.conformance.hostile.signature_wrapping import call_wrapping as wrapping_calls
from gateway.conformance.hostile.signature_wrapping import envelope_wrapping as wrapping_envelopes
from gateway.conformance.hostile.signature_wrapping.wrapping_attack import WrappingAttack

__all__ = ["CASES", "WRAPPINGS"]

WRAPPINGS: Final[tuple[WrappingAttack, ...]] = (
    *wrapping_envelopes.WRAPPINGS,
    *wrapping_parts.WRAPPINGS,
    *wrapping_calls.WRAPPINGS,
)
CASES: Final[tuple[AttackCase, ...]] = tuple(wrapping.attack_case for wrapping in WRAPPINGS)
