"""The attacker's means without a gateway, made once for every file, and one case of each attack."""

from __future__ import annotations

from collections.abc import Iterable

from gateway_conformance.hostile import AttackCase, make_sample_kit

__all__ = ["SAMPLE_KIT", "choose_one_of_each"]

SAMPLE_KIT = make_sample_kit()


def choose_one_of_each(cases: Iterable[AttackCase]) -> tuple[AttackCase, ...]:
    """Return the first case of each attack: enough to see that a broken gateway is found out."""
    chosen: dict[str, AttackCase] = {}
    for case in cases:
        chosen.setdefault(case.attack_id, case)
    return tuple(chosen.values())
