"""Stores octets by their SHA-256: stored once, never changed, verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import payloads

__all__ = [
    "compute_sha256",
    "get_payload_octets",
    "store_digested_payloads",
    "store_payload",
    "store_payloads",
    "verify_digest",
]

_INSERT = InsertIfAbsent(payloads, ("sha256",))
_CONTENT = select(payloads.c.content).where(payloads.c.sha256 == bindparam("wanted"))


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def store_payload(conn: Connection, content: bytes, at: datetime) -> str:
    """Store the octets unless they are stored already; return their digest."""
    return store_payloads(conn, (content,), at)[0]


def store_payloads(conn: Connection, contents: Iterable[bytes], at: datetime) -> tuple[str, ...]:
    """Store several octet strings; return their digests in order."""
    rows = [_make_payload_row(compute_sha256(content), content, at) for content in contents]
    _INSERT.insert_many(conn, rows)
    return tuple(row["sha256"] for row in rows)


def store_digested_payloads(conn: Connection, contents: Iterable[tuple[str, bytes]], at: datetime) -> None:
    """Store octets whose digests are known."""
    _INSERT.insert_many(conn, [_make_payload_row(digest, content, at) for digest, content in contents])


def _make_payload_row(digest: str, content: bytes, at: datetime) -> dict[str, Any]:
    return {"sha256": digest, "size": len(content), "stored_at": at, "content": content}


def get_payload_octets(conn: Connection, digest: str) -> bytes:
    """Return the octets; raises GW805 when they are missing or do not match their digest."""
    content = conn.execute(_CONTENT, {"wanted": digest}).scalar_one_or_none()
    if content is None:
        raise GatewayError(EVIDENCE_BROKEN, f"no stored octets have the digest {digest[:64]}")
    return verify_digest(content, digest)


def verify_digest(content: bytes, digest: str) -> bytes:
    """Return the octets; raises GW805 when they do not match the digest."""
    if compute_sha256(content) != digest:
        raise GatewayError(EVIDENCE_BROKEN, f"the stored octets no longer have the digest {digest[:64]}")
    return content
