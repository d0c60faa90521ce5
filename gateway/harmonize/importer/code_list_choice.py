"""Chooses the code list of each field: the inventory's own, a shipped one, a standard, or an open one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.importer.inventory_fields import CodeLabels, InventoryField
from gateway.harmonize.importer.name_rules import make_camel_case, make_unique_name
from gateway.harmonize.importer.pattern_translation import make_form_pattern, translate_pattern
from gateway.harmonize.importer.tokenizer import UnclearError
from gateway.harmonize.importer.yaml_writer import write_csv, write_flow
from gateway.harmonize.types import NO_UNITS, CodeList, UnitTable, make_mapping_error, shorten_text

__all__ = ["ChosenList", "ImportedLists", "describe_missing_labels"]

_ANY_CODE: Final = "[A-Za-z0-9._-]{1,35}"
_LONGEST_CODE: Final = 35
_UNITS: Final = ("rec20", "rec20Former")
_CURRENCIES: Final = "iso4217"
# How like a list of the inventory a name must be to be a misspelling of it.
_LIKENESS: Final = 0.8
_SHOWN: Final = 160
_PROSE: Final = re.compile(r"\s*\(.*\)\s*|\bopen\b|\blist\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ChosenList:
    """The list of one field: its name, its codes where it is closed, and the work that is left."""

    name: str
    codes: tuple[str, ...] | None
    unfinished: str = ""


@dataclass(slots=True)
class ImportedLists:
    """The code lists of an import: `shipped` by name, those of the `inventory`, `standards` by description.

    `stems` are the names of the shipped files without endings; `units`, `laws` and `offices`
    are the table of units and the codes of the law book and of all organisations; `lines` and
    `files` collect the additions to the registry and the new files, `unfinished` the work that is
    left and the name in the inventory, by list.
    """

    shipped: Mapping[str, CodeList]
    inventory: Mapping[str, CodeLabels]
    standards: Mapping[str, tuple[str, str]]
    stems: frozenset[str] = frozenset()
    units: UnitTable = NO_UNITS
    laws: frozenset[str] = frozenset()
    offices: frozenset[str] = frozenset()
    lines: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, tuple[str, str]] = field(default_factory=dict)
    _known: dict[str, ChosenList] = field(default_factory=dict)

    def is_known_unit(self, code: str) -> bool:
        """Return whether Recommendation 20 or the table of units has a unit."""
        listed = (self.shipped.get(name) for name in _UNITS)
        return self.units.get(code) is not None or any(one and code in one.codes for one in listed)

    def choose_currencies(self, asked: InventoryField, where: str) -> str:
        """Return the list of the currencies of an amount; raise GW502 for one that ISO 4217 lacks.

        `where` is the document and the field.
        """
        named = [self.standards.get(_normalize_text(one), ("",))[0] for one in asked.currencies]
        if not named or named == [_CURRENCIES]:
            return _CURRENCIES
        known = self.shipped.get(_CURRENCIES)
        for code in asked.currencies:
            if known is not None and code not in known.codes:
                name = _name_key(where, "currencies")
                raise make_mapping_error(asked.mark, name, "currencies of ISO 4217", code)
        codes = {code: (code, code) for code in asked.currencies}
        own = f"currencies {where.partition(' ')[2]}"
        return self._choose_own_list(own, codes, f"own/{own}/{' '.join(codes)}").name

    def choose_list(self, asked: InventoryField, where: str) -> ChosenList:
        """Return the list of a field of type code; `where` gives a name to a list without one."""
        listing = asked.listing
        if isinstance(listing, str) and listing in self.inventory:
            return self._choose_own_list(listing, self.inventory[listing], f"own/{listing}")
        if isinstance(listing, str) and not asked.pattern:
            standard = self.standards.get(_normalize_text(listing))
            if standard is not None:
                return self._choose_standard_list(listing, *standard)
        if isinstance(listing, str) and self._is_list_name(listing):
            self._refuse_misspelling(asked, listing, where)
        return self._choose_open_list(asked, where)

    def _is_list_name(self, listing: str) -> bool:
        """Return whether a description is one word, as the name of a list is, and no standard."""
        return bool(listing) and " " not in listing and _normalize_text(listing) not in self.standards

    def _refuse_misspelling(self, asked: InventoryField, name: str, where: str) -> None:
        """Raise GW502 for a name that is almost that of a list of the inventory."""
        folded = {one.casefold(): one for one in self.inventory}
        close = difflib.get_close_matches(name[:_SHOWN].casefold(), folded, 1, _LIKENESS)
        if close:
            wanted = f"a list of the inventory, as {folded[close[0]]}"
            raise make_mapping_error(asked.mark, _name_key(where, "code_list"), wanted, name)

    def _choose_own_list(self, name: str, codes: CodeLabels, key: str) -> ChosenList:
        """Return a list of the inventory, or the shipped list of that name where it has the same codes."""
        if key in self._known:
            return self._known[key]
        shipped = self.shipped.get(name)
        if shipped is not None and shipped.pattern is None and set(shipped.codes) == set(codes):
            chosen = ChosenList(name, shipped.codes)
        else:
            origin, name = name, make_unique_name(make_camel_case(name), {*self.shipped, *self.lines}, "")
            file = f"codelists/{make_unique_name(_make_file_name(name), self._list_file_names(), '-')}.csv"
            rows = ((code, ko or en or code, en or ko or code) for code, (ko, en) in codes.items())
            self.files[file] = write_csv([("code", "ko", "en"), *rows])
            if text := describe_missing_labels(codes):
                self.unfinished[name] = text, origin
            spec = {"file": file, "key": "code", "version": "1", "source": "the inventory"}
            self.lines[name] = f"  {name}: {write_flow(spec)}"
            chosen = ChosenList(name, tuple(codes))
        self._known[key] = chosen
        return chosen

    def _list_file_names(self) -> frozenset[str]:
        """Return the names of files that must not be overwritten, without their endings."""
        return self.stems | {name.removeprefix("codelists/").removesuffix(".csv") for name in self.files}

    def _choose_standard_list(self, listing: str, name: str, pattern: str) -> ChosenList:
        if name in self.shipped:
            shipped = self.shipped[name]
            return ChosenList(name, None if shipped.pattern else shipped.codes)
        return self._choose_pattern_list(
            make_camel_case(listing), pattern, f"{listing}: any code of the form {pattern} passes"
        )

    def _choose_open_list(self, asked: InventoryField, where: str) -> ChosenList:
        listing = asked.listing if isinstance(asked.listing, str) else ""
        name = make_camel_case(_PROSE.sub(" ", listing).strip() or where)
        text = shorten_text(listing, _SHOWN) or f"the list of {where}"
        if self._is_list_name(listing) and self.inventory:
            named = shorten_text(", ".join(self.inventory), _SHOWN)
            text = f"no code list of the inventory is named {text} (it has {named}); the list"
        pattern, reason = make_form_pattern(listing), ""
        if asked.pattern:
            try:
                pattern = translate_pattern(asked.pattern, asked.longest or _LONGEST_CODE)
            except UnclearError as unclear:
                reason = shorten_text(f" (pattern {asked.pattern}: {unclear}", _SHOWN) + ")"
        if pattern is None:
            pattern = f"[A-Za-z0-9._-]{{1,{asked.longest}}}" if asked.longest else _ANY_CODE
            reason = reason or " (it says no form)"
        shipped = self.shipped.get(name)
        if shipped is not None and shipped.pattern == pattern:
            return ChosenList(name, None)
        return self._choose_pattern_list(
            name, pattern, f"{text} is open: any code of the form {pattern} passes{reason}"
        )

    def _choose_pattern_list(self, name: str, pattern: str, unfinished: str) -> ChosenList:
        key = f"open/{name}/{pattern}"
        if key not in self._known:
            name = make_unique_name(name, {*self.shipped, *self.lines}, "")
            spec = {"open": pattern, "version": "open", "source": "the inventory; its rows are not held here"}
            self.lines[name] = f"  {name}: {write_flow(spec)}"
            self._known[key] = ChosenList(name, None, unfinished)
        return self._known[key]


def describe_missing_labels(codes: CodeLabels) -> str:
    """Return which codes lack a Korean label, in words; empty where none lacks it."""
    missing = [code for code, (ko, _) in codes.items() if not ko]
    named = shorten_text(", ".join(missing), _SHOWN)
    return f"the Korean label of the code{'s' if len(missing) > 1 else ''} {named}" if missing else ""


def _name_key(where: str, key: str) -> str:
    """Return the name of a key of a field in errors; `where` is the document and the field."""
    document, _, field_name = where.partition(" ")
    return f"{document}.unique.{field_name}.{key}"


def _normalize_text(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _make_file_name(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
