"""Reads a table of needs from CSV, and tells every mistake with its line and column.

The file begins with lines ``# key: value`` that describe the edition. Then come a line of column
names and the rows.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs.need_row_reader import COLUMNS, NO_NAMES, REQUIRED_COLUMNS, TableNames, read_row
from gateway.needs.need_tables import NeedRow, NeedTable, TableMistake

__all__ = ["MOST_MISTAKES", "CheckedTable", "check_need_table", "read_need_table"]

MOST_OCTETS: Final = 32 * 1024 * 1024
MOST_MISTAKES: Final = 100
_ALWAYS: Final = (date.min, date.max)
_COMMENT: Final = re.compile(r"#\s*([a-z_]+)\s*:\s*(.*)")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_EDITION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,29}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_KEYS: Final = ("table", "edition", "country", "valid_from", "valid_until", "test", "source", "licence")
_REQUIRED_KEYS: Final = ("table", "edition", "valid_from")


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A file that was read: the table where it has no mistake, else the mistakes (at most a hundred)."""

    table: NeedTable | None
    mistakes: tuple[TableMistake, ...]


def read_need_table(octets: bytes, place: str, names: TableNames = NO_NAMES) -> NeedTable:
    """Return the table of a file; raise GW512 with line and column of the first mistake."""
    checked = check_need_table(octets, names)
    if checked.table is not None:
        return checked.table
    first = checked.mistakes[0]
    more = len(checked.mistakes) - 1
    words = f"{first.message} (and {more} more)" if more else first.message
    raise GatewayError(NEED_TABLE_WRONG, f"{first.place}: {words}", f"{place}:{first.line}")


def check_need_table(octets: bytes, names: TableNames = NO_NAMES) -> CheckedTable:
    """Return the table of a file, or its mistakes; `names` are what its rows may name."""
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
    period: tuple[date | None, date | None] = (None, None)
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
        if key in ("valid_from", "valid_until") and _parse_day(value) is None:
            self.add_mistake(line, f"{key}: expected a day as 2027-01-01")

    def _check_head(self, count: int) -> None:
        for key in _REQUIRED_KEYS:
            if key not in self.head:
                self.add_mistake(count + 1, f"`# {key}: …` is missing before the names of the columns")
        start, end = (_parse_day(self.head.get(key, "")) for key in ("valid_from", "valid_until"))
        if start is not None and end is not None and end < start:
            self.add_mistake(count, "valid_until is before valid_from")
        self.period = (start, end)

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
        row, wrong = read_row(line, fields, self.names, self.period)
        for name, message in wrong:
            self.add_mistake(line, message, columns.index(name) + 1 if name in columns else 0, name)
        if wrong:
            return
        for other in seen.setdefault(row.key, []):
            if _overlap(row, other):
                self.add_mistake(line, f"line {other.line} says this already, for days of the same period")
                return
        seen[row.key].append(row)
        self.rows.append(row)

    def make_table(self, octets: bytes) -> NeedTable:
        """Return the table of a file without mistakes."""
        start, end = self.period
        return NeedTable(
            name=self.head["table"],
            edition=self.head["edition"],
            country=self.head.get("country", "KR"),
            valid_from=start or date.min,
            valid_until=end,
            is_test=self.head.get("test") == "yes",
            source=self.head.get("source", ""),
            licence=self.head.get("licence", ""),
            rows=tuple(self.rows),
            sha256=hashlib.sha256(octets).hexdigest(),
        )


def _overlap(one: NeedRow, other: NeedRow) -> bool:
    first, last = _ALWAYS
    return (one.valid_from or first) <= (other.valid_until or last) and (other.valid_from or first) <= (
        one.valid_until or last
    )


def _parse_day(text: str) -> date | None:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
