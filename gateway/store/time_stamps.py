"""Stores time stamps over tree heads, and computes how long evidence has waited for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
)

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    ID_TEXT,
    Instant,
    Json,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import evidence

# Heads of the tree of evidence; `head` is exactly the text that was signed and stamped, `peaks` are the
# roots of its perfect subtrees, so that the next head needs no older leaf.
seals = Table(
    "seals",
    metadata,
    make_identity_column(),
    make_required_column("first_seq", BigInteger),
    make_required_column("last_seq", BigInteger),
    make_required_column("root_hash"),
    make_required_column("peaks", Json),
    make_required_column("head"),
    Column("signature", LargeBinary),  # null where the key was unavailable
    Column("certificate", LargeBinary),
    make_required_column("sealed_at", Instant),
    UniqueConstraint("first_seq"),
    CheckConstraint("last_seq >= first_seq", name="span"),
)


class SealRow(Protocol):
    """A row of the table `seals`."""

    id: int
    first_seq: int
    last_seq: int
    root_hash: str
    peaks: Any
    head: str
    signature: bytes | None
    certificate: bytes | None
    sealed_at: datetime


time_stamps = Table(
    "time_stamps",
    metadata,
    make_identity_column(),
    make_required_column("seal", BigInteger, ForeignKey("seals.id")),
    make_required_column("authority", ID_TEXT),
    make_required_column("at", Instant),
    make_required_column("policy"),
    make_required_column("serial"),
    make_required_column("token", LargeBinary),
    Column("verdict", Text),
    make_required_column("stored_at", Instant),
    UniqueConstraint("seal", "authority"),
)


class TimeStampRow(Protocol):
    """A row of the table `time_stamps`."""

    id: int
    seal: int
    authority: str
    at: datetime
    policy: str
    serial: str
    token: bytes
    verdict: str | None
    stored_at: datetime


_INSERT = InsertIfAbsent(time_stamps, ("seal", "authority"))
# Heads follow each other, so the last one is found by the index of their first leaves, or of their ids.
_SEALED: Final = select(seals.c.last_seq).order_by(seals.c.first_seq.desc()).limit(1)
_STAMPED: Final = select(seals.c.last_seq).where(
    seals.c.id == select(func.max(time_stamps.c.seal)).scalar_subquery()
)
#: Several authorities stamp a head; the latest of their times is among the last rows.
_LATEST: Final = select(time_stamps.c.at).order_by(time_stamps.c.id.desc()).limit(20).subquery()
_LAST_STAMP: Final = select(func.max(_LATEST.c.at))


@dataclass(frozen=True, slots=True)
class NewTimeStamp:
    """An accepted time stamp: head, authority, time; `verdict` is the digest of the authority's verdict."""

    seal: int
    authority: str
    at: datetime
    policy: str
    serial: str
    token: bytes = field(repr=False)
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class StampingProgress:
    """How much evidence is sealed and stamped, in leaves; `waiting_since` is None when nothing waits."""

    sealed: int
    stamped: int
    last_stamp: datetime | None
    waiting_since: datetime | None


def insert_time_stamp(conn: Connection, stamp: NewTimeStamp, at: datetime) -> None:
    """Store a time stamp, unless the same authority has stamped the same head before."""
    _INSERT.insert_many(conn, [asdict(stamp) | {"stored_at": at}])


def list_by_head(conn: Connection, seal: int) -> Sequence[TimeStampRow]:
    """Return the time stamps over a head."""
    return conn.execute(
        select(time_stamps).where(time_stamps.c.seal == seal).order_by(time_stamps.c.id)
    ).all()


def list_time_stamps(conn: Connection, heads: Sequence[int] | None = None) -> Sequence[TimeStampRow]:
    """Return every time stamp, or those over the heads of these row ids, the first one first."""
    query = select(time_stamps).order_by(time_stamps.c.id)
    return conn.execute(query if heads is None else query.where(time_stamps.c.seal.in_(heads))).all()


def find_unstamped_since(conn: Connection) -> datetime | None:
    """Return when the oldest evidence without a time stamp was recorded; None when all is covered."""
    covered = _count_stamped_leaves(conn)
    sealed = select(evidence.c.at).where(evidence.c.seq == covered + 1)
    sealed_at = conn.execute(sealed).scalar_one_or_none()
    return sealed_at if sealed_at is not None else _find_unsealed_since(conn, covered)


def compute_stamping_progress(conn: Connection) -> StampingProgress:
    """Return how much evidence is sealed and stamped."""
    sealed = conn.execute(_SEALED).scalar_one_or_none() or 0
    last = conn.execute(_LAST_STAMP).scalar_one()
    return StampingProgress(sealed, _count_stamped_leaves(conn), last, find_unstamped_since(conn))


def _count_stamped_leaves(conn: Connection) -> int:
    return int(conn.execute(_STAMPED).scalar_one_or_none() or 0)


def _find_unsealed_since(conn: Connection, covered: int) -> datetime | None:
    """Return the time of the first leaf without `seq`; every leaf that has one is covered."""
    query = select(evidence.c.at).where(evidence.c.seq.is_(None))
    if covered and conn.dialect.name == "sqlite":
        last_covered = select(evidence.c.id).where(evidence.c.seq == covered).scalar_subquery()
        query = query.where(evidence.c.id > last_covered)
    return conn.execute(query.order_by(evidence.c.id).limit(1)).scalar_one_or_none()
