"""Health for probes: readiness, certificates that end, and sources that are fresh."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.errors import EVIDENCE_BROKEN, NO_ROOM, OUR_MISTAKE, GatewayError
from gateway.store import (
    WARNING,
    CertificateCoverage,
    CopiesMissingError,
    FetchedListSummaryRow,
    FetchSourceRow,
    InsufficientStorageError,
    UsagePeriod,
    check_schema_version,
    compute_coverage,
    confirm_copies,
    fetched_lists,
    find_database_hold,
    find_rights_problem,
    find_standby_problem,
    get_database_state,
    list_usage_periods,
    read_transaction,
    register_version,
    write_transaction,
)

#: A hub is ready when one of its commits of the last `_CONFIRMED_WITHIN` seconds is on all required copies.
_CONFIRMED_WITHIN: Final = 2.0


def find_readiness_problem(engine: Engine) -> GatewayError | None:
    """Return the problem for which no message can be accepted now; None if messages are accepted."""
    damage = get_database_state(engine).damage.find_problem()
    if damage is not None:
        return damage
    try:
        check_schema_version(engine)
        held = find_database_hold(engine)
        if held is not None:
            return held
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
            refusal = find_standby_problem(conn) or find_rights_problem(conn)
        return refusal or _find_storage_problem(engine) or _find_copy_problem(engine)
    except GatewayError as problem:
        return problem
    except Exception as mistake:
        return GatewayError(OUR_MISTAKE, type(mistake).__name__)


def find_write_problem(engine: Engine) -> GatewayError | None:
    """Commit a small change; return the problem that prevents it, None after the commit.

    Where copies of each commit are required, it writes nothing and returns None: the readiness check tests
    them. It waits while another connection locks the database.
    """
    if get_database_state(engine).copies is not None:
        return None
    try:
        with write_transaction(engine) as conn:
            register_version.probe_commit(conn)
    except GatewayError as problem:
        return problem
    except Exception as mistake:
        return GatewayError(OUR_MISTAKE, type(mistake).__name__)
    return None


def can_read_database(engine: Engine) -> bool:
    """Return whether a query is answered now."""
    try:
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
    except Exception:
        return False
    return True


def describe_unreadiness(engine: Engine, problem: GatewayError) -> str:
    """Return id and general text of a readiness problem, without its detail, which may name addresses."""
    reason = problem.problem.title
    if problem.public_text:
        reason = problem.public_text
    elif problem.problem is EVIDENCE_BROKEN:
        reason = "the file of the database is damaged"
    elif problem.problem is NO_ROOM:
        reason = "the database has no space for new messages, or accepts no writes"
        if not can_read_database(engine):
            reason = "the database cannot be reached"
    return f"{problem.problem.id} {reason}"


def _find_storage_problem(engine: Engine) -> GatewayError | None:
    """Return GW806 while disk space is short or the database refuses writes, else None.

    After a refused write, a small commit tests whether the database accepts writes again.
    """
    reserve = get_database_state(engine).reserve
    if reserve.is_lacking:
        with write_transaction(engine) as conn:
            register_version.probe_commit(conn)
    if reserve.is_lacking:
        return reserve.find_shortage() or InsufficientStorageError("the database has just refused a write")
    return reserve.find_shortage()


def _find_copy_problem(engine: Engine) -> GatewayError | None:
    """Return GW806 while commits are not on all required copies, else None; may commit to test it."""
    watch = get_database_state(engine).copies
    if watch is None:
        return None
    if watch.problem is not None or watch.measure_age() > _CONFIRMED_WITHIN:
        # One at a time: a commit that waits for a standby would hold the thread of each question.
        if not watch.readiness_lock.acquire(blocking=False):
            return CopiesMissingError("the database does not confirm its copies", "a commit is waiting")
        try:
            confirm_copies(engine)
        finally:
            watch.readiness_lock.release()
    return watch.problem


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExpiryWarning:
    """An owner whose last certificate ends soon or has ended (`is_expired`), with the text of the warning."""

    is_expired: bool
    owner: str
    text: str


def list_expiry_warnings(
    engine: Engine, at: datetime, own_periods: Sequence[UsagePeriod] = ()
) -> tuple[ExpiryWarning, ...]:
    """Return a warning for each owner whose last certificate ends within 30 days, the soonest first."""
    with read_transaction(engine) as conn:
        periods = list_usage_periods(conn)
    return make_expiry_warnings([*own_periods, *periods], at)


def make_expiry_warnings(periods: Sequence[UsagePeriod], at: datetime) -> tuple[ExpiryWarning, ...]:
    """Return a warning for each owner whose last period ends within 30 days, the soonest first."""
    return tuple(
        _make_expiry_warning(coverage, at)
        for coverage in compute_coverage(periods, at)
        if coverage.ends - at < WARNING
    )


def _make_expiry_warning(coverage: CertificateCoverage, at: datetime) -> ExpiryWarning:
    is_expired = coverage.ends <= at
    days = abs(coverage.days_left(at))
    when = f"{days:.0f} days ago" if is_expired else f"in {days:.0f} days"
    verb = "ended" if is_expired else "ends"
    sentence = (
        f"the last {coverage.use} certificate of {coverage.owner} {verb} {when}, "
        f"at {coverage.ends:%Y-%m-%dT%H:%M:%SZ}"
    )
    return ExpiryWarning(is_expired, coverage.owner, f"{sentence}: {coverage.subject[:120]}")


def log_expiry_warnings(engine: Engine, at: datetime, own_periods: Sequence[UsagePeriod] = ()) -> int:
    """Log each expiry warning; return the number of warnings."""
    warnings = list_expiry_warnings(engine, at, own_periods)
    for warning in warnings:
        _log.log(logging.ERROR if warning.is_expired else logging.WARNING, "%s", warning.text)
    return len(warnings)


@dataclass(frozen=True, slots=True)
class SourceFreshness:
    """One source: its data in force, until when they are valid, and the results of the last fetches.

    ``state``: "fresh"; "ending" when the first end among its data is near; "stale" when this end has passed;
    "never" when nothing was ever fetched; "left" when the settings no longer contain the source.
    """

    name: str
    kind: str
    state: str
    words: int
    number: str | None
    this_update: datetime | None
    next_update: datetime | None
    taken_at: datetime | None
    fetched_at: datetime | None
    failed_at: datetime | None
    failures: int
    problem: str | None
    detail: str | None

    def format_remark(self) -> str | None:
        """Return the text of a warning for the operator, None when there is none."""
        until = f"{self.next_update:%Y-%m-%dT%H:%M:%SZ}" if self.next_update else ""
        remark = {
            "never": f"no data have been fetched from {self.name} yet",
            "ending": f"the data fetched from {self.name} expire at {until}",
            "stale": f"the data fetched from {self.name} expired at {until}",
            "left": (
                f"the data fetched from {self.name} are in force, but it is not in the settings of this "
                "process"
            ),
        }.get(self.state)
        if not self.failures:
            return remark
        failing = (
            f"fetching {self.name} failed {self.failures} times, the last: {self.detail or self.problem}"
        )
        return f"{remark}; {failing}" if remark else failing


@dataclass(frozen=True, slots=True)
class SourceTerm:
    """The settings of a source: its kind, and how long before the end of its list the operator is warned.

    If ``warn_before`` is None, this time is a quarter of the validity period of the fetched list.
    """

    kind: str
    warn_before: timedelta | None


def list_source_freshness(
    conn: Connection, at: datetime, terms: Mapping[str, SourceTerm]
) -> tuple[SourceFreshness, ...]:
    """Return every source of the settings, and every other source that has data in force.

    `terms` are those of the sources of the settings, by their names.
    """
    rows = {row.name: row for row in fetched_lists.list_sources(conn)}
    ends = {row.source: row for row in fetched_lists.summarize_sources(conn)}
    names = [*terms, *(name for name in ends if name not in terms)]
    return tuple(
        _make_source_freshness(name, rows.get(name), ends.get(name), terms.get(name), at) for name in names
    )


def _make_source_freshness(
    name: str,
    source_row: FetchSourceRow | None,
    list_summary: FetchedListSummaryRow | None,
    source_term: SourceTerm | None,
    at: datetime,
) -> SourceFreshness:
    """Return the freshness of one fetch source, from its row, its list and its setting (None if missing)."""
    columns: dict[str, Any] = {
        key: getattr(list_summary, key, None) for key in ("number", "this_update", "next_update")
    }
    columns |= {
        key: getattr(source_row, key, None) for key in ("fetched_at", "failed_at", "problem", "detail")
    }
    return SourceFreshness(
        name=name,
        kind=source_term.kind if source_term else getattr(source_row, "kind", ""),
        state=_classify_freshness(source_row, list_summary, source_term, at),
        words=list_summary.words if list_summary else 0,
        taken_at=list_summary.taken_at if list_summary else None,
        failures=source_row.failures if source_row else 0,
        **columns,
    )


def _classify_freshness(
    source_row: FetchSourceRow | None,
    list_summary: FetchedListSummaryRow | None,
    source_term: SourceTerm | None,
    at: datetime,
) -> str:
    """Return the state of a source at a time, as `SourceFreshness` describes it.

    `source_row` has the results of its fetches, `list_summary` a summary of its lists in force,
    `source_term` its settings; each of them may be None.
    """
    if source_term is None:
        return "left"
    if list_summary is None:
        # A responder may have no certificates to be queried for, and trusted lists are stored elsewhere.
        return "fresh" if source_row is not None and source_row.fetched_at is not None else "never"
    if at > list_summary.next_update:
        return "stale"
    before = source_term.warn_before
    if before is None:
        before = (list_summary.next_update - list_summary.this_update) / 4
    return "ending" if at > list_summary.next_update - before else "fresh"
