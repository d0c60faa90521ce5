"""Stores and sums the statistics of each day. Pages read these sums alone, never the rows behind them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import BigInteger, Column, Connection, Date, Index, Integer, Table, cast, func, select

from gateway.store.prepared_statements import insert_into
from gateway.store.table_types import CODE_TEXT, NAME_TEXT, Instant, make_required_column, metadata

# Sums of each day (in the zone of the hub). A dimension that a measure does not have is empty, `band`
# -1. The party '' stands for all parties: what concerns two parties is counted there once.
daily_statistics = Table(
    "daily_statistics",
    metadata,
    Column("party", NAME_TEXT, primary_key=True),
    Column("measure", CODE_TEXT, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("agency", CODE_TEXT, primary_key=True),
    Column("document", CODE_TEXT, primary_key=True),
    Column("state", CODE_TEXT, primary_key=True),
    Column("outcome", CODE_TEXT, primary_key=True),
    Column("problem", CODE_TEXT, primary_key=True),
    Column("band", Integer, primary_key=True, autoincrement=False),
    make_required_column("number", BigInteger),
    make_required_column("seconds", BigInteger),
    Index("ix_daily_statistics_agency", "agency", "party", "measure", "day"),
)

# One row: the last transition that is counted. PostgreSQL commits rows in another order than it numbers
# them: rows up to `ceiling` are all visible when no transaction older than `horizon` is open.
statistics_progress = Table(
    "statistics_progress",
    metadata,
    Column("name", CODE_TEXT, primary_key=True),
    make_required_column("transition", BigInteger),
    make_required_column("ceiling", BigInteger),
    make_required_column("horizon", BigInteger),
    Column("counted_until", Instant),
)


_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
#: The upper limits of the bands of durations, in seconds; the last band has none.
BAND_LIMITS: Final = (
    _HOUR,
    4 * _HOUR,
    *(days * _DAY for days in (1, 2, 3, 5, 7, 14, 30, 90)),
)
#: From the first day to the last one; both are summed, which makes 366 days.
_MAX_PERIOD: Final = timedelta(days=365)
_NO_BAND: Final = -1
_KEY: Final = tuple(column.name for column in daily_statistics.primary_key)


class DailyCount(NamedTuple):
    """The dimensions under which one event is counted; number and seconds are added separately."""

    measure: str
    day: date
    party: str = ""
    agency: str = ""
    document: str = ""
    state: str = ""
    outcome: str = ""
    problem: str = ""
    band: int = _NO_BAND


@dataclass(frozen=True, slots=True)
class StatisticsFilter:
    """The sums of one measure: from `since` to `until`, both inclusive, at most 366 days.

    The party is '' for all parties; any other condition that is None is not set.
    """

    measure: str
    since: date
    until: date
    party: str = ""
    agency: str | None = None
    document: str | None = None
    state: str | None = None
    outcome: str | None = None

    @property
    def first_day(self) -> date:
        """Return the first day that is summed: `since`, or a later one where the period is too long."""
        return max(self.since, self.until - min(_MAX_PERIOD, self.until - date.min))


def add_counts(conn: Connection, counts: Mapping[DailyCount, tuple[int, int]]) -> None:
    """Add a number and seconds to the sums of each of these dimensions."""
    # In a fixed order, so that two processes do not lock the rows in different orders.
    rows = [
        count._asdict() | {"number": number, "seconds": seconds}
        for count, (number, seconds) in sorted(counts.items())
        if number or seconds
    ]
    if rows:
        conn.execute(_build_upsert(conn.dialect.name), rows)


@cache
def _build_upsert(dialect: str) -> Any:
    new = insert_into(daily_statistics, dialect)
    summed = {name: daily_statistics.c[name] + getattr(new.excluded, name) for name in ("number", "seconds")}
    return new.on_conflict_do_update(index_elements=_KEY, set_=summed)


class StatisticsSumRow(Protocol):
    """The sums of a measure, with those of its dimensions that the query groups by."""

    day: date
    agency: str
    document: str
    state: str
    outcome: str
    party: str
    band: int
    problem: str
    number: int
    seconds: int


def sum_statistics(
    conn: Connection, criteria: StatisticsFilter, dimensions: Sequence[str]
) -> Sequence[StatisticsSumRow]:
    """Return the sums of a measure for each combination of values of `dimensions`, ordered by them.

    Each row has the columns of `dimensions`, `number`, and `seconds`.
    """
    c = daily_statistics.c
    conditions = [
        c.measure == criteria.measure,
        c.party == criteria.party,
        c.day.between(criteria.first_day, criteria.until),
    ]
    for name in ("agency", "document", "state", "outcome"):
        value = getattr(criteria, name)
        if value is not None:
            conditions.append(c[name] == value)
    columns: list[Any] = [c[name] for name in dimensions]
    # The sum of whole numbers is a decimal one in PostgreSQL.
    sums = [cast(func.sum(c[name]), BigInteger).label(name) for name in ("number", "seconds")]
    query = select(*columns, *sums).where(*conditions)
    # Without columns the sum of no row is a row without a value.
    query = query.group_by(*columns).order_by(*columns) if columns else query.having(func.count() > 0)
    return conn.execute(query.having(func.sum(c.number) != 0) if columns else query).all()


def find_duration_band(seconds: int) -> int:
    """Return the number of the band in which a duration lies."""
    return bisect_left(BAND_LIMITS, seconds)


def estimate_quantile(counts_by_band: Mapping[int, int], share: float) -> float | None:
    """Return the duration in seconds that this share does not exceed, estimated within its band.

    Returns None without durations, and the lower limit of the last band when it lies there.
    """
    total = sum(counts_by_band.values())
    if total <= 0:
        return None
    remaining = share * total
    for band, band_count in sorted(counts_by_band.items()):
        if remaining <= band_count and band_count > 0:
            lower = BAND_LIMITS[band - 1] if band > 0 else 0
            if band >= len(BAND_LIMITS):
                return float(lower)
            return lower + (BAND_LIMITS[band] - lower) * max(remaining, 0) / band_count
        remaining -= band_count
    return float(BAND_LIMITS[-1])


def read_counted_until(conn: Connection) -> datetime | None:
    """Return the time up to which everything is counted; None before the first count."""
    counted_until: datetime | None = conn.execute(select(statistics_progress.c.counted_until)).scalar()
    return counted_until
