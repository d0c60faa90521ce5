"""Settles the deadlines of a case behind an act that is stored by a process without timetables.

An operator's verb knows no calendars: it queues this task. What begins by the act begins at its time.
"""

from __future__ import annotations

from datetime import datetime

from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease
from gateway.store import write_transaction

__all__ = ["settle_after_act"]


def settle_after_act(hub: Hub, case: int, at: datetime, finish: FinishLease) -> None:
    """Settle the deadlines of a case (row id) as from the time of an act; what was settled since stays."""
    with write_transaction(hub.engine, "deadlines.settled") as conn:
        settle_deadlines(conn, hub, case, at)
        finish(conn)
