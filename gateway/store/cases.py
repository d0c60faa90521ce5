"""Stores cases: opened once for a declarant's reference, and locked before every change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, or_, select, update

from gateway.errors import NO_OPEN_CASE, REFERENCE_REUSED, GatewayError
from gateway.state_machines import CASE, get_next_state
from gateway.store import messages, transitions
from gateway.store.joined_rows import JoinedRows
from gateway.store.open_requests import OPEN_FACTS, keep_open_request
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.single_writer import has_single_writer
from gateway.store.tables import agency_requests, cases, deliveries
from gateway.store.transaction_reads import find_kept_read, forget_reads, keep_read, read_once
from gateway.store.transitions import StateEvent

__all__ = [
    "NewCase",
    "apply_event",
    "count_opened_between",
    "find_by_id",
    "find_by_number",
    "find_by_reference",
    "hold_case",
    "list_cases",
    "list_held",
    "list_holds",
    "list_newest_between",
    "list_opened_between",
    "list_standing_by_reference",
    "lock_case",
    "lock_case_of_request",
    "open_case",
    "open_refused_case",
    "record_opening",
    "set_detail",
    "set_due_time",
]

# Two cases opened at the same time: the second one finds the first at its next try.
_TRIES = 5

_INSERT = InsertIfAbsent(cases, ("declarant", "functional_reference", "version"), "id")
_GET = select(cases).where(cases.c.id == bindparam("wanted"))
_LOCK = _GET.with_for_update(key_share=True)
_SET_DETAIL = update(cases).where(cases.c.id == bindparam("wanted")).values(detail=bindparam("told"))
_HELD = (
    select(cases)
    .where(cases.c.declarant == bindparam("wanted"), cases.c.state == "HELD")
    .order_by(cases.c.id)
)
_OF_REQUEST = select(agency_requests.c.case_id).where(agency_requests.c.id == bindparam("request"))
_LOCK_BY_REQUEST = (
    select(cases).where(cases.c.id == _OF_REQUEST.scalar_subquery()).with_for_update(key_share=True)
)
#: SQLite: the case of a request, and the request with what belongs to it.
_WITH_REQUEST = JoinedRows(
    (tuple(cases.c), tuple(agency_requests.c)),
    agency_requests.join(cases, cases.c.id == agency_requests.c.case_id),
    agency_requests.c.id == bindparam("request"),
    tuple(OPEN_FACTS.values()),
)
#: The names of the columns of a case, and what reads all of them.
_NAMES = tuple(column.name for column in cases.c)
_read_columns = attrgetter(*_NAMES)
#: Values of columns that are read as they were written.
_PLAIN = (str, datetime, type(None))


@dataclass(frozen=True, slots=True)
class NewCase:
    """A case to be opened; `message` is the row id of the message with its submission."""

    number: str
    document: str
    function: str
    declarant: str
    applicant: str
    functional_reference: str
    message: int
    agent: str | None = None
    ucr: str | None = None
    due_at: datetime | None = None
    detail: Mapping[str, Any] | None = None
    state: str = CASE.initial


def open_case(conn: Connection, case: NewCase, at: datetime, *, named: bool = False) -> int:
    """Open the case and return its id; in another than its first state the caller records how it came there.

    The message has its case then; with `named` the caller sees to that. Raises GW406 while the declarant
    has a case under the reference; a REFUSED case frees the reference.
    """
    # Most references are new.
    first = _insert_version(conn, case, 1, at, named=named)
    if first is not None:
        return first
    for _ in range(_TRIES):
        versions = _list_versions(conn, case)
        standing = next((row for row in versions if row.state != "REFUSED"), None)
        if standing is not None:
            raise _make_reference_error(case, standing.number)
        opened = _insert_version(conn, case, len(versions) + 1, at, named=named)
        if opened is not None:
            return opened
    raise _make_reference_error(case, "another one, opened at this moment")


def open_refused_case(conn: Connection, case: NewCase, at: datetime) -> int:
    """Open a case that is refused at once; it may exist beside another case under the reference."""
    for _ in range(_TRIES):
        opened = _insert_version(conn, case, len(_list_versions(conn, case)) + 1, at)
        if opened is not None:
            return opened
    raise _make_reference_error(case, "others, opened at this moment")


def _list_versions(conn: Connection, case: NewCase) -> Sequence[Any]:
    """Return every case under the reference; versions count from 1 without a gap."""
    return conn.execute(
        select(cases.c.version, cases.c.state, cases.c.number).where(
            cases.c.declarant == case.declarant, cases.c.functional_reference == case.functional_reference
        )
    ).all()


def _insert_version(
    conn: Connection, case: NewCase, version: int, at: datetime, *, named: bool = False
) -> int | None:
    """Insert the case under a version that was free; return None when it has been taken since."""
    row = {
        "number": case.number,
        "document": case.document,
        "function": case.function,
        "declarant": case.declarant,
        "agent": case.agent,
        "applicant": case.applicant,
        "functional_reference": case.functional_reference,
        "version": version,
        "ucr": case.ucr,
        "message": case.message,
        "state": case.state,
        "detail": case.detail,
        "opened_at": at,
        "due_at": case.due_at,
    }
    stored = _INSERT.insert_one(conn, row)
    if stored is None:
        return None
    if not named:
        messages.set_message_case(conn, case.message, stored.id)
    return int(stored.id)


def record_opening(conn: Connection, case_id: int, what: StateEvent) -> str:
    """Record the event by which a case came to the state in which it was opened; return that state."""
    after = get_next_state(CASE, CASE.initial, what.event)
    transitions.record_transitions(conn, CASE, [(case_id, CASE.initial, after)], what)
    return after


def _make_reference_error(case: NewCase, number: str) -> GatewayError:
    detail = f"reference {case.functional_reference[:40]} belongs to case {number}"
    return GatewayError(REFERENCE_REUSED, detail, "42A/D026")


def lock_case(conn: Connection, case_id: int) -> Row[Any]:
    """Lock the case until the transaction ends and return it as it is now.

    Every transaction on a case does this first: of two last decisions that arrive together, the
    second must see the first. SQLite has locked the file already. A transaction that has locked the
    case, and has written nothing of it since but its state, has it in hand.
    """
    row = read_once(conn, (cases.name,), _name_locked(case_id), lambda: _lock_case(conn, case_id))
    if row is None:
        raise GatewayError(NO_OPEN_CASE, f"there is no case {case_id}")
    return row


def _lock_case(conn: Connection, case_id: int) -> Row[Any] | None:
    row = conn.execute(_LOCK, {"wanted": case_id}).first()
    forget_reads(conn)
    return row


def lock_case_of_request(conn: Connection, request: int) -> Row[Any] | None:
    """Lock the case of a request (row id) until the transaction ends; None where there is no such request.

    SQLite, which has locked everything already, reads the request too: `open_request` has it then.
    """
    if has_single_writer(conn):
        row: Row[Any] | None = _read_with_request(conn, request)
    else:
        row = conn.execute(_LOCK_BY_REQUEST, {"request": request}).first()
        forget_reads(conn)
    if row is not None:
        keep_read(conn, (cases.name,), _name_locked(row.id), row)
    return row


def _read_with_request(conn: Connection, request: int) -> Any:
    found = _WITH_REQUEST.fetch_first(conn, {"request": request})
    if found is None:
        return None
    case, row, *told = found
    keep_open_request(conn, {**vars(row), **dict(zip(OPEN_FACTS, told, strict=True))})
    return case


def hold_case(conn: Connection, case_id: int) -> None:
    """Lock the case as `lock_case` does, where its row is not asked for: SQLite has locked it already."""
    if not has_single_writer(conn):
        lock_case(conn, case_id)


def _name_locked(case_id: int) -> tuple[str, int]:
    return "locked case", case_id


def apply_event(
    conn: Connection, case_id: int, what: StateEvent, *, before: str | None = None, **values: Any
) -> str:
    """Apply an event to a case (values: outcome, detail, due_at, closed_at); return its new state.

    `before` is the state of the case, which is locked: an event that leaves it so writes no row of it.
    """
    if before is not None and not values and get_next_state(CASE, before, what.event) == before:
        transitions.record_transitions(conn, CASE, [(case_id, before, before)], what)
        return before
    known = find_kept_read(conn, _name_locked(case_id))
    after = transitions.apply_event(conn, cases, CASE, case_id, what, before=before, **values)
    if known is not None and all(isinstance(value, _PLAIN) for value in values.values()):
        # The case is locked: it is as it was read, with what has just been written.
        row = SimpleNamespace(**dict(zip(_NAMES, _read_columns(known), strict=True)))
        row.__dict__.update(values, state=after)
        keep_read(conn, (cases.name,), _name_locked(case_id), row)
    return after


def set_due_time(conn: Connection, case_id: int, due_at: datetime | None) -> None:
    """Set when the case should be decided."""
    conn.execute(update(cases).where(cases.c.id == case_id).values(due_at=due_at))


def set_detail(conn: Connection, case_id: int, detail: Mapping[str, Any]) -> None:
    """Set what is known of a locked case beside its columns."""
    conn.execute(_SET_DETAIL, {"wanted": case_id, "told": dict(detail)})


def find_by_id(conn: Connection, case_id: int) -> Row[Any] | None:
    """Return the case of this row id."""
    return conn.execute(_GET, {"wanted": case_id}).first()


def find_by_number(conn: Connection, number: str) -> Row[Any] | None:
    """Return the case of this case number."""
    return conn.execute(select(cases).where(cases.c.number == number)).first()


def find_by_reference(conn: Connection, declarant: str, reference: str) -> Row[Any] | None:
    """Return the declarant's case under the reference: the one not refused, else the last refused one."""
    found = select(cases).where(cases.c.declarant == declarant, cases.c.functional_reference == reference)
    standing_first = found.order_by(cases.c.state == "REFUSED", cases.c.version.desc())
    return conn.execute(standing_first.limit(1)).first()


