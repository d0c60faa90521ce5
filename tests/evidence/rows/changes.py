"""Changes rows by SQL and asks the evidence; each change is taken back."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, Table

from gateway.evidence import verify_rows
from tests.kit.changed_rows import change_value, list_values, tamper


class _TakeBackError(Exception):
    pass


def find_changed_tables(engine: Engine, table: Table, column: str) -> set[str]:
    """Return the tables of the differences that show when one value of a column is changed."""

    def change(conn: Connection) -> None:
        change_value(conn, table, column, list_values(conn, table, column)[0])

    return find_tables_after(engine, change)


def find_tables_after(engine: Engine, change: Callable[[Connection], None]) -> set[str]:
    """Return the tables of the differences that show after a change, which is taken back."""
    tables = set[str]()
    try:
        with tamper(engine) as conn:
            change(conn)
            tables = {difference.table for difference in verify_rows(conn).differences}
            raise _TakeBackError
    except _TakeBackError:
        return tables
