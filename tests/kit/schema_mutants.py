"""Two schemas judge the same seeded mutants of real documents."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lxml import etree

from gateway.wire import SchemaSet, serialize_element

__all__ = ["compare_schemas"]

Mutate = Callable[[random.Random, etree._Element], tuple[etree._Element, str]]


def compare_schemas(
    ours: SchemaSet,
    published: SchemaSet,
    mutate: Mutate,
    documents: Sequence[etree._Element],
    count: int,
    seed: int,
) -> tuple[list[str], int]:
    """Return on which of so many mutants the two disagree, and how many ours accepts."""
    rng = random.Random(seed)
    found: list[str] = []
    accepted = judged = 0
    while judged < count:
        root, done = mutate(rng, rng.choice(documents))
        octets = serialize_element(root)
        if b"xml:id=" in octets:  # no schema's matter: the parser itself wants an NCName there
            continue
        judged += 1
        # Each schema gets a tree of its own: validation marks the ID attributes it meets.
        here, there = ours.is_valid(etree.fromstring(octets)), published.is_valid(etree.fromstring(octets))
        accepted += here
        if here != there:
            found.append(f"{done}: ours {here}, published {there}")
    return found, accepted
