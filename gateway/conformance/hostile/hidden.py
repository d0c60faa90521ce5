"""What no digest of an ebMS 2.0 message sees: hidden content, and parts that nobody signed."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import hidden_blocks, hidden_parts, hidden_xpaths
from gateway.conformance.hostile.case import Case

__all__ = ["CASES"]

CASES: Final[tuple[Case, ...]] = (*hidden_blocks.CASES, *hidden_xpaths.CASES, *hidden_parts.CASES)
