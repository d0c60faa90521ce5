"""Statistics of a party or an agency: cases and applications, outcomes, durations, errors and reasons.

Counts and durations are read from daily sums, the reasons of an agency from its latest decisions.
A page shows the time up to which the sums are complete.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, render_template
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import OrganisationKind, Right
from gateway.errors import PROBLEMS
from gateway.harmonize import DocumentMapping
from gateway.store import (
    StatisticsFilter,
    StatisticsSumRow,
    WorkTab,
    daily_statistics,
    decisions,
    read_transaction,
    work_lists,
)
from gateway.web.console.charts import Chart, Series, draw_bars, draw_columns
from gateway.web.console.following.case_signatures import (
    describe_case_state,
    describe_request_state,
)
from gateway.web.console.page_formats import (
    answer_csv,
    is_csv_wanted,
    name_agency,
    read_day_range,
    translate,
    translate_word,
)
from gateway.web.console.page_guards import require_right, services, visitor
from gateway.wire import begin_day, end_day, find_day

pages: Final = Blueprint("statistics", __name__, url_prefix="/console")

#: The largest number of days that are shown one by one; more days are shown by week or by month.
_DAILY: Final = 62
_DAY: Final = 86400
_OUTCOMES: Final = ("APPROVED", "PARTIAL", "REJECTED", "REFUSED", "WITHDRAWN")
_PARTY_MEASURES: Final = (
    "case_opened",
    "case_outcome",
    "case_first_right",
    "case_problem",
    "request_outcome",
    "request_asked",
    "request_state",
    "message_refused",
)
_PARTY_DIMENSIONS: Final = ("day", "agency", "document", "state", "outcome", "problem")
_AGENCY_MEASURES: Final = ("request_opened", "request_outcome", "request_asked")
_AGENCY_DIMENSIONS: Final = ("day", "document", "outcome")
_MOST_PROBLEMS: Final = 10
_MOST_REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class _Period:
    """The days of a page, in their zone, and the party or the agency whose sums it shows."""

    since: date
    until: date
    zone: ZoneInfo
    party: str = ""
    agency: str | None = None

    @property
    def days(self) -> list[date]:
        """Return the days, the first one first."""
        return [self.since + timedelta(days=index) for index in range((self.until - self.since).days + 1)]

    def find_bounds(self) -> tuple[datetime, datetime]:
        """Return the first moment of the days, and the first one after them."""
        return begin_day(self.since, self.zone), end_day(self.until, self.zone)

    def list_sums(self, conn: Connection, measure: str, by: Sequence[str]) -> Sequence[StatisticsSumRow]:
        """Return the sums of a measure for each value of the dimensions `by`."""
        criteria = StatisticsFilter(measure, self.since, self.until, self.party, self.agency)
        return daily_statistics.sum_statistics(conn, criteria, by)

    def sum_by(self, conn: Connection, measure: str, dimension: str) -> Counter[str]:
        """Return the sums of a measure by a dimension."""
        sums = self.list_sums(conn, measure, (dimension,))
        # bounded: rows of our own
        return Counter({str(getattr(row, dimension)): int(row.number) for row in sums})

    def sum_measure(self, conn: Connection, measure: str) -> int:
        """Return the sum of a measure."""
        return sum(int(row.number) for row in self.list_sums(conn, measure, ()))  # bounded: rows of our own


def _read_period(*, is_agency: bool = False) -> _Period:
    """Return the days that the URL names, of the visitor's organisation; 400 for days in the wrong order."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    days = read_day_range(find_day(services.clock(), zone))
    if days is None:
        abort(HTTPStatus.BAD_REQUEST, "The first day is after the last one.")
    code = visitor.organisation.code
    return _Period(*days, zone, agency=code) if is_agency else _Period(*days, zone, party=code)


def _answer_csv(
    conn: Connection, file_name: str, period: _Period, measures: Sequence[str], dimensions: Sequence[str]
) -> Response:
    """Return every sum of the measures in the period, as it is stored."""
    rows = [
        # bounded: rows of our own
        (measure, *(getattr(row, name) for name in dimensions), int(row.number), int(row.seconds))
        for measure in measures
        for row in period.list_sums(conn, measure, dimensions)
    ]
    return answer_csv(file_name, ("measure", *dimensions, "number", "seconds"), rows)


def _estimate_days(bands: Mapping[int, int], share: float) -> float | None:
    """Return the days that the `share` of the durations does not exceed; None without durations."""
    seconds = daily_statistics.estimate_quantile(bands, share)
    return None if seconds is None else seconds / _DAY


