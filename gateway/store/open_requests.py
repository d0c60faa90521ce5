"""Changes a request of a locked case, and writes all that was changed by one statement.

An answer of an agency changes its request several times: it was sent, its last reply is another one, it
is acknowledged or decided. Each step is a transition of its own. The row is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, exists, select

from gateway.state_machines import REQUEST, get_next_state
from gateway.store import transitions
from gateway.store.customs_tables import clearances
from gateway.store.officer_acts import build_decided_condition
from gateway.store.officer_tables import officer_acts
from gateway.store.release_tables import item_releases
from gateway.store.tables import agency_requests, notices
from gateway.store.transaction_reads import keep_read, read_once
from gateway.store.transitions import StateEvent

__all__ = ["OPEN_FACTS", "OpenRequest", "keep_open_request", "open_request"]

#: What is asked of a request beside its columns.
OPEN_FACTS: Final[Mapping[str, ColumnElement[Any]]] = {
    "decided_at_console": build_decided_condition(agency_requests.c.id),
    "clearance": select(clearances.c.state)
    .where(clearances.c.id == agency_requests.c.case_id)
    .scalar_subquery(),
    "noticed": exists().where(notices.c.request_id == agency_requests.c.id),
    "released": exists().where(
        item_releases.c.parent_id == agency_requests.c.case_id, item_releases.c.returned_at.is_(None)
    ),
}
_OPEN: Final = select(agency_requests, *(one.label(name) for name, one in OPEN_FACTS.items())).where(
    agency_requests.c.id == bindparam("wanted")
)
#: The tables that an open request is read from.
_READ: Final = tuple(one.name for one in (agency_requests, officer_acts, clearances, notices, item_releases))


class OpenRequest:
    """A request of a locked case: its row with all that was changed since, written by `write`.

    It has the columns of its row as attributes, and four more: `decided_at_console` says whether officers
    have decided it, `clearance` is the state of clearance of its case (None: customs has said nothing),
    `noticed` says whether its agency has sent a notice, and `released` whether children hold items of its
    case.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        # Read more often than anything else: plain attributes, and beside them the row as it is now.
        self.__dict__.update(row)
        self._known: dict[str, Any] = dict(row)
        self._changed: set[str] = set()
        self._before: str = row["state"]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def copy_state(self) -> Any:
        """Return the request as it is now; what is changed later does not change what is returned."""
        return SimpleNamespace(**self._known)

    def set_columns(self, **values: Any) -> None:
        """Set columns; demands that are set follow the state from then on."""
        if "demands" in values:
            values["demands_state"] = values.get("state", self.state)
        self.__dict__.update(values)
        self._known |= values
        self._changed |= set(values)

    def apply_event(self, conn: Connection, what: StateEvent, **values: Any) -> None:
        """Apply an event, set columns, and record the transition; raises GW705 for a wrong one."""
        before = self.state
        after = get_next_state(REQUEST, before, what.event)
        follows = after if self.demands_state == before else None
        self.set_columns(**{"state": after, "demands_state": follows, **values})
        transitions.record_transitions(conn, REQUEST, [(int(self.id), before, after)], what)

    def write(self, conn: Connection) -> None:
        """Write what was changed; raises GW705 where somebody else has changed the state of the request."""
        if self._changed:
            values = {name: self._known[name] for name in sorted({"state", *self._changed})}
            transitions.write_state(conn, agency_requests, REQUEST, (int(self.id), self._before), values)
            self._before, self._changed = self.state, set()


def open_request(conn: Connection, request: int) -> OpenRequest | None:
    """Return a request (row id) of a locked case, to be changed; None where there is none."""

    def read() -> Mapping[str, Any] | None:
        row = conn.execute(_OPEN, {"wanted": request}).first()
        return None if row is None else row._mapping  # type: ignore[return-value]

    found = read_once(conn, _READ, _name_open(request), read)
    return None if found is None else OpenRequest(found)


def keep_open_request(conn: Connection, row: Mapping[str, Any]) -> None:
    """Keep a request for `open_request`, with its `OPEN_FACTS`, where it was read with its case."""
    keep_read(conn, _READ, _name_open(int(row["id"])), row)


def _name_open(request: int) -> tuple[str, int]:
    return "open request", request
