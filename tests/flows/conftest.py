from __future__ import annotations

from pathlib import Path

import pytest

#: What depends on the locks of a database is tried on both with the short tests.
_LOCKING = ("test_race", "test_worker", "test_receive", "test_kills")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the stories of a case on PostgreSQL with the long tests.

    Their statements are tried on both databases by `tests/store`; what is left is the same on each.
    """
    for item in items:
        chosen = getattr(item, "callspec", None)
        within = Path(__file__).parent in item.path.parents and item.path.stem not in _LOCKING
        if within and chosen and "postgresql" in chosen.params.values():
            item.add_marker(pytest.mark.long)
