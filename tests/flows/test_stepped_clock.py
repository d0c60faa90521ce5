"""A clock that was set back, or was ahead for a moment: nothing waits longer than agreed, and it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.recurring_schedule import RecurringSchedule, RecurringTask
from gateway.errors import UNREACHABLE, GatewayError
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.operations import find_clock_warnings
from gateway.store import deliveries, read_transaction, write_transaction
from tests.flows.craft import without_applications
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.desk import Desk
from tests.kit.house import AGREEMENT
from tests.kit.story import Story, unreachable

NINE_HOURS = timedelta(hours=9)
TWO_DAYS = timedelta(days=2)


def decide(engine: Engine, agreement: bytes = AGREEMENT) -> Story:
    story = Story(engine, customs=False, agreement=agreement)
    # The certificates of this test are not valid nine hours before.
    story.clock.now += NINE_HOURS
    story.submit(story.submission(without_applications), attach=False)
    return story


def count_waiting(story: Story) -> int:
    """Return how many deliveries wait: on PostgreSQL a task that joins requests is one of them."""
    return sum(row.state in ("QUEUED", "AWAITING_RECEIPT") for row in story.deliveries())


def result_of(story: Story) -> Any:
    (found,) = (row for row in story.deliveries(agent="msh") if row.parameters.get("action") == "Result")
    return found


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("answer", [unreachable(), HttpAnswer(204, {}, b"")], ids=["no answer", "no receipt"])
def test_a_repeat_comes_after_the_agreed_interval_though_the_clock_is_set_back(
    engine: Engine, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    story = decide(engine)
    story.inbox.answers.append(answer)
    story.tick(seconds=1)
    assert result_of(story).state in ("QUEUED", "AWAITING_RECEIPT")
    waiting = count_waiting(story)
    story.clock.now -= NINE_HOURS
    story.tick(seconds=1)
    assert result_of(story).due_at == story.clock() + timedelta(seconds=300)
    story.tick(seconds=301)
    assert result_of(story).state == "DELIVERED"
    (line,) = (one for one in caplog.messages if "the clock was ahead" in one)
    assert f"{waiting} deliveries and 0 leases" in line


def test_what_failed_and_what_was_queued_while_the_clock_was_ahead_goes_on(engine: Engine) -> None:
    def away(_lease: Any) -> None:
        if desk.clock() > start:
            raise GatewayError(UNREACHABLE, "away")

    desk = Desk(engine, away)
    start = desk.clock() + timedelta(hours=1)
    (failed,) = desk.queue()
    desk.clock.now += TWO_DAYS
    desk.worker.run_once()
    (queued,) = desk.queue()
    desk.clock.now -= TWO_DAYS
    desk.clock.forward(seconds=15)
    desk.worker.run_maintenance()
    assert desk.row(failed).due_at <= desk.clock() + timedelta(minutes=5)
    desk.worker.run_once()
    assert desk.row(queued).state == "DELIVERED"
    desk.clock.forward(minutes=5)
    desk.worker.run_once()
    assert desk.row(failed).state == "DELIVERED"


def test_a_process_that_starts_after_the_step_draws_in_what_it_finds(engine: Engine) -> None:
    story = decide(engine)
    story.inbox.answers.append(unreachable())
    story.tick()
    story.clock.now -= NINE_HOURS
    story.worker = story.new_worker("w2")
    story.tick(seconds=1)
    story.tick(seconds=301)
    assert result_of(story).state == "DELIVERED"


@BOTH_AT_LANDING
def test_a_lease_of_a_worker_that_died_ends_as_if_the_clock_had_not_stepped(engine: Engine) -> None:
    desk = Desk(engine)
    (one,) = desk.queue()
    desk.new_worker("late")._claim_deliveries()
    desk.clock.now -= NINE_HOURS
    desk.worker.run_maintenance()
    assert desk.worker.run_once() == 0
    desk.clock.forward(seconds=61)
    desk.worker.run_maintenance()
    desk.clock.forward(minutes=5)
    desk.worker.run_maintenance()
    assert desk.worker.run_once() == 1
    assert desk.row(one).state == "DELIVERED"


def test_what_is_planned_for_a_later_day_stays_planned(engine: Engine) -> None:
    story = decide(engine)
    day = story.clock() + timedelta(days=10)
    with write_transaction(engine) as conn:
        enqueue_task(conn, "end_hold", "look", 1, "hold:1", story.clock(), due_at=day)
    story.clock.now -= NINE_HOURS
    story.worker.run_maintenance()
    with read_transaction(engine) as conn:
        row = deliveries.find_by_dedupe_key(conn, "hold:1")
    assert row is not None
    assert row.due_at == day


def test_an_interval_of_a_day_is_no_step(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    story = decide(engine, AGREEMENT.replace(b"retry_interval: 300 ", b"retry_interval: 86400 "))
    story.inbox.answers.append(unreachable())
    story.tick()
    due_at = result_of(story).due_at
    assert due_at - story.clock() == timedelta(days=1)
    for _ in range(3):
        story.tick(hours=1)
    assert result_of(story).due_at == due_at
    assert not any("the clock was ahead" in one for one in caplog.messages)


def test_what_recurs_has_its_turns_again(engine: Engine) -> None:
    task = RecurringTask("list", "soap", "ca", timedelta(minutes=10))
    desk = Desk(engine)
    desk.worker = desk.new_worker("w2", schedule=RecurringSchedule(engine, lambda: [task]))
    for _ in range(6):
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 1
        desk.clock.forward(minutes=10)
    desk.clock.now -= timedelta(minutes=50)
    desk.worker.run_maintenance()
    for _ in range(4):
        desk.clock.forward(minutes=10)
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 1
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 0


def test_what_recurs_has_its_turns_again_though_others_have_gone_on(engine: Engine) -> None:
    """The set back is not seen by the last step of a state machine: it is of the new time already."""
    task = RecurringTask("list", "soap", "ca", timedelta(minutes=10))
    desk = Desk(engine)
    desk.worker = desk.new_worker("w2", schedule=RecurringSchedule(engine, lambda: [task]))
    for _ in range(6):
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 1
        desk.clock.forward(minutes=10)
    desk.clock.now -= timedelta(minutes=50)
    desk.queue()
    assert desk.worker.run_once() == 1
    desk.worker.run_maintenance()
    for _ in range(4):
        desk.clock.forward(minutes=10)
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 1


def test_check_tells_that_the_clock_was_set_back(engine: Engine) -> None:
    story = decide(engine)
    story.inbox.answers.append(unreachable())
    story.tick()
    with read_transaction(engine) as conn:
        assert not list(find_clock_warnings(conn, story.clock()))
        (warning,) = find_clock_warnings(conn, story.clock() - NINE_HOURS)
    assert "9.0 h" in warning
    waiting = count_waiting(story)
    assert f"{waiting} deliver{'y waits' if waiting == 1 else 'ies wait'} for" in warning
