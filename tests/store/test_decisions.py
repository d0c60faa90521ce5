from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.store import (
    NewDecision,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    make_engine,
    read_transaction,
    write_transaction,
)
from tests.kit.rows import NOW, later, open_case, request


def decision(request_id, notice, seconds=0.0, **changes):
    values = {
        "request_id": request_id,
        "agency": "KR-A",
        "notice_no": notice,
        "item": 1,
        "law": "FOOD",
        "issued_at": later(seconds),
        "decision": "APPROVED",
    }
    return NewDecision(**(values | changes))


def test_a_decision_comes_back_as_it_was(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        new = decision(
            request(conn, case_id),
            "N-1",
            decision="APPROVED_WITH_CONDITIONS",
            number="2026-77",
            date=date(2026, 11, 21),
            quantity="0012.500",
            unit="KGM",
            conditions=("label in Korean", "store below -18"),
        )
        (inserted,) = decisions.insert_decisions(conn, [new], later(1)).rows
        (row,) = decisions.list_by_case(conn, case_id)
    assert {name: getattr(row, name) for name in inserted} == inserted
    assert row.conditions == ["label in Korean", "store below -18"]
    for name in ("request_id", "agency", "notice_no", "item", "law", "issued_at", "decision", "number"):
        assert getattr(row, name) == getattr(new, name)
    assert (row.date, row.quantity, row.unit) == (date(2026, 11, 21), "0012.500", "KGM")
    assert (row.superseded_by, row.received_at) == (None, later(1))


def test_a_repeated_notice_is_stored_once(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        new = decision(request(conn, case_id), "N-1", conditions=("a",), date=date(2026, 1, 1))
        assert len(decisions.insert_decisions(conn, [new, replace(new, item=2)], NOW).rows) == 2
        assert (
            decisions.insert_decisions(conn, [new, replace(new, item=2), replace(new, item=3)], later(9)).rows
            != []
        )
        assert [row.item for row in decisions.list_current_decisions(conn, case_id)] == [1, 2, 3]


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        {"decision": "REJECTED"},
        {"issued_at": later(60)},
        {"number": "2"},
        {"quantity": "1.0"},
        {"unit": "TNE"},
        {"conditions": ("other",)},
        {"date": date(2026, 1, 2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_repeated_notice_with_other_words_conflicts(engine, change):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        new = decision(
            request(conn, case_id), "N-1", number="1", quantity="1", unit="KGM", date=date(2026, 1, 1)
        )
        decisions.insert_decisions(conn, [new], NOW)
    with pytest.raises(GatewayError) as caught, write_transaction(engine) as conn:
        decisions.insert_decisions(conn, [replace(new, **change)], NOW)
    assert caught.value.problem.id == "GW702"


def test_a_notice_of_another_request_conflicts(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        first, second = request(conn, case_id), request(conn, case_id)
        decisions.insert_decisions(conn, [decision(first, "N-1")], NOW)
        decisions.insert_decisions(conn, [decision(second, "N-1", agency="KR-B")], NOW)
        with pytest.raises(GatewayError, match="GW702"):
            decisions.insert_decisions(conn, [decision(second, "N-1")], NOW)


NOTICES = (("N-1", 0), ("N-9", 10), ("N-2", 20), ("N-3", 20))


@pytest.mark.long
@pytest.mark.parametrize("order", list(itertools.permutations(NOTICES)))
def test_the_latest_counts_in_whatever_order_they_arrive(engine, order):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        asked = request(conn, case_id)
        for notice, seconds in order:
            decisions.insert_decisions(conn, [decision(asked, notice, seconds)], NOW)
        (current,) = decisions.list_current_decisions(conn, case_id)
        assert current.notice_no == "N-3"
        others = [row for row in decisions.list_by_request(conn, asked) if row.id != current.id]
        assert len(others) == 3
        assert {row.superseded_by for row in others} == {current.id}


def test_items_laws_and_requests_do_not_supersede_each_other(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        first, second = request(conn, case_id), request(conn, case_id)
        new = [
            decision(first, "N-1"),
            decision(first, "N-2", item=2),
            decision(first, "N-3", law="PLANT"),
            decision(second, "N-4", seconds=99),
        ]
        decisions.insert_decisions(conn, new, NOW)
        assert len(decisions.list_current_decisions(conn, case_id)) == 4
        assert decisions.list_by_case(conn, open_case(conn)) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decisions SET notice_no = 'same'",
        "UPDATE decisions SET decision = 'MAYBE'",
        "UPDATE decisions SET request_id = 4711",
        "UPDATE decisions SET superseded_by = 4711",
    ],
)
def test_the_database_itself_refuses_nonsense(engine, change):
    with write_transaction(engine) as conn:
        asked = request(conn, open_case(conn))
        decisions.insert_decisions(conn, [decision(asked, "N-1"), decision(asked, "N-2")], NOW)
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(change))


def _decide(engine, case_id, request_id, start):
    start.wait()
    with write_transaction(engine) as conn:
        cases.lock_case(conn, case_id)
        decisions.insert_decisions(conn, [decision(request_id, f"N-{request_id}")], NOW)
        agency_requests.apply_event(conn, request_id, StateEvent("decide", NOW, "KR-A"))
        last = all(row.state == "DECIDED" for row in agency_requests.list_by_case(conn, case_id))
        cases.apply_event(conn, case_id, StateEvent("last_decision" if last else "decision", NOW, "reply"))


def _two_requests(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        asked = (request(conn, case_id), request(conn, case_id))
        cases.apply_event(conn, case_id, StateEvent("dispatch", NOW, "admit"))
    return case_id, asked


@pytest.mark.long
def test_of_two_last_decisions_at_once_one_sees_the_other(engine):
    undecided = 0
    for _ in range(40):
        case_id, asked = _two_requests(engine)
        start = threading.Barrier(2)
        threads = [threading.Thread(target=_decide, args=(engine, case_id, row, start)) for row in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with read_transaction(engine) as conn:
            undecided += cases.find_by_id(conn, case_id).state != "DECIDED"
    assert undecided == 0


def test_without_the_lock_postgresql_loses_the_last_decision(postgresql_url):
    """The race is real: this is what the lock is for.  SQLite has one writer at a time anyway."""
    engine = make_engine(postgresql_url)
    case_id, asked = _two_requests(engine)
    with write_transaction(engine) as first, write_transaction(engine) as second:
        for conn, row in ((first, asked[0]), (second, asked[1])):
            agency_requests.apply_event(conn, row, StateEvent("decide", NOW, "KR-A"))
        for conn in (first, second):
            assert not all(row.state == "DECIDED" for row in agency_requests.list_by_case(conn, case_id))
    with read_transaction(engine) as conn:
        assert cases.find_by_id(conn, case_id).state == "IN_PROGRESS"
    engine.dispose()
