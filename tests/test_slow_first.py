"""Slow tests come first in the share of each process, and no test is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.kit.slow_first import put_slow_first


def name_file(test: str) -> str:
    return test.partition(":")[0]


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
def test_each_process_begins_with_slow_tests_and_all_are_there_once(processes: int) -> None:
    quick = [f"quick{file}:{number}" for file in range(10) for number in range(10)]
    slow = [f"slow{file}:{number}" for file in range(8) for number in range(file + 1)]
    items = [*quick[:30], *slow, *quick[30:]]
    ordered = put_slow_first(items, slow, processes, name_file)
    assert sorted(ordered) == sorted(items)
    begin = 0
    for place in range(processes):
        assert ordered[begin].startswith("slow"), place
        begin += (len(items) - begin) // (processes - place)
    files = [name_file(test) for test in ordered if test in slow]
    assert len([1 for one, other in pairwise(files) if one != other]) == 7
    # Tests of one file keep their order.
    assert [test for test in ordered if test in quick] == quick


def test_more_slow_tests_than_a_share_holds_are_kept() -> None:
    slow = ["a:1", "a:2", "a:3", "b:1"]
    assert sorted(put_slow_first(["q:1", *slow], slow, 3, name_file)) == sorted(["q:1", *slow])
