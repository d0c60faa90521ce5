"""Collects the rows of the logs that a transaction writes, and inserts them together before its commit.

Transitions, events and evidence are written by every step and read by none before its commit. So
they cost one statement for each transaction on PostgreSQL, and one for each log on SQLite. They are
rows of the same transaction as the changes that they tell, and a statement of this transaction that
names a log finds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, Connection, Engine, Table, TextClause, event, insert, text

from gateway.store.column_types import Instant
from gateway.store.event_tables import events
from gateway.store.prepared_statements import PreparedStatement
from gateway.store.record_tables import evidence, transitions
from gateway.store.statement_names import LOGS, list_names
from gateway.store.transaction_reads import (
    begin_keeping_reads,
    end_keeping_reads,
    forget_reads,
    forget_written,
)

__all__ = [
    "CollectedRows",
    "begin_collecting",
    "end_collecting",
    "forget_collected_rows",
    "get_stored_digests",
    "has_ended_lease",
    "insert_before_reading",
    "insert_before_statement",
    "insert_collected_rows",
    "insert_log_rows",
    "list_committed_lanes",
    "list_queued_lanes",
    "note_committed_lanes",
    "note_due_lane",
    "note_ended_lease",
    "note_ensured_lanes",
]

_Row = Mapping[str, Any]
#: The logs, and the columns that their writers give.
_COLUMNS: Final[dict[Table, tuple[str, ...]]] = {
    transitions: ("machine", "object_id", "from_state", "event", "to_state", "at", "actor", "detail"),
    events: ("at", "subject_type", "subject_id", "state"),
    evidence: ("at", "kind", "subject_type", "subject_id", "digest", "data", "leaf_hash"),
}
_INSERTS: Final = {table: PreparedStatement(insert(table)) for table in _COLUMNS}
#: Attribute of a connection while it collects.
_COLLECTED: Final = "_gateway_collected"


@dataclass(slots=True)
class CollectedRows:
    """The rows of one transaction that are not inserted yet, and what it made sure of: lanes, octets.

    `due` are the lanes in which it queued what is due at once, `ended` the deliveries whose lease it ended.
    """

    rows: dict[Table, list[_Row]] = field(default_factory=lambda: defaultdict(list))
    lanes: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)


#: The lanes that some transaction of this process has committed; a lane is never deleted.
_committed_lanes: Final[WeakKeyDictionary[Engine, set[str]]] = WeakKeyDictionary()


def begin_collecting(conn: Connection) -> CollectedRows:
    """Collect the rows of the logs, until `insert_collected_rows`, and keep what is read of locked cases."""
    begin_keeping_reads(conn)
    found = conn.__dict__[_COLLECTED] = CollectedRows()
    return found


def end_collecting(conn: Connection) -> None:
    """Forget what was collected and read: the transaction ends."""
    del conn.__dict__[_COLLECTED]
    end_keeping_reads(conn)


def note_committed_lanes(engine: Engine, collected: CollectedRows) -> None:
    """Note the lanes that a transaction made sure of: it is committed."""
    if collected.lanes:
        _committed_lanes.setdefault(engine, set()).update(collected.lanes)


def insert_log_rows(conn: Connection, log: Table, rows: Sequence[_Row]) -> None:
    """Insert rows of a log, in a write transaction of the hub together with all others before its commit."""
    if not rows:
        return
    for row in rows:
        if row["at"].tzinfo is None:
            raise ValueError(f"a time without a zone in {log.name}")
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is None:
        _INSERTS[log].execute_rows(conn, rows)
    else:
        collected.rows[log] += rows


def insert_collected_rows(conn: Connection) -> None:
    """Insert what was collected so far; where that fails, it stays collected: no commit comes without it."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is None or not collected.rows:
        return
    waiting, collected.rows = collected.rows, defaultdict(list)
    try:
        if conn.dialect.name == "sqlite":
            for table, rows in waiting.items():
                _INSERTS[table].execute_rows(conn, rows)
        else:
            conn.execute(_INSERT_ALL, _make_arrays(waiting))
    except BaseException:
        collected.rows = waiting
        raise


def insert_before_reading(engine: Engine) -> None:
    """Let each statement that names a log find what its own transaction has collected for it.

    What was read of a table that a statement writes is forgotten.
    """

    def insert_first(conn: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        insert_before_statement(conn, statement)

    event.listen(engine, "before_cursor_execute", insert_first)


def insert_before_statement(conn: Connection, statement: str) -> None:
    """Do so for one statement that is about to be executed; for a plain read there is nothing to do."""
    forget_written(conn, statement)
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is None or not collected.rows:
        return
    if not LOGS.isdisjoint(list_names(statement).named):
        insert_collected_rows(conn)


def forget_collected_rows(conn: Connection) -> None:
    """Forget what was collected: the changes that it tells are rolled back."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is not None:
        collected.rows.clear()
        collected.lanes.clear()
        collected.digests.clear()
        collected.due.clear()
        collected.ended.clear()
    forget_reads(conn)


def get_stored_digests(conn: Connection) -> set[str]:
    """Return the digests of the octets that this transaction has stored or locked, to be added to."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    return set() if collected is None else collected.digests


def note_ensured_lanes(conn: Connection, names: Sequence[str]) -> None:
    """Note that lanes exist once this transaction is committed."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is not None:
        collected.lanes.update(names)


def note_due_lane(conn: Connection, name: str) -> None:
    """Note that this transaction has queued in a lane what is due at once."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is not None:
        collected.due.add(name)


def list_queued_lanes(conn: Connection) -> list[str]:
    """Return the lanes in which this transaction has queued what is due at once, by name."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    return [] if collected is None else sorted(collected.due)


def note_ended_lease(conn: Connection, delivery: int) -> None:
    """Note that this transaction has ended the lease of a delivery."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    if collected is not None:
        collected.ended.add(delivery)


def has_ended_lease(conn: Connection, delivery: int) -> bool:
    """Return whether this transaction has ended the lease of a delivery."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    return collected is not None and delivery in collected.ended


def list_committed_lanes(conn: Connection) -> frozenset[str]:
    """Return the lanes that are committed for certain, and those that this transaction made sure of."""
    collected: CollectedRows | None = conn.__dict__.get(_COLLECTED)
    known = _committed_lanes.get(conn.engine, set())
    return frozenset(known | collected.lanes if collected is not None else known)


def _build_array_insert() -> TextClause:
    """Return the statement that inserts into all logs: a column is one array, so its text never changes."""
    parts = [_build_part(table, names) for table, names in _COLUMNS.items()]
    former = ", ".join(f"part_{number} AS ({part})" for number, part in enumerate(parts[:-1]))
    return text(f"WITH {former} {parts[-1]}")


def _build_part(table: Table, names: Sequence[str]) -> str:
    arrays = ", ".join(
        f"CAST(:{table.name}_{name} AS {_name_array_type(table.c[name].type)})" for name in names
    )
    # Names of our own tables and columns; the values are parameters.
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays})"  # noqa: S608


def _name_array_type(column: Any) -> str:
    if isinstance(column, BigInteger):
        return "bigint[]"
    return "timestamptz[]" if isinstance(column, Instant) else "text[]"


def _make_arrays(rows: Mapping[Table, Sequence[_Row]]) -> dict[str, list[Any]]:
    return {
        f"{table.name}_{name}": [row[name] for row in rows.get(table, ())]
        for table, names in _COLUMNS.items()
        for name in names
    }


_INSERT_ALL: Final = _build_array_insert()
