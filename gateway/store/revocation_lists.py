"""Stores the loaded revocation lists; for each issuer the newest one counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version
from gateway.store.tables import revocations

__all__ = ["NewRevocationList", "insert_crl", "list_latest_crls"]

_INSERT = InsertIfAbsent(revocations, ("issuer_key_sha256", "crl_number"), "crl_number")


@dataclass(frozen=True, slots=True)
class NewRevocationList:
    """A CRL as fetched or loaded."""

    issuer_key_sha256: str
    crl_number: str
    this_update: datetime
    next_update: datetime | None
    der: bytes


def insert_crl(conn: Connection, crl: NewRevocationList, at: datetime) -> bool:
    """Store the list; return False when it is stored already."""
    new = _INSERT.insert_one(conn, asdict(crl) | {"fetched_at": at}) is not None
    if new:
        increment_register_version(conn)
    return new


def list_latest_crls(conn: Connection) -> Sequence[Row[Any]]:
    """Return the newest list of each issuer."""
    newest: dict[str, Row[Any]] = {}
    found = select(revocations).order_by(revocations.c.this_update, revocations.c.fetched_at)
    for row in conn.execute(found):
        newest[row.issuer_key_sha256] = row
    return tuple(newest.values())
