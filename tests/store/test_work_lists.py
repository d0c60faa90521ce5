"""The lists of an agency's officers: what is in each, its order, how it goes on, and its counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.store import (
    NewAccount,
    NewDeadline,
    NewFee,
    NewSummary,
    WorkCursor,
    WorkFilter,
    WorkTab,
    accounts,
    deadlines,
    fees,
    read_transaction,
    work_lists,
    write_transaction,
)
from gateway.store.agency_requests import agency_requests
from gateway.store.fees import fees as fee_table
from gateway.store.officer_work import work_claims
from tests.kit.rows import NOW, later, open_case, request

KIM = 1


@pytest.fixture
def rows(engine):
    """Store applications of one agency and one of another; return their row ids by name."""
    made = {}
    states = {
        "new": {"state": "SENT"},
        "received": {"state": "ACKNOWLEDGED"},
        "held": {"state": "FEE_DUE", "due_at": later(-60)},
        "levied": {"state": "FEE_DUE"},
        "mine": {"state": "ACKNOWLEDGED", "cancellation": "ASKED"},
        "asked": {"state": "INFORMATION_REQUIRED", "due_at": later(600)},
        "late": {"state": "INFORMATION_REQUIRED", "due_at": later(-600)},
        "decided": {"state": "DECIDED", "due_at": later(-900), "decided_at": NOW},
        "unpaid": {"state": "DECIDED"},
        "unseen": {"state": "INFORMATION_REQUIRED", "due_at": later(500)},
        "unsent": {"state": "PREPARED", "due_at": later(-5)},
        "withdrawn": {"state": "DECIDED", "cancellation": "ASKED"},
        "kept": {"state": "DECIDED", "cancellation": "REFUSED"},
    }
    with write_transaction(engine) as conn:
        kim = accounts.insert_account(conn, NewAccount("kim", "Kim", "test"), NOW)
        for name, values in states.items():
            made[name] = request(conn, open_case(conn), number=f"A-{name}")
            conn.execute(agency_requests.update().where(agency_requests.c.id == made[name]).values(**values))
        for name, gate in (("held", "forwarding"), ("levied", "result"), ("levied", "forwarding")):
            store_fee(conn, made[name], gate, "LEVIED" if gate == "result" or name == "held" else "PAID")
        # One was told to be overdue, of another the clockwork has not seen it; the fees of two are not due.
        for name, number, state, at in (
            ("unpaid", 1, "OVERDUE", -300),
            ("unpaid", 2, "OVERDUE", -200),
            ("unseen", 1, "OPEN", -30),
            ("late", 1, "OVERDUE", -10),
            ("decided", 1, "OVERDUE", -10),
            ("kept", 1, "OPEN", 10),
        ):
            store_late_fee(conn, made[name], f"F-{name}-{number}", (state, later(at)), paid=name == "decided")
        made["other"] = request(conn, open_case(conn), agency="KR-B", number="A-other")
        claim = {"request_id": made["mine"], "agency": "KR-A", "account_id": kim, "version": 3, "since": NOW}
        conn.execute(work_claims.insert().values(claim))
        goods = {"new": ("0601101000", "Tulip"), "received": ("1905320000", "Wafers")}
        work_lists.store_summaries(
            conn,
            [
                NewSummary(made[name], "KR-A", "d" * 64, f"{what} Ltd", f"id-{what}", what, hs, "12 70", 1)
                for name, (hs, what) in goods.items()
            ],
        )
    return made


def store_late_fee(conn, request_id, number, deadline, *, paid):
    state, due = deadline
    case = store_fee(conn, request_id, "result", "PAID" if paid else "LEVIED", number)
    at = due if state == "OPEN" else None
    deadlines.insert_deadlines(
        conn, [NewDeadline(case, request_id, "pay", number, state, NOW, due_at=due, next_at=at)]
    )


def store_fee(conn, request_id, gate, state, number=None):
    number = number or f"F-{request_id}-{gate}"
    case = agency_requests.select().where(agency_requests.c.id == request_id)
    new = NewFee(
        number, request_id, conn.execute(case).one().case_id, "KR-A", "application", gate,
        "1", "KRW", None, "", False, NOW,
    )  # fmt: skip
    fee = fees.insert_fee(conn, new)
    conn.execute(fee_table.update().where(fee_table.c.id == fee).values(state=state))
    return new.case_id


def look(engine, tab=WorkTab.NEW, *, agency="KR-A", **more):
    with read_transaction(engine) as conn:
        found = work_lists.list_work(conn, WorkFilter(agency, tab, KIM, NOW, **more))
    return [row.number.removeprefix("A-") for row in found]


@pytest.mark.long
@pytest.mark.parametrize(
    ("tab", "names"),
    [
        ("new", ["new", "received", "levied"]),
        ("held", ["held"]),
        ("mine", ["mine"]),
        ("waiting", ["asked", "late", "unseen"]),
        ("approve", []),
        ("cancel", ["mine", "withdrawn"]),
        ("decided", ["decided", "unpaid", "withdrawn", "kept"]),
        ("overdue", ["late", "unpaid", "held", "unseen"]),
        (
            "all",
            [
                "new",
                "received",
                "held",
                "levied",
                "mine",
                "asked",
                "late",
                "decided",
                "unpaid",
                "unseen",
                "withdrawn",
                "kept",
            ],
        ),
    ],
)
def test_each_list_has_its_applications_oldest_first(engine, rows, tab, names):
    assert look(engine, WorkTab(tab)) == names


@pytest.mark.long
def test_a_list_goes_on_behind_its_last_row_in_each_order(engine, rows):
    assert look(engine, WorkTab.ALL, limit=2)[:2] == ["new", "received"]
    assert look(engine, WorkTab.ALL, limit=2, after=WorkCursor(rows["levied"]))[:2] == ["mine", "asked"]
    assert look(engine, WorkTab.ALL, order="new", after=WorkCursor(rows["held"])) == ["received", "new"]
    assert look(engine, WorkTab.WAITING, order="due") == ["late", "unseen", "asked"]
    after = WorkCursor(rows["late"], later(-600))
    assert look(engine, WorkTab.WAITING, order="due", after=after) == ["unseen", "asked"]
    assert look(engine, WorkTab.OVERDUE, limit=1, after=after) == ["unpaid", "held"]
    after = WorkCursor(rows["unpaid"], later(-300))
    assert look(engine, WorkTab.OVERDUE, limit=1, after=after) == ["held", "unseen"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ({"hs": "06"}, ["new"]),
        ({"hs": "0601"}, ["new"]),
        ({"hs": "190532"}, ["received"]),
        ({"hs": "190533"}, []),
        ({"applicant": "id-Tulip"}, ["new"]),
        ({"applicant": "wafer"}, ["received"]),
        ({"tab": WorkTab.ALL, "applicant": "wafer"}, []),
        ({"tab": WorkTab.ALL, "applicant": "id-Wafers"}, ["received"]),
        ({"tab": WorkTab.ALL, "hs": "060110"}, ["new"]),
        ({"applicant": "%"}, []),
        ({"law": "70"}, ["new", "received"]),
        ({"law": "7"}, []),
        ({"tab": WorkTab.DECIDED, "law": "7"}, ["decided", "unpaid", "withdrawn", "kept"]),
        ({"document": "A-2"}, []),
    ],
)
def test_a_filter_leaves_what_it_says(engine, rows, words, names):
    assert look(engine, **words) == names


@pytest.mark.long
def test_tabs_are_counted(engine, rows):
    with read_transaction(engine) as conn:
        found = work_lists.count_work(conn, "KR-A", KIM, NOW)
    assert {tab.value: number for tab, number in found.items()} == {
        "new": 3,
        "held": 1,
        "mine": 1,
        "waiting": 3,
        "approve": 0,
        "cancel": 2,
        "overdue": 4,
    }


@pytest.mark.parametrize("order", ["old", "new", "due"])
def test_an_agency_has_no_application_of_another_in_its_lists_and_counts(engine, rows, order):
    """Not even one that is overdue by a fee alone."""
    listed = [look(engine, tab, agency="KR-B", order=order) for tab in WorkTab]
    with read_transaction(engine) as conn:
        counts = work_lists.count_work(conn, "KR-B", KIM, NOW)
    assert listed == [[] for _ in WorkTab]
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("words", [{"hs": "0601"}, {"applicant": "id-Tulip"}, {"numbers": ["A-new"]}])
def test_a_search_of_an_agency_finds_no_application_of_another(engine, rows, words):
    assert look(engine, WorkTab.ALL, agency="KR-B", **words) == []


def test_the_mark_changes_when_something_arrives_or_moves(engine, rows):
    def mark():
        with read_transaction(engine) as conn:
            return work_lists.compute_work_list_version(conn, "KR-A")

    first = mark()
    with write_transaction(engine) as conn:
        request(conn, open_case(conn), agency="KR-B")
    assert mark() == first
    with write_transaction(engine) as conn:
        conn.execute(
            agency_requests.update().where(agency_requests.c.id == rows["new"]).values(state="DECIDED")
        )
    second = mark()
    with write_transaction(engine) as conn:
        new = request(conn, open_case(conn))
        conn.execute(agency_requests.update().where(agency_requests.c.id == new).values(state="SENT"))
    assert len({first, second, mark()}) == 3


def test_a_number_of_another_agency_finds_nothing(engine, rows):
    with read_transaction(engine) as conn:
        assert work_lists.find_application_numbers(conn, "KR-A", "A-new") == ["A-new"]
        assert list(work_lists.find_application_numbers(conn, "KR-A", "A-other")) == []


def test_a_summary_of_a_new_call_replaces_the_old_one(engine, rows):
    with write_transaction(engine) as conn:
        old = work_lists.find_summary(conn, rows["new"])
        assert [row.id for row in work_lists.list_unread_requests(conn, [rows["new"]])] == [rows["new"]]
        with read_transaction(engine) as reading:
            sent = next(iter(reading.execute(agency_requests.select()))).document_sha256
        new = replace(NewSummary(rows["new"], "KR-A", sent), goods="Roses", hs="0603110000")
        work_lists.store_summaries(conn, [new])
        assert list(work_lists.list_unread_requests(conn, [rows["new"]])) == []
        assert work_lists.find_summary(conn, rows["new"]).heading == "0603"
    assert old.heading == "0601"
