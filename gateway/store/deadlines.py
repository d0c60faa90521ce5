"""Stores what is due about the requests of cases, and finds what the clockwork has to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    Update,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from gateway.store import agency_requests as agency_request_times
from gateway.store.calendar_editions import count_editions
from gateway.store.deadline_tables import deadlines
from gateway.store.prepared_statements import PreparedStatement
from gateway.store.row_values import collect_values
from gateway.store.tables import agency_requests, cases

__all__ = [
    "NewDeadline",
    "change_deadline",
    "change_deadlines",
    "count_by_state",
    "find_by_id",
    "insert_deadlines",
    "list_by_case",
    "list_by_state",
    "list_due",
    "list_live",
    "list_of_fees",
    "settle_times",
    "wake_fee",
    "wake_unknown",
]

_D: Final = deadlines.c
_INSERT: Final = PreparedStatement(insert(deadlines))
_GET: Final = select(deadlines).where(_D.id == bindparam("wanted"))
_LIVE_NAMES: Final = (
    *("id", "case_id", "request_id", "kind", "cause", "state"),
    *("started_at", "days", "due_at", "held_at", "held"),
)
_LIVE: Final = (
    select(*[*[_D[name] for name in _LIVE_NAMES], count_editions().label("mark")])
    .where(_D.case_id == bindparam("wanted"), _D.ended_at.is_(None))
    .order_by(_D.id)
    .with_for_update(key_share=True)
)
_DUE: Final = (
    select(_D.id, _D.case_id)
    .where(_D.next_at < bindparam("now", type_=_D.next_at.type))
    .order_by(_D.next_at, _D.id)
    .limit(bindparam("most", type_=Integer()))
)
_UNKNOWN: Final = select(_D.id).where(_D.state == "UNKNOWN").order_by(_D.id).with_for_update(key_share=True)
#: PostgreSQL: deadlines with their last states, and requests with their due times, as arrays.
_SETTLE: Final = text(
    "WITH ended AS (UPDATE deadlines SET state = told.state, "
    "ended_at = CAST(:now AS timestamptz), next_at = NULL "
    "FROM unnest(CAST(:deadlines AS bigint[]), CAST(:states AS text[])) AS told (id, state) "
    "WHERE deadlines.id = told.id) "
    "UPDATE agency_requests SET due_at = owed.due_at "
    "FROM unnest(CAST(:requests AS bigint[]), CAST(:dues AS timestamptz[])) AS owed (id, due_at) "
    "WHERE agency_requests.id = owed.id"
)
_OF_CASE: Final = (
    select(deadlines, agency_requests.c.number.label("application"), agency_requests.c.agency)
    .join(agency_requests, agency_requests.c.id == _D.request_id)
    .where(_D.case_id == bindparam("wanted"))
    .order_by(_D.id)
)


@dataclass(frozen=True, slots=True)
class NewDeadline:
    """A deadline to be stored. Without `due_at` it is not known when it is due, and `problem` says why."""

    case_id: int
    request_id: int
    kind: str
    cause: str
    state: str
    started_at: datetime
    days: int | None = None
    due_at: datetime | None = None
    remind_at: datetime | None = None
    next_at: datetime | None = None
    held_at: datetime | None = None
    held: Mapping[str, Any] | None = None
    edition: str | None = None
    problem: str | None = None


def insert_deadlines(conn: Connection, new: Sequence[NewDeadline]) -> None:
    """Store deadlines; the case must be locked."""
    if new:
        _INSERT.execute_rows(conn, [collect_values(one) for one in new])


def settle_times(
    conn: Connection,
    ended: Mapping[str, Sequence[int]],
    due: Mapping[int, datetime | None],
    now: datetime,
) -> None:
    """End deadlines of a locked case, given by their last state, and set when its requests are due.

    PostgreSQL does both by one statement.
    """
    if conn.dialect.name == "sqlite" or not (ended and due):
        for state, wanted in ended.items():
            change_deadlines(conn, wanted, {"state": state, "ended_at": now, "next_at": None})
        agency_request_times.set_due_times(conn, due)
        return
    told = [(one, state) for state, wanted in ended.items() for one in wanted]
    values = {"deadlines": [one for one, _ in told], "states": [state for _, state in told], "now": now}
    conn.execute(_SETTLE, {**values, "requests": list(due), "dues": list(due.values())})


def change_deadline(conn: Connection, deadline: int, values: Mapping[str, Any]) -> None:
    """Set columns of a deadline; the case must be locked."""
    change_deadlines(conn, [deadline], values)


def change_deadlines(conn: Connection, wanted: Sequence[int], values: Mapping[str, Any]) -> None:
    """Set columns of deadlines of a locked case, the same of each."""
    if wanted:
        conn.execute(_build_change(tuple(values)), {"changed": list(wanted), **values})


@lru_cache(maxsize=32)
def _build_change(names: tuple[str, ...]) -> Update:
    changed = update(deadlines).where(_D.id.in_(bindparam("changed", expanding=True)))
    return changed.values({name: bindparam(name) for name in names})


def wake_fee(conn: Connection, request: int, causes: Sequence[str], at: datetime) -> None:
    """Let the clockwork look at once at the deadline of a fee that is due no more, and at what it held.

    `causes` are the names of the fee.
    """
    mine = (_D.request_id == request, _D.ended_at.is_(None))
    about = or_(and_(_D.kind == "pay", _D.cause.in_(causes)), _D.held_at.is_not(None))
    conn.execute(update(deadlines).where(*mine, about).values(next_at=at))


def find_by_id(conn: Connection, deadline: int) -> Row[Any] | None:
    """Return the deadline of this row id."""
    return conn.execute(_GET, {"wanted": deadline}).first()


def list_live(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Lock the deadlines of a locked case that have not ended, in the order of their ids, and return them.

    Each is without what the clockwork alone asks for, and has the `mark` of the calendars and terms, as
    `calendar_editions.read_mark` returns it.
    """
    return conn.execute(_LIVE, {"wanted": case_id}).all()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return all deadlines of a case in the order in which they began, each with application and agency."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()


