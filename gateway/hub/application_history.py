"""What happened to one application, as its agency may know it: its states, notices and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from gateway.state_machines import REQUEST
from gateway.store import decisions, notices, transitions

if TYPE_CHECKING:
    from gateway.hub.hub import Hub

__all__ = ["ApplicationEvent", "list_application_history"]


@dataclass(frozen=True, slots=True)
class ApplicationEvent:
    """One event: a change of the state (`event`, `state`), or a notice of the agency with its decisions."""

    at: datetime
    event: str = ""
    state: str = ""
    actor: str = ""
    notice: Row[Any] | None = None
    status: str = ""
    decisions: Sequence[Row[Any]] = ()


def list_application_history(hub: Hub, conn: Connection, request: Row[Any]) -> list[ApplicationEvent]:
    """Return the events of an application, newest first. Events of other agencies are not among them."""
    # What the agency did itself is told by its notices.
    found = [
        ApplicationEvent(row.at, row.event, row.to_state, row.actor)
        for row in transitions.list_transitions(conn, REQUEST, request.id)
        if row.actor != request.agency or row.event == "acknowledge"
    ]
    decided = decisions.list_by_request(conn, request.id)
    codes = hub.load_rules_of(conn, request).status_codes
    for notice in notices.list_by_request(conn, request.id):
        code = codes.get(notice.status_code)
        said = tuple(row for row in decided if row.notice_no == notice.number)
        found.append(
            ApplicationEvent(
                notice.received_at,
                actor=request.agency,
                notice=notice,
                status="" if code is None else code.name,
                decisions=said,
            )
        )
    # Of one moment, what came later stands above as well.
    return sorted(found, key=lambda one: one.at)[::-1]
