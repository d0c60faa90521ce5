"""The mapping bundle: dictionary, code lists, organisations, documents and notices, loaded together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Final, TypeVar

from gateway.harmonize.language.code_lists import CodeList
from gateway.harmonize.language.data_dictionary import DataDictionary
from gateway.harmonize.language.declaration_rules import DeclarationRule
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.notice_tree import NoticeCatalog
from gateway.harmonize.language.unit_table import NO_UNITS, UnitTable
from gateway.harmonize.language.value_shapes import CHARSETS
from gateway.wire import YamlNode, YamlTable

CARRIER_SYNTAXES: Final = ("xml", "json", "fixed")
_NUMBERS: Final = {"json": ("strings", "exact"), "fixed": ("text", "zeros")}
_ENDS: Final = {"none": b"", "lf": b"\n", "crlf": b"\r\n"}
_OVERFLOWS: Final = ("continue", "refuse")


@dataclass(frozen=True, slots=True)
class FieldFormat:
    """The format of one field of fixed records; a value of None means that of the organisation."""

    width: int | None = None
    number_format: str | None = None
    overflow: str | None = None


@dataclass(frozen=True, slots=True)
class CarrierFormat:
    """How an organisation's documents are carried.

    `number_format` are ``strings`` or ``exact`` in JSON, ``text`` (to the left, filled with spaces) or
    ``zeros`` (to the right, filled with zeros) in fixed records. There `max_text_octets` is the most octets
    of a text field; a longer value goes on in continuation records, or is refused, as `overflow` says.
    `record_end` closes each record. `fields` has the formats of single fields, by the path of the element
    from its root.
    """

    syntax: str = "xml"
    charset: str = "utf-8"
    number_format: str = ""
    max_text_octets: int = 100
    overflow: str = "continue"
    record_end: bytes = b"\n"
    fields: Mapping[str, FieldFormat] = field(default_factory=dict)


#: The format of an organisation that ``carriers.yaml`` does not name.
XML_FORMAT: Final = CarrierFormat()


def read_carrier_formats(node: YamlNode, organisations: Collection[str]) -> dict[str, CarrierFormat]:
    """Return the format of each organisation that is named; raise GW502 with file, line and field."""
    top = node.read_table("carriers")
    formats = {}
    for code, value, mark in top.get_required("carriers").read_table("carriers").take_unread_items():
        YamlNode(code, mark).read_choice("organisation", organisations)
        formats[code] = _read_carrier_format(value.read_table(code))
    top.reject_unread_keys()
    return formats


def _read_carrier_format(table: YamlTable) -> CarrierFormat:
    """Return the format that a table declares, with a default for each missing key except ``form``."""
    syntax = table.get_required("form").read_choice("form", CARRIER_SYNTAXES)
    charset, longest, end = table.get("charset"), table.get("longest"), table.get("end")
    numbers, overflow, fields = table.get("numbers"), table.get("overflow"), table.get("fields")
    carrier_format = CarrierFormat(
        syntax,
        charset.read_choice("charset", CHARSETS if syntax == "fixed" else ("utf-8",)) if charset else "utf-8",
        numbers.read_choice("numbers", _NUMBERS.get(syntax, ())) if numbers else "",
        longest.read_integer("longest", 4, 9999) if longest else 100,
        overflow.read_choice("overflow", _OVERFLOWS) if overflow else "continue",
        _ENDS[end.read_choice("end", tuple(_ENDS))] if end else b"\n",
        _read_field_formats(fields.read_table("fields")) if fields else {},
    )
    table.reject_unread_keys()
    return carrier_format


def _read_field_formats(table: YamlTable) -> dict[str, FieldFormat]:
    """Return the formats of single fields of fixed records by path; None stands for the general value."""
    formats = {}
    for path, value, _ in table.take_unread_items():
        row = value.read_table(path)
        width, numbers, overflow = row.get("width"), row.get("numbers"), row.get("overflow")
        formats[path] = FieldFormat(
            width.read_integer("width", 1, 9999) if width else None,
            numbers.read_choice("numbers", _NUMBERS["fixed"]) if numbers else None,
            overflow.read_choice("overflow", _OVERFLOWS) if overflow else None,
        )
        row.reject_unread_keys()
    return formats


_Compiled = TypeVar("_Compiled")
#: The lists of units: those of Recommendation 20, and those that it has withdrawn.
_UNITS: Final = ("rec20", "rec20Former")


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation that decides on goods at the border.

    With `wants_clearance` the hub reports to it how customs ended the clearance of goods that it decided on.
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
    carriers: Mapping[str, CarrierFormat] = field(default_factory=dict)
    _compiling: AbstractContextManager[object] = field(default_factory=RLock, compare=False, repr=False)

    def get_compiled(self, key: str, make: Callable[[], _Compiled]) -> _Compiled:
        """Return the cached result for `key`; call `make` for it at the first use, in one thread only."""
        if key not in self.compiled:
            # To compile a schema takes long: threads that need the same wait for the first.
            with self._compiling:
                if key not in self.compiled:
                    self.compiled[key] = make()
        compiled: _Compiled = self.compiled[key]
        return compiled

    def collect_allowed_units(self) -> frozenset[str]:
        """Return the units that a common measure may have; none where the bundle has no list of them."""
        if _UNITS[0] not in self.lists:
            return frozenset()
        listed = (self.lists[name].code_set for name in _UNITS if name in self.lists)
        return frozenset(self.units.units).union(*listed)
