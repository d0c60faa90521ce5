"""Keeps the statistics of each day up to date, as part of the regular upkeep of the hub.

The steps of cases and requests are counted in the order of their numbers, a few hundred at a time,
each once: the last one that is counted is stored in the transaction that adds its counts. A database
that has no statistics yet is counted from its first step.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.cases import DecisionCode
from gateway.errors import raise_resource_problem
from gateway.state_machines import CASE, REQUEST
from gateway.store import (
    CountedOutcome,
    DailyCount,
    StatisticsCaseRow,
    StatisticsProgress,
    StatisticsRequestRow,
    StatisticsStepRow,
    StatisticsSubjectRow,
    daily_statistics,
    find_duration_band,
    read_transaction,
    statistics_sources,
    write_transaction,
)
from gateway.wire import find_day

_log = logging.getLogger(__name__)
_ASKING: Final = frozenset({"ask", "inspect", "fee"})
_APPLICANT_STATES: Final = frozenset({"INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE"})
_NOTHING: Final = (0, 0)
#: Steps after which an outcome is counted, or counted anew.
_DECIDING: Final = {
    CASE.name: frozenset({"refuse", "none_concerned", "last_decision", "withdraw", "correct"}),
    REQUEST.name: frozenset({"decide", "correct", "cancel"}),
}


@dataclass(frozen=True, slots=True)
class StepContext:
    """The stored facts about the objects of some steps, by their ids.

    `histories` has every step of each object, by machine. `decision_codes_by_request` are the decisions in
    force on each request, `asked_cases` the cases with a question of an agency, and `counted_outcomes` the
    outcomes as they are counted, by machine.
    """

    cases: Mapping[int, StatisticsCaseRow]
    requests: Mapping[int, StatisticsRequestRow]
    histories: Mapping[str, Mapping[int, Sequence[StatisticsStepRow]]]
    decision_codes_by_request: Mapping[int, frozenset[str]]
    asked_cases: frozenset[int]
    counted_outcomes: Mapping[str, Mapping[int, CountedOutcome]]


@dataclass(slots=True)
class StatisticsCounts:
    """Sums (number and seconds) to be added, and outcomes as they are counted from now on."""

    outcomes: dict[tuple[str, int], CountedOutcome] = field(default_factory=dict)
    #: The sums by daily count and parties: many steps add to the same count for the same parties.
    _sums: dict[tuple[DailyCount, frozenset[str]], tuple[int, int]] = field(default_factory=dict)

    def add_count(
        self, parties: frozenset[str], daily_count: DailyCount, number: int = 1, seconds: int = 0
    ) -> None:
        """Add `number` and `seconds` to the sums of `daily_count`, for all parties and each of `parties`."""
        before = self._sums.get((daily_count, parties), _NOTHING)
        self._sums[daily_count, parties] = (before[0] + number, before[1] + seconds)

    def sum_counts(self) -> dict[DailyCount, tuple[int, int]]:
        """Return the number and seconds to add to each daily count, for each party and for all (party '')."""
        sums: dict[DailyCount, tuple[int, int]] = {}
        for (count, parties), (number, seconds) in self._sums.items():
            for party in {"", *parties}:
                party_count = DailyCount(count.measure, count.day, party, *count[3:])
                before = sums.get(party_count, _NOTHING)
                sums[party_count] = (before[0] + number, before[1] + seconds)
        return sums


def count_steps(steps: Iterable[StatisticsStepRow], context: StepContext, zone: tzinfo) -> StatisticsCounts:
    """Return the counts that these steps, in their order, add to the statistics; days are of the zone."""
    counts = StatisticsCounts()
    for step in steps:
        subjects: Mapping[int, StatisticsSubjectRow] = (
            context.cases if step.machine == CASE.name else context.requests
        )
        subject = subjects.get(step.object_id)
        if subject is None or step.machine not in _DECIDING:
            continue
        try:
            _count_step(counts, step, subject, context, zone)
        except Exception as mistake:
            raise_resource_problem(mistake)
            _log.exception(
                "a step is counted without what cannot be read of its object",
                extra={"case_id": step.object_id}
                if step.machine == CASE.name
                else {"table": "agency_requests", "row": step.object_id},
            )
    return counts


def _count_step(
    counts: StatisticsCounts,
    step: StatisticsStepRow,
    subject: StatisticsSubjectRow,
    context: StepContext,
    zone: tzinfo,
) -> None:
    """Add one step of a case or a request to `counts`.

    Counted are: the opening with the first step, the seconds in the state that it ended, questions to the
    applicant, problems of a refused case, and the outcome.
    """
    machine, day, parties = step.machine, find_day(step.at, zone), _list_parties(subject)
    earlier = [
        earlier_step
        for earlier_step in context.histories[machine].get(step.object_id, ())
        if earlier_step.id < step.id
    ]
    if not earlier:
        counts.add_count(
            parties, _make_count(f"{machine}_opened", subject, find_day(subject.opened_at, zone))
        )
    if step.from_state != step.to_state:
        changes = [
            earlier_step.at for earlier_step in earlier if earlier_step.from_state != earlier_step.to_state
        ]
        seconds = _count_seconds(changes[-1] if changes else subject.opened_at, step.at)
        band = find_duration_band(seconds)
        state_count = _make_count(f"{machine}_state", subject, day, state=step.from_state, band=band)
        counts.add_count(parties, state_count, seconds=seconds)
    if step.event in _ASKING and step.to_state in _APPLICANT_STATES:
        counts.add_count(parties, _make_count("request_asked", subject, day, state=step.to_state))
    if step.event == "refuse":
        for problem in sorted(_list_problem_ids(context.cases[subject.id])):
            counts.add_count(parties, _make_count("case_problem", subject, day, problem=problem))
    if step.event in _DECIDING[machine]:
        _count_outcome(counts, step, subject, context, zone)


def _count_outcome(
    counts: StatisticsCounts,
    step: StatisticsStepRow,
    subject: StatisticsSubjectRow,
    context: StepContext,
    zone: tzinfo,
) -> None:
    """Count the outcome as it is now; one that is counted already is taken back first."""
    kind, key = step.machine, (step.machine, subject.id)
    if kind == CASE.name:
        outcome = context.cases[subject.id].outcome
    else:
        outcome = summarize_decisions(subject, context.decision_codes_by_request)
    if not outcome:
        return
    earlier_outcome = counts.outcomes.get(key) or context.counted_outcomes[kind].get(subject.id)
    is_first_right = kind == CASE.name and outcome != "REFUSED" and subject.id not in context.asked_cases
    day, seconds = find_day(step.at, zone), _count_seconds(subject.opened_at, step.at)
    new_outcome = CountedOutcome(kind, subject.id, day, outcome, seconds, is_first_right)
    if earlier_outcome is not None:
        new_outcome = replace(earlier_outcome, outcome=outcome, first_right=is_first_right)
        _add_outcome(counts, earlier_outcome, subject, -1)
    _add_outcome(counts, new_outcome, subject, 1)
    counts.outcomes[key] = new_outcome


def _add_outcome(
    counts: StatisticsCounts,
    outcome: CountedOutcome,
    subject: StatisticsSubjectRow,
    number: int,
) -> None:
    """Add an outcome and its duration `number` times to `counts`; -1 takes it back."""
    kind, parties, band = outcome.machine, _list_parties(subject), find_duration_band(outcome.seconds)
    count = _make_count(f"{kind}_outcome", subject, outcome.day, outcome=outcome.outcome, band=band)
    counts.add_count(parties, count, number, number * outcome.seconds)
    if outcome.first_right:
        counts.add_count(parties, _make_count("case_first_right", subject, outcome.day), number)


def summarize_decisions(
    request: StatisticsSubjectRow, decision_codes_by_request: Mapping[int, frozenset[str]]
) -> str:
    """Return the outcome of a request in one word; empty while nothing is decided."""
    if request.state == "CANCELLED":
        return "CANCELLED"
    decision_codes = decision_codes_by_request.get(request.id, frozenset())
    if not decision_codes:
        return ""
    if DecisionCode.REJECTED.value not in decision_codes:
        return "APPROVED"
    return "REJECTED" if decision_codes == {DecisionCode.REJECTED.value} else "PARTIAL"


def _make_count(measure: str, subject: StatisticsSubjectRow, day: date, **further: Any) -> DailyCount:
    """Return the daily count of a measure for a case or a request, for all parties."""
    return DailyCount(measure, day, agency=subject.agency, document=subject.document, **further)


def _list_parties(subject: StatisticsSubjectRow) -> frozenset[str]:
    return frozenset((subject.declarant, subject.applicant))


def _list_problem_ids(case: StatisticsCaseRow) -> set[str]:
    """Return the ids of the problems of a case; log a case that states some in another form."""
    detail = {} if case.detail is None else case.detail
    problems = detail.get("problems", []) if isinstance(detail, dict) else None
    entries = problems if isinstance(problems, list) else [None]
    problem_ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    sound_ids = [
        problem_id
        for problem_id in problem_ids
        if isinstance(problem_id, str) and _PROBLEM_ID.fullmatch(problem_id)
    ]
    if len(sound_ids) < len(problem_ids):
        text = "the case is counted without problems that it states in another form"
        _log.error(text, extra={"case_id": case.id})
    return set(sound_ids)


def _count_seconds(since: datetime, until: datetime) -> int:
    return max(int((until - since).total_seconds()), 0)


#: What may be the id of a problem: any catalogue has short ones.
_PROBLEM_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_STEPS: Final = 500
_QUESTION_EVENTS: Final = frozenset({"ask", "supplement"})
#: The largest number of batches that one upkeep counts; they take about a second.
_MAX_BATCHES: Final = 20
#: The time between two counts: all steps within it share the cost of a batch.
_EVERY: Final = timedelta(seconds=5)


class StatisticsKeeper:
    """Counts new steps; several processes may do so at the same time, and each step is counted once."""

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
        """Count the new steps; if there are many, a part of them, and the next call counts the next part."""
        for _ in range(_MAX_BATCHES):
            if not self._count_batch():
                return

    def _count_batch(self) -> bool:
        """Count some steps; return whether more are waiting."""
        now = self._clock()
        with read_transaction(self._engine) as conn:
            earlier_progress = statistics_sources.open_progress(conn)
            ceiling, is_ceiling_complete = statistics_sources.choose_ceiling(conn, earlier_progress)
            steps = statistics_sources.list_new_steps(conn, ceiling, _STEPS) if is_ceiling_complete else ()
            counts = count_steps(steps, _load_context(conn, steps), self.zone)
        new_progress, until = _find_progress(ceiling, steps, now) if is_ceiling_complete else (ceiling, None)
        if new_progress.transition >= new_progress.ceiling:
            self._counted_at = now
        if not steps and new_progress == earlier_progress and until is None:
            return False
        with write_transaction(self._engine, "statistics.count") as conn:
            if not statistics_sources.advance_progress(conn, earlier_progress, new_progress, until):
                return False
            daily_statistics.add_counts(conn, counts.sum_counts())
            statistics_sources.store_counted_outcomes(conn, tuple(counts.outcomes.values()))
        return new_progress.transition < new_progress.ceiling and is_ceiling_complete


def _find_progress(
    ceiling: StatisticsProgress, steps: Sequence[StatisticsStepRow], now: datetime
) -> tuple[StatisticsProgress, datetime | None]:
    """Return the progress after these steps, and the time up to which everything is then counted."""
    if len(steps) < _STEPS:
        return StatisticsProgress(ceiling.ceiling, ceiling.ceiling, 0), now
    return StatisticsProgress(steps[-1].id, ceiling.ceiling, ceiling.horizon), steps[-1].at


def _load_context(conn: Connection, steps: Sequence[StatisticsStepRow]) -> StepContext:
    """Return the stored facts about the objects of these steps; a few statements load all of them."""
    case_ids = sorted({step.object_id for step in steps if step.machine == CASE.name})
    request_ids = sorted({step.object_id for step in steps if step.machine == REQUEST.name})
    requests = statistics_sources.load_request_rows(conn, request_ids, case_ids)
    histories = {
        CASE.name: statistics_sources.load_object_steps(conn, CASE.name, case_ids),
        REQUEST.name: statistics_sources.load_object_steps(conn, REQUEST.name, sorted(requests)),
    }
    questioned_cases = {
        requests[request].case_id
        for request, history in histories[REQUEST.name].items()
        if any(step.event in _QUESTION_EVENTS for step in history)
    }
    return StepContext(
        statistics_sources.load_case_rows(conn, case_ids),
        requests,
        histories,
        statistics_sources.load_current_decisions(conn, request_ids),
        frozenset(questioned_cases),
        {
            CASE.name: statistics_sources.load_counted_outcomes(conn, CASE.name, case_ids),
            REQUEST.name: statistics_sources.load_counted_outcomes(conn, REQUEST.name, request_ids),
        },
    )
