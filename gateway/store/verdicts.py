"""Stores verdicts on certificates, each once with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.row_values import collect_values
from gateway.store.tables import verdicts

__all__ = [
    "NewVerdict",
    "find_by_digest",
    "find_by_id",
    "find_verdict_in_force",
    "insert_verdict",
    "list_verdicts",
]

_INSERT = InsertIfAbsent(verdicts, ("digest",), "id")
_BY_DIGEST = select(verdicts).where(verdicts.c.digest == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """A verdict to be stored; `digest` is that of its document, which is stored already."""

    digest: str
    leaf_sha256: str
    use: str
    status: str
    problem: str | None
    tolerated: bool
    judged_at: datetime
    valid_until: datetime
    epoch: int


def insert_verdict(conn: Connection, verdict: NewVerdict) -> int | None:
    """Store a verdict; return its row id, None when a verdict with the same document is stored."""
    row = _INSERT.insert_one(conn, collect_values(verdict))
    return None if row is None else int(row.id)


def find_by_digest(conn: Connection, digest: str) -> Row[Any] | None:
    """Return the verdict that has this document."""
    return conn.execute(_BY_DIGEST, {"wanted": digest}).first()


def find_by_id(conn: Connection, number: int) -> Row[Any] | None:
    """Return the verdict of this row."""
    return conn.execute(select(verdicts).where(verdicts.c.id == number)).first()


def find_verdict_in_force(conn: Connection, leaf_sha256: str, use: str, at: datetime) -> Row[Any] | None:
    """Return the verdict by which a certificate was used at a given time: the last one made by then."""
    told = (verdicts.c.leaf_sha256 == leaf_sha256, verdicts.c.use == use, verdicts.c.judged_at <= at)
    return conn.execute(
        select(verdicts).where(*told).order_by(verdicts.c.judged_at.desc(), verdicts.c.id.desc())
    ).first()


def list_verdicts(conn: Connection, *, limit: int = 50, **equal: Any) -> Sequence[Row[Any]]:
    """Return verdicts, newest first, whose columns have these values."""
    found = select(verdicts).order_by(verdicts.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(verdicts.c[name] == value)
    return conn.execute(found).all()
