"""The mapping bundle: dictionary, code lists, organisations, documents and notices, loaded together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Final, TypeVar

from gateway.harmonize.language.carrier_forms import CarrierForm
from gateway.harmonize.language.declaration_rules import DeclarationRule
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.notice_tree import NoticeCatalog
from gateway.harmonize.types import NO_UNITS, CodeList, DataDictionary, UnitTable

__all__ = [
    "MappingBundle",
    "Organisation",
]

_Made = TypeVar("_Made")
#: The lists of units: those of Recommendation 20, and those that it has withdrawn.
_UNITS: Final = ("rec20", "rec20Former")


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation that decides on goods at the border.

    With `wants_clearance` it is told how customs ended the clearance of what it decided on.
    """

    code: str
    ko: str
    en: str
    kind: str
    wants_clearance: bool = False


@dataclass(frozen=True, slots=True)
class MappingBundle:
    """All loaded mappings, with the digest of their files."""

    dictionary: DataDictionary
    lists: Mapping[str, CodeList]
    organisations: Mapping[str, Organisation]
    documents: Mapping[str, DocumentMapping]
    reconciled: Mapping[tuple[str, str], str]
    digest: str
    compiled: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    units: UnitTable = NO_UNITS
    decisions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    notices: NoticeCatalog = field(default_factory=NoticeCatalog)
    rules: tuple[DeclarationRule, ...] = ()
    carriers: Mapping[str, CarrierForm] = field(default_factory=dict)
    _compiling: AbstractContextManager[object] = field(default_factory=RLock, compare=False, repr=False)

    def get_compiled(self, key: str, make: Callable[[], _Made]) -> _Made:
        """Return what is made of the mappings once, at its first use; `key` is its kind and its document."""
        if key not in self.compiled:
            # To compile a schema takes long: threads that need the same wait for the first.
            with self._compiling:
                if key not in self.compiled:
                    self.compiled[key] = make()
        made: _Made = self.compiled[key]
        return made

    def collect_known_units(self) -> frozenset[str]:
        """Return the units that a common measure may have; none where the bundle has no list of them."""
        if _UNITS[0] not in self.lists:
            return frozenset()
        listed = (self.lists[name].known for name in _UNITS if name in self.lists)
        return frozenset(self.units.units).union(*listed)

    def collect_code_labels(self) -> dict[str, Mapping[str, tuple[str, str]]]:
        """Return the Korean and English label of each code, by list and code."""
        return {name: codes.labels for name, codes in self.lists.items() if codes.labels}
