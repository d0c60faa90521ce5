"""Reads the steps of cases and requests that are not yet in the statistics, and stores how far they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.state_machines import CASE, REQUEST
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.statistics_tables import counted_outcomes, statistics_progress
from gateway.store.tables import agency_requests, cases, decisions, transitions

__all__ = [
    "CountedOutcome",
    "StatisticsProgress",
    "advance_progress",
    "choose_ceiling",
    "list_new_steps",
    "load_case_rows",
    "load_counted_outcomes",
    "load_current_decisions",
    "load_object_steps",
    "load_request_rows",
    "open_progress",
    "store_counted_outcomes",
]

_NAME: Final = "transitions"
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
    row = conn.execute(select(statistics_progress)).first()
    if row is None:
        return StatisticsProgress(0, 0, 0)
    return StatisticsProgress(row.transition, row.ceiling, row.horizon)


def choose_ceiling(conn: Connection, progress: StatisticsProgress) -> tuple[StatisticsProgress, bool]:
    """Return the progress with a ceiling, and whether every transition up to it is visible by now.

    On PostgreSQL a transition may become visible after one with a higher number. Three looks are
    taken: the first chooses the ceiling, the second notes the transactions that are open, and a
    ceiling holds as soon as all of these have ended.
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
    return int(conn.execute(select(func.max(transitions.c.id))).scalar() or 0)


def list_new_steps(conn: Connection, progress: StatisticsProgress, limit: int) -> Sequence[Row[Any]]:
    """Return the transitions after the last one that is counted, of every machine, in their order."""
    t = transitions.c
    within = select(*_STEP_COLUMNS).where(t.id > progress.transition, t.id <= progress.ceiling)
    return conn.execute(within.order_by(t.id).limit(limit)).all()


def load_object_steps(
    conn: Connection, machine: str, objects: Sequence[int]
) -> Mapping[int, Sequence[Row[Any]]]:
    """Return every transition of these objects, in their order."""
    t = transitions.c
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    if objects:
        of_them = select(*_STEP_COLUMNS).where(t.machine == machine, t.object_id.in_(objects))
        for row in conn.execute(of_them.order_by(t.id)):
            found[row.object_id].append(row)
    return found


def load_case_rows(conn: Connection, ids: Sequence[int]) -> Mapping[int, Row[Any]]:
    """Return what is counted of these cases, by their ids."""
    rows = conn.execute(select(*_CASE_COLUMNS).where(cases.c.id.in_(ids))) if ids else ()
    return {row.id: row for row in rows}


def load_request_rows(
    conn: Connection, ids: Sequence[int], of_cases: Sequence[int] = ()
) -> Mapping[int, Row[Any]]:
    """Return these requests, and those of these cases, each with the parties and the opening of its case."""
    r = agency_requests.c
    columns: tuple[Any, ...] = (r.id, r.case_id, r.agency, r.document, r.state)
    about: tuple[Any, ...] = (cases.c.declarant, cases.c.applicant, cases.c.opened_at)
    found = select(*columns, *about).join_from(agency_requests, cases, cases.c.id == r.case_id)
    rows: list[Row[Any]] = []
    if ids:
        rows += conn.execute(found.where(r.id.in_(ids))).all()
    if of_cases:
        rows += conn.execute(found.where(r.case_id.in_(of_cases))).all()
    return {row.id: row for row in rows}


def load_current_decisions(conn: Connection, requests: Sequence[int]) -> Mapping[int, frozenset[str]]:
    """Return the decisions in force on each of these requests."""
    d = decisions.c
    found: dict[int, set[str]] = defaultdict(set)
    if requests:
        current = select(d.request_id, d.decision).where(
            d.request_id.in_(requests), d.superseded_by.is_(None)
        )
        for row in conn.execute(current):
            found[row.request_id].add(row.decision)
    return {request: frozenset(said) for request, said in found.items()}


def load_counted_outcomes(
    conn: Connection, machine: str, objects: Sequence[int]
) -> Mapping[int, CountedOutcome]:
    """Return the outcomes of these objects as they are counted."""
    c = counted_outcomes.c
    if not objects:
        return {}
    rows = conn.execute(select(counted_outcomes).where(c.machine == machine, c.object_id.in_(objects)))
    return {row.object_id: CountedOutcome(*row) for row in rows}


def advance_progress(
    conn: Connection, before: StatisticsProgress, after: StatisticsProgress, until: datetime | None
) -> bool:
    """Store how far the counting is; return False when another process has counted meanwhile."""
    c = statistics_progress.c
    values: dict[str, Any] = {
        "transition": after.transition,
        "ceiling": after.ceiling,
        "horizon": after.horizon,
    }
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


def _build_upsert(build: Any) -> Any:
    new = build(counted_outcomes)
    kept = {name: getattr(new.excluded, name) for name in ("outcome", "first_right")}
    return new.on_conflict_do_update(index_elements=("machine", "object_id"), set_=kept)


_UPSERTS: Final = {"sqlite": _build_upsert(sqlite.insert), "postgresql": _build_upsert(postgresql.insert)}
_INSERT: Final = InsertIfAbsent(statistics_progress, ("name",), "name")
_MACHINES: Final = (CASE.name, REQUEST.name)


def store_counted_outcomes(conn: Connection, counted: Sequence[CountedOutcome]) -> None:
    """Store the outcomes as they are counted now; the day of the first outcome is kept."""
    rows = [
        {
            "machine": one.machine,
            "object_id": one.object_id,
            "day": one.day,
            "outcome": one.outcome,
            "seconds": one.seconds,
            "first_right": one.first_right,
        }
        for one in counted
        if one.machine in _MACHINES
    ]
    if rows:
        conn.execute(_UPSERTS[conn.dialect.name], rows)
