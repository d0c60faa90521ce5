"""What was sent has arrived: when everything of a case has, the case is closed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.evidence.log import record
from gateway.store import cases, deliveries
from gateway.store.transitions import Step

__all__ = ["close_when_done", "lock_case_of"]

_DONE = ("DELIVERED", "CANCELLED")


def lock_case_of(conn: Connection, delivery: int) -> Row[Any] | None:
    """Lock the case a delivery belongs to and return it; None when it belongs to none."""
    row = deliveries.get(conn, delivery)
    if row is None or row.case_id is None:
        return None
    return cases.lock(conn, row.case_id)


def close_when_done(conn: Connection, case: Row[Any] | None, now: datetime) -> None:
    """Close a decided, locked case when nothing of it is left to deliver."""
    if case is None or case.state != "DECIDED":
        return
    if all(row.state in _DONE for row in deliveries.of_case(conn, case.id)):
        cases.move(conn, case.id, Step("relayed", now, "relay"), closed_at=now)
        record(conn, "closed", "case", case.id, None, {"number": case.number, "outcome": case.outcome}, now)
