"""Reads the audit log as the lists of operators do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection

from gateway.store import ListFilter, audit_log

__all__ = ["list_actions"]


def list_actions(conn: Connection, *, limit: int = 1000, **equal: Any) -> list[SimpleNamespace]:
    """Return actions, newest first, whose columns have these values."""
    page = audit_log.search_actions(conn, audit_log.AuditFilter(), ListFilter(limit=1000))
    rows = [row for row in page.rows if all(row[name] == value for name, value in equal.items())]
    return [SimpleNamespace(**row) for row in rows[:limit]]
