"""A party's cases are paged without gaps or repeats, and a rare condition does not make a page wait."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cases.submission_reader import GoodsReference
from gateway.state_machines import CASE
from gateway.store import (
    ListFilter,
    PartyCaseFilter,
    case_searches,
    exact_searches,
    list_searches,
    write_transaction,
)
from gateway.store.cases import cases, insert_case_references
from tests.kit.rows import open_case

MINE = [("importer", "broker"), ("broker", "broker"), ("importer", "other"), ("broker", "other")]


@pytest.fixture
def opened(engine: Engine) -> list[int]:
    with write_transaction(engine) as conn:
        ids = [open_case(conn, declarant=one, applicant=two) for _ in range(6) for one, two in MINE]
        for place, case in enumerate(ids):
            state = CASE.states[place % len(CASE.states)]
            conn.execute(cases.update().where(cases.c.id == case).values(state=state))
    return ids


def walk(engine: Engine, **wanted: object) -> list[int]:
    found, after = [], None
    with write_transaction(engine) as conn:
        while True:
            asked = PartyCaseFilter("broker", limit=4, after=after, **wanted)  # type: ignore[arg-type]
            page = case_searches.search_party_cases(conn, asked)
            found += [int(row["id"]) for row in page.rows]
            if page.next_after is None:
                return found
            assert len(page.rows) == 4 or page.searched_until is not None
            after = page.next_after


@pytest.mark.long
def test_every_case_of_a_party_is_listed_once(engine: Engine, opened: list[int]) -> None:
    mine = [case for place, case in enumerate(opened) if place % 4 != 2]
    assert walk(engine) == sorted(mine, reverse=True)
    with write_transaction(engine) as conn:
        decided = {row.id for row in conn.execute(cases.select().where(cases.c.state == "DECIDED"))}
    assert set(walk(engine, states=("DECIDED",))) == decided & set(mine)


@pytest.mark.long
def test_a_rare_condition_ends_the_page_and_goes_on(
    engine: Engine, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_searches, "_PORTION", 3)
    monkeypatch.setattr(case_searches, "_MOST_PORTIONS", 2)
    with write_transaction(engine) as conn:
        conn.execute(cases.update().where(cases.c.id == opened[0]).values(functional_reference="ZEBRA/1"))
        page = case_searches.search_party_cases(conn, PartyCaseFilter("broker", text="zebra"))
        assert page.rows == []
        assert page.searched_until is not None
    assert walk(engine, text="ZEBRA/") == [opened[0]]
    assert walk(engine, text="ZEBRA_") == walk(engine, text="%") == []


REFERENCES = [
    GoodsReference("ucr", "UCR-1"),
    GoodsReference("bill_of_lading", "BL-1"),
    GoodsReference("container", "MSKU1234565"),
    GoodsReference("cargo", "26KE0001"),
]


@pytest.mark.parametrize("value", [reference.value for reference in REFERENCES])
def test_a_case_is_found_by_each_reference_of_its_goods(
    engine: Engine, opened: list[int], value: str
) -> None:
    """Several cases may have one reference; a party finds its own alone."""
    named = opened[0], opened[1], opened[2]
    with write_transaction(engine) as conn:
        for case in named:
            for _ in range(2):
                insert_case_references(conn, case, REFERENCES)
        insert_case_references(conn, opened[4], [GoodsReference("container", f"{value}X")])
        newest_first = sorted(named, reverse=True)
        assert [row.id for row in exact_searches.find_cases(conn, value)] == newest_first
        listed = list_searches.search_cases(conn, ListFilter(reference=value)).rows
        assert [row["id"] for row in listed] == newest_first
        own = case_searches.list_party_cases(conn, PartyCaseFilter("broker", goods_reference=value))
        assert [row.id for row in own] == [opened[1], opened[0]]
        assert not case_searches.list_party_cases(conn, PartyCaseFilter("broker", functional_reference=value))
    assert walk(engine, reference=value) == [opened[1], opened[0]]
    assert walk(engine, reference=value, states=("CLOSED",)) == []
