"""A held lane gives nothing, whoever claims and whenever it was queued; races with claims are decided."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.errors import GatewayError
from gateway.state_machines import DELIVERY
from gateway.store import (
    deliveries,
    delivery_leases,
    delivery_maintenance,
    lanes,
    transitions,
    write_transaction,
)
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW, delivery, later

UNTIL = later(600)


def claim(conn, now=NOW, me="w1", lane="KR-A"):
    return claim_deliveries(conn, lane, me, now, max(UNTIL, now), limit=9)


def queue(conn, **changes):
    return deliveries.enqueue_delivery(conn, delivery(**changes), NOW)


def hold(conn, lane="KR-A", at=NOW):
    lanes.hold_lane(conn, lane, at, "kim", "planned maintenance")


@pytest.mark.long
@pytest.mark.parametrize("capacity", [None, 4])
def test_a_held_lane_gives_nothing_also_what_comes_later(engine, capacity):
    with write_transaction(engine) as conn:
        lanes.set_lane_capacity(conn, "KR-A", capacity)
        first = queue(conn)
        hold(conn)
    with write_transaction(engine) as conn:
        later_one = queue(conn)
        assert (claim(conn), lanes.list_due_lanes(conn, later(9))) == ((), ())
        backlog = lanes.read_lane_backlog(conn, "KR-A")
        assert (backlog.waiting, backlog.oldest, backlog.active) == (2, NOW, 0)
    with write_transaction(engine) as conn:
        held = lanes.release_lane(conn, "KR-A", later(60))
        assert (held.held_at, held.held_by, held.hold_reason) == (NOW, "kim", "planned maintenance")
        assert [one.id for one in claim(conn, later(60))] == [first, later_one]


def test_a_lane_that_was_found_due_without_capacity_is_looked_at_again(engine):
    """Its claim looks at the lane itself: since then it may be held, be closed or have a capacity."""
    known = lanes.DueLane("KR-A", None, suspected=False)

    def claim_known(conn, now=NOW):
        return claim_deliveries(conn, "KR-A", "w1", now, later(999), limit=9, due_lane=known)

    with write_transaction(engine) as conn:
        first, second = queue(conn), queue(conn)
        hold(conn)
        assert claim_known(conn) == ()
        lanes.release_lane(conn, "KR-A", later(1))
        lanes.set_lane_capacity(conn, "KR-A", 1)
        # It is locked for counting at the next turn.
        assert claim_known(conn, later(30)) == ()
        lanes.set_lane_capacity(conn, "KR-A", None)
        assert [one.id for one in claim_known(conn, later(30))] == [first, second]
        assert [one.attempt for one in delivery_leases.list_attempts(conn, first)] == [1]
        (step,) = transitions.list_transitions(conn, DELIVERY, second)
        assert (step.from_state, step.event, step.to_state, step.actor) == ("QUEUED", "lease", "ACTIVE", "w1")
        assert claim_known(conn, later(31)) == ()


def test_a_lane_is_held_before_anything_was_sent_to_it(engine):
    with write_transaction(engine) as conn:
        hold(conn, "msh:broker")
        queue(conn, lane="msh:broker")
        assert claim(conn, lane="msh:broker") == ()
        assert [row.name for row in lanes.list_held_lanes(conn)] == ["msh:broker"]


def test_a_hold_stands_until_it_is_released(engine):
    with write_transaction(engine) as conn:
        hold(conn)
        with pytest.raises(GatewayError) as caught:
            lanes.hold_lane(conn, "KR-A", later(1), "lee", "another reason")
        assert "held by kim since 2026-11-20T08:30:15Z: planned maintenance" in caught.value.detail
        lanes.release_lane(conn, "KR-A", later(2))
        with pytest.raises(GatewayError, match="is not held"):
            lanes.release_lane(conn, "KR-A", later(3))


def test_what_was_under_way_ends_and_its_repeat_waits(engine):
    with write_transaction(engine) as conn:
        queue(conn)
        (lease,) = claim(conn)
        hold(conn)
        assert lanes.read_lane_backlog(conn, "KR-A").active == 1
        assert delivery_leases.defer_delivery(conn, lease, NOW, later(5))
        assert claim(conn, later(10)) == ()
        lanes.release_lane(conn, "KR-A", later(20))
        assert len(claim(conn, later(20))) == 1


def test_what_is_held_back_does_not_expire(engine):
    with write_transaction(engine) as conn:
        number = queue(conn, expires_at=later(100))
        hold(conn, at=later(40))
        assert delivery_maintenance.list_expired_deliveries(conn, later(500)) == []
        assert not delivery_maintenance.expire_delivery(conn, number, later(500), "upkeep")
        lanes.release_lane(conn, "KR-A", later(540))
        assert deliveries.find_by_id(conn, number).expires_at == later(600)
        assert delivery_maintenance.list_expired_deliveries(conn, later(599)) == []
        assert delivery_maintenance.expire_delivery(conn, number, later(601), "upkeep")


@contextmanager
def in_thread(act) -> Iterator[threading.Event]:
    """Run an act beside the block; the event is set when it is done. It is waited for at the end."""
    done, failed = threading.Event(), []

    def run():
        try:
            act()
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    yield done
    thread.join(30)
    assert not failed
    assert done.is_set()


@pytest.mark.long
@pytest.mark.parametrize("capacity", [None, 4])
def test_a_hold_waits_for_a_claim_that_has_begun(engine, capacity):
    """So that nothing starts after the hold was told to be in force."""
    with write_transaction(engine) as conn:
        lanes.set_lane_capacity(conn, "KR-A", capacity)
        queue(conn)
        queue(conn, lane="KR-A", due_at=later(5))

    def hold_now():
        with write_transaction(engine) as conn:
            hold(conn)

    begun = write_transaction(engine)
    conn = begun.__enter__()
    assert len(claim(conn)) == 1
    with in_thread(hold_now) as done:
        assert not done.wait(0.3)
        begun.__exit__(None, None, None)
    with write_transaction(engine) as conn:
        assert claim(conn, later(10)) == ()
        assert lanes.read_lane_backlog(conn, "KR-A").active == 1


@pytest.mark.long
@pytest.mark.parametrize("capacity", [None, 4])
def test_a_claim_during_a_hold_gives_nothing(engine, capacity):
    with write_transaction(engine) as conn:
        lanes.set_lane_capacity(conn, "KR-A", capacity)
        queue(conn)
    claimed = []

    def claim_now():
        with write_transaction(engine) as conn:
            claimed.extend(claim(conn))

    begun = write_transaction(engine)
    conn = begun.__enter__()
    hold(conn)
    with in_thread(claim_now) as done:
        done.wait(0.3)
        begun.__exit__(None, None, None)
    assert claimed == []


def test_a_new_delivery_does_not_wait_for_a_claim(engine):
    """On SQLite every transaction waits for the one before; on PostgreSQL these do not."""
    if engine.dialect.name == "sqlite":
        return
    with write_transaction(engine) as conn:
        queue(conn)

    def queue_now():
        with write_transaction(engine) as conn:
            queue(conn)

    with write_transaction(engine) as conn:
        assert len(claim(conn)) == 1
        with in_thread(queue_now) as done:
            assert done.wait(60)


def test_two_workers_claim_from_a_lane_at_the_same_time(engine):
    if engine.dialect.name == "sqlite":
        return
    with write_transaction(engine) as conn:
        queue(conn), queue(conn)
    with write_transaction(engine) as one, write_transaction(engine) as two:
        first = claim_deliveries(one, "KR-A", "w1", NOW, UNTIL)
        second = claim_deliveries(two, "KR-A", "w2", NOW, UNTIL)
        assert (len(first), len(second)) == (1, 1)


def test_a_waiting_delivery_is_tried_now(engine):
    with write_transaction(engine) as conn:
        number = queue(conn, due_at=later(900))
        assert claim(conn) == ()
        deliveries.try_delivery(conn, number, NOW, "kim")
        assert [one.id for one in claim(conn)] == [number]
        events = [(step.event, step.actor) for step in transitions.list_transitions(conn, DELIVERY, number)]
        assert events == [("try", "kim"), ("lease", "w1")]
        with pytest.raises(GatewayError, match="ACTIVE"):
            deliveries.try_delivery(conn, number, NOW, "kim")


def test_a_lane_is_tried_now_as_a_whole(engine):
    with write_transaction(engine) as conn:
        active = queue(conn)
        claim(conn)
        waiting = [queue(conn, due_at=later(900)), queue(conn, due_at=later(800))]
        due, behind = queue(conn), queue(conn, follows=active, due_at=later(10))
        other = queue(conn, destination="KR-B", due_at=later(900))
        assert lanes.make_lane_due(conn, "KR-A", NOW, "kim") == (*waiting, behind)
        assert {one.id for one in claim(conn)} == {*waiting, due}
        assert deliveries.find_by_id(conn, other).due_at == later(900)
        assert lanes.make_lane_due(conn, "KR-A", NOW, "kim") == ()


def test_a_held_lane_is_not_tried(engine):
    with write_transaction(engine) as conn:
        queue(conn, due_at=later(900))
        hold(conn)
        with pytest.raises(GatewayError, match="release it first"):
            lanes.make_lane_due(conn, "KR-A", NOW, "kim")


@pytest.mark.long
def test_a_delivery_that_a_worker_claims_meanwhile_is_left_to_it(engine):
    """The worker has read the row before: its lease stands, and the time is not set again."""
    with write_transaction(engine) as conn:
        number = queue(conn, due_at=later(1))
    tried = []

    def try_now():
        with write_transaction(engine) as conn:
            tried.extend(lanes.make_lane_due(conn, "KR-A", NOW, "kim"))

    begun = write_transaction(engine)
    conn = begun.__enter__()
    assert len(claim(conn, later(2))) == 1
    with in_thread(try_now) as done:
        done.wait(0.3)
        begun.__exit__(None, None, None)
    with write_transaction(engine) as conn:
        row = deliveries.find_by_id(conn, number)
        assert (tried, row.state, row.attempt) == ([], "ACTIVE", 1)


def test_what_was_queued_during_a_hold_gains_only_the_time_since_then(engine):
    with write_transaction(engine) as conn:
        before = queue(conn, expires_at=later(60))
        hold(conn, at=later(10))
        meanwhile = deliveries.enqueue_delivery(conn, delivery(expires_at=later(36_040)), later(35_980))
        endless = deliveries.enqueue_delivery(conn, delivery(), later(35_980))
        lanes.release_lane(conn, "KR-A", later(36_010))
        limits = [deliveries.find_by_id(conn, one).expires_at for one in (before, meanwhile, endless)]
    assert limits == [later(36_060), later(36_070), None]


def test_a_clock_that_was_set_back_shortens_no_time_limit(engine):
    with write_transaction(engine) as conn:
        number = queue(conn, expires_at=later(60))
        hold(conn, at=later(10))
        lanes.release_lane(conn, "KR-A", later(5))
        assert deliveries.find_by_id(conn, number).expires_at == later(60)
