"""Stores the mapping bundles that operators loaded or that cases pin, and which of them is in force when.

A use without a date is in force at once. It replaces the bundle for every message that is not processed
yet, back to the last date of a plan. A use with a date is a plan. It is in force for what is received
from its date on, and for nothing that was received before, however late that is processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select

from gateway.store.mapping_tables import mapping_bundles, mapping_uses
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version

__all__ = [
    "MappingPeriod",
    "activate_bundle",
    "find_active_digest",
    "find_bundle_content",
    "find_period",
    "has_bundle",
    "list_activations",
    "list_bundles",
    "list_periods",
    "plan_bundle",
    "store_bundle",
    "withdraw_plan",
]

_INSERT = InsertIfAbsent(mapping_bundles, ("digest",))


@dataclass(frozen=True, slots=True)
class MappingPeriod:
    """A bundle (None: the shipped one) and the time from which on it is in force (None: from the beginning).

    `use` is the number of the row that says so, `planned_at` and `actor` tell when and by whom it was
    written; the first period of a new database has none.
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


def activate_bundle(conn: Connection, digest: str | None, at: datetime, actor: str) -> None:
    """Activate a stored bundle from the next message on; None: the shipped bundle."""
    conn.execute(insert(mapping_uses).values(digest=digest, at=at, actor=actor))
    increment_register_version(conn)


def plan_bundle(
    conn: Connection, digest: str | None, starts: datetime, acted: tuple[datetime, str], replaces: int | None
) -> None:
    """Activate a stored bundle (None: the shipped one) from a later time on, in place of an earlier plan.

    `acted` is when this was decided, and by whom. `replaces` is the `use` of the earlier plan.
    """
    at, actor = acted
    row = {"digest": digest, "at": at, "actor": actor, "starts": starts, "cancels": replaces}
    conn.execute(insert(mapping_uses).values(**row))
    increment_register_version(conn)


def withdraw_plan(conn: Connection, plan: int, at: datetime, actor: str) -> None:
    """Take back the plan with this `use`."""
    conn.execute(insert(mapping_uses).values(digest=None, at=at, actor=actor, cancels=plan))
    increment_register_version(conn)


def list_periods(conn: Connection) -> tuple[MappingPeriod, ...]:
    """Return which bundle is in force when, the earliest first; there is always one.

    Each plan that was not taken back begins a period. A use at once changes the period that it falls in.
    """
    rows = conn.execute(select(mapping_uses).order_by(mapping_uses.c.id)).all()
    gone = {row.cancels for row in rows if row.cancels is not None}
    plans = [row for row in rows if row.starts is not None and row.id not in gone]
    periods = [MappingPeriod(None, None), *(_make_period(row, row.starts) for row in plans)]
    periods.sort(key=lambda one: (one.starts is not None, one.starts))
    for row in rows:
        if row.starts is None and row.cancels is None:
            place = max(number for number, one in enumerate(periods) if one.has_begun(row.at))
            periods[place] = _make_period(row, periods[place].starts)
    return tuple(periods)


def _make_period(row: Row[Any], starts: datetime | None) -> MappingPeriod:
    return MappingPeriod(starts, row.digest, row.id, row.at, row.actor)


def find_period(periods: Sequence[MappingPeriod], at: datetime) -> MappingPeriod:
    """Return the period that a time falls in."""
    return next(one for one in reversed(periods) if one.has_begun(at))


def find_active_digest(conn: Connection, at: datetime) -> str | None:
    """Return the digest of the bundle in force at a time; None when it is the shipped one."""
    return find_period(list_periods(conn), at).digest


def find_bundle_content(conn: Connection, digest: str) -> bytes | None:
    """Return the packed files of a bundle; None when it was never loaded."""
    found: bytes | None = conn.execute(
        select(mapping_bundles.c.content).where(mapping_bundles.c.digest == digest)
    ).scalar_one_or_none()
    return found


def has_bundle(conn: Connection, digest: str) -> bool:
    """Return whether the packed files of a bundle are stored."""
    found = select(mapping_bundles.c.digest).where(mapping_bundles.c.digest == digest)
    return conn.execute(found).first() is not None


def list_bundles(conn: Connection) -> Sequence[Row[Any]]:
    """Return the digest of every stored bundle, when it was stored, and its octets, the newest first."""
    table = mapping_bundles.c
    found: Select[Any] = select(table.digest, table.loaded_at, func.length(table.content).label("octets"))
    return conn.execute(found.order_by(table.loaded_at.desc(), table.digest)).all()


def list_activations(conn: Connection) -> Sequence[Row[Any]]:
    """Return every change of the bundle in force, the newest first."""
    return conn.execute(select(mapping_uses).order_by(mapping_uses.c.id.desc())).all()
