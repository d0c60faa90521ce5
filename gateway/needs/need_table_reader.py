"""Reads a table of needs from CSV, and reports every mistake with its line and column.

The file begins with lines ``# key: value`` that describe the edition. Then come a line of column
names and the rows.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs.law_book import DIRECTIONS, REASONS, NeedRow, NeedTable, TableMistake
from gateway.wire import parse_day

REQUIRED_COLUMNS: Final = ("hs", "direction", "law")
COLUMNS: Final = (
    *REQUIRED_COLUMNS,
    *("origin", "use", "documents", "organisation", "mandatory", "exemptions", "valid_from", "valid_until"),
)
_HS: Final = re.compile(r"[0-9]{2}(?:[0-9]{2}){0,4}")
_LAW: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_USE: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_MOST_CHARACTERS: Final = 40
#: Thousands of rows name few origins, uses and documents: equal ones are one object.
_share_words: Final = lru_cache(1024)(frozenset[str])
#: An empty set of names allows every name.
_ANY: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names that the rows of a table may use; an empty set allows every name.

    `answers` are the documents, with the organisation of each, by law and direction.
    """

    laws: frozenset[str] = _ANY
    documents: frozenset[str] = _ANY
    organisations: frozenset[str] = _ANY
    countries: frozenset[str] = _ANY
    answers: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)


NO_NAMES: Final = TableNames()


@dataclass(frozen=True, slots=True)
class _Period:
    """The first and the last day on which a table or a row is in force; None where it is open."""

    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class _ColumnMistake:
    """A mistake in a row: the name of the column, and a sentence that describes the mistake."""

    column: str
    message: str


def _read_row(
    line: int, fields: Mapping[str, str], names: TableNames, period: _Period
) -> tuple[NeedRow, list[_ColumnMistake]]:
    """Return the row of these fields with its mistakes.

    `period` is the validity of the edition, which the validity of a row may only narrow.
    """
    reading = _RowReading({name: sys.intern(text.strip()) for name, text in fields.items()}, names, [])
    origins, excludes = reading.read_origins()
    validity = reading.read_period(period)
    row = NeedRow(
        hs=reading.read_pattern("hs", _HS, "2, 4, 6, 8 or 10 digits"),
        direction=reading.read_choice("direction", DIRECTIONS),
        law=reading.read_listed_text("law", _LAW, names.laws, "a law of laws.csv"),
        origins=origins,
        excludes_origins=excludes,
        uses=_share_words(
            reading.read_words("use", lambda word: bool(_USE.fullmatch(word)), "codes of uses")
        ),
        documents=reading.read_words(
            "documents",
            lambda document: not names.documents or document in names.documents,
            "ids of documents of the mappings",
        ),
        organisation=reading.read_organisation(),
        mandatory=reading.read_choice("mandatory", ("yes", "no"), "yes") == "yes",
        exemptions=reading.read_exemptions(),
        valid_from=validity.first,
        valid_until=validity.last,
        line=line,
    )
    if not reading.mistakes:
        reading.check_answers(row)
    return row, reading.mistakes


