"""The statistics of an agency: applications, decisions, days, what is overdue, and why it refused.

Counts and durations are read from the sums of days, the reasons from the latest decisions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, render_template, request
from sqlalchemy import Connection

from gateway.accounts import OrganisationKind, Right
from gateway.store import (
    StatisticsFilter,
    WorkTab,
    daily_statistics,
    read_transaction,
    refusal_reasons,
    work_lists,
)
from gateway.web.console.charts import Chart, Series, draw_columns
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_translations import translate
from gateway.web.console.statistics_days import read_days
from gateway.web.console.work.act_desk import WorkDesk

__all__ = ["add_statistics_page"]

_MOST_REASONS: Final = 20
#: So many days are shown one by one; more of them by month.
_DAILY: Final = 62
_DAY: Final = 86400
_CSV: Final = ("measure", "day", "document", "outcome", "number", "seconds")


@dataclass(frozen=True, slots=True)
class _Span:
    """The days of a page, the agency, and the zone of its days."""

    agency: str
    since: date
    until: date
    zone: ZoneInfo

    def make_filter(self, measure: str) -> StatisticsFilter:
        return StatisticsFilter(measure, self.since, self.until, agency=self.agency)

    def find_bounds(self) -> tuple[datetime, datetime]:
        """Return the first moment of the days, and the first one after them."""
        after = self.until + timedelta(days=1)
        return tuple(datetime.combine(day, time(), self.zone) for day in (self.since, after))  # type: ignore[return-value]


def add_statistics_page(pages: Blueprint, work: WorkDesk) -> None:
    """Add the statistics of the visitor's agency."""

    @pages.get("/work/statistics")
    @require_right(Right.READ_STATISTICS)
    def show_statistics() -> Response | str:
        if get_visitor().organisation.kind is not OrganisationKind.AGENCY:
            abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to see this page.")
        span = _read_span(work)
        with read_transaction(work.services.engine) as conn:
            if request.args.get("format") == "csv":
                return _answer_csv(conn, span)
            return _render(conn, work, span)


def _read_span(work: WorkDesk) -> _Span:
    """Return the days that the URL names; 400 for days in the wrong order."""
    zone = ZoneInfo(work.services.settings.hub.time_zone)
    days = read_days(work.services.clock().astimezone(zone).date())
    if days is None:
        abort(HTTPStatus.BAD_REQUEST, "The first day is after the last one.")
    return _Span(get_visitor().organisation.code, *days, zone)


def _answer_csv(conn: Connection, span: _Span) -> Response:
    rows: list[list[Any]] = []
    for measure in ("request_opened", "request_outcome", "request_asked"):
        by = ("day", "document", "outcome")
        for row in daily_statistics.sum_statistics(conn, span.make_filter(measure), by):
            rows.append([measure, row.day, row.document, row.outcome, row.number, row.seconds])
    return answer_csv("statistics", _CSV, rows)


def _render(conn: Connection, work: WorkDesk, span: _Span) -> str:
    chart = _make_chart(conn, span)
    since, until = span.find_bounds()
    reasons = refusal_reasons.count_refusal_reasons(conn, span.agency, since, until)
    counts = work_lists.count_work(conn, span.agency, get_visitor().account, work.services.clock())
    return render_template(
        "work/statistics.html",
        span=span,
        opened=_sum(conn, span, "request_opened"),
        asked=_sum(conn, span, "request_asked"),
        outcomes=_sum_by(conn, span, "request_outcome", "outcome"),
        durations=_list_durations(conn, work, span),
        overdue=counts[WorkTab.OVERDUE],
        most=work_lists.COUNT_LIMIT,
        chart=chart,
        drawn=draw_columns(chart),
        reasons=reasons.most_common(_MOST_REASONS),
        most_decided=refusal_reasons.MOST_DECIDED,
        complete=daily_statistics.read_progress(conn),
    )


def _sum(conn: Connection, span: _Span, measure: str) -> int:
    return sum(row.number for row in daily_statistics.sum_statistics(conn, span.make_filter(measure), ()))


def _sum_by(conn: Connection, span: _Span, measure: str, name: str) -> Counter[str]:
    rows = daily_statistics.sum_statistics(conn, span.make_filter(measure), (name,))
    return Counter({getattr(row, name): int(row.number) for row in rows})


def _list_durations(conn: Connection, work: WorkDesk, span: _Span) -> list[tuple[Any, int, float, float]]:
    """Return for each document, and for all: how many were decided, median and 95th percentile in days."""
    rows = daily_statistics.sum_statistics(conn, span.make_filter("request_outcome"), ("document", "band"))
    bands: dict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        if row.band >= 0:
            bands[row.document][row.band] += int(row.number)
            bands[""][row.band] += int(row.number)
    documents = work.services.hub.rules.bundle.documents
    return [
        (documents.get(name) or name, sum(one.values()), _find_days(one, 0.5), _find_days(one, 0.95))
        for name, one in sorted(bands.items())
    ]


def _find_days(bands: Counter[int], share: float) -> float:
    return (daily_statistics.estimate_quantile(bands, share) or 0) / _DAY


def _make_chart(conn: Connection, span: _Span) -> Chart:
    """Return the decisions of each day, or of each month where the days are many."""
    rows = daily_statistics.sum_statistics(conn, span.make_filter("request_outcome"), ("day", "outcome"))
    shown = slice(5, 10) if (span.until - span.since).days <= _DAILY else slice(0, 7)
    summed: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        summed[row.outcome][row.day.isoformat()[shown]] += int(row.number)
    days = [span.since + timedelta(days=one) for one in range((span.until - span.since).days + 1)]
    labels = tuple(dict.fromkeys(day.isoformat()[shown] for day in days))
    words = {
        "APPROVED": translate("Approved"),
        "PARTIAL": translate("In part"),
        "REJECTED": translate("Rejected"),
        "CANCELLED": translate("Cancelled"),
    }
    series = tuple(
        Series(words.get(name, name), tuple(one[label] for label in labels))
        for name, one in sorted(summed.items())
    )
    return Chart("decided", translate("Decided applications"), translate("Day"), labels, series)
