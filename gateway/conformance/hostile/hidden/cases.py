"""What no digest of an ebMS 2.0 message sees: hidden content, and parts that nobody signed."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.hidden import blocks as hidden_blocks
from gateway.conformance.hostile.hidden import parts as hidden_parts
from gateway.conformance.hostile.hidden import xpaths as hidden_xpaths

__all__ = ["CASES"]

CASES: Final[tuple[Case, ...]] = (*hidden_blocks.CASES, *hidden_xpaths.CASES, *hidden_parts.CASES)
