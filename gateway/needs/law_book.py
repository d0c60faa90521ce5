"""The laws that ask for documents, and which documents answer each: by choice, or by the kind of goods.

``laws.csv`` names every law and the disclaimers it accepts. ``choices.csv`` restricts the documents
of a law by goods; without a line there, every document of the mappings under the law answers it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs.need_tables import DIRECTIONS, REASONS

__all__ = ["KnownDocument", "Law", "LawBook", "read_law_book"]

FORBIDDEN: Final = "forbidden"
_LAW_COLUMNS: Final = ["law", "ko", "en", "disclaimers"]
_CHOICE_COLUMNS: Final = ["law", "direction", "hs", "documents", "reason"]


class KnownDocument(NamedTuple):
    """A document of the mappings: its id, organisation, direction and laws."""

    id: str
    organisation: str
    direction: str
    laws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Law:
    """One law: its names, and the reasons for which a disclaimer under it is accepted."""

    code: str
    ko: str
    en: str
    disclaimers: str

    @property
    def name(self) -> str:
        """Return the English name, the Korean one where there is none."""
        return self.en or self.ko


class _Choice(NamedTuple):
    prefixes: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LawBook:
    """The laws by code, with the choices of documents under each law and direction."""

    laws: Mapping[str, Law]
    choices: Mapping[tuple[str, str], tuple[_Choice, ...]]
    documents: Mapping[tuple[str, str], tuple[str, ...]]
    organisations: Mapping[str, str]
    _found: dict[tuple[str, str, str], tuple[str, ...]] = field(default_factory=dict, compare=False)

    def find_documents(self, law: str, direction: str, hs: str) -> tuple[str, ...]:
        """Return the documents of which any one answers a law for goods of a code."""
        key = (law, direction, hs)
        found = self._found.get(key)
        if found is None:
            # Bounded: the codes of a hostile sender may not fill the memory.
            if len(self._found) > 50_000:
                self._found.clear()
            found = self._found[key] = self._choose_documents(law, direction, hs)
        return found

    def _choose_documents(self, law: str, direction: str, hs: str) -> tuple[str, ...]:
        choices = self.choices.get((law, direction))
        if choices is None:
            return self.documents.get((law, direction), ())
        named: list[str] = []
        for choice in choices:
            if not choice.prefixes or hs.startswith(choice.prefixes):
                named += choice.documents
                break
            if any(prefix.startswith(hs) for prefix in choice.prefixes):
                # The code is too short to tell: the next lines may concern the goods as well.
                named += choice.documents
        return tuple(one for one in dict.fromkeys(named) if one in self.organisations)

    def get_name(self, law: str) -> str:
        """Return the name of a law; an empty text where it is not known."""
        known = self.laws.get(law)
        return known.name if known is not None else ""

    def get_names(self, law: str) -> dict[str, str]:
        """Return the names of a law by language (`ko`, `en`), those that it has."""
        known = self.laws.get(law)
        named = {} if known is None else {"ko": known.ko, "en": known.en}
        return {language: name for language, name in named.items() if name}

    def list_organisations(self, law: str, direction: str) -> frozenset[str]:
        """Return the organisations whose documents are under a law, for goods of any kind."""
        return frozenset(self.organisations[one] for one in self.documents.get((law, direction), ()))

    def get_accepted_reasons(self, law: str) -> str:
        """Return the reasons for which a disclaimer under the law is accepted."""
        known = self.laws.get(law)
        return known.disclaimers if known is not None else REASONS


def read_law_book(laws: str, choices: str, documents: Iterable[KnownDocument]) -> LawBook:
    """Return the law book of the two files and the documents in force; raise GW512 with line and column."""
    known = tuple(documents)
    by_law: dict[tuple[str, str], list[str]] = {}
    for one in known:
        for law in one.laws:
            by_law.setdefault((law, one.direction), []).append(one.id)
    found = dict(_read_laws(laws))
    return LawBook(
        found,
        _read_choices(choices, found),
        {key: tuple(ids) for key, ids in by_law.items()},
        {one.id: one.organisation for one in known},
    )


def _read_laws(text: str) -> Iterator[tuple[str, Law]]:
    seen: set[str] = set()
    for line, (code, ko, en, disclaimers) in _list_rows(text, "laws.csv", _LAW_COLUMNS):
        accepted = "" if disclaimers == FORBIDDEN else disclaimers.replace(" ", "") or REASONS
        if not code or code in seen:
            raise _make_error("laws.csv", line, 1, "law", "each code once", code)
        if any(one not in REASONS for one in accepted):
            raise _make_error(
                "laws.csv", line, 4, "disclaimers", f"{FORBIDDEN} or letters of {REASONS}", disclaimers
            )
        seen.add(code)
        yield code, Law(code, ko, en, accepted)


def _read_choices(text: str, laws: Mapping[str, Law]) -> dict[tuple[str, str], tuple[_Choice, ...]]:
    found: dict[tuple[str, str], list[_Choice]] = {}
    for line, (law, direction, hs, documents, _) in _list_rows(text, "choices.csv", _CHOICE_COLUMNS):
        prefixes, named = tuple(hs.split()), tuple(documents.split())
        if law not in laws:
            raise _make_error("choices.csv", line, 1, "law", "a law of laws.csv", law)
        if direction not in DIRECTIONS:
            raise _make_error("choices.csv", line, 2, "direction", " or ".join(DIRECTIONS), direction)
        if not all(one.isascii() and one.isdigit() for one in prefixes):
            raise _make_error("choices.csv", line, 3, "hs", "digits, parted by spaces", hs)
        if not named:
            raise _make_error("choices.csv", line, 4, "documents", "ids of documents", documents)
        found.setdefault((law, direction), []).append(_Choice(prefixes, named))
    return {key: tuple(choices) for key, choices in found.items()}


def _list_rows(text: str, file: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if next(reader, None) != columns:
            raise _make_error(file, 1, 1, columns[0], ",".join(columns), text.split("\n", 1)[0])
        for row in reader:
            if row and len(row) != len(columns):
                raise _make_error(
                    file, reader.line_num, 1, columns[0], f"{len(columns)} fields", str(len(row))
                )
            if row:
                yield reader.line_num, [value.strip() for value in row]
    except csv.Error as error:
        raise _make_error(file, reader.line_num, 1, columns[0], "a row of CSV", f"{error!s}") from None


def _make_error(file: str, line: int, column: int, name: str, expected: str, found: str) -> GatewayError:
    detail = f"line {line}, column {column} ({name}): expected {expected}, found {found[:60] or 'nothing'}"
    return GatewayError(NEED_TABLE_WRONG, detail, f"{file}:{line}")
