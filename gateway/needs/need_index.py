"""Finds the needs of goods: the rules of a folder, compiled into an index by direction and tariff code.

A code of ten digits of the table's country, with known origin and use, gives a *certain* need. A
shorter code, the code of another country (of which six digits count), or an unknown origin or use
gives a *possible* one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources.abc import Traversable
from operator import attrgetter
from typing import Final

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs.law_book import (
    DISCLAIMER_REASON_CODES,
    LawBook,
    MappedDocument,
    NeedRow,
    NeedTable,
    read_law_book,
)
from gateway.needs.need_table_reader import read_need_table

CERTAIN: Final = "certain"
POSSIBLE: Final = "possible"
_FULL_CODE_LENGTH: Final = 10
_INTERNATIONAL_CODE_LENGTH: Final = 6
#: The needs of at most this many goods are kept.
_MAX_CACHED_QUERIES: Final = 500
_CODE_LENGTHS: Final = (2, 4, 6, 8, 10)
#: The character that follows the digits.
_AFTER_DIGITS: Final = ":"
_get_row_code: Final = attrgetter("hs")
_get_row_line: Final = attrgetter("line")
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GoodsQuery:
    """A question about goods: tariff code, direction, day, and origin and use where they are known.

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

    def list_rows(self, direction: str, tariff_code: str) -> list[NeedRow]:
        """Return the rows whose code begins the given one, or continues it; equal ones as in the table."""
        rows, matching_rows = self.rows.get(direction, ()), list[NeedRow]()
        for length in self.lengths:
            if length > len(tariff_code):
                break
            start = bisect_left(rows, tariff_code[:length], key=_get_row_code)
            matching_rows += rows[start : bisect_right(rows, tariff_code[:length], start, key=_get_row_code)]
        if len(tariff_code) in _CODE_LENGTHS:
            start = bisect_right(rows, tariff_code, key=_get_row_code)
            end = bisect_left(rows, tariff_code + _AFTER_DIGITS, start, key=_get_row_code)
            matching_rows += sorted(rows[start:end], key=_get_row_line)
        return matching_rows


class NeedIndex:
    """The tables of needs of a gateway; the later of two tables wins where both begin on one day."""

    def __init__(self, tables: Sequence[NeedTable], book: LawBook) -> None:
        self.book = book
        self._editions = tuple(_compile_editions(tables))
        self._by_goods: dict[GoodsQuery, tuple[DocumentNeed, ...]] = {}

    @property
    def tables(self) -> tuple[NeedTable, ...]:
        """Return the editions that are in force on some day, by name and first day."""
        return tuple(edition.table for edition in self._editions)

    def get_end(self, table: NeedTable) -> date | None:
        """Return the last day of an edition, which the next edition may bring forward."""
        return next((edition.end for edition in self._editions if edition.table is table), table.valid_until)

    def list_tables(self, day: date) -> tuple[NeedTable, ...]:
        """Return the editions in force on a day."""
        return tuple(edition.table for edition in self._list_editions(day))

    def is_regulated(self, law: str, direction: str, day: date) -> bool:
        """Return whether a table in force on a day has a row of the law in this direction."""
        return any((direction, law) in edition.laws for edition in self._list_editions(day))

    def find_needs(self, query: GoodsQuery) -> tuple[DocumentNeed, ...]:
        """Return the needs of goods in the order of law and table, from a cache where it has them."""
        needs = self._by_goods.get(query)
        if needs is None:
            if len(self._by_goods) >= _MAX_CACHED_QUERIES:
                self._by_goods.clear()
            needs = self._by_goods[query] = self._find_in_editions(query)
        return needs

    def _find_in_editions(self, query: GoodsQuery) -> tuple[DocumentNeed, ...]:
        """Return the needs of all editions in force on the day of `query`, by law and table."""
        needs: list[DocumentNeed] = []
        for edition in self._list_editions(query.day):
            needs += self._find_in_edition(edition, query)
        return tuple(sorted(needs, key=lambda need: (need.law, need.table)))

    def _list_editions(self, day: date) -> tuple[_Edition, ...]:
        return tuple(edition for edition in self._editions if edition.is_in_force(day))

    def _find_in_edition(self, edition: _Edition, query: GoodsQuery) -> Iterable[DocumentNeed]:
        """Return one need for each law whose rows in `edition` hold for the goods of `query`.

        Of a foreign code only the international digits are compared. A code that is not complete makes no
        need certain.
        """
        is_foreign_code = query.country is not None and query.country != edition.table.country
        tariff_code = query.hs[:_INTERNATIONAL_CODE_LENGTH] if is_foreign_code else query.hs
        rows_by_law: dict[str, list[tuple[NeedRow, bool]]] = {}
        for row in edition.list_rows(query.direction, tariff_code):
            is_certain = _match_row(row, query)
            if is_certain is not None:
                rows_by_law.setdefault(row.law, []).append(
                    (row, is_certain and len(tariff_code) == _FULL_CODE_LENGTH)
                )
        return [self._make_need(edition, query.direction, tariff_code, rows) for rows in rows_by_law.values()]

    def _make_need(
        self, edition: _Edition, direction: str, tariff_code: str, rows: list[tuple[NeedRow, bool]]
    ) -> DocumentNeed:
        """Return the need of one law from its `rows`; each row comes with True if it holds for certain."""
        # Where some rows hold for certain, those that only may hold add nothing.
        certain_rows = [row for row, is_certain in rows if is_certain]
        effective_rows = certain_rows or [row for row, _ in rows]
        documents: dict[str, None] = {}
        for row in effective_rows:
            documents |= dict.fromkeys(self._list_row_documents(row, direction, tariff_code))
        organisations = dict.fromkeys([self.book.organisations[document] for document in documents])
        stated_organisations = dict.fromkeys([row.organisation for row in effective_rows if row.organisation])
        first_days = [row.valid_from for row in effective_rows if row.valid_from is not None]
        accepted_reasons = set(DISCLAIMER_REASON_CODES).intersection(
            *[row.exemptions for row in effective_rows]
        )
        last_days = [
            day for day in (edition.end, *(row.valid_until for row in effective_rows)) if day is not None
        ]
        return DocumentNeed(
            law=effective_rows[0].law,
            documents=tuple(documents),
            organisations=tuple(organisations or stated_organisations),
            certainty=CERTAIN if certain_rows else POSSIBLE,
            mandatory=any([row.mandatory for row in effective_rows]),
            exemptions="".join([reason for reason in DISCLAIMER_REASON_CODES if reason in accepted_reasons]),
            table=edition.table.label,
            is_test=edition.table.is_test,
            valid_from=max([edition.table.valid_from, *first_days]),
            valid_until=min(last_days, default=None),
        )

    def _list_row_documents(self, row: NeedRow, direction: str, tariff_code: str) -> tuple[str, ...]:
        """Return the documents of a row that the mappings have; a shorter code of the row counts."""
        organisation_by_document = self.book.organisations
        longer_code = tariff_code if len(tariff_code) >= len(row.hs) else row.hs
        candidates = row.documents or self.book.find_documents(row.law, direction, longer_code)
        return tuple(
            document
            for document in candidates
            if document in organisation_by_document
            and row.organisation in ("", organisation_by_document[document])
        )


