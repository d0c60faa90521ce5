"""Marks the object store of a database: once when the database is made, and again when an operator says so.

The database has the mark first. The store gets it in a transaction that holds off every other marking, and
that then says so: of two nodes with folders of their own, one is marked. A process that was killed in between
is repeated.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, select

from gateway.errors import MISUSE, GatewayError
from gateway.store.database_state import get_database_state
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.marked_objects import MarkedObjectStore, WrongStoreError
from gateway.store.object_store import OBJECTS, ObjectStore
from gateway.store.payloads import payloads
from gateway.store.shared_files import (
    PAYLOADS,
    find_shared_file,
    lock_shared_file,
    record_placed_mark,
    record_shared_file,
    replace_shared_file,
)

#: The newest objects that are looked for in a store before it is marked.
_COMPARED_OBJECTS: Final = 100


@dataclass(frozen=True, slots=True)
class ComparedObjects:
    """How many of the newest objects of a database were looked for in a store, and how many it lacks."""

    compared: int
    missing: int


def mark_new_store(engine: Engine, at: datetime) -> None:
    """Mark the object store of an engine as that of its database, unless the database has marked one before.

    Raises GW811 for a store with the mark of another database, or with none of the newest objects that this
    database names.
    """
    store = get_database_state(engine).objects
    if not isinstance(store, MarkedObjectStore):
        return
    with write_transaction(engine, "payloads.mark_noted") as conn:
        row = record_shared_file(conn, PAYLOADS, _make_mark())
    if row.placed_at is not None:
        return
    comparison = compare_newest_objects(engine, store)
    if comparison.compared and comparison.compared == comparison.missing:
        detail = f"the store lacks all of the {comparison.compared} newest large payloads of the database"
        raise WrongStoreError(detail, store.describe_mark())
    place_noted_mark(engine, at)


def note_new_mark(conn: Connection) -> None:
    """Note a new mark, which no store has yet: the former store is not that of the database any more."""
    replace_shared_file(conn, PAYLOADS, _make_mark())


def place_noted_mark(engine: Engine, at: datetime) -> None:
    """Give the object store of an engine the mark that its database has noted, unless a store has it.

    Raises GW811 for a store with another mark: it may be that of another hub.
    """
    store = get_marked_store(engine)
    with write_transaction(engine, "payloads.mark_placed") as conn:
        lock_shared_file(conn, PAYLOADS)
        row = find_shared_file(conn, PAYLOADS)
        if row is None or row.placed_at is not None:
            return
        require_free_store(store, row.mark)
        store.write_mark(row.mark)
        record_placed_mark(conn, PAYLOADS, at)


def get_marked_store(engine: Engine) -> MarkedObjectStore:
    """Return the object store of an engine; raise GW808 if its settings name none."""
    store = get_database_state(engine).objects
    if not isinstance(store, MarkedObjectStore):
        raise GatewayError(MISUSE, "this process has no store of large payloads", "payloads")
    return store


def has_noted_mark(engine: Engine, store: MarkedObjectStore) -> bool:
    """Return whether a store has the mark that its database has noted."""
    with read_transaction(engine) as conn:
        row = find_shared_file(conn, PAYLOADS)
    return row is not None and store.read_mark() == row.mark


def require_free_store(store: MarkedObjectStore, mark: str | None = None) -> None:
    """Raise GW811 for a store that has a mark, unless it is this one."""
    if store.read_mark() not in (None, mark):
        detail = "the store has the mark of another database; if no other hub uses it, remove this mark first"
        raise WrongStoreError(detail, store.describe_mark())


def compare_newest_objects(engine: Engine, store: ObjectStore) -> ComparedObjects:
    """Look for the newest objects that the database names in a store."""
    payload_query = select(payloads.c.sha256, payloads.c.size).where(
        payloads.c.stored_in == OBJECTS, payloads.c.purged_at.is_(None)
    )
    with read_transaction(engine) as conn:
        rows = conn.execute(
            payload_query.order_by(payloads.c.stored_at.desc()).limit(_COMPARED_OBJECTS)
        ).all()
    missing = sum(not store.has_object(row.sha256, row.size) for row in rows)
    return ComparedObjects(len(rows), missing)


def _make_mark() -> str:
    return secrets.token_hex(16)
