"""The first case of each test function; the short tests have no other one of a story.

Of the other cases the gate runs a part, and `.ci/run --all` runs all of them. The tests that are not measured
take turns: each gate runs a quarter of their functions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Final

import pytest

from tests.kit.databases import KINDS

__all__ = [
    "TURNS",
    "choose_first_cases",
    "mark_further_cases",
    "mark_other_turns",
    "mark_repeated_cases",
    "mark_spared_cases",
    "mark_unsampled_cases",
]

#: What ends a process at a commit, or lets two act at one instant, depends on the database in each case.
_DEPENDS = re.compile("kill|_die|_ends_|_commit|instant|race|_surviv")
#: Of so many further cases of a function the gate runs one.
_SHARE: Final = 6
#: Of so many cases of a test that says that a sample does (`sampled`) the gate runs one.
_SAMPLE: Final = 3
#: So many gates share the tests that are not measured. With this seed each takes about as long as the others.
TURNS: Final = 4
_TURN_SEED: Final = 223


def mark_other_turns(items: Iterable[pytest.Item], turn: int) -> None:
    """Mark as `other_turn` the tests whose function belongs to another turn of the gate, by its name.

    What is marked `every_turn` belongs to all.
    """
    for item in items:
        function = item.nodeid.partition("[")[0]
        own = zlib.crc32(f"{_TURN_SEED} {function}".encode()) % TURNS == turn % TURNS
        if not own and item.get_closest_marker("every_turn") is None:
            item.add_marker("other_turn")


def mark_further_cases(items: Iterable[pytest.Item]) -> None:
    """Mark what is no first case as `further`, where its test does not say that every case is short."""
    every = list(items)
    first = choose_first_cases(every)
    for item in every:
        if item not in first and item.get_closest_marker("every_case") is None:
            item.add_marker("further")


def mark_repeated_cases(items: Iterable[pytest.Item], collected: Iterable[str]) -> None:
    """Mark as `repeated` what of these is tried on SQLite as well, but for the first one of each file.

    All are on PostgreSQL. `collected` are the names of all cases: where that on SQLite is not among them,
    nothing is repeated.
    """
    names, files = set(collected), set()
    for item in items:
        function, _, case = item.nodeid.partition("[")
        file = function.partition("::")[0]
        if _DEPENDS.search(item.nodeid) or _find_database(item) != "postgresql":
            continue
        if f"{function}[{case.replace('postgresql', 'sqlite')}" not in names:
            continue
        if file in files:
            item.add_marker("repeated")
        files.add(file)


def mark_spared_cases(items: Iterable[pytest.Item], share: int = _SHARE) -> None:
    """Mark as `spared` all of these cases of each function but one of so many, on each database.

    What depends on commits, kills or instants is not spared.
    """
    _spare_cases((item for item in items if not _DEPENDS.search(item.nodeid)), share)


def mark_unsampled_cases(items: Iterable[pytest.Item]) -> None:
    """Mark as `spared` two of three cases of each function that is marked `sampled`, on each database."""
    _spare_cases((item for item in items if item.get_closest_marker("sampled") is not None), _SAMPLE)


def _spare_cases(items: Iterable[pytest.Item], share: int) -> None:
    """Leave one of so many cases of each function, on each database, and mark the others.

    Which one is left begins with another one for each function and database: what several functions are
    tried with, a document or a verb, is tried by some of them.
    """
    groups: dict[tuple[str, str | None], list[pytest.Item]] = {}
    for item in items:
        function = item.nodeid.partition("[")[0]
        groups.setdefault((function, _find_database(item)), []).append(item)
    for (function, database), cases in groups.items():
        turn = zlib.crc32(function.encode()) + (KINDS.index(database) if database else 0)
        begin = turn % min(share, len(cases))
        for place, item in enumerate(cases):
            if (place - begin) % share:
                item.add_marker("spared")


def choose_first_cases(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the first case of each function, on each database and with each set of marks that it has."""
    first: dict[object, pytest.Item] = {}
    for item in items:
        function = item.nodeid.partition("[")[0]
        marks = frozenset(mark.name for mark in item.iter_markers())
        first.setdefault((function, _find_database(item), marks), item)
    return set(first.values())


def _find_database(item: pytest.Item) -> str | None:
    case = getattr(item, "callspec", None)
    values = case.params.values() if case is not None else ()
    return next((value for value in values if isinstance(value, str) and value in KINDS), None)
