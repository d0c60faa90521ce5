"""Lets many rows be inserted at once: indexes and constraints are taken away, and made again afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, text

__all__ = ["insert_many", "without_indexes"]

_CONSTRAINTS: Final = """
    SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype IN ('p', 'u', 'f') AND (conrelid = ANY(:tables) OR confrelid = ANY(:tables))
    ORDER BY contype <> 'f', conname
"""
_INDEXES: Final = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = ANY(:tables)
"""
#: What is known of a foreign key that held before and is not looked at again.
_VALID: Final = "UPDATE pg_constraint SET convalidated = true WHERE NOT convalidated AND contype = 'f'"


@contextmanager
def without_indexes(conn: Connection, names: Sequence[str]) -> Iterator[None]:
    """Take indexes and keys from these tables within the block; all is one transaction."""
    if conn.dialect.name == "sqlite":
        yield from _without_sqlite_indexes(conn, names)
    else:
        yield from _without_postgresql_indexes(conn, names)


def _without_sqlite_indexes(conn: Connection, names: Sequence[str]) -> Iterator[None]:
    found = text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')")
    # Those of keys have no statement, and stay.
    taken = [row for row in conn.execute(found).all() if row.sql and row.tbl_name in names]
    for row in taken:
        kind = "TRIGGER" if row.sql.startswith("CREATE TRIGGER") else "INDEX"
        conn.exec_driver_sql(f'DROP {kind} "{row.name}"')
    yield
    for row in taken:
        conn.exec_driver_sql(row.sql)


def _without_postgresql_indexes(conn: Connection, names: Sequence[str]) -> Iterator[None]:
    oids = {"tables": [_find_oid(conn, name) for name in names]}
    constraints = conn.execute(text(_CONSTRAINTS), oids).all()
    for table, name, _, _ in constraints:
        conn.exec_driver_sql(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    indexes = conn.execute(text(_INDEXES), oids).all()
    for name, _ in indexes:
        conn.exec_driver_sql(f"DROP INDEX {name}")
    for name in names:
        conn.exec_driver_sql(f"ALTER TABLE {name} DISABLE TRIGGER USER")
        # What a transaction has emptied itself is filled without a log, where the server keeps little of one.
        conn.exec_driver_sql(f"CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE {name}")
        conn.exec_driver_sql(f"TRUNCATE {name}")
        conn.exec_driver_sql(f"INSERT INTO {name} SELECT * FROM kept")
        conn.exec_driver_sql("DROP TABLE kept")
    yield
    for _, definition in indexes:
        conn.exec_driver_sql(definition)
    for table, name, kind, definition in reversed(constraints):
        late = " NOT VALID" if kind == "f" else ""
        conn.exec_driver_sql(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}{late}')
    for name in names:
        conn.exec_driver_sql(f"ALTER TABLE {name} ENABLE TRIGGER USER")
    conn.exec_driver_sql(_VALID)


def _find_oid(conn: Connection, name: str) -> int:
    return int(conn.execute(text("SELECT CAST(to_regclass(:name) AS oid)"), {"name": name}).scalar_one())


def insert_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns, by COPY where the database has that."""
    if conn.dialect.name == "sqlite":
        conn.execute(insert(table), rows)
        return
    names = ", ".join(rows[0])
    cursor = conn.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:  # type: ignore[attr-defined]
        for row in rows:
            copy.write_row(tuple(row.values()))
