"""Times of xs:dateTime: what is read of each form, in UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from gateway.protocols.element_reader import convert_instant

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T12:00:00Z", NOON),
        (" 2026-11-20T12:00:00\n", NOON),
        ("2026-11-20T12:00:00+00:00", NOON),
        ("2026-11-20T12:00:00-00:00", NOON),
        ("2026-11-20T13:30:00+01:30", NOON),
        ("2026-11-21T02:00:00+14:00", NOON),
        ("2026-11-19T22:00:00-14:00", NOON),
        ("2026-11-20T12:00:00.1Z", NOON.replace(microsecond=100_000)),
        ("2026-11-20T12:00:00.123456", NOON.replace(microsecond=123_456)),
        ("2026-11-20T12:00:00.1234569999+00:00", NOON.replace(microsecond=123_456)),
        ("2026-11-20T12:00:00." + "9" * 90 + "Z", NOON.replace(microsecond=999_999)),
    ],
)
def test_a_time_is_read_in_utc(text: str, moment: datetime) -> None:
    found = convert_instant(text)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20 12:00:00Z",
        "2026-11-20",
        "20261120T120000Z",
        "2026-W47-5T12:00:00Z",
        "2026-11-20T12:00Z",
        "2026-11-20T12:00:00,5Z",
        "2026-11-20T12:00:00.Z",
        "2026-11-20T12:00:00z",
        "2026-11-20T12:00:00+0100",
        "2026-11-20T12:00:00+14:01",
        "2026-11-20T12:00:00+01:00:30",
        "2026-02-30T12:00:00Z",
        "2026-11-20T24:00:00Z",
        "0000-11-20T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "２026-11-20T12:00:00Z",
        "",
    ],
)
def test_no_other_form_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="date and time"):
        convert_instant(text)


def test_a_time_without_a_zone_is_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        assert datetime(2026, 11, 20).astimezone().utcoffset() != NOON.utcoffset()
        assert convert_instant("2026-11-20T12:00:00") == NOON
        assert convert_instant("2026-11-20T21:00:00+09:00") == NOON
    finally:
        monkeypatch.undo()
        time.tzset()
