from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    StateEvent,
    agency_requests,
    cases,
    messages,
    payloads,
    read_transaction,
    transitions,
    write_transaction,
)
from tests.kit import tables as t
from tests.kit.rows import NOW, later, open_case, request, stored


def test_a_case_is_opened_for_its_message(engine):
    with write_transaction(engine) as conn:
        message = stored(conn)
        case_id = open_case(
            conn,
            number="2026-A",
            functional_reference="R-1",
            message=message,
            agent="forwarder",
            due_at=later(9),
        )
        row = cases.find_by_id(conn, case_id)
        assert (row.number, row.state, row.version, row.agent) == ("2026-A", "OPENED", 1, "forwarder")
        assert (row.opened_at, row.due_at, row.closed_at, row.outcome) == (NOW, later(9), None, None)
        assert messages.find_by_id(conn, message).case_id == case_id
        assert [found.id for found in messages.list_messages(conn, case_id=case_id)] == [message]
        assert cases.find_by_number(conn, "2026-A") == row
        assert cases.find_by_reference(conn, "importer", "R-1") == row
        assert cases.lock_case(conn, case_id) == row
        assert cases.find_by_number(conn, "none") is None
        assert cases.find_by_reference(conn, "importer", "none") is None


@pytest.mark.long
@pytest.mark.parametrize("event", [None, "dispatch", "none_concerned"])
def test_a_reference_belongs_to_one_case(engine, event):
    with write_transaction(engine) as conn:
        first = open_case(conn, functional_reference="R-1", number="2026-A")
        if event:
            cases.apply_event(conn, first, StateEvent(event, NOW, "admit"))
    with pytest.raises(GatewayError) as caught, write_transaction(engine) as conn:
        open_case(conn, functional_reference="R-1")
    assert caught.value.problem.id == "GW406"
    assert "2026-A" in caught.value.detail
    with write_transaction(engine) as conn:
        assert open_case(conn, functional_reference="R-1", declarant="another")


@pytest.mark.long
def test_a_refused_case_frees_its_reference(engine):
    with write_transaction(engine) as conn:
        for version in (1, 2, 3):
            case_id = open_case(conn, functional_reference="R-1")
            assert cases.find_by_id(conn, case_id).version == version
            cases.apply_event(conn, case_id, StateEvent("refuse", NOW, "admit"), outcome="REFUSED")
        assert cases.find_by_reference(conn, "importer", "R-1").id == case_id


def test_of_many_at_once_one_opens_the_case(engine):
    start = threading.Barrier(6)
    with write_transaction(engine) as conn:
        origins = [stored(conn) for _ in range(6)]

    def attempt(message):
        start.wait()
        try:
            with write_transaction(engine) as conn:
                open_case(conn, functional_reference="R-1", message=message)
        except GatewayError as error:
            return error.problem.id
        return "opened"

    with ThreadPoolExecutor(6) as pool:
        outcomes = sorted(pool.map(attempt, origins))
    assert outcomes == ["GW406"] * 5 + ["opened"]


