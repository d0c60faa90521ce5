"""Instants: a time that cannot be told in every zone is no time that can be used."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.wire import parse_instant


def test_an_instant_is_told_in_utc() -> None:
    assert parse_instant("2026-11-20T18:00:00+09:00") == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert parse_instant("9998-12-31T23:59:59Z").year == 9998


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59Z",
        "9998-12-31T23:59:59-14:00",
        "0001-06-01T00:00:00Z",
        "0002-01-01T00:00:00+01:00",
    ],
)
def test_a_time_for_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_instant(text)
