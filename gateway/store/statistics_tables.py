"""The tables of statistics: what happened on each day, summed up, and how far the counting is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, Integer, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_required_column, metadata

__all__ = ["counted_outcomes", "daily_statistics", "statistics_progress"]

# Sums of each day (in the zone of the hub). A dimension that a measure does not have is empty, `band`
# -1. The party '' stands for all parties: what concerns two parties is counted there once.
daily_statistics = Table(
    "daily_statistics",
    metadata,
    Column("party", Text, primary_key=True),
    Column("measure", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("agency", Text, primary_key=True),
    Column("document", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("problem", Text, primary_key=True),
    Column("band", Integer, primary_key=True, autoincrement=False),
    make_required_column("number", BigInteger),
    make_required_column("seconds", BigInteger),
    Index("ix_daily_statistics_agency", "agency", "party", "measure", "day"),
)

# The outcome as it was counted, so that a correction moves it from one sum to the other.
counted_outcomes = Table(
    "counted_outcomes",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    make_required_column("day", Date),
    make_required_column("outcome"),
    make_required_column("seconds", BigInteger),
    make_required_column("first_right", Boolean),
)

# One row: the last transition that is counted. PostgreSQL commits rows in another order than it numbers
# them: rows up to `ceiling` are all visible when no transaction older than `horizon` is open.
statistics_progress = Table(
    "statistics_progress",
    metadata,
    Column("name", Text, primary_key=True),
    make_required_column("transition", BigInteger),
    make_required_column("ceiling", BigInteger),
    make_required_column("horizon", BigInteger),
    Column("counted_until", Instant),
)
