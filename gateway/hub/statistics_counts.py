"""What the steps of cases and requests add to the statistics of each day; reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Row

from gateway.cases import DecisionCode
from gateway.state_machines import CASE, REQUEST
from gateway.store import CountedOutcome, DailyCount, choose_band

__all__ = ["StatisticsCounts", "StepContext", "count_steps", "summarize_decisions"]

_ASKING: Final = frozenset({"ask", "inspect", "fee"})
_ASKED: Final = frozenset({"INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE"})
_NOTHING: Final = (0, 0)
#: Steps after which an outcome is counted, or counted anew.
_DECIDING: Final = {
    CASE.name: frozenset({"refuse", "none_concerned", "last_decision", "withdraw", "correct"}),
    REQUEST.name: frozenset({"decide", "correct", "cancel"}),
}


@dataclass(frozen=True, slots=True)
class StepContext:
    """What is known of the objects of some steps, by their ids.

    `histories` has every step of each object, by machine. `decided` are the decisions in force on
    each request, `asked` the cases of which an agency asked anything, and `counted` the outcomes as
    they are counted, by machine.
    """

    cases: Mapping[int, Row[Any]]
    requests: Mapping[int, Row[Any]]
    histories: Mapping[str, Mapping[int, Sequence[Row[Any]]]]
    decided: Mapping[int, frozenset[str]]
    asked: frozenset[int]
    counted: Mapping[str, Mapping[int, CountedOutcome]]


@dataclass(slots=True)
class StatisticsCounts:
    """Sums (number and seconds) to be added, and outcomes as they are counted from now on."""

    outcomes: dict[tuple[str, int], CountedOutcome] = field(default_factory=dict)
    #: By what is counted and the parties that it is counted for: many steps count the same for the same.
    _told: dict[tuple[DailyCount, frozenset[str]], tuple[int, int]] = field(default_factory=dict)

    def add_count(
        self, parties: frozenset[str], count: DailyCount, number: int = 1, seconds: int = 0
    ) -> None:
        """Add to the sums of all parties, and of each of these."""
        before = self._told.get((count, parties), _NOTHING)
        self._told[count, parties] = (before[0] + number, before[1] + seconds)

    def sum_counts(self) -> dict[DailyCount, tuple[int, int]]:
        """Return what is to be added, for each party and for all of them together (party '')."""
        sums: dict[DailyCount, tuple[int, int]] = {}
        for (count, parties), (number, seconds) in self._told.items():
            for party in {"", *parties}:
                about = DailyCount(count.measure, count.day, party, *count[3:])
                before = sums.get(about, _NOTHING)
                sums[about] = (before[0] + number, before[1] + seconds)
        return sums


def count_steps(steps: Iterable[Row[Any]], known: StepContext, zone: tzinfo) -> StatisticsCounts:
    """Return what these steps, in their order, add to the statistics; days are those of the zone."""
    counts = StatisticsCounts()
    for step in steps:
        objects = known.cases if step.machine == CASE.name else known.requests
        about = objects.get(step.object_id)
        if about is None or step.machine not in _DECIDING:
            continue
        _count_step(counts, step, about, (known, zone))
    return counts


def _count_step(
    counts: StatisticsCounts, step: Row[Any], about: Row[Any], given: tuple[StepContext, tzinfo]
) -> None:
    known, zone = given
    kind, day, parties = step.machine, _find_day(step.at, zone), _list_parties(about)
    earlier = [one for one in known.histories[kind].get(step.object_id, ()) if one.id < step.id]
    if not earlier:
        counts.add_count(
            parties, _make_count(f"{kind}_opened", kind, about, _find_day(about.opened_at, zone))
        )
    if step.from_state != step.to_state:
        changes = [one.at for one in earlier if one.from_state != one.to_state]
        seconds = _count_seconds(changes[-1] if changes else about.opened_at, step.at)
        band = choose_band(seconds)
        left = _make_count(f"{kind}_state", kind, about, day, state=step.from_state, band=band)
        counts.add_count(parties, left, seconds=seconds)
    if step.event in _ASKING and step.to_state in _ASKED:
        counts.add_count(parties, _make_count("request_asked", kind, about, day, state=step.to_state))
    if step.event == "refuse":
        for problem in sorted(_list_problems(about)):
            counts.add_count(parties, _make_count("case_problem", kind, about, day, problem=problem))
    if step.event in _DECIDING[kind]:
        _count_outcome(counts, step, about, given)


def _count_outcome(
    counts: StatisticsCounts, step: Row[Any], about: Row[Any], given: tuple[StepContext, tzinfo]
) -> None:
    """Count the outcome as it is now; one that is counted already is taken back first."""
    known, zone = given
    kind, key = step.machine, (step.machine, about.id)
    outcome = about.outcome if kind == CASE.name else summarize_decisions(about, known.decided)
    if not outcome:
        return
    before = counts.outcomes.get(key) or known.counted[kind].get(about.id)
    first_right = kind == CASE.name and outcome != "REFUSED" and about.id not in known.asked
    day, seconds = _find_day(step.at, zone), _count_seconds(about.opened_at, step.at)
    now = CountedOutcome(kind, about.id, day, outcome, seconds, first_right)
    if before is not None:
        now = replace(before, outcome=outcome, first_right=first_right)
        _add_outcome(counts, before, about, -1)
    _add_outcome(counts, now, about, 1)
    counts.outcomes[key] = now


def _add_outcome(counts: StatisticsCounts, one: CountedOutcome, about: Row[Any], number: int) -> None:
    kind, parties, band = one.machine, _list_parties(about), choose_band(one.seconds)
    told = _make_count(f"{kind}_outcome", kind, about, one.day, outcome=one.outcome, band=band)
    counts.add_count(parties, told, number, number * one.seconds)
    if one.first_right:
        counts.add_count(parties, _make_count("case_first_right", kind, about, one.day), number)


def summarize_decisions(request: Row[Any], decided: Mapping[int, frozenset[str]]) -> str:
    """Return the outcome of a request in one word; empty while nothing is decided."""
    if request.state == "CANCELLED":
        return "CANCELLED"
    said = decided.get(request.id, frozenset())
    if not said:
        return ""
    if DecisionCode.REJECTED.value not in said:
        return "APPROVED"
    return "REJECTED" if said == {DecisionCode.REJECTED.value} else "PARTIAL"


def _make_count(measure: str, kind: str, about: Row[Any], day: date, **further: Any) -> DailyCount:
    """Return what is counted of a case or of a request (`kind`), for all parties."""
    agency = about.agency if kind == REQUEST.name else ""
    return DailyCount(measure, day, agency=agency, document=about.document, **further)


def _list_parties(about: Row[Any]) -> frozenset[str]:
    return frozenset((about.declarant, about.applicant))


def _list_problems(case: Row[Any]) -> set[str]:
    return {one["id"] for one in (case.detail or {}).get("problems", ())}


def _find_day(moment: datetime, zone: tzinfo) -> date:
    return moment.astimezone(zone).date()


def _count_seconds(since: datetime, until: datetime) -> int:
    return max(int((until - since).total_seconds()), 0)
