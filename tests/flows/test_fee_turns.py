"""Drawn runs of fees: whatever is said, paid and operated in whatever order, the money is exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.kit.child_fee_turns import ChildFeeRun, draw_child_fees
from tests.kit.databases import BOTH, KINDS
from tests.kit.fee_turns import FeeEvent, FeeRun, draw_fees, open_fee_story
from tests.kit.whole_fee_turns import WholeFeeRun, draw_whole_fees, open_whole_fee_story


def check(engine: Engine, folder: Path, seeds: range) -> None:
    """Let drawn runs happen; a failure names the seed and the events."""
    story, provider = open_fee_story(engine, folder)
    for seed in seeds:
        events = draw_fees(seed)
        try:
            FeeRun(story, provider, f"FEES-{seed}").run(events)
        except Exception as failed:
            listed = "\n".join(f"    {one!r}," for one in events)
            pytest.fail(f"seed {seed}: {failed!r}\n{listed}")


@pytest.mark.night
@BOTH
def test_drawn_runs_of_fees_leave_the_money_exact(engine: Engine, tmp_path: Path) -> None:
    check(engine, tmp_path, range(6))


@pytest.mark.night
# A block takes a minute on an idle machine, and many on a busy one.
@pytest.mark.timeout(1200)
# Each run is drawn once; the databases take turns.
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(4)], indirect=["database_url"]
)
def test_many_drawn_runs_of_fees_leave_the_money_exact(engine: Engine, tmp_path: Path, block: int) -> None:
    check(engine, tmp_path, range(1000 + 40 * block, 1004 + 40 * block))


def check_whole(engine: Engine, folder: Path, seeds: range) -> None:
    """Let drawn runs happen in which the case turns as well; a failure names the seed and the events."""
    story, provider = open_whole_fee_story(engine, folder)
    for seed in seeds:
        events = draw_whole_fees(seed)
        try:
            WholeFeeRun(story, provider, f"WHOLE-{seed}").run(events)
        except Exception as failed:
            listed = "\n".join(f"    {one!r}," for one in events)
            pytest.fail(f"seed {seed}: {failed!r}\n{listed}")


@pytest.mark.night
def test_drawn_turns_of_a_case_leave_its_money_exact(engine: Engine, tmp_path: Path) -> None:
    """The case is amended, cleared and withdrawn, and agencies and officers decide, between its fees."""
    check_whole(engine, tmp_path, range(4))


@pytest.mark.night
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(4)], indirect=["database_url"]
)
def test_many_drawn_turns_of_a_case_leave_its_money_exact(engine: Engine, tmp_path: Path, block: int) -> None:
    check_whole(engine, tmp_path, range(2000 + 20 * block, 2002 + 20 * block))


def check_children(engine: Engine, folder: Path, seeds: range) -> None:
    """Let drawn runs of a case and its children happen; a failure names the seed and the events."""
    story, provider = open_fee_story(engine, folder)
    for seed in seeds:
        events = draw_child_fees(seed)
        try:
            ChildFeeRun(story, provider, f"CHILD-{seed}").run(events)
        except Exception as failed:
            listed = "\n".join(f"    {one!r}," for one in events)
            pytest.fail(f"seed {seed}: {failed!r}\n{listed}")


@pytest.mark.night
def test_drawn_children_leave_the_money_of_every_case_exact(engine: Engine, tmp_path: Path) -> None:
    """Goods leave in children that have fees of their own; cases are amended, cleared and withdrawn."""
    check_children(engine, tmp_path, range(3))


@pytest.mark.night
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(2)], indirect=["database_url"]
)
def test_many_drawn_children_leave_the_money_of_every_case_exact(
    engine: Engine, tmp_path: Path, block: int
) -> None:
    check_children(engine, tmp_path, range(3000 + 15 * block, 3002 + 15 * block))


ODD: dict[str, list[FeeEvent]] = {
    "a refund before its levy is refused, and counts when it is said again": [
        ("refund", "K-1", 0, None), ("levy", "K-1", 1, 0, False), ("tick", 1), ("pay", "K-1", "a", 0),
        ("refund", "K-1", 0, None),
    ],
    "a confirmation behind a part of the refund does not take the rest": [
        ("levy", "K-1", 0, -9, False), ("tick", 1), ("pay", "K-1", "a", 0), ("refund", "K-1", 1, 1),
        ("confirm", "K-1", 2, 0), ("refund", "K-1", 3, None),
    ],
    "a refund of a fee that is cancelled is nothing, though another one is due": [
        ("levy", "K-1", 0, -9, False), ("levy", "K-2", 1, -9, False), ("cancel", "K-1", 2, 0),
        ("refund", "K-1", 3, None),
    ],
    "a levy behind its former cancellation is due": [
        ("cancel", "K-1", 0, -9), ("levy", "K-1", 1, 0, False), ("tick", 1), ("pay", "K-1", "a", 0),
    ],
    "a cancellation behind a former confirmation, both before the levy, is not lost": [
        ("confirm", "K-1", 0, -9), ("cancel", "K-1", 1, 3), ("levy", "K-1", 2, 1, False), ("tick", 1),
        ("pay", "K-1", "a", 0), ("refund", "K-1", 3, None),
    ],
    "what was paid too much and went back is no part of what the agency gives back": [
        ("levy", "K-1", 0, -9, False), ("tick", 1), ("settle", "K-1"), ("tick", 12), ("pay", "K-1", "a", 0),
        ("refund", "K-1", 1, 1), ("refund", "K-1", 2, 3), ("refund", "K-1", 3, 1),
    ],
    "what was paid in time is in time, though the clock of its agency is ahead": [
        ("levy", "K-1", 0, 9, True, 0), ("tick", 1), ("pay", "K-1", "a", -7),
    ],
    "more than was paid is refused also when all of it has arrived": [
        ("levy", "K-1", 0, -9, True), ("tick", 1), ("pay", "K-1", "a", 0), ("refund", "K-1", 1, None),
        ("tick", 1), ("refund", "K-1", 2, 2), ("refund", "K-1", 3, None),
    ],
    "what ended before its levy came is given back elsewhere": [
        ("confirm", "K-1", 0, 6), ("levy", "K-1", 1, -3, True), ("refund", "K-1", 2, None),
        ("refund", "K-1", 3, 3), ("cancel", "K-1", 4, 9), ("refund", "K-1", 5, 2),
    ],
    "what is levied while its agency is asked whether it cancels can be paid when it does not": [
        ("withdraw",), ("levy", "K-1", 0, -9, False), ("levy", "N-1", 1, 0, False), ("tick", 12),
        ("pay", "K-1", "a", 0), ("keep", "KFDA", 2), ("tick", 1), ("pay", "K-1", "a", 0),
    ],
    "what is levied before the question can be paid while it is open": [
        ("levy", "K-1", 0, -9, True), ("withdraw",), ("tick", 1), ("pay", "K-1", "a", 0), ("drop", "KFDA", 1),
    ],
    "what its agency confirms meanwhile was paid elsewhere": [
        ("withdraw",), ("levy", "K-1", 0, -9, False), ("confirm", "K-1", 1, 0), ("keep", "KFDA", 2),
        ("tick", 12), ("refund", "K-1", 3, None),
    ],
    "a decision answers the question, and the fee can be paid": [
        ("withdraw",), ("levy", "K-1", 0, -9, False), ("decide", "KFDA", 1), ("tick", 1),
        ("pay", "K-1", "a", 0), ("refund", "K-1", 2, 2),
    ],
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("name", ODD)
def test_fees_in_an_order_that_was_lost_once(engine: Engine, tmp_path: Path, name: str) -> None:
    story, provider = open_fee_story(engine, tmp_path)
    FeeRun(story, provider, "ODD").run(ODD[name])
