"""Lookups of the rules of need in one process: every pair of code and direction of the shipped table."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

from gateway.harmonize import load_bundle
from gateway.hub import ActiveNeeds
from gateway.needs import GoodsQuery
from gateway.share import get_data_folder
from tests.load.stopwatch import say

_DAY = date(2026, 11, 22)


def measure(rounds: int) -> dict[str, Any]:
    """Return the lookups a second by whole codes and by six digits, and the milliseconds of the index."""
    place = get_data_folder("mappings")
    bundle = load_bundle(place)
    begun = time.perf_counter()
    index = ActiveNeeds(place, bundle).get_index()
    ready = time.perf_counter() - begun
    keys = list(dict.fromkeys((row.hs, row.direction) for row in index.tables[0].rows))
    found: dict[str, Any] = {"needs_index_ms": ready * 1000}
    for name, digits in (("needs_lookups_per_s", 10), ("needs_short_lookups_per_s", 6)):
        queries = [GoodsQuery(hs[:digits], direction, _DAY, "CN") for hs, direction in keys] * rounds
        begun = time.perf_counter()
        empty = sum(not index.find_needs(one) for one in queries)
        found[name] = len(queries) / (time.perf_counter() - begun)
        assert empty == 0
        say(f"{name}: {found[name]:.0f}")
    return found
