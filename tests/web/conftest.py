from __future__ import annotations

from pathlib import Path

import pytest

_PAGES = tuple(Path(__file__).parent / room for room in ("api", "console"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run pages and answers on PostgreSQL with the long tests.

    Their statements are tried on both databases by `tests/store`; what is left is the same on each.
    """
    for item in items:
        chosen = getattr(item, "callspec", None)
        within = any(room in item.path.parents for room in _PAGES)
        if within and chosen and "postgresql" in chosen.params.values():
            item.add_marker(pytest.mark.long)
