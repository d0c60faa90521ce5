"""Stores octets by their SHA-256: stored once, never changed, verified when read.

Small ones are in the database. Large ones are in the object store, where the engine has one: they
are put there before the row that names them is committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    Table,
    Text,
    bindparam,
    literal_column,
    select,
    update,
)

from gateway.errors import EVIDENCE_BROKEN, OCTETS_PURGED, GatewayError
from gateway.message_model import Body, MemoryBody, as_body, count_octets, read_octets
from gateway.store.database_state import get_database_state
from gateway.store.engine import read_transaction
from gateway.store.object_store import (
    OBJECTS,
    ObjectStore,
    StoredBody,
    check_object,
    lock_out_sweeps,
    make_changed_error,
    read_removal_mark,
)
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import CODE_TEXT, Instant, PartialIndex, make_required_column, metadata

payloads = Table(
    "payloads",
    metadata,
    Column("sha256", CODE_TEXT, primary_key=True),
    make_required_column("size", BigInteger),
    make_required_column("stored_at", Instant),
    make_required_column("content", LargeBinary),  # empty where `purged_at` says when it was removed
    Column("purged_at", Instant),
    Column("stored_in", Text),  # null: in `content`; "objects": in the object store, under its digest
    PartialIndex("ix_payloads_objects", "sha256", where="stored_in IS NOT NULL"),
)


_INSERT = InsertIfAbsent(payloads, ("sha256",), "sha256")
_CONTENT = select(payloads.c.content, payloads.c.purged_at, payloads.c.stored_in, payloads.c.size).where(
    payloads.c.sha256 == bindparam("wanted")
)
_GET_OBJECT_SIZE = select(payloads.c.size).where(
    payloads.c.sha256 == bindparam("wanted"),
    payloads.c.stored_in == literal_column(f"'{OBJECTS}'"),
    payloads.c.purged_at.is_(None),
)
_PURGED = select(payloads.c.sha256).where(
    payloads.c.sha256 == bindparam("digest"), payloads.c.purged_at.is_not(None)
)


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def store_payload(conn: Connection, content: bytes | Body, at: datetime) -> str:
    """Store the octets unless they are stored already; return their digest."""
    return store_payloads(conn, (content,), at)[0]


def store_payloads(conn: Connection, contents: Iterable[bytes | Body], at: datetime) -> tuple[str, ...]:
    """Store several octet strings; return their digests in order."""
    rows = [_make_payload_row(conn, as_body(content).sha256_hex, content, at) for content in contents]
    _insert_rows(conn, rows)
    return tuple(row["sha256"] for row in rows)


def store_digested_payloads(
    conn: Connection, contents: Iterable[tuple[str, bytes | Body]], at: datetime
) -> None:
    """Store octets whose digests are known."""
    _insert_rows(conn, [_make_payload_row(conn, digest, content, at) for digest, content in contents])


def put_large_octets(engine: Engine, content: bytes | Body) -> None:
    """Put large octets into the object store before the transaction that stores them.

    That transaction does not ask the object store again, unless objects were removed in between.
    """
    objects = get_database_state(engine).objects
    if objects is not None and count_octets(content) > objects.inline:
        _put_noted_object(engine, objects, as_body(content))


def keep_body(engine: Engine, body: Body) -> Body:
    """Put a large body into the object store and return it from there; return a small one in memory.

    A row must name them soon, or they are swept.
    """
    objects = get_database_state(engine).objects
    if objects is None or body.octet_count <= objects.inline:
        return MemoryBody(read_octets(body))
    _put_noted_object(engine, objects, body)
    return StoredBody(objects, body.sha256_hex, body.octet_count)


def _put_noted_object(engine: Engine, objects: ObjectStore, body: Body) -> None:
    with read_transaction(engine) as conn:
        mark = read_removal_mark(conn)
    objects.put_object(body.sha256_hex, body)
    get_database_state(engine).recent_objects.record_put_object(body.sha256_hex, mark)


def _insert_rows(conn: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert the rows that are not stored yet; store again octets that retention has removed."""
    # No other transaction sees a new row before the commit, so none can remove its octets.
    if len(rows) == 1:
        existing = rows if _INSERT.insert_one(conn, rows[0]) is None else []
    else:
        existing = _INSERT.insert_new(conn, rows) if rows else []
    purged = _lock_purged_digests(conn, [row["sha256"] for row in existing]) if existing else frozenset()
    for row in existing:
        if row["sha256"] in purged:
            payload_update = update(payloads).where(payloads.c.sha256 == row["sha256"])
            new_values = {name: row[name] for name in ("content", "stored_at", "stored_in")}
            conn.execute(payload_update.values(**new_values, purged_at=None))