def list_held(conn: Connection, declarant: str) -> Sequence[Row[Any]]:
    """Return the held cases of a declarant, in the order of their rows."""
    return conn.execute(_HELD, {"wanted": declarant}).all()


def list_holds(conn: Connection, wanted: Collection[int]) -> dict[int, Mapping[str, Any]]:
    """Return what is stored of holds, by the row ids of the held cases: until when, and what is missing."""
    if not wanted:
        return {}
    rows = conn.execute(select(cases.c.id, cases.c.detail).where(cases.c.id.in_(sorted(wanted)))).all()
    return {int(row.id): row.detail["held"] for row in rows if "held" in (row.detail or {})}


def list_standing_by_reference(
    conn: Connection, reference: str, destination: str, most: int
) -> Sequence[Row[Any]]:
    """Return the cases of all declarants under a reference that are neither refused nor held.

    Of those that were withdrawn only the ones of which a destination was told.
    """
    told = exists().where(deliveries.c.case_id == cases.c.id, deliveries.c.destination == destination)
    found = select(cases).where(
        cases.c.functional_reference == reference,
        cases.c.state.not_in(("REFUSED", "HELD")),
        or_(cases.c.state != "WITHDRAWN", told),
    )
    return conn.execute(found.order_by(cases.c.id).limit(most)).all()


