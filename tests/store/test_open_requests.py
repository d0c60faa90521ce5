"""What an answer changes of a request is written by one statement, each step with its own transition."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from gateway.errors import GatewayError
from gateway.state_machines import REQUEST
from gateway.store import StateEvent, agency_requests, open_request, transitions, write_transaction
from gateway.store.agency_requests import agency_requests as agency_request_rows
from tests.kit.rows import NOW, later, open_case, request
from tests.store.test_query_plans import asked


def test_several_steps_are_one_statement_and_as_many_transitions(engine):
    with write_transaction(engine) as conn:
        number = request(conn, open_case(conn))

    def answer(conn):
        opened = open_request(conn, number)
        before = opened.copy_state()
        opened.apply_event(conn, StateEvent("send", NOW, "t"))
        opened.set_columns(status_code="D01")
        opened.apply_event(conn, StateEvent("acknowledge", later(1), "t"), receipt_number="R-1")
        assert (before.state, before.receipt_number) == ("PREPARED", None)
        assert agency_requests.find_by_id(conn, number).state == "PREPARED"
        opened.write(conn)
        opened.write(conn)
        opened.apply_event(conn, StateEvent("decide", later(2), "t"))
        opened.write(conn)

    assert len([1 for sql, _ in asked(engine, answer) if sql.startswith("UPDATE agency_requests")]) == 2
    with write_transaction(engine) as conn:
        row = agency_requests.find_by_id(conn, number)
        steps = [one.event for one in transitions.list_transitions(conn, REQUEST, number)]
    assert (row.state, row.status_code, row.receipt_number) == ("DECIDED", "D01", "R-1")
    assert steps == ["send", "acknowledge", "decide"]


def test_a_request_that_somebody_else_has_moved_is_not_written(engine):
    with write_transaction(engine) as conn:
        number = request(conn, open_case(conn))
    with write_transaction(engine) as conn:
        opened = open_request(conn, number)
        agency_requests.apply_event(conn, number, StateEvent("send", NOW, "t"))
        opened.set_columns(status_code="D01")
        with pytest.raises(GatewayError, match="meanwhile"):
            opened.write(conn)
    with write_transaction(engine) as conn:
        assert agency_requests.find_by_id(conn, number).status_code is None
        assert open_request(conn, 4711) is None


def _change_by_former_code(conn, number, state):
    changed = update(agency_request_rows).where(agency_request_rows.c.id == number)
    conn.execute(changed.values(state=state))


@pytest.mark.long
@pytest.mark.parametrize("way", ["opened", "by its id"])
def test_demands_follow_the_state_until_former_code_changes_it(engine, way):
    """A change of a state that they did not follow is none that they follow."""
    demands = {"standing": {}, "amended_after": 7}
    with write_transaction(engine) as conn:
        number = request(conn, open_case(conn))

    def change(event, **values):
        with write_transaction(engine) as conn:
            if way == "opened":
                opened = open_request(conn, number)
                opened.apply_event(conn, StateEvent(event, NOW, "t"), **values)
                opened.write(conn)
            else:
                agency_requests.apply_event(conn, number, StateEvent(event, NOW, "t"), **values)
            return agency_requests.find_by_id(conn, number).demands_state

    assert change("send") is None
    assert change("ask", demands=demands) == "INFORMATION_REQUIRED"
    assert change("inspect") == "INSPECTION"
    with write_transaction(engine) as conn:
        _change_by_former_code(conn, number, "SENT")
    assert change("inspect") is None
    assert change("acknowledge") is None
