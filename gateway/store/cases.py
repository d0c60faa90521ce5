"""Stores cases: opened once for a declarant's reference, and locked before every change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)

from gateway.errors import NO_OPEN_CASE, REFERENCE_REUSED, GatewayError
from gateway.state_machines import CASE, DELIVERY, get_next_state
from gateway.store import messages, transitions
from gateway.store.deliveries import deliveries
from gateway.store.prepared_statements import InsertIfAbsent, build_choice_condition, has_single_writer
from gateway.store.table_types import (
    CODE_TEXT,
    NAME_TEXT,
    NUMBER_TEXT,
    IndexedText,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_partial_index,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent

cases = Table(
    "cases",
    metadata,
    make_identity_column(),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("document"),
    make_required_column("function"),
    make_required_column("declarant", NAME_TEXT),
    Column("agent", Text),
    make_required_column("applicant", NAME_TEXT),
    make_required_column("functional_reference", NUMBER_TEXT),
    make_required_column("version", Integer),
    Column("ucr", NUMBER_TEXT),
    make_required_column("message", BigInteger, ForeignKey("messages.id")),
    make_required_column("state", CODE_TEXT),
    Column("outcome", Text),
    Column("detail", Json),
    make_required_column("opened_at", Instant),
    Column("due_at", Instant),
    Column("closed_at", Instant),
    Column("purged_at", Instant),  # when retention removed the octets of its messages and calls
    UniqueConstraint("number"),
    UniqueConstraint("declarant", "functional_reference", "version"),
    CheckConstraint("outcome IN ('APPROVED', 'PARTIAL', 'REJECTED', 'REFUSED', 'WITHDRAWN')", name="outcome"),
    make_state_constraint(CASE.states),
    Index("ix_cases_opened_at", "opened_at"),
    Index("ix_cases_state", "state", "id"),
    Index("ix_cases_functional_reference", "functional_reference"),
    PartialIndex("ix_cases_unpurged", "opened_at", "id", where="purged_at IS NULL"),
    # For the lists of parties: the cases of each state are read in their order.
    Index("ix_cases_declarant", "declarant", "state", "id"),
    Index("ix_cases_applicant", "applicant", "state", "id"),
    make_partial_index("ix_cases_ucr", "ucr"),
)


class CaseRow(Protocol):
    """A row of the table `cases`."""

    id: int
    number: str
    document: str
    function: str
    declarant: str
    agent: str | None
    applicant: str
    functional_reference: str
    version: int
    ucr: str | None
    message: int
    state: str
    outcome: str | None
    detail: Any
    opened_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    purged_at: datetime | None


# Two cases opened at the same time: the second one finds the first at its next try.
_TRIES = 5

_INSERT_CASE = InsertIfAbsent(cases, ("declarant", "functional_reference", "version"), "id")
_GET = select(cases).where(cases.c.id == bindparam("wanted"))
_LOCK = _GET.with_for_update(key_share=True)
_SET_DETAIL = update(cases).where(cases.c.id == bindparam("wanted")).values(detail=bindparam("new_detail"))
_HELD = (
    select(cases)
    .where(cases.c.declarant == bindparam("wanted"), cases.c.state == "HELD")
    .order_by(cases.c.id)
)


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
    state: str = CASE.initial_state


@dataclass(frozen=True, slots=True)
class OpenedCase:
    """The row id of a new case, and the values that were stored."""

    id: int
    values: Mapping[str, Any]


def open_case(conn: Connection, case: NewCase, at: datetime, *, is_linked: bool = False) -> OpenedCase:
    """Store a new case; for a state that is not the first, the caller records the event.

    Also sets the case of its message, unless `is_linked`: then the caller sets it. Raises GW406 while the
    declarant has a case under the reference; a REFUSED case frees the reference.
    """
    # Most references are new.
    first_case = _insert_version(conn, case, 1, at, is_linked=is_linked)
    if first_case is not None:
        return first_case
    for _ in range(_TRIES):
        versions = _list_versions(conn, case)
        open_version = next((row for row in versions if row.state != "REFUSED"), None)
        if open_version is not None:
            raise _make_reference_error(case, open_version.number)
        stored_case = _insert_version(conn, case, len(versions) + 1, at, is_linked=is_linked)
        if stored_case is not None:
            return stored_case
    raise _make_reference_error(case, "another one, opened at this moment")


def open_refused_case(conn: Connection, case: NewCase, at: datetime) -> OpenedCase:
    """Open a case that is refused at once; it may exist beside another case under the reference."""
    for _ in range(_TRIES):
        stored_case = _insert_version(conn, case, len(_list_versions(conn, case)) + 1, at)
        if stored_case is not None:
            return stored_case
    raise _make_reference_error(case, "others, opened at this moment")


def _list_versions(conn: Connection, case: NewCase) -> Sequence[Any]:
    """Return every case under the reference; versions count from 1 without a gap."""
    return conn.execute(
        select(cases.c.version, cases.c.state, cases.c.number).where(
            cases.c.declarant == case.declarant, cases.c.functional_reference == case.functional_reference
        )
    ).all()


def _insert_version(
    conn: Connection, case: NewCase, version: int, at: datetime, *, is_linked: bool = False
) -> OpenedCase | None:
    """Insert the case under a version that was free; return None when it has been taken since."""
    row = collect_values(case) | {"version": version, "opened_at": at}
    stored = _INSERT_CASE.insert_one(conn, row)
    if stored is None:
        return None
    if not is_linked:
        messages.set_message_case(conn, case.message, stored.id)
    return OpenedCase(int(stored.id), row)


def record_opening(conn: Connection, case_id: int, event: StateEvent) -> str:
    """Record the event by which a case came to the state in which it was opened; return that state."""
    after = get_next_state(CASE, CASE.initial_state, event.event)
    transitions.record_transitions(conn, CASE, [(case_id, CASE.initial_state, after)], event)
    return after


def _make_reference_error(case: NewCase, number: str) -> GatewayError:
    detail = f"reference {case.functional_reference[:40]} belongs to case {number}"
    return GatewayError(REFERENCE_REUSED, detail, "42A/D026")


def lock_case(conn: Connection, case_id: int) -> CaseRow:
    """Lock the case until the transaction ends and return its present row.

    Every transaction on a case does this first: if the last two decisions arrive together, the second one
    must see the first. SQLite has locked the file already.
    """
    row = conn.execute(_LOCK, {"wanted": case_id}).first()
    if row is None:
        raise GatewayError(NO_OPEN_CASE, f"there is no case {case_id}")
    return row


def lock_case_only(conn: Connection, case_id: int) -> None:
    """Lock the case as `lock_case` does, but return nothing; SQLite has locked the file already."""
    if not has_single_writer(conn):
        lock_case(conn, case_id)


def apply_event(
    conn: Connection, case_id: int, event: StateEvent, *, before: str | None = None, **values: Any
) -> str:
    """Apply an event to a case (values: outcome, detail, due_at, closed_at); return its new state.

    `before` is the state of the locked case: if the event does not change it, the row is not written.
    """
    if before is not None and not values and get_next_state(CASE, before, event.event) == before:
        transitions.record_transitions(conn, CASE, [(case_id, before, before)], event)
        return before
    return transitions.apply_event(conn, cases, CASE, case_id, event, before=before, **values)


def set_detail(conn: Connection, case_id: int, detail: Mapping[str, Any]) -> None:
    """Set the `detail` of a locked case: the JSON of all that has no column of its own."""
    conn.execute(_SET_DETAIL, {"wanted": case_id, "new_detail": dict(detail)})


def find_by_id(conn: Connection, case_id: int) -> CaseRow | None:
    """Return the case of this row id."""
    return conn.execute(_GET, {"wanted": case_id}).first()


def find_by_number(conn: Connection, number: str) -> CaseRow | None:
    """Return the case of this case number."""
    return conn.execute(select(cases).where(cases.c.number == number)).first()


def find_by_reference(conn: Connection, declarant: str, reference: str) -> CaseRow | None:
    """Return the declarant's case under the reference: the one not refused, else the last refused one."""
    query = select(cases).where(cases.c.declarant == declarant, cases.c.functional_reference == reference)
    refused_last = query.order_by(cases.c.state == "REFUSED", cases.c.version.desc())
    return conn.execute(refused_last.limit(1)).first()


