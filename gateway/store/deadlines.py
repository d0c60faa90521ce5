"""Stores the deadlines of requests, and finds those that the clockwork must process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from gateway.store import agency_requests as agency_request_times
from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.dated_editions import count_calendar_editions
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.work_passes import DuePlace

_NOT_ENDED = "ended_at IS NULL"

_HAS_NEXT = "next_at IS NOT NULL"

# The deadlines of the agency and of the applicant of a request. A deadline ends once; a request has one of
# each kind that has not ended, and one for each fee that is open.
deadlines = Table(
    "deadlines",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("kind", CODE_TEXT),
    make_required_column("cause", NUMBER_TEXT),  # number of the notice that asks or of the fee; or empty
    make_required_column("state", CODE_TEXT),
    make_required_column("started_at", Instant),
    Column("days", Integer),
    Column("due_at", Instant),
    Column("remind_at", Instant),
    Column("next_at", Instant),  # when the clockwork has to check it; empty when it need not
    Column("held_at", Instant),
    Column("held", Json),  # the periods in which it did not run that its time does not have yet
    Column("reminded_at", Instant),
    Column("overdue_at", Instant),
    Column("ended_at", Instant),
    Column("edition", Text),
    Column("problem", Text),
    CheckConstraint("kind IN ('acknowledge', 'decide', 'answer', 'pay', 'inspect')", name="kind"),
    CheckConstraint(
        "state IN ('OPEN', 'HELD', 'UNKNOWN', 'OVERDUE', 'MET', 'LATE', 'CANCELLED')", name="state"
    ),
    CheckConstraint("(ended_at IS NOT NULL) = (state IN ('MET', 'LATE', 'CANCELLED'))", name="ended"),
    PartialIndex(
        "ix_deadlines_owed", "case_id", "request_id", "kind", "cause", where=_NOT_ENDED, unique=True
    ),
    PartialIndex("ix_deadlines_next", "next_at", "id", where=_HAS_NEXT),
    Index("ix_deadlines_case_id", "case_id", "id"),
    Index("ix_deadlines_state", "state", "id"),
)


class DeadlineRow(Protocol):
    """A row of the table `deadlines`."""

    id: int
    case_id: int
    request_id: int
    kind: str
    cause: str
    state: str
    started_at: datetime
    days: int | None
    due_at: datetime | None
    remind_at: datetime | None
    next_at: datetime | None
    held_at: datetime | None
    held: Any
    reminded_at: datetime | None
    overdue_at: datetime | None
    ended_at: datetime | None
    edition: str | None
    problem: str | None


_D: Final = deadlines.c
_INSERT: Final = insert(deadlines)
_GET: Final = select(deadlines).where(_D.id == bindparam("wanted"))
_LIVE_NAMES: Final = (
    *("id", "case_id", "request_id", "kind", "cause", "state"),
    *("started_at", "days", "due_at", "held_at", "held"),
)
_LIVE: Final = (
    select(*[*[_D[name] for name in _LIVE_NAMES], count_calendar_editions().label("mark")])
    .where(_D.case_id == bindparam("wanted"), _D.ended_at.is_(None))
    .order_by(_D.id)
    .with_for_update(key_share=True)
)
_DUE: Final = (
    select(_D.id, _D.case_id, _D.next_at)
    .where(_D.next_at < bindparam("now", type_=_D.next_at.type))
    .order_by(_D.next_at, _D.id)
    .limit(bindparam("most", type_=Integer()))
)
_DUE_AFTER: Final = _DUE.where(
    tuple_(_D.next_at, _D.id)
    > tuple_(bindparam("after_at", type_=_D.next_at.type), bindparam("after_id", type_=_D.id.type))
)
_UNKNOWN: Final = select(_D.id).where(_D.state == "UNKNOWN").order_by(_D.id).with_for_update(key_share=True)
#: Sets those columns that the parameters name.
_CHANGE: Final = update(deadlines).where(_D.id.in_(bindparam("changed", expanding=True)))
_OF_CASE: Final = (
    select(deadlines, agency_requests.c.number.label("application"), agency_requests.c.agency)
    .join(agency_requests, agency_requests.c.id == _D.request_id)
    .where(_D.case_id == bindparam("wanted"))
    .order_by(_D.id)
)


@dataclass(frozen=True, slots=True)
class NewDeadline:
    """A deadline to be stored; if `due_at` is None, `problem` says why its time is not known."""

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
        conn.execute(_INSERT, [collect_values(deadline) for deadline in new])


def end_deadlines_and_set_due_times(
    conn: Connection,
    ended_by_state: Mapping[str, Sequence[int]],
    due_by_request: Mapping[int, datetime | None],
    now: datetime,
) -> None:
    """End deadlines of a locked case, and set when its requests are due.

    `ended_by_state` has the row ids of the deadlines by their last state, `due_by_request` the times by the
    row ids of requests.
    """
    for state, deadlines_of_state in ended_by_state.items():
        change_deadlines(conn, deadlines_of_state, {"state": state, "ended_at": now, "next_at": None})
    agency_request_times.set_due_times(conn, due_by_request)


def change_deadline(conn: Connection, deadline: int, values: Mapping[str, Any]) -> None:
    """Set columns of a deadline; the case must be locked."""
    change_deadlines(conn, [deadline], values)


def change_deadlines(conn: Connection, deadline_ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Set the same columns of several deadlines of a locked case."""
    if deadline_ids:
        conn.execute(_CHANGE, {"changed": list(deadline_ids), **values})


