"""Whatever the order of arrival, with repeats and resets, messages are released as a simple model says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from gateway.errors import GatewayError
from gateway.hub.intake.message_order import OrderedArrival, release_or_hold_message
from gateway.message_model import SequenceNumber
from gateway.store import SequenceKey, deliveries, message_sequences, octet_removal, write_transaction
from tests.kit.databases import in_turn
from tests.kit.rows import NOW, stored

RESET = SequenceNumber(0, "Reset")
MOST = 4
_talks = itertools.count(1)

#: A run of numbers in any order with repeats of numbers, then another run, and so on.
RUN = st.integers(1, 6).flatmap(
    lambda size: st.permutations([RESET, *map(SequenceNumber, range(1, size))] * 2).map(
        lambda places: places[: size + 2]
    )
)
ARRIVALS = st.lists(RUN, min_size=1, max_size=3).map(lambda runs: list(itertools.chain.from_iterable(runs)))


@dataclass
class Model:
    """The rules of chapter 9 in a few lines: what is released, held and refused."""

    released: int = 0
    held: dict[int, int] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def arrive(self, message: int, place: SequenceNumber) -> str:
        number = place.number
        if place == RESET:
            if self.released and self.held:
                return "refused"
            self.released = 0
        elif number < max(self.released, 1) or number in self.held:
            return "refused"
        if number > self.released:
            if len(self.held) >= MOST:
                return "refused"
            self.held[number] = message
            return "held"
        self.held[number] = message
        while self.released in self.held:
            self.order.append(self.held.pop(self.released))
            self.released += 1
        return "released"


def arrive(conn: Connection, key: SequenceKey, message: int, place: SequenceNumber) -> str:
    arrival = OrderedArrival(message, place, NOW + timedelta(days=1), True, MOST)
    try:
        with conn.begin_nested():
            release_or_hold_message(conn, key, arrival, NOW)
    except GatewayError:
        return "refused"
    ordered = message_sequences.ordered_messages.c
    state = conn.execute(select(ordered.state).where(ordered.message == message)).scalar_one()
    return str(state).lower()


def admissions(conn: Connection, known: set[int]) -> list[int]:
    """Return the messages whose tasks are queued, each after the one that it follows."""
    rows = deliveries.list_deliveries(conn, limit=1000, agent="local")
    after = {row.follows: row for row in rows if int(row.subject_id) in known}
    order, last = [], None
    while last in after:
        row = after.pop(last)
        order.append(int(row.subject_id))
        last = row.id
    assert not after
    return order


@in_turn
@pytest.mark.long
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(places=ARRIVALS)
def test_arrivals_are_released_as_the_model_says(engine: Engine, places: list[SequenceNumber]) -> None:
    key, model = SequenceKey("in", "broker", "agreement", f"talk-{next(_talks)}"), Model()
    known: set[int] = set()
    with write_transaction(engine) as conn:
        for place in places:
            message = stored(conn)
            known.add(message)
            assert arrive(conn, key, message, place) == model.arrive(message, place)
        assert admissions(conn, known) == model.order
        sequence = message_sequences.lock_sequence(conn, key, NOW)
        held = [one.message for one in message_sequences.list_held(conn, sequence.id)]
        assert held == [model.held[number] for number in sorted(model.held)]


def test_a_message_whose_time_is_over_is_not_released(engine: Engine) -> None:
    key = SequenceKey("in", "broker", "agreement", "talk-late")
    with write_transaction(engine) as conn:
        late, gap = stored(conn), stored(conn)
        release_or_hold_message(conn, key, OrderedArrival(late, SequenceNumber(1), NOW, True, MOST), NOW)
        release_or_hold_message(
            conn, key, OrderedArrival(gap, RESET, NOW + timedelta(days=1), True, MOST), NOW
        )
        assert admissions(conn, {late, gap}) == [gap]


def test_retention_leaves_a_held_message_alone(engine: Engine) -> None:
    key = SequenceKey("in", "broker", "agreement", "talk-kept")
    with write_transaction(engine) as conn:
        held, released = stored(conn), stored(conn)
        for message, place in ((held, SequenceNumber(5)), (released, RESET)):
            release_or_hold_message(conn, key, OrderedArrival(message, place, NOW, True, MOST), NOW)
        listed = {row.id for row in conn.execute(octet_removal._select_messages())}
    assert {held, released} & listed == {released}


def test_messages_for_the_mailbox_keep_their_numbers_without_a_task(engine: Engine) -> None:
    key = SequenceKey("in", "broker", "agreement", "talk-mailbox")
    with write_transaction(engine) as conn:
        numbers = [stored(conn) for _ in range(3)]
        for position, message in enumerate(numbers):
            place = SequenceNumber(position) if position else RESET
            to_case = position != 1
            release_or_hold_message(conn, key, OrderedArrival(message, place, NOW, to_case, MOST), NOW)
        assert admissions(conn, set(numbers)) == [numbers[0], numbers[2]]


@pytest.mark.parametrize("number", [1, 5])
def test_a_number_far_behind_is_refused(engine: Engine, number: int) -> None:
    key = SequenceKey("in", "broker", "agreement", f"talk-behind-{number}")
    with write_transaction(engine) as conn:
        release_or_hold_message(conn, key, OrderedArrival(stored(conn), RESET, NOW, False, MOST), NOW)
        for position in range(1, 8):
            place = SequenceNumber(position)
            release_or_hold_message(conn, key, OrderedArrival(stored(conn), place, NOW, False, MOST), NOW)
        with pytest.raises(GatewayError):
            release_or_hold_message(
                conn, key, OrderedArrival(stored(conn), SequenceNumber(number), NOW, False, MOST), NOW
            )
