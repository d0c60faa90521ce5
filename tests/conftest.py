"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.kit.databases"]

ROOT = Path(__file__).resolve().parent.parent
VECTORS = Path(os.environ.get("GATEWAY_VECTORS", ROOT.parent / "shared"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, with one printed line, the tests that need outside vectors where there are none."""
    if VECTORS.is_dir():
        return
    needing = [item for item in items if item.get_closest_marker("vectors")]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in set(needing)]
        print(f"\n{len(needing)} tests need outside vectors, none found at {VECTORS} (GATEWAY_VECTORS)")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of outside vectors."""
    return VECTORS
