"""What comes again, late, unasked, or wants its answer elsewhere (REP-01 to REP-12)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import replay_messages, replay_signals
from gateway.conformance.hostile.case import Case

__all__ = ["CASES"]

CASES: Final[tuple[Case, ...]] = (*replay_messages.CASES, *replay_signals.CASES)