@dataclass(slots=True)
class _RowReading:
    fields: Mapping[str, str]
    names: TableNames
    mistakes: list[_ColumnMistake]

    def _add_mistake(self, name: str, expected: str) -> None:
        text = self.fields.get(name, "")[:_MOST_CHARACTERS] or "nothing"
        self.mistakes.append(_ColumnMistake(name, f"expected {expected}, found {text}"))

    def read_pattern(self, name: str, pattern: re.Pattern[str], expected: str) -> str:
        """Return the text of a column that has a form."""
        text = self.fields.get(name, "")
        if not pattern.fullmatch(text):
            self._add_mistake(name, expected)
        return text

    def read_listed_text(
        self, name: str, pattern: re.Pattern[str], names: frozenset[str], expected: str
    ) -> str:
        """Return the text of a column that has a form and is one of the known texts."""
        text = self.fields.get(name, "")
        if not pattern.fullmatch(text) or (names and text not in names):
            self._add_mistake(name, expected)
        return text

    def read_choice(self, name: str, choices: tuple[str, ...], default: str = "") -> str:
        """Return one of the choices; the default where the column is empty or absent."""
        text = self.fields.get(name, "") or default
        if text not in choices:
            self._add_mistake(name, " or ".join(choices))
        return text

    def read_words(self, name: str, is_good: Callable[[str], bool], expected: str) -> tuple[str, ...]:
        """Return the words of a column, which are parted by spaces and distinct."""
        entries = tuple(self.fields.get(name, "").split())
        if not all(is_good(entry) for entry in entries) or len(set(entries)) != len(entries):
            self._add_mistake(name, f"{expected}, each once, parted by spaces")
        return entries

    def read_origins(self) -> tuple[frozenset[str], bool]:
        """Return the countries of origin, and whether they are those that the row leaves out."""
        entries = tuple(self.fields.get("origin", "").split())
        excluded = [entry for entry in entries if entry.startswith("!")]
        codes = [entry.removeprefix("!") for entry in entries]
        countries = self.names.countries
        wrong = [
            code for code in codes if not _COUNTRY.fullmatch(code) or (countries and code not in countries)
        ]
        if wrong or len(set(codes)) != len(codes) or len(excluded) not in (0, len(entries)):
            self._add_mistake("origin", "country codes, all of them with ! or none, parted by spaces")
        return _share_words(tuple(codes)), bool(excluded)

    def read_organisation(self) -> str:
        """Return the organisation, empty where the row names none."""
        text = self.fields.get("organisation", "")
        if text and self.names.organisations and text not in self.names.organisations:
            self._add_mistake("organisation", "an organisation of the mappings")
        return text

    def check_answers(self, row: NeedRow) -> None:
        """Add a mistake where no document, or not each one that is named, can answer the row.

        A law without any document of the mappings asks for one of another authority, which may be named.
        """
        answering = self.names.answers.get((row.law, row.direction), {})
        under = f"under law {row.law} for an {row.direction}"
        if any(document not in answering for document in row.documents) and self.names.answers:
            self._add_mistake("documents", f"documents {under}")
        elif row.organisation and answering:
            candidates = row.documents or tuple(answering)
            if all(answering[document] != row.organisation for document in candidates):
                whose = "one of these documents" if row.documents else f"a document {under}"
                self._add_mistake("organisation", f"an organisation that has {whose}")

    def read_exemptions(self) -> str:
        """Return the reasons of a disclaimer that the row accepts: all by default, none for ``-``."""
        text = self.fields.get("exemptions", "").replace(" ", "")
        if text == "-":
            return ""
        if any(letter not in REASONS for letter in text) or len(set(text)) != len(text):
            self._add_mistake("exemptions", f"letters of {REASONS}, or - for none")
        return text or REASONS

    def read_period(self, period: _Period) -> _Period:
        """Return the first and last day of the row, which lie in the period of its edition."""
        days = [self._read_day("valid_from"), self._read_day("valid_until")]
        first, last = period.first, period.last
        if days[0] and ((first and days[0] < first) or (last and days[0] > last)):
            self._add_mistake("valid_from", "a day in the period of the edition")
        if days[1] and ((days[0] or first) and days[1] < (days[0] or first or date.min)):
            self._add_mistake("valid_until", "a day not before the first one")
        elif days[1] and last and days[1] > last:
            self._add_mistake("valid_until", "a day in the period of the edition")
        return _Period(days[0], days[1])

    def _read_day(self, name: str) -> date | None:
        text = self.fields.get(name, "")
        day = parse_day(text)
        if text and day is None:
            self._add_mistake(name, "a day as 2027-01-01")
        return day


