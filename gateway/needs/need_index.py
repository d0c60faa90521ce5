"""Finds the needs of goods: the tables compiled into an index by direction and tariff code.

A code of ten digits of the table's country, with known origin and use, gives a *certain* need. A
shorter code, the code of another country (of which six digits count), or an unknown origin or use
gives a *possible* one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import Final

from gateway.needs.law_book import LawBook
from gateway.needs.need_tables import REASONS, NeedRow, NeedTable

__all__ = ["CERTAIN", "POSSIBLE", "DocumentNeed", "GoodsQuery", "NeedIndex"]

CERTAIN: Final = "certain"
POSSIBLE: Final = "possible"
_FULL: Final = 10
_INTERNATIONAL: Final = 6
#: The needs of so many goods are kept.
_MOST_KEPT: Final = 500
_LENGTHS: Final = (2, 4, 6, 8, 10)
#: The character that follows the digits.
_AFTER_DIGITS: Final = ":"
_get_code: Final = attrgetter("hs")
_get_line: Final = attrgetter("line")
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GoodsQuery:
    """What is asked: the tariff code, the direction, the day, and what is known of origin and use.

    `country` is the country of the code; None: that of the table.
    """

    hs: str
    direction: str
    day: date
    origin: str | None = None
    use: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentNeed:
    """One law that asks a document for the goods; any one of `documents` answers it.

    `documents` are empty where no document of the mappings is under the law: another authority is
    asked, outside this gateway. `valid_until` is the last day, None while no end is known.
    """

    law: str
    documents: tuple[str, ...]
    organisations: tuple[str, ...]
    certainty: str
    mandatory: bool
    exemptions: str
    table: str
    is_test: bool
    valid_from: date
    valid_until: date | None

    @property
    def is_certain(self) -> bool:
        """Return whether the goods need the document for certain."""
        return self.certainty == CERTAIN


@dataclass(frozen=True, slots=True)
class _Edition:
    """One edition with the days on which it is in force, and its rows by direction, in the order of codes."""

    table: NeedTable
    end: date | None
    rows: Mapping[str, Sequence[NeedRow]]
    lengths: tuple[int, ...]
    laws: frozenset[tuple[str, str]]

    def is_in_force(self, day: date) -> bool:
        """Return whether the edition is in force on a day."""
        return self.table.valid_from <= day and (self.end is None or day <= self.end)

    def list_rows(self, direction: str, code: str) -> list[NeedRow]:
        """Return the rows whose code begins the given one, or continues it; equal ones as in the table."""
        rows, found = self.rows.get(direction, ()), list[NeedRow]()
        for length in self.lengths:
            if length > len(code):
                break
            start = bisect_left(rows, code[:length], key=_get_code)
            found += rows[start : bisect_right(rows, code[:length], start, key=_get_code)]
        if len(code) in _LENGTHS:
            start = bisect_right(rows, code, key=_get_code)
            end = bisect_left(rows, code + _AFTER_DIGITS, start, key=_get_code)
            found += sorted(rows[start:end], key=_get_line)
        return found


class NeedIndex:
    """The tables of needs of a gateway; the later of two tables wins where both begin on one day."""

    def __init__(self, tables: Sequence[NeedTable], book: LawBook) -> None:
        self.book = book
        self._editions = tuple(_compile_editions(tables))
        self._by_day: dict[date, tuple[_Edition, ...]] = {}
        self._by_goods: dict[GoodsQuery, tuple[DocumentNeed, ...]] = {}

    @property
    def tables(self) -> tuple[NeedTable, ...]:
        """Return the editions that are in force on some day, by name and first day."""
        return tuple(one.table for one in self._editions)

    def get_end(self, table: NeedTable) -> date | None:
        """Return the last day of an edition, which the next edition may bring forward."""
        return next((one.end for one in self._editions if one.table is table), table.valid_until)

    def list_tables(self, day: date) -> tuple[NeedTable, ...]:
        """Return the editions in force on a day."""
        return tuple(one.table for one in self._list_editions(day))

    def is_regulated(self, law: str, direction: str, day: date) -> bool:
        """Return whether a table in force on a day has a row of the law in this direction."""
        return any((direction, law) in one.laws for one in self._list_editions(day))

    def find_needs(self, query: GoodsQuery) -> tuple[DocumentNeed, ...]:
        """Return the needs of goods, by law and table; kept, since traders declare the same goods again."""
        known = self._by_goods.get(query)
        if known is None:
            if len(self._by_goods) >= _MOST_KEPT:
                self._by_goods.clear()
            known = self._by_goods[query] = self._find_in_editions(query)
        return known

    def _find_in_editions(self, query: GoodsQuery) -> tuple[DocumentNeed, ...]:
        found: list[DocumentNeed] = []
        for edition in self._list_editions(query.day):
            found += self._find_in_edition(edition, query)
        return tuple(sorted(found, key=lambda one: (one.law, one.table)))

    def _list_editions(self, day: date) -> tuple[_Edition, ...]:
        known = self._by_day.get(day)
        if known is None:
            if len(self._by_day) > 400:
                self._by_day.clear()
            known = self._by_day[day] = tuple(one for one in self._editions if one.is_in_force(day))
        return known

    def _find_in_edition(self, edition: _Edition, query: GoodsQuery) -> Iterable[DocumentNeed]:
        foreign = query.country is not None and query.country != edition.table.country
        code = query.hs[:_INTERNATIONAL] if foreign else query.hs
        by_law: dict[str, list[tuple[NeedRow, bool]]] = {}
        for row in edition.list_rows(query.direction, code):
            known = _match_row(row, query)
            if known is not None:
                by_law.setdefault(row.law, []).append((row, known and len(code) == _FULL))
        return [self._make_need(edition, query.direction, code, rows) for rows in by_law.values()]

    def _make_need(
        self, edition: _Edition, direction: str, code: str, rows: list[tuple[NeedRow, bool]]
    ) -> DocumentNeed:
        # Where some rows hold for certain, those that only may hold add nothing.
        certain = [row for row, known in rows if known]
        used = certain or [row for row, _ in rows]
        documents: dict[str, None] = {}
        for row in used:
            documents |= dict.fromkeys(self._list_row_documents(row, direction, code))
        organisations = dict.fromkeys([self.book.organisations[one] for one in documents])
        stated = dict.fromkeys([row.organisation for row in used if row.organisation])
        starts = [row.valid_from for row in used if row.valid_from is not None]
        accepted = set(REASONS).intersection(*[row.exemptions for row in used])
        ends = [day for day in (edition.end, *(row.valid_until for row in used)) if day is not None]
        return DocumentNeed(
            law=used[0].law,
            documents=tuple(documents),
            organisations=tuple(organisations or stated),
            certainty=CERTAIN if certain else POSSIBLE,
            mandatory=any([row.mandatory for row in used]),
            exemptions="".join([one for one in REASONS if one in accepted]),
            table=edition.table.label,
            is_test=edition.table.is_test,
            valid_from=max([edition.table.valid_from, *starts]),
            valid_until=min(ends, default=None),
        )

    def _list_row_documents(self, row: NeedRow, direction: str, code: str) -> tuple[str, ...]:
        """Return the documents of a row that the mappings have; a shorter code of the row counts."""
        owners = self.book.organisations
        goods = code if len(code) >= len(row.hs) else row.hs
        named = row.documents or self.book.find_documents(row.law, direction, goods)
        return tuple(one for one in named if one in owners and row.organisation in ("", owners[one]))


def _match_row(row: NeedRow, query: GoodsQuery) -> bool | None:
    """Return whether a row holds for certain; None where it does not hold."""
    if (row.valid_from and query.day < row.valid_from) or (row.valid_until and query.day > row.valid_until):
        return None
    known = True
    if row.origins:
        if query.origin is None:
            known = False
        elif (query.origin in row.origins) == row.excludes_origins:
            return None
    if row.uses:
        if query.use is None:
            known = False
        elif query.use not in row.uses:
            return None
    return known


def _compile_editions(tables: Sequence[NeedTable]) -> Iterable[_Edition]:
    by_name: dict[str, dict[date, NeedTable]] = {}
    for table in tables:
        by_name.setdefault(table.name, {})[table.valid_from] = table
    for _, editions in sorted(by_name.items()):
        starts = sorted(editions)
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            yield _compile_edition(editions[start], following)


def _compile_edition(table: NeedTable, following: date | None) -> _Edition:
    ends = [day for day in (table.valid_until, following and following - _ONE_DAY) if day is not None]
    rows: dict[str, list[NeedRow]] = {}
    for row in sorted(table.rows, key=_get_code):
        rows.setdefault(row.direction, []).append(row)
    return _Edition(
        table,
        min(ends, default=None),
        {direction: tuple(found) for direction, found in rows.items()},
        tuple(sorted({len(row.hs) for row in table.rows})),
        frozenset((row.direction, row.law) for row in table.rows),
    )
