"""Who is refused for now comes again soon, and less and less often while the trouble lasts."""

from __future__ import annotations

from gateway.web.server.request_gate import RetryAfterPolicy


def waits(*moments: float) -> list[int]:
    clock = iter(moments)
    patience = RetryAfterPolicy(lambda: next(clock))
    return [patience.get_wait_seconds() for _ in moments]


def test_trouble_that_lasts_is_asked_about_less_and_less_often() -> None:
    assert waits(100.0, 101.0, 102.0, 104.0, 108.0, 119.0, 121.0, 150.0) == [1, 1, 1, 2, 4, 9, 10, 10]


def test_after_a_calm_time_the_next_trouble_is_a_new_one() -> None:
    assert waits(0.0, 20.0, 49.0, 79.0) == [1, 10, 10, 10]
    assert waits(0.0, 20.0, 51.0, 52.0) == [1, 10, 1, 1]
