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
from gateway.needs.law_book import DIRECTIONS, DISCLAIMER_REASON_CODES, NeedRow, NeedTable, TableMistake
from gateway.wire import parse_day

REQUIRED_COLUMNS: Final = ("hs", "direction", "law")
COLUMNS: Final = (
    *REQUIRED_COLUMNS,
    *("origin", "use", "documents", "organisation", "mandatory", "exemptions", "valid_from", "valid_until"),
)
_TARIFF_CODE: Final = re.compile(r"[0-9]{2}(?:[0-9]{2}){0,4}")
_LAW_CODE: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_USE_CODE: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_MAX_CHARACTERS: Final = 40
#: Thousands of rows name few origins, uses and documents: equal ones are one object.
_share_words: Final = lru_cache(1024)(frozenset[str])
#: An empty set of names allows every name.
_ANY_NAME: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names that the rows of a table may use; an empty set allows every name.

    `answers` are the documents, with the organisation of each, by law and direction.
    """

    laws: frozenset[str] = _ANY_NAME
    documents: frozenset[str] = _ANY_NAME
    organisations: frozenset[str] = _ANY_NAME
    countries: frozenset[str] = _ANY_NAME
    answers: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)


UNRESTRICTED_NAMES: Final = TableNames()


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
    line_number: int, fields: Mapping[str, str], names: TableNames, edition_period: _Period
) -> tuple[NeedRow, list[_ColumnMistake]]:
    """Return the row of these fields with its mistakes.

    `edition_period` is the validity of the edition, which the validity of a row may only narrow.
    """
    row_reader = _RowReading({name: sys.intern(text.strip()) for name, text in fields.items()}, names, [])
    origins, excludes_origins = row_reader.read_origins()
    row_period = row_reader.read_period(edition_period)
    row = NeedRow(
        hs=row_reader.read_pattern("hs", _TARIFF_CODE, "2, 4, 6, 8 or 10 digits"),
        direction=row_reader.read_choice("direction", DIRECTIONS),
        law=row_reader.read_listed_text("law", _LAW_CODE, names.laws, "a law of laws.csv"),
        origins=origins,
        excludes_origins=excludes_origins,
        uses=_share_words(
            row_reader.read_words("use", lambda word: bool(_USE_CODE.fullmatch(word)), "codes of uses")
        ),
        documents=row_reader.read_words(
            "documents",
            lambda document: not names.documents or document in names.documents,
            "ids of documents of the mappings",
        ),
        organisation=row_reader.read_organisation(),
        mandatory=row_reader.read_choice("mandatory", ("yes", "no"), "yes") == "yes",
        exemptions=row_reader.read_exemptions(),
        valid_from=row_period.first,
        valid_until=row_period.last,
        line=line_number,
    )
    if not row_reader.mistakes:
        row_reader.check_answers(row)
    return row, row_reader.mistakes


@dataclass(slots=True)
class _RowReading:
    fields: Mapping[str, str]
    names: TableNames
    mistakes: list[_ColumnMistake]

    def _add_mistake(self, column_name: str, expectation: str) -> None:
        text = self.fields.get(column_name, "")[:_MAX_CHARACTERS] or "nothing"
        self.mistakes.append(_ColumnMistake(column_name, f"expected {expectation}, found {text}"))

    def read_pattern(self, column_name: str, pattern: re.Pattern[str], expectation: str) -> str:
        """Return the text of a column that has a form."""
        text = self.fields.get(column_name, "")
        if not pattern.fullmatch(text):
            self._add_mistake(column_name, expectation)
        return text

    def read_listed_text(
        self, column_name: str, pattern: re.Pattern[str], allowed_texts: frozenset[str], expectation: str
    ) -> str:
        """Return the text of a column that has a form and is one of the known texts."""
        text = self.fields.get(column_name, "")
        if not pattern.fullmatch(text) or (allowed_texts and text not in allowed_texts):
            self._add_mistake(column_name, expectation)
        return text

    def read_choice(self, column_name: str, choices: tuple[str, ...], default: str = "") -> str:
        """Return one of the choices; the default where the column is empty or absent."""
        text = self.fields.get(column_name, "") or default
        if text not in choices:
            self._add_mistake(column_name, " or ".join(choices))
        return text

    def read_words(
        self, column_name: str, is_valid: Callable[[str], bool], expectation: str
    ) -> tuple[str, ...]:
        """Return the words of a column, which are parted by spaces and distinct."""
        entries = tuple(self.fields.get(column_name, "").split())
        if not all(is_valid(entry) for entry in entries) or len(set(entries)) != len(entries):
            self._add_mistake(column_name, f"{expectation}, each once, parted by spaces")
        return entries

    def read_origins(self) -> tuple[frozenset[str], bool]:
        """Return the countries of origin, and whether the row is for all countries except these."""
        entries = tuple(self.fields.get("origin", "").split())
        excluded_entries = [entry for entry in entries if entry.startswith("!")]
        country_codes = [entry.removeprefix("!") for entry in entries]
        allowed_codes = self.names.countries
        invalid_codes = [
            code
            for code in country_codes
            if not _COUNTRY.fullmatch(code) or (allowed_codes and code not in allowed_codes)
        ]
        if (
            invalid_codes
            or len(set(country_codes)) != len(country_codes)
            or len(excluded_entries) not in (0, len(entries))
        ):
            self._add_mistake("origin", "country codes, all of them with ! or none, parted by spaces")
        return _share_words(tuple(country_codes)), bool(excluded_entries)

    def read_organisation(self) -> str:
        """Return the organisation, empty where the row names none."""
        text = self.fields.get("organisation", "")
        if text and self.names.organisations and text not in self.names.organisations:
            self._add_mistake("organisation", "an organisation of the mappings")
        return text

    def check_answers(self, row: NeedRow) -> None:
        """Add a mistake if the row names documents, or an organisation, that cannot answer a need by its law.

        If the mappings have no document for the law, an authority without such a document answers the need,
        and the row may name any organisation. Without mappings, `names.answers` is empty: all is allowed.
        """
        organisation_by_document = self.names.answers.get((row.law, row.direction), {})
        law_text = f"under law {row.law} for an {row.direction}"
        if any(document not in organisation_by_document for document in row.documents) and self.names.answers:
            self._add_mistake("documents", f"documents {law_text}")
        elif row.organisation and organisation_by_document:
            candidates = row.documents or tuple(organisation_by_document)
            if all(organisation_by_document[document] != row.organisation for document in candidates):
                document_text = "one of these documents" if row.documents else f"a document {law_text}"
                self._add_mistake("organisation", f"an organisation that has {document_text}")

    def read_exemptions(self) -> str:
        """Return the reasons of a disclaimer that the row accepts: all by default, none for ``-``."""
        text = self.fields.get("exemptions", "").replace(" ", "")
        if text == "-":
            return ""
        if any(letter not in DISCLAIMER_REASON_CODES for letter in text) or len(set(text)) != len(text):
            self._add_mistake("exemptions", f"letters of {DISCLAIMER_REASON_CODES}, or - for none")
        return text or DISCLAIMER_REASON_CODES

    def read_period(self, edition_period: _Period) -> _Period:
        """Return the first and last day of the row, which lie in the period of its edition."""
        row_days = [self._read_day("valid_from"), self._read_day("valid_until")]
        edition_start, edition_end = edition_period.first, edition_period.last
        if row_days[0] and (
            (edition_start and row_days[0] < edition_start) or (edition_end and row_days[0] > edition_end)
        ):
            self._add_mistake("valid_from", "a day in the period of the edition")
        if row_days[1] and (
            (row_days[0] or edition_start) and row_days[1] < (row_days[0] or edition_start or date.min)
        ):
            self._add_mistake("valid_until", "a day not before the first one")
        elif row_days[1] and edition_end and row_days[1] > edition_end:
            self._add_mistake("valid_until", "a day in the period of the edition")
        return _Period(row_days[0], row_days[1])

    def _read_day(self, column_name: str) -> date | None:
        text = self.fields.get(column_name, "")
        day = parse_day(text)
        if text and day is None:
            self._add_mistake(column_name, "a day as 2027-01-01")
        return day


MAX_OCTETS: Final = 32 * 1024 * 1024
MAX_MISTAKES: Final = 100
_UNLIMITED_PERIOD: Final = (date.min, date.max)
_HEAD_LINE: Final = re.compile(r"#\s*([a-z_]+)\s*:\s*(.*)")
_TABLE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_EDITION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,29}")
_HEAD_KEYS: Final = ("table", "edition", "country", "valid_from", "valid_until", "test", "source", "licence")
_REQUIRED_HEAD_KEYS: Final = ("table", "edition", "valid_from")


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A file that was read: the table where it has no mistake, else the mistakes (at most a hundred)."""

    table: NeedTable | None
    mistakes: tuple[TableMistake, ...]


