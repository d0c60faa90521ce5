"""Editions of calendars and of terms, as values. An edition says nothing about days outside its period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time

__all__ = ["EVERY", "CalendarEdition", "DocumentTerm", "SpecialDay", "TermEdition"]

#: The organisations, or documents, that no other row names.
EVERY = "*"


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A day that the week does not tell: `holiday`, `substitute` (a holiday too), or `working`."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class CalendarEdition:
    """The working days of organisations from `valid_from` to `valid_until`, both included.

    `rest_days` are the days of the week without work, Monday is 0. A working day lasts from `opens`
    to `closes` in the time zone `zone`.
    """

    name: str
    edition: str
    organisations: frozenset[str]
    zone: str
    valid_from: date
    valid_until: date
    rest_days: frozenset[int]
    opens: time
    closes: time
    special: Mapping[date, SpecialDay]
    is_test: bool
    source: str
    sha256: str

    @property
    def label(self) -> str:
        """Return name and edition."""
        return f"{self.name}@{self.edition}"


@dataclass(frozen=True, slots=True)
class DocumentTerm:
    """How many working days a document gives: to acknowledge, to decide, to answer; None is no limit.

    `remind` is how many working days before the end a reminder goes out; None is no reminder.
    """

    document: str
    acknowledge: int | None
    decide: int | None
    answer: int | None
    remind: int | None


@dataclass(frozen=True, slots=True)
class TermEdition:
    """The terms of documents for what begins from `valid_from` to `valid_until` (None: without end)."""

    name: str
    edition: str
    valid_from: date
    valid_until: date | None
    terms: Mapping[str, DocumentTerm]
    is_test: bool
    source: str
    sha256: str

    @property
    def label(self) -> str:
        """Return name and edition."""
        return f"{self.name}@{self.edition}"
