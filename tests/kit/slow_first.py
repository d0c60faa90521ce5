"""The order in which several processes run tests: each begins with slow ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, islice
from typing import TypeVar

__all__ = ["put_slow_first"]

_Item = TypeVar("_Item")


def put_slow_first(
    items: Sequence[_Item], slow: Sequence[_Item], processes: int, name_file: Callable[[_Item], object]
) -> list[_Item]:
    """Return all items, with those that are slow at the beginning of the share of each process.

    `--dist worksteal` of pytest-xdist gives each process an equal part of the list. Slow tests of one file
    stay together, because they share what they set up.
    """
    begins: list[list[_Item]] = [[] for _ in range(processes)]
    files = [list(group) for _, group in groupby(slow, name_file)]
    for tests in sorted(files, key=len, reverse=True):
        min(begins, key=len).extend(tests)
    chosen = {id(item) for item in slow}
    others = iter([item for item in items if id(item) not in chosen])
    ordered: list[_Item] = []
    for place, first in enumerate(begins):
        share = (len(items) - len(ordered)) // (processes - place)
        ordered += first
        ordered += islice(others, max(0, share - len(first)))
    return [*ordered, *others]
