"""Stores verdicts on certificates, each once with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    select,
)

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    Instant,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)

# Verdicts on certificates; `digest` is that of the document, a payload, which names all of the evidence.
verdicts = Table(
    "verdicts",
    metadata,
    make_identity_column(),
    make_required_column("digest", CODE_TEXT, ForeignKey("payloads.sha256")),
    make_required_column("leaf_sha256", CODE_TEXT),
    make_required_column("use", CODE_TEXT),
    make_required_column("status"),
    Column("problem", Text),
    make_required_column("tolerated", Boolean),
    make_required_column("judged_at", Instant),  # the first time
    make_required_column("valid_until", Instant),
    make_required_column("epoch", BigInteger),
    UniqueConstraint("digest"),
    CheckConstraint("status IN ('valid', 'invalid', 'indeterminate')", name="status"),
    Index("ix_verdicts_leaf_sha256", "leaf_sha256", "use", "judged_at"),
)


class VerdictRow(Protocol):
    """A row of the table `verdicts`."""

    id: int
    digest: str
    leaf_sha256: str
    use: str
    status: str
    problem: str | None
    tolerated: bool
    judged_at: datetime
    valid_until: datetime
    epoch: int


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


def find_by_digest(conn: Connection, digest: str) -> VerdictRow | None:
    """Return the verdict whose document has this digest."""
    return conn.execute(_BY_DIGEST, {"wanted": digest}).first()


def find_by_id(conn: Connection, number: int) -> VerdictRow | None:
    """Return the verdict of this row id."""
    return conn.execute(select(verdicts).where(verdicts.c.id == number)).first()


def find_verdict_in_force(conn: Connection, leaf_sha256: str, use: str, at: datetime) -> VerdictRow | None:
    """Return the verdict by which a certificate was used at a given time: the last one made by then."""
    conditions = (verdicts.c.leaf_sha256 == leaf_sha256, verdicts.c.use == use, verdicts.c.judged_at <= at)
    return conn.execute(
        select(verdicts).where(*conditions).order_by(verdicts.c.judged_at.desc(), verdicts.c.id.desc())
    ).first()


def list_verdicts(conn: Connection, *, limit: int = 50, **equal: Any) -> Sequence[VerdictRow]:
    """Return verdicts, newest first, whose columns have these values."""
    query = select(verdicts).order_by(verdicts.c.id.desc()).limit(limit)
    for name, value in equal.items():
        query = query.where(verdicts.c[name] == value)
    return conn.execute(query).all()
