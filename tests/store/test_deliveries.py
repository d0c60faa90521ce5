from __future__ import annotations

import threading
from collections import Counter

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.state_machines import DELIVERY
from gateway.store import (
    AttemptOutcome,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    exact_searches,
    lanes,
    make_engine,
    payloads,
    read_transaction,
    register_version,
    state_counts,
    transitions,
    write_transaction,
)
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW, delivery, later, open_case

UNTIL = later(60)


def claim(conn, lane="KR-A", me="worker-1", now=NOW, **more):
    return claim_deliveries(conn, lane, me, now, max(UNTIL, now), **more)


def queue(conn, **changes):
    return deliveries.enqueue_delivery(conn, delivery(**changes), NOW)


def state(conn, row_id):
    return deliveries.find_by_id(conn, row_id).state


def events(conn, row_id):
    return [step.event for step in transitions.list_transitions(conn, DELIVERY, row_id)]


def test_a_delivery_comes_back_as_it_was_put_in(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        digest = payloads.store_payload(conn, b"<Request/>", NOW)
        new = delivery(
            case_id=case_id,
            payload_sha256=digest,
            parameters={"action": "SubmitApplication"},
            due_at=later(5),
            expires_at=later(500),
            lane="slow",
        )
        row_id = deliveries.enqueue_delivery(conn, new, NOW)
        row = deliveries.find_by_id(conn, row_id)
        assert deliveries.find_by_dedupe_key(conn, new.dedupe_key) == row
        assert deliveries.find_by_wire_id(conn, new.wire_id) == row
        assert deliveries.list_by_case(conn, case_id) == deliveries.list_unfinished(conn, case_id) == [row]
        assert deliveries.list_deliveries(conn, lane="slow", state="QUEUED") == [row]
        assert deliveries.list_deliveries(conn, before=row_id) == []
        assert deliveries.find_by_wire_id(conn, "none") is None
    for name in ("agent", "destination", "lane", "subject_type", "subject_id", "case_id", "wire_id"):
        assert getattr(row, name) == getattr(new, name)
    assert (row.payload_sha256, row.parameters) == (digest, {"action": "SubmitApplication"})
    assert (row.state, row.attempt, row.due_at, row.expires_at) == ("QUEUED", 0, later(5), later(500))


@pytest.mark.long
def test_the_lane_is_the_destination_unless_told_and_made_when_new(engine):
    with write_transaction(engine) as conn:
        assert deliveries.find_by_id(conn, queue(conn, destination="KR-B")).lane == "KR-B"
        names = [row.name for row in lanes.summarize_lanes(conn)]
    assert names == ["KR-B", "local"]


def test_a_key_is_queued_once(engine):
    new = delivery()
    with write_transaction(engine) as conn:
        assert deliveries.enqueue_delivery(conn, new, NOW) is not None
        assert deliveries.enqueue_delivery(conn, new, later(1)) is None
    with write_transaction(engine) as conn:
        ids = deliveries.enqueue_deliveries(conn, [new, delivery()], NOW)
        assert ids[0] is None
        assert ids[1] is not None
        assert state_counts.count_deliveries(conn)["QUEUED"] == 2


@pytest.mark.long
def test_a_claim_takes_the_earliest_that_are_due(engine):
    with write_transaction(engine) as conn:
        third = queue(conn, due_at=later(-1))
        first = queue(conn, due_at=later(-3))
        second = queue(conn, due_at=later(-2))
        queue(conn, due_at=later(1))
        queue(conn, destination="KR-B", due_at=later(-9))
        leases = claim(conn, limit=2)
        assert {lease.id for lease in leases} == {first, second}
        assert [lease.id for lease in claim(conn, limit=5)] == [third]
        assert claim(conn, limit=5) == ()
        assert len(claim(conn, limit=5, now=later(1))) == 1


def test_a_lease_says_what_is_to_be_done(engine):
    with write_transaction(engine) as conn:
        new = delivery(parameters={"a": 1}, expires_at=later(99))
        row_id = deliveries.enqueue_delivery(conn, new, NOW)
        (lease,) = claim(conn, me="worker-7")
        row = deliveries.find_by_id(conn, row_id)
    assert (lease.id, lease.attempt, lease.tries, lease.leased_by) == (row_id, 1, 1, "worker-7")
    assert (lease.lease_until, lease.expires_at, lease.created_at) == (UNTIL, later(99), NOW)
    assert (lease.agent, lease.destination, lease.wire_id) == (new.agent, new.destination, new.wire_id)
    assert lease.parameters == {"a": 1}
    assert (row.state, row.attempt, row.leased_by) == ("ACTIVE", 1, "worker-7")


def test_what_has_expired_is_not_claimed(engine):
    with write_transaction(engine) as conn:
        queue(conn, expires_at=NOW)
        assert claim(conn) == ()


@pytest.mark.long
def test_a_lane_has_room_for_so_many(engine):
    with write_transaction(engine) as conn:
        for _ in range(5):
            queue(conn)
        lanes.set_lane_capacity(conn, "KR-A", 2)
        first = claim(conn, limit=10)
        assert len(first) == 2
        assert claim(conn, limit=10) == ()
        assert delivery_leases.mark_delivered(conn, first[0], NOW)
        assert len(claim(conn, limit=10)) == 1
        lanes.set_lane_capacity(conn, "KR-A", None)
        assert len(claim(conn, limit=10)) == 2
        assert claim(conn, lane="nobody") == ()


@pytest.mark.long
def test_a_lane_is_due_from_the_time_of_its_first_waiting_delivery(engine):
    with write_transaction(engine) as conn:
        queue(conn)
        queue(conn, destination="KR-B")
        assert tuple(one.name for one in lanes.list_due_lanes(conn, NOW)) == ("KR-A", "KR-B")
        assert tuple(one.name for one in lanes.list_due_lanes(conn, later(-1))) == ()
        assert len(claim(conn)) == 1
        assert tuple(one.name for one in lanes.list_due_lanes(conn, NOW)) == ("KR-B",)


@pytest.mark.long
def test_the_overview_counts(engine):
    with write_transaction(engine) as conn:
        for _ in range(3):
            queue(conn)
        delivery_leases.fail_delivery(conn, claim(conn)[0], NOW)
        claim(conn)
        rows = {row.name: row for row in lanes.summarize_lanes(conn)}
        assert state_counts.count_deliveries(conn) == {
            "QUEUED": 1,
            "ACTIVE": 1,
            "FAILED": 1,
            "AWAITING_RECEIPT": 0,
            "HELD": 0,
            "DELIVERED": 0,
            "CANCELLED": 0,
        }
    found = rows["KR-A"]
    assert (found.queued, found.active, found.awaiting_receipt, found.held, found.failed) == (1, 1, 0, 0, 1)
    assert rows["local"].queued == 0


OUTCOME = AttemptOutcome("GW601", 503, None, "connection refused", "Connection refused", "busy")


@pytest.mark.long
@pytest.mark.parametrize(
    ("word", "after", "event", "due", "problem"),
    [
        (
            lambda conn, lease: delivery_leases.mark_delivered(conn, lease, later(1)),
            "DELIVERED",
            "delivered",
            NOW,
            None,
        ),
        (
            lambda conn, lease: delivery_leases.mark_sent(conn, lease, later(1), later(300)),
            "AWAITING_RECEIPT",
            "sent",
            later(300),
            None,
        ),
        (
            lambda conn, lease: delivery_leases.defer_delivery(conn, lease, later(1), later(30), OUTCOME),
            "QUEUED",
            "defer",
            later(30),
            "GW601",
        ),
        (
            lambda conn, lease: delivery_leases.fail_delivery(conn, lease, later(1), OUTCOME),
            "FAILED",
            "refuse",
            NOW,
            "GW601",
        ),
    ],
    ids=["delivered", "sent", "defer", "fail"],
)
def test_the_word_of_a_worker_counts_once(engine, word, after, event, due, problem):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (lease,) = claim(conn)
        assert delivery_leases.lock_active_lease(conn, lease)
        assert word(conn, lease)
        row = deliveries.find_by_id(conn, row_id)
        assert (row.state, row.due_at, row.problem, row.leased_by) == (after, due, problem, None)
        assert row.finished_at == (later(1) if after in {"DELIVERED", "FAILED"} else None)
        assert not delivery_leases.lock_active_lease(conn, lease)
        assert not word(conn, lease)
        assert events(conn, row_id) == ["lease", event]
        (attempt,) = delivery_leases.list_attempts(conn, row_id)
    assert (attempt.attempt, attempt.started_at, attempt.finished_at) == (1, NOW, later(1))
    assert (attempt.outcome, attempt.problem) == (event, problem)
    assert attempt.http_status == (503 if problem else None)
    assert (attempt.sentence, attempt.theirs) == (("Connection refused", "busy") if problem else (None, None))
    assert row.last_sentence == attempt.sentence


WORDS = {
    "delivered": lambda conn, lease: delivery_leases.mark_delivered(conn, lease, later(99)),
    "sent": lambda conn, lease: delivery_leases.mark_sent(conn, lease, later(99), later(300)),
    "defer": lambda conn, lease: delivery_leases.defer_delivery(conn, lease, later(99), later(300), OUTCOME),
    "fail": lambda conn, lease: delivery_leases.fail_delivery(conn, lease, later(99), OUTCOME),
    "renew": lambda conn, lease: delivery_leases.renew_lease(conn, lease, later(999)),
    "receipted": lambda conn, lease: delivery_leases.mark_receipted(
        conn, lease, later(99), "receive", register_version=register_version.get_register_version(conn)
    ),
}


def test_what_an_old_register_judged_ends_no_lease(engine):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (lease,) = claim(conn)
        known = register_version.get_register_version(conn)
        now = register_version.increment_register_version(conn)
        before = deliveries.find_by_id(conn, row_id)
        assert not delivery_leases.mark_delivered(conn, lease, later(1), register_version=known)
        assert not delivery_leases.mark_receipted(conn, lease, later(1), "receive", register_version=known)
        assert deliveries.find_by_id(conn, row_id) == before
        assert delivery_leases.list_attempts(conn, row_id)[0].outcome is None
        assert delivery_leases.mark_receipted(conn, lease, later(2), "receive", register_version=now)
        assert events(conn, row_id) == ["lease", "delivered"]


def test_a_lane_with_more_at_work_than_its_capacity_gives_nothing(engine):
    with write_transaction(engine) as conn:
        for _ in range(4):
            queue(conn)
        assert len(claim(conn, limit=3)) == 3
        lanes.set_lane_capacity(conn, "KR-A", 1)
        assert claim(conn, limit=9) == ()


@pytest.mark.long
@pytest.mark.parametrize("word", WORDS.values(), ids=list(WORDS))
def test_a_worker_that_comes_back_late_changes_nothing(engine, word):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (slow,) = claim(conn, me="slow")
        assert delivery_maintenance.reclaim_lost_leases(conn, later(60), "upkeep") == (row_id,)
        assert claim(conn, me="quick", now=later(61)) == ()
        (quick,) = claim(conn, me="quick", now=later(61), suspects=True)
        before = deliveries.find_by_id(conn, row_id)
        assert not word(conn, slow)
        assert deliveries.find_by_id(conn, row_id) == before
        assert not delivery_leases.lock_active_lease(conn, slow)
        assert delivery_leases.mark_delivered(conn, quick, later(62))
        assert not word(conn, slow)
        assert events(conn, row_id) == ["lease", "lease_lost", "lease", "delivered"]
        outcomes = [(row.attempt, row.outcome) for row in delivery_leases.list_attempts(conn, row_id)]
    assert outcomes == [(1, "lease_lost"), (2, "delivered")]


def test_a_lease_can_be_renewed_while_it_lasts(engine):
    with write_transaction(engine) as conn:
        queue(conn)
        (lease,) = claim(conn)
        assert delivery_leases.renew_lease(conn, lease, later(300))
        assert delivery_maintenance.reclaim_lost_leases(conn, later(299), "upkeep") == ()
        assert delivery_maintenance.reclaim_lost_leases(conn, later(300), "upkeep") == (lease.id,)


def test_a_receipt_ends_the_waiting(engine):
    with write_transaction(engine) as conn:
        good, bad, untouched = (queue(conn) for _ in range(3))
        for lease in claim(conn, limit=2):
            delivery_leases.mark_sent(conn, lease, NOW, later(300))
        assert delivery_maintenance.apply_receipt_or_error(conn, good, later(1), "receive")
        assert delivery_maintenance.apply_receipt_or_error(
            conn, bad, later(1), "receive", AttemptOutcome("GW602")
        )
        assert not delivery_maintenance.apply_receipt_or_error(conn, good, later(2), "receive")
        assert not delivery_maintenance.apply_receipt_or_error(conn, untouched, later(1), "receive")
        assert not delivery_maintenance.apply_receipt_or_error(conn, 4711, later(1), "receive")
        assert [state(conn, row) for row in (good, bad, untouched)] == ["DELIVERED", "FAILED", "QUEUED"]
        assert deliveries.find_by_id(conn, bad).problem == "GW602"
        assert events(conn, good) == ["lease", "sent", "receipt"]
        assert events(conn, bad) == ["lease", "sent", "error"]


@pytest.mark.long
@pytest.mark.parametrize(("problem", "after"), [(None, "DELIVERED"), ("GW602", "FAILED")])
def test_a_receipt_may_overtake_the_worker(engine, problem, after):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (lease,) = claim(conn)
        assert delivery_maintenance.apply_receipt_or_error(
            conn, row_id, later(1), "receive", AttemptOutcome(problem) if problem else None
        )
        assert not delivery_leases.mark_sent(conn, lease, later(2), later(300))
        assert state(conn, row_id) == after


def test_a_late_receipt_ends_what_waits_for_its_next_attempt(engine):
    with write_transaction(engine) as conn:
        good, bad = (queue(conn) for _ in range(2))
        for lease in claim(conn, limit=2):
            delivery_leases.mark_sent(conn, lease, NOW, later(300))
        assert len(delivery_maintenance.requeue_unreceipted(conn, later(301), "upkeep")) == 2
        assert delivery_maintenance.apply_receipt_or_error(conn, good, later(302), "receive")
        assert delivery_maintenance.apply_receipt_or_error(
            conn, bad, later(302), "receive", AttemptOutcome("GW602")
        )
        assert [state(conn, row) for row in (good, bad)] == ["DELIVERED", "FAILED"]
        assert events(conn, good) == ["lease", "sent", "timeout", "receipt"]
        assert not claim(conn, limit=2)


def test_without_a_receipt_it_is_sent_again_under_its_name(engine):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (lease,) = claim(conn)
        delivery_leases.mark_sent(conn, lease, NOW, later(300))
        assert delivery_maintenance.requeue_unreceipted(conn, later(299), "upkeep") == ()
        assert delivery_maintenance.requeue_unreceipted(conn, later(300), "upkeep") == (row_id,)
        assert deliveries.find_by_id(conn, row_id).problem == "GW308"
        (again,) = claim(conn, now=later(300))
        assert (again.wire_id, again.attempt, again.tries) == (lease.wire_id, 2, 2)


def test_what_waits_beyond_its_time_fails(engine):
    with write_transaction(engine) as conn:
        row_id, other = queue(conn, expires_at=later(10)), queue(conn)
        assert delivery_maintenance.list_expired_deliveries(conn, later(9)) == []
        assert not delivery_maintenance.expire_delivery(conn, row_id, later(9), "upkeep")
        assert [row.id for row in delivery_maintenance.list_expired_deliveries(conn, later(10))] == [row_id]
        assert delivery_maintenance.expire_delivery(conn, row_id, later(10), "upkeep")
        assert not delivery_maintenance.expire_delivery(conn, row_id, later(10), "upkeep")
        row = deliveries.find_by_id(conn, row_id)
        assert (row.state, row.problem, row.finished_at) == ("FAILED", "GW604", later(10))
        assert state(conn, other) == "QUEUED"
        assert events(conn, row_id) == ["expire"]


@pytest.mark.long
def test_an_operator_moves_deliveries_by_hand(engine):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        deliveries.hold_delivery(conn, row_id, NOW, "operator", "agency asked for it")
        assert claim(conn) == ()
        with pytest.raises(GatewayError, match="GW705"):
            deliveries.requeue_delivery(conn, row_id, NOW, "operator")
        deliveries.release_delivery(conn, row_id, later(1), "operator")
        (lease,) = claim(conn, now=later(1))
        with pytest.raises(GatewayError, match="GW705"):
            deliveries.cancel_delivery(conn, row_id, NOW, "operator")
        delivery_leases.fail_delivery(conn, lease, later(2), OUTCOME)
        deliveries.requeue_delivery(conn, row_id, later(3), "operator")
        row = deliveries.find_by_id(conn, row_id)
        assert (row.state, row.tries, row.attempt, row.problem) == ("QUEUED", 0, 1, None)
        assert (row.due_at, row.finished_at) == (later(3), None)
        (again,) = claim(conn, now=later(3))
        assert (again.attempt, again.tries) == (2, 1)
        delivery_leases.fail_delivery(conn, again, later(4))
        deliveries.give_up_delivery(conn, row_id, later(5), "operator")
        assert state(conn, row_id) == "CANCELLED"
        steps = transitions.list_transitions(conn, DELIVERY, row_id)
    assert (steps[0].event, steps[0].actor, steps[0].detail) == ("hold", "operator", "agency asked for it")


def test_a_cancelled_delivery_is_never_made(engine):
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        deliveries.cancel_delivery(conn, row_id, later(1), "operator")
        assert claim(conn, now=later(9)) == ()
        assert deliveries.find_by_id(conn, row_id).finished_at == later(1)


@pytest.mark.long
def test_each_of_several_lanes_gives_what_it_may(engine):
    """One has no room, one is held, one is not there, one has fewer due."""
    names = [f"KR-{number}" for number in range(8)]
    with write_transaction(engine) as conn:
        queued = {name: [queue(conn, lane=name) for _ in range(3)] for name in names}
        queue(conn, lane="KR-7", due_at=later(60))
        lanes.set_lane_capacity(conn, "KR-1", 1)
        lanes.set_lane_capacity(conn, "KR-4", 2)
        lanes.hold_lane(conn, "KR-2", NOW, "operator", "a test")
    with write_transaction(engine) as conn:
        assert len(claim(conn, "KR-1")) == 1
    most = dict.fromkeys([*names, "nowhere"], 3) | {"KR-3": 2, "KR-7": 9}
    with write_transaction(engine) as conn:
        leases = {
            name: [lease.id for lease in claim(conn, name, limit=limit)] for name, limit in most.items()
        }
    numbers = {"KR-1": 0, "KR-2": 0, "KR-3": 2, "KR-4": 2}
    assert leases == {name: queued[name][: numbers.get(name, 3)] for name in names} | {"nowhere": []}


def test_an_attempt_began_when_its_delivery_was_claimed_whatever_ends_it(engine):
    """Who ends the attempt of a worker that died knows no more than its delivery."""
    with write_transaction(engine) as conn:
        row_id = queue(conn)
        (lease,) = claim(conn)
        under_way = delivery_leases.list_attempts(conn, row_id)
    assert [(one.attempt, one.started_at, one.finished_at, one.outcome) for one in under_way] == [
        (1, NOW, None, None)
    ]
    with write_transaction(engine) as conn:
        lost = AttemptOutcome(problem="GW707")
        delivery_leases.finish_attempt(conn, row_id, lease.attempt, "lease_lost", later(9), lost)
    with write_transaction(engine) as conn:
        # What it came to later replaces what was thought.
        delivery_leases.finish_attempt(conn, row_id, lease.attempt, "sent", later(11), AttemptOutcome())
        (ended,) = delivery_leases.list_attempts(conn, row_id)
    assert (ended.started_at, ended.finished_at) == (NOW, later(11))
    assert (ended.outcome, ended.problem) == ("sent", None)


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE deliveries SET dedupe_key = 'same'",
        "UPDATE deliveries SET state = 'LOST'",
        "UPDATE deliveries SET lane = 'nowhere'",
        "UPDATE deliveries SET payload_sha256 = 'gone'",
        "UPDATE deliveries SET case_id = 4711",
        "UPDATE delivery_attempts SET delivery = 4711",
        "UPDATE lanes SET capacity = 0",
        "DELETE FROM lanes",
    ],
)
def test_the_database_itself_refuses_nonsense(engine, change):
    with write_transaction(engine) as conn:
        queue(conn)
        queue(conn)
        (lease,) = claim(conn)
        delivery_leases.finish_attempt(conn, lease.id, lease.attempt, "sent", NOW, AttemptOutcome())
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(change))


