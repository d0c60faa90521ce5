"""A transaction asks once for the rows of a case that it has locked, and again for what it has written."""

from __future__ import annotations

from sqlalchemy import text

from gateway.store import (
    NewDecision,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    read_transaction,
    write_transaction,
)
from tests.kit.rows import NOW, open_case, request
from tests.store.test_query_plans import asked


def test_a_locked_case_is_in_hand_until_it_is_written(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)

    def lock_twice(conn):
        assert cases.lock_case(conn, case) is cases.lock_case(conn, case)
        cases.apply_event(conn, case, StateEvent("dispatch", NOW, "t"))
        assert cases.lock_case(conn, case).state == "IN_PROGRESS"

    assert len([1 for sql, _ in asked(engine, lock_twice) if sql.startswith("SELECT cases.id")]) == 2


def test_what_was_read_before_a_lock_is_read_again(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)

    def read_and_lock(conn):
        assert agency_requests.list_by_case(conn, case) == []
        cases.lock_case(conn, case)
        assert agency_requests.list_by_case(conn, case) == agency_requests.list_by_case(conn, case) == []

    found = [sql for sql, _ in asked(engine, read_and_lock) if "FROM agency_requests" in sql]
    assert len(found) == 2


def test_what_is_written_is_read_again_whoever_writes_it(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)
        assert agency_requests.list_by_case(conn, case) == []
        number = request(conn, case)
        assert [row.id for row in agency_requests.list_by_case(conn, case)] == [number]
        assert decisions.list_by_case(conn, case) == []
        said = NewDecision(number, "KR-A", "N-1", 1, "L", NOW, "APPROVED")
        decisions.insert_decisions(conn, [said], NOW)
        assert len(decisions.list_by_case(conn, case)) == len(decisions.list_by_request(conn, number)) == 1
        conn.execute(text("UPDATE agency_requests SET agency = 'KR-Z'"))
        assert agency_requests.list_by_case(conn, case)[0].agency == "KR-Z"


def test_nothing_is_kept_for_the_next_transaction_or_by_one_that_reads(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)
        assert agency_requests.list_by_case(conn, case) == []
    with write_transaction(engine) as conn:
        request(conn, case)
    with read_transaction(engine) as conn:
        assert len(agency_requests.list_by_case(conn, case)) == 1
