"""A transaction asks once for the rows of a case that it has locked, and again for what it has written."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gateway.store import (
    NewDecision,
    NewRequirementUse,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    item_releases,
    open_request,
    read_transaction,
    requirement_quantities,
    write_transaction,
)
from gateway.store.transaction_reads import find_kept_read, forget_written, keep_read, keep_reads
from tests.kit.rows import NOW, open_case, request
from tests.store.test_query_plans import asked


def test_a_locked_case_is_in_hand_until_it_is_written_but_by_its_own_events(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)

    def lock_twice(conn):
        assert cases.lock_case(conn, case) is cases.lock_case(conn, case)
        cases.apply_event(conn, case, StateEvent("dispatch", NOW, "t"))
        assert cases.lock_case(conn, case).state == "IN_PROGRESS"
        cases.apply_event(conn, case, StateEvent("last_decision", NOW, "t"), outcome="APPROVED")
        told = vars(cases.lock_case(conn, case))
        conn.execute(text("UPDATE cases SET ucr = 'other'"))
        assert dict(cases.lock_case(conn, case)._mapping) == told | {"ucr": "other"}
        cases.set_detail(conn, case, {"one": (1, 2)})
        assert cases.lock_case(conn, case).detail == {"one": [1, 2]}

    assert len([1 for sql, _ in asked(engine, lock_twice) if sql.startswith("SELECT cases.id")]) == 3


def test_an_event_that_writes_what_is_read_otherwise_is_read_again(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)
        cases.lock_case(conn, case)
        cases.apply_event(conn, case, StateEvent("dispatch", NOW, "t"), detail={"pairs": [(1, "L")]})
        assert cases.lock_case(conn, case).detail == {"pairs": [[1, "L"]]}


def test_a_request_that_is_read_with_its_case_is_opened_until_it_is_written(engine):
    with write_transaction(engine) as conn:
        number = request(conn, open_case(conn))

    def open_twice(conn):
        case = cases.lock_case_of_request(conn, number)
        assert case is cases.lock_case(conn, case.id)
        opened = open_request(conn, number)
        assert (opened.id, opened.case_id, opened.noticed, opened.released) == (number, case.id, False, False)
        conn.execute(text("UPDATE agency_requests SET agency = 'KR-Z'"))
        assert open_request(conn, number).agency == "KR-Z"
        assert opened.agency != "KR-Z"

    found = [sql for sql, _ in asked(engine, open_twice) if sql.startswith("SELECT")]
    assert len(found) == (2 if engine.dialect.name == "sqlite" else 3)
    with write_transaction(engine) as conn:
        assert cases.lock_case_of_request(conn, 4711) is None


def test_who_asks_for_the_requests_of_a_case_knows_whether_others_decide_about_it(engine):
    with write_transaction(engine) as conn:
        case = open_case(conn)
        request(conn, case)

    def ask(conn):
        agency_requests.list_by_case(conn, case)
        assert not item_releases.may_have_outside_decisions(conn, case)
        requirement_quantities.ensure_requirement(conn, "KR-A", "R-1", None, NOW)
        used = NewRequirementUse(1, case, 1, "/p", "1", "KG")
        requirement_quantities.insert_uses(conn, [used], NOW)
        assert item_releases.may_have_outside_decisions(conn, case)

    found = [sql for sql, _ in asked(engine, ask) if "item_releases" in sql]
    assert len(found) == 2


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


@pytest.mark.parametrize(
    ("statement", "forgets"),
    [
        ("UPDATE cases SET ucr = 'other'", True),
        ('INSERT INTO "cases" (id) VALUES (1)', True),
        ("WITH due AS (SELECT 1) UPDATE other SET a = (SELECT max(cases.id) FROM cases)", True),
        ("UPDATE other SET state = 'X', ucr = 'u'", True),
        ("UPDATE other SET state = 'X'", False),
        ("UPDATE own_cases SET state = 'X'", False),
        ("SELECT cases.id, ucr FROM cases", False),
        ("EXPLAIN UPDATE cases SET ucr = 'other'", False),
    ],
)
def test_what_was_read_is_forgotten_by_what_writes_a_name_that_it_depends_on(engine, statement, forgets):
    with read_transaction(engine) as conn, keep_reads(conn):
        for name in ("cases", "ucr"):
            keep_read(conn, (name,), name, "known")
        keep_read(conn, ("elsewhere",), "elsewhere", "known")
        forget_written(conn, statement)
        kept = [find_kept_read(conn, name) for name in ("cases", "ucr", "elsewhere")]
    assert (kept.count("known") < 3) == forgets
    assert kept[2] == "known"