def test_a_case_follows_its_machine(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        cases.apply_event(conn, case_id, StateEvent("dispatch", NOW, "admit"), detail={"agencies": ["KR-A"]})
        cases.apply_event(conn, case_id, StateEvent("last_decision", NOW, "reply"), outcome="APPROVED")
        cases.apply_event(conn, case_id, StateEvent("relayed", NOW, "relay"), closed_at=later(1))
        row = cases.find_by_id(conn, case_id)
        assert (row.state, row.outcome, row.closed_at) == ("CLOSED", "APPROVED", later(1))
        assert row.detail == {"agencies": ["KR-A"]}
        with pytest.raises(GatewayError, match="GW705"):
            cases.apply_event(conn, case_id, StateEvent("dispatch", NOW, "admit"))
        steps = transitions.list_transitions(conn, CASE, case_id)
    assert [(step.event, step.to_state) for step in steps] == [
        ("dispatch", "IN_PROGRESS"),
        ("last_decision", "DECIDED"),
        ("relayed", "CLOSED"),
    ]


def test_a_case_that_does_not_exist_cannot_be_locked(engine):
    with write_transaction(engine) as conn, pytest.raises(GatewayError, match="GW407"):
        cases.lock_case(conn, 4711)


@pytest.mark.long
def test_a_lock_lasts_until_the_transaction_ends(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
    order = []
    locked = threading.Event()

    def second():
        locked.wait()
        with write_transaction(engine) as conn:
            seen = cases.lock_case(conn, case_id)
            order.append(("second", seen.state))

    thread = threading.Thread(target=second)
    thread.start()
    with write_transaction(engine) as conn:
        cases.lock_case(conn, case_id)
        locked.set()
        thread.join(0.2)
        assert thread.is_alive()
        cases.apply_event(conn, case_id, StateEvent("dispatch", NOW, "admit"))
        order.append(("first", "done"))
    thread.join(60)
    assert order == [("first", "done"), ("second", "IN_PROGRESS")]


@pytest.mark.long
def test_a_locked_case_may_be_referred_to(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
    with write_transaction(engine) as conn:
        cases.lock_case(conn, case_id)
        if engine.dialect.name == "postgresql":  # SQLite has one writer at a time
            with write_transaction(engine) as other:
                other.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                agency_requests.insert_correlation(other, "ucr", "U-1", case_id)
        agency_requests.insert_correlation(conn, "ucr", "U-1", case_id)
    with read_transaction(engine) as conn:
        assert agency_requests.find_correlation(conn, "ucr", "U-1").case_id == case_id


@pytest.mark.long
def test_search_goes_newest_first(engine):
    with write_transaction(engine) as conn:
        rows = [open_case(conn, declarant=name) for name in ("a", "b", "a")]
        assert [row.id for row in cases.list_cases(conn)] == rows[::-1]
        assert [row.id for row in cases.list_cases(conn, declarant="a", before=rows[2])] == [rows[0]]
        assert cases.list_cases(conn, state="CLOSED") == []


@pytest.mark.long
def test_a_request_comes_back_and_follows_its_machine(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        row_id = request(conn, case_id, number="APP-X", due_at=later(60))
        row = agency_requests.find_by_id(conn, row_id)
        assert (row.number, row.state, row.required) == ("APP-X", "PREPARED", [[1, "FOOD"], [2, "FOOD"]])
        assert agency_requests.find_by_number(conn, "APP-X") == row
        assert agency_requests.find_by_number(conn, "none") is None
        agency_requests.apply_event(
            conn, row_id, StateEvent("ask", NOW, "KR-A"), status_code="D01", due_at=later(30)
        )
        agency_requests.apply_event(conn, row_id, StateEvent("send", NOW, "soap"), receipt_number="R-9")
        supplement = payloads.store_payload(conn, b"<Supplement/>", NOW)
        agency_requests.set_sent_document(conn, row_id, supplement)
        row = agency_requests.find_by_id(conn, row_id)
        assert (row.state, row.status_code, row.receipt_number) == ("INFORMATION_REQUIRED", "D01", "R-9")
        assert row.document_sha256 == supplement
        steps = transitions.list_transitions(conn, REQUEST, row_id)
    assert [(step.from_state, step.to_state) for step in steps] == [
        ("PREPARED", "INFORMATION_REQUIRED"),
        ("INFORMATION_REQUIRED", "INFORMATION_REQUIRED"),
    ]


@pytest.mark.long
def test_requests_of_a_case_are_in_order(engine):
    with write_transaction(engine) as conn:
        case_id, other = open_case(conn), open_case(conn)
        second = request(conn, case_id, sequence=2, due_at=later(-5))
        first = request(conn, case_id, sequence=1, due_at=later(5))
        decided = request(conn, case_id, sequence=3, due_at=later(-9))
        request(conn, other)
        agency_requests.apply_event(conn, decided, StateEvent("decide", NOW, "KR-A"))
        assert [row.id for row in agency_requests.list_by_case(conn, case_id)] == [first, second, decided]


def test_correlations_lead_to_one_case(engine):
    with write_transaction(engine) as conn:
        case_id, other = open_case(conn), open_case(conn)
        asked = request(conn, case_id)
        agency_requests.insert_correlation(conn, "wsa", "urn:uuid:1", case_id, asked)
        agency_requests.insert_correlation(conn, "wsa", "urn:uuid:1", case_id, asked)
        agency_requests.insert_correlation(conn, "ucr", "urn:uuid:1", other)
        found = agency_requests.find_correlation(conn, "wsa", "urn:uuid:1")
        assert (found.case_id, found.request_id) == (case_id, asked)
        assert agency_requests.find_correlation(conn, "wsa", "urn:uuid:2") is None
        assert agency_requests.find_correlation(conn, "ucr", "urn:uuid:1").case_id == other
        with pytest.raises(ValueError, match="scheme"):
            agency_requests.insert_correlation(conn, "pigeon", "1", case_id)
        with pytest.raises(GatewayError, match="GW702"):
            agency_requests.insert_correlation(conn, "wsa", "urn:uuid:1", other)


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cases SET number = 'same'",
        "UPDATE cases SET functional_reference = 'same'",
        "UPDATE cases SET state = 'LOST'",
        "UPDATE cases SET outcome = 'MAYBE'",
        "UPDATE cases SET message = 4711",
        "UPDATE agency_requests SET number = 'same'",
        "UPDATE agency_requests SET sequence = 1",
        "UPDATE agency_requests SET state = 'LOST'",
        "UPDATE agency_requests SET case_id = 4711",
        "UPDATE agency_requests SET document_sha256 = 'gone'",
        "UPDATE correlations SET case_id = 4711",
        "DELETE FROM cases",
        "DELETE FROM messages",
    ],
)
def test_the_database_itself_refuses_nonsense(engine, change):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        open_case(conn)
        request(conn, case_id, sequence=7)
        request(conn, case_id, sequence=8)
        agency_requests.insert_correlation(conn, "ucr", "U", case_id)
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(change))


@pytest.mark.long
def test_a_request_that_another_changed_meanwhile_is_noticed(engine, monkeypatch):
    with write_transaction(engine) as conn:
        row_id = request(conn, open_case(conn))
        monkeypatch.setattr(transitions, "get_next_state", _cancels(conn, row_id))
        with pytest.raises(GatewayError, match=r"GW705 .* meanwhile"):
            agency_requests.apply_event(conn, row_id, StateEvent("send", NOW, "soap"))


def _cancels(conn, row_id):
    def stepped(machine, state, event):
        changed = t.agency_requests.update().where(t.agency_requests.c.id == row_id)
        conn.execute(changed.values(state="CANCELLED"))
        return machine.transitions[state][event]

    return stepped


def test_transitions_need_nothing_to_record_nothing(engine):
    with write_transaction(engine) as conn:
        transitions.record_transitions(conn, CASE, [], StateEvent("dispatch", NOW, "admit"))
        assert transitions.list_transitions(conn, CASE, 1) == []
        conn.execute(insert(t.epochs), {"name": "still usable", "value": 1})
