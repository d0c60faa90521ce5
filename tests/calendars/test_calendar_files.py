"""Files of calendars and terms: what they say, and every mistake with its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from gateway.calendars import (
    TermEdition,
    check_calendar_file,
    make_timetable,
    read_calendar,
    read_terms,
)
from gateway.errors import CALENDAR_WRONG, GatewayError

HEAD = """# calendar: made
# edition: 1
# organisations: KFDA NPQS
# valid_from: 2026-01-01
# valid_until: 2026-12-31
# rest_days: friday saturday
# hours: 08:30-17:00
"""
ROWS = "day,kind,name\n2026-05-01,holiday,One\n"
TERMS = (
    "# terms: made\n# edition: {edition}\n# valid_from: {start}\ndocument,acknowledge,decide,answer,remind\n"
)


def list_mistakes(text: str) -> list[str]:
    edition, mistakes = check_calendar_file(text.encode(), {"KFDA", "NPQS"}, {"KFDA-FOOD-IMP"})
    assert (edition is None) == bool(mistakes)
    return [f"{one.line}: {one.message}" for one in mistakes]


def test_a_calendar_says_week_hours_and_days() -> None:
    edition = read_calendar((HEAD + ROWS).encode(), "made.csv")
    assert edition.label == "made@1"
    assert edition.organisations == {"KFDA", "NPQS"}
    assert edition.rest_days == {4, 5}
    assert (edition.opens.isoformat(), edition.closes.isoformat()) == ("08:30:00", "17:00:00")
    assert edition.special[date(2026, 5, 1)].kind == "holiday"
    # The zone is that of Korea unless another is stated.
    assert edition.zone == "Asia/Seoul"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("# edition: 1\n", "", "1: `# edition: …` is missing before the names of the columns"),
        ("# edition: 1", "# edition 1", "2: expected `# key: value`"),
        ("# edition: 1", "# calendar: 1", "2: calendar is given again"),
        ("# edition: 1", "# editions: 1", "2: editions: expected one of calendar,"),
        ("KFDA NPQS", "KFDA XXXX", "3: organisations: 'XXXX' is not known"),
        ("2026-01-01", "2026-13-01", "4: valid_from: expected a day"),
        ("2026-12-31", "2025-12-31", "5: valid_until: expected within a hundred years"),
        ("2026-12-31", "9999-12-31", "5: valid_until: expected within a hundred years"),
        ("friday", "freitag", "6: rest_days: expected days"),
        ("08:30-17:00", "17:00-08:30", "7: hours: expected as 09:00-18:00"),
        ("08:30-17:00", "08:30-24:01", "7: hours: expected as 09:00-18:00"),
        ("# hours", "# zone: Asia/Seoull\n# hours", "7: zone: expected a time zone"),
        ("# hours", "# zone: ../../etc/passwd\n# hours", "7: zone: expected a time zone"),
        ("# hours", "# test: maybe\n# hours", "7: test: expected yes or no"),
        ("friday", "friday none", "6: rest_days: expected days"),
        ("valid_from: 2026", "valid_from: 0026", "4: valid_from: expected a year from 1900 to 2999"),
        ("day,kind,name", "day,name", "8: expected the columns day,kind,name"),
        ("2026-05-01,", "2026-02-30,", "9: day: expected a day"),
        ("2026-05-01,", "2027-05-01,", "9: 2027-05-01 is outside valid_from and valid_until"),
        ("holiday", "feast", "9: kind: expected holiday, substitute, working"),
        ("One\n", "One\n2026-05-01,working,\n", "10: 2026-05-01 stands in line 9 already"),
        ("One\n", "One,\n", "9: the row has 4 fields, the table 3 columns"),
        ("2026-05-01,holiday,One\n", "", "8: the table has no rows"),
    ],
)
def test_a_mistake_is_told_with_its_line(before: str, after: str, said: str) -> None:
    text = HEAD + ROWS
    assert before in text
    assert any(one.startswith(said) for one in list_mistakes(text.replace(before, after, 1)))


def test_a_file_that_is_no_text_or_too_long_is_wrong() -> None:
    for octets in (b"\xff\n", b"#" * (1024 * 1024 + 1)):
        with pytest.raises(GatewayError) as caught:
            read_calendar(octets, "made.csv")
        assert caught.value.problem is CALENDAR_WRONG
        assert caught.value.location == "made.csv:1"
        assert len(check_calendar_file(octets)[1]) == 1


@pytest.mark.parametrize("read", [read_calendar, read_terms])
def test_the_line_that_is_no_text_is_named(read: Callable[[bytes, str], object]) -> None:
    with pytest.raises(GatewayError) as caught:
        read((HEAD + ROWS).encode().replace(b"hours", b"\xff", 1), "made.csv")
    assert caught.value.location == "made.csv:7"
    assert caught.value.detail == "line 7: the file is not UTF-8"


def test_terms_name_documents_and_working_days() -> None:
    text = TERMS.format(edition=1, start="2026-01-01") + "KFDA-FOOD-IMP,1,10,,2\n*,,30,,\n"
    edition = read_terms(text.encode(), "terms.csv", {"KFDA-FOOD-IMP"})
    food = edition.terms["KFDA-FOOD-IMP"]
    assert (food.acknowledge, food.decide, food.answer, food.remind) == (1, 10, None, 2)
    assert edition.terms["*"].decide == 30


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("KFDA-FOOD,1,1,1,1", "5: document: 'KFDA-FOOD' is not known"),
        ("*,0,1,1,1", "5: acknowledge: expected 1 to 999 working days, or nothing"),
        ("*,1,1.5,1,1", "5: decide: expected"),
        ("*,1,1,1000,1", "5: answer: expected"),
        ("*,1,1,1,-1", "5: remind: expected"),
        ("*,1,1,1,1\n*,1,1,1,1", "6: * stands in line 5 already"),
    ],
)
def test_a_mistake_in_terms_is_told_with_its_line(row: str, said: str) -> None:
    text = TERMS.format(edition=1, start="2026-01-01") + row + "\n"
    assert any(one.startswith(said) for one in list_mistakes(text))


def make_terms(edition: str, start: str, rows: str) -> TermEdition:
    return read_terms((TERMS.format(edition=edition, start=start) + rows).encode(), "terms.csv")


def test_the_terms_loaded_last_count_and_a_named_document_before_every_one() -> None:
    old = make_terms("1", "2026-01-01", "KFDA-FOOD-IMP,,5,,\n*,,30,,\n")
    new = make_terms("2", "2026-07-01", "*,,20,,\n")
    timetable = make_timetable((old, new))
    found = [
        timetable.find_term(document, day)
        for day in (date(2025, 1, 1), date(2026, 1, 1), date(2026, 7, 1))
        for document in ("KFDA-FOOD-IMP", "NPQS-PLA-IMP")
    ]
    assert [one and one.decide for one in found] == [None, None, 5, 30, 5, 20]


def test_a_calendar_that_names_the_organisation_counts_before_one_for_all() -> None:
    own = read_calendar((HEAD + ROWS).encode(), "made.csv")
    text = (HEAD + ROWS).replace("KFDA NPQS", "*").replace("friday saturday", "sunday")
    every = read_calendar(text.encode(), "made.csv")
    timetable = make_timetable((own, every))
    friday = date(2026, 11, 20)
    assert not timetable.get_calendar("KFDA").is_working_day(friday)
    assert timetable.get_calendar("KPTA").is_working_day(friday)


def test_a_day_after_the_own_calendar_is_not_known_though_one_for_all_covers_it() -> None:
    """Before its own one the calendar for all counts; once it has one, nothing is guessed."""
    text = (HEAD + ROWS).replace("KFDA NPQS", "*").replace("friday saturday", "sunday")
    every = read_calendar(text.encode(), "made.csv")
    months = replace(every, organisations=frozenset({"KFDA"}), rest_days=frozenset({4, 5}))
    own = replace(months, valid_from=date(2026, 3, 1), valid_until=date(2026, 3, 31))
    timetable = make_timetable((own, every))
    kfda = timetable.get_calendar("KFDA")
    assert kfda.is_working_day(date(2026, 2, 27))
    assert not kfda.is_working_day(date(2026, 3, 27))
    with pytest.raises(GatewayError, match="GW710 KFDA: 2026-04-03 is outside the calendar"):
        kfda.is_working_day(date(2026, 4, 3))
    assert timetable.get_calendar("KPTA").is_working_day(date(2026, 4, 3))
