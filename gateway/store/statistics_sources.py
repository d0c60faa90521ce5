"""Reads the steps of cases and requests that are not yet in the statistics, and stores how far they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Integer,
    Row,
    Select,
    Table,
    bindparam,
    func,
    literal,
    select,
    update,
)

from gateway.state_machines import CASE, REQUEST
from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.daily_statistics import statistics_progress
from gateway.store.decisions import decisions
from gateway.store.prepared_statements import InsertIfAbsent, insert_into
from gateway.store.table_types import CODE_TEXT, collect_values, make_required_column, metadata
from gateway.store.transitions import transitions

# The outcome as it was counted, so that a correction moves it from one sum to the other.
counted_outcomes = Table(
    "counted_outcomes",
    metadata,
    Column("machine", CODE_TEXT, primary_key=True),
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    make_required_column("day", Date),
    make_required_column("outcome"),
    make_required_column("seconds", BigInteger),
    make_required_column("first_right", Boolean),
)


_NAME: Final = "transitions"
#: Most transitions are those of deliveries and messages, which are not counted.
_MACHINES: Final = (CASE.name, REQUEST.name)
_STEP_COLUMNS: Final[tuple[Any, ...]] = tuple(
    transitions.c[name] for name in ("id", "machine", "object_id", "from_state", "event", "to_state", "at")
)
_OPEN_TRANSACTIONS: Final = (
    "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint "
    "FROM pg_current_snapshot() AS s"
)
_CASE_COLUMNS: Final[tuple[Any, ...]] = tuple(
    cases.c[name]
    for name in ("id", "declarant", "applicant", "document", "opened_at", "state", "outcome", "detail")
)


_KEYS: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_T: Final = transitions.c


def _build_request_query(of: ColumnElement[int]) -> Select[Any]:
    """Return the query of requests whose column `of` has one of the values `wanted`, each with its case."""
    r = agency_requests.c
    columns: tuple[Any, ...] = (r.id, r.case_id, r.agency, r.document, r.state)
    case_columns: tuple[Any, ...] = (cases.c.declarant, cases.c.applicant, cases.c.opened_at)
    query = select(*columns, *case_columns).join_from(agency_requests, cases, cases.c.id == r.case_id)
    return query.where(of.in_(_KEYS))


_PROGRESS: Final = select(statistics_progress)
_LAST: Final = select(func.max(_T.id))
_NEW_STEPS: Final = (
    select(*_STEP_COLUMNS)
    .where(_T.id > bindparam("after"), _T.id <= bindparam("until"), _T.machine.in_(_MACHINES))
    .order_by(_T.id)
    .limit(bindparam("most", type_=Integer()))
)
_OBJECT_STEPS: Final = (
    select(*_STEP_COLUMNS).where(_T.machine == bindparam("of"), _T.object_id.in_(_KEYS)).order_by(_T.id)
)
_CASES: Final = select(*_CASE_COLUMNS, literal("").label("agency")).where(cases.c.id.in_(_KEYS))
_REQUESTS: Final = _build_request_query(agency_requests.c.id)
_REQUESTS_OF_CASES: Final = _build_request_query(agency_requests.c.case_id)
_DECISIONS: Final = select(decisions.c.request_id, decisions.c.decision).where(
    decisions.c.request_id.in_(_KEYS), decisions.c.superseded_by.is_(None)
)
_OUTCOMES: Final = select(counted_outcomes).where(
    counted_outcomes.c.machine == bindparam("of"), counted_outcomes.c.object_id.in_(_KEYS)
)


@dataclass(frozen=True, slots=True)
class StatisticsProgress:
    """The last transition that is counted, and the last one that may be counted."""

    transition: int
    ceiling: int
    horizon: int


@dataclass(frozen=True, slots=True)
class CountedOutcome:
    """The outcome of a case or a request as it is counted."""

    machine: str
    object_id: int
    day: date
    outcome: str
    seconds: int
    first_right: bool


def open_progress(conn: Connection) -> StatisticsProgress:
    """Return how far the counting is; the first time it begins before the first transition."""
    row = conn.execute(_PROGRESS).first()
    if row is None:
        return StatisticsProgress(0, 0, 0)
    return StatisticsProgress(row.transition, row.ceiling, row.horizon)


def choose_ceiling(conn: Connection, progress: StatisticsProgress) -> tuple[StatisticsProgress, bool]:
    """Return the progress with a ceiling, and whether every transition up to it is visible by now.

    On PostgreSQL a transition may become visible after one with a higher number. So there are three
    calls: the first chooses the ceiling, the second stores the end of the open transactions as the
    horizon, and a later one returns True as soon as all of these have ended.
    """
    if conn.dialect.name == "sqlite":
        return StatisticsProgress(progress.transition, _find_last_transition(conn), 0), True
    if progress.transition >= progress.ceiling:
        ceiling = max(_find_last_transition(conn), progress.transition)
        return StatisticsProgress(progress.transition, ceiling, 0), False
    oldest, following = conn.exec_driver_sql(_OPEN_TRANSACTIONS).one()
    if progress.horizon == 0:
        return StatisticsProgress(progress.transition, progress.ceiling, int(following)), False
    return progress, int(oldest) >= progress.horizon


def _find_last_transition(conn: Connection) -> int:
    return int(conn.execute(_LAST).scalar() or 0)


class StatisticsStepRow(Protocol):
    """A transition of a case or a request."""

    id: int
    machine: str
    object_id: int
    from_state: str
    event: str
    to_state: str
    at: datetime


def list_new_steps(conn: Connection, progress: StatisticsProgress, limit: int) -> Sequence[StatisticsStepRow]:
    """Return the transitions of cases and requests after the last one that is counted, in their order."""
    parameters = {"after": progress.transition, "until": progress.ceiling, "most": limit}
    return conn.execute(_NEW_STEPS, parameters).all()


def load_object_steps(
    conn: Connection, machine: str, objects: Sequence[int]
) -> Mapping[int, Sequence[StatisticsStepRow]]:
    """Return every transition of these objects, in their order."""
    steps_by_object: dict[int, list[Row[Any]]] = defaultdict(list)
    if objects:
        for row in conn.execute(_OBJECT_STEPS, {"of": machine, "wanted": objects}):
            steps_by_object[row.object_id].append(row)
    return steps_by_object


class StatisticsSubjectRow(Protocol):
    """The columns of a case or a request that the statistics need; the `agency` of a case is empty."""

    id: int
    agency: str
    document: str
    state: str
    declarant: str
    applicant: str
    opened_at: datetime


class StatisticsCaseRow(StatisticsSubjectRow, Protocol):
    """The columns of a case that the statistics need."""

    outcome: str | None
    detail: Any


def load_case_rows(conn: Connection, ids: Sequence[int]) -> Mapping[int, StatisticsCaseRow]:
    """Return the rows for the statistics of these cases (row ids)."""
    rows = conn.execute(_CASES, {"wanted": ids}) if ids else ()
    return {row.id: row for row in rows}


class StatisticsRequestRow(StatisticsSubjectRow, Protocol):
    """The columns of a request and of its case that the statistics need."""

    case_id: int


def load_request_rows(
    conn: Connection, ids: Sequence[int], of_cases: Sequence[int] = ()
) -> Mapping[int, StatisticsRequestRow]:
    """Return these requests, and those of these cases, each with the parties and the opening of its case."""
    rows: list[Row[Any]] = []
    if ids:
        rows += conn.execute(_REQUESTS, {"wanted": ids}).all()
    if of_cases:
        rows += conn.execute(_REQUESTS_OF_CASES, {"wanted": of_cases}).all()
    return {row.id: row for row in rows}


def load_current_decisions(conn: Connection, requests: Sequence[int]) -> Mapping[int, frozenset[str]]:
    """Return the decisions in force on each of these requests."""
    decisions_by_request: dict[int, set[str]] = defaultdict(set)
    if requests:
        for row in conn.execute(_DECISIONS, {"wanted": requests}):
            decisions_by_request[row.request_id].add(row.decision)
    return {
        request: frozenset(request_decisions) for request, request_decisions in decisions_by_request.items()
    }


def load_counted_outcomes(
    conn: Connection, machine: str, objects: Sequence[int]
) -> Mapping[int, CountedOutcome]:
    """Return the outcomes of these objects as they are counted."""
    if not objects:
        return {}
    rows = conn.execute(_OUTCOMES, {"of": machine, "wanted": objects})
    return {row.object_id: CountedOutcome(*row) for row in rows}


def advance_progress(
    conn: Connection, before: StatisticsProgress, after: StatisticsProgress, until: datetime | None
) -> bool:
    """Store how far the counting is; return False when another process has counted meanwhile."""
    c = statistics_progress.c
    values = collect_values(after)
    if until is not None:
        values |= {"counted_until": until}
    changed = update(statistics_progress).where(
        c.transition == before.transition, c.ceiling == before.ceiling
    )
    if conn.execute(changed.values(values)).rowcount == 1:
        return True
    if before.transition or before.ceiling:
        return False
    first = {"name": _NAME, "counted_until": until} | values
    return _INSERT.insert_one(conn, first) is not None


@cache
def _build_upsert(dialect: str) -> Any:
    new = insert_into(counted_outcomes, dialect)
    replaced_columns = {name: getattr(new.excluded, name) for name in ("outcome", "first_right")}
    return new.on_conflict_do_update(index_elements=("machine", "object_id"), set_=replaced_columns)


_INSERT: Final = InsertIfAbsent(statistics_progress, ("name",), "name")


def store_counted_outcomes(conn: Connection, counted: Sequence[CountedOutcome]) -> None:
    """Store the outcomes as they are counted now; the day of the first outcome is kept."""
    rows = [collect_values(outcome) for outcome in counted if outcome.machine in _MACHINES]
    if rows:
        conn.execute(_build_upsert(conn.dialect.name), rows)
