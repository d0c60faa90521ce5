"""Stores the actions of operators and commands, allowed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from gateway.store.tables import audit

__all__ = ["AuditEntry", "list_actions", "record_action"]

_INSERT = insert(audit)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action: actor, object, role, and outcome."""

    actor: str
    role: str
    action: str
    object: str
    outcome: str = "done"
    remote: str | None = None
    before: Any = None
    after: Any = None


def record_action(conn: Connection, action: AuditEntry, at: datetime) -> None:
    """Store the action."""
    conn.execute(_INSERT, asdict(action) | {"at": at})


def list_actions(
    conn: Connection, *, limit: int = 50, before_id: int | None = None, **equal: Any
) -> Sequence[Row[Any]]:
    """Return actions, newest first, whose columns have these values, with an id below `before_id`."""
    found = select(audit).order_by(audit.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(audit.c[name] == value)
    return conn.execute(found.where(audit.c.id < before_id) if before_id else found).all()
