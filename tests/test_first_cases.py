"""The first cases are one of every test function, on each database and with each set of marks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit.first_cases import (
    TURNS,
    choose_first_cases,
    mark_further_cases,
    mark_other_turns,
    mark_repeated_cases,
    mark_spared_cases,
    mark_unsampled_cases,
)


class Item:
    """What is read of a collected test."""

    def __init__(self, nodeid: str, *params: object, marks: tuple[str, ...] = ()) -> None:
        self.nodeid = nodeid
        self.marks = [SimpleNamespace(name=name) for name in marks]
        if params:
            self.callspec = SimpleNamespace(params=dict(enumerate(params)))

    def iter_markers(self) -> list[Any]:
        return self.marks

    def get_closest_marker(self, name: str) -> Any:
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, name: str) -> None:
        self.marks.append(SimpleNamespace(name=name))


@pytest.mark.parametrize(
    ("items", "chosen"),
    [
        pytest.param([Item("t.py::a"), Item("t.py::b")], [0, 1], id="each function"),
        pytest.param(
            [Item("u.py::a[x]", "x"), Item("u.py::a[y]", "y"), Item("v.py::a[y]", "y")], [0, 2], id="cases"
        ),
        pytest.param(
            [
                Item("t.py::a[sqlite-x]", "sqlite", "x"),
                Item("t.py::a[sqlite-y]", "sqlite", "y"),
                Item("t.py::a[postgresql-x]", "postgresql", "x"),
            ],
            [0, 2],
            id="databases",
        ),
        pytest.param(
            [Item("t.py::a[x]", "x", marks=("long",)), Item("t.py::a[y]", "y"), Item("t.py::a[z]", [])],
            [0, 1],
            id="marks",
        ),
    ],
)
def test_one_case_of_each_kind_is_chosen(items: list[Any], chosen: list[int]) -> None:
    assert choose_first_cases(items) == {items[number] for number in chosen}


def test_further_cases_are_marked_where_a_test_does_not_keep_them() -> None:
    items: list[Any] = [Item("t.py::a[x]", "x"), Item("t.py::a[y]", "y"), Item("t.py::b")]
    kept: list[Any] = [
        Item("t.py::c[x]", "x", marks=("every_case",)),
        Item("t.py::c[y]", "y", marks=("every_case",)),
    ]
    mark_further_cases([*items, *kept])
    assert [item.get_closest_marker("further") is not None for item in items] == [False, True, False]
    assert [item.get_closest_marker("further") for item in kept] == [None, None]


def test_what_postgresql_tells_after_the_first_test_of_a_file_repeats_that_on_sqlite() -> None:
    items: list[Any] = [
        Item(f"{file}.py::{function}[{kind}-{case}]", kind, case)
        for file, function in (("t", "a"), ("t", "b_killed_at"), ("t", "c"), ("u", "d"))
        for kind in ("sqlite", "postgresql")
        for case in ("x", "y", "z")
    ]
    # Only PostgreSQL has this one.
    items.append(Item("t.py::a[postgresql-w]", "postgresql", "w"))
    given = [item for item in items if "postgresql" in item.nodeid]
    mark_repeated_cases(given, [item.nodeid for item in items if item.nodeid != "t.py::a[sqlite-z]"])
    assert list_marked(items, "repeated") == [
        "t.py::a[postgresql-y]", "t.py::c[postgresql-x]", "t.py::c[postgresql-y]", "t.py::c[postgresql-z]",
        "u.py::d[postgresql-y]", "u.py::d[postgresql-z]",
    ]  # fmt: skip


def test_five_of_six_further_cases_are_spared_and_one_of_each_function_is_not() -> None:
    counts = {"one": 1, "two": 2, "three": 3, "many": 100, "as_many": 100, "killed_anywhere": 100}
    items: list[Any] = [
        Item(f"t.py::{function}[{case}]", case) for function, count in counts.items() for case in range(count)
    ]
    items += [Item("t.py::kinds[sqlite]", "sqlite"), Item("t.py::kinds[postgresql]", "postgresql")]
    mark_spared_cases(items)
    left = {item.nodeid for item in items} - set(list_marked(items, "spared"))
    of_each = {name: sum(one.startswith(f"t.py::{name}[") for one in left) for name in (*counts, "kinds")}
    assert of_each.pop("many") in (16, 17)
    assert of_each.pop("as_many") in (16, 17)
    assert of_each == {"one": 1, "two": 1, "three": 1, "killed_anywhere": 100, "kinds": 2}
    cases = [{one.partition("[")[2] for one in left if f"::{name}[" in one} for name in ("many", "as_many")]
    assert cases[0].isdisjoint(cases[1])


def test_of_a_test_that_says_so_one_of_three_cases_is_left_on_each_database() -> None:
    items: list[Any] = [
        Item(f"t.py::{function}[{kind}-{case}]", kind, case, marks=marks)
        for function, marks in (("drawn_kills", ("sampled", "long")), ("others", ("long",)))
        for kind in ("sqlite", "postgresql")
        for case in range(6)
    ]
    mark_unsampled_cases(items)
    spared = list_marked(items, "spared")
    for kind in ("sqlite", "postgresql"):
        assert sum(f"drawn_kills[{kind}" in one for one in spared) == 4
    assert not [one for one in spared if "others" in one]
    # What is left on one database is not what is left on the other one.
    left = {item.nodeid for item in items if "drawn_kills" in item.nodeid} - set(spared)
    cases = [{one[-2] for one in left if kind in one} for kind in ("sqlite", "postgresql")]
    assert cases[0].isdisjoint(cases[1])


def list_marked(items: list[Any], mark: str) -> list[str]:
    return [item.nodeid for item in items if item.get_closest_marker(mark)]


def test_each_long_test_belongs_to_one_turn_with_all_its_cases() -> None:
    names = [
        f"tests/{room}/test_x.py::f{number}[{case}]" for room in "ab" for number in range(30) for case in "xy"
    ]
    turns: dict[str, list[int]] = {name: [] for name in names}
    for turn in range(TURNS):
        items: list[Any] = [Item(name) for name in names]
        mark_other_turns(items, turn)
        for item in items:
            if item.get_closest_marker("other_turn") is None:
                turns[item.nodeid].append(turn)
    assert all(len(found) == 1 for found in turns.values())
    assert all(turns[name] == turns[name.replace("[x]", "[y]")] for name in names)
    # Each turn has its share.
    assert {found[0] for found in turns.values()} == set(range(TURNS))


def test_what_belongs_to_every_turn_is_in_each() -> None:
    for turn in range(TURNS):
        items: list[Any] = [
            Item(f"tests/a/test_x.py::f{number}", marks=("every_turn",)) for number in range(9)
        ]
        mark_other_turns(items, turn)
        assert not any(item.get_closest_marker("other_turn") for item in items)
