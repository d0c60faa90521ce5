"""How a party has done: cases, outcomes, time in each state, first-time-right rate, most frequent errors.

Everything is read from the sums of days. A page says up to when they are complete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import abort, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.errors import PROBLEMS
from gateway.store import StatisticsFilter, daily_statistics, read_transaction
from gateway.web.console.charts import Chart, Series, draw_bars, draw_columns
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.following.case_words import (
    describe_case_state,
    describe_request_state,
    name_agency,
)
from gateway.web.console.page_guards import get_visitor
from gateway.web.console.page_translations import translate, translate_word
from gateway.web.console.statistics_days import read_days

__all__ = ["answer_statistics"]

_DAILY: Final = 62
_DAY: Final = 86400
_OUTCOMES: Final = ("APPROVED", "PARTIAL", "REJECTED", "REFUSED", "WITHDRAWN")
_MEASURES: Final = (
    "case_opened",
    "case_outcome",
    "case_first_right",
    "case_problem",
    "request_outcome",
    "request_asked",
    "request_state",
    "message_refused",
)
_MOST_PROBLEMS: Final = 10


@dataclass(frozen=True, slots=True)
class _Period:
    """The days of a page, and the party whose sums it shows."""

    party: str
    since: date
    until: date

    def make_filter(self, measure: str) -> StatisticsFilter:
        return StatisticsFilter(measure, self.since, self.until, party=self.party)


@dataclass(frozen=True, slots=True)
class _StateTime:
    """How long applications were in a state at an agency."""

    agency: str
    state: str
    number: int
    mean: float
    median: float | None
    slowest: float | None


def answer_statistics(services: ConsoleServices) -> str | Response:
    """Return the statistics of the party, as a page or as CSV."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    period = _read_period(services.clock().astimezone(zone).date())
    with read_transaction(services.engine) as conn:
        if request.args.get("format") == "csv":
            return _answer_csv(conn, period)
        return _render_page(conn, services, period)


def _read_period(today: date) -> _Period:
    """Return the days that the URL names; 400 for days in the wrong order."""
    days = read_days(today)
    if days is None:
        abort(400, "The first day is after the last one.")
    return _Period(get_visitor().organisation.code, *days)


def _render_page(conn: Connection, services: ConsoleServices, period: _Period) -> str:
    outcomes = _sum_by(conn, period, "case_outcome", "outcome")
    ended, right = sum(outcomes.values()), sum(_sum_by(conn, period, "case_first_right").values())
    columns = _make_outcome_chart(conn, period)
    problems = _make_problem_chart(conn, period)
    return render_template(
        "following/statistics.html",
        period=period,
        opened=sum(_sum_by(conn, period, "case_opened").values()),
        ended=ended,
        first_right=None if ended == 0 else 100 * right / ended,
        duration=_read_duration(conn, period),
        outcomes=[(describe_case_state("CLOSED", name), outcomes.get(name, 0)) for name in _OUTCOMES],
        columns=columns,
        columns_drawn=draw_columns(columns),
        problems=problems,
        problems_drawn=draw_bars(problems),
        known=PROBLEMS,
        states=_list_state_times(conn, services, period),
        complete=daily_statistics.read_progress(conn),
    )


def _sum_by(conn: Connection, period: _Period, measure: str, name: str = "measure") -> dict[str, int]:
    rows = daily_statistics.sum_statistics(conn, period.make_filter(measure), (name,))
    return {str(row[0]): int(row.number) for row in rows}


def _read_duration(conn: Connection, period: _Period) -> tuple[timedelta, timedelta] | None:
    """Return the median time from opening to outcome, and the time that one of ten cases exceeds."""
    rows = daily_statistics.sum_statistics(conn, period.make_filter("case_outcome"), ("band",))
    bands = {row.band: int(row.number) for row in rows}
    median, slow = (daily_statistics.estimate_quantile(bands, share) for share in (0.5, 0.9))
    if median is None or slow is None:
        return None
    return timedelta(seconds=round(median)), timedelta(seconds=round(slow))


def _make_outcome_chart(conn: Connection, period: _Period) -> Chart:
    """Return the outcomes of each day, or of each week when the days are many."""
    step = 1 if (period.until - period.since).days < _DAILY else 7
    starts = [
        period.since + timedelta(days=offset)
        for offset in range(0, (period.until - period.since).days + 1, step)
    ]
    found: dict[tuple[int, str], int] = defaultdict(int)
    for row in daily_statistics.sum_statistics(conn, period.make_filter("case_outcome"), ("day", "outcome")):
        found[(row.day - period.since).days // step, row.outcome] += int(row.number)
    series = tuple(
        Series(
            describe_case_state("CLOSED", outcome).words,
            tuple(found[place, outcome] for place in range(len(starts))),
        )
        for outcome in _OUTCOMES
        if any(found[place, outcome] for place in range(len(starts)))
    )
    title = translate("Outcomes of each day") if step == 1 else translate("Outcomes of each week")
    heading = translate("Day") if step == 1 else translate("Week from")
    labels = tuple(f"{start:%m-%d}" for start in starts)
    return Chart("outcomes", title, heading, labels, series, translate("cases"))


def _make_problem_chart(conn: Connection, period: _Period) -> Chart:
    """Return the problems for which submissions and messages were refused, the most frequent first."""
    found = _sum_by(conn, period, "case_problem", "problem")
    for problem, number in _sum_by(conn, period, "message_refused", "problem").items():
        # A refused submission is counted as a message as well.
        found[problem] = max(found.get(problem, 0), number)
    most = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:_MOST_PROBLEMS]
    labels = tuple(
        f"{name} {translate_word(PROBLEMS[name].title)}" if name in PROBLEMS else name for name, _ in most
    )
    values = tuple(number for _, number in most)
    title = translate("Most frequent errors")
    return Chart("errors", title, translate("Error"), labels, (Series(translate("Number of times"), values),))


def _list_state_times(conn: Connection, services: ConsoleServices, period: _Period) -> list[_StateTime]:
    """Return how long applications were in each state, by agency."""
    by = ("agency", "state", "band")
    bands: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    seconds: dict[tuple[str, str], int] = defaultdict(int)
    for row in daily_statistics.sum_statistics(conn, period.make_filter("request_state"), by):
        bands[row.agency, row.state][row.band] = int(row.number)
        seconds[row.agency, row.state] += int(row.seconds)
    return [_make_state_time(services, key, bands[key], seconds[key]) for key in bands]


def _make_state_time(
    services: ConsoleServices, key: tuple[str, str], bands: Mapping[int, int], seconds: int
) -> _StateTime:
    agency, state = key
    number = sum(bands.values())
    median, slow = (daily_statistics.estimate_quantile(bands, share) for share in (0.5, 0.9))
    return _StateTime(
        name_agency(services.hub.rules.bundle, agency),
        describe_request_state(state).words,
        number,
        seconds / number / _DAY if number else 0.0,
        None if median is None else median / _DAY,
        None if slow is None else slow / _DAY,
    )


def _answer_csv(conn: Connection, period: _Period) -> Response:
    """Return every sum of the period, as it is stored."""
    by = ("day", "agency", "document", "state", "outcome", "problem")
    columns = ("measure", *by, "number", "seconds")
    rows: list[Sequence[Any]] = [
        (measure, *(row[place] for place in range(len(by))), int(row.number), int(row.seconds))
        for measure in _MEASURES
        for row in daily_statistics.sum_statistics(conn, period.make_filter(measure), by)
    ]
    return answer_csv(f"statistics-{period.since}-{period.until}", columns, rows)
