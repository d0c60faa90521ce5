from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.states import CASE, REQUEST
from gateway.store import cases, correlations, messages, payloads, reading, requests, transaction, transitions
from gateway.store import tables as t
from gateway.store.transitions import Step
from tests.kit.rows import NOW, later, open_case, request, stored


def test_a_case_is_opened_for_its_message(engine):
    with transaction(engine) as conn:
        message = stored(conn)
        case_id = open_case(
            conn,
            number="2026-A",
            functional_reference="R-1",
            message=message,
            agent="forwarder",
            due_at=later(9),
        )
        row = cases.get(conn, case_id)
        assert (row.number, row.state, row.version, row.agent) == ("2026-A", "OPENED", 1, "forwarder")
        assert (row.opened_at, row.due_at, row.closed_at, row.outcome) == (NOW, later(9), None, None)
        assert messages.get(conn, message).case_id == case_id
        assert [found.id for found in messages.search(conn, case_id=case_id)] == [message]
        assert cases.by_number(conn, "2026-A") == row
        assert cases.by_reference(conn, "importer", "R-1") == row
        assert cases.lock(conn, case_id) == row
        assert cases.by_number(conn, "none") is None
        assert cases.by_reference(conn, "importer", "none") is None
        cases.set_due(conn, case_id, later(99))
        assert cases.get(conn, case_id).due_at == later(99)


@pytest.mark.parametrize("event", [None, "dispatch", "none_concerned"])
def test_a_reference_belongs_to_one_case(engine, event):
    with transaction(engine) as conn:
        first = open_case(conn, functional_reference="R-1", number="2026-A")
        if event:
            cases.move(conn, first, Step(event, NOW, "admit"))
    with pytest.raises(GatewayError) as caught, transaction(engine) as conn:
        open_case(conn, functional_reference="R-1")
    assert caught.value.problem.id == "GW406"
    assert "2026-A" in caught.value.detail
    with transaction(engine) as conn:
        assert open_case(conn, functional_reference="R-1", declarant="another")


def test_a_refused_case_frees_its_reference(engine):
    with transaction(engine) as conn:
        for version in (1, 2, 3):
            case_id = open_case(conn, functional_reference="R-1")
            assert cases.get(conn, case_id).version == version
            cases.move(conn, case_id, Step("refuse", NOW, "admit"), outcome="REFUSED")
        assert cases.by_reference(conn, "importer", "R-1").id == case_id


def test_of_many_at_once_one_opens_the_case(engine):
    start = threading.Barrier(6)
    with transaction(engine) as conn:
        origins = [stored(conn) for _ in range(6)]

    def attempt(message):
        start.wait()
        try:
            with transaction(engine) as conn:
                open_case(conn, functional_reference="R-1", message=message)
        except GatewayError as error:
            return error.problem.id
        return "opened"

    with ThreadPoolExecutor(6) as pool:
        outcomes = sorted(pool.map(attempt, origins))
    assert outcomes == ["GW406"] * 5 + ["opened"]


def test_a_case_follows_its_machine(engine):
    with transaction(engine) as conn:
        case_id = open_case(conn)
        cases.move(conn, case_id, Step("dispatch", NOW, "admit"), detail={"agencies": ["KR-A"]})
        cases.move(conn, case_id, Step("last_decision", NOW, "reply"), outcome="APPROVED")
        cases.move(conn, case_id, Step("relayed", NOW, "relay"), closed_at=later(1))
        row = cases.get(conn, case_id)
        assert (row.state, row.outcome, row.closed_at) == ("CLOSED", "APPROVED", later(1))
        assert row.detail == {"agencies": ["KR-A"]}
        with pytest.raises(GatewayError, match="GW705"):
            cases.move(conn, case_id, Step("dispatch", NOW, "admit"))
        steps = transitions.history(conn, CASE, case_id)
    assert [(step.event, step.to_state) for step in steps] == [
        ("dispatch", "IN_PROGRESS"),
        ("last_decision", "DECIDED"),
        ("relayed", "CLOSED"),
    ]


def test_a_case_that_does_not_exist_cannot_be_locked(engine):
    with transaction(engine) as conn, pytest.raises(GatewayError, match="GW407"):
        cases.lock(conn, 4711)


def test_a_lock_lasts_until_the_transaction_ends(engine):
    with transaction(engine) as conn:
        case_id = open_case(conn)
    order = []
    locked = threading.Event()

    def second():
        locked.wait()
        with transaction(engine) as conn:
            seen = cases.lock(conn, case_id)
            order.append(("second", seen.state))

    thread = threading.Thread(target=second)
    thread.start()
    with transaction(engine) as conn:
        cases.lock(conn, case_id)
        locked.set()
        thread.join(0.2)
        assert thread.is_alive()
        cases.move(conn, case_id, Step("dispatch", NOW, "admit"))
        order.append(("first", "done"))
    thread.join(10)
    assert order == [("first", "done"), ("second", "IN_PROGRESS")]


