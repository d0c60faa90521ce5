"""The waits between tries, as a table of numbers."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.delivery.attempt_outcome import RetryPlan, compute_retry_delay, find_uncounted_delay
from gateway.errors import (
    AGREEMENT_UNREAD,
    KEY_UNAVAILABLE,
    NO_ADDRESS,
    NO_ROOM,
    UNREACHABLE,
    GatewayError,
    Problem,
)
from gateway.store import InsufficientStorageError

PLAN = RetryPlan(max_retries=5, first_delay=timedelta(seconds=10), max_delay=timedelta(seconds=60))


@pytest.mark.parametrize(("tries", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)])
def test_the_wait_doubles_up_to_the_ceiling(tries: int, seconds: int) -> None:
    wait = compute_retry_delay(tries, PLAN)
    assert wait is not None
    assert seconds <= wait.total_seconds() < seconds * 1.2


@pytest.mark.parametrize("tries", [6, 7, 1000])
def test_when_all_tries_are_used_there_is_no_wait(tries: int) -> None:
    assert compute_retry_delay(tries, PLAN) is None


def test_a_steady_plan_waits_its_interval_exactly() -> None:
    plan = RetryPlan(max_retries=3, first_delay=timedelta(minutes=5), is_constant=True)
    assert [compute_retry_delay(tries, plan) for tries in (1, 2, 3, 4)] == [timedelta(minutes=5)] * 3 + [None]


def test_each_delivery_has_a_wait_of_its_own_and_always_the_same() -> None:
    waits = {compute_retry_delay(1, PLAN, str(key)) for key in range(50)}
    assert len(waits) > 40
    assert compute_retry_delay(1, PLAN, "7") == compute_retry_delay(1, PLAN, "7")


def test_many_tries_do_not_overflow() -> None:
    plan = RetryPlan(max_retries=10_000, first_delay=timedelta(seconds=1))
    assert compute_retry_delay(9_999, plan) is not None


def test_a_first_wait_beyond_the_ceiling_does_not_overflow() -> None:
    plan = RetryPlan(max_retries=40, first_delay=timedelta(days=1), max_delay=timedelta(hours=1))
    for tries in (1, 31, 40):
        wait = compute_retry_delay(tries, plan)
        assert wait is not None
        assert timedelta(hours=1) <= wait < timedelta(hours=1.2)


@pytest.mark.parametrize(
    ("problem", "shortest", "longest"),
    [
        (KEY_UNAVAILABLE, 30, 30),
        (NO_ROOM, 1, 240 * 1.2),
        (NO_ADDRESS, 1, 240 * 1.2),
        (AGREEMENT_UNREAD, 1, 240 * 1.2),
    ],
)
@pytest.mark.parametrize("attempt", [1, 10_000])
def test_what_is_no_fault_of_the_recipient_uses_up_no_try(
    problem: Problem, shortest: float, longest: float, attempt: int
) -> None:
    lease: Any = SimpleNamespace(id=7, attempt=attempt, tries=2, parameters={})
    wait = find_uncounted_delay(lease, GatewayError(problem))
    assert wait is not None
    assert shortest <= wait.total_seconds() <= longest
    assert find_uncounted_delay(lease, InsufficientStorageError("")) == timedelta(seconds=5)


def test_a_recipient_that_is_not_reached_uses_up_a_try() -> None:
    lease: Any = SimpleNamespace(id=7, attempt=1)
    assert find_uncounted_delay(lease, GatewayError(UNREACHABLE)) is None


def test_an_ordered_message_that_was_posted_uses_up_its_tries() -> None:
    for tries, is_counted in ((1, False), (2, True)):
        lease: Any = SimpleNamespace(id=7, attempt=tries, tries=tries, parameters={"ordered": True})
        assert (find_uncounted_delay(lease, GatewayError(AGREEMENT_UNREAD)) is None) is is_counted
