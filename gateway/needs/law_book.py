"""The laws that ask for documents, the documents that answer each law, and the tables of needs.

``laws.csv`` names every law and the disclaimers it accepts. ``choices.csv`` restricts the documents
of a law by goods; without a line there, every document of the mappings under the law answers it.
A table of needs is one edition with its rows, and the mistakes of its file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from gateway.errors import NEED_TABLE_WRONG, GatewayError

DIRECTIONS: Final = ("import", "export")
#: The reasons of a disclaimer: use not covered, exempt, submission waived, another reason.
DISCLAIMER_REASON_CODES: Final = "ABCZ"


@dataclass(frozen=True, slots=True)
class NeedRow:
    """One row: goods whose code begins with `hs` need a document under `law`.

    `origins` and `uses` are empty where any will do; with `excludes_origins` the row concerns every
    origin but those. `documents` are empty where the law says which. `exemptions` are the reasons
    for which a disclaimer is accepted. `line` is the line of the file.
    """

    hs: str
    direction: str
    law: str
    origins: frozenset[str] = frozenset()
    excludes_origins: bool = False
    uses: frozenset[str] = frozenset()
    documents: tuple[str, ...] = ()
    organisation: str = ""
    mandatory: bool = True
    exemptions: str = DISCLAIMER_REASON_CODES
    valid_from: date | None = None
    valid_until: date | None = None
    line: int = 0

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Return the values that, beside its period, identify the row in its table."""
        origins = " ".join(sorted(self.origins))
        origin_text = f"!{origins}" if self.excludes_origins else origins
        return self.hs, self.direction, self.law, origin_text, " ".join(sorted(self.uses))

    @property
    def content(self) -> tuple[object, ...]:
        """Return the values in which two rows with one key may differ."""
        return (
            self.documents,
            self.organisation,
            self.mandatory,
            self.exemptions,
            self.valid_from,
            self.valid_until,
        )


@dataclass(frozen=True, slots=True)
class NeedTable:
    """One edition of a table, in force from `valid_from` until the next edition begins, or it ends.

    `valid_until` is the last day. Codes of more than six digits are those of `country`. `is_test`
    marks an edition that is not the law of today. `sha256` is the digest of its file.
    """

    name: str
    edition: str
    country: str
    valid_from: date
    valid_until: date | None
    is_test: bool
    source: str
    licence: str
    rows: tuple[NeedRow, ...]
    sha256: str

    @property
    def label(self) -> str:
        """Return the name of table and edition in one word."""
        return f"{self.name}@{self.edition}"


@dataclass(frozen=True, slots=True)
class TableMistake:
    """One mistake of a file: its line, the number and name of its column (0 for the line), the words."""

    line: int
    column: int
    field: str
    message: str

    @property
    def location(self) -> str:
        """Return line and column in words."""
        return (
            f"line {self.line}, column {self.column} ({self.field})" if self.column else f"line {self.line}"
        )


DISCLAIMERS_FORBIDDEN: Final = "forbidden"
_LAW_COLUMNS: Final = ["law", "ko", "en", "disclaimers"]
_CHOICE_COLUMNS: Final = ["law", "direction", "hs", "documents", "reason"]


class MappedDocument(NamedTuple):
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


class _DocumentChoice(NamedTuple):
    prefixes: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LawBook:
    """The laws by code, with the choices of documents under each law and direction."""

    laws: Mapping[str, Law]
    choices: Mapping[tuple[str, str], tuple[_DocumentChoice, ...]]
    documents: Mapping[tuple[str, str], tuple[str, ...]]
    organisations: Mapping[str, str]

    def find_documents(self, law_code: str, direction: str, tariff_code: str) -> tuple[str, ...]:
        """Return the documents of which any one answers a law for goods of a code."""
        choices = self.choices.get((law_code, direction))
        if choices is None:
            return self.documents.get((law_code, direction), ())
        document_ids: list[str] = []
        for choice in choices:
            if not choice.prefixes or tariff_code.startswith(choice.prefixes):
                document_ids += choice.documents
                break
            if any(prefix.startswith(tariff_code) for prefix in choice.prefixes):
                # The code is too short to tell: the next lines may concern the goods as well.
                document_ids += choice.documents
        return tuple(document for document in dict.fromkeys(document_ids) if document in self.organisations)

    def get_name(self, law_code: str) -> str:
        """Return the name of a law; an empty text where it is not known."""
        entry = self.laws.get(law_code)
        return entry.name if entry is not None else ""

    def get_names(self, law_code: str) -> dict[str, str]:
        """Return the names of a law by language (`ko`, `en`), those that it has."""
        entry = self.laws.get(law_code)
        names = {} if entry is None else {"ko": entry.ko, "en": entry.en}
        return {language: name for language, name in names.items() if name}

    def list_organisations(self, law_code: str, direction: str) -> frozenset[str]:
        """Return the organisations whose documents are under a law, for goods of any kind."""
        return frozenset(
            self.organisations[document] for document in self.documents.get((law_code, direction), ())
        )

    def get_accepted_reasons(self, law_code: str) -> str:
        """Return the reasons for which a disclaimer under the law is accepted."""
        entry = self.laws.get(law_code)
        return entry.disclaimers if entry is not None else DISCLAIMER_REASON_CODES