@pages.get("/cases/statistics")
@require_right(Right.READ_CASES)
def show_party_statistics() -> str | Response:
    """Show the statistics of the party, as a page or as CSV."""
    if not visitor.may(Right.READ_STATISTICS):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
    period = _read_period()
    with read_transaction(services.engine) as conn:
        if is_csv_wanted():
            name = f"statistics-{period.since}-{period.until}"
            return _answer_csv(conn, name, period, _PARTY_MEASURES, _PARTY_DIMENSIONS)
        return _render_party_page(conn, period)


def _render_party_page(conn: Connection, period: _Period) -> str:
    """Return the page with the statistics of the party's cases in the period."""
    outcomes = period.sum_by(conn, "case_outcome", "outcome")
    ended, right = outcomes.total(), period.sum_measure(conn, "case_first_right")
    columns = _make_outcome_chart(conn, period)
    problems = _make_problem_chart(conn, period)
    return render_template(
        "following/statistics.html",
        period=period,
        opened=period.sum_measure(conn, "case_opened"),
        ended=ended,
        first_right=None if ended == 0 else 100 * right / ended,
        duration=_read_duration(conn, period),
        outcomes=[(describe_case_state("CLOSED", name), outcomes[name]) for name in _OUTCOMES],
        columns=columns,
        columns_drawn=draw_columns(columns),
        problems=problems,
        problems_drawn=draw_bars(problems),
        states=_list_state_times(conn, period),
        complete=daily_statistics.read_counted_until(conn),
    )


def _read_duration(conn: Connection, period: _Period) -> tuple[timedelta, timedelta] | None:
    """Return the median time from opening to outcome, and the time that one of ten cases exceeds."""
    rows = period.list_sums(conn, "case_outcome", ("band",))
    bands = {row.band: int(row.number) for row in rows}  # bounded: rows of our own
    median, slow = (daily_statistics.estimate_quantile(bands, share) for share in (0.5, 0.9))
    if median is None or slow is None:
        return None
    return timedelta(seconds=round(median)), timedelta(seconds=round(slow))


def _make_outcome_chart(conn: Connection, period: _Period) -> Chart:
    """Return the outcomes of each day, or of each week when the days are many."""
    days_per_column = 1 if len(period.days) <= _DAILY else 7
    starts = period.days[::days_per_column]
    counts: Counter[tuple[int, str]] = Counter()
    for row in period.list_sums(conn, "case_outcome", ("day", "outcome")):
        # bounded: rows of our own
        counts[(row.day - period.since).days // days_per_column, row.outcome] += int(row.number)
    series = tuple(
        Series(
            describe_case_state("CLOSED", outcome).label,
            tuple(counts[index, outcome] for index in range(len(starts))),
        )
        for outcome in _OUTCOMES
        if any(counts[index, outcome] for index in range(len(starts)))
    )
    title = translate("Outcomes of each day") if days_per_column == 1 else translate("Outcomes of each week")
    heading = translate("Day") if days_per_column == 1 else translate("Week from")
    labels = tuple(f"{start:%m-%d}" for start in starts)
    return Chart("outcomes", title, heading, labels, series, translate("cases"))


def _make_problem_chart(conn: Connection, period: _Period) -> Chart:
    """Return the problems for which submissions and messages were refused, the most frequent first."""
    # A refused submission is counted as a message as well.
    counts = period.sum_by(conn, "case_problem", "problem") | period.sum_by(
        conn, "message_refused", "problem"
    )
    most_frequent = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_PROBLEMS]
    labels = tuple(
        f"{name} {translate_word(PROBLEMS[name].title)}" if name in PROBLEMS else name
        for name, _ in most_frequent
    )
    values = tuple(number for _, number in most_frequent)
    title = translate("Most frequent errors")
    return Chart("errors", title, translate("Error"), labels, (Series(translate("Number of times"), values),))


@dataclass(frozen=True, slots=True)
class _StateTime:
    """How long applications were in a state at an agency, in days."""

    agency: str
    state: str
    number: int
    mean: float
    median: float | None
    slowest: float | None


def _list_state_times(conn: Connection, period: _Period) -> list[_StateTime]:
    """Return how long applications were in each state, by agency."""
    bands: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    seconds: Counter[tuple[str, str]] = Counter()
    for row in period.list_sums(conn, "request_state", ("agency", "state", "band")):
        bands[row.agency, row.state][row.band] = int(row.number)  # bounded: rows of our own
        seconds[row.agency, row.state] += int(row.seconds)  # bounded: rows of our own
    return [
        _make_state_time(agency, state, counts, seconds[agency, state])
        for (agency, state), counts in bands.items()
    ]


