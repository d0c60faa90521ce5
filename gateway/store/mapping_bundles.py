"""Stores the mapping bundles that operators loaded, and the history of the bundle in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version
from gateway.store.tables import mapping_bundles, mapping_uses

__all__ = ["activate_bundle", "find_active_digest", "find_bundle_content", "list_activations", "store_bundle"]

_INSERT = InsertIfAbsent(mapping_bundles, ("digest",))


def store_bundle(conn: Connection, digest: str, octets: bytes, at: datetime) -> None:
    """Store the packed files of a bundle under its digest, if they are not stored yet."""
    _INSERT.insert_many(conn, [{"digest": digest, "content": octets, "loaded_at": at}])


def activate_bundle(conn: Connection, digest: str | None, at: datetime, actor: str) -> None:
    """Activate a stored bundle from the next message on; None: the shipped bundle."""
    conn.execute(insert(mapping_uses).values(digest=digest, at=at, actor=actor))
    increment_register_version(conn)


def find_active_digest(conn: Connection) -> str | None:
    """Return the digest of the bundle in force; None when it is the shipped one."""
    last = select(mapping_uses.c.digest).order_by(mapping_uses.c.id.desc()).limit(1)
    found: str | None = conn.execute(last).scalar_one_or_none()
    return found


def find_bundle_content(conn: Connection, digest: str) -> bytes | None:
    """Return the packed files of a bundle; None when it was never loaded."""
    found: bytes | None = conn.execute(
        select(mapping_bundles.c.content).where(mapping_bundles.c.digest == digest)
    ).scalar_one_or_none()
    return found


def list_activations(conn: Connection) -> Sequence[Row[Any]]:
    """Return every change of the bundle in force, the newest first."""
    return conn.execute(select(mapping_uses).order_by(mapping_uses.c.id.desc())).all()