def list_held(conn: Connection, declarant: str) -> Sequence[CaseRow]:
    """Return the held cases of a declarant, in the order of their rows."""
    return conn.execute(_HELD, {"wanted": declarant}).all()


def list_holds(conn: Connection, case_ids: Collection[int]) -> dict[int, Mapping[str, Any]]:
    """Return the hold of each held case, by row id: its end, and the findings that cause it."""
    if not case_ids:
        return {}
    rows = conn.execute(select(cases.c.id, cases.c.detail).where(cases.c.id.in_(sorted(case_ids)))).all()
    return {int(row.id): row.detail["held"] for row in rows if "held" in (row.detail or {})}


def list_active_by_reference(
    conn: Connection, reference: str, destination: str, limit: int
) -> Sequence[CaseRow]:
    """Return the cases of all declarants under a reference that are neither refused nor held.

    Withdrawn cases are included only if a destination was informed of them.
    """
    is_informed = exists().where(deliveries.c.case_id == cases.c.id, deliveries.c.destination == destination)
    query = select(cases).where(
        cases.c.functional_reference == reference,
        cases.c.state.not_in(("REFUSED", "HELD")),
        or_(cases.c.state != "WITHDRAWN", is_informed),
    )
    return conn.execute(query.order_by(cases.c.id).limit(limit)).all()


