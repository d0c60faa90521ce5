"""Acts of operators on the applications of a case, in the transaction of their row of audit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from gateway.cases import check_hub_number, normalize_hub_number
from gateway.hub import operator_actions
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import agency_requests

__all__ = ["stop_asking_agency"]


def stop_asking_agency(change: DatabaseChange, number: str) -> Row[Any] | None:
    """Ask the agency of an application no longer whether it cancels; return the application after it.

    None without such an application. Raises GW513 for a mistyped number, GW705 where nothing is asked.
    """
    wanted = normalize_hub_number(number)
    before = agency_requests.find_by_number(change.conn, wanted)
    if before is None:
        check_hub_number(wanted, "APPLICATION")
        return None
    operator_actions.end_question(change.conn, before.id, change.at, change.by, change.act.reason or "")
    after = agency_requests.find_by_id(change.conn, before.id)
    told = {"state": before.state, "cancellation": before.cancellation}
    if after is not None:
        now = {"state": after.state, "cancellation": after.cancellation}
        change.record_change(f"application {before.number} of {before.agency}", before=told, after=now)
    return after