def wake_fee(conn: Connection, request: int, fee_number: str, at: datetime) -> None:
    """Set the next check of the deadline of a fee that is no longer due, and of those it held, to `at`."""
    is_open = (_D.request_id == request, _D.ended_at.is_(None))
    is_affected = or_(and_(_D.kind == "pay", _D.cause == fee_number), _D.held_at.is_not(None))
    conn.execute(update(deadlines).where(*is_open, is_affected).values(next_at=at))


def find_by_id(conn: Connection, deadline: int) -> DeadlineRow | None:
    """Return the deadline of this row id."""
    return conn.execute(_GET, {"wanted": deadline}).first()


class LiveDeadlineRow(Protocol):
    """A deadline that has not ended, with the mark of calendars and terms."""

    id: int
    case_id: int
    request_id: int
    kind: str
    cause: str
    state: str
    started_at: datetime
    days: int | None
    due_at: datetime | None
    held_at: datetime | None
    held: Any
    mark: int


def list_live(conn: Connection, case_id: int) -> Sequence[LiveDeadlineRow]:
    """Lock and return the deadlines of a locked case that have not ended, ordered by id.

    They lack the columns that only the clockwork needs, and have the `mark` of calendars and terms that
    `dated_editions.read_calendar_edition_count` returns.
    """
    return conn.execute(_LIVE, {"wanted": case_id}).all()


class RunningDeadlineRow(Protocol):
    """A deadline that runs, or has passed without the act: its request, kind, cause and time."""

    request_id: int
    kind: str
    cause: str
    due_at: datetime | None


def list_running(conn: Connection, case_ids: Collection[int]) -> Sequence[RunningDeadlineRow]:
    """Return the deadlines of these cases that have neither ended nor are held."""
    columns = (_D.request_id, _D.kind, _D.cause, _D.due_at)
    is_running = (_D.ended_at.is_(None), _D.held_at.is_(None))
    return conn.execute(select(*columns).where(_D.case_id.in_(case_ids), *is_running)).all()


class DeadlineOfRequestRow(DeadlineRow, Protocol):
    """A deadline, with number and agency of its application."""

    application: str
    agency: str


def list_by_case(conn: Connection, case_id: int) -> Sequence[DeadlineOfRequestRow]:
    """Return all deadlines of a case in the order in which they began, each with application and agency."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()


def has_deadline_begun(conn: Connection, request: int, kind: str) -> bool:
    """Return whether a request has, or had, a deadline of a kind."""
    case_id = select(agency_requests.c.case_id).where(agency_requests.c.id == request).scalar_subquery()
    own_deadline = (_D.case_id == case_id, _D.request_id == request, _D.kind == kind)
    return conn.execute(select(_D.id).where(*own_deadline).limit(1)).first() is not None


class DueDeadlineRow(Protocol):
    """A deadline whose next time has passed: its row id, its case, and that time."""

    id: int
    case_id: int
    next_at: datetime | None


def list_due(
    conn: Connection, now: datetime, limit: int, after: DuePlace | None = None
) -> Sequence[DueDeadlineRow]:
    """Return id, case and next time of the deadlines whose next time has passed, the oldest first.

    With `after`, only those behind this place.
    """
    if after is None:
        return conn.execute(_DUE, {"now": now, "most": limit}).all()
    values = {"now": now, "most": limit, "after_at": after.at, "after_id": after.row_id}
    return conn.execute(_DUE_AFTER, values).all()


class DeadlineOfCaseRow(DeadlineOfRequestRow, Protocol):
    """A deadline, with the numbers of case and application."""

    case_number: str


def list_by_state(conn: Connection, state: str, after: int, limit: int) -> Sequence[DeadlineOfCaseRow]:
    """Return the deadlines in a state after a row id, each with case, application and agency."""
    source = deadlines.join(agency_requests, agency_requests.c.id == _D.request_id).join(
        cases, cases.c.id == _D.case_id
    )
    number_columns = (cases.c.number.label("case_number"), agency_requests.c.number.label("application"))
    query = select(deadlines, *number_columns, agency_requests.c.agency).select_from(source)
    return conn.execute(query.where(_D.state == state, _D.id > after).order_by(_D.id).limit(limit)).all()


def count_by_state(conn: Connection, states: Sequence[str], limit: int) -> dict[str, int]:
    """Return how many deadlines are in each state, counted up to a limit."""
    counts = {}
    for state in states:
        rows = select(_D.id).where(_D.state == state).limit(limit).subquery()
        counts[state] = int(conn.execute(select(func.count()).select_from(rows)).scalar_one())
    return counts


def list_of_fees(conn: Connection, case_ids: Collection[int]) -> Sequence[DeadlineRow]:
    """Return the deadlines of the fees of these cases, oldest first; the cause of each names its fee."""
    query = select(deadlines).where(_D.case_id.in_(case_ids), _D.kind == "pay")
    return conn.execute(query.order_by(_D.id)).all()


def wake_unknown(conn: Connection, now: datetime) -> int:
    """Let the clockwork check every deadline whose time is not known; return how many there are.

    They are of many cases, which are not locked. They are locked in the order of their ids, as the
    deadlines of one case are, so that neither transaction waits for the other.
    """
    conn.execute(_UNKNOWN).all()
    changed = conn.execute(update(deadlines).where(_D.state == "UNKNOWN").values(next_at=now))
    return int(changed.rowcount)
