"""Octets by their SHA-256: held once, never changed, checked when read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.store.statements import InsertNew
from gateway.store.tables import payloads

__all__ = ["checked", "get", "put", "put_all", "put_known", "sha256"]

_INSERT = InsertNew(payloads, ("sha256",))
_CONTENT = select(payloads.c.content).where(payloads.c.sha256 == bindparam("wanted"))


def sha256(content: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def put(conn: Connection, content: bytes, at: datetime) -> str:
    """Store the octets unless they are there; return their digest."""
    return put_all(conn, (content,), at)[0]


def put_all(conn: Connection, contents: Iterable[bytes], at: datetime) -> tuple[str, ...]:
    """Store several; return their digests in order."""
    rows = [_row(sha256(content), content, at) for content in contents]
    _INSERT.many(conn, rows)
    return tuple(row["sha256"] for row in rows)


def put_known(conn: Connection, contents: Iterable[tuple[str, bytes]], at: datetime) -> None:
    """Store octets whose digests are known."""
    _INSERT.many(conn, [_row(digest, content, at) for digest, content in contents])


def _row(digest: str, content: bytes, at: datetime) -> dict[str, Any]:
    return {"sha256": digest, "size": len(content), "stored_at": at, "content": content}


def get(conn: Connection, digest: str) -> bytes:
    """Return the octets; GW805 when they are missing or no longer have their digest."""
    content = conn.execute(_CONTENT, {"wanted": digest}).scalar_one_or_none()
    if content is None:
        raise GatewayError(EVIDENCE_BROKEN, f"no stored octets have the digest {digest[:64]}")
    return checked(content, digest)


def checked(content: bytes, digest: str) -> bytes:
    """Return the octets; GW805 when they do not have the digest."""
    if sha256(content) != digest:
        raise GatewayError(EVIDENCE_BROKEN, f"the stored octets no longer have the digest {digest[:64]}")
    return content
