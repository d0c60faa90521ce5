"""Keeps what the agency of a request has asked for, and moves the request to the state that follows from it.

The row of a request has what stands (`gateway.cases.OpenDemands`). All functions are called in a
transaction that has locked the case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    DEMANDED_STATES,
    DemandNotice,
    OpenDemands,
    StatusCode,
    find_demanded_state,
)
from gateway.store import OpenRequest, StoredNotice, notices

__all__ = [
    "end_amended_demands",
    "find_demanded_event",
    "list_open_levies",
    "read_demands",
    "restore_demands",
    "take_demand_notice",
]

_OPEN_FEE: Final = ("LEVIED", "ORDERED")
#: The states between which a request moves by what stands.
_MOVED: Final = frozenset({"SENT", "ACKNOWLEDGED", *DEMANDED_STATES.values()})
_EVENTS: Final = {state: event for event, state in DEMANDED_STATES.items()}
#: By what event a request leaves a state when nothing stands any more.
_ENDING: Final = {"INSPECTION": "inspected", "FEE_DUE": "fee_settled"}


def restore_demands(request: Row[Any] | OpenRequest) -> OpenDemands | None:
    """Return what stands about a request; None where that was not stored yet."""
    return None if request.demands is None else OpenDemands.restore(request.demands)


def read_demands(
    conn: Connection, request: Row[Any] | OpenRequest, codes: Mapping[str, StatusCode]
) -> OpenDemands:
    """Return what stands about a request. `codes` are the status codes of its case.

    Of a request from before this was stored, the state says what was asked for last.
    """
    found = restore_demands(request)
    if found is not None:
        return found
    if request.state not in ("INFORMATION_REQUIRED", "INSPECTION"):
        return OpenDemands()
    return _find_former_demand(request.state, _list_demands(notices.list_by_request(conn, request.id), codes))


def _find_former_demand(state: str, known: Sequence[DemandNotice]) -> OpenDemands:
    asking = [one for one in known if one.event == _EVENTS.get(state)]
    if not asking:
        return OpenDemands({}, max((one.id for one in known), default=0))
    last = max(asking, key=lambda one: one.rank)
    return OpenDemands({}, min(one.id for one in known) - 1).take_notice(last, [last])


def take_demand_notice(
    request: OpenRequest, stored: StoredNotice, codes: Mapping[str, StatusCode]
) -> OpenDemands | None:
    """Let a stored notice ask for something, or end it; return what stands then.

    None for a notice that does neither.
    """
    known = _list_demands(stored.known, codes)
    mine = next((one for one in known if one.id == stored.id), None)
    if mine is None:
        return None
    before = restore_demands(request)
    if before is None:
        before = _find_former_demand(request.state, [one for one in known if one is not mine])
    taken = before.take_notice(mine, known)
    request.set_columns(demands=taken.describe())
    return taken


def _list_demands(known: Iterable[Any], codes: Mapping[str, StatusCode]) -> list[DemandNotice]:
    """Return the notices that ask for something or end it; what is said of a fee is kept with the fee."""
    found = []
    for one in known:
        code = codes.get(one.status_code)
        if code is not None and not code.fee_step and code.event in (*DEMANDED_STATES, "inspected"):
            times = (one.issued_at, one.received_at, one.deadline)
            found.append(DemandNotice(one.id, code.event, one.number, *times))
    return found


def end_amended_demands(conn: Connection, request: int) -> dict[str, Any]:
    """Return what is stored of the demands about a request that is sent again: what was asked is over."""
    last = max((row.id for row in notices.list_by_request(conn, request)), default=0)
    return OpenDemands({}, last).describe()


def list_open_levies(levied: Iterable[Row[Any]]) -> list[tuple[datetime, str]]:
    """Return when each open fee of a request was levied, and by which notice."""
    return [(row.levied_at, row.notice or "") for row in levied if row.state in _OPEN_FEE]


def find_demanded_event(
    state: str, demands: OpenDemands, levies: Sequence[tuple[datetime, str]]
) -> str | None:
    """Return the event that moves a request to the state of what stands; None where it is there."""
    if state not in _MOVED:
        return None
    wanted = find_demanded_state(demands, levies)
    if wanted is None:
        return _ENDING.get(state)
    return None if wanted == state else f"{_EVENTS[wanted]}_stands"
