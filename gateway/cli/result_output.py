"""Prints the results of verbs: JSON, tables, named values, and sentences about changes.

On a terminal Rich draws the tables, with control characters escaped. The output to a file or
a pipe is plain text: one line for each row, without escape codes, wrapping or truncation. Columns
are measured in cells of a terminal, of which a Korean or Chinese character takes two.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.cli.terminal_text import escape_controls, open_console, write_error
from gateway.operations import count_things, format_moment, format_value, restate_times, shorten_sentence

__all__ = [
    "ReportedFailure",
    "choose_problem_form",
    "count_things",
    "format_facts",
    "format_value",
    "measure_cells",
    "print_failure",
    "print_json",
    "print_problem",
    "print_report",
    "print_sentence",
    "print_table",
    "report_wrong_row",
    "shorten_sentence",
]

#: The colour of a row's state, by its value.
_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ACTIVE", "CLOSED", "DELIVERED", "current", "fresh", "in force", "ours"), "green"),
    **dict.fromkeys(("HELD", "SUSPENDED", "ending", "future", "never", "QUEUED"), "yellow"),
    **dict.fromkeys(("FAILED", "REFUSED", "CANCELLED", "stale", "over"), "red"),
}


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON object, on one line unless it is indented."""
    print(json.dumps(value, default=format_value, ensure_ascii=False, indent=indent))


def print_table(rows: Iterable[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print rows: one JSON object for each with all values, or the columns as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    cells = [[_format_cell(row[name]) for name in columns] for row in rows]
    if sys.stdout.isatty():
        _draw_rich_table(columns, cells)
    else:
        _write_plain_columns(columns, cells)


def _format_cell(value: Any) -> str:
    """Return a value as text without line breaks and control characters, which would break the columns."""
    if isinstance(value, datetime):
        return format_moment(value)
    if isinstance(value, list | tuple):
        text = ", ".join(str(format_value(one)) for one in value) or "-"
    else:
        # A number is shown also when it is 0.
        is_number = isinstance(value, int) and not isinstance(value, bool)
        text = str(value) if is_number else str(format_value(value) or "-")
    return escape_controls(text).replace("\n", "\\n").replace("\t", "\\t")


def measure_cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _write_plain_columns(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [[name.upper() for name in columns], *cells]
    sizes = [[measure_cells(word) for word in line] for line in lines]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    for line, taken in zip(lines, sizes, strict=True):
        filled = (f"{word}{'':{widths[n] - taken[n]}}" for n, word in enumerate(line))
        print("  ".join(filled).rstrip())


def _draw_rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        # A value that is too wide continues in the next line of its cell: nothing is truncated.
        table.add_column(Text(name.upper()), overflow="fold")
    for line in cells:
        table.add_row(*(Text(word, style=_STYLES.get(word, "")) for word in line))
    open_console(sys.stdout).print(table)


def format_facts(facts: Mapping[str, Any]) -> str:
    """Return named values as text, one on each line; empty ones are left out."""
    said = {name: value for name, value in facts.items() if value not in (None, [], "")}
    return "\n".join(f"{name:12} {format_value(value)}" for name, value in said.items())


def print_sentence(sentence: str, *, as_json: bool = False) -> None:
    """Print a sentence about a change; print nothing with JSON output."""
    if not as_json:
        print(restate_times(sentence))


@dataclass(frozen=True, slots=True)
class ReportedFailure:
    """Why a verb failed: a sentence, the id of the problem, its place, and the command that helps."""

    detail: str
    problem: str = ""
    location: str = ""
    help: str = ""
    #: What the verb found before it failed; only in JSON.
    more: Mapping[str, Any] = field(default_factory=dict)

    def format_line(self) -> str:
        """Return the sentence; the place is named once, and the help last."""
        told = f"{self.problem} {self.detail}".lstrip()
        if self.location and self.location not in self.detail:
            told += f" at {self.location}"
        if not self.help:
            return told
        return f"{told}{'' if told.endswith('?') else '.'} Try `{self.help}`."

    def to_json(self) -> dict[str, Any]:
        """Return the four values, and what was found; what is not known is null."""
        return {
            "problem": self.problem or None,
            "detail": self.detail,
            "location": self.location or None,
            "help": self.help or None,
            **self.more,
        }


_PROBLEM_ID: Final = re.compile(r"\bGW[0-9]{3}\b")
#: Whether failures are printed as JSON objects.
_failures_as_json: Final[ContextVar[bool]] = ContextVar("failures_as_json", default=False)


@contextmanager
def choose_problem_form(*, as_json: bool) -> Iterator[None]:
    """Print the problems inside the block as JSON objects, or as lines."""
    token = _failures_as_json.set(as_json)
    try:
        yield
    finally:
        _failures_as_json.reset(token)


def print_failure(failure: ReportedFailure) -> None:
    """Print why a verb failed to standard error: one line, or one JSON object with ``--json``."""
    if _failures_as_json.get():
        # Octets of an argument that are not text are escaped, as JSON knows them.
        told = failure.to_json()
        write_error(json.dumps(told, default=format_value, ensure_ascii=not failure.detail.isprintable()))
    else:
        write_error(restate_times(f"gateway: {failure.format_line()}"))


def print_problem(words: str) -> None:
    """Print one line about a problem to standard error, or one JSON object with the id that it names."""
    named = _PROBLEM_ID.search(words) if _failures_as_json.get() else None
    print_failure(ReportedFailure(words, named[0] if named is not None else ""))


def report_wrong_row(words: str) -> int:
    """Print that a row which was named is not there, or is there already: GW808; return the status, 1."""
    from gateway.errors import MISUSE

    print_failure(ReportedFailure(words, MISUSE.id))
    return 1


def print_report(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print named values: one JSON object, or one value on each line."""
    if as_json:
        print_json(report)
    else:
        print(format_facts(report))
