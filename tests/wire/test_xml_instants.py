"""Times of xs:dateTime: what is read of each form, in UTC, and which is an instant that can be used."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.wire import format_instant, parse_datetime, parse_instant, parse_iso_instant

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
    found = parse_datetime(text, default_zone=UTC)
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
        parse_datetime(text, default_zone=UTC)


def test_a_time_without_a_zone_is_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        assert datetime(2026, 11, 20).astimezone().utcoffset() != NOON.utcoffset()
        assert parse_datetime("2026-11-20T12:00:00", default_zone=UTC) == NOON
        assert parse_datetime("2026-11-20T21:00:00+09:00", default_zone=UTC) == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_instant_is_read_in_utc() -> None:
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


@pytest.mark.parametrize("text", ["2026-11-20T18:00:00", "2026-11-20T18:00:00.5"])
@pytest.mark.parametrize("machine", ["UTC", "Asia/Seoul"])
def test_a_time_without_a_zone_is_no_instant_of_any_machine(
    monkeypatch: pytest.MonkeyPatch, machine: str, text: str
) -> None:
    monkeypatch.setenv("TZ", machine)
    time.tzset()
    try:
        with pytest.raises(ValueError, match="without a zone"):
            parse_instant(text)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_instant_has_the_form_of_the_schema() -> None:
    for text in ("2026-11-20", "20261120T1800Z", "2026-11-20T18:00Z", "2026-11-20 18:00:00Z"):
        with pytest.raises(ValueError, match="not a date and time"):
            parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T21:00+09:00", "2026-11-20T12:00Z", "20261120T120000Z", "2026-11-20 12:00:00Z",
        "2026-11-20T21:00:00+0900", "2026-11-20T21:00:00+09", "2026-11-20T12:00:00,000Z",
    ],
)  # fmt: skip
def test_an_instant_of_json_may_have_any_form_of_iso_8601(text: str) -> None:
    assert parse_iso_instant(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T12:00:00",
        "2026-11-20",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "",
        "1" * 129,
        "2026-11-20１12:00:00Z",
    ],
)
def test_what_is_no_instant_of_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|year|Invalid|no such|128|ISO"):
        parse_iso_instant(text)


def test_an_instant_is_written_in_utc() -> None:
    moment = datetime(2026, 11, 20, 21, 0, 0, 120_999, tzinfo=timezone(timedelta(hours=9)))
    assert format_instant(moment) == "2026-11-20T12:00:00.120Z"
    assert format_instant(moment, "seconds") == "2026-11-20T12:00:00Z"
    assert format_instant(moment, "auto") == "2026-11-20T12:00:00.120999Z"
