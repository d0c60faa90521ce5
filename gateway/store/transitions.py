"""Stores the transitions of the state machines with the changes of their objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, Text, Update, bindparam, case, select, update

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.state_machines import CASE, REQUEST, StateMachine, get_next_state
from gateway.store.events import record_events
from gateway.store.tables import agency_requests, transitions
from gateway.store.transaction_rows import insert_log_rows

__all__ = ["StateEvent", "apply_event", "list_transitions", "record_transitions", "write_state"]

#: The machines whose steps are events for the software of parties.
_TOLD = frozenset({CASE.name, REQUEST.name})


@dataclass(frozen=True, slots=True)
class StateEvent:
    """One event on one object: event, time, actor, and reason."""

    event: str
    at: datetime
    actor: str
    detail: str | None = None


def record_transitions(
    conn: Connection, machine: StateMachine, changes: Sequence[tuple[int, str, str]], what: StateEvent
) -> None:
    """Store one row for each (object id, state before, state after), and the events for parties."""
    rows = [
        {
            "machine": machine.name,
            "object_id": object_id,
            "from_state": before,
            "event": what.event,
            "to_state": after,
            "at": what.at,
            "actor": what.actor,
            "detail": what.detail,
        }
        for object_id, before, after in changes
    ]
    insert_log_rows(conn, transitions, rows)
    if machine.name in _TOLD:
        told = [(one, after) for one, before, after in changes if before != after or what.event == "correct"]
        record_events(conn, machine.name, told, what.at)


def apply_event(
    conn: Connection,
    table: Table,
    machine: StateMachine,
    object_id: int,
    what: StateEvent,
    *,
    before: str | None = None,
    **values: Any,
) -> str:
    """Apply the event to the object's state, set `values`, record the transition; return the new state.

    `before` is the state, where the caller has read it: the object is changed if it is still in that state.
    """
    if before is None:
        before = conn.execute(_build_state_query(table), {"wanted": object_id}).scalar_one_or_none()
    if before is None:
        raise GatewayError(TRANSITION_REFUSED, f"there is no {machine.name} {object_id}")
    after = get_next_state(machine, before, what.event)
    write_state(conn, table, machine, (object_id, before), {"state": after, **values})
    record_transitions(conn, machine, [(object_id, before, after)], what)
    return after


def write_state(
    conn: Connection,
    table: Table,
    machine: StateMachine,
    known: tuple[int, str],
    values: Mapping[str, Any],
) -> None:
    """Set columns of an object, the state among them, if it is in the known state (id, state); else GW705.

    The demands of a request follow its state when they are set, or have followed it until now.
    """
    object_id, before = known
    row = {"wanted": object_id, "before": before, **values}
    if table is agency_requests and "demands_state" not in values:
        row["after"] = values["state"]
    if conn.execute(_build_state_update(table, tuple(values)), row).rowcount != 1:
        raise GatewayError(TRANSITION_REFUSED, f"{machine.name} {object_id} was changed by another meanwhile")


@lru_cache(maxsize=16)
def _build_state_query(table: Table) -> Select[tuple[Any]]:
    return select(table.c.state).where(table.c.id == bindparam("wanted"))


@lru_cache(maxsize=128)
def _build_state_update(table: Table, names: tuple[str, ...]) -> Update:
    """Return the statement that sets these columns, if the state is unchanged."""
    kept = update(table).where(table.c.id == bindparam("wanted"), table.c.state == bindparam("before"))
    changed: dict[str, Any] = {name: bindparam(name) for name in names}
    if table is agency_requests and "demands_state" not in names:
        after = bindparam("after", type_=Text())
        followed = agency_requests.c.demands_state == agency_requests.c.state
        changed["demands_state"] = after if "demands" in names else case((followed, after))
    return kept.values(changed)


def list_transitions(conn: Connection, machine: StateMachine, object_id: int) -> Sequence[Row[Any]]:
    """Return the stored transitions of an object, oldest first."""
    return conn.execute(
        select(transitions)
        .where(transitions.c.machine == machine.name, transitions.c.object_id == object_id)
        .order_by(transitions.c.id)
    ).all()
