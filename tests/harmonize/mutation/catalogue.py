"""All mutants that can be made of the shipped documents, and the seeded choice among them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random
from typing import Final

from tests.harmonize.mutation import kinds_asks, kinds_lines, kinds_rest
from tests.harmonize.mutation.mutants import KINDS, Mutant, Sheet

__all__ = ["MAKERS", "chosen", "every"]

#: The modules that register the kinds.
MAKERS: Final = (kinds_asks, kinds_lines, kinds_rest)


def every(sheets: Mapping[str, Sheet]) -> dict[str, list[Mutant]]:
    """Return all mutants that can be made, by kind."""
    return {name: [m for sheet in sheets.values() for m in maker(sheet)] for name, maker in KINDS.items()}


def chosen(all_of: Mapping[str, list[Mutant]], number: int, seed: str) -> list[Mutant]:
    """Return `number` of all mutants: of each kind in turn one, each kind in an order of its seed."""
    rows = []
    for name, mutants in all_of.items():
        row = list({mutant.name: mutant for mutant in mutants}.values())
        Random(f"{seed} {name}").shuffle(row)
        rows.append(row)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*rows))
    return list(itertools.islice((mutant for mutant in turns if mutant is not None), number))
