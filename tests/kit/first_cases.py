"""The first case of each test function, for a run that need not see every case."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.kit.databases import KINDS

__all__ = ["choose_first_cases"]


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
