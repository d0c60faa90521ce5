"""Removes objects that no row names: left by a transaction that failed, or by retention.

An object is written before its row. So the sweep leaves young objects alone, and decides about an old
one in a transaction beside which no other names objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, select

from gateway.errors import NO_ROOM, OCTETS_PURGED, GatewayError
from gateway.store.database_state import get_database_state
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.object_store import (
    OBJECTS,
    ObjectStore,
    begin_removal,
    check_object,
    end_removal,
    is_own_removal_mark,
    lock_out_sweeps,
)
from gateway.store.payloads import payloads

#: Objects of one transaction, beside which none are named; a server is asked twice for each.
_BATCH: Final = 25
#: Objects that one statement searches for among the rows.
_DIGESTS_PER_QUERY: Final = 500


def sweep_objects(engine: Engine, part: int, before: datetime) -> int:
    """Remove old objects without a row whose digest begins with the octet `part`; return how many."""
    store = get_database_state(engine).objects
    if store is None:
        return 0
    old = [digest for digest, written in store.list_objects(part) if written < before]
    return remove_unnamed_objects(engine, old, before)


def remove_unnamed_objects(engine: Engine, digests: Sequence[str], before: datetime | None = None) -> int:
    """Remove those objects that no row names, and with `before` only those that are still old."""
    store, removed = get_database_state(engine).objects, 0
    if store is None:
        return 0
    with read_transaction(engine) as conn:
        unnamed = [
            digest
            for start in range(0, len(digests), _DIGESTS_PER_QUERY)
            for digest in _list_unnamed(conn, digests[start : start + _DIGESTS_PER_QUERY])
        ]
    for start in range(0, len(unnamed), _BATCH):
        removed += _remove_batch(engine, store, unnamed[start : start + _BATCH], before)
    return removed


def _remove_batch(engine: Engine, store: ObjectStore, digests: Sequence[str], before: datetime | None) -> int:
    """Remove those that still have no row, while no transaction names objects; return how many."""
    removed = 0
    with write_transaction(engine, "payloads.mark") as conn:
        lock_out_sweeps(conn, is_sweep=True)
        mark = begin_removal(conn)
    with write_transaction(engine, "payloads.sweep") as conn:
        lock_out_sweeps(conn, is_sweep=True)
        if not is_own_removal_mark(conn, mark):
            return 0
        for digest in _list_unnamed(conn, digests):
            if before is None or not _is_fresh(store, digest, before):
                store.remove_object(digest)
                removed += 1
        end_removal(conn, mark)
    return removed


def _is_fresh(store: ObjectStore, digest: str, before: datetime) -> bool:
    """Return whether the object was written again since it was listed: at the time `before` or later."""
    written = store.get_write_time(digest)
    return written is not None and written >= before


def _list_unnamed(conn: Connection, digests: Iterable[str]) -> list[str]:
    """Return those of `digests` that no payload in the object store has."""
    candidates = list(digests)
    query = select(payloads.c.sha256).where(
        payloads.c.sha256.in_(candidates), payloads.c.stored_in == OBJECTS, payloads.c.purged_at.is_(None)
    )
    named_digests = set(conn.execute(query).scalars())
    return [digest for digest in candidates if digest not in named_digests]


def find_object_problems(conn: Connection) -> Iterator[GatewayError]:
    """Yield GW325 for each object that is missing, GW326 for each that does not have its digest.

    Every object is read. Where the store as a whole cannot be used, there is one problem, GW806. An
    object that retention removes meanwhile is no problem.
    """
    state = get_database_state(conn.engine)
    store = state.objects
    if store is not None:
        problem = _find_store_problem(store)
        if problem is not None:
            yield problem
            return
    query = select(payloads.c.sha256, payloads.c.size).where(
        payloads.c.stored_in == OBJECTS, payloads.c.purged_at.is_(None)
    )
    for row in conn.execute(query.order_by(payloads.c.sha256)).all():
        try:
            check_object(state.get_object_store(row.sha256), row.sha256)
        except GatewayError as object_problem:
            if object_problem.problem is OCTETS_PURGED:
                continue
            yield object_problem
            # A server that has gone away meanwhile is not asked for all others.
            if (
                store is not None
                and object_problem.problem is NO_ROOM
                and _find_store_problem(store) is not None
            ):
                return


def _find_store_problem(store: ObjectStore) -> GatewayError | None:
    try:
        store.check_store()
    except GatewayError as problem:
        return problem
    return None
