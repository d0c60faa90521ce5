"""Counts refused messages by sender and problem: one row for each pair, however many there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, update

from gateway.store.daily_statistics import DailyCount, add_counts
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import refusals

__all__ = ["RefusalCount", "add_refusals", "count_by_problem", "list_refusals"]

_INSERT: Final = InsertIfAbsent(refusals, ("sender", "problem"))


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How many messages of a sender were refused for a problem, from when to when, and the last reason.

    `sender` is the name of a registered party, or empty.
    """

    sender: str
    problem: str
    number: int
    first_at: datetime
    last_at: datetime
    last_sentence: str


def add_refusals(conn: Connection, counted: Iterable[RefusalCount], zone: tzinfo = UTC) -> None:
    """Add to the counts, and to the statistics of the day in this time zone."""
    days: Counter[DailyCount] = Counter()
    # In a fixed order, so that two processes do not lock the rows in different orders.
    for one in sorted(counted, key=lambda each: (each.sender, each.problem)):
        row = {
            "sender": one.sender,
            "problem": one.problem,
            "number": 0,
            "first_at": one.first_at,
            "last_at": one.last_at,
            "last_sentence": one.last_sentence,
        }
        _INSERT.insert_many(conn, [row])
        conn.execute(
            update(refusals)
            .where(refusals.c.sender == one.sender, refusals.c.problem == one.problem)
            .values(
                number=refusals.c.number + one.number,
                last_at=one.last_at,
                last_sentence=one.last_sentence,
            )
        )
        day = one.last_at.astimezone(zone).date()
        for party in {"", one.sender}:
            days[DailyCount("message_refused", day, party, problem=one.problem)] += one.number
    add_counts(conn, {about: (number, 0) for about, number in days.items()})


def list_refusals(
    conn: Connection, *, sender: str | None = None, problem: str | None = None
) -> Sequence[Row[Any]]:
    """Return the counts of a sender or a problem, or all of them, the latest first."""
    found = select(refusals).order_by(refusals.c.last_at.desc(), refusals.c.sender, refusals.c.problem)
    if sender is not None:
        found = found.where(refusals.c.sender == sender)
    if problem is not None:
        found = found.where(refusals.c.problem == problem)
    return conn.execute(found).all()


def count_by_problem(conn: Connection) -> dict[str, int]:
    """Return how many messages were refused for each problem."""
    summed = select(refusals.c.problem, func.sum(refusals.c.number)).group_by(refusals.c.problem)
    return {problem: int(number) for problem, number in conn.execute(summed)}
