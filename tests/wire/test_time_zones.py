"""Every instant of the calendar in every zone: what is shown is the same instant, and no day is missing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations import format_moment, keep_display_zone, restate_times, set_display_zone
from gateway.web.console.filing.form_view import to_local_moment, to_stated_moment
from gateway.web.console.page_formats import format_time, format_written_time
from gateway.wire import (
    begin_day,
    convert_to_utc,
    convert_to_zone,
    end_day,
    find_day,
    format_instant,
    limit_to_utc,
)

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
LAST_MICROSECOND = datetime.max.replace(tzinfo=UTC)
FIRST = datetime(1, 1, 1, tzinfo=UTC)
NAMES = sorted(available_timezones())
EDGES = st.one_of(
    st.timedeltas(timedelta(), timedelta(days=2)).map(lambda span: FIRST + span),
    st.timedeltas(timedelta(), timedelta(days=2)).map(lambda span: LAST - span),
)
INSTANTS = st.one_of(EDGES, st.datetimes(timezones=st.just(UTC)))
ZONES = st.sampled_from(NAMES).map(ZoneInfo)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@given(INSTANTS, ZONES)
def test_an_instant_is_shown_as_itself(moment: datetime, zone: ZoneInfo) -> None:
    assert convert_to_zone(moment, zone) == moment
    day = find_day(moment, zone)
    assert begin_day(day, zone) <= moment <= end_day(day, zone) or day == date.min
    with keep_display_zone():
        set_display_zone(zone.key)
        shown = format_moment(moment, precision="microseconds")
        assert RFC_3339.fullmatch(shown)
        assert datetime.fromisoformat(shown) == moment
        assert datetime.fromisoformat(restate_times(format_instant(moment))) == moment.replace(microsecond=0)
    page = format_time(moment, zone)
    assert datetime.fromisoformat(page.split('"')[1]) == moment.replace(microsecond=0)
    assert page.split(">")[1].startswith(convert_to_zone(moment, zone).isoformat(" ", "minutes")[:16])


@given(INSTANTS, ZONES)
def test_a_time_in_a_form_is_the_same_or_left_out(moment: datetime, zone: ZoneInfo) -> None:
    moment = moment.replace(microsecond=0)
    shown = to_local_moment(format_instant(moment, "seconds"), zone)
    if shown:
        stated = to_stated_moment(shown, zone)
        assert RFC_3339.fullmatch(stated)
        # The hour that is repeated when a clock is put back is written twice in the same way.
        assert datetime.fromisoformat(stated) == moment or convert_to_zone(moment, zone).fold
    else:
        assert moment.year in (1, 9999) or convert_to_zone(moment, zone) is moment


@given(st.dates(), ZONES)
def test_days_follow_one_another(day: date, zone: ZoneInfo) -> None:
    begins, ends = begin_day(day, zone), end_day(day, zone)
    assert begins.tzinfo is UTC
    assert begins <= ends
    if date.min < day < date.max:
        assert begin_day(day + timedelta(days=1), zone) == ends
        assert end_day(day - timedelta(days=1), zone) == begins


@given(INSTANTS, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
def test_a_time_that_utc_lacks_is_refused(local: datetime, offset: timedelta) -> None:
    moment = local.replace(tzinfo=timezone(offset))
    if FIRST <= moment <= LAST_MICROSECOND:
        assert convert_to_utc(moment) == limit_to_utc(moment) == moment
        assert RFC_3339.fullmatch(
            convert_to_zone(moment, moment.tzinfo or UTC).isoformat().replace("+00:00", "Z")
        )
        return
    with pytest.raises(ValueError, match="outside of the years 1 to 9999"):
        convert_to_utc(moment)
    assert limit_to_utc(moment) == (FIRST if moment < FIRST else LAST_MICROSECOND)
    assert convert_to_zone(moment, UTC).isoformat() == moment.isoformat()


@pytest.mark.parametrize(
    ("text", "zone", "stated"),
    [
        ("2026-03-08T02:30", "America/New_York", "2026-03-08T03:30:00-04:00"),
        ("2026-11-01T01:30", "America/New_York", "2026-11-01T01:30:00-04:00"),
        ("1900-01-01T00:00", "Asia/Seoul", "1899-12-31T15:32:08+00:00"),
        ("2026-08-01T00:00:00+09:00:30", "Asia/Seoul", "2026-07-31T14:59:30+00:00"),
        ("2026-08-01T00:00:00+02:00", "Asia/Seoul", "2026-08-01T00:00:00+02:00"),
        ("0001-01-01T00:00", "Asia/Seoul", "0001-01-01T00:00"),
        ("9999-12-31T23:59:59-05:00", "Asia/Seoul", "9999-12-31T23:59:59-05:00"),
        ("2026-08-01", "Asia/Seoul", "2026-08-01"),
    ],
)
def test_what_is_entered_has_an_offset_that_can_be_written(text: str, zone: str, stated: str) -> None:
    assert to_stated_moment(text, ZoneInfo(zone)) == stated


def test_a_sentence_keeps_what_only_looks_like_a_time_of_utc() -> None:
    with keep_display_zone():
        set_display_zone("Asia/Seoul")
        for text in ("2026-08-01T00:00:00+00:00:30", "2026-08-01T00:00:00Z9", "0000-01-01T00:00:00Z"):
            assert restate_times(text) == text
        assert restate_times("since 2026-08-01T00:00:00Z: why") == "since 2026-08-01T09:00:00+09:00: why"


@pytest.mark.parametrize(
    ("moment", "zone", "shown"),
    [
        (LAST, "Asia/Seoul", "9999-12-31T23:59:59Z"),
        (LAST, "America/New_York", "9999-12-31T18:59:59-05:00"),
        (LAST - timedelta(hours=9), "Asia/Seoul", "9999-12-31T23:59:59+09:00"),
        (LAST - timedelta(hours=9, seconds=-1), "Asia/Seoul", "9999-12-31T15:00:00Z"),
        (FIRST, "Pacific/Honolulu", "0001-01-01T00:00:00Z"),
        (datetime(1900, 1, 1, tzinfo=ZoneInfo("Asia/Seoul")), "Asia/Seoul", "1899-12-31T15:32:08Z"),
    ],
)
def test_without_a_time_in_the_zone_utc_is_shown(moment: datetime, zone: str, shown: str) -> None:
    with keep_display_zone():
        set_display_zone(zone)
        assert format_moment(moment) == shown
        sentence = f"it ends at {format_instant(moment, 'seconds')}."
        assert restate_times(sentence) == f"it ends at {shown}."


def test_a_page_says_in_which_zone_it_shows_the_end() -> None:
    seoul = ZoneInfo("Asia/Seoul")
    assert ">9999-12-31 23:59 UTC<" in format_time(LAST, seoul)
    assert ">0001-01-01 00:00 UTC<" in format_time(FIRST, ZoneInfo("Pacific/Honolulu"))
    assert "9999-12-31 23:59 UTC" in format_written_time("9999-12-31T23:59:59Z", seoul)


def test_days_at_the_ends_of_the_calendar() -> None:
    zones: list[tzinfo] = [ZoneInfo("Asia/Seoul"), ZoneInfo("America/New_York")]
    assert [begin_day(date.min, zone) for zone in zones] == [
        FIRST,
        FIRST + timedelta(hours=4, minutes=56, seconds=2),
    ]
    assert [end_day(date.max, zone) for zone in zones] == [LAST_MICROSECOND] * 2
