"""What no digest of an ebMS 2.0 message sees: hidden content, and parts that nobody signed."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.unsigned_content import attachment_attacks as hidden_parts
from gateway.conformance.hostile.unsigned_content import unsigned_blocks as hidden_blocks
from gateway.conformance.hostile.unsigned_content import xpath_attacks as hidden_xpaths

__all__ = ["CASES"]

CASES: Final[tuple[AttackCase, ...]] = (*hidden_blocks.CASES, *hidden_xpaths.CASES, *hidden_parts.CASES)
