"""What a person writes into a field, or into a link, is bounded before anything is made of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.harmonize import FormValues, compose_form
from gateway.store import read_row_number
from gateway.web.console.filing.form_view import FormPainter
from gateway.web.console.page_formats import join_thousands, read_day, read_moment, read_quantity
from tests.kit.filling import shipped

SEOUL = ZoneInfo("Asia/Seoul")


@pytest.mark.parametrize("text", ["", "²", "１", "1_0", "-1", "+1", " 1", "1e5", "0x1", "9" * 19, "9" * 5000])
def test_no_number(text: str) -> None:
    assert read_row_number(text) is None


def test_numbers() -> None:
    assert (read_row_number("0"), read_row_number("9" * 18)) == (0, 10**18 - 1)


@pytest.mark.parametrize("text", ["1e999999999", "NaN", "Infinity", "-1", "1_0", "１", ".5", "5.", "9" * 41])
def test_no_quantity(text: str) -> None:
    assert read_quantity(text) is None


def test_quantities() -> None:
    assert read_quantity("1950.250") == Decimal("1950.250")


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("1,950", "1950"),
        ("12,345,678.50", "12345678.50"),
        ("999,000", "999000"),
        ("1950.5", "1950.5"),
        ("", ""),
    ],
)
def test_commas_that_group_thousands_are_left_out(text: str, joined: str) -> None:
    assert join_thousands(text) == joined


@pytest.mark.parametrize(
    "text",
    [
        "0,5",
        "1,5",
        "12,50",
        "1.950,0",
        "1950,000",
        "0,950",
        "1,950,0",
        ",950",
        "1,950.123,456",
        "1,,950",
        "5,",
    ],
)
def test_other_commas_stay_so_that_the_number_is_refused(text: str) -> None:
    assert join_thousands(text) == text
    assert read_quantity(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "0001-01-01", "9999-12-31T23:59", "0001-01-01T00:00+14:00", "2026-13-01", "2" * 99],
)
def test_no_moment(text: str) -> None:
    assert (read_moment(text, SEOUL), read_day(text)) == (None, None)


def test_moments() -> None:
    assert read_moment("2026-11-20T18:00", SEOUL) == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert read_moment("2026-11-20T18:00+02:00", SEOUL) == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert read_day("2026-11-20") == date(2026, 11, 20)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("2026-11-20", "date"), ("２０２６-11-20", "text"), ("2026-02-31", "text"), ("", "date")],
)
def test_a_browser_is_given_a_day_that_it_can_show(text: str, kind: str) -> None:
    """An input of type `date` shows nothing of another text, which would be lost."""
    form = compose_form(shipped(), ["KFDA-FOOD-IMP"])
    fields = (*form.shared_item, *form.sections["KFDA-FOOD-IMP"].item)
    (dated,) = [each for each in fields if each.name in ("expiry_date", "food.expires_on")]
    painter = FormPainter(shipped(), "en", FormValues(values={"i#1/x": text}), SEOUL)
    assert painter.draw_input("i#1/x", dated).kind == kind
