"""Reads the tables of calendars and terms from CSV, and reports every mistake with its line.

A file begins with lines ``# key: value`` that describe the edition. Then come the names of the
columns and the rows.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from gateway.errors import CALENDAR_WRONG, GatewayError
from gateway.wire import parse_day

#: A calendar of a hundred years has under 200,000 octets.
MOST_OCTETS: Final = 1024 * 1024
MOST_MISTAKES: Final = 100
_COMMENT: Final = re.compile(r"#\s*([a-z_]+)\s*:\s*(.*)")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_EDITION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,29}")


@dataclass(frozen=True, slots=True)
class CalendarMistake:
    """One mistake of a file: its line, and a description."""

    line: int
    message: str


@dataclass(slots=True)
class DatedTable:
    """A file that is being read: the describing lines, the rows by line, and the mistakes so far."""

    octets: bytes
    head: dict[str, tuple[int, str]] = field(default_factory=dict)
    rows: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    mistakes: list[CalendarMistake] = field(default_factory=list)
    #: The octets are not a text that the reader can decode: no other rule is checked.
    is_unreadable: bool = False

    def add_mistake(self, line: int, message: str) -> None:
        """Note a mistake; after a hundred no more are noted."""
        if len(self.mistakes) < MOST_MISTAKES:
            self.mistakes.append(CalendarMistake(line, message))

    def get_value(self, key: str, default: str = "") -> tuple[int, str]:
        """Return the line and the value of a describing line."""
        return self.head.get(key, (1, default))

    def read_day(self, key: str) -> date | None:
        """Return the day that a describing line states; note a mistake where it is none."""
        line, text = self.get_value(key)
        day = parse_day(text)
        if day is None and text:
            self.add_mistake(line, f"{key}: expected a day as 2027-01-31")
        return day

    def check_head(self, title: str, allowed: Sequence[str], required: Sequence[str]) -> None:
        """Note unknown, missing and misshapen describing lines."""
        for key, (line, _) in self.head.items():
            if key and key not in allowed:
                self.add_mistake(line, f"{key}: expected one of {', '.join(allowed)}")
        for key in required:
            if not self.get_value(key)[1]:
                self.add_mistake(1, f"`# {key}: …` is missing before the names of the columns")
        for key, pattern in ((title, _NAME), ("edition", _EDITION)):
            line, text = self.get_value(key)
            if text and not pattern.fullmatch(text):
                self.add_mistake(line, f"{key}: expected letters, digits and -, not {text[:40]!r}")
        line, text = self.get_value("test", "no")
        if text not in ("yes", "no"):
            self.add_mistake(line, "test: expected yes or no")

    def check_columns(self, columns: Sequence[str]) -> bool:
        """Return whether the rows have these columns; note a mistake where they have not."""
        line, names = self.get_value("")
        if names.split(",") != list(columns):
            self.add_mistake(line, f"expected the columns {','.join(columns)}")
            return False
        return True

    def raise_first_mistake(self, location: str) -> None:
        """Raise GW709 for the first mistake; do nothing without one."""
        if self.mistakes:
            first = min(self.mistakes, key=lambda mistake: mistake.line)
            omitted = len(self.mistakes) - 1
            message = f"{first.message} (and {omitted} more)" if omitted else first.message
            raise GatewayError(CALENDAR_WRONG, f"line {first.line}: {message}", f"{location}:{first.line}")


def open_table(octets: bytes) -> DatedTable:
    """Return the describing lines and the rows of a file; its mistakes are in the table."""
    table = DatedTable(octets)
    if len(octets) > MOST_OCTETS:
        return _mark_unreadable(table, 1, f"the file has more than {MOST_OCTETS} octets")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _mark_unreadable(table, octets.count(b"\n", 0, error.start) + 1, "the file is not UTF-8")
    _read_lines(table, text.splitlines(keepends=True))
    return table


def _mark_unreadable(table: DatedTable, line: int, message: str) -> DatedTable:
    table.add_mistake(line, message)
    table.is_unreadable = True
    return table


def _read_lines(table: DatedTable, lines: Sequence[str]) -> None:
    """Fill `table.head` and `table.rows` from the lines of a file: `# key: value` lines, then a CSV table.

    The names of the columns are stored in `table.head` under the empty key.
    """
    count = 0
    while count < len(lines) and lines[count].startswith("#"):
        _read_comment(table, lines[count].strip(), count + 1)
        count += 1
    rows = _list_rows(table, "".join(lines[count:]), count)
    line, columns = next(rows, (count + 1, []))
    table.head[""] = (line, ",".join(columns))
    for line, row in rows:
        if len(row) != len(columns):
            table.add_mistake(line, f"the row has {len(row)} fields, the table {len(columns)} columns")
        else:
            table.rows.append((line, dict(zip(columns, row, strict=True))))
    if not table.rows:
        table.add_mistake(line, "the table has no rows")


def _read_comment(table: DatedTable, text: str, line: int) -> None:
    """Store a `# key: value` line in `table.head` with its line number, or add a mistake to `table`."""
    match = _COMMENT.fullmatch(text)
    if match is None:
        table.add_mistake(line, "expected `# key: value`")
    elif match[1] in table.head:
        table.add_mistake(line, f"{match[1]} is given again")
    else:
        table.head[match[1]] = (line, match[2].strip())


def _list_rows(table: DatedTable, text: str, preceding_lines: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each CSV row that is not empty, with its line number in the file; add a mistake if malformed."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = preceding_lines + 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = preceding_lines + reader.line_num + 1
    except csv.Error as error:
        table.add_mistake(line, f"not a row of CSV: {error!s}")
