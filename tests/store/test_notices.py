from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.errors import GatewayError
from gateway.store import (
    NewDecision,
    NewNotice,
    StateEvent,
    cases,
    decisions,
    deliveries,
    delivery_leases,
    lanes,
    notices,
    register_version,
    state_counts,
    write_transaction,
)
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW, delivery, later, open_case, request, stored


def notice(request_id, number="N-1", seconds=0.0, **changes):
    values = {
        "request_id": request_id,
        "agency": "KR-A",
        "number": number,
        "issued_at": later(seconds),
        "status_code": "D01",
        "text": "send the certificate",
        "pointers": ("42A/67A[1]",),
        "deadline": later(600),
        "decisions": ("1/FOOD/APPROVED",),
    }
    return NewNotice(**(values | changes))


def test_a_notice_comes_back_as_it_was_said(engine):
    with write_transaction(engine) as conn:
        asked = request(conn, open_case(conn))
        new = notice(asked)
        done = notices.insert_notice(conn, new, later(1))
        row = notices.find_by_id(conn, done.id)
        assert notices.list_by_request(conn, asked) == [row]
        assert notices.find_by_id(conn, 4711) is None
    assert (done.is_latest, done.sha256) == (True, new.content_sha256)
    for name in ("agency", "number", "issued_at", "status_code", "text", "deadline"):
        assert getattr(row, name) == getattr(new, name)
    assert row.sha256 == new.content_sha256
    assert (row.pointers, row.received_at) == (["42A/67A[1]"], later(1))


def test_a_repeated_notice_is_recognised(engine):
    with write_transaction(engine) as conn:
        new = notice(request(conn, open_case(conn)))
        assert notices.insert_notice(conn, new, NOW) is not None
        assert notices.insert_notice(conn, new, later(60)) is None
        assert notices.insert_notice(conn, replace(new, agency="KR-B"), NOW) is not None


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        {"issued_at": later(1)},
        {"status_code": "R01"},
        {"text": "other"},
        {"pointers": ()},
        {"deadline": None},
        {"decisions": ("1/FOOD/REJECTED",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_number_used_for_other_words_conflicts(engine, change):
    with write_transaction(engine) as conn:
        new = notice(request(conn, open_case(conn)))
        notices.insert_notice(conn, new, NOW)
        with pytest.raises(GatewayError, match="GW702"):
            notices.insert_notice(conn, replace(new, **change), NOW)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "seconds", "latest"),
    [("N-4", -1, False), ("N-4", 0, False), ("N-6", 0, True), ("N-1", 1, True)],
)
def test_the_latest_is_known_by_time_then_number(engine, number, seconds, latest):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        asked = request(conn, case_id)
        notices.insert_notice(conn, notice(asked, "N-5"), NOW)
        assert notices.insert_notice(conn, notice(asked, number, seconds), NOW).is_latest is latest
        assert notices.insert_notice(conn, notice(request(conn, case_id), "N-0", -9), NOW).is_latest


@pytest.mark.long
@pytest.mark.parametrize(
    "change", ["UPDATE notices SET number = 'same'", "UPDATE notices SET request_id = 4711"]
)
def test_the_database_itself_refuses_nonsense(engine, change):
    with write_transaction(engine) as conn:
        asked = request(conn, open_case(conn))
        notices.insert_notice(conn, notice(asked, "N-1"), NOW)
        notices.insert_notice(conn, notice(asked, "N-2"), NOW)
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text(change))


@pytest.mark.long
def test_a_request_is_found_by_the_number_of_its_requirement(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        first, second = request(conn, case_id), request(conn, case_id)
        for row_id, agency, number in (
            (first, "KR-A", "R-1"),
            (second, "KR-A", "R-2"),
            (second, "KR-B", "R-1"),
        ):
            new = NewDecision(row_id, agency, number, 1, "FOOD", NOW, "APPROVED", number)
            decisions.insert_decisions(conn, [new], NOW)
        assert decisions.find_by_requirement(conn, "KR-A", "R-1").id == first
        assert decisions.find_by_requirement(conn, "KR-B", "R-1").id == second
        assert decisions.find_by_requirement(conn, "KR-B", "R-2") is None


def test_a_refused_case_stands_beside_the_one_that_holds_the_reference(engine):
    with write_transaction(engine) as conn:
        standing = open_case(conn, functional_reference="R-1")
        cases.apply_event(conn, standing, StateEvent("dispatch", NOW, "admit"))
        values = {"document": "Submission", "function": "9", "declarant": "importer", "applicant": "broker"}
        new = cases.NewCase(
            number="2026-X", functional_reference="R-1", message=stored(conn), detail={"a": 1}, **values
        )
        refused = cases.open_refused_case(conn, new, NOW).id
        cases.apply_event(conn, refused, StateEvent("refuse", NOW, "admit"), outcome="REFUSED")
        row = cases.find_by_id(conn, refused)
        assert (row.version, row.state, row.detail) == (2, "REFUSED", {"a": 1})
        with pytest.raises(GatewayError, match="GW406"):
            open_case(conn, functional_reference="R-1")


def test_what_follows_waits_until_the_other_has_ended_well(engine):
    with write_transaction(engine) as conn:
        first = deliveries.enqueue_delivery(conn, delivery(destination="KR-B"), NOW)
        after = deliveries.enqueue_delivery(conn, delivery(follows=first), NOW)
        claim = lambda lane: claim_deliveries(conn, lane, "w", NOW, later(60))  # noqa: E731
        assert claim("KR-A") == ()
        assert tuple(one.name for one in lanes.list_due_lanes(conn, NOW)) == ("KR-B",)
        (lease,) = claim("KR-B")
        assert claim("KR-A") == ()
        delivery_leases.fail_delivery(conn, lease, NOW)
        assert claim("KR-A") == ()
        deliveries.give_up_delivery(conn, first, NOW, "operator")
        assert tuple(one.name for one in lanes.list_due_lanes(conn, NOW)) == ("KR-A",)
        assert [found.id for found in claim("KR-A")] == [after]


def test_the_census_counts_what_is_in_each_state(engine):
    with write_transaction(engine) as conn:
        case_id = open_case(conn)
        request(conn, case_id)
        request(conn, case_id, agency="KR-B")
        cases.apply_event(conn, case_id, StateEvent("none_concerned", NOW, "admit"), outcome="APPROVED")
        deliveries.enqueue_delivery(conn, delivery(), NOW)
        register_version.increment_register_version(conn)
        found = state_counts.count_states(conn)
    assert found["gateway_messages"] == {(("direction", "in"), ("state", "ACCEPTED")): 1.0}
    assert found["gateway_cases"] == {(("state", "DECIDED"), ("outcome", "APPROVED")): 1.0}
    assert len(found["gateway_requests"]) == 2
    assert found["gateway_deliveries"] == {(("lane", "KR-A"), ("state", "QUEUED")): 1.0}
    assert found["gateway_trust_epoch"] == {(): 1.0}
