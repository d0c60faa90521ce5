"""Prints the results of verbs: JSON, tables, named values, and sentences about changes.

On a terminal Rich draws the tables, with control characters escaped. The output to a file or
a pipe is plain text: without escape codes, wrapping or truncation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from gateway.cli.terminal_text import escape_controls, open_console, write_error

__all__ = [
    "count_things",
    "format_facts",
    "format_value",
    "print_json",
    "print_problem",
    "print_report",
    "print_sentence",
    "print_table",
]

#: The colour of a row's state, by its value.
_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ACTIVE", "CLOSED", "DELIVERED", "current", "fresh", "in force", "ours"), "green"),
    **dict.fromkeys(("HELD", "SUSPENDED", "ending", "future", "never", "QUEUED"), "yellow"),
    **dict.fromkeys(("FAILED", "REFUSED", "CANCELLED", "stale", "over"), "red"),
}


def format_value(value: Any) -> Any:
    """Return a value in a form that JSON supports."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return f"{len(value)} octets"
    return value


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON object, on one line unless it is indented."""
    print(json.dumps(value, default=format_value, ensure_ascii=False, indent=indent))


def print_table(rows: Iterable[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print rows: one JSON object for each with all values, or the columns as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    cells = [[str(format_value(row[name]) or "-") for name in columns] for row in rows]
    if sys.stdout.isatty():
        _draw_rich_table(columns, cells)
    else:
        _write_plain_columns(columns, cells)


def _write_plain_columns(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    widths = [max([len(name), *(len(line[n]) for line in cells)]) for n, name in enumerate(columns)]
    for line in ([name.upper() for name in columns], *cells):
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def _draw_rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        # A value that is too wide continues in the next line of its cell: nothing is truncated.
        table.add_column(Text(name.upper()), overflow="fold")
    for line in cells:
        table.add_row(*(Text(escape_controls(word), style=_STYLES.get(word, "")) for word in line))
    open_console(sys.stdout).print(table)


def format_facts(facts: Mapping[str, Any]) -> str:
    """Return named values as text, one on each line; empty ones are left out."""
    said = {name: value for name, value in facts.items() if value not in (None, [], "")}
    return "\n".join(f"{name:12} {value}" for name, value in said.items())


def print_sentence(sentence: str, *, as_json: bool = False) -> None:
    """Print a sentence about a change; print nothing with JSON output."""
    if not as_json:
        print(sentence)


def print_problem(words: str) -> None:
    """Print one line about a problem to standard error."""
    write_error(f"gateway: {words}")


def count_things(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 delivery``, ``3 deliveries``."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def print_report(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print named values: one JSON object, or one value on each line."""
    if as_json:
        print_json(report)
    else:
        print(format_facts(report))
