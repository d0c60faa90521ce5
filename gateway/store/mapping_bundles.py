"""Stores the mapping bundles that operators loaded or that cases pin, and the time at which each is in force.

A use without a date is in force at once. It replaces the bundle for every message that is not processed
yet and was received after the date of the last plan. A use with a date is a plan. It is in force for
messages received from its date on, and not for messages received before, even if they are processed later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    func,
    select,
)

from gateway.store.prepared_statements import InsertIfAbsent, insert_row
from gateway.store.register_version import increment_register_version
from gateway.store.table_types import CODE_TEXT, Instant, make_identity_column, make_required_column, metadata
from gateway.store.transitions import note_changed_row

# Mapping folders as loaded, each once by its digest; never changed, for the cases that were split by them.
mapping_bundles = Table(
    "mapping_bundles",
    metadata,
    Column("digest", CODE_TEXT, primary_key=True),
    make_required_column("content", LargeBinary),
    make_required_column("loaded_at", Instant),
)

# Append-only. A row puts a bundle into force (NULL: the shipped one), at once or from `starts` on. A row
# that `cancels` a plan takes it back; without `starts` it does nothing else.
mapping_uses = Table(
    "mapping_uses",
    metadata,
    make_identity_column(),
    Column("digest", Text, ForeignKey("mapping_bundles.digest")),
    make_required_column("at", Instant),
    make_required_column("actor"),
    Column("starts", Instant),
    Column("cancels", BigInteger),
)


class MappingUseRow(Protocol):
    """A row of the table `mapping_uses`."""

    id: int
    digest: str | None
    at: datetime
    actor: str
    starts: datetime | None
    cancels: int | None


_INSERT = InsertIfAbsent(mapping_bundles, ("digest",))


@dataclass(frozen=True, slots=True)
class MappingPeriod:
    """A bundle (None: the shipped one) and the time from which on it is in force (None: from the beginning).

    `use` is the number of the row that states this, `planned_at` and `actor` are time and author of the row;
    the first period of a new database has none of them.
    """

    starts: datetime | None
    digest: str | None
    use: int | None = None
    planned_at: datetime | None = None
    actor: str = ""

    def has_begun(self, at: datetime) -> bool:
        """Return whether the bundle is in force at this time, or was."""
        return self.starts is None or self.starts <= at


def store_bundle(conn: Connection, digest: str, octets: bytes, at: datetime) -> None:
    """Store the packed files of a bundle under its digest, if they are not stored yet.

    A bundle is stored when an operator loads it, or by the first case that the shipped one decides.
    """
    _INSERT.insert_many(conn, [{"digest": digest, "content": octets, "loaded_at": at}])
    note_changed_row(conn, "mapping_bundles", digest)


def activate_bundle(conn: Connection, digest: str | None, at: datetime, actor: str) -> None:
    """Activate a stored bundle from the next message on; None: the shipped bundle."""
    _insert_use(conn, {"digest": digest, "at": at, "actor": actor})
    increment_register_version(conn)


def plan_bundle(
    conn: Connection, digest: str | None, starts: datetime, at: datetime, actor: str, replaces: int | None
) -> None:
    """Activate a stored bundle (None: the shipped one) from a later time on, in place of an earlier plan.

    `actor` decided this at the time `at`. `replaces` is the earlier plan: a row id of `mapping_uses`.
    """
    row = {"digest": digest, "at": at, "actor": actor, "starts": starts, "cancels": replaces}
    _insert_use(conn, row)
    increment_register_version(conn)


def withdraw_plan(conn: Connection, plan_id: int, at: datetime, actor: str) -> None:
    """Cancel the plan `plan_id` (a row id of `mapping_uses`); `actor` decided this at the time `at`."""
    _insert_use(conn, {"digest": None, "at": at, "actor": actor, "cancels": plan_id})
    increment_register_version(conn)


def _insert_use(conn: Connection, row: Mapping[str, Any]) -> None:
    note_changed_row(conn, "mapping_uses", insert_row(conn, mapping_uses, row))


def list_periods(conn: Connection) -> tuple[MappingPeriod, ...]:
    """Return which bundle is in force when, the earliest first; there is always one.

    Each plan that was not taken back begins a period. A use at once changes the period that it falls in.
    """
    rows = conn.execute(select(mapping_uses).order_by(mapping_uses.c.id)).all()
    cancelled_ids = {row.cancels for row in rows if row.cancels is not None}
    plans = [row for row in rows if row.starts is not None and row.id not in cancelled_ids]
    periods = [MappingPeriod(None, None), *(_make_period(row, row.starts) for row in plans)]
    periods.sort(key=lambda period: (period.starts is not None, period.starts))
    for row in rows:
        if row.starts is None and row.cancels is None:
            index = max(number for number, period in enumerate(periods) if period.has_begun(row.at))
            periods[index] = _make_period(row, periods[index].starts)
    return tuple(periods)


def _make_period(row: Row[Any], starts: datetime | None) -> MappingPeriod:
    return MappingPeriod(starts, row.digest, row.id, row.at, row.actor)


def find_period(periods: Sequence[MappingPeriod], at: datetime) -> MappingPeriod:
    """Return the period that a time falls in."""
    return next(period for period in reversed(periods) if period.has_begun(at))


def find_active_digest(conn: Connection, at: datetime) -> str | None:
    """Return the digest of the bundle in force at a time; None when it is the shipped one."""
    return find_period(list_periods(conn), at).digest


def find_bundle_content(conn: Connection, digest: str) -> bytes | None:
    """Return the packed files of a bundle; None when it was never loaded."""
    content: bytes | None = conn.execute(
        select(mapping_bundles.c.content).where(mapping_bundles.c.digest == digest)
    ).scalar_one_or_none()
    return content


def has_bundle(conn: Connection, digest: str) -> bool:
    """Return whether the packed files of a bundle are stored."""
    query = select(mapping_bundles.c.digest).where(mapping_bundles.c.digest == digest)
    return conn.execute(query).first() is not None


class MappingBundleRow(Protocol):
    """A stored bundle, with the number of its octets."""

    digest: str
    loaded_at: datetime
    octets: int


def list_bundles(conn: Connection) -> Sequence[MappingBundleRow]:
    """Return the digest of every stored bundle, when it was stored, and its octets, the newest first."""
    table = mapping_bundles.c
    query: Select[Any] = select(table.digest, table.loaded_at, func.length(table.content).label("octets"))
    return conn.execute(query.order_by(table.loaded_at.desc(), table.digest)).all()


def list_activations(conn: Connection) -> Sequence[MappingUseRow]:
    """Return every change of the bundle in force, the newest first."""
    return conn.execute(select(mapping_uses).order_by(mapping_uses.c.id.desc())).all()
