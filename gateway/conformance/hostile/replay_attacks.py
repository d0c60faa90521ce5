"""What comes again, late, unasked, or wants its answer elsewhere (REP-01 to REP-12)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import forged_signal_attacks, message_replay_attacks
from gateway.conformance.hostile.attack_case import AttackCase

__all__ = ["CASES"]

CASES: Final[tuple[AttackCase, ...]] = (*message_replay_attacks.CASES, *forged_signal_attacks.CASES)
