"""Drawn runs of goods that declarations share: nothing leaves twice, and every case is told what is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from sqlalchemy import Engine

from tests.kit.amended_results import AmendedResultRun, draw_amended_results
from tests.kit.asked_turns import AskedRun, draw_asked
from tests.kit.cleared_turns import ClearedRun, draw_cleared
from tests.kit.databases import BOTH
from tests.kit.databases import KINDS as DATABASES
from tests.kit.goods_turns import GoodsEvent, GoodsRun, ReleaseRun, ResultRun, draw_releases, draw_results
from tests.kit.hold_turns import HeldReleaseRun, HeldResultRun, draw_held_releases, draw_held_results
from tests.kit.line_turns import LineRun, draw_lines
from tests.kit.removed_turns import RemovedRun, draw_removals
from tests.kit.story import Story
from tests.kit.tree_turns import TreeRun, draw_trees

Kind: TypeAlias = tuple[Callable[[Story, str], GoodsRun], Callable[[int], list[GoodsEvent]]]
KINDS: dict[str, Kind] = {
    "releases": (ReleaseRun, draw_releases),
    "results": (ResultRun, draw_results),
    "held-releases": (HeldReleaseRun, draw_held_releases),
    "cleared": (ClearedRun, draw_cleared),
    "amended-results": (AmendedResultRun, draw_amended_results),
    "held-results": (HeldResultRun, draw_held_results),
    "trees": (TreeRun, draw_trees),
    "lines": (LineRun, draw_lines),
    "asked": (AskedRun, draw_asked),
    "removed": (RemovedRun, draw_removals),
}


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


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_runs_of_shared_goods_end_as_the_rules_say(engine: Engine, kind: str) -> None:
    check(engine, kind, range(3))


@pytest.mark.night
# A block takes a minute on an idle machine, and many on a busy one.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
# Each run is drawn once; the databases take turns.
@pytest.mark.parametrize(
    ("database_url", "block"), [(DATABASES[one % 2], one) for one in range(2)], indirect=["database_url"]
)
def test_many_drawn_runs_of_shared_goods_end_as_the_rules_say(engine: Engine, kind: str, block: int) -> None:
    check(engine, kind, range(100 + 10 * block, 101 + 10 * block))


ODD: dict[str, list[GoodsEvent]] = {
    "what is given back goes to who waits": [
        ("declare", 0, (1, "X", "40")), ("declare", 1, (1, "X", "40")), ("tick", 5), ("say", "X", 2, "50", 0),
        ("withdraw", 0),
    ],
    "what was not left comes back": [
        ("say", "X", 0, "100", 0), ("declare", 1, (1, "X", "40")), ("declare", 2, (1, "X", "40")),
        ("say", "X", 3, None, 1), ("say", "X", 4, "50", 2), ("withdraw", 0),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", ODD)
def test_results_in_an_order_that_was_lost_once(engine: Engine, name: str) -> None:
    ResultRun(Story(engine), "ODD").run(ODD[name])


#: Orders that were told wrongly once: what an amendment gives up.
AMENDED: dict[str, list[GoodsEvent]] = {
    "customs hears that nothing of a certificate is left": [
        ("say", "Y", 0, "50", 0), ("declare", 1, (1, "Y", "20")), ("change", 0, 1, (2, "X", "20")),
    ],
    "an item that its certificate rejects stays so, and is approved again": [
        ("say", "Y", 0, "50", 0), ("declare", 1, (1, "Y", "40"), (2, "X", "20")), ("say", "Y", 2, None, 1),
        ("change", 0, None, (1, "Y", "40"), (2, "X", "20")), ("say", "Y", 3, "50", 2),
        ("change", 0, None, (1, "Y", "40")),
    ],
    "what is not left any more stays so": [
        ("say", "Y", 0, "50", 0), ("declare", 1, (1, "Y", "40")), ("say", "Y", 2, None, 1),
        ("change", 0, None, (1, "Y", "40")), ("say", "Y", 3, "30", 2), ("change", 0, None, (1, "Y", "40")),
        ("change", 0, None, (1, "Y", "30")),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", AMENDED)
def test_an_amendment_is_told_to_customs(engine: Engine, name: str) -> None:
    AmendedResultRun(Story(engine), "AMENDED").run(AMENDED[name])


#: Orders that were lost once, or told something else: a held child, and what it waits for.
HELD: dict[str, list[GoodsEvent]] = {
    "what a child gives back goes to one that is held": [
        ("open", False), ("take", 1, ((1, 3),)), ("take", 2, ((1, 3),)), ("say", "KPTA", 3, "APPROVED", 0),
        ("say", "KFDA", 4, "APPROVED", 0), ("say", "NPQS", 5, "APPROVED", 0), ("give", 0),
    ],
    "what an amended child gives back goes to one that is held": [
        ("open", False), ("take", 1, ((1, 3),)), ("take", 2, ((1, 3),)), ("say", "KPTA", 3, "APPROVED", 0),
        ("say", "KFDA", 4, "APPROVED", 0), ("say", "NPQS", 5, "APPROVED", 0), ("change", 0, ((1, 1),)),
    ],
    "an approval that was overtaken covers nothing": [
        ("open", False), ("say", "NPQS", 1, "APPROVED", 1), ("say", "NPQS", 2, "REJECTED", 2),
        ("take", 3, ((3, 1),)), ("say", "KPTA", 4, "APPROVED", 0), ("say", "KFDA", 5, "APPROVED", 0),
        ("say", "NPQS", 6, "APPROVED", 3),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", HELD)
def test_a_held_child_has_what_comes_back(engine: Engine, name: str) -> None:
    HeldReleaseRun(Story(engine), "HELD").run(HELD[name])


#: Orders that were lost once: a child that customs has cleared, or whose parent was to be withdrawn.
CLEARED: dict[str, list[GoodsEvent]] = {
    "goods that left end a withdrawal that was refused": [
        ("refuse", 0, 0), ("take", 1, ((1, 4),)), ("clear", 0, 2), ("say", "KPTA", 3, "REJECTED", 1),
        ("say", "KFDA", 4, "REJECTED", 1), ("say", "NPQS", 5, "REJECTED", 1),
        ("say", "KPTA", 6, "APPROVED", 2),
    ],
    "what is overtaken is not told to customs": [
        ("take", 0, ((1, 2), (3, 2))), ("clear", 0, 1), ("say", "KPTA", 2, "REJECTED", 5),
        ("say", "KPTA", 3, "APPROVED", 2), ("itself", "NPQS", 4),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", CLEARED)
def test_a_cleared_child_is_told_what_counts(engine: Engine, name: str) -> None:
    ClearedRun(Story(engine), "CLEARED").run(CLEARED[name])


HELD_RESULTS: dict[str, list[GoodsEvent]] = {
    "what was there when it was held is gone, and comes back": [
        ("say", "Z", 0, "50", 0), ("declare", 1, (2, "Z", "40"), (3, "X", "40")),
        ("declare", 2, (2, "Z", "40")), ("say", "X", 3, "100", 0), ("withdraw", 1),
    ],
    "what was there when it was held is revoked, and approved again": [
        ("say", "Z", 0, "50", 0), ("declare", 1, (2, "Z", "40"), (3, "X", "40")), ("say", "Z", 2, None, 1),
        ("say", "X", 3, "100", 0), ("say", "Z", 4, "50", 2),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", HELD_RESULTS)
def test_a_held_declaration_has_what_comes_back(engine: Engine, name: str) -> None:
    HeldResultRun(Story(engine), "HELD").run(HELD_RESULTS[name])


#: Orders of trees that ended otherwise once: what a child names while a case above it waits for the number.
TREES: dict[str, list[GoodsEvent]] = {
    "what a withdrawn child named goes to one that waits": [
        ("declare", 0, (2, "X", "60.5")), ("take", 1, 0, ((2, "X", "40"),)),
        ("take", 2, 0, ((2, "X", "40"),)), ("say", "X", 3, "100", 0), ("tick", 5), ("withdraw", 1),
    ],
    "what an amended child names no more goes to one that waits": [
        ("declare", 0, (2, "X", "60.5")), ("take", 1, 0, ((2, "X", "40"),)),
        ("take", 2, 0, ((2, "X", "40"),)), ("say", "X", 3, "100", 0), ("tick", 5),
        ("state", 0, ((2, "X", "5"),)),
    ],
    "what a child of a child named goes to one that waits": [
        ("declare", 0, (2, "X", "60.5")), ("take", 1, 0, ((2, "X", "40"),)),
        ("take", 2, 1, ((2, "X", "40"),)), ("take", 3, 1, ((2, "X", "20"),)), ("say", "X", 4, "100", 0),
        ("tick", 5), ("withdraw", 2),
    ],
    "a child takes nothing that its parent waits for": [
        ("declare", 0, (2, "X", "60.5")), ("say", "X", 1, "50", 0), ("take", 2, 0, ((2, "X", "20"),)),
        ("tick", 5), ("say", "X", 3, "70", 1),
    ],
    "a child of a child waits as long as that waits": [
        ("declare", 0, (2, "X", "20")), ("take", 1, 0, ((2, "X", "40"),)), ("take", 2, 1, ((2, "X", "10"),)),
        ("say", "X", 3, "100", 0), ("tick", 5),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", TREES)
def test_a_child_names_what_its_parent_has(engine: Engine, name: str) -> None:
    TreeRun(Story(engine), "TREE").run(TREES[name])


#: Orders of lines that ended otherwise once: two agencies have given one number.
LINES: dict[str, list[GoodsEvent]] = {
    "a child waits for no number of another agency": [
        ("declare", 0, ((2, "Y", "60.5", False), (2, "X", "20", True))),
        ("take", 2, 0, (2,), ((2, "Z", "5", True), (2, "X", "5", False))), ("say", "Z", 3, None, -4),
    ],
    "a child has the number of another agency than its parent waits for": [
        ("declare", 0, ((1, "Y", "40", False), (1, "X", "60.5", True))),
        ("take", 2, 0, (1,), ((1, "Z", "20", False),)), ("say", "Z", 11, "160", 9),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", LINES)
def test_a_line_is_of_the_agency_that_it_names(engine: Engine, name: str) -> None:
    LineRun(Story(engine), "LINES").run(LINES[name])


#: Declarations that ask agencies, and their held children, in orders that the manual names.
ASKED: dict[str, list[GoodsEvent]] = {
    "a child that was held has the place of its first filing": [
        ("declare", 0, ()), ("take", 1, 0, (1,), ((1, "X", "10", False),)),
        ("declare", 2, ((1, "X", "10", False),)), ("decide", 0, "KPTA", 3, "APPROVED", 0),
        ("decide", 0, "KFDA", 4, "APPROVED", 0), ("decide", 0, "NPQS", 5, "APPROVED", 0), ("tick", 5),
        ("say", "X", 6, "10", 0),
    ],
    "a held child ends with its parent, which is withdrawn": [
        ("declare", 0, ()), ("take", 1, 0, (1,), ()), ("take", 2, 1, (1,), ((1, "X", "10", False),)),
        ("withdraw", 0),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", ASKED)
def test_held_children_go_on_and_end_as_the_rules_say(engine: Engine, name: str) -> None:
    AskedRun(Story(engine), "ASKED").run(ASKED[name])
