"""Changes a request of a locked case, and writes all that was changed by one statement.

An answer of an agency changes its request several times: it was sent, its last reply is another one, it
is acknowledged or decided. Each step is a transition of its own. The row is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import ColumnElement, Connection, bindparam, exists, select

from gateway.state_machines import REQUEST, get_next_state
from gateway.store import transitions
from gateway.store.agency_requests import AgencyRequestRow, agency_requests
from gateway.store.cases import CaseRow, cases
from gateway.store.customs_notices import clearances
from gateway.store.item_releases import item_releases
from gateway.store.notices import notices
from gateway.store.officer_work import build_decided_condition
from gateway.store.transitions import StateEvent

#: The facts about a request that are read beside its columns.
_OPEN_FACTS: Final[Mapping[str, ColumnElement[Any]]] = {
    "decided_at_console": build_decided_condition(agency_requests.c.id),
    "clearance": select(clearances.c.state)
    .where(clearances.c.id == agency_requests.c.case_id)
    .scalar_subquery(),
    "noticed": exists().where(notices.c.request_id == agency_requests.c.id),
    "released": exists().where(
        item_releases.c.parent_id == agency_requests.c.case_id, item_releases.c.returned_at.is_(None)
    ),
}
_OPEN: Final = select(agency_requests, *(one.label(name) for name, one in _OPEN_FACTS.items())).where(
    agency_requests.c.id == bindparam("wanted")
)


class OpenRequestRow(AgencyRequestRow, Protocol):
    """A request of a locked case, with four facts about it.

    `decided_at_console` says whether officers have decided it, `clearance` is the state of clearance of its
    case (None: no notice of customs yet), `noticed` says whether its agency has sent a notice, and `released`
    whether children hold items of its case.
    """

    decided_at_console: bool
    clearance: str | None
    noticed: bool
    released: bool


class OpenRequest:
    """A request of a locked case: its row with all changes made since; `write` stores them.

    It has the attributes of an `OpenRequestRow`.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        # Read more often than anything else: plain attributes, and beside them the row as it is now.
        self.__dict__.update(row)
        self._row: dict[str, Any] = dict(row)
        self._changed: set[str] = set()
        self._before: str = row["state"]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def copy_state(self) -> OpenRequestRow:
        """Return a copy of the present request, which later changes do not affect."""
        return SimpleNamespace(**self._row)

    def set_columns(self, **values: Any) -> None:
        """Set columns; demands that are set follow the state from then on."""
        if "demands" in values:
            values["demands_state"] = values.get("state", self.state)
        self.__dict__.update(values)
        self._row |= values
        self._changed |= set(values)

    def apply_event(self, conn: Connection, event: StateEvent, **values: Any) -> None:
        """Apply an event, set columns, and record the transition; raises GW705 for a wrong one."""
        before = self.state
        after = get_next_state(REQUEST, before, event.event)
        follows = after if self.demands_state == before else None
        self.set_columns(**{"state": after, "demands_state": follows, **values})
        transitions.record_transitions(conn, REQUEST, [(int(self.id), before, after)], event)

    def write(self, conn: Connection) -> None:
        """Write the changes; raise GW705 if another transaction has changed the state of the request."""
        if self._changed:
            values = {name: self._row[name] for name in sorted({"state", *self._changed})}
            transitions.write_state(conn, agency_requests, REQUEST, int(self.id), self._before, values)
            self._before, self._changed = self.state, set()


def open_request(conn: Connection, request: int) -> OpenRequest | None:
    """Return a request (row id) of a locked case, to be changed; None if there is no such request."""
    row = conn.execute(_OPEN, {"wanted": request}).mappings().first()
    return None if row is None else OpenRequest(dict(row))


_OF_REQUEST = select(agency_requests.c.case_id).where(agency_requests.c.id == bindparam("request"))

_LOCK_BY_REQUEST = (
    select(cases).where(cases.c.id == _OF_REQUEST.scalar_subquery()).with_for_update(key_share=True)
)


def lock_case_of_request(conn: Connection, request: int) -> CaseRow | None:
    """Lock the case of a request (row id) until the transaction ends; None where there is no such request."""
    return conn.execute(_LOCK_BY_REQUEST, {"request": request}).first()
