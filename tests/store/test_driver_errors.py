"""An error of a driver shows that the disk, the server or one statement has failed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.errors import lookup

from gateway.store.driver_errors import FailureScope, find_failure_scope, is_value_too_long

_DISK = ("53100", "58030")
_SERVER = (
    *("08000", "08003", "08006", "57P01", "57P02", "57P03", "57P05", "25006", "42501"),
    *("28000", "28P01", "53000", "53200", "53300", "54000", "58000", "58P01"),
)
_STATEMENT = (
    *("08P01", "53400", "54001", "54011", "54023", "55000", "55006", "57014", "25P03", "25P04"),
    *("40000", "40003", "38000", "39000", "F0000", "HV000", "23505", "22021"),
)


@pytest.mark.parametrize("sqlstate", [*_DISK, *_SERVER, *_STATEMENT])
def test_only_errors_of_disk_and_server_are_for_everybody(sqlstate: str) -> None:
    scope = find_failure_scope(lookup(sqlstate)())
    expected = {**dict.fromkeys(_DISK, "disk"), **dict.fromkeys(_SERVER, "server")}
    assert scope is FailureScope(expected.get(sqlstate, "statement"))


def test_a_lost_connection_is_one_of_the_server() -> None:
    assert find_failure_scope(psycopg.OperationalError("closed")) is FailureScope.SERVER


def test_only_a_limit_of_a_table_is_a_value_that_is_too_long() -> None:
    def make_error(sqlstate: str, table: str | None) -> Any:
        return SimpleNamespace(sqlstate=sqlstate, diag=SimpleNamespace(table_name=table))

    assert is_value_too_long(make_error("54000", "messages"))
    # The numbers of transactions are used up.
    assert not is_value_too_long(make_error("54000", None))
    assert not is_value_too_long(make_error("23505", "messages"))


def test_a_full_file_of_sqlite_is_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.db")) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE filled (value BLOB)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("INSERT INTO filled VALUES (zeroblob(100000))")
    assert find_failure_scope(caught.value) is FailureScope.DISK
    assert not is_value_too_long(caught.value)


def test_a_file_that_another_writer_holds_is_no_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    with closing(sqlite3.connect(path)) as holder, closing(sqlite3.connect(path, timeout=0)) as writer:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            writer.execute("BEGIN IMMEDIATE")
    assert find_failure_scope(caught.value) is FailureScope.SERVER
