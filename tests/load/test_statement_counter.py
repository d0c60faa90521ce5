"""What the counter says of a process whose statements are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.databases import BOTH
from tests.kit.paths import ROOT
from tests.load.case_price import count_statements, price_statements

#: Three inserts and two updates by one call each, another insert, a read, and a transaction that
#: fails; on SQLite with a trigger, whose statements are part of those that fire it.
_PROGRAM = """
import sys
from sqlalchemy import bindparam, insert, update
from gateway.store import deliveries, lanes, read_transaction, write_transaction
from gateway.store.engine import make_engine
from gateway.store.deliveries import lanes as table

engine = make_engine(sys.argv[1])
if engine.dialect.name == "sqlite":
    with write_transaction(engine, "known.trigger") as conn:
        conn.connection.driver_connection.execute(
            "CREATE TRIGGER known AFTER UPDATE ON lanes BEGIN SELECT 1; SELECT 2; END"
        )
with write_transaction(engine, "known.write") as conn:
    conn.execute(insert(table), [{"name": "a"}, {"name": "b"}, {"name": "c"}])
    named = update(table).where(table.c.name == bindparam("lane")).values(capacity=2)
    conn.execute(named, [{"lane": "a"}, {"lane": "b"}])
    deliveries.ensure_lanes(conn, "d")
with read_transaction(engine) as conn:
    assert len(lanes.find_lanes(conn, ["a", "b", "c"])) == 3
try:
    with write_transaction(engine, "known.failure") as conn:
        conn.execute(update(table).where(table.c.name == "a").values(capacity=None))
        raise ValueError
except ValueError:
    pass
"""


@BOTH
@pytest.mark.night
def test_each_row_is_counted_and_each_commit(database_url: str, tmp_path: Path) -> None:
    with count_statements(tmp_path / "counts") as counts:
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM, database_url], cwd=ROOT)
        assert process.wait(60) == 0
    found = price_statements(counts.read({process.pid}), 1)
    assert found["case_kinds"] | {"SELECT": 0} == {
        "SELECT": 0,
        "INSERT": 4,
        "UPDATE": 3,
        "DELETE": 0,
        "WITH": 0,
    }
    names = {words.rpartition(" > ")[2] for words in found["case_transactions_by_name"]}
    assert "write known.write" in names
    assert "write known.failure" not in names
    # SQLite: the trigger is made. A server: its first connections ask for its settings and its session.
    more = (1, 1) if database_url.startswith("sqlite") else (2, 2)
    assert (found["case_writing"], found["case_transactions"]) == (1 + more[0], 2 + more[1])
