"""From when a notice counts whose time of issue is ahead of the hub's clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cases import AheadNotice, find_count_time

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("ahead", [-24 * 60 * _MINUTE, 0 * _MINUTE, 5 * _MINUTE], ids=str)
def test_a_time_that_a_right_clock_may_have_counts_as_stated(ahead: timedelta) -> None:
    assert find_count_time(NOW + ahead, NOW, [AheadNotice(NOW + 6 * _MINUTE, NOW)]) == NOW + ahead


def test_a_notice_ahead_counts_from_its_receipt_in_milliseconds() -> None:
    received = NOW + timedelta(microseconds=1999)
    assert find_count_time(NOW + 540 * _MINUTE, received, ()) == NOW + timedelta(milliseconds=1)


def test_another_clock_takes_nothing_away() -> None:
    ahead = [AheadNotice(NOW + 540 * _MINUTE, NOW), AheadNotice(NOW + 60 * _MINUTE, NOW)]
    assert find_count_time(NOW + 30 * _MINUTE, NOW, ahead) == NOW


@pytest.mark.parametrize("seed", range(20))
def test_the_notices_of_one_clock_keep_their_order_however_they_arrive(seed: int) -> None:
    """They are under way for up to five minutes, beside notices of a right clock."""
    draw = random.Random(seed)
    wrong = timedelta(minutes=draw.choice([11, 60, 540]))
    arrivals = []
    for number in range(12):
        issued = NOW + timedelta(seconds=draw.randrange(3600), milliseconds=number)
        received = issued + timedelta(milliseconds=draw.randrange(1, 300_000))
        arrivals.append((received, issued, draw.random() < 0.7))
    ahead: list[AheadNotice] = []
    counts: list[tuple[datetime, datetime, datetime, bool]] = []
    for received, issued, is_wrong in sorted(arrivals):
        stated = issued + wrong if is_wrong else issued
        counts_at = find_count_time(stated, received, ahead)
        assert issued <= counts_at <= received
        counts.append((issued, counts_at, received, is_wrong))
        if counts_at != stated:
            ahead.append(AheadNotice(stated, counts_at))
    shifted = sorted((issued, counts_at) for issued, counts_at, _, is_wrong in counts if is_wrong)
    assert sorted(shifted, key=lambda each: each[1]) == shifted
    for issued, counts_at, _, is_wrong in counts:
        # What is issued by a right clock after the receipt of one ahead comes after it.
        if not is_wrong:
            assert all(
                each_counts <= counts_at
                for _, each_counts, each_received, each_wrong in counts
                if each_wrong and each_received <= issued
            )
