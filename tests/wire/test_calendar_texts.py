"""What is a date or a time of each form, compared with the arithmetic of the calendar."""

from __future__ import annotations

import random
import re

import pytest

from gateway.wire import convert_wco_moment, describe_wrong_wco_moment, is_calendar_text
from tests.kit.paths import ROOT

DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def has_day(year: int, month: int, day: int) -> bool:
    """Return whether the calendar has a day, by its arithmetic."""
    if not (year >= 1 and 1 <= month <= 12):
        return False
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= day <= (29 if month == 2 and is_leap else DAYS[month - 1])


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("20260228", True),
        ("20260229", False),
        ("20260231", False),
        ("20280229", True),
        ("20000229", True),
        ("19000229", False),
        ("20261301", False),
        ("20260001", False),
        ("20260100", False),
        ("00000101", False),
        ("2026012", False),
        ("202601311", False),
        ("2026013１", False),
    ],
)
def test_a_date_of_form_102(text: str, good: bool) -> None:
    assert (describe_wrong_wco_moment(text) is None) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("20260131000000Z", True),
        ("20260131235959Z", True),
        ("20260131090000+09", True),
        ("20260131090000-14", True),
        ("20260131090000+14", True),
        ("20260131240000Z", False),
        ("20261120256199Z", False),
        ("20260131235960Z", False),
        ("20260131236059Z", False),
        ("20260131090000+15", False),
        ("20260131090000+99", False),
        ("20260231090000Z", False),
        ("20２６１１２０090000Z", False),
        ("20260131090000+0٩", False),
    ],
)
def test_a_time_of_form_304(text: str, good: bool) -> None:
    assert (describe_wrong_wco_moment(text) is None) is good


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("20260231090000Z", "is not allowed: the calendar has no day 2026-02-31"),
        (
            "20261120256199Z",
            "is not allowed: no day has the time 25:61:99Z (hours to 23, seconds to 59, zones to 14:00)",
        ),
        ("2026012", "is not allowed; expected is a date or, as 2026-01-31T12:00:00Z, a date with time"),
        *(
            (text, "is not allowed; expected behind the day is a time as T12:00:00 or T12:00:00+09:00")
            for text in (
                "2026-11-19T08:00",
                "2026-11-19T",
                "2026-11-19T08:00:00z",
                "2026-11-19T08:00:00+0900",
            )
        ),
    ],
)
def test_the_reason_quotes_the_value_as_it_was_stated(text: str, reason: str) -> None:
    assert describe_wrong_wco_moment(text) == f"'{text}' {reason}"


def test_every_form_agrees_with_the_arithmetic_of_the_calendar() -> None:
    draws, good = random.Random(20261120), 0
    for _ in range(4_000):
        year, month, day = (
            draws.choice((0, 1, 1900, 2000, 2026, 2028, 9999)),
            draws.randint(0, 13),
            draws.randint(0, 32),
        )
        hour, minute, second = draws.randint(0, 25), draws.randint(0, 61), draws.choice((0, 59, 60, 61))
        zone = draws.randint(-16, 16)
        date, time = f"{year:04}-{month:02}-{day:02}", f"{hour:02}:{minute:02}:{second:02}"
        exists = has_day(year, month, day)
        is_time = exists and hour < 24 and minute < 60 and second < 60 and abs(zone) <= 14
        digits = f"{date}{time}".replace("-", "").replace(":", "")
        moment = convert_wco_moment(f"{digits}{zone:+03}")
        assert moment == f"{date}T{time}{zone:+03}:00"
        assert is_calendar_text(date, "date") is exists
        assert is_calendar_text(date, "moment") is exists
        assert is_calendar_text(digits[:8], "day") is exists
        assert is_calendar_text(moment, "moment") is is_time
        assert not is_calendar_text(moment, "date")
        assert (describe_wrong_wco_moment(digits[:8]) is None) is exists
        assert (describe_wrong_wco_moment(f"{digits}{zone:+03}") is None) is is_time
        place = draws.randrange(8)
        other = digits[:place] + chr(draws.choice((0xFF10, 0x660)) + int(digits[place])) + digits[place + 1 :]
        assert not is_calendar_text(other[:8], "day")
        assert describe_wrong_wco_moment(other[:8]) is not None
        good += is_time
    assert good > 50


def test_no_schema_takes_the_digits_of_every_script() -> None:
    r"""In a pattern of XML Schema, ``\d`` and ``\w`` are those of Unicode, as are full-width digits."""
    files = [
        path
        for folder in ("xsd", "wsdl")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".xsd", ".wsdl")
    ]
    assert len(files) > 100
    patterns = [
        (path.name, pattern)
        for path in files
        for pattern in re.findall(r'pattern value="([^"]*)"', path.read_text("utf-8"))
    ]
    assert [found for found in patterns if re.search(r"\\[dDwWpP]", found[1])] == []
