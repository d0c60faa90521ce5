"""Cases by chance: one number, one case, always the same."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.pki.chains import steps, words
from tests.pki.chains.plan import Plan
from tests.pki.chains.steps import Change

FAMILIES = ("path", "lists", "responses")


def plan(seed: int, number: int) -> Plan:
    """Return the case of a number under a seed."""
    chance = random.Random(f"{seed}:{number}")
    made = steps.start(chance)
    family = chance.choice(("path", "path", "path", "lists", "lists", "responses"))
    if family == "path":
        _change(chance, made, steps.CHANGES, chance.choice((0, 1, 1, 1, 1, 2, 2, 3)))
    else:
        _change(chance, made, steps.CHANGES, chance.choice((0, 0, 0, 0, 1)))
    if family == "lists":
        words.publish(chance, made)
        _change(chance, made, words.LIST_CHANGES, chance.choice((0, 1, 1, 1, 1, 2)))
    if family == "responses":
        words.answer(chance, made)
    made.notes.insert(0, family)
    return made


def _change(chance: random.Random, made: Plan, changes: Sequence[tuple[Change, int]], count: int) -> None:
    kinds, weights = zip(*changes, strict=True)
    for change in chance.choices(kinds, weights, k=count):
        change(chance, made)
