"""Stores forwarding rules: where messages for other handlers go, and who may send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select

from gateway.store.forwarding_tables import forwarding_rules
from gateway.store.register_version import increment_register_version

__all__ = ["find_rule", "insert_rule", "list_rules", "remove_rule"]

_KEY: Final = ("to_value", "to_type", "service", "action")


def insert_rule(conn: Connection, values: Mapping[str, Any], at: datetime) -> int | None:
    """Store a rule, given by its columns; return its number.

    Return None when there is a rule for the same messages already.
    """
    same = [forwarding_rules.c[name] == values[name] for name in _KEY]
    if conn.execute(select(forwarding_rules.c.id).where(*same)).first() is not None:
        return None
    done = conn.execute(insert(forwarding_rules).values(**values, created_at=at))
    increment_register_version(conn)
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def remove_rule(conn: Connection, number: int) -> bool:
    """Remove a rule; return False when there is none of this number."""
    done = conn.execute(delete(forwarding_rules).where(forwarding_rules.c.id == number))
    increment_register_version(conn)
    return done.rowcount == 1


def find_rule(conn: Connection, number: int) -> Row[Any] | None:
    """Return the rule of this number."""
    return conn.execute(select(forwarding_rules).where(forwarding_rules.c.id == number)).first()


def list_rules(conn: Connection) -> Sequence[Row[Any]]:
    """Return every rule, oldest first."""
    return conn.execute(select(forwarding_rules).order_by(forwarding_rules.c.id)).all()
