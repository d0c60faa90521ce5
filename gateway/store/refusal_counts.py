"""Counts refused messages by sender and problem: one row for each pair, however many there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, Protocol

from sqlalchemy import BigInteger, Column, Connection, Table, func, literal, select, update

from gateway.store.daily_statistics import DailyCount, add_counts
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    Instant,
    collect_values,
    make_required_column,
    metadata,
)

# How many messages were refused, by sender (a registered party, or empty) and problem.
refusals = Table(
    "refusals",
    metadata,
    Column("sender", ID_TEXT, primary_key=True),
    Column("problem", CODE_TEXT, primary_key=True),
    make_required_column("number", BigInteger),
    make_required_column("first_at", Instant),
    make_required_column("last_at", Instant),
    make_required_column("last_sentence"),
    Column("signed_at", Instant),  # the last that the sender had signed; NULL: it is only named as the sender
)


class RefusalRow(Protocol):
    """A row of the table `refusals`."""

    sender: str
    problem: str
    number: int
    first_at: datetime
    last_at: datetime
    last_sentence: str
    signed_at: datetime | None


_INSERT: Final = InsertIfAbsent(refusals, ("sender", "problem"))


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """The number of messages of a sender refused for a problem, the first and last time, the last reason.

    `sender` is the name of a registered party, or empty. `signed_at` is the time of the last one that this
    party had signed; without a signature, anyone may name it as the sender.
    """

    sender: str
    problem: str
    number: int
    first_at: datetime
    last_at: datetime
    last_sentence: str
    signed_at: datetime | None = None


def add_refusals(conn: Connection, counted: Iterable[RefusalCount], zone: tzinfo = UTC) -> None:
    """Add to the counts, and to the statistics of the day in this time zone."""
    days: Counter[DailyCount] = Counter()
    # In a fixed order, so that two processes do not lock the rows in different orders.
    for count in sorted(counted, key=lambda each: (each.sender, each.problem)):
        _INSERT.insert_many(conn, [collect_values(count) | {"number": 0}])
        conn.execute(
            update(refusals)
            .where(refusals.c.sender == count.sender, refusals.c.problem == count.problem)
            .values(
                number=refusals.c.number + count.number,
                last_at=count.last_at,
                last_sentence=count.last_sentence,
                signed_at=func.coalesce(literal(count.signed_at, Instant()), refusals.c.signed_at),
            )
        )
        day = count.last_at.astimezone(zone).date()
        for party in {"", count.sender}:
            days[DailyCount("message_refused", day, party, problem=count.problem)] += count.number
    add_counts(conn, {key: (number, 0) for key, number in days.items()})


def list_refusals(
    conn: Connection,
    *,
    sender: str | None = None,
    problem: str | None = None,
    signed_since: datetime | None = None,
) -> Sequence[RefusalRow]:
    """Return the counts, the latest first: of a sender, of a problem, with a signed one since a time."""
    query = select(refusals).order_by(refusals.c.last_at.desc(), refusals.c.sender, refusals.c.problem)
    if sender is not None:
        query = query.where(refusals.c.sender == sender)
    if problem is not None:
        query = query.where(refusals.c.problem == problem)
    if signed_since is not None:
        query = query.where(refusals.c.signed_at >= signed_since)
    return conn.execute(query).all()


def count_by_problem(conn: Connection) -> dict[str, int]:
    """Return how many messages were refused for each problem."""
    summed = select(refusals.c.problem, func.sum(refusals.c.number)).group_by(refusals.c.problem)
    return {problem: int(number) for problem, number in conn.execute(summed)}
