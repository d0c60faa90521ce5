"""Reads one edition of the terms of documents from CSV: how many working days each party has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.calendars.dated_table import DatedTable, open_table
from gateway.calendars.working_calendar import EVERY, DocumentTerm, TermEdition

__all__ = ["check_terms", "make_terms", "read_terms"]

_KEYS: Final = ("terms", "edition", "valid_from", "valid_until", "test", "source")
_REQUIRED: Final = ("terms", "edition", "valid_from")
_NUMBERS: Final = ("acknowledge", "decide", "answer", "remind")
_COLUMNS: Final = ("document", *_NUMBERS)
_DOCUMENT: Final = re.compile(r"[A-Z][A-Z0-9-]{0,49}")
_DAYS: Final = re.compile(r"[1-9][0-9]{0,2}|")


def read_terms(octets: bytes, place: str, documents: Iterable[str] | None = None) -> TermEdition:
    """Return the edition of a file; raise GW709 with the line of the first mistake."""
    table = open_table(octets)
    check_terms(table, documents)
    table.raise_first(place)
    return make_terms(table)


def check_terms(table: DatedTable, documents: Iterable[str] | None = None) -> None:
    """Note every mistake of a file of terms; `documents` are those that it may name, None for any."""
    table.check_head("terms", _KEYS, _REQUIRED)
    first, last = table.read_day("valid_from"), table.read_day("valid_until")
    if first and last and last < first:
        table.add_mistake(table.get_value("valid_until")[0], "valid_until is before valid_from")
    if table.check_columns(_COLUMNS):
        _check_rows(table, None if documents is None else frozenset(documents))


def _check_rows(table: DatedTable, known: frozenset[str] | None) -> None:
    seen: dict[str, int] = {}
    for line, row in table.rows:
        name = row["document"]
        if name != EVERY and (not _DOCUMENT.fullmatch(name) or (known is not None and name not in known)):
            table.add_mistake(line, f"document: {name[:40]!r} is not known")
        elif name in seen:
            table.add_mistake(line, f"{name} stands in line {seen[name]} already")
        seen.setdefault(name, line)
        for column in _NUMBERS:
            if not _DAYS.fullmatch(row[column]):
                table.add_mistake(line, f"{column}: expected 1 to 999 working days, or nothing")


def make_terms(table: DatedTable) -> TermEdition:
    """Return the edition of a file without mistakes."""
    first = table.read_day("valid_from")
    assert first is not None
    return TermEdition(
        name=table.get_value("terms")[1],
        edition=table.get_value("edition")[1],
        valid_from=first,
        valid_until=table.read_day("valid_until"),
        terms=_make_terms(table),
        is_test=table.get_value("test")[1] == "yes",
        source=table.get_value("source")[1],
        sha256=hashlib.sha256(table.octets).hexdigest(),
    )


def _make_terms(table: DatedTable) -> Mapping[str, DocumentTerm]:
    found = {}
    for _, row in table.rows:
        numbers = [int(row[column]) if row[column] else None for column in _NUMBERS]
        found[row["document"]] = DocumentTerm(row["document"], *numbers)
    return found