def list_due(conn: Connection, now: datetime, limit: int) -> Sequence[Row[Any, Any]]:
    """Return id and case of the deadlines whose next time has passed, the oldest first."""
    return conn.execute(_DUE, {"now": now, "most": limit}).all()


def list_by_state(conn: Connection, state: str, after: int, limit: int) -> Sequence[Row[Any]]:
    """Return the deadlines in a state after a row id, each with case, application and agency."""
    source = deadlines.join(agency_requests, agency_requests.c.id == _D.request_id).join(
        cases, cases.c.id == _D.case_id
    )
    named = (cases.c.number.label("case_number"), agency_requests.c.number.label("application"))
    found = select(deadlines, *named, agency_requests.c.agency).select_from(source)
    return conn.execute(found.where(_D.state == state, _D.id > after).order_by(_D.id).limit(limit)).all()


def count_by_state(conn: Connection, states: Sequence[str], limit: int) -> dict[str, int]:
    """Return how many deadlines are in each state, counted up to a limit."""
    found = {}
    for state in states:
        rows = select(_D.id).where(_D.state == state).limit(limit).subquery()
        found[state] = int(conn.execute(select(func.count()).select_from(rows)).scalar_one())
    return found


def list_of_fees(conn: Connection, case_ids: Collection[int]) -> Sequence[Row[Any]]:
    """Return the deadlines of the fees of these cases, oldest first; the cause of each names its fee."""
    found = select(deadlines).where(_D.case_id.in_(case_ids), _D.kind == "pay")
    return conn.execute(found.order_by(_D.id)).all()


def wake_unknown(conn: Connection, now: datetime) -> int:
    """Let the clockwork look at every deadline whose time is not known; return how many there are.

    They are of many cases, which are not locked. They are locked in the order of their ids, as the
    deadlines of one case are, so that neither transaction waits for the other.
    """
    conn.execute(_UNKNOWN).all()
    changed = conn.execute(update(deadlines).where(_D.state == "UNKNOWN").values(next_at=now))
    return int(changed.rowcount)