def list_cases(
    conn: Connection, *, limit: int = 50, before: int | None = None, **column_values: Any
) -> Sequence[CaseRow]:
    """Return cases, newest first, whose columns have these values, with an id below `before`."""
    query = select(cases).order_by(cases.c.id.desc()).limit(limit)
    for name, value in column_values.items():
        query = query.where(cases.c[name] == value)
    return conn.execute(query.where(cases.c.id < before) if before else query).all()


@dataclass(frozen=True, slots=True)
class TimedPosition:
    """A place in the order of time and row: rows follow by `at`, and by `id` where the times are equal."""

    at: datetime
    id: int


def list_opened_between(
    conn: Connection, since: datetime, until: datetime, after: TimedPosition, limit: int
) -> Sequence[CaseRow]:
    """Return cases opened in a period, oldest first, beyond the position `after`."""
    later = (cases.c.opened_at > after.at) | ((cases.c.opened_at == after.at) & (cases.c.id > after.id))
    query = select(cases).where(cases.c.opened_at >= since, cases.c.opened_at < until, later)
    return conn.execute(query.order_by(cases.c.opened_at, cases.c.id).limit(limit)).all()


def list_newest_between(
    conn: Connection, since: datetime, before: TimedPosition, limit: int
) -> Sequence[CaseRow]:
    """Return cases opened since a time, newest first, before the position `before`."""
    opened = cases.c.opened_at
    earlier = (opened < before.at) | ((opened == before.at) & (cases.c.id < before.id))
    query = select(cases).where(opened >= since, opened <= before.at, earlier)
    return conn.execute(query.order_by(cases.c.opened_at.desc(), cases.c.id.desc()).limit(limit)).all()


def count_opened_between(conn: Connection, since: datetime, until: datetime) -> int:
    """Return how many cases were opened in a period."""
    query = select(func.count()).where(cases.c.opened_at >= since, cases.c.opened_at < until)
    return int(conn.execute(query.select_from(cases)).scalar_one())


_DELIVERIES_OF_CASE = select(deliveries.c.id).where(deliveries.c.case_id == bindparam("wanted"))

_UNDONE = _DELIVERIES_OF_CASE.where(
    ~build_choice_condition(deliveries.c.state, {*DELIVERY.final_states, "FAILED"})
).exists()

# Used where no delivery is undone: each delivery that has not ended has failed. SQLite would prepare a
# statement anew for each value that it compares with the state, which an index names.
_FAILED = _DELIVERIES_OF_CASE.where(
    ~build_choice_condition(deliveries.c.state, DELIVERY.final_states)
).exists()

# A condition is evaluated only if those before it fail: most cases are not decided, or have open deliveries.
_REMAINDER = select(
    case((cases.c.state != "DECIDED", null()), (_UNDONE, null()), else_=_FAILED).label("failed")
).where(cases.c.id == bindparam("wanted"))


def find_whether_delivery_failed(conn: Connection, case_id: int) -> bool | None:
    """Return whether a delivery of a decided case has failed; None if undecided, or if one has not ended."""
    row = conn.execute(_REMAINDER, {"wanted": case_id}).first()
    return None if row is None or row.failed is None else bool(row.failed)


#: The references of the goods by which a case is found.
case_references = Table(
    "case_references",
    metadata,
    Column("value", IndexedText(2048), primary_key=True),
    Column("case_id", BigInteger, ForeignKey("cases.id"), primary_key=True),
    Column("kind", CODE_TEXT, primary_key=True),  # ucr, bill_of_lading, container or cargo
)


_INSERT_REFERENCE = InsertIfAbsent(case_references, ("value", "case_id", "kind"))


class _Reference(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def value(self) -> str: ...


def insert_case_references(conn: Connection, case_id: int, references: Iterable[_Reference]) -> None:
    """Store references of the goods of a case, beside those that it has; each is stored once."""
    rows = [{"case_id": case_id, "kind": each.kind, "value": each.value} for each in references]
    _INSERT_REFERENCE.insert_many(conn, rows)


def select_referenced_cases(value: Any) -> Select[tuple[int]]:
    """Return the statement of the ids of the cases whose goods have a reference: a text or a parameter."""
    return select(case_references.c.case_id).where(case_references.c.value == value)


def build_reference_condition(value: Any, *columns: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that one of these columns of a case is a value, or a reference of its goods.

    Each is looked up by its own index: a database may read the whole table for a condition with OR.
    """
    case_queries = [select(cases.c.id).where(column == value) for column in columns]
    return cases.c.id.in_(union_all(*case_queries, select_referenced_cases(value)))
