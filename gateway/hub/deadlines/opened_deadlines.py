"""Begins the deadlines of applications that are new in their case: what their agencies owe, and nobody else.

The times follow from the terms of their documents alone. So they are known before the applications are
stored, which are stored with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.calendars import Timetable
from gateway.cases import list_due_kinds
from gateway.hub.deadlines.due_times import DueTimes, StartedTerm, compute_due_times
from gateway.hub.hub import Hub
from gateway.state_machines import REQUEST
from gateway.store import NewDeadline, deadlines

__all__ = ["FirstDeadlines", "compute_first_deadlines", "insert_first_deadlines"]

#: What an agency owes about an application that it has not heard of yet, in the order of their names.
_OWED: Final = tuple(sorted(list_due_kinds(REQUEST.initial, acknowledged=False)))


@dataclass(frozen=True, slots=True)
class FirstDeadlines:
    """What an agency owes about a new application, and until when."""

    owed: Sequence[tuple[StartedTerm, DueTimes]]

    @property
    def due_at(self) -> datetime | None:
        """Return until when the agency has to act first; None where nobody gives it a time."""
        return min((found.due_at for _, found in self.owed if found.due_at is not None), default=None)


def compute_first_deadlines(
    conn: Connection, hub: Hub, documents: Sequence[tuple[str, str]], now: datetime
) -> list[FirstDeadlines]:
    """Return what is owed about new applications, each given by its organisation and document."""
    if not documents:
        return []
    timetable = hub.timetable.read_timetable(conn)
    return [_compute_first(timetable, *one, now) for one in documents]


def _compute_first(timetable: Timetable, organisation: str, document: str, now: datetime) -> FirstDeadlines:
    terms = [StartedTerm(organisation, document, kind, now) for kind in _OWED]
    found = [(term, compute_due_times(timetable, term)) for term in terms]
    return FirstDeadlines([(term, times) for term, times in found if times is not None])


def insert_first_deadlines(
    conn: Connection, case_id: int, begun: Iterable[tuple[int, FirstDeadlines]]
) -> None:
    """Store what is owed about new applications (row ids) of a locked case."""
    new = [
        NewDeadline(
            case_id=case_id,
            request_id=request,
            kind=term.kind.value,
            cause="",
            started_at=term.started_at,
            days=found.days,
            **found.describe_state(),
        )
        for request, first in begun
        for term, found in first.owed
    ]
    deadlines.insert_deadlines(conn, new)
