"""Whether something is left of a case, which nearly every delivery asks when it ends."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gateway.store import cases, deliveries, make_engine, write_transaction
from gateway.store.tables import metadata
from tests.kit.rows import NOW, delivery, open_case


def decided_case(conn, *states):
    """Return a decided case that has deliveries in these states."""
    case = open_case(conn, state="DECIDED")
    for state in states:
        number = deliveries.enqueue_delivery(conn, delivery(case_id=case), NOW)
        conn.execute(text(f"UPDATE deliveries SET state = '{state}' WHERE id = {number}"))
    return case


@pytest.mark.long
@pytest.mark.parametrize(
    ("states", "left"),
    [
        ((), False),
        (("DELIVERED", "CANCELLED"), False),
        (("DELIVERED", "FAILED"), True),
        (("FAILED", "QUEUED"), None),
        (("DELIVERED", "ACTIVE"), None),
        (("HELD",), None),
        (("AWAITING_RECEIPT", "FAILED"), None),
    ],
)
def test_only_failed_deliveries_leave_a_decided_case_to_be_judged(engine, states, left):
    with write_transaction(engine) as conn:
        case = decided_case(conn, *states)
        assert cases.find_whether_delivery_failed(conn, case) is left


@pytest.mark.long
def test_a_case_that_is_not_decided_is_left_as_it_is(engine):
    with write_transaction(engine) as conn:
        assert cases.find_whether_delivery_failed(conn, open_case(conn)) is None
        assert cases.find_whether_delivery_failed(conn, 10**9) is None


@pytest.mark.long
def test_sqlite_prepares_the_question_once(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path}/gateway.db")
    metadata.create_all(engine)
    prepared = []
    with write_transaction(engine) as conn:
        one, other = decided_case(conn, "DELIVERED"), decided_case(conn, "FAILED")
        cases.find_whether_delivery_failed(conn, one)
        driver = conn.connection.dbapi_connection
        # Called for each statement that is prepared, and by SQLite itself where it prepares one anew.
        driver.set_authorizer(lambda *about: prepared.append(about) or 0)
        try:
            # A new authorizer lets every statement be prepared anew, once.
            cases.find_whether_delivery_failed(conn, one)
            prepared.clear()
            assert cases.find_whether_delivery_failed(conn, other) is True
        finally:
            driver.set_authorizer(None)
    engine.dispose()
    assert prepared == []