def list_cases(
    conn: Connection, *, limit: int = 50, before: int | None = None, **equal: Any
) -> Sequence[Row[Any]]:
    """Return cases, newest first, whose columns have these values, with an id below `before`."""
    found = select(cases).order_by(cases.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(cases.c[name] == value)
    return conn.execute(found.where(cases.c.id < before) if before else found).all()


def list_opened_between(
    conn: Connection, since: datetime, until: datetime, after: tuple[datetime, int], limit: int
) -> Sequence[Row[Any]]:
    """Return cases opened in a period, oldest first, beyond the position `after` (time and id)."""
    moment, number = after
    later = (cases.c.opened_at > moment) | ((cases.c.opened_at == moment) & (cases.c.id > number))
    found = select(cases).where(cases.c.opened_at >= since, cases.c.opened_at < until, later)
    return conn.execute(found.order_by(cases.c.opened_at, cases.c.id).limit(limit)).all()


def list_newest_between(
    conn: Connection, since: datetime, before: tuple[datetime, int], limit: int
) -> Sequence[Row[Any]]:
    """Return cases opened since a time, newest first, before the position `before` (time and id)."""
    moment, number = before
    earlier = (cases.c.opened_at < moment) | ((cases.c.opened_at == moment) & (cases.c.id < number))
    found = select(cases).where(cases.c.opened_at >= since, cases.c.opened_at <= moment, earlier)
    return conn.execute(found.order_by(cases.c.opened_at.desc(), cases.c.id.desc()).limit(limit)).all()


def count_opened_between(conn: Connection, since: datetime, until: datetime) -> int:
    """Return how many cases were opened in a period."""
    found = select(func.count()).where(cases.c.opened_at >= since, cases.c.opened_at < until)
    return int(conn.execute(found.select_from(cases)).scalar_one())
