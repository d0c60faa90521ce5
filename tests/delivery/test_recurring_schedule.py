"""A turn is queued once for each stretch of time, whoever queues it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from gateway.delivery.recurring_schedule import RecurringSchedule, RecurringTask
from gateway.store import deliveries, delivery_maintenance, read_transaction, write_transaction
from tests.kit.databases import BOTH_AT_LANDING

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = RecurringTask("stamp", "tsa", "evidence", timedelta(hours=1), parameters={"a": 1})
DAILY = RecurringTask("list", "fetch", "ca", timedelta(days=1), lane="fetches")


def queued(engine: Engine) -> list[tuple[str, str, datetime]]:
    with read_transaction(engine) as conn:
        return [(row.agent, row.lane, row.expires_at) for row in reversed(deliveries.list_deliveries(conn))]


@BOTH_AT_LANDING
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


@BOTH_AT_LANDING
def test_what_was_missed_is_not_made_up_for(engine: Engine) -> None:
    schedule = RecurringSchedule(engine, lambda: [HOURLY])
    assert schedule.queue_due_periods(NOON) == 1
    assert schedule.queue_due_periods(NOON + timedelta(hours=9)) == 1


@BOTH_AT_LANDING
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


@BOTH_AT_LANDING
def test_a_later_turn_stands_for_the_failed_ones_of_its_own_task(engine: Engine) -> None:
    """Two channels of one partner share a lane, and tell of different P-Modes."""
    channels = [
        RecurringTask(f"pull:{name}", "pull", "broker1", HOUR, "pull-from:broker1", {"pmode": name})
        for name in ("results", "notices")
    ]
    schedule = RecurringSchedule(engine, lambda: channels)
    for hours in range(3):
        schedule.queue_due_periods(NOON + hours * HOUR)
    with write_transaction(engine) as conn:
        for row in delivery_maintenance.list_expired_deliveries(conn, NOON + 2 * HOUR):
            delivery_maintenance.expire_delivery(conn, row.id, NOON + 2 * HOUR, "w1")
        turn = max(
            (row for row in deliveries.list_deliveries(conn) if row.parameters == {"pmode": "notices"}),
            key=lambda row: row.id,
        )
        deliveries.give_up_earlier_periods(conn, turn, NOON + 2 * HOUR, "pull")
        found = [(row.parameters["pmode"], row.state) for row in deliveries.list_deliveries(conn)]
    assert sorted(found) == [
        *[("notices", "CANCELLED")] * 2,
        ("notices", "QUEUED"),
        *[("results", "FAILED")] * 2,
        ("results", "QUEUED"),
    ]


@BOTH_AT_LANDING
def test_a_list_of_tasks_that_fails_takes_no_other_with_it(engine: Engine) -> None:
    fails = [True]

    def list_pulls() -> list[RecurringTask]:
        if fails:
            raise LookupError("an odd row")
        return [RecurringTask("pull", "pull", "broker1", HOUR)]

    schedule = RecurringSchedule(engine, lambda: [HOURLY], list_pulls, lambda: [DAILY])
    for minutes in (0, 30, 60):
        with pytest.raises(LookupError, match="an odd row"):
            schedule.queue_due_periods(NOON + timedelta(minutes=minutes))
    assert [agent for agent, _, _ in queued(engine)] == ["tsa", "fetch", "tsa"]
    fails.clear()
    assert schedule.queue_due_periods(NOON + HOUR) == 1