def test_a_locked_case_may_be_referred_to(engine):
    with transaction(engine) as conn:
        case_id = open_case(conn)
    with transaction(engine) as conn:
        cases.lock(conn, case_id)
        if engine.dialect.name == "postgresql":  # SQLite has one writer at a time
            with transaction(engine) as other:
                other.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                correlations.add(other, "ucr", "U-1", case_id)
        correlations.add(conn, "ucr", "U-1", case_id)
    with reading(engine) as conn:
        assert correlations.find(conn, "ucr", "U-1").case_id == case_id


def test_search_goes_newest_first(engine):
    with transaction(engine) as conn:
        rows = [open_case(conn, declarant=name) for name in ("a", "b", "a")]
        assert [row.id for row in cases.search(conn)] == rows[::-1]
        assert [row.id for row in cases.search(conn, declarant="a", before=rows[2])] == [rows[0]]
        assert cases.search(conn, state="CLOSED") == []


def test_a_request_comes_back_and_follows_its_machine(engine):
    with transaction(engine) as conn:
        case_id = open_case(conn)
        row_id = request(conn, case_id, number="APP-X", due_at=later(60))
        row = requests.get(conn, row_id)
        assert (row.number, row.state, row.required) == ("APP-X", "PREPARED", [[1, "FOOD"], [2, "FOOD"]])
        assert requests.by_number(conn, "APP-X") == row
        assert requests.by_number(conn, "none") is None
        requests.move(conn, row_id, Step("ask", NOW, "KR-A"), status_code="D01", due_at=later(30))
        requests.move(conn, row_id, Step("send", NOW, "soap"), receipt_number="R-9")
        supplement = payloads.put(conn, b"<Supplement/>", NOW)
        requests.set_document(conn, row_id, supplement)
        row = requests.get(conn, row_id)
        assert (row.state, row.status_code, row.receipt_number) == ("INFORMATION_REQUIRED", "D01", "R-9")
        assert row.document_sha256 == supplement
        steps = transitions.history(conn, REQUEST, row_id)
    assert [(step.from_state, step.to_state) for step in steps] == [
        ("PREPARED", "INFORMATION_REQUIRED"),
        ("INFORMATION_REQUIRED", "INFORMATION_REQUIRED"),
    ]


def test_requests_of_a_case_are_in_order_and_overdue_ones_found(engine):
    with transaction(engine) as conn:
        case_id, other = open_case(conn), open_case(conn)
        second = request(conn, case_id, sequence=2, due_at=later(-5))
        first = request(conn, case_id, sequence=1, due_at=later(5))
        decided = request(conn, case_id, sequence=3, due_at=later(-9))
        request(conn, other)
        requests.move(conn, decided, Step("decide", NOW, "KR-A"))
        assert [row.id for row in requests.of_case(conn, case_id)] == [first, second, decided]
        assert [row.id for row in requests.overdue(conn, NOW)] == [second]
        assert [row.id for row in requests.overdue(conn, later(5))] == [second, first]


def test_correlations_lead_to_one_case(engine):
    with transaction(engine) as conn:
        case_id, other = open_case(conn), open_case(conn)
        asked = request(conn, case_id)
        correlations.add(conn, "wsa", "urn:uuid:1", case_id, asked)
        correlations.add(conn, "wsa", "urn:uuid:1", case_id, asked)
        correlations.add(conn, "ucr", "urn:uuid:1", other)
        found = correlations.find(conn, "wsa", "urn:uuid:1")
        assert (found.case_id, found.request_id) == (case_id, asked)
        assert correlations.find(conn, "wsa", "urn:uuid:2") is None
        assert [row.scheme for row in correlations.of_case(conn, other)] == ["ucr"]
        with pytest.raises(ValueError, match="scheme"):
            correlations.add(conn, "pigeon", "1", case_id)
        with pytest.raises(GatewayError, match="GW702"):
            correlations.add(conn, "wsa", "urn:uuid:1", other)


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
    with transaction(engine) as conn:
        case_id = open_case(conn)
        open_case(conn)
        request(conn, case_id, sequence=7)
        request(conn, case_id, sequence=8)
        correlations.add(conn, "ucr", "U", case_id)
    with pytest.raises(IntegrityError), transaction(engine) as conn:
        conn.execute(text(change))


def test_a_request_that_another_changed_meanwhile_is_noticed(engine, monkeypatch):
    with transaction(engine) as conn:
        row_id = request(conn, open_case(conn))
        monkeypatch.setattr(transitions, "step", _cancels(conn, row_id))
        with pytest.raises(GatewayError, match=r"GW705 .* meanwhile"):
            requests.move(conn, row_id, Step("send", NOW, "soap"))


def _cancels(conn, row_id):
    def stepped(machine, state, event):
        changed = t.agency_requests.update().where(t.agency_requests.c.id == row_id)
        conn.execute(changed.values(state="CANCELLED"))
        return machine.table[state][event]

    return stepped


def test_transitions_need_nothing_to_record_nothing(engine):
    with transaction(engine) as conn:
        transitions.record(conn, CASE, [], Step("dispatch", NOW, "admit"))
        assert transitions.history(conn, CASE, 1) == []
        conn.execute(insert(t.epochs), {"name": "still usable", "value": 1})
