"""The rules of need in force: those of the folder of mappings, and the tables that operators loaded.

They are read when they are first asked for: most verbs and many processes never ask.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import Final

from gateway.harmonize import MappingBundle
from gateway.needs import KnownDocument, NeedIndex, NeedRules, NeedTable, TableNames, load_need_rules
from gateway.share import get_data_folder

__all__ = ["NEED_MARK", "ActiveNeeds", "make_table_names"]

#: A folder of mappings that has this file has rules of need of its own.
NEED_MARK: Final = "needs/laws.csv"


class ActiveNeeds:
    """The rules of need of a folder of mappings, the shipped ones where it has none; thread-safe."""

    def __init__(self, place: Traversable, bundle: MappingBundle, loaded: Sequence[NeedTable] = ()) -> None:
        own = place.joinpath(*NEED_MARK.split("/")).is_file()
        self._place = place if own else get_data_folder("mappings")
        self._bundle = bundle
        self._loaded = tuple(loaded)
        self._rules: NeedRules | None = None
        self._indexes: dict[bool, NeedIndex] = {}
        self._reading = threading.Lock()

    def replace_tables(self, loaded: Sequence[NeedTable]) -> ActiveNeeds:
        """Return the rules with other loaded tables."""
        other = ActiveNeeds(self._place, self._bundle, loaded)
        other._rules = self._rules
        return other

    def get_rules(self) -> NeedRules:
        """Return the law book and the tables of the folder; raises GW512 with file, line and column."""
        with self._reading:
            return self._read_rules()

    def get_index(self, *, test_editions: bool = True) -> NeedIndex:
        """Return the index of all tables, without those marked as test editions where asked; raises GW512."""
        with self._reading:
            index = self._indexes.get(test_editions)
            if index is None:
                rules = self._read_rules()
                index = rules.make_index(self._loaded, test_editions=test_editions)
                self._indexes[test_editions] = index
            return index

    def _read_rules(self) -> NeedRules:
        if self._rules is None:
            documents = self._bundle.documents.values()
            known = [KnownDocument(one.id, one.organisation, one.direction, one.laws) for one in documents]
            self._rules = load_need_rules(self._place, known)
        return self._rules


def make_table_names(needs: ActiveNeeds, bundle: MappingBundle) -> TableNames:
    """Return what the rows of a table may name: laws and their documents, organisations, countries."""
    countries = bundle.lists.get("iso3166")
    book = needs.get_rules().book
    return TableNames(
        frozenset(book.laws),
        frozenset(bundle.documents),
        frozenset(bundle.organisations),
        frozenset(countries.known) if countries is not None else frozenset(),
        {key: {one: book.organisations[one] for one in named} for key, named in book.documents.items()},
    )