def _make_state_time(agency: str, state: str, bands: Mapping[int, int], seconds: int) -> _StateTime:
    """Return how long applications of an agency stayed in a state, in days: mean, median, 90th percentile.

    `bands` counts them by range of durations; `seconds` is the sum of their durations.
    """
    number = sum(bands.values())
    return _StateTime(
        name_agency(services.hub.rules.bundle, agency),
        describe_request_state(state).label,
        number,
        seconds / number / _DAY if number else 0.0,
        _estimate_days(bands, 0.5),
        _estimate_days(bands, 0.9),
    )


@pages.get("/work/statistics")
@require_right(Right.READ_STATISTICS)
def show_agency_statistics() -> str | Response:
    """Show the statistics of the visitor's agency, as a page or as CSV."""
    if visitor.organisation.kind is not OrganisationKind.AGENCY:
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
    period = _read_period(is_agency=True)
    with read_transaction(services.engine) as conn:
        if is_csv_wanted():
            return _answer_csv(conn, "statistics", period, _AGENCY_MEASURES, _AGENCY_DIMENSIONS)
        return _render_agency_page(conn, period)


def _render_agency_page(conn: Connection, period: _Period) -> str:
    """Return the page with the statistics of the agency's applications in the period."""
    chart = _make_decision_chart(conn, period)
    agency = visitor.organisation.code
    reasons = decisions.count_refusal_reasons(conn, agency, *period.find_bounds())
    counts = work_lists.count_work(conn, agency, visitor.account, services.clock())
    return render_template(
        "work/statistics.html",
        span=period,
        opened=period.sum_measure(conn, "request_opened"),
        asked=period.sum_measure(conn, "request_asked"),
        outcomes=period.sum_by(conn, "request_outcome", "outcome"),
        durations=_list_decision_durations(conn, period),
        overdue=counts[WorkTab.OVERDUE],
        most=work_lists.COUNT_LIMIT,
        chart=chart,
        drawn=draw_columns(chart),
        reasons=reasons.most_common(_MOST_REASONS),
        most_decided=decisions.MAX_DECIDED_APPLICATIONS,
        complete=daily_statistics.read_counted_until(conn),
    )


@dataclass(frozen=True, slots=True)
class DecisionDuration:
    """How long decisions on a document took, in days: the median and the 95th percentile of `number`.

    `document` is the mapping, the id of a document without mapping, or an empty text for all documents.
    """

    document: DocumentMapping | str
    number: int
    median: float
    percentile: float


def _list_decision_durations(conn: Connection, period: _Period) -> list[DecisionDuration]:
    """Return the times until decision in days, for all documents (the key "") and for each document.

    A `band` is a range of durations; a row with a negative band has no duration.
    """
    bands: dict[str, Counter[int]] = defaultdict(Counter)
    for row in period.list_sums(conn, "request_outcome", ("document", "band")):
        if row.band >= 0:
            bands[row.document][row.band] += int(row.number)  # bounded: rows of our own
            bands[""][row.band] += int(row.number)  # bounded: rows of our own
    documents = services.hub.rules.bundle.documents
    return [
        DecisionDuration(
            documents.get(name) or name,
            counts.total(),
            _estimate_days(counts, 0.5) or 0.0,
            _estimate_days(counts, 0.95) or 0.0,
        )
        for name, counts in sorted(bands.items())
    ]


def _make_decision_chart(conn: Connection, period: _Period) -> Chart:
    """Return the decisions of each day, or of each month where the days are many."""
    date_slice = slice(5, 10) if len(period.days) <= _DAILY else slice(0, 7)
    summed: dict[str, Counter[str]] = defaultdict(Counter)
    for row in period.list_sums(conn, "request_outcome", ("day", "outcome")):
        summed[row.outcome][row.day.isoformat()[date_slice]] += int(row.number)  # bounded: rows of our own
    labels = tuple(dict.fromkeys(day.isoformat()[date_slice] for day in period.days))
    outcome_names = {
        "APPROVED": translate("Approved"),
        "PARTIAL": translate("In part"),
        "REJECTED": translate("Rejected"),
        "CANCELLED": translate("Cancelled"),
    }
    series = tuple(
        Series(outcome_names.get(name, name), tuple(day_counts[label] for label in labels))
        for name, day_counts in sorted(summed.items())
    )
    return Chart("decided", translate("Decided applications"), translate("Day"), labels, series)