def _match_row(need_row: NeedRow, query: GoodsQuery) -> bool | None:
    """Return whether a row holds for certain; None where it does not hold."""
    if (need_row.valid_from and query.day < need_row.valid_from) or (
        need_row.valid_until and query.day > need_row.valid_until
    ):
        return None
    is_certain = True
    if need_row.origins:
        if query.origin is None:
            is_certain = False
        elif (query.origin in need_row.origins) == need_row.excludes_origins:
            return None
    if need_row.uses:
        if query.use is None:
            is_certain = False
        elif query.use not in need_row.uses:
            return None
    return is_certain


def _compile_editions(tables: Sequence[NeedTable]) -> Iterable[_Edition]:
    """Yield the editions of each table; each one ends at the latest the day before the next one begins."""
    tables_by_name: dict[str, dict[date, NeedTable]] = {}
    for table in tables:
        tables_by_name.setdefault(table.name, {})[table.valid_from] = table
    for _, table_by_day in sorted(tables_by_name.items()):
        first_days = sorted(table_by_day)
        for first_day, next_first_day in zip(first_days, [*first_days[1:], None], strict=True):
            yield _compile_edition(table_by_day[first_day], next_first_day)


def _compile_edition(table: NeedTable, next_first_day: date | None) -> _Edition:
    """Return the edition of `table`, which ends before `next_first_day` (None: there is no later one)."""
    last_days = [
        day for day in (table.valid_until, next_first_day and next_first_day - _ONE_DAY) if day is not None
    ]
    rows_by_direction: dict[str, list[NeedRow]] = {}
    for row in sorted(table.rows, key=_get_row_code):
        rows_by_direction.setdefault(row.direction, []).append(row)
    return _Edition(
        table,
        min(last_days, default=None),
        {direction: tuple(direction_rows) for direction, direction_rows in rows_by_direction.items()},
        tuple(sorted({len(row.hs) for row in table.rows})),
        frozenset((row.direction, row.law) for row in table.rows),
    )


#: The folder of the rules of need, in a folder of mappings.
FOLDER: Final = "needs"
#: The tables read last, by name and content: a folder is loaded several times.
_TABLE_CACHE: Final[dict[tuple[str, bytes], NeedTable]] = {}
_MAX_CACHED_TABLES: Final = 8


@dataclass(frozen=True, slots=True)
class NeedRules:
    """The law book and the tables of a folder of mappings."""

    book: LawBook
    tables: tuple[NeedTable, ...]

    def make_index(self, loaded_tables: Sequence[NeedTable] = (), *, test_editions: bool = True) -> NeedIndex:
        """Return the index of these tables and of those that operators loaded.

        Without `test_editions`, the editions that are marked so are left out.
        """
        tables = [table for table in (*self.tables, *loaded_tables) if test_editions or not table.is_test]
        return NeedIndex(tables, self.book)


