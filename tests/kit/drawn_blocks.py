"""How much of the long drawn runs happens: one setting for all of them.

A block is a range of seeds, the same ones each time. `GATEWAY_DRAWN` says what percentage of each block is
drawn, from its first seed on: 10 unless told, and all with `.ci/run --all`. No block, kind or database is
left out. What a drawn run has found once is a test of its own beside them, with the events in its table.
"""

from __future__ import annotations

import math
import os

__all__ = ["DRAWS_ALL", "choose_seeds"]

_PERCENTAGE = int(os.environ.get("GATEWAY_DRAWN", "10"))
#: Whether nothing is left out: tests that let the databases take turns try all on each of them.
DRAWS_ALL = _PERCENTAGE >= 100


def choose_seeds(first: int, runs: int, block: int) -> range:
    """Return the seeds to draw of one block, where each block has so many runs and `first` begins block 0."""
    begin = first + runs * block
    return range(begin, begin + min(runs, max(1, math.ceil(runs * _PERCENTAGE / 100))))
