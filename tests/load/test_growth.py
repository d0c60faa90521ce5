"""A grown database has what many honest cases leave: every list and every number can be used."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from gateway.cases import check_hub_number
from gateway.store import cases, read_transaction, state_counts
from gateway.store.tables import metadata
from tests.flows.craft import reference
from tests.kit.databases import BOTH
from tests.kit.story import AGENCIES, Story
from tests.load.growth import grow_database
from tests.load.growth_cost import recount_states


@BOTH
@pytest.mark.night
def test_copies_have_rows_and_numbers_of_their_own_and_the_next_case_finds_its_place(engine: Engine) -> None:
    story = grow_database(engine, 120)
    with read_transaction(engine) as conn:
        counts = {
            name: conn.execute(select(func.count()).select_from(metadata.tables[name])).scalar()
            for name in ("cases", "agency_requests")
        }
        listed = cases.list_cases(conn, limit=200)
    assert counts == {"cases": 120, "agency_requests": 360}
    assert len({row.number for row in listed}) == 120
    for row in listed:
        check_hub_number(row.number, "number")
    states = [row.state for row in listed]
    assert states.count("CLOSED") > 100
    assert len(set(states)) > 1
    story.submit(story.submission(reference("NEXT")))
    story.tick(seconds=1)
    for agency in AGENCIES:
        story.decide(agency, number="N2")
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    assert story.case().number not in {row.number for row in listed}


@BOTH
@pytest.mark.night
def test_rows_counted_anew_are_those_that_the_triggers_have_counted(engine: Engine) -> None:
    def count() -> set[tuple[str, str, str, int]]:
        with read_transaction(engine) as conn:
            return {tuple(row) for row in state_counts.sum_states(conn)}

    story = Story(engine)
    for name in ("FIRST", "SECOND"):
        story.submit(story.submission(reference(name)))
        story.tick(seconds=1)
    story.decide(AGENCIES[0], number="N1")
    counted = count()
    recount_states(engine)
    assert count() == counted
    assert len({measure for measure, *_ in counted}) >= 4
