"""Reads one row of a table of needs; each mistake is told with the column it is in."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

from gateway.needs.need_tables import DIRECTIONS, REASONS, NeedRow

__all__ = ["COLUMNS", "NO_NAMES", "REQUIRED_COLUMNS", "TableNames", "read_row"]

REQUIRED_COLUMNS: Final = ("hs", "direction", "law")
COLUMNS: Final = (
    *REQUIRED_COLUMNS,
    *("origin", "use", "documents", "organisation", "mandatory", "exemptions", "valid_from", "valid_until"),
)
_HS: Final = re.compile(r"[0-9]{2}(?:[0-9]{2}){0,4}")
_LAW: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_USE: Final = re.compile(r"[0-9A-Za-z]{1,10}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_SHOWN: Final = 40
#: Thousands of rows name few origins, uses and documents: equal ones are one object.
_share_words: Final = lru_cache(1024)(frozenset[str])
#: An empty set of names allows every name.
_ANY: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class TableNames:
    """What the rows of a table may name; an empty set allows every name.

    `answers` are the documents, with the organisation of each, by law and direction.
    """

    laws: frozenset[str] = _ANY
    documents: frozenset[str] = _ANY
    organisations: frozenset[str] = _ANY
    countries: frozenset[str] = _ANY
    answers: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)


NO_NAMES: Final = TableNames()
Mistakes = list[tuple[str, str]]


def read_row(
    line: int, fields: Mapping[str, str], names: TableNames, period: tuple[date | None, date | None]
) -> tuple[NeedRow, Mistakes]:
    """Return the row of these fields with its mistakes, as (column, words).

    `period` is the validity of the edition, which the validity of a row may only narrow.
    """
    reading = _RowReading({name: sys.intern(text.strip()) for name, text in fields.items()}, names, [])
    origins, excludes = reading.read_origins()
    start, end = reading.read_period(period)
    row = NeedRow(
        hs=reading.read_pattern("hs", _HS, "2, 4, 6, 8 or 10 digits"),
        direction=reading.read_choice("direction", DIRECTIONS),
        law=reading.read_known("law", _LAW, names.laws, "a law of laws.csv"),
        origins=origins,
        excludes_origins=excludes,
        uses=_share_words(reading.read_words("use", lambda one: bool(_USE.fullmatch(one)), "codes of uses")),
        documents=reading.read_words(
            "documents",
            lambda one: not names.documents or one in names.documents,
            "ids of documents of the mappings",
        ),
        organisation=reading.read_organisation(),
        mandatory=reading.read_choice("mandatory", ("yes", "no"), "yes") == "yes",
        exemptions=reading.read_exemptions(),
        valid_from=start,
        valid_until=end,
        line=line,
    )
    if not reading.mistakes:
        reading.check_answers(row)
    return row, reading.mistakes


@dataclass(slots=True)
class _RowReading:
    fields: Mapping[str, str]
    names: TableNames
    mistakes: Mistakes

    def _add_mistake(self, name: str, expected: str) -> None:
        found = self.fields.get(name, "")[:_SHOWN] or "nothing"
        self.mistakes.append((name, f"expected {expected}, found {found}"))

    def read_pattern(self, name: str, pattern: re.Pattern[str], expected: str) -> str:
        """Return the text of a column that has a form."""
        text = self.fields.get(name, "")
        if not pattern.fullmatch(text):
            self._add_mistake(name, expected)
        return text

    def read_known(self, name: str, pattern: re.Pattern[str], known: frozenset[str], expected: str) -> str:
        """Return the text of a column that has a form and is one of the known texts."""
        text = self.fields.get(name, "")
        if not pattern.fullmatch(text) or (known and text not in known):
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
        words = tuple(self.fields.get(name, "").split())
        if not all(is_good(one) for one in words) or len(set(words)) != len(words):
            self._add_mistake(name, f"{expected}, each once, parted by spaces")
        return words

    def read_origins(self) -> tuple[frozenset[str], bool]:
        """Return the countries of origin, and whether they are those that the row leaves out."""
        words = tuple(self.fields.get("origin", "").split())
        excluded = [one for one in words if one.startswith("!")]
        codes = [one.removeprefix("!") for one in words]
        known = self.names.countries
        wrong = [one for one in codes if not _COUNTRY.fullmatch(one) or (known and one not in known)]
        if wrong or len(set(codes)) != len(codes) or len(excluded) not in (0, len(words)):
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
        if any(one not in answering for one in row.documents) and self.names.answers:
            self._add_mistake("documents", f"documents {under}")
        elif row.organisation and answering:
            named = row.documents or tuple(answering)
            if all(answering[one] != row.organisation for one in named):
                whose = "one of these documents" if row.documents else f"a document {under}"
                self._add_mistake("organisation", f"an organisation that has {whose}")

    def read_exemptions(self) -> str:
        """Return the reasons of a disclaimer that the row accepts: all by default, none for ``-``."""
        text = self.fields.get("exemptions", "").replace(" ", "")
        if text == "-":
            return ""
        if any(one not in REASONS for one in text) or len(set(text)) != len(text):
            self._add_mistake("exemptions", f"letters of {REASONS}, or - for none")
        return text or REASONS

    def read_period(self, period: tuple[date | None, date | None]) -> tuple[date | None, date | None]:
        """Return the first and last day of the row, which lie in the period of its edition."""
        days = [self._read_day("valid_from"), self._read_day("valid_until")]
        first, last = period
        if days[0] and ((first and days[0] < first) or (last and days[0] > last)):
            self._add_mistake("valid_from", "a day in the period of the edition")
        if days[1] and ((days[0] or first) and days[1] < (days[0] or first or date.min)):
            self._add_mistake("valid_until", "a day not before the first one")
        elif days[1] and last and days[1] > last:
            self._add_mistake("valid_until", "a day in the period of the edition")
        return days[0], days[1]

    def _read_day(self, name: str) -> date | None:
        text = self.fields.get(name, "")
        try:
            if text and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                return date.fromisoformat(text)
        except ValueError:
            pass
        if text:
            self._add_mistake(name, "a day as 2027-01-01")
        return None
