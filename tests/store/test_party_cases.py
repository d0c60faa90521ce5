"""A party's cases are paged without gaps or repeats, and a rare condition does not make a page wait."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.state_machines import CASE
from gateway.store import PartyCaseFilter, party_cases, write_transaction
from gateway.store.tables import cases
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
            page = party_cases.search_party_cases(conn, asked)
            found += [int(row["id"]) for row in page.rows]
            if page.following is None:
                return found
            assert len(page.rows) == 4 or page.searched_until is not None
            after = page.following


def test_every_case_of_a_party_is_listed_once(engine: Engine, opened: list[int]) -> None:
    mine = [case for place, case in enumerate(opened) if place % 4 != 2]
    assert walk(engine) == sorted(mine, reverse=True)
    with write_transaction(engine) as conn:
        decided = {row.id for row in conn.execute(cases.select().where(cases.c.state == "DECIDED"))}
    assert set(walk(engine, states=("DECIDED",))) == decided & set(mine)


def test_a_rare_condition_ends_the_page_and_goes_on(
    engine: Engine, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(party_cases, "_PORTION", 3)
    monkeypatch.setattr(party_cases, "_MOST_PORTIONS", 2)
    with write_transaction(engine) as conn:
        conn.execute(cases.update().where(cases.c.id == opened[0]).values(functional_reference="ZEBRA/1"))
        page = party_cases.search_party_cases(conn, PartyCaseFilter("broker", text="zebra"))
        assert page.rows == []
        assert page.searched_until is not None
    assert walk(engine, text="ZEBRA") == [opened[0]]
