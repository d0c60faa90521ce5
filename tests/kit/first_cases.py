"""The first case of each test function; the short tests have no other one of a story."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from tests.kit.databases import KINDS

__all__ = ["choose_first_cases", "mark_further_cases", "mark_repeated_cases"]

#: What ends a process at a commit, or lets two act at one instant, depends on the database in each case.
_DEPENDS = re.compile("kill|_die|_ends_|_commit|instant|race|_surviv")


def mark_further_cases(items: Iterable[pytest.Item]) -> None:
    """Mark what is no first case as `further`, where its test does not say that every case is short."""
    every = list(items)
    first = choose_first_cases(every)
    for item in every:
        if item not in first and item.get_closest_marker("every_case") is None:
            item.add_marker("further")


def mark_repeated_cases(items: Iterable[pytest.Item], collected: Iterable[str]) -> None:
    """Mark as `repeated` what of these, on PostgreSQL, is no first case and is tried on SQLite as well.

    `collected` are the names of all cases: where that on SQLite is not among them, nothing is repeated.
    """
    every, names = list(items), set(collected)
    first = choose_first_cases(every)
    for item in every:
        function, _, case = item.nodeid.partition("[")
        if item in first or _DEPENDS.search(item.nodeid) or _find_database(item) != "postgresql":
            continue
        if "postgresql" in case and f"{function}[{case.replace('postgresql', 'sqlite')}" in names:
            item.add_marker("repeated")


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
