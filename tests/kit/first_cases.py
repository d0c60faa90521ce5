"""The first case of each test function; the short tests have no other one of a story."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.kit.databases import KINDS

__all__ = ["choose_first_cases", "mark_further_cases"]


def mark_further_cases(items: Iterable[pytest.Item]) -> None:
    """Mark what is no first case as `further`, where its test does not say that every case is short."""
    every = list(items)
    first = choose_first_cases(every)
    for item in every:
        if item not in first and item.get_closest_marker("every_case") is None:
            item.add_marker("further")


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
