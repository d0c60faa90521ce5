"""Rows read back as they were inserted; what is there already is told from what is new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from gateway.store import InsertIfAbsent, read_transaction, write_transaction
from gateway.store.payloads import payloads
from gateway.store.transitions import transitions

AT = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
STEP = {
    "machine": "message", "object_id": 1, "from_state": "RECEIVED", "event": "accept", "to_state": "ACCEPTED",
    "at": AT, "actor": "test", "detail": "한글 ' \" ; --",
}  # fmt: skip


def test_a_row_reads_back_as_it_was_given(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        conn.execute(insert(transitions), [STEP, STEP | {"object_id": 2, "detail": None}])
        conn.execute(insert(transitions), STEP | {"object_id": 3})
    with read_transaction(engine) as conn:
        rows = [row._asdict() for row in conn.execute(select(transitions).order_by(transitions.c.id))]
    told = [{name: row[name] for name in STEP} for row in rows]
    assert told == [STEP | {"at": AT.astimezone(UTC), "object_id": n, "detail": d}
                    for n, d in ((1, STEP["detail"]), (2, None), (3, STEP["detail"]))]  # fmt: skip


@pytest.mark.long
def test_more_rows_than_one_statement_may_have_are_all_inserted_in_their_order(engine: Engine) -> None:
    rows = [STEP | {"object_id": number} for number in range(9000)]
    with write_transaction(engine) as conn:
        conn.execute(insert(transitions), rows)
    with read_transaction(engine) as conn:
        found = conn.execute(select(transitions.c.object_id).order_by(transitions.c.id)).scalars().all()
    assert found == list(range(9000))


def test_a_time_without_a_zone_is_refused_as_ever(engine: Engine) -> None:
    with pytest.raises(Exception, match="without a zone"), write_transaction(engine) as conn:
        conn.execute(insert(transitions), [STEP | {"at": AT.replace(tzinfo=None)}])


def test_a_missing_value_is_no_row(engine: Engine) -> None:
    with pytest.raises(Exception, match=r"(?i)not.?null|null value"), write_transaction(engine) as conn:
        conn.execute(insert(transitions), [STEP | {"actor": None}])


def test_an_insert_of_something_new_tells_old_from_new(engine: Engine) -> None:
    new = InsertIfAbsent(payloads, ("sha256",), "sha256")
    row = {"sha256": "a" * 64, "size": 1, "stored_at": AT, "content": b"\x00"}
    with write_transaction(engine) as conn:
        first, again = new.insert_one(conn, row), new.insert_one(conn, row)
    assert first is not None
    assert (first.sha256, again) == ("a" * 64, None)


@pytest.mark.parametrize("number", [2, 70])
def test_several_new_rows_are_told_from_old_ones(engine: Engine, number: int) -> None:
    new = InsertIfAbsent(payloads, ("sha256",), "sha256")
    rows: list[dict[str, Any]] = [
        {"sha256": f"{place:064}", "size": 1, "stored_at": AT, "content": bytes([place]), "stored_in": None}
        for place in range(number)
    ]
    with write_transaction(engine) as conn:
        new.insert_one(conn, rows[1])
        assert new.insert_new(conn, rows) == [rows[1]]
        assert new.insert_keyed(conn, rows, "sha256") == {}
        further = [one | {"sha256": f"{one['sha256']}"[::-1] + "x"} for one in rows]
        stored = new.insert_keyed(conn, further, "sha256")
        assert sorted(stored) == sorted(one["sha256"] for one in further)
        found = conn.execute(select(payloads.c.sha256, payloads.c.content).order_by(payloads.c.sha256)).all()
    told = sorted((one["sha256"], one["content"]) for one in (*rows, *further))
    assert [tuple(one) for one in found] == told
