"""Charts are well-formed, to scale, escaped, and told by more than colour."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from lxml import etree

from gateway.web.console.charts import (
    Chart,
    Series,
    draw_bars,
    draw_columns,
    draw_lines,
    list_chart_rows,
)
from gateway.web.console.page_formats import answer_csv, escape_cell

CHART = Chart(
    "days",
    "Cases of each day",
    "Day",
    ("09-01", "09-02", "09-03"),
    (Series("approved", (4, 0, 8)), Series("refused", (4, 2, None))),
)


def read_picture(picture: str) -> etree._Element:
    return etree.fromstring(picture, etree.XMLParser(resolve_entities=False))


def list_heights(picture: str) -> list[float]:
    found = read_picture(picture).iterfind("{*}rect")
    return [float(one.get("height", "0")) for one in found if one.find("{*}title") is not None]


@pytest.mark.parametrize("draw", [draw_columns, draw_lines, draw_bars])
def test_a_chart_is_well_formed_and_has_a_title(draw) -> None:
    picture = read_picture(draw(CHART))
    assert picture.get("role") == "img"
    assert picture.findtext("{*}title") == "Cases of each day"


def test_columns_stand_upon_each_other_to_scale() -> None:
    four, other_four, two, eight = list_heights(draw_columns(CHART))
    assert four == other_four == pytest.approx(2 * two, abs=0.2)
    assert eight == pytest.approx(2 * four, abs=0.2)


def test_areas_differ_in_pattern_and_lines_in_dashes() -> None:
    hatches = {one.get("d") for one in read_picture(draw_columns(CHART)).iterfind(".//{*}pattern/{*}path")}
    assert len(hatches) == 2
    dashes = {one.get("stroke-dasharray") for one in read_picture(draw_lines(CHART)).iterfind("{*}path")}
    assert len(dashes - {None}) == 2


def test_a_line_is_interrupted_where_there_is_no_value() -> None:
    gap = replace(CHART, series=(Series("days", (1, None, 3)),))
    drawn = [one.get("d") for one in read_picture(draw_lines(gap)).iterfind("{*}path[@fill]")]
    assert drawn[0].count("M") == 2
    assert "L" not in drawn[0]


@pytest.mark.parametrize("draw", [draw_columns, draw_lines, draw_bars])
@pytest.mark.parametrize("largest", [0, 0.3, 1, 3, 99, 1_234_567])
def test_a_chart_of_any_size_stays_in_its_frame(draw, largest: float) -> None:
    picture = read_picture(draw(replace(CHART, series=(Series("all", (0, largest, largest / 2)),))))
    width, height = (float(one) for one in picture.get("viewBox").split()[2:])
    for one in picture.iter("{*}rect", "{*}text", "{*}circle"):
        assert 0 <= float(one.get("x", one.get("cx", "0"))) <= width
        assert 0 <= float(one.get("y", one.get("cy", "0"))) <= height


def test_a_chart_without_values_is_drawn() -> None:
    for draw in (draw_columns, draw_lines, draw_bars):
        assert read_picture(draw(Chart("none", "Nothing", "Day", (), ()))).tag.endswith("svg")


def test_texts_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    chart = Chart(evil, evil, evil, (evil,), (Series(evil, (1,)), Series(evil, (2,))))
    for draw in (draw_columns, draw_lines, draw_bars):
        assert not list(read_picture(draw(chart)).iter("{*}script"))


def test_the_table_has_the_values_of_the_chart() -> None:
    assert list_chart_rows(CHART)[2] == ("09-03", (8, None))


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_cell_is_no_formula(sign: str) -> None:
    assert escape_cell(f"{sign}cmd|' /C calc'!A0") == f"'{sign}cmd|' /C calc'!A0"


#: What Excel, where it parts cells at semicolons, and LibreOffice, which takes comma, semicolon and tab, do.
SEPARATORS = (",", ";", "\t")
FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
TEXTS = [
    f"{before}{sign}1+1"
    for sign in FORMULAS
    for before in (
        "",
        " ",
        '"',
        "a;",
        "a; ",
        'a;"',
        "a\t",
        "a\n",
        "a\r\n",
        "a;b;",
        "a; \n ",
        "\u00a0",
        "a\u2028",
    )
]


def read_cells(text: str, separator: str, *, quoting: bool) -> list[str]:
    """Return the cells that a spreadsheet sees; one that parts at another sign splits quoted texts, too."""
    rows = (
        csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        if quoting
        else [row.split(separator) for row in re.split("[\r\n\u2028]+", text)]
    )
    return [cell.strip(' "\u00a0') for row in rows for cell in row]


def test_no_spreadsheet_finds_a_formula_in_a_cell() -> None:
    for text in TEXTS:
        table = answer_csv("cases", ("a", text), [(text, "b"), ("c", text)]).get_data().decode("utf-8-sig")
        cells = [
            cell
            for separator in SEPARATORS
            for quoting in (False, True)
            for cell in read_cells(table, separator, quoting=quoting)
        ]
        assert [cell for cell in cells if cell.startswith(FORMULAS)] == [], text
        # Read as it is meant, it has its two columns.
        assert {len(row) for row in csv.reader(io.StringIO(table, newline=""))} == {2}


def test_a_cell_with_a_semicolon_or_a_tab_is_quoted() -> None:
    table = answer_csv("cases", ("a", "b"), [("steel; copper", "x\ty"), ("plain text", "10-20")])
    assert table.get_data().decode("utf-8-sig") == 'a,b\r\n"steel; copper","x\ty"\r\nplain text,10-20\r\n'


@pytest.mark.long
def test_a_long_cell_takes_time_in_proportion_to_its_length() -> None:
    for piece in (";", "\t", " ", '"', "; ", "a;", "=", ";="):
        begin = time.process_time()
        escape_cell(piece * 200_000)
        assert time.process_time() - begin < 2, piece


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (-5, "-5"),
        (1.5, "1.5"),
        ("a=b", "a=b"),
        ("steel, -5 mm; 3 - 4; a=b", "steel, -5 mm; 3 - 4; a=b"),
        ("a; -5", "a;' -5"),
        (date(2026, 9, 1), "2026-09-01"),
        (datetime(2026, 9, 1, 8, tzinfo=UTC), "2026-09-01T08:00:00+00:00"),
    ],
)
def test_other_cells_stay_as_they_are(value: object, cell: str) -> None:
    assert escape_cell(value) == cell


def test_a_list_is_an_attachment_that_spreadsheets_read_as_utf_8() -> None:
    answer = answer_csv("cases", ("번호", "reference"), [("1", 'a,"b"'), ("=1+1", None)])
    assert answer.headers["Content-Disposition"] == "attachment; filename=cases.csv"
    assert answer.content_type.startswith("text/csv")
    assert answer.get_data().decode() == '\ufeff번호,reference\r\n1,"a,""b"""\r\n\'=1+1,\r\n'


@pytest.mark.parametrize(("largest", "half"), [(1, False), (1.0, True)])
def test_what_is_counted_has_whole_steps(largest: float, half: bool) -> None:
    drawn = draw_columns(Chart("c", "Cases", "Day", ("a",), (Series("s", (largest,)),)))
    assert (">0.5<" in drawn) is half
