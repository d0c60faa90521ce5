"""Stores the webhooks of parties, and whether their calls arrive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from gateway.store.event_tables import webhooks

__all__ = [
    "delete_webhook",
    "find_webhook",
    "insert_webhook",
    "list_active_webhooks",
    "list_webhooks",
    "record_failed_call",
    "record_good_call",
    "switch_off",
    "switch_on",
]

_ACTIVE: Final = (
    select(webhooks)
    .where(webhooks.c.party_id.in_(bindparam("wanted", expanding=True)), webhooks.c.state == "ACTIVE")
    .order_by(webhooks.c.id)
)


def insert_webhook(conn: Connection, name: str, party: str, url: str, at: datetime) -> None:
    """Store a webhook of a party; `name` is the id by which it is known outside."""
    row = {"name": name, "party_id": party, "url": url, "state": "ACTIVE", "created_at": at}
    conn.execute(insert(webhooks).values(row))


def find_webhook(conn: Connection, name: str, party: str | None = None) -> Row[Any] | None:
    """Return the webhook of this name, if it is not deleted and is the party's."""
    found = select(webhooks).where(webhooks.c.name == name, webhooks.c.state != "DELETED")
    return conn.execute(found if party is None else found.where(webhooks.c.party_id == party)).first()


def list_webhooks(conn: Connection, party: str) -> Sequence[Row[Any]]:
    """Return the webhooks of a party, oldest first."""
    found = select(webhooks).where(webhooks.c.party_id == party, webhooks.c.state != "DELETED")
    return conn.execute(found.order_by(webhooks.c.id)).all()


def list_active_webhooks(conn: Connection, parties: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the webhooks that are called, by party."""
    wanted = sorted(set(parties))
    told: dict[str, list[str]] = {}
    for row in conn.execute(_ACTIVE, {"wanted": wanted}) if wanted else ():
        told.setdefault(row.party_id, []).append(row.name)
    return told


def delete_webhook(conn: Connection, name: str) -> None:
    """Mark a webhook deleted: calls that wait are not made."""
    conn.execute(update(webhooks).where(webhooks.c.name == name).values(state="DELETED"))


def record_good_call(conn: Connection, name: str, at: datetime) -> None:
    """Store that a call has arrived."""
    conn.execute(update(webhooks).where(webhooks.c.name == name).values(last_good_at=at, failing_since=None))


def record_failed_call(conn: Connection, name: str, at: datetime) -> None:
    """Store since when calls fail; the first failure after a good call counts."""
    one = (webhooks.c.name == name) & webhooks.c.failing_since.is_(None)
    conn.execute(update(webhooks).where(one).values(failing_since=at))


def switch_off(conn: Connection, name: str, reason: str) -> None:
    """Switch a webhook off, with the reason that its party is told."""
    one = (webhooks.c.name == name) & (webhooks.c.state == "ACTIVE")
    conn.execute(update(webhooks).where(one).values(state="OFF", reason=reason))


def switch_on(conn: Connection, name: str) -> None:
    """Switch a webhook on again."""
    one = (webhooks.c.name == name) & (webhooks.c.state != "DELETED")
    conn.execute(update(webhooks).where(one).values(state="ACTIVE", reason=None, failing_since=None))
