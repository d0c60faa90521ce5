"""Keeps the statistics of each day up to date, as part of the regular upkeep of the hub.

The steps of cases and requests are counted in the order of their numbers, a few hundred at a time,
each once: the last one that is counted is stored in the transaction that adds its counts. A database
that has no statistics yet is counted from its first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row

from gateway.hub.statistics_counts import StepContext, count_steps
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    StatisticsProgress,
    daily_statistics,
    read_transaction,
    statistics_sources,
    write_transaction,
)

__all__ = ["StatisticsKeeper"]

_STEPS: Final = 500
_ASKED: Final = frozenset({"ask", "supplement"})
#: So many batches one upkeep counts when many steps wait: about a second.
_BATCHES: Final = 20
#: Steps that happen within so long are counted together: what a batch costs is paid once for them.
_EVERY: Final = timedelta(seconds=5)


class StatisticsKeeper:
    """Counts what is new; several processes may do so at the same time, and each step is counted once."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], zone: tzinfo) -> None:
        self._engine = engine
        self._clock = clock
        self.zone = zone
        self._counted_at: datetime | None = None

    def run_maintenance(self) -> None:
        """Count the steps that are new, unless all were counted within the last five seconds."""
        now = self._clock()
        if self._counted_at is None or abs(now - self._counted_at) >= _EVERY:
            self._counted_at = None
            self.count_new_steps()

    def count_new_steps(self) -> None:
        """Count the steps that are new; when there are many, the next call goes on."""
        for _ in range(_BATCHES):
            if not self._count_batch():
                return

    def _count_batch(self) -> bool:
        """Count some steps; return whether more are waiting."""
        now = self._clock()
        with read_transaction(self._engine) as conn:
            before = statistics_sources.open_progress(conn)
            ceiling, complete = statistics_sources.choose_ceiling(conn, before)
            steps = statistics_sources.list_new_steps(conn, ceiling, _STEPS) if complete else ()
            counts = count_steps(steps, _load_context(conn, steps), self.zone)
        after, until = _find_progress(ceiling, steps, now) if complete else (ceiling, None)
        if after.transition >= after.ceiling:
            self._counted_at = now
        if not steps and after == before and until is None:
            return False
        with write_transaction(self._engine, "statistics.count") as conn:
            if not statistics_sources.advance_progress(conn, before, after, until):
                return False
            daily_statistics.add_counts(conn, counts.sum_counts())
            statistics_sources.store_counted_outcomes(conn, tuple(counts.outcomes.values()))
        return after.transition < after.ceiling and complete


def _find_progress(
    ceiling: StatisticsProgress, steps: Sequence[Row[Any]], now: datetime
) -> tuple[StatisticsProgress, datetime | None]:
    """Return the progress after these steps, and the time up to which everything is then counted."""
    if len(steps) < _STEPS:
        return StatisticsProgress(ceiling.ceiling, ceiling.ceiling, 0), now
    return StatisticsProgress(steps[-1].id, ceiling.ceiling, ceiling.horizon), steps[-1].at


def _load_context(conn: Connection, steps: Sequence[Row[Any]]) -> StepContext:
    """Return what is known of the objects of these steps, with a few statements for all of them."""
    case_ids = sorted({step.object_id for step in steps if step.machine == CASE.name})
    request_ids = sorted({step.object_id for step in steps if step.machine == REQUEST.name})
    requests = statistics_sources.load_request_rows(conn, request_ids, case_ids)
    histories = {
        CASE.name: statistics_sources.load_object_steps(conn, CASE.name, case_ids),
        REQUEST.name: statistics_sources.load_object_steps(conn, REQUEST.name, sorted(requests)),
    }
    asked = {
        requests[request].case_id
        for request, history in histories[REQUEST.name].items()
        if any(step.event in _ASKED for step in history)
    }
    return StepContext(
        statistics_sources.load_case_rows(conn, case_ids),
        requests,
        histories,
        statistics_sources.load_current_decisions(conn, request_ids),
        frozenset(asked),
        {
            CASE.name: statistics_sources.load_counted_outcomes(conn, CASE.name, case_ids),
            REQUEST.name: statistics_sources.load_counted_outcomes(conn, REQUEST.name, request_ids),
        },
    )
