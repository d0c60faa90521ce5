"""Loads the rules of need of a folder of mappings: the law book, and the tables in the folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.needs.law_book import KnownDocument, LawBook, read_law_book
from gateway.needs.need_index import NeedIndex
from gateway.needs.need_table_reader import read_need_table
from gateway.needs.need_tables import NeedTable

__all__ = ["FOLDER", "NeedRules", "load_need_rules"]

#: The folder of the rules of need, in a folder of mappings.
FOLDER: Final = "needs"
#: The tables read last, by name and content: a folder is loaded several times.
_RECENT: Final[dict[tuple[str, bytes], NeedTable]] = {}
_MOST_RECENT: Final = 8


@dataclass(frozen=True, slots=True)
class NeedRules:
    """The law book and the tables of a folder of mappings."""

    book: LawBook
    tables: tuple[NeedTable, ...]

    def make_index(self, loaded: Sequence[NeedTable] = (), *, test_editions: bool = True) -> NeedIndex:
        """Return the index of these tables and of those that operators loaded.

        Without `test_editions`, the editions that are marked so are left out.
        """
        tables = [one for one in (*self.tables, *loaded) if test_editions or not one.is_test]
        return NeedIndex(tables, self.book)


def load_need_rules(place: Traversable, documents: Iterable[KnownDocument]) -> NeedRules:
    """Return the rules in a folder of mappings; raise GW512 naming file, line and column."""
    folder = place.joinpath(FOLDER)
    laws, choices = (_read_text(folder.joinpath(name)) for name in ("laws.csv", "choices.csv"))
    return NeedRules(read_law_book(laws, choices, documents), tuple(_load_tables(folder.joinpath("tables"))))


def _load_tables(folder: Traversable) -> Iterable[NeedTable]:
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".csv"):
            yield _load_table(file)


def _load_table(file: Traversable) -> NeedTable:
    octets = file.read_bytes()
    known = _RECENT.get((file.name, octets))
    if known is None:
        known = _RECENT[file.name, octets] = read_need_table(octets, file.name)
        for oldest in list(_RECENT)[:-_MOST_RECENT]:
            _RECENT.pop(oldest, None)
    return known


def _read_text(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise GatewayError(NEED_TABLE_WRONG, f"{file.name} cannot be read: {reason}", file.name) from None
