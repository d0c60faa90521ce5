"""Keeps what the agency of a request has asked for, and moves the request to the state that follows from it.

The row of a request has what stands (`gateway.cases.OpenDemands`). What code of the version before has done
to a request, its row does not have: then its state says what was asked for last, and what stands is stored
anew before that state changes. All functions are called in a transaction that has locked the case.
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
from gateway.store import OpenRequest, StoredNotice, agency_requests, notices

__all__ = [
    "TELLING_STATES",
    "end_amended_demands",
    "find_amendment",
    "find_demanded_event",
    "keep_demands",
    "list_open_levies",
    "read_demands",
    "restore_demands",
    "take_demand_notice",
]

_OPEN_FEE: Final = ("LEVIED", "ORDERED")
#: The states between which a request moves by what stands.
_MOVED: Final = frozenset({"SENT", "ACKNOWLEDGED", *DEMANDED_STATES.values()})
#: The states of which a notice says what was asked for, where it is not stored.
TELLING_STATES: Final = ("INFORMATION_REQUIRED", "INSPECTION")
_EVENTS: Final = {state: event for event, state in DEMANDED_STATES.items()}
#: By what event a request leaves a state when nothing stands any more.
_ENDING: Final = {"INSPECTION": "inspected", "FEE_DUE": "fee_settled"}


def restore_demands(request: Row[Any] | OpenRequest) -> OpenDemands | None:
    """Return what stands about a request; None where that was not stored, or not with its state."""
    if request.demands is None or request.demands_state != request.state:
        return None
    return OpenDemands.restore(request.demands)


def find_amendment(request: Row[Any] | OpenRequest) -> int:
    """Return the row id of the last notice before the last amendment of a request; 0 where none is known."""
    return 0 if request.demands is None else OpenDemands.restore(request.demands).amended_after


def read_demands(
    conn: Connection, request: Row[Any] | OpenRequest, codes: Mapping[str, StatusCode]
) -> OpenDemands:
    """Return what stands about a request. `codes` are the status codes of its case.

    Where that is not stored, the state says what was asked for last.
    """
    found = restore_demands(request)
    if found is not None:
        return found
    if request.state not in TELLING_STATES:
        return OpenDemands({}, find_amendment(request))
    return _find_former_demand(request, _list_demands(notices.list_by_request(conn, request.id), codes))


def keep_demands(conn: Connection, request: Row[Any], codes: Mapping[str, StatusCode]) -> OpenDemands:
    """Return what stands about a request, and store it where its state alone says it: that may change."""
    found = restore_demands(request)
    if found is not None:
        return found
    found = read_demands(conn, request, codes)
    # A fee that no table of status codes tells of has the state alone.
    if found.standing or (request.demands is not None and request.state != "FEE_DUE"):
        agency_requests.set_demands(conn, request.id, request.state, found.describe())
    return found


def _find_former_demand(request: Row[Any] | OpenRequest, told: Sequence[DemandNotice]) -> OpenDemands:
    """Return what the state of a request says, of the notices that were told since it was amended."""
    amended_after = find_amendment(request)
    known = [one for one in told if one.id > amended_after]
    asking = [one for one in known if one.event == _EVENTS.get(request.state)]
    if not asking:
        return OpenDemands({}, max((one.id for one in known), default=amended_after))
    last = max(asking, key=lambda one: one.rank)
    return OpenDemands({}, min(one.id for one in known) - 1).take_notice(last, [last])


def take_demand_notice(
    request: OpenRequest, stored: StoredNotice, codes: Mapping[str, StatusCode]
) -> OpenDemands | None:
    """Let a stored notice ask for something, or end it; return what stands then.

    None for a notice that does neither. It may change the state all the same: what the state alone says
    stands is stored before.
    """
    known = _list_demands(stored.known, codes)
    mine = next((one for one in known if one.id == stored.id), None)
    before = restore_demands(request)
    if before is None:
        before = _find_former_demand(request, [one for one in known if one is not mine])
        if mine is None and before.standing and request.state in TELLING_STATES:
            request.set_columns(demands=before.describe())
    if mine is None:
        return None
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
    wanted = find_demanded_state(demands, levies) if demands.standing or levies else None
    if wanted is None:
        return _ENDING.get(state)
    return None if wanted == state else f"{_EVENTS[wanted]}_stands"
