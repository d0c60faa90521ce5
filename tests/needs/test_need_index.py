"""The index finds what a scan over all rows finds, for every code, day, origin and use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.needs import GoodsQuery, NeedIndex, NeedRow, NeedTable, need_index
from tests.needs.need_kit import DAY, book, table

START = date(2020, 1, 1)


def ask(*tables: NeedTable, hs: str = "0301110000", **more: object) -> list[tuple[str, tuple[str, ...], str]]:
    """Return law, documents and certainty of each need of goods for import."""
    values: dict[str, object] = {"direction": "import", "day": DAY} | more
    query = GoodsQuery(hs, **values)  # type: ignore[arg-type]
    found = NeedIndex(tables, book()).find_needs(query)
    return [(one.law, one.documents, one.certainty) for one in found]


def test_ten_digits_are_certain_and_fewer_possible() -> None:
    rows = table("0301110000,import,01", "0301190000,import,02")
    assert ask(rows) == [("01", ("ONE-IMP", "TWO-IMP"), "certain")]
    assert ask(rows, hs="030111") == [("01", ("ONE-IMP", "TWO-IMP"), "possible")]
    assert ask(rows, hs="0301") == [
        ("01", ("ONE-IMP", "TWO-IMP"), "possible"),
        ("02", ("TWO-IMP",), "possible"),
    ]
    for hs in ("03", "030111", "03011100"):
        assert ("01", ("ONE-IMP", "TWO-IMP"), "possible") in ask(rows, hs=hs)
    assert ask(rows, hs="0302110000") == []
    assert ask(rows, direction="export") == []


def test_the_needs_of_the_goods_asked_last_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(need_index, "_MAX_CACHED_QUERIES", 2)
    index = NeedIndex([table("0301110000,import,01")], book())
    asked = [GoodsQuery(f"030111000{digit}", "import", DAY) for digit in range(3)]
    assert index.find_needs(asked[0]) is index.find_needs(replace(asked[0]))
    assert [len(index.find_needs(one)) for one in (*asked, asked[0])] == [1, 0, 0, 1]
    assert list(index._by_goods) == [asked[2], asked[0]]


def test_a_row_of_a_shorter_code_concerns_all_goods_below_it() -> None:
    rows = table("0301,import,01")
    assert ask(rows) == [("01", ("ONE-IMP", "TWO-IMP"), "certain")]
    assert ask(rows, hs="030111")[0][2] == "possible"


def test_of_the_code_of_another_country_six_digits_count() -> None:
    rows = table("0301110000,import,01", "0301119999,import,02")
    assert ask(rows, country="KR") == [("01", ("ONE-IMP", "TWO-IMP"), "certain")]
    assert [(law, how) for law, _, how in ask(rows, country="GB")] == [("01", "possible"), ("02", "possible")]


@pytest.mark.parametrize(
    ("origin", "use", "expected"),
    [
        ("CN", "7", ["01", "02", "03"]),
        ("VN", "8", ["01"]),
        ("US", "7", ["02", "03"]),
    ],
)
def test_origin_and_use_choose_the_rows(origin: str, use: str, expected: list[str]) -> None:
    rows = table(
        "0301110000,import,01,CN VN,",
        "0301110000,import,02,!VN !JP,",
        "0301110000,import,03,,7",
        columns="hs,direction,law,origin,use",
    )
    assert [law for law, _, _ in ask(rows, origin=origin, use=use)] == expected
    # Where origin and use are not known, all may hold.
    assert {how for _, _, how in ask(rows)} == {"possible"}
    assert len(ask(rows)) == 3


def test_a_law_is_answered_by_any_of_its_documents_or_by_those_for_the_goods() -> None:
    rows = table("0301110000,import,03", "0401110000,import,03", "1605110000,import,03")
    assert ask(rows) == [("03", ("FISH-IMP",), "certain")]
    assert ask(rows, hs="0401110000") == [("03", ("FOOD-IMP",), "certain")]
    assert ask(rows, hs="16") == [("03", ("FISH-IMP",), "possible")]
    named = table(
        "0301110000,import,01,TWO-IMP,",
        "0301110000,import,03,,LAND",
        columns="hs,direction,law,documents,organisation",
    )
    assert ask(named) == [("01", ("TWO-IMP",), "certain"), ("03", (), "certain")]


def test_what_the_mappings_do_not_have_is_named_without_documents() -> None:
    rows = table("0301110000,import,04,Elsewhere", columns="hs,direction,law,organisation")
    need = NeedIndex([rows], book()).find_needs(GoodsQuery("0301110000", "import", DAY))[0]
    assert (need.documents, need.organisations) == ((), ("Elsewhere",))


def test_the_next_edition_ends_the_one_before() -> None:
    old = table("0301110000,import,01")
    new = table("0301110000,import,02", edition="2", since="2026-01-01", until="2026-06-30")
    index = NeedIndex([new, old], book())
    for day, expected in (
        (date(2019, 12, 31), []),
        (date(2020, 1, 1), [("01", date(2020, 1, 1), date(2025, 12, 31))]),
        (date(2025, 12, 31), [("01", date(2020, 1, 1), date(2025, 12, 31))]),
        (date(2026, 1, 1), [("02", date(2026, 1, 1), date(2026, 6, 30))]),
        (date(2026, 6, 30), [("02", date(2026, 1, 1), date(2026, 6, 30))]),
        # The end of an edition does not bring the one before it back.
        (date(2026, 7, 1), []),
    ):
        found = index.find_needs(GoodsQuery("0301110000", "import", day))
        assert [(one.law, one.valid_from, one.valid_until) for one in found] == expected


def test_of_two_editions_of_one_day_the_later_loaded_holds_and_other_tables_stay() -> None:
    wrong, right = table("0301110000,import,01"), table("0301110000,import,02", edition="1b")
    other = table("0301110000,import,03", name="notice")
    assert [law for law, _, _ in ask(wrong, right, other)] == ["02", "03"]


def test_a_row_narrows_the_period_of_its_edition() -> None:
    rows = table(
        "0301110000,import,01,2021-01-01,2021-12-31", columns="hs,direction,law,valid_from,valid_until"
    )
    index = NeedIndex([rows], book())
    for day, count in ((date(2020, 12, 31), 0), (date(2021, 1, 1), 1), (date(2021, 12, 31), 1), (DAY, 0)):
        found = index.find_needs(GoodsQuery("0301110000", "import", day))
        assert len(found) == count
        for one in found:
            assert (one.valid_from, one.valid_until) == (date(2021, 1, 1), date(2021, 12, 31))


CODES = st.text(alphabet="01", min_size=10, max_size=10).flatmap(
    lambda code: st.sampled_from([2, 4, 6, 8, 10]).map(lambda length: code[:length])
)
COUNTRIES = st.sampled_from(["CN", "VN", "JP"])
DAYS = st.integers(min_value=0, max_value=40).map(lambda days: START + timedelta(days=days))


@st.composite
def rows_drawn(draw: st.DrawFn) -> NeedRow:
    start, length = draw(st.none() | DAYS), draw(st.none() | st.integers(0, 20))
    return NeedRow(
        hs=draw(CODES),
        direction=draw(st.sampled_from(["import", "export"])),
        law=draw(st.sampled_from(["01", "02", "03", "04"])),
        origins=draw(st.frozensets(COUNTRIES, max_size=2)),
        excludes_origins=draw(st.booleans()),
        uses=draw(st.frozensets(st.sampled_from(["1", "2"]), max_size=1)),
        valid_from=start,
        valid_until=None if length is None else (start or START) + timedelta(days=length),
    )


@st.composite
def tables_drawn(draw: st.DrawFn) -> NeedTable:
    length = draw(st.none() | st.integers(0, 30))
    start = draw(DAYS)
    return NeedTable(
        name=draw(st.sampled_from(["border", "notice"])),
        edition="1",
        country="KR",
        valid_from=start,
        valid_until=None if length is None else start + timedelta(days=length),
        is_test=False,
        source="",
        licence="",
        rows=tuple(draw(st.lists(rows_drawn(), max_size=12))),
        sha256="",
    )


def scan(tables: Iterable[NeedTable], query: GoodsQuery) -> Iterator[tuple[str, str, str]]:
    """Yield table, law and certainty of each row that concerns the goods: no index, no editions compiled."""
    known = list(tables)
    for name in {one.name for one in known}:
        begun = [one for one in known if one.name == name and one.valid_from <= query.day]
        if not begun:
            continue
        last = max(one.valid_from for one in begun)
        current = [one for one in begun if one.valid_from == last][-1]
        if current.valid_until is not None and query.day > current.valid_until:
            continue
        code = query.hs if query.country in (None, "KR") else query.hs[:6]
        for row in current.rows:
            concerns = code.startswith(row.hs) or row.hs.startswith(code)
            held = (row.valid_from or START) <= query.day <= (row.valid_until or date.max)
            far = row.origins and query.origin and (query.origin in row.origins) == row.excludes_origins
            other = row.uses and query.use and query.use not in row.uses
            if concerns and held and row.direction == query.direction and not far and not other:
                unknown = (row.origins and not query.origin) or (row.uses and not query.use)
                yield name, row.law, "possible" if len(code) < 10 or unknown else "certain"


@pytest.mark.night
@given(
    st.lists(tables_drawn(), max_size=4),
    CODES,
    st.sampled_from(["import", "export"]),
    DAYS,
    st.none() | COUNTRIES,
    st.none() | st.sampled_from(["1", "2"]),
    st.sampled_from([None, "KR", "GB"]),
)
@settings(max_examples=150, deadline=None)
def test_the_index_finds_what_a_scan_of_all_rows_finds(
    tables: list[NeedTable],
    hs: str,
    direction: str,
    day: date,
    origin: str | None,
    use: str | None,
    country: str | None,
) -> None:
    query = GoodsQuery(hs, direction, day, origin, use, country)
    expected: dict[tuple[str, str], str] = {}
    for name, law, certainty in scan(tables, query):
        if expected.get((law, name)) != "certain":
            expected[law, name] = certainty
    index = NeedIndex(tables, book())
    found = index.find_needs(query)
    assert {(one.law, one.table.partition("@")[0]): one.certainty for one in found} == expected
    assert len(found) == len(expected)
    assert found == index.find_needs(query)
    for one in found:
        assert one.valid_from <= day
        assert one.valid_until is None or day <= one.valid_until
