"""Rows of the logs are part of their transaction, and so is what follows from it."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import Connection, Engine, select, text, update

from gateway.evidence import list_subject_leaves, record_evidence
from gateway.state_machines import DELIVERY
from gateway.store import (
    StateEvent,
    deliveries,
    delivery_leases,
    lanes,
    payloads,
    read_transaction,
    run_in_group_commit,
    transitions,
    write_transaction,
)
from gateway.store.group_commit import _CommitJob
from gateway.store.payloads import payloads as stored_payloads
from gateway.store.transitions import evidence
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW, delivery, later


def record(conn: Connection, number: int) -> None:
    record_evidence(conn, "kind", "case", number, None, {"number": number}, NOW)
    transitions.record_transitions(
        conn, DELIVERY, [(number, "QUEUED", "HELD")], StateEvent("hold", NOW, "me")
    )


def subjects(conn: Connection) -> list[str]:
    return list(conn.execute(select(evidence.c.subject_id).order_by(evidence.c.id)).scalars())


def test_all_rows_of_a_transaction_keep_their_order(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        for number in range(300, 0, -1):
            record(conn, number)
    with read_transaction(engine) as conn:
        assert subjects(conn) == [str(number) for number in range(300, 0, -1)]
        steps = transitions.list_transitions(conn, DELIVERY, 300)
        assert [(one.event, one.at, one.detail) for one in steps] == [("hold", NOW, None)]


def test_the_transaction_itself_finds_what_it_has_recorded(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        record(conn, 1)
        assert [one.kind for one in list_subject_leaves(conn, "case", 1)] == ["kind"]
        record(conn, 2)
        conn.execute(update(evidence).values(seq=evidence.c.id))
        assert subjects(conn) == ["1", "2"]
        assert conn.execute(text("SELECT count(*) FROM transitions")).scalar_one() == 2
    with read_transaction(engine) as conn:
        assert subjects(conn) == ["1", "2"]


def test_nothing_stays_of_a_transaction_that_failed(engine: Engine) -> None:
    def fail() -> None:
        with write_transaction(engine) as conn:
            record(conn, 1)
            deliveries.ensure_lanes(conn, "KR-A")
            payloads.store_payload(conn, b"octets", NOW)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with write_transaction(engine) as conn:
        record(conn, 2)
        # The lane is not believed to exist because a transaction made sure of it that was rolled back.
        assert deliveries.enqueue_delivery(conn, delivery(), NOW) is not None
        digest = payloads.store_payload(conn, b"octets", NOW)
    with read_transaction(engine) as conn:
        assert subjects(conn) == ["2"]
        assert payloads.get_payload_octets(conn, digest) == b"octets"


def test_a_job_that_fails_takes_only_its_own_rows_along(engine: Engine) -> None:
    def fail(conn: Connection) -> None:
        record(conn, 1)
        raise LookupError

    with pytest.raises(LookupError):
        run_in_group_commit(engine, "t", fail)
    run_in_group_commit(engine, "t", lambda conn: record(conn, 2))
    with read_transaction(engine) as conn:
        assert subjects(conn) == ["2"]


def test_octets_are_stored_once_and_anew_after_their_removal(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        digest = payloads.store_payload(conn, b"octets", NOW)
        assert payloads.store_payloads(conn, [b"octets", b"octets"], NOW) == (digest, digest)
        conn.execute(update(stored_payloads).values(content=b"", purged_at=NOW))
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, b"octets", later(5))
        assert payloads.get_payload_octets(conn, digest) == b"octets"


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    naive = datetime(2026, 11, 20, 9)
    with pytest.raises(ValueError, match="zone"), write_transaction(engine) as conn:
        transitions.record_transitions(conn, DELIVERY, [(1, "A", "B")], StateEvent("hold", naive, "me"))


def test_a_capacity_that_was_set_since_the_lane_was_found_due_is_kept(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        for _ in range(3):
            deliveries.enqueue_delivery(conn, delivery(), NOW)
        (known,) = lanes.list_due_lanes(conn, NOW)
        assert (known.name, known.capacity, known.suspected) == ("KR-A", None, False)
        lanes.set_lane_capacity(conn, "KR-A", 2)
    claimed = 0
    for _ in range(2):
        with write_transaction(engine) as conn:
            claimed += len(claim_deliveries(conn, "KR-A", "me", NOW, later(60), limit=9, due_lane=known))
            (known,) = lanes.list_due_lanes(conn, NOW)
    assert claimed == 2


def test_the_transaction_itself_finds_its_attempts(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        deliveries.enqueue_delivery(conn, delivery(), NOW)
        (lease,) = claim_deliveries(conn, "KR-A", "me", NOW, later(60))
        assert [one.outcome for one in delivery_leases.list_attempts(conn, lease.id)] == [None]
        delivery_leases.mark_delivered(conn, lease, later(1))
        assert [one.outcome for one in delivery_leases.list_attempts(conn, lease.id)] == ["delivered"]
    with read_transaction(engine) as conn:
        steps = transitions.list_transitions(conn, DELIVERY, lease.id)
        assert [one.to_state for one in steps if one.actor == "me"] == ["ACTIVE", "DELIVERED"]


def test_a_rolled_back_transaction_leaves_nothing_to_the_next_one(engine: Engine) -> None:
    def fail() -> None:
        with write_transaction(engine) as conn:
            record(conn, 1)
            record(conn, 2)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with write_transaction(engine) as conn:
        record(conn, 3)
    with read_transaction(engine) as conn:
        assert subjects(conn) == ["3"]


def test_a_job_that_fails_takes_nothing_with_it_of_what_came_before(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return

    def fail(conn: Connection) -> None:
        record(conn, 2)
        raise LookupError

    with write_transaction(engine) as conn:
        record(conn, 1)
        jobs = [_CommitJob("t", fail), _CommitJob("t", lambda conn: record(conn, 3))]
        for job in jobs:
            job.run_in_savepoint(conn)
    with read_transaction(engine) as conn:
        assert subjects(conn) == ["1", "3"]
