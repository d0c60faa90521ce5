"""Passes through rows that wait: however many fail, each row behind them gets its turn."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import pytest

from gateway.store import WorkPasses


class Waiting:
    """Rows that wait, of which some always fail, and those that were tried."""

    def __init__(self, rows: Collection[int], failing: Collection[int] = ()) -> None:
        self.rows = sorted(rows)
        self.failing = set(failing)
        self.tried: list[int] = []
        self.questions = 0

    def list_rows(self, after: int | None, limit: int) -> Sequence[int]:
        self.questions += 1
        return [row for row in self.rows if after is None or row > after][:limit]

    def finish(self, row: int) -> bool:
        self.tried.append(row)
        if row in self.failing:
            return False
        self.rows.remove(row)
        return True

    def run(self, passes: WorkPasses[int]) -> list[int]:
        """Return the rows that one pass tried."""
        self.tried = []
        assert passes.run_pass(self.list_rows, lambda row: row, self.finish) == len(self.tried)
        return self.tried


def test_a_pass_without_work_asks_once() -> None:
    waiting = Waiting([])
    assert waiting.run(WorkPasses(3)) == []
    assert waiting.questions == 1


def test_a_pass_goes_on_behind_the_rows_that_fail_and_the_next_tries_them_again() -> None:
    waiting, passes = Waiting(range(10), failing=range(3)), WorkPasses[int](4)
    assert waiting.run(passes) == list(range(7))
    assert waiting.run(passes) == [7, 8, 9]
    assert waiting.run(passes) == [0, 1, 2]


def test_a_pass_ends_when_as_many_have_failed_and_the_next_goes_on_behind_them() -> None:
    waiting, passes = Waiting(range(10), failing=range(7)), WorkPasses[int](4)
    assert waiting.run(passes) == [0, 1, 2, 3]
    assert waiting.run(passes) == [4, 5, 6, 7, 8, 9]
    assert waiting.run(passes) == [0, 1, 2, 3]


def test_a_row_that_is_healed_gets_its_turn_while_new_ones_come_behind_it() -> None:
    waiting, passes = Waiting(range(10), failing=[0]), WorkPasses[int](4)
    waiting.run(passes)
    waiting.failing.clear()
    for number in range(12):
        waiting.rows += range(100 * number + 100, 100 * number + 110)
        waiting.run(passes)
        if 0 not in waiting.rows:
            break
    else:
        pytest.fail("the row was not tried again")


def test_an_extra_pass_from_the_first_row_hides_none_behind() -> None:
    waiting, passes = Waiting(range(100), failing=range(99)), WorkPasses[int](4)
    for _ in range(100 // 4 + 5):
        waiting.run(passes)
    assert 99 not in waiting.rows


def test_a_pass_ends_when_enough_is_done_and_the_next_goes_on() -> None:
    waiting, passes = Waiting(range(10), failing=[0]), WorkPasses[int](3)
    assert waiting.run(passes) == [0, 1, 2, 3]
    assert waiting.run(passes) == [4, 5, 6]
    assert waiting.run(passes) == [7, 8, 9]
    assert waiting.run(passes) == []
    assert waiting.run(passes) == [0]


def test_where_nothing_failed_the_next_pass_begins_with_the_first() -> None:
    waiting, passes = Waiting(range(10, 20)), WorkPasses[int](3)
    assert waiting.run(passes) == [10, 11, 12]
    waiting.rows.insert(0, 1)
    assert waiting.run(passes) == [1, 13, 14]


def test_a_pass_whose_time_is_over_ends_and_the_next_goes_on_behind() -> None:
    waiting = Waiting(range(10), failing=range(9))
    passes = WorkPasses[int](20, 5.0, itertools.count().__next__)
    assert waiting.run(passes) == [0, 1, 2, 3, 4]
    assert waiting.run(passes) == [5, 6, 7, 8, 9]


def test_a_row_that_raises_ends_its_pass_alone() -> None:
    waiting, passes = Waiting(range(4)), WorkPasses[int](3)

    def raise_at_first(row: int) -> bool:
        if row == 0:
            raise KeyError(row)
        return waiting.finish(row)

    def run() -> int:
        return passes.run_pass(waiting.list_rows, lambda row: row, raise_at_first)

    with pytest.raises(KeyError):
        run()
    assert run() == 3
    assert waiting.rows == [0]
    assert run() == 0
    with pytest.raises(KeyError):
        run()


def test_a_pass_that_begins_during_another_begins_where_that_one_began() -> None:
    waiting, passes = Waiting(range(3), failing=[0]), WorkPasses[int](3)
    tried_within: list[int] = []

    def finish_or_begin(row: int) -> bool:
        if row == 0 and not tried_within:
            tried_within.extend(Waiting(range(3)).run(passes))
        return waiting.finish(row)

    passes.run_pass(waiting.list_rows, lambda row: row, finish_or_begin)
    assert tried_within == [0, 1, 2]
    assert waiting.tried == [0, 1, 2]
