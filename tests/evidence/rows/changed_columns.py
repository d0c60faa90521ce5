"""Changes rows of a database by SQL, column by column, and shows which changes a comparison misses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Engine,
    Integer,
    LargeBinary,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

from gateway.evidence.rows.row_findings import ComparedTable, RowFindings
from gateway.store.cases import cases
from gateway.store.table_types import Instant, Json, metadata

__all__ = ["Compare", "compare_all", "list_missed_columns", "list_missed_rows", "open_trial"]

Compare = Callable[[Connection, Sequence[int], RowFindings], None]
#: Other values of columns that take only some.
_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "fee_movements.kind": ("payment", "refund"),
    "fee_movements.state": ("COUNTED", "NOT_COUNTED", "ORDERED", "DONE"),
    "fees.gate": ("forwarding", "result"),
    "fees.state": ("CANCELLED", "PAID"),
    "officer_acts.kind": ("ask", "decide"),
    "officer_acts.state": ("PROPOSED", "REFUSED"),
    "messages.direction": ("in", "out"),
    "messages.state": ("ACCEPTED", "FAILED"),
    "cases.state": ("OPENED", "REFUSED"),
    "agency_requests.state": ("PREPARED", "CANCELLED"),
    "clearances.state": ("CLEARED", "REFUSED"),
}
#: The value of a column that was empty.
_TEXT: Final = "changed"


def compare_all(engine: Engine, compare: Compare, root: Table = cases) -> RowFindings:
    """Compare what belongs to all rows of a table, and return the findings."""
    with engine.connect() as conn:
        return _compare(conn, compare, root)


def _compare(conn: Connection, compare: Compare, root: Table) -> RowFindings:
    findings = RowFindings()
    compare(conn, conn.execute(select(root.c.id)).scalars().all(), findings)
    return findings


def list_missed_columns(
    engine: Engine, compare: Compare, compared: Sequence[ComparedTable], root: Table = cases
) -> list[str]:
    """Return the columns of which the change of some row is not found, as `table.column`."""
    missed = []
    for each in compared:
        table = metadata.tables[each.table]
        for name in each.columns:
            for row in _list_rows(engine, table):
                with open_trial(engine) as conn:
                    changed = {name: _choose_other(table.c[name], row[name])}
                    conn.execute(update(table).where(_is_row(table, row)).values(changed))
                    findings = _compare(conn, compare, root)
                if each.table not in {difference.table for difference in findings.differences}:
                    missed.append(f"{each.table}.{name} of {_name_row(table, row)}")
    return missed


def list_missed_rows(
    engine: Engine, compare: Compare, compared: Sequence[ComparedTable], root: Table = cases
) -> list[str]:
    """Return the rows whose removal, or whose copy with other unique values, is not found."""
    missed = []
    for each in compared:
        table = metadata.tables[each.table]
        for row in _list_rows(engine, table):
            copied = {name: value for name, value in row.items() if name != "id"}
            copied |= {name: _choose_other(table.c[name], row[name]) for name in _list_unique(table)}
            trials = {"deleted": delete(table).where(_is_row(table, row)), "copied": insert(table)}
            for word, statement in trials.items():
                with open_trial(engine) as conn:
                    conn.execute(statement, copied) if word == "copied" else conn.execute(statement)
                    findings = _compare(conn, compare, root)
                if each.table not in {difference.table for difference in findings.differences}:
                    missed.append(f"{each.table} {row['id']} {word}")
    return missed


def _list_rows(engine: Engine, table: Table) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        rows = [dict(row._mapping) for row in conn.execute(select(table))]
    assert rows, f"no row of {table.name}"
    return rows


def _is_row(table: Table, row: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(*(column == row[column.name] for column in table.primary_key.columns))


def _name_row(table: Table, row: Mapping[str, Any]) -> str:
    return " ".join(str(row[column.name]) for column in table.primary_key.columns)


def _list_unique(table: Table) -> Iterator[str]:
    """Yield one column of each unique constraint of a table, beside its key."""
    for constraint in table.constraints:
        names = [column.name for column in getattr(constraint, "columns", ())]
        if type(constraint).__name__ == "UniqueConstraint":
            yield next(name for name in names if f"{table.name}.{name}" not in _CHOICES and name != "agency")


@contextmanager
def open_trial(engine: Engine) -> Iterator[Connection]:
    """Open a transaction without foreign keys, which is rolled back."""
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as conn:
        cursor = conn.connection.cursor()
        if is_sqlite:
            # Within a transaction this changes nothing.
            cursor.execute("PRAGMA foreign_keys = OFF")
        else:
            conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
        try:
            yield conn
        finally:
            conn.rollback()
            if is_sqlite:
                cursor.execute("PRAGMA foreign_keys = ON")


def _choose_other(column: Column[Any], value: Any) -> Any:
    choices = _CHOICES.get(f"{column.table.name}.{column.name}")
    if choices is not None:
        return next(choice for choice in choices if choice != value)
    kind = column.type
    if isinstance(kind, LargeBinary):
        return (value or b"") + b" "
    if isinstance(kind, Instant):
        return (value or datetime(2026, 1, 1, tzinfo=UTC)) + timedelta(microseconds=1)
    if isinstance(kind, Date):
        return (value or date(2026, 1, 1)) + timedelta(days=1)
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, Integer):
        return (value or 0) + 100_000
    if isinstance(kind, Json):
        return {_TEXT: "1"} if not isinstance(value, list) else [*value, _TEXT]
    return f"{value or ''}1"
