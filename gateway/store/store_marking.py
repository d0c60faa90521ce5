"""Marks the object store of a database: once when the database is made, and again when an operator says so.

The database notes the mark first. The store gets it in a transaction that holds off every other marking, and
that then says so: of two nodes with folders of their own, one is marked. What a killed process has begun is
repeated, with another mark where the store is another one.
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
from gateway.store.object_store import (
    OBJECTS,
    ObjectStore,
    begin_removal,
    end_removal,
    lock_out_sweeps,
)
from gateway.store.payloads import payloads
from gateway.store.shared_files import (
    PAYLOADS,
    find_shared_file,
    lock_shared_file,
    record_placed_mark,
    replace_shared_file,
)

#: The newest objects that are looked for in a store before it is marked.
_COMPARED_OBJECTS: Final = 100
_NAMED_OBJECTS: Final = select(payloads.c.sha256, payloads.c.size).where(
    payloads.c.stored_in == OBJECTS, payloads.c.purged_at.is_(None)
)


@dataclass(frozen=True, slots=True)
class ComparedObjects:
    """How many of the newest objects of a database were looked for in a store, and how many it lacks."""

    compared: int
    missing: int


def mark_new_store(engine: Engine, at: datetime) -> str | None:
    """Mark the object store of an engine as that of its database, unless the database has marked one before.

    Return the place of the mark, None if nothing was marked. Raises GW811 for a store with another mark, or
    that lacks some of the newest objects that this database names; GW806 for one that does not take the mark.
    """
    store = get_database_state(engine).objects
    if not isinstance(store, MarkedObjectStore):
        return None
    if _has_store(engine):
        return None
    comparison = compare_newest_objects(engine, store)
    if comparison.missing:
        if _has_store(engine):
            # Another node has marked its store meanwhile, and payloads are stored there since.
            return None
        detail = (
            f"the store lacks {comparison.missing} of the {comparison.compared} newest large payloads: copy "
            "those of all nodes into it, or, if they are lost, run `gateway restore payloads --lost`"
        )
        raise WrongStoreError(detail, store.describe_mark())
    return place_mark(engine, store, at)


def _has_store(engine: Engine) -> bool:
    """Return whether a store is that of the database."""
    with read_transaction(engine) as conn:
        row = find_shared_file(conn, PAYLOADS)
    return row is not None and row.placed_at is not None


def drop_mark(conn: Connection, present_store: MarkedObjectStore) -> bool:
    """Let no store be that of the database, until `present_store` is marked, which has no mark.

    A transaction that stores objects is committed before this one, or finds that it has no store. Return
    False, and change nothing, if the present store is that of the database: another node has marked it
    meanwhile. Raises GW811 if it has another mark.
    """
    lock_shared_file(conn, PAYLOADS)
    row = find_shared_file(conn, PAYLOADS)
    if row is not None and present_store.read_mark() == row.mark:
        return False
    _require_free_store(present_store)
    lock_out_sweeps(conn, is_sweep=True)
    # Objects that were put lately are put again, and are refused then.
    end_removal(conn, begin_removal(conn))
    replace_shared_file(conn, PAYLOADS, _make_mark())
    return True


def place_mark(engine: Engine, store: MarkedObjectStore, at: datetime) -> str | None:
    """Mark the object store of an engine, unless the database has a store; return the place of the mark.

    Return None if it has one, or if another node marks its store at the same time. Raises GW811 for a store
    with another mark: it may be that of another hub.
    """
    mark = _note_mark(engine, store)
    with write_transaction(engine, "payloads.mark_placed") as conn:
        lock_shared_file(conn, PAYLOADS)
        row = find_shared_file(conn, PAYLOADS)
        if row is None or row.placed_at is not None or row.mark != mark:
            return None
        store.write_mark(mark)
        record_placed_mark(conn, PAYLOADS, at)
    return store.describe_mark()


def _note_mark(engine: Engine, store: MarkedObjectStore) -> str | None:
    """Note the mark that a store is to have, and return it; None if the database has a store.

    It is a new one for each attempt: another store may have that of an attempt that was killed. Only if this
    store has it, it is kept.
    """
    with write_transaction(engine, "payloads.mark_noted") as conn:
        lock_shared_file(conn, PAYLOADS)
        row = find_shared_file(conn, PAYLOADS)
        if row is not None and row.placed_at is not None:
            return None
        actual = store.read_mark()
        if row is not None and actual == row.mark:
            return row.mark
        _require_free_store(store)
        mark = _make_mark()
        replace_shared_file(conn, PAYLOADS, mark)
    return mark


def get_marked_store(engine: Engine) -> MarkedObjectStore:
    """Return the object store of an engine; raise GW808 if its settings name none."""
    store = get_database_state(engine).objects
    if not isinstance(store, MarkedObjectStore):
        raise GatewayError(MISUSE, "this process has no store of large payloads", "payloads")
    return store


def has_noted_mark(engine: Engine, store: MarkedObjectStore) -> bool:
    """Return whether a store has the mark that its database has noted; raise GW811 for another mark."""
    # The store first: a mark is noted before a store gets it, so that the row is no older than the mark.
    actual = store.read_mark()
    if actual is None:
        return False
    with read_transaction(engine) as conn:
        row = find_shared_file(conn, PAYLOADS)
    if row is None or row.mark != actual:
        raise _make_unknown_mark_problem(store)
    return True


def _require_free_store(store: MarkedObjectStore) -> None:
    """Raise GW811 for a store that has a mark."""
    if store.read_mark() is not None:
        raise _make_unknown_mark_problem(store)


def _make_unknown_mark_problem(store: MarkedObjectStore) -> WrongStoreError:
    detail = (
        "the store has a mark that the database does not know: that of another hub, or of this one "
        "before its database was restored. If no other hub uses it, remove this mark first"
    )
    return WrongStoreError(detail, store.describe_mark())


def compare_newest_objects(engine: Engine, store: ObjectStore) -> ComparedObjects:
    """Look for the newest objects that the database names in a store."""
    with read_transaction(engine) as conn:
        rows = conn.execute(
            _NAMED_OBJECTS.order_by(payloads.c.stored_at.desc()).limit(_COMPARED_OBJECTS)
        ).all()
    missing = [row.sha256 for row in rows if not store.has_object(row.sha256, row.size)]
    if missing:
        # Retention may have removed some since they were listed.
        with read_transaction(engine) as conn:
            missing = list(conn.scalars(_NAMED_OBJECTS.where(payloads.c.sha256.in_(missing))))
    return ComparedObjects(len(rows), len(missing))


def _make_mark() -> str:
    return secrets.token_hex(16)
