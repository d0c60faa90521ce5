"""What rests in the mailbox is found, and nothing else is taken for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, update

from gateway.hub.intake.message_order import OrderedArrival, enqueue_admission, release_or_hold_message
from gateway.message_model import SequenceNumber
from gateway.store import (
    ListFilter,
    SequenceKey,
    StateEvent,
    deliveries,
    list_searches,
    mailbox_messages,
    messages,
    write_transaction,
)
from tests.kit import tables
from tests.kit.rows import NOW, delivery, later, open_case, stored


def list_resting(conn: Connection) -> list[int]:
    page = list_searches.search_messages(conn, ListFilter(), resting=True)
    return sorted(row["id"] for row in page.rows)


def hold(conn: Connection, message: int, number: int, *, for_case: bool) -> None:
    place = SequenceNumber(number, "Continue" if number else "Reset")
    arrival = OrderedArrival(message, place, NOW + timedelta(days=9), for_case, 9)
    release_or_hold_message(conn, SequenceKey("in", "broker", "urn:cpa", "talk"), arrival, NOW)


@pytest.mark.long
def test_what_nobody_processes_rests(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        resting = [
            stored(conn, agreement_id="a"),
            stored(conn, agreement_id="a"),
            stored(conn, action="Amend"),
        ]
        stored(conn, direction="out")
        stored(conn, kind="Fragment")
        enqueue_admission(conn, stored(conn), None, NOW)
        onward = stored(conn)
        deliveries.enqueue_delivery(conn, delivery(dedupe_key=f"onward:{onward}"), NOW)
        failed = stored(conn)
        messages.apply_event(conn, failed, StateEvent("fail", NOW, "t"), "GW315")
        open_case(conn, message=(of_case := stored(conn)))
        messages.set_message_case(conn, of_case, 1)
        purged = stored(conn)
        conn.execute(update(tables.messages).where(tables.messages.c.id == purged).values(purged_at=NOW))
        released, waiting = stored(conn, action="Store"), stored(conn)
        hold(conn, released, 0, for_case=False)
        hold(conn, waiting, 2, for_case=False)
        resting.append(released)
        assert list_resting(conn) == resting
        assert mailbox_messages.count_by_action(conn) == {"Submit": 2, "Amend": 1, "Store": 1}
        rows = mailbox_messages.summarize_resting(conn)
        told = {(row.agreement_id, row.action): (row.number, row.oldest) for row in rows}
        assert told["a", "Submit"] == (2, resting[0])
        every = set(range(1, waiting + 1))
        locked = {one for one in every if mailbox_messages.lock_resting_message(conn, one) is not None}
        assert locked == set(resting)


@pytest.mark.long
def test_a_list_of_what_rests_goes_on_page_by_page(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        resting = [stored(conn) for _ in range(3)]
        page = list_searches.search_messages(conn, ListFilter(limit=2), resting=True)
        assert ([row["id"] for row in page.rows], page.remaining) == (resting[:0:-1], 1)
        last = list_searches.search_messages(conn, ListFilter(limit=2, after=resting[1]), resting=True)
        assert [row["id"] for row in last.rows] == resting[:1]
        old = ListFilter(until=later(-1))
        assert list_searches.search_messages(conn, old, resting=True).rows == []
