"""Stores octets by their SHA-256: stored once, never changed, verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from gateway.errors import EVIDENCE_BROKEN, OCTETS_PURGED, GatewayError
from gateway.store.prepared_statements import InsertIfAbsent, PreparedStatement
from gateway.store.tables import payloads
from gateway.store.transaction_rows import get_stored_digests

__all__ = [
    "check_not_purged",
    "compute_sha256",
    "get_payload_octets",
    "store_digested_payloads",
    "store_payload",
    "store_payloads",
    "verify_digest",
]

_INSERT = InsertIfAbsent(payloads, ("sha256",), "sha256")
_CONTENT = select(payloads.c.content, payloads.c.purged_at).where(payloads.c.sha256 == bindparam("wanted"))
_PURGED = PreparedStatement(
    select(payloads.c.sha256).where(
        payloads.c.sha256 == bindparam("wanted"), payloads.c.purged_at.is_not(None)
    )
)


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def store_payload(conn: Connection, content: bytes, at: datetime) -> str:
    """Store the octets unless they are stored already; return their digest."""
    return store_payloads(conn, (content,), at)[0]


def store_payloads(conn: Connection, contents: Iterable[bytes], at: datetime) -> tuple[str, ...]:
    """Store several octet strings; return their digests in order."""
    rows = [_make_payload_row(compute_sha256(content), content, at) for content in contents]
    _insert_rows(conn, rows)
    return tuple(row["sha256"] for row in rows)


def store_digested_payloads(conn: Connection, contents: Iterable[tuple[str, bytes]], at: datetime) -> None:
    """Store octets whose digests are known."""
    _insert_rows(conn, [_make_payload_row(digest, content, at) for digest, content in contents])


def _insert_rows(conn: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert what is new; octets that retention has removed are stored anew."""
    stored = get_stored_digests(conn)
    new = [row for row in rows if row["sha256"] not in stored]
    # Nobody else sees a new row before the commit, so nobody can remove its octets.
    known = _INSERT.insert_new(conn, new) if new else []
    purged = _lock_purged_digests(conn, [row["sha256"] for row in known]) if known else frozenset()
    for row in known:
        if row["sha256"] in purged:
            again = update(payloads).where(payloads.c.sha256 == row["sha256"])
            conn.execute(again.values(content=row["content"], stored_at=row["stored_at"], purged_at=None))
    stored.update(row["sha256"] for row in new)


def _lock_purged_digests(conn: Connection, digests: list[str]) -> frozenset[str]:
    """Lock stored octets and return the digests of those that retention has removed."""
    if conn.dialect.name == "sqlite":
        return frozenset(one for one in digests if _PURGED.fetch_first_row(conn, {"wanted": one}) is not None)
    # Whoever removes octets waits until what names them is committed, or we until they are removed.
    held = select(payloads.c.sha256, payloads.c.purged_at).where(payloads.c.sha256.in_(digests))
    locked = held.order_by(payloads.c.sha256).with_for_update(read=True, key_share=True)
    return frozenset(row.sha256 for row in conn.execute(locked) if row.purged_at is not None)


def _make_payload_row(digest: str, content: bytes, at: datetime) -> dict[str, Any]:
    return {"sha256": digest, "size": len(content), "stored_at": at, "content": content}


def get_payload_octets(conn: Connection, digest: str) -> bytes:
    """Return the octets; raises GW805 when they are missing or do not match their digest.

    Raises GW320 for those that retention has removed.
    """
    row = conn.execute(_CONTENT, {"wanted": digest}).first()
    if row is None:
        raise GatewayError(EVIDENCE_BROKEN, f"no stored octets have the digest {digest[:64]}")
    check_not_purged(row.purged_at, digest)
    return verify_digest(row.content, digest)


def check_not_purged(purged_at: datetime | None, digest: str) -> None:
    """Raise GW320 for octets that retention has removed."""
    if purged_at is not None:
        day = purged_at.isoformat(timespec="seconds")
        raise GatewayError(OCTETS_PURGED, f"the octets with the digest {digest[:64]} were removed at {day}")


def verify_digest(content: bytes, digest: str) -> bytes:
    """Return the octets; raises GW805 when they do not match the digest."""
    if compute_sha256(content) != digest:
        raise GatewayError(EVIDENCE_BROKEN, f"the stored octets no longer have the digest {digest[:64]}")
    return content
