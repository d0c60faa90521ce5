"""The values of a table of needs: one edition with its rows, and the mistakes of its file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

__all__ = ["DIRECTIONS", "REASONS", "NeedRow", "NeedTable", "TableMistake"]

DIRECTIONS: Final = ("import", "export")
#: The reasons of a disclaimer: use not covered, exempt, submission waived, another reason.
REASONS: Final = "ABCZ"


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
    exemptions: str = REASONS
    valid_from: date | None = None
    valid_until: date | None = None
    line: int = 0

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Return what identifies the row in its table, beside its period."""
        origins = " ".join(sorted(self.origins))
        shown = f"!{origins}" if self.excludes_origins else origins
        return self.hs, self.direction, self.law, shown, " ".join(sorted(self.uses))

    @property
    def content(self) -> tuple[object, ...]:
        """Return what two rows of one key may differ in."""
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
    def place(self) -> str:
        """Return line and column in words."""
        return (
            f"line {self.line}, column {self.column} ({self.field})" if self.column else f"line {self.line}"
        )