MOST_OCTETS: Final = 32 * 1024 * 1024
MOST_MISTAKES: Final = 100
_ALWAYS: Final = (date.min, date.max)
_COMMENT: Final = re.compile(r"#\s*([a-z_]+)\s*:\s*(.*)")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_EDITION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,29}")
_KEYS: Final = ("table", "edition", "country", "valid_from", "valid_until", "test", "source", "licence")
_REQUIRED_KEYS: Final = ("table", "edition", "valid_from")


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A file that was read: the table where it has no mistake, else the mistakes (at most a hundred)."""

    table: NeedTable | None
    mistakes: tuple[TableMistake, ...]


def read_need_table(octets: bytes, location: str, names: TableNames = NO_NAMES) -> NeedTable:
    """Return the table of a file; raise GW512 with line and column of the first mistake."""
    checked = check_need_table(octets, names)
    if checked.table is not None:
        return checked.table
    first = checked.mistakes[0]
    omitted = len(checked.mistakes) - 1
    message = f"{first.message} (and {omitted} more)" if omitted else first.message
    raise GatewayError(NEED_TABLE_WRONG, f"{first.location}: {message}", f"{location}:{first.line}")


def check_need_table(octets: bytes, names: TableNames = NO_NAMES) -> CheckedTable:
    """Return the table of a file, or its mistakes; `names` are the names that its rows may use."""
    reading = _TableReading(names)
    if len(octets) > MOST_OCTETS:
        reading.add_mistake(1, f"the file has more than {MOST_OCTETS} octets")
    else:
        try:
            reading.read_file(octets.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = octets.count(b"\n", 0, error.start) + 1
            reading.add_mistake(line, "the file is not UTF-8")
    mistakes = tuple(sorted(reading.mistakes, key=lambda one: (one.line, one.column))[:MOST_MISTAKES])
    return CheckedTable(None if mistakes else reading.make_table(octets), mistakes)


@dataclass(slots=True)
class _TableReading:
    names: TableNames
    mistakes: list[TableMistake] = field(default_factory=list)
    head: dict[str, str] = field(default_factory=dict)
    period: _Period = _Period()
    rows: list[NeedRow] = field(default_factory=list)

    def add_mistake(self, line: int, message: str, column: int = 0, name: str = "") -> None:
        self.mistakes.append(TableMistake(line, column, name, message))

    def read_file(self, text: str) -> None:
        """Read the describing lines, the column names and the rows."""
        lines = text.splitlines(keepends=True)
        count = 0
        while count < len(lines) and lines[count].startswith("#"):
            self._read_comment(lines[count].strip(), count + 1)
            count += 1
        self._check_head(count)
        rows = self._list_rows("".join(lines[count:]), count)
        header = next(rows, None)
        if header is None:
            self.add_mistake(count + 1, "the names of the columns are missing")
        elif self._check_columns(*header):
            self._read_rows(header[1], rows)

    def _read_comment(self, text: str, line: int) -> None:
        match = _COMMENT.fullmatch(text)
        if match is None or match[1] not in _KEYS:
            self.add_mistake(line, f"expected `# key: value` with a key of {', '.join(_KEYS)}")
        elif match[1] in self.head:
            self.add_mistake(line, f"{match[1]} is given again")
        else:
            self.head[match[1]] = match[2].strip()
            self._check_head_value(match[1], match[2].strip(), line)

    def _check_head_value(self, key: str, value: str, line: int) -> None:
        patterns = {"table": _NAME, "edition": _EDITION, "country": _COUNTRY}
        if key in patterns and not patterns[key].fullmatch(value):
            shape = {"table": "small letters, digits and -", "edition": "letters, digits, . and -"}
            self.add_mistake(line, f"{key}: expected {shape.get(key, 'a country code as KR')}")
        elif key == "country" and self.names.countries and value not in self.names.countries:
            self.add_mistake(line, f"country: expected a code of ISO 3166 as KR, found {value}")
        if key == "test" and value not in ("yes", "no"):
            self.add_mistake(line, "test: expected yes or no")
        if key in ("valid_from", "valid_until") and parse_day(value) is None:
            self.add_mistake(line, f"{key}: expected a day as 2027-01-01")

    def _check_head(self, count: int) -> None:
        for key in _REQUIRED_KEYS:
            if key not in self.head:
                self.add_mistake(count + 1, f"`# {key}: …` is missing before the names of the columns")
        start, end = (parse_day(self.head.get(key, "")) for key in ("valid_from", "valid_until"))
        if start is not None and end is not None and end < start:
            self.add_mistake(count, "valid_until is before valid_from")
        self.period = _Period(start, end)

    def _list_rows(self, text: str, offset: int) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows with the line on which each begins."""
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        line = offset + 1
        try:
            for row in reader:
                if row:
                    yield line, row
                line = offset + reader.line_num + 1
        except csv.Error as error:
            self.add_mistake(line, f"not a row of CSV: {error!s}")

    def _check_columns(self, line: int, columns: Sequence[str]) -> bool:
        wrong = len(self.mistakes)
        for number, name in enumerate(columns, 1):
            if name not in COLUMNS:
                self.add_mistake(line, f"expected one of {', '.join(COLUMNS)}", number, name[:40])
            elif name in columns[: number - 1]:
                self.add_mistake(line, "the column is given again", number, name)
        for name in REQUIRED_COLUMNS:
            if name not in columns:
                self.add_mistake(line, f"the column {name} is missing")
        return len(self.mistakes) == wrong

    def _read_rows(self, columns: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> None:
        seen: dict[tuple[str, ...], list[NeedRow]] = {}
        for line, row in rows:
            if len(row) != len(columns):
                self.add_mistake(line, f"the row has {len(row)} fields, the table {len(columns)} columns")
            else:
                self._read_one(line, dict(zip(columns, row, strict=True)), columns, seen)
            if len(self.mistakes) >= MOST_MISTAKES:
                return
        if not self.rows and not self.mistakes:
            self.add_mistake(1, "the table has no rows")

    def _read_one(
        self,
        line: int,
        fields: Mapping[str, str],
        columns: Sequence[str],
        seen: dict[tuple[str, ...], list[NeedRow]],
    ) -> None:
        row, wrong = _read_row(line, fields, self.names, self.period)
        for mistake in wrong:
            number = columns.index(mistake.column) + 1 if mistake.column in columns else 0
            self.add_mistake(line, mistake.message, number, mistake.column)
        if wrong:
            return
        for earlier in seen.setdefault(row.key, []):
            if _overlap(row, earlier):
                self.add_mistake(line, f"line {earlier.line} says this already, for days of the same period")
                return
        seen[row.key].append(row)
        self.rows.append(row)

    def make_table(self, octets: bytes) -> NeedTable:
        """Return the table of a file without mistakes."""
        return NeedTable(
            name=self.head["table"],
            edition=self.head["edition"],
            country=self.head.get("country", "KR"),
            valid_from=self.period.first or date.min,
            valid_until=self.period.last,
            is_test=self.head.get("test") == "yes",
            source=self.head.get("source", ""),
            licence=self.head.get("licence", ""),
            rows=tuple(self.rows),
            sha256=hashlib.sha256(octets).hexdigest(),
        )


def _overlap(row: NeedRow, earlier: NeedRow) -> bool:
    first, last = _ALWAYS
    return (row.valid_from or first) <= (earlier.valid_until or last) and (earlier.valid_from or first) <= (
        row.valid_until or last
    )
