"""Stores mandates: who may act for whom, for what, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, or_, select, update

from gateway.store.register_version import increment_register_version
from gateway.store.tables import mandates, parties

__all__ = [
    "ANYTHING",
    "can_act_for",
    "find_mandate",
    "insert_mandate",
    "list_by_party",
    "list_mandates",
    "revoke_mandate",
]

# The scope of a mandate for everything.
ANYTHING: Final = "*"


def insert_mandate(
    conn: Connection,
    party: str,
    on_behalf_of: str,
    valid_from: datetime,
    valid_until: datetime | None = None,
    scope: str = ANYTHING,
) -> int:
    """Allow `party` to act on behalf of another in the scope; return the mandate's id."""
    done = conn.execute(
        insert(mandates).values(
            party_id=party,
            on_behalf_of=on_behalf_of,
            scope=scope,
            valid_from=valid_from,
            valid_until=valid_until,
        )
    )
    increment_register_version(conn)
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def revoke_mandate(conn: Connection, mandate: int, at: datetime) -> bool:
    """End the mandate now; return False when it has ended already."""
    standing = (mandates.c.id == mandate, mandates.c.revoked_at.is_(None))
    changed = conn.execute(update(mandates).where(*standing).values(revoked_at=at))
    increment_register_version(conn)
    return changed.rowcount == 1


def can_act_for(conn: Connection, party: str, on_behalf_of: str, at: datetime, scope: str = ANYTHING) -> bool:
    """Return whether `party` may act for another at a given time; every party may act for itself.

    A suspended or retired party may act for no party.
    """
    active = select(parties.c.id).where(parties.c.id == party, parties.c.status == "ACTIVE")
    if conn.execute(active).first() is None:
        return False
    if party == on_behalf_of:
        return True
    found = select(mandates.c.id).where(
        mandates.c.party_id == party,
        mandates.c.on_behalf_of == on_behalf_of,
        mandates.c.scope.in_({scope, ANYTHING}),
        mandates.c.valid_from <= at,
        or_(mandates.c.valid_until.is_(None), mandates.c.valid_until > at),
        or_(mandates.c.revoked_at.is_(None), mandates.c.revoked_at > at),
    )
    return conn.execute(found.limit(1)).first() is not None


def find_mandate(conn: Connection, number: int) -> Row[Any] | None:
    """Return the mandate of this number, whether it has ended or not."""
    return conn.execute(select(mandates).where(mandates.c.id == number)).first()


def list_mandates(conn: Connection) -> Sequence[Row[Any]]:
    """Return every mandate, including ended and future ones."""
    return conn.execute(select(mandates).order_by(mandates.c.id)).all()


def list_by_party(conn: Connection, party: str) -> Sequence[Row[Any]]:
    """Return the mandates that a party holds or has given, including ended ones."""
    involved = or_(mandates.c.party_id == party, mandates.c.on_behalf_of == party)
    return conn.execute(select(mandates).where(involved).order_by(mandates.c.id)).all()
