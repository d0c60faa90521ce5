"""Two schemas side by side: both judge the same damaged messages, and every difference is listed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from lxml import etree

from tests.xsd.mutations import MUTATIONS, mutant
from tests.xsd.oracle import Sample

Table = Counter[tuple[str, str]]


def compare(
    bases: Sequence[Sample], original: etree.XMLSchema, ours: etree.XMLSchema, count: int, seed: int
) -> tuple[Table, list[str]]:
    """Judge `count` damaged copies of the bases by both schemas; returns the table and the disagreements."""
    rng = random.Random(seed)
    table: Table = Counter()
    disagreements = []
    for number in range(count):
        kind = list(MUTATIONS)[number % len(MUTATIONS)]
        base = bases[number // len(MUTATIONS) % len(bases)]
        damaged = mutant(rng, kind, base.root)
        expected, got = original.validate(damaged), ours.validate(damaged)
        table[kind, "accepted" if expected else "refused"] += 1
        if expected != got:
            table[kind, "disagree"] += 1
            reason = (ours if expected else original).error_log.last_error
            disagreements.append(f"{number} {kind} {base.name}: original {expected}, ours {got}: {reason}")
    return table, disagreements


def show(table: Table) -> None:
    """Print the table, one kind of damage a line, with the sum below."""
    columns = ("accepted", "refused", "disagree")
    print(f"\n{'damage':<18}" + "".join(f"{c:>10}" for c in columns))
    for kind in MUTATIONS:
        print(f"{kind:<18}" + "".join(f"{table[kind, c]:>10}" for c in columns))
    print(f"{'all':<18}" + "".join(f"{sum(table[k, c] for k in MUTATIONS):>10}" for c in columns))


def assert_agreement(
    bases: Sequence[Sample], original: etree.XMLSchema, ours: etree.XMLSchema, count: int, seed: int
) -> None:
    """Fail when a verdict differs, or when the damages are too much of one kind to prove anything."""
    table, disagreements = compare(bases, original, ours, count, seed)
    show(table)
    assert not disagreements, "\n".join(disagreements)
    accepted = sum(table[kind, "accepted"] for kind in MUTATIONS)
    assert 0.15 * count < accepted < 0.85 * count, "damages that all end alike prove little"
    for kind in MUTATIONS:
        assert table[kind, "accepted"], f"{kind} was never accepted"
        assert table[kind, "refused"], f"{kind} was never refused"