def _lock_purged_digests(conn: Connection, digests: list[str]) -> frozenset[str]:
    """Lock stored octets and return the digests of those that retention has removed."""
    if conn.dialect.name == "sqlite":
        return frozenset(
            digest for digest in digests if conn.execute(_PURGED, {"digest": digest}).first() is not None
        )
    # A removal waits until the rows that name the octets are committed, or this transaction waits for it.
    held = select(payloads.c.sha256, payloads.c.purged_at).where(payloads.c.sha256.in_(digests))
    locked = held.order_by(payloads.c.sha256).with_for_update(read=True, key_share=True)
    return frozenset(row.sha256 for row in conn.execute(locked) if row.purged_at is not None)


def _make_payload_row(conn: Connection, digest: str, content: bytes | Body, at: datetime) -> dict[str, Any]:
    """Return the row of some octets; large ones are in the object store when it is made."""
    size, state = count_octets(content), get_database_state(conn.engine)
    objects = state.objects
    row = {"sha256": digest, "size": size, "stored_at": at, "content": b"", "stored_in": OBJECTS}
    if objects is None or size <= objects.inline:
        return row | {"content": read_octets(content), "stored_in": None}
    # From here to the commit no sweep removes the object.
    lock_out_sweeps(conn)
    if not state.recent_objects.is_still_there(conn, digest):
        objects.put_object(digest, as_body(content))
    return row


def get_payload_octets(conn: Connection, digest: str) -> bytes:
    """Return the octets; raises GW805 when they are missing or do not match their digest.

    Raises GW320 for those that retention has removed, GW325 and GW326 for those that the object store
    has lost or changed.
    """
    row = _find_row(conn, digest)
    if row.stored_in == OBJECTS:
        return _read_object(conn, digest)
    return verify_digest(row.content, digest)


def _find_row(conn: Connection, digest: str) -> Any:
    """Return the row of stored octets; that of an object has none of its own."""
    row = conn.execute(_CONTENT, {"wanted": digest}).first()
    if row is None:
        raise GatewayError(EVIDENCE_BROKEN, f"no stored octets have the digest {digest[:64]}")
    check_not_purged(row.purged_at, digest)
    return row


def verify_payload(conn: Connection, digest: str) -> None:
    """Raise as `get_payload_octets` does; octets in the object store are read in steps."""
    row = conn.execute(_GET_OBJECT_SIZE, {"wanted": digest}).first()
    if row is None:
        get_payload_octets(conn, digest)
    else:
        check_object(get_database_state(conn.engine).get_object_store(digest), digest)


def _read_object(conn: Connection, digest: str) -> bytes:
    """Return the octets of an object; raise GW326 when they do not have the digest."""
    objects = get_database_state(conn.engine).get_object_store(digest)
    with objects.open_object(digest) as stream:
        content = stream.read()
    if compute_sha256(content) != digest:
        raise make_changed_error(objects, digest)
    return content


def open_payload(conn: Connection, digest: str) -> bytes | Body:
    """Return the octets; those in the object store as a body that is read in pieces, also later.

    Raises as `get_payload_octets` does; where an object has changed, that is found when it is read.
    """
    row = _find_row(conn, digest)
    if row.stored_in == OBJECTS:
        store = get_database_state(conn.engine).get_object_store(digest)
        return StoredBody(store, digest, row.size)
    return verify_digest(row.content, digest)


def check_not_purged(purged_at: datetime | None, digest: str) -> None:
    """Raise GW320 for octets that retention has removed."""
    if purged_at is not None:
        day = purged_at.isoformat(timespec="seconds")
        raise GatewayError(OCTETS_PURGED, f"the octets with the digest {digest[:64]} were removed at {day}")


def refuse_removed_octets(conn: Connection, digest: str) -> None:
    """Raise GW320 for octets that retention has removed, as the database sees it now."""
    removed_at = select(payloads.c.purged_at).where(payloads.c.sha256 == digest)
    check_not_purged(conn.execute(removed_at).scalar(), digest)


def verify_digest(content: bytes, digest: str) -> bytes:
    """Return the octets; raises GW805 when they do not match the digest."""
    if compute_sha256(content) != digest:
        raise GatewayError(EVIDENCE_BROKEN, f"the stored octets no longer have the digest {digest[:64]}")
    return content
