"""Lists as CSV (RFC 4180): the same rows as on the page, safe to open in a spreadsheet.

A text that a spreadsheet would take for a formula gets a leading apostrophe. Numbers stay numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from io import StringIO
from typing import Any, Final

from flask import Response

__all__ = ["LARGEST_CSV", "answer_csv", "answer_csv_text", "escape_cell"]

#: Rows of one CSV answer; a longer list goes on with `after=`, as the page does.
LARGEST_CSV: Final = 10_000

#: A cell that begins with one of these is a formula, or hides one behind white space. The wide forms are
#: what Korean and Japanese spreadsheets take for the same signs.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Without it spreadsheets take UTF-8 for the code page of the machine.
_MARK: Final = "\ufeff"


def escape_cell(value: Any) -> str:
    """Return a value as the text of a cell; None is empty, times are ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    text = str(value)
    return "'" + text if text.startswith(_FORMULA) else text


def answer_csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return the rows as an attachment called ``NAME.csv``; the first line has the names of the columns."""
    written = StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([escape_cell(column) for column in columns])
    writer.writerows([escape_cell(value) for value in row] for row in rows)
    return answer_csv_text(name, written.getvalue())


def answer_csv_text(name: str, text: str) -> Response:
    """Return the text of a table as an attachment called ``NAME.csv``, with the mark of UTF-8 before it."""
    answer = Response((_MARK + text).encode(), content_type="text/csv; charset=utf-8; header=present")
    answer.headers.set("Content-Disposition", "attachment", filename=f"{name}.csv")
    return answer