def load_need_rules(mappings_folder: Traversable, documents: Iterable[MappedDocument]) -> NeedRules:
    """Return the rules in a folder of mappings; raise GW512 naming file, line and column."""
    folder = mappings_folder.joinpath(FOLDER)
    laws_csv, choices_csv = (_read_text(folder.joinpath(name)) for name in ("laws.csv", "choices.csv"))
    return NeedRules(
        read_law_book(laws_csv, choices_csv, documents), tuple(_load_tables(folder.joinpath("tables")))
    )


def _load_tables(folder: Traversable) -> Iterable[NeedTable]:
    if not folder.is_dir():
        return
    for table_file in sorted(folder.iterdir(), key=lambda one: one.name):
        if table_file.name.endswith(".csv") and table_file.is_file():
            yield _load_table(table_file)


def _load_table(table_file: Traversable) -> NeedTable:
    """Return the table in a file; a table with the same name and octets is parsed only once."""
    octets = table_file.read_bytes()
    table = _TABLE_CACHE.get((table_file.name, octets))
    if table is None:
        table = _TABLE_CACHE[table_file.name, octets] = read_need_table(octets, table_file.name)
        for old_key in list(_TABLE_CACHE)[:-_MAX_CACHED_TABLES]:
            _TABLE_CACHE.pop(old_key, None)
    return table


def _read_text(rules_file: Traversable) -> str:
    """Return the text of a UTF-8 file, with or without byte order mark; raise GW512 if it cannot be read."""
    try:
        return rules_file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise GatewayError(
            NEED_TABLE_WRONG, f"{rules_file.name} cannot be read: {reason}", rules_file.name
        ) from None


@dataclass(frozen=True, slots=True)
class TableDifference:
    """The rows that only the second table has, only the first has, or both have with different content."""

    added: tuple[NeedRow, ...]
    removed: tuple[NeedRow, ...]
    changed: tuple[tuple[NeedRow, NeedRow], ...]


@dataclass(frozen=True, slots=True)
class NeedDifference:
    """How the needs of goods change: the laws that come and go, and needs of one law that are others."""

    added: tuple[DocumentNeed, ...]
    removed: tuple[DocumentNeed, ...]
    changed: tuple[tuple[DocumentNeed, DocumentNeed], ...]

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.added or self.removed or self.changed)


def compare_tables(old_table: NeedTable, new_table: NeedTable) -> TableDifference:
    """Return the changes from the first table to the second, in the order of code, direction and law."""
    old_rows, new_rows = _group_rows(old_table.rows), _group_rows(new_table.rows)
    added_rows: list[NeedRow] = []
    removed_rows: list[NeedRow] = []
    changed_rows: list[tuple[NeedRow, NeedRow]] = []
    for key in sorted({*old_rows, *new_rows}):
        old_only = [
            row
            for row in old_rows.get(key, ())
            if row.content not in {same_key.content for same_key in new_rows.get(key, ())}
        ]
        new_only = [
            row
            for row in new_rows.get(key, ())
            if row.content not in {same_key.content for same_key in old_rows.get(key, ())}
        ]
        changed_rows += zip(old_only, new_only, strict=False)
        removed_rows += old_only[len(new_only) :]
        added_rows += new_only[len(old_only) :]
    return TableDifference(tuple(added_rows), tuple(removed_rows), tuple(changed_rows))


def _group_rows(rows: Iterable[NeedRow]) -> dict[tuple[str, ...], list[NeedRow]]:
    rows_by_key: dict[tuple[str, ...], list[NeedRow]] = {}
    for row in rows:
        rows_by_key.setdefault(row.key, []).append(row)
    return rows_by_key


def compare_needs(old_needs: Iterable[DocumentNeed], new_needs: Iterable[DocumentNeed]) -> NeedDifference:
    """Return how needs change, by law and table; the edition and its period are not compared."""
    old_by_key, new_by_key = (
        {_make_need_key(need): need for need in needs} for needs in (old_needs, new_needs)
    )
    common_needs = [
        (old_by_key[key], new_by_key[key]) for key in sorted(old_by_key.keys() & new_by_key.keys())
    ]
    return NeedDifference(
        tuple(new_by_key[key] for key in sorted(new_by_key.keys() - old_by_key.keys())),
        tuple(old_by_key[key] for key in sorted(old_by_key.keys() - new_by_key.keys())),
        tuple(
            (was, now)
            for was, now in common_needs
            if _list_compared_values(was) != _list_compared_values(now)
        ),
    )


def _make_need_key(need: DocumentNeed) -> tuple[str, str]:
    return need.law, need.table.partition("@")[0]


def _list_compared_values(need: DocumentNeed) -> tuple[object, ...]:
    return need.documents, need.organisations, need.certainty, need.mandatory, need.exemptions
