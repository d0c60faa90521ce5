"""Cases of a test that run at night, beside those that run with it."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["at_night"]


def at_night(*cases: Any) -> list[Any]:
    """Return cases of one parameter, to be run at night alone."""
    return [pytest.param(case, marks=pytest.mark.night) for case in cases]
