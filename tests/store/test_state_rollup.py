"""The roll-up says what a count of all rows says, whatever was written, by whom, and what came between."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, func, select, update

from gateway.errors import PUT_ASIDE
from gateway.state_machines import CASE, DELIVERY, MESSAGE, REQUEST
from gateway.store import (
    deliveries,
    fold_state_changes,
    read_transaction,
    state_counts,
    sum_states,
    write_transaction,
)
from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.deliveries import deliveries as delivery_rows
from gateway.store.messages import messages
from gateway.store.state_counts import state_changes, state_totals
from tests.kit.rows import NOW, delivery, open_case, request, stored
from tests.kit.story import Story

_STATES = ((messages, MESSAGE), (cases, CASE), (agency_requests, REQUEST), (delivery_rows, DELIVERY))
_OUTCOMES = (None, "APPROVED", "PARTIAL", "REFUSED")
_PROBLEMS = (None, "GW601", PUT_ASIDE.id)


def count_rows(conn: Connection) -> Counter[tuple[str, str, str]]:
    """Count every row, as the roll-up should."""
    found: Counter[tuple[str, str, str]] = Counter()
    for measure, table, label in (
        ("messages", messages, messages.c.direction),
        ("cases", cases, cases.c.outcome),
        ("requests", agency_requests, agency_requests.c.agency),
        ("deliveries", delivery_rows, delivery_rows.c.lane),
        ("problems", delivery_rows, delivery_rows.c.problem),
    ):
        counted = select(label, table.c.state, func.count()).group_by(label, table.c.state)
        if measure == "problems":
            done = ("DELIVERED", "CANCELLED")
            counted = counted.where(label.is_not(None), table.c.state.not_in(done))
        for value, state, number in conn.execute(counted):
            found[measure, value or "", state] = number
    return found


def assert_equal(engine: Engine) -> None:
    """Compare roll-up and count in one snapshot, which nobody changes meanwhile."""
    with read_transaction(engine) as conn:
        rolled = {(row.measure, row.label, row.state): row.number for row in sum_states(conn)}
        assert rolled == count_rows(conn)


def change_something(conn: Connection, chance: random.Random) -> None:
    """Add, change or remove rows as anybody could, the hub or an operator with SQL."""
    act = chance.randrange(6)
    if act == 0:
        stored(conn)
    elif act == 1:
        request(conn, open_case(conn), agency=chance.choice(("KR-A", "KR-B")))
    elif act == 2:
        lane = chance.choice(("KR-A", "KR-B"))
        deliveries.enqueue_delivery(conn, delivery(destination=lane), NOW)
    elif act == 3:
        found = conn.execute(select(delivery_rows.c.id)).scalars().all()
        gone = chance.sample(found, min(len(found), chance.randrange(2)))
        conn.execute(delete(delivery_rows).where(delivery_rows.c.id.in_(gone)))
    else:
        table, machine = chance.choice(_STATES)
        ids = conn.execute(select(table.c.id)).scalars().all()
        chosen = chance.sample(ids, min(len(ids), chance.randrange(1, 4)))
        values: dict[str, Any] = {"state": chance.choice(machine.states)}
        if table is cases:
            values["outcome"] = chance.choice(_OUTCOMES)
        if table is delivery_rows:
            values["problem"] = chance.choice(_PROBLEMS)
        conn.execute(update(table).where(table.c.id.in_(chosen)).values(**values))


class _GoneError(Exception):
    """The end of a process, in the middle of a transaction."""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_roll_up_is_the_count_after_any_history(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        try:
            with write_transaction(engine) as conn:
                for _ in range(chance.randrange(1, 4)):
                    change_something(conn, chance)
                if chance.random() < 0.2:
                    raise _GoneError
        except _GoneError:
            pass
        if chance.random() < 0.3:
            fold_state_changes(engine)
        assert_equal(engine)
    while fold_state_changes(engine):
        pass
    assert_equal(engine)
    with read_transaction(engine) as conn:
        assert conn.execute(select(func.count()).select_from(state_changes)).scalar_one() == 0
        assert conn.execute(select(func.count()).select_from(state_totals)).scalar_one() > 10


@pytest.mark.long
def test_changes_and_folds_at_the_same_time_lose_nothing(engine: Engine) -> None:
    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            with write_transaction(engine) as conn:
                for act in (stored, lambda conn: request(conn, open_case(conn))):
                    act(conn)
                new = delivery(destination=f"KR-{chance.randrange(3)}")
                deliveries.enqueue_delivery(conn, new, NOW)
                if chance.random() < 0.3:
                    conn.execute(
                        update(delivery_rows)
                        .where(delivery_rows.c.dedupe_key == new.dedupe_key)
                        .values(state="FAILED", problem="GW601")
                    )
            fold_state_changes(engine)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        with read_transaction(engine) as conn:
            # Never a part of a transaction, and nothing twice while it is folded.
            counted = Counter[str]()
            for row in sum_states(conn):
                counted[row.measure] += row.number
            assert counted["messages"] == 2 * counted["requests"]
    for one in threads:
        one.join()
    assert_equal(engine)


@pytest.mark.long
def test_a_whole_story_is_counted(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick(seconds=1)
    story.decide_all()
    story.tick(seconds=1)
    assert story.case().state == "CLOSED"
    assert_equal(engine)
    with read_transaction(engine) as conn:
        found = state_counts.count_states(conn)
        assert found["gateway_cases"] == {(("state", "CLOSED"), ("outcome", "APPROVED")): 1.0}
        assert state_counts.count_deliveries(conn)["DELIVERED"] > 5


def test_what_is_put_aside_is_counted(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        deliveries.enqueue_delivery(conn, delivery(), NOW)
        conn.execute(update(delivery_rows).values(state="FAILED", problem=PUT_ASIDE.id))
    with read_transaction(engine) as conn:
        found = state_counts.count_states(conn)
    assert found["gateway_deliveries_put_aside"] == {(): 1.0}
    assert found["gateway_delivery_problems"] == {(("problem", PUT_ASIDE.id), ("state", "FAILED")): 1.0}


def test_a_scrape_reads_no_table_that_grows(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        request(conn, open_case(conn))
        deliveries.enqueue_delivery(conn, delivery(), NOW)
    # Rows that nobody counted: a count of rows would tell of them.
    with write_transaction(engine) as conn:
        conn.execute(delete(state_totals))
        conn.execute(delete(state_changes))
        found = state_counts.count_states(conn)
    for name in ("gateway_messages", "gateway_cases", "gateway_requests", "gateway_deliveries"):
        assert found[name] == {}
