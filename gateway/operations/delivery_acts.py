"""Acts of operators on deliveries and on lanes, in the transaction of their row of audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub import operator_actions
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.register_views import describe_delivery
from gateway.state_machines import DELIVERY
from gateway.store import LaneBacklog, lane_holds, lanes

__all__ = [
    "DELIVERY_ACTS",
    "change_deliveries",
    "hold_lanes",
    "list_possible_acts",
    "release_lanes",
    "try_lanes",
]

#: What an operator does with a delivery, by the word of its verb.
DELIVERY_ACTS: Final[Mapping[str, Callable[..., None]]] = {
    "try": operator_actions.try_delivery,
    "hold": operator_actions.hold_delivery,
    "release": operator_actions.release_delivery,
    "requeue": operator_actions.requeue_delivery,
    "cancel": operator_actions.cancel_delivery,
}
#: The act of each event that an operator applies.
_EVENTS: Final = {**{act: act for act in DELIVERY_ACTS}, "give_up": "cancel"}
#: The verb of each act.
_VERBS: Final = {act: f"gateway queue {act}" for act in DELIVERY_ACTS}
#: What a delivery that no act changes is waiting for.
_NO_ACT: Final = {
    "ACTIVE": "wait until its attempt ends",
    "AWAITING_RECEIPT": "wait for its receipt",
}


def list_possible_acts(state: str) -> tuple[str, ...]:
    """Return the acts that the state of a delivery allows."""
    return tuple(_EVENTS[event] for event in DELIVERY.table[state] if event in _EVENTS)


def change_deliveries(
    change: DatabaseChange, act: str, deliveries: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Apply an act to each of the deliveries, all of them or none; return how they are after it.

    Raises GW705 with the verbs that are possible instead.
    """
    numbers = tuple(dict.fromkeys(deliveries))
    before = _describe_deliveries(change.conn, numbers)
    # In the order in which acts on lanes lock them: else two acts wait for each other.
    for one in sorted(numbers, key=lambda number: (before.get(number, {}).get("lane", ""), number)):
        try:
            DELIVERY_ACTS[act](change.conn, one, change.at, change.by, change.act.reason)
        except GatewayError as refused:
            raise _name_possible_verbs(refused, one, before) from refused
    after = _describe_deliveries(change.conn, numbers)
    change.record_change(f"delivery {', '.join(map(str, numbers))}", before=before, after=after)
    return after


def _name_possible_verbs(
    refused: GatewayError, number: int, known: Mapping[int, Mapping[str, Any]]
) -> GatewayError:
    """Return a refused act with the verbs that the state of the delivery allows; another problem as it is."""
    state = str(known.get(number, {}).get("state"))
    if refused.problem is not TRANSITION_REFUSED or refused.location != f"{DELIVERY.name}/{state}":
        return refused
    verbs = [f"`{_VERBS[act]} {number}`" for act in list_possible_acts(state)]
    what = f"run {' or '.join(verbs)}" if verbs else _NO_ACT.get(state, "nothing is left to do")
    return GatewayError(TRANSITION_REFUSED, f"delivery {number} is {state}: {what}")


def _describe_deliveries(conn: Connection, numbers: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Return the states of the deliveries that exist, by their numbers."""
    found = {number: describe_delivery(conn, number) for number in numbers}
    return {number: told for number, told in found.items() if told is not None}


def hold_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, LaneBacklog]:
    """Hold lanes for the reason of the act; return what each contains."""
    before = _describe_lanes(change.conn, names)
    found = {
        name: operator_actions.hold_lane(change.conn, name, change.at, change.by, change.act.reason or "")
        for name in names
    }
    change.record_change(_name_lanes(names), before=before, after=_describe_lanes(change.conn, names))
    return found


def release_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, tuple[Any, LaneBacklog]]:
    """Release those of the lanes that are held; return how each was held, and what waited in it.

    Raises GW705 where none of them is held.
    """
    held = {row.name for row in lane_holds.list_held_lanes(change.conn)}
    wanted = tuple(name for name in names if name in held) or tuple(names)
    before = _describe_lanes(change.conn, wanted)
    found = {
        name: operator_actions.release_lane(change.conn, name, change.at, change.by, change.act.reason)
        for name in wanted
    }
    change.record_change(_name_lanes(wanted), before=before, after=_describe_lanes(change.conn, wanted))
    return found


def try_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Make due what waits in lanes, and close their circuits; return the deliveries that had to wait."""
    before = _describe_lanes(change.conn, names)
    tried = {
        name: operator_actions.try_lane(change.conn, name, change.at, change.by, change.act.reason)
        for name in names
    }
    after = {name: {"due": tried[name]} for name in names}
    change.record_change(_name_lanes(names), before=before, after=after)
    return tried


def _name_lanes(names: Sequence[str]) -> str:
    return f"lane {', '.join(names)}"


def _describe_lanes(conn: Connection, names: Sequence[str]) -> dict[str, Any]:
    """Return how the lanes are held, for the audit."""
    columns = ("held_at", "held_by", "hold_reason", "open_until")
    rows = lanes.find_lanes(conn, names)
    return {name: {one: getattr(rows.get(name), one, None) for one in columns} for name in names}
