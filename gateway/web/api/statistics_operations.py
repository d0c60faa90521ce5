"""The operation on statistics: the daily sums of the caller's own cases."""

from __future__ import annotations

from datetime import date as Day  # noqa: N812 - a field has the name
from datetime import datetime, timedelta
from typing import Final

from pydantic import Field

from gateway.errors import REQUEST_MALFORMED, GatewayError
from gateway.store import StatisticsFilter, daily_statistics, read_transaction
from gateway.web.api.api_operations import Answer, ApiAnswer, ApiCall, Operation
from gateway.web.api.model_bases import AnswerModel, QueryModel

__all__ = ["STATISTICS_OPERATIONS"]

_MEASURES: Final = (
    *("case_opened", "case_outcome", "case_first_right", "case_state", "case_problem"),
    *("request_opened", "request_outcome", "request_asked", "request_state", "message_refused"),
)
_DIMENSIONS: Final = ("day", "agency", "document", "state", "outcome", "problem")
_PERIOD: Final = timedelta(days=30)


class StatisticsQuery(QueryModel):
    """Which sums are wanted, and by what they are told apart."""

    measure: str = Field(pattern=f"^({'|'.join(_MEASURES)})$", description="What is counted.")
    by: str = Field(
        "day",
        pattern=f"^({'|'.join(_DIMENSIONS)})(,({'|'.join(_DIMENSIONS)})){{0,5}}$",
        description="The dimensions of a row, parted by commas.",
    )
    since: Day | None = Field(None, description="First day; without it 30 days before the last one.")
    until: Day | None = Field(None, description="Last day; without it today. At most 366 days are summed.")


class StatisticsRow(AnswerModel):
    """One sum."""

    day: Day | None = None
    agency: str | None = None
    document: str | None = None
    state: str | None = None
    outcome: str | None = None
    problem: str | None = None
    number: int
    seconds: int = Field(description="The sum of the durations, where the measure has any.")


class Statistics(AnswerModel):
    """Sums of the caller's own cases."""

    measure: str
    since: Day
    until: Day
    counted_until: datetime | None = Field(None, description="Up to when everything is counted.")
    rows: list[StatisticsRow]


def _get_statistics(call: ApiCall) -> ApiAnswer:
    query: StatisticsQuery = call.query
    services = call.services
    names = tuple(dict.fromkeys(query.by.split(",")))
    until = query.until or services.clock().astimezone(services.hub.statistics.zone).date()
    since = query.since or until - min(_PERIOD, until - Day.min)
    if since > until:
        raise GatewayError(REQUEST_MALFORMED, "the first day is after the last one", "since")
    with read_transaction(services.engine) as conn:
        wanted = StatisticsFilter(query.measure, since, until, call.party)
        rows = daily_statistics.sum_statistics(conn, wanted, names)
        counted = daily_statistics.read_progress(conn)
    told = [
        StatisticsRow(
            **{name: getattr(row, name) for name in names}, number=row.number, seconds=row.seconds or 0
        )
        for row in rows
    ]
    return ApiAnswer(
        Statistics(measure=query.measure, since=since, until=until, counted_until=counted, rows=told)
    )


STATISTICS_OPERATIONS: Final = (
    Operation(
        id="getStatistics",
        method="GET",
        path="/statistics",
        tag="statistics",
        summary="Get daily sums of the caller's own cases",
        handle=_get_statistics,
        query=StatisticsQuery,
        answers=(Answer(200, "The sums", Statistics),),
    ),
)
