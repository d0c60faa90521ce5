"""A time stamp is judged by the revocation lists that are in force after its request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import Engine

from gateway.store import NewFetchedList, fetched_lists, read_transaction, register_version, write_transaction
from tests.flows.test_time_stamps import Place
from tests.kit.databases import BOTH
from tests.kit.fetching import DAY, crl
from tests.kit.house import START


@pytest.fixture
def place(engine: Engine) -> Iterator[Place]:
    made = Place.make(engine)
    yield made
    for one in made.authorities:
        one.down()


@BOTH
def test_a_stamp_is_judged_by_a_list_that_came_into_force_during_its_request(place: Place) -> None:
    place.send()
    place.story.hub.register._crls = ()
    with write_transaction(place.engine) as conn:
        register_version.increment_register_version(conn)
    clock = place.story.clock

    def tell_time_after_list() -> datetime:
        """Put a list in force while the authority makes the stamp."""
        new_list = NewFetchedList("", "crl", crl(2), "CN=Test CA", "2", START, START + DAY)
        with write_transaction(place.engine) as conn:
            fetched_lists.ensure_source(conn, "root", "crl", "http://a/")
            fetched_lists.activate_lists(conn, "root", [new_list], clock())
        return clock()

    place.tsa.clock = tell_time_after_list
    place.tick()
    assert place.turns() == [("DELIVERED", None)]
    with read_transaction(place.engine) as conn:
        assert fetched_lists.list_by_source(conn, "root")
    assert len(place.stamps()) == 1