def read_need_table(octets: bytes, location: str, names: TableNames = UNRESTRICTED_NAMES) -> NeedTable:
    """Return the table of a file; raise GW512 with line and column of the first mistake."""
    checked_table = check_need_table(octets, names)
    if checked_table.table is not None:
        return checked_table.table
    first_mistake = checked_table.mistakes[0]
    omitted_count = len(checked_table.mistakes) - 1
    message = (
        f"{first_mistake.message} (and {omitted_count} more)" if omitted_count else first_mistake.message
    )
    raise GatewayError(
        NEED_TABLE_WRONG, f"{first_mistake.location}: {message}", f"{location}:{first_mistake.line}"
    )


def check_need_table(octets: bytes, names: TableNames = UNRESTRICTED_NAMES) -> CheckedTable:
    """Return the table of a file, or its mistakes; `names` are the names that its rows may use."""
    table_reader = _TableReader(names)
    if len(octets) > MAX_OCTETS:
        table_reader.add_mistake(1, f"the file has more than {MAX_OCTETS} octets")
    else:
        try:
            table_reader.read_file(octets.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line_number = octets.count(b"\n", 0, error.start) + 1
            table_reader.add_mistake(line_number, "the file is not UTF-8")
    mistakes = tuple(sorted(table_reader.mistakes, key=lambda one: (one.line, one.column))[:MAX_MISTAKES])
    return CheckedTable(None if mistakes else table_reader.make_table(octets), mistakes)


@dataclass(slots=True)
class _TableReader:
    names: TableNames
    mistakes: list[TableMistake] = field(default_factory=list)
    head: dict[str, str] = field(default_factory=dict)
    period: _Period = _Period()
    rows: list[NeedRow] = field(default_factory=list)

    def add_mistake(
        self, line_number: int, message: str, column_number: int = 0, column_name: str = ""
    ) -> None:
        self.mistakes.append(TableMistake(line_number, column_number, column_name, message))

    def read_file(self, file_text: str) -> None:
        """Read the describing lines, the column names and the rows."""
        lines = file_text.splitlines(keepends=True)
        head_line_count = 0
        while head_line_count < len(lines) and lines[head_line_count].startswith("#"):
            self._read_comment(lines[head_line_count].strip(), head_line_count + 1)
            head_line_count += 1
        self._check_head(head_line_count)
        rows = self._list_rows("".join(lines[head_line_count:]), head_line_count)
        header = next(rows, None)
        if header is None:
            self.add_mistake(head_line_count + 1, "the names of the columns are missing")
        elif self._check_columns(*header):
            self._read_rows(header[1], rows)

    def _read_comment(self, text: str, line: int) -> None:
        """Store a `# key: value` line in `self.head`, or add a mistake for an unknown or repeated key."""
        match = _HEAD_LINE.fullmatch(text)
        key, value = ("", "") if match is None else (match[1], match[2].strip())
        if key not in _HEAD_KEYS:
            self.add_mistake(line, f"expected `# key: value` with a key of {', '.join(_HEAD_KEYS)}")
        elif key in self.head:
            self.add_mistake(line, f"{key} is given again")
        else:
            self.head[key] = value
            self._check_head_value(key, value, line)

    def _check_head_value(self, key: str, value: str, line_number: int) -> None:
        """Add a mistake if the value of one key of the head has a wrong form."""
        patterns = {"table": _TABLE_NAME, "edition": _EDITION, "country": _COUNTRY}
        if key in patterns and not patterns[key].fullmatch(value):
            expected_forms = {"table": "small letters, digits and -", "edition": "letters, digits, . and -"}
            self.add_mistake(
                line_number, f"{key}: expected {expected_forms.get(key, 'a country code as KR')}"
            )
        elif key == "country" and self.names.countries and value not in self.names.countries:
            self.add_mistake(line_number, f"country: expected a code of ISO 3166 as KR, found {value}")
        if key == "test" and value not in ("yes", "no"):
            self.add_mistake(line_number, "test: expected yes or no")
        if key in ("valid_from", "valid_until") and parse_day(value) is None:
            self.add_mistake(line_number, f"{key}: expected a day as 2027-01-01")

    def _check_head(self, head_line_count: int) -> None:
        """Add a mistake for each key that the head lacks and for a reversed period; set `self.period`."""
        for key in _REQUIRED_HEAD_KEYS:
            if key not in self.head:
                self.add_mistake(
                    head_line_count + 1, f"`# {key}: …` is missing before the names of the columns"
                )
        first_day, last_day = (parse_day(self.head.get(key, "")) for key in ("valid_from", "valid_until"))
        if first_day is not None and last_day is not None and last_day < first_day:
            self.add_mistake(head_line_count, "valid_until is before valid_from")
        self.period = _Period(first_day, last_day)

    def _list_rows(self, csv_text: str, head_line_count: int) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows with the line on which each begins."""
        reader = csv.reader(io.StringIO(csv_text, newline=""), strict=True)
        line_number = head_line_count + 1
        try:
            for row in reader:
                if row:
                    yield line_number, row
                line_number = head_line_count + reader.line_num + 1
        except csv.Error as error:
            self.add_mistake(line_number, f"not a row of CSV: {error!s}")

    def _check_columns(self, line_number: int, column_names: Sequence[str]) -> bool:
        """Return whether the column names are right; add a mistake for each wrong or missing one."""
        earlier_count = len(self.mistakes)
        for column_number, column_name in enumerate(column_names, 1):
            if column_name not in COLUMNS:
                self.add_mistake(
                    line_number, f"expected one of {', '.join(COLUMNS)}", column_number, column_name[:40]
                )
            elif column_name in column_names[: column_number - 1]:
                self.add_mistake(line_number, "the column is given again", column_number, column_name)
        for column_name in REQUIRED_COLUMNS:
            if column_name not in column_names:
                self.add_mistake(line_number, f"the column {column_name} is missing")
        return len(self.mistakes) == earlier_count

    def _read_rows(self, column_names: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> None:
        """Add the correct rows to `self.rows`, and a mistake for each other one; stop at `MAX_MISTAKES`."""
        rows_by_key: dict[tuple[str, ...], list[NeedRow]] = {}
        for line_number, field_texts in rows:
            if len(field_texts) != len(column_names):
                self.add_mistake(
                    line_number,
                    f"the row has {len(field_texts)} fields, the table {len(column_names)} columns",
                )
            else:
                self._read_one(
                    line_number, dict(zip(column_names, field_texts, strict=True)), column_names, rows_by_key
                )
            if len(self.mistakes) >= MAX_MISTAKES:
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
        """Add the row of one line to `self.rows`, or its mistakes; `seen` has the earlier rows by key.

        A row with the key of an earlier one is a mistake if both are valid on the same day.
        """
        row, wrong = _read_row(line, fields, self.names, self.period)
        for mistake in wrong:
            number = columns.index(mistake.column) + 1 if mistake.column in columns else 0
            self.add_mistake(line, mistake.message, number, mistake.column)
        if wrong:
            return
        for earlier in seen.setdefault(row.key, []):
            if _have_common_period(row, earlier):
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


def _have_common_period(row: NeedRow, earlier_row: NeedRow) -> bool:
    """Return whether two rows are valid on the same day."""
    first_day, last_day = _UNLIMITED_PERIOD
    return (row.valid_from or first_day) <= (earlier_row.valid_until or last_day) and (
        earlier_row.valid_from or first_day
    ) <= (row.valid_until or last_day)
