"""Fires what is due: reminders, and what is overdue. Several workers may run it, each deadline fires once.

A worker locks the case, settles its deadlines, and looks at the deadline again before it fires. So the
second worker finds nothing to do, and a process that dies before the commit has changed nothing. A case
that cannot be settled is logged and tried again; it delays no other case and no other upkeep.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.cases import DeadlineState
from gateway.errors import CALENDAR_WRONG, GatewayError
from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.hub.deadlines.overdue_events import tell_overdue, tell_reminder
from gateway.hub.hub import Hub
from gateway.store import agency_requests, cases, deadlines, read_transaction, write_transaction

__all__ = ["run_clockwork"]

_BATCH: Final = 100
_log = logging.getLogger(__name__)


def run_clockwork(hub: Hub) -> int:
    """Fire the deadlines that are due, at most a hundred; return how many were looked at."""
    with read_transaction(hub.engine) as conn:
        due = deadlines.list_due(conn, hub.clock(), _BATCH)
    for one in due:
        _try_to_fire(hub, one.id, one.case_id)
    return len(due)


def _try_to_fire(hub: Hub, deadline: int, case_id: int) -> None:
    """Fire a deadline; log what is wrong with its case. Raises what concerns every case: the database."""
    try:
        _fire_deadline(hub, deadline, case_id)
    except GatewayError as refused:
        if refused.problem is not CALENDAR_WRONG:
            raise
        _log.warning("deadline %d of case row %d waits: %s", deadline, case_id, refused)
    except Exception:
        _log.exception("deadline %d of case row %d cannot be settled; it is tried again", deadline, case_id)


def _fire_deadline(hub: Hub, deadline: int, case_id: int) -> None:
    with write_transaction(hub.engine, "deadlines.fired") as conn:
        case = cases.lock_case(conn, case_id)
        now = hub.clock()
        settle_deadlines(conn, hub, case_id, now)
        row = deadlines.find_by_id(conn, deadline)
        if row is None or row.next_at is None or row.next_at >= now:
            return
        if row.due_at is None or row.state == DeadlineState.HELD:
            # Its calendar still does not know the day, and it is looked at again when one is loaded; or
            # the applicant still has to act.
            deadlines.change_deadline(conn, deadline, {"next_at": None})
            return
        request = agency_requests.find_by_id(conn, row.request_id)
        if row.due_at < now and request is not None:
            tell_overdue(conn, case, (request, row), now)
        elif row.reminded_at is None and row.remind_at is not None:
            tell_reminder(conn, row, now)
        else:
            # It was reminded of before its time went on.
            deadlines.change_deadline(conn, deadline, {"next_at": row.due_at})