def _drain(engine, me, taken, wanted):
    while len(taken) < wanted:
        with write_transaction(engine) as conn:
            leases = claim(conn, me=me, limit=3)
        for lease in leases:
            with write_transaction(engine) as conn:
                assert delivery_leases.mark_delivered(conn, lease, NOW)
            taken.append(lease.id)


@pytest.mark.long
@pytest.mark.parametrize("capacity", [None, 4])
def test_eight_workers_never_claim_the_same(engine, capacity):
    wanted = 120
    with write_transaction(engine) as conn:
        deliveries.ensure_lanes(conn, "KR-A", capacity=capacity)
        for _ in range(wanted):
            queue(conn)
    taken: list[int] = []
    failures: list[BaseException] = []

    def work(number):
        try:
            _drain(engine, f"worker-{number}", taken, wanted)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    assert max(Counter(taken).values()) == 1
    assert len(taken) == wanted
    with read_transaction(engine) as conn:
        assert {row.attempt for row in deliveries.list_deliveries(conn, limit=wanted)} == {1}
        assert state_counts.count_deliveries(conn)["DELIVERED"] == wanted


@pytest.mark.long
def test_two_claims_at_once_do_not_crowd_a_lane(engine):
    with write_transaction(engine) as conn:
        for _ in range(40):
            queue(conn)
        lanes.set_lane_capacity(conn, "KR-A", 3)
    start = threading.Barrier(8)
    leases: list[delivery_leases.DeliveryLease] = []

    def work(number):
        start.wait()
        for _ in range(4):
            with write_transaction(engine) as conn:
                leases.extend(claim(conn, me=f"worker-{number}", limit=2))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases) == 3


