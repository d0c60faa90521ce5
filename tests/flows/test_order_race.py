"""Messages of a conversation arrive at once and are admitted by several workers: none overtakes another."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select

from gateway.protocols import Parcel
from gateway.store import read_transaction
from gateway.store.deliveries import deliveries
from gateway.store.transitions import transitions
from tests.flows.test_message_order import ORDERED, admitted, errors, numbered
from tests.kit.databases import in_turn
from tests.kit.story import Story


def race(story: Story, many: int, seed: int) -> None:
    """Let two senders and three workers run at once; every message is sent twice."""
    units = [numbered(story, number) for number in range(many)]
    parcels = [story.broker.seal(unit) for unit in units] * 2
    random.Random(seed).shuffle(parcels)
    arrived, together = threading.Event(), threading.Barrier(5)

    def send(some: list[Parcel]) -> None:
        together.wait(60)
        for parcel in some:
            story.house.post(parcel)

    def admit(number: int) -> None:
        worker = story.new_worker(f"w{number}", threads=2)
        together.wait(60)
        while not arrived.is_set() or worker.run_once():
            worker.run_once()

    with ThreadPoolExecutor(5) as pool:
        workers = [pool.submit(admit, number) for number in range(3)]
        senders = [pool.submit(send, parcels[half::2]) for half in range(2)]
        try:
            for one in senders:
                one.result(120)
        finally:
            arrived.set()
        for one in workers:
            one.result(120)
    while story.worker.run_once():
        pass
    assert errors(story) == []
    assert admitted(story) == [unit.message_id for unit in units]
    check_no_overlap(story, many)


def check_no_overlap(story: Story, many: int) -> None:
    """No admission began before the one before it had ended: the steps of all tasks say so."""
    wanted = select(deliveries.c.id).where(deliveries.c.dedupe_key.like("admit:%"))
    steps = select(transitions.c.event, transitions.c.object_id).order_by(transitions.c.id)
    steps = steps.where(transitions.c.machine == "delivery", transitions.c.object_id.in_(wanted))
    with read_transaction(story.house.engine) as conn:
        rows = conn.execute(steps).all()
    assert [row.event for row in rows] == ["lease", "delivered"] * many
    assert [row.object_id for row in rows[::2]] == [row.object_id for row in rows[1::2]]


@pytest.mark.long
@in_turn
def test_several_workers_keep_the_order(engine: Engine) -> None:
    race(Story(engine, agreement=ORDERED), 12, 1)


@in_turn
@pytest.mark.night
def test_several_workers_keep_a_long_order(engine: Engine) -> None:
    race(Story(engine, agreement=ORDERED), 150, seed=0)


@pytest.mark.long
@in_turn
def test_a_number_that_arrives_twice_at_once_is_taken_once(engine: Engine) -> None:
    story = Story(engine, agreement=ORDERED)
    story.house.post(story.broker.seal(numbered(story, 0)))
    parcels = [story.broker.seal(numbered(story, number)) for number in (1, 1, 3, 3)]
    together = threading.Barrier(4)

    def send(parcel: Parcel) -> None:
        together.wait(60)
        story.house.post(parcel)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, parcels))
    story.tick()
    assert len(admitted(story)) == 2
    assert [one.errors[0].code for one in errors(story)] == ["Inconsistent"] * 2
