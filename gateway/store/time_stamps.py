"""Stores time stamps over tree heads, and computes how long evidence has waited for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import evidence, seals, time_stamps

__all__ = [
    "NewTimeStamp",
    "StampingProgress",
    "compute_stamping_progress",
    "find_unstamped_since",
    "insert_time_stamp",
    "list_by_head",
    "list_time_stamps",
]

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


def list_by_head(conn: Connection, seal: int) -> Sequence[Row[Any]]:
    """Return the time stamps over a head."""
    return conn.execute(
        select(time_stamps).where(time_stamps.c.seal == seal).order_by(time_stamps.c.id)
    ).all()


def list_time_stamps(conn: Connection, heads: Sequence[int] | None = None) -> Sequence[Row[Any]]:
    """Return every time stamp, or those over the heads of these row ids, the first one first."""
    found = select(time_stamps).order_by(time_stamps.c.id)
    return conn.execute(found if heads is None else found.where(time_stamps.c.seal.in_(heads))).all()


def find_unstamped_since(conn: Connection) -> datetime | None:
    """Return when the oldest evidence without a time stamp was recorded; None when all is covered."""
    covered = _count_stamped_leaves(conn)
    sealed = select(evidence.c.at).where(evidence.c.seq == covered + 1)
    found = conn.execute(sealed).scalar_one_or_none()
    return found if found is not None else _find_unsealed_since(conn, covered)


def compute_stamping_progress(conn: Connection) -> StampingProgress:
    """Return how much evidence is sealed and stamped."""
    sealed = conn.execute(_SEALED).scalar_one_or_none() or 0
    last = conn.execute(_LAST_STAMP).scalar_one()
    return StampingProgress(sealed, _count_stamped_leaves(conn), last, find_unstamped_since(conn))


def _count_stamped_leaves(conn: Connection) -> int:
    return int(conn.execute(_STAMPED).scalar_one_or_none() or 0)


def _find_unsealed_since(conn: Connection, covered: int) -> datetime | None:
    """Return the time of the first leaf without `seq`; every leaf that has one is covered."""
    found = select(evidence.c.at).where(evidence.c.seq.is_(None))
    if covered and conn.dialect.name == "sqlite":
        place = select(evidence.c.id).where(evidence.c.seq == covered).scalar_subquery()
        found = found.where(evidence.c.id > place)
    return conn.execute(found.order_by(evidence.c.id).limit(1)).scalar_one_or_none()