def test_a_sweep_passes_over_what_another_is_sweeping(postgresql_url):
    """SQLite has one writer at a time."""
    engine = make_engine(postgresql_url)
    with write_transaction(engine) as conn:
        queue(conn)
        queue(conn, destination="KR-B")
        claim(conn)
    with write_transaction(engine) as first, write_transaction(engine) as second:
        second.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        assert len(delivery_maintenance.reclaim_lost_leases(first, later(61), "upkeep")) == 1
        assert delivery_maintenance.reclaim_lost_leases(second, later(61), "upkeep") == ()
        assert len(claim(first, lane="KR-B")) == 1
        assert claim(second, lane="KR-B") == ()
    engine.dispose()


@pytest.mark.long
def test_two_sweeps_at_once_reclaim_once(engine):
    with write_transaction(engine) as conn:
        for _ in range(30):
            queue(conn)
        claim(conn, limit=30)
    start = threading.Barrier(4)
    reclaimed: list[int] = []

    def work():
        start.wait()
        with write_transaction(engine) as conn:
            reclaimed.extend(delivery_maintenance.reclaim_lost_leases(conn, later(61), "upkeep"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reclaimed) == 30
    assert max(Counter(reclaimed).values()) == 1


def test_a_number_finds_a_delivery_of_this_id_and_the_row_of_this_number_once(engine):
    with write_transaction(engine) as conn:
        row_ids = [
            queue(conn, dedupe_key=str(number), wire_id=wire_id) for number, wire_id in enumerate("2x3")
        ]
    assert row_ids == [1, 2, 3]
    with read_transaction(engine) as conn:
        for text_searched, expected in (("2", [2, 1]), ("3", [3]), ("x", [2]), ("1", [1]), ("9" * 30, [])):
            assert [row.id for row in exact_searches.find_deliveries(conn, text_searched)] == expected