def read_law_book(laws_csv: str, choices_csv: str, documents: Iterable[MappedDocument]) -> LawBook:
    """Return the law book of the two files and the documents in force; raise GW512 with line and column."""
    all_documents = tuple(documents)
    ids_by_law: dict[tuple[str, str], list[str]] = {}
    for document in all_documents:
        for law in document.laws:
            ids_by_law.setdefault((law, document.direction), []).append(document.id)
    laws_by_code = dict(_read_laws(laws_csv))
    return LawBook(
        laws_by_code,
        _read_choices(choices_csv, laws_by_code),
        {key: tuple(ids) for key, ids in ids_by_law.items()},
        {document.id: document.organisation for document in all_documents},
    )


def _read_laws(csv_text: str) -> Iterator[tuple[str, Law]]:
    """Yield each law of `laws.csv` with its code; raise GW512 for a repeated code or an unknown reason.

    An empty column `disclaimers` accepts all reasons of disclaimers.
    """
    seen_codes: set[str] = set()
    for line_number, (code, ko, en, disclaimers) in _list_rows(csv_text, "laws.csv", _LAW_COLUMNS):
        accepted_reasons = (
            ""
            if disclaimers == DISCLAIMERS_FORBIDDEN
            else disclaimers.replace(" ", "") or DISCLAIMER_REASON_CODES
        )
        if not code or code in seen_codes:
            raise _make_error("laws.csv", line_number, 1, "law", "each code once", code)
        if any(reason not in DISCLAIMER_REASON_CODES for reason in accepted_reasons):
            raise _make_error(
                "laws.csv",
                line_number,
                4,
                "disclaimers",
                f"{DISCLAIMERS_FORBIDDEN} or letters of {DISCLAIMER_REASON_CODES}",
                disclaimers,
            )
        seen_codes.add(code)
        yield code, Law(code, ko, en, accepted_reasons)


def _read_choices(
    csv_text: str, laws: Mapping[str, Law]
) -> dict[tuple[str, str], tuple[_DocumentChoice, ...]]:
    """Return the rows of `choices.csv` by law and direction, in order; raise GW512 for a wrong value."""
    choices_by_law: dict[tuple[str, str], list[_DocumentChoice]] = {}
    for line_number, (law, direction, hs, documents, _) in _list_rows(
        csv_text, "choices.csv", _CHOICE_COLUMNS
    ):
        prefixes, document_ids = tuple(hs.split()), tuple(documents.split())
        if law not in laws:
            raise _make_error("choices.csv", line_number, 1, "law", "a law of laws.csv", law)
        if direction not in DIRECTIONS:
            raise _make_error("choices.csv", line_number, 2, "direction", " or ".join(DIRECTIONS), direction)
        if not all(prefix.isascii() and prefix.isdigit() for prefix in prefixes):
            raise _make_error("choices.csv", line_number, 3, "hs", "digits, parted by spaces", hs)
        if not document_ids:
            raise _make_error("choices.csv", line_number, 4, "documents", "ids of documents", documents)
        choices_by_law.setdefault((law, direction), []).append(_DocumentChoice(prefixes, document_ids))
    return {key: tuple(choices) for key, choices in choices_by_law.items()}


def _list_rows(csv_text: str, file_name: str, column_names: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and stripped values of each row below the header; raise GW512 if malformed."""
    reader = csv.reader(io.StringIO(csv_text, newline=""), strict=True)
    try:
        if next(reader, None) != column_names:
            raise _make_error(
                file_name, 1, 1, column_names[0], ",".join(column_names), csv_text.split("\n", 1)[0]
            )
        for row in reader:
            if row and len(row) != len(column_names):
                raise _make_error(
                    file_name,
                    reader.line_num,
                    1,
                    column_names[0],
                    f"{len(column_names)} fields",
                    str(len(row)),
                )
            if row:
                yield reader.line_num, [value.strip() for value in row]
    except csv.Error as error:
        raise _make_error(
            file_name, reader.line_num, 1, column_names[0], "a row of CSV", f"{error!s}"
        ) from None


def _make_error(file: str, line: int, column: int, name: str, expected: str, text: str) -> GatewayError:
    detail = f"line {line}, column {column} ({name}): expected {expected}, found {text[:60] or 'nothing'}"
    return GatewayError(NEED_TABLE_WRONG, detail, f"{file}:{line}")
