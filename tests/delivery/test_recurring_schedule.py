"""A turn is queued once for each stretch of time, whoever queues it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from gateway.delivery.recurring_schedule import RecurringSchedule, RecurringTask
from gateway.store import deliveries
from gateway.store.engine import read_transaction

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOURLY = RecurringTask("stamp", "tsa", "evidence", timedelta(hours=1), parameters={"a": 1})
DAILY = RecurringTask("list", "fetch", "ca", timedelta(days=1), lane="fetches")


def queued(engine: Engine) -> list[tuple[str, str, datetime]]:
    with read_transaction(engine) as conn:
        return [(row.agent, row.lane, row.expires_at) for row in reversed(deliveries.list_deliveries(conn))]


def test_each_stretch_has_one_turn_of_all_workers_and_starts(engine: Engine) -> None:
    workers = [RecurringSchedule(engine, lambda: [HOURLY]) for _ in range(2)]
    made = [
        one.queue_due_periods(NOON + timedelta(minutes=minutes)) for minutes in (0, 30, 59) for one in workers
    ]
    assert made == [1, 0, 0, 0, 0, 0]
    assert RecurringSchedule(engine, lambda: [HOURLY]).queue_due_periods(NOON + timedelta(minutes=40)) == 0
    assert [one.queue_due_periods(NOON + timedelta(hours=1)) for one in workers] == [1, 0]
    assert queued(engine) == [
        ("tsa", "tsa:evidence", NOON + timedelta(hours=1)),
        ("tsa", "tsa:evidence", NOON + timedelta(hours=2)),
    ]


def test_what_was_missed_is_not_made_up_for(engine: Engine) -> None:
    schedule = RecurringSchedule(engine, lambda: [HOURLY])
    assert schedule.queue_due_periods(NOON) == 1
    assert schedule.queue_due_periods(NOON + timedelta(hours=9)) == 1


def test_what_recurs_may_change(engine: Engine) -> None:
    found = [HOURLY]
    schedule = RecurringSchedule(engine, lambda: found)
    assert schedule.queue_due_periods(NOON) == 1
    found.append(DAILY)
    assert schedule.queue_due_periods(NOON) == 1
    found.clear()
    assert schedule.queue_due_periods(NOON + timedelta(days=2)) == 0
    assert queued(engine)[1] == ("fetch", "fetches", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize("every", [timedelta(seconds=7), timedelta(minutes=1), timedelta(days=30)])
def test_a_moment_lies_in_its_stretch(every: timedelta) -> None:
    one = RecurringTask("x", "x", "x", every)
    turn = one.get_period_number(NOON)
    assert one.get_period_end(turn - 1) <= NOON < one.get_period_end(turn)
    assert one.get_period_end(turn) - one.get_period_end(turn - 1) == every
    assert one.get_period_number(one.get_period_end(turn)) == turn + 1
