"""Drawn runs of goods that declarations share: nothing leaves twice, and every case is told what is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from sqlalchemy import Engine

from tests.kit.goods_turns import GoodsEvent, ReleaseRun, ResultRun, draw_releases, draw_results
from tests.kit.story import Story

Kind: TypeAlias = tuple[type[ReleaseRun] | type[ResultRun], Callable[[int], list[GoodsEvent]]]
KINDS: dict[str, Kind] = {"releases": (ReleaseRun, draw_releases), "results": (ResultRun, draw_results)}


def check(engine: Engine, kind: str, seeds: range) -> None:
    """Let drawn runs happen; a failure names the seed and the events."""
    story, (run, draw) = Story(engine), KINDS[kind]
    for seed in seeds:
        events = draw(seed)
        try:
            run(story, f"{kind.upper()}-{seed}").run(events)
        except Exception as failed:
            listed = "\n".join(f"    {one!r}," for one in events)
            pytest.fail(f"seed {seed}: {failed!r}\n{listed}")


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_runs_of_shared_goods_end_as_the_rules_say(engine: Engine, kind: str) -> None:
    check(engine, kind, range(4))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", range(4))
def test_many_drawn_runs_of_shared_goods_end_as_the_rules_say(engine: Engine, kind: str, block: int) -> None:
    check(engine, kind, range(100 + 20 * block, 120 + 20 * block))


ODD: dict[str, list[GoodsEvent]] = {
    "what is given back goes to who waits": [
        ("declare", 0, (1, "X", "40")), ("declare", 1, (1, "X", "40")), ("tick", 5), ("say", "X", 2, "50", 0),
        ("withdraw", 0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_results_in_an_order_that_was_lost_once(engine: Engine, name: str) -> None:
    ResultRun(Story(engine), "ODD").run(ODD[name])
