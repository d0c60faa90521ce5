"""Versions of one agreement follow each other in time without a gap and without a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from gateway.agreements import PMode, read_pmodes
from gateway.hub import load_effective_pmodes, load_register_snapshot
from gateway.operations import load_unchecked_agreement
from gateway.store import agreements, read_transaction, write_transaction
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT

NAME = "urn:example:agreement:broker1-hub:2026"
ENDS = read_pmodes(AGREEMENT, "a")[0].valid_until
NOW = ENDS - timedelta(days=30)
SWITCH = ENDS - timedelta(days=10)


def write_version(starts: datetime, retries: int) -> bytes:
    first = read_pmodes(AGREEMENT, "a")[0]
    text = AGREEMENT.decode()
    old = next(line for line in text.splitlines() if line.startswith("valid_from"))
    until = next(line for line in text.splitlines() if line.startswith("valid_until"))
    assert first.reliability.retries == 3
    text = text.replace(old, f"valid_from: {starts.isoformat()}")
    text = text.replace(until, f"valid_until: {(starts + timedelta(days=400)).isoformat()}")
    return text.replace("retries: 3", f"retries: {retries}").encode()


def find_submit(engine: Engine, at: datetime) -> PMode:
    with read_transaction(engine) as conn:
        book = load_register_snapshot(conn).book
    found = book.find_by_id(NAME, "broker1-submit", at)
    assert found is not None
    return found


@BOTH
def test_a_later_version_takes_over_at_its_begin(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT, "a.yaml", NOW)
        load_unchecked_agreement(conn, write_version(SWITCH, 7), "b.yaml", NOW)
        load_unchecked_agreement(conn, write_version(SWITCH + timedelta(days=100), 9), "c.yaml", NOW)
    before, after = find_submit(engine, SWITCH - timedelta(seconds=1)), find_submit(engine, SWITCH)
    assert (before.reliability.retries, before.valid_until) == (3, SWITCH)
    assert (after.reliability.retries, after.valid_from) == (7, SWITCH)
    assert find_submit(engine, SWITCH + timedelta(days=101)).reliability.retries == 9
    with read_transaction(engine) as conn:
        book, row = load_register_snapshot(conn).book, agreements.find_agreement(conn, NAME)
        assert row is not None
        for at, retries in ((NOW, 3), (SWITCH, 7)):
            assert {one.reliability.retries for one in load_effective_pmodes(conn, row, at)} == {retries}
    assert book.get_reply_pmode(after, "Result", SWITCH).valid_from == SWITCH
    assert book.get_reply_pmode(before, "Result", SWITCH).valid_from == SWITCH
    assert book.get_reply_pmode(before, "Result", NOW).valid_until == SWITCH


def test_a_version_that_begins_at_once_replaces_all(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT, "a.yaml", NOW)
        load_unchecked_agreement(conn, write_version(SWITCH, 7), "b.yaml", NOW)
        load_unchecked_agreement(conn, write_version(NOW - timedelta(days=1), 5), "c.yaml", NOW)
    assert find_submit(engine, SWITCH).reliability.retries == 5
    assert find_submit(engine, NOW).reliability.retries == 5


def test_an_agreement_that_has_not_begun_is_replaced(engine: Engine) -> None:
    early = datetime(2020, 1, 1, tzinfo=UTC)
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT, "a.yaml", early)
        load_unchecked_agreement(conn, write_version(SWITCH, 7), "b.yaml", early)
    with read_transaction(engine) as conn:
        row = agreements.find_agreement(conn, NAME)
        assert row is not None
        assert row.successors is None
