"""An upgrade keeps every row of every table, with the value of every column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Column, Connection, Engine, MetaData, Table, inspect, select
from sqlalchemy.types import Boolean, Date, DateTime, Integer, LargeBinary

from gateway.store import get_head_revision, make_engine, migrate_schema
from gateway.store.schema_revisions import list_revisions
from tests.kit.levels import at_night
from tests.kit.revisions import make_database_at

#: What an upgrade writes itself: the version, the oldest code that can use it, and what processes read again.
_WRITTEN: Final = {"alembic_version", "schema_floor", "epochs"}
#: More rows than a column of states has values.
_ROWS: Final = 16
_LISTED: Final = re.compile(r"(\w+)\W+(?:IN \(|= ANY \(+ARRAY\[)([^)\]]*)")
_Rows = dict[str, list[dict[str, Any]]]


def fill_tables(conn: Connection) -> list[str]:
    """Replace the rows of every table but the version; return the names of these tables.

    Row by row all tables have the same values, so that each foreign key leads to a row. A table that triggers
    write has their rows.
    """
    filled = []
    tables = [table for table in reflect_tables(conn) if table.name != "alembic_version"]
    for table in reversed(tables):
        conn.execute(table.delete())
    for table in tables:
        if conn.execute(select(1).select_from(table)).first() is None:
            allowed = read_allowed_values(conn, table)
            rows = [
                {column.name: make_value(column, number, allowed.get(column.name)) for column in table.c}
                for number in range(1, _ROWS + 1)
            ]
            conn.execute(table.insert(), rows)
            filled.append(table.name)
    return filled


def reflect_tables(conn: Connection) -> Sequence[Table]:
    """Return the tables of the database, those first to which others refer."""
    tables = MetaData()
    tables.reflect(conn)
    return tables.sorted_tables


def read_allowed_values(conn: Connection, table: Table) -> dict[str, list[str]]:
    """Return the values that a column may have, by column, where its table lists them (in each list)."""
    allowed: dict[str, list[str]] = {}
    for check in inspect(conn).get_check_constraints(table.name):
        for column, text in _LISTED.findall(str(check["sqltext"])):
            values = re.findall(r"'([^']*)'", text)
            allowed[column] = [value for value in values if value in allowed.get(column, values)]
    return allowed


def make_value(column: Column[Any], number: int, allowed: list[str] | None) -> Any:
    """Return the value of a column in the row of a number."""
    if allowed:
        return allowed[number % len(allowed)]
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, DateTime):
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(microseconds=number)
    if isinstance(column.type, Date):
        return date(2026, 11, number)
    if isinstance(column.type, Integer):
        return number
    if isinstance(column.type, LargeBinary):
        return b"\0\xff%d" % number
    return f"{number} 가 ' \\ %s"


def read_rows(engine: Engine) -> _Rows:
    """Return all rows, by table."""
    with engine.connect() as conn:
        return {
            table.name: [dict(row) for row in conn.execute(table.select()).mappings()]
            for table in reflect_tables(conn)
        }


def describe_lost_rows(before: _Rows, after: _Rows) -> list[str]:
    """Return the tables whose rows differ in an earlier column, but for what an upgrade writes."""
    lost = []
    for name, rows in before.items():
        same = (
            [{column: row.get(column) for column in rows[0]} for row in after.get(name, [])] if rows else []
        )
        if name not in _WRITTEN and sorted(map(repr, rows)) != sorted(map(repr, same)):
            lost.append(name)
    return lost


#: The revisions before the last one.
FIRST, *BETWEEN, LAST_BEFORE = list_revisions()[:-1]


@pytest.mark.long
@pytest.mark.parametrize("revision", [FIRST, *at_night(*BETWEEN), LAST_BEFORE])
def test_an_upgrade_keeps_every_row_of_every_table(empty_database_url: str, revision: str) -> None:
    make_database_at(empty_database_url, revision)
    engine = make_engine(empty_database_url)
    with engine.begin() as conn:
        filled = fill_tables(conn)
    before = read_rows(engine)
    assert len(filled) > 80
    assert all(before.values())
    assert migrate_schema(engine) == (revision, get_head_revision())
    after = read_rows(engine)
    engine.dispose()
    assert describe_lost_rows(before, after) == []


def test_a_lost_or_changed_row_is_named() -> None:
    before: _Rows = {"a": [{"x": 1}, {"x": 2}], "b": [{"x": 1}], "c": [], "epochs": [{"x": 1}]}
    same: _Rows = {"a": [{"x": 2, "y": 0}, {"x": 1, "y": 0}], "b": [{"x": 1}], "c": [], "epochs": [{"x": 2}]}
    assert describe_lost_rows(before, same) == []
    assert describe_lost_rows(before, same | {"a": [{"x": 2, "y": 0}]}) == ["a"]
    assert describe_lost_rows(before, same | {"a": [{"x": 3}, {"x": 1}], "b": []}) == ["a", "b"]
