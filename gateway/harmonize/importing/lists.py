"""Finds the code list of each field: the inventory's own, a shipped one, a standard, or an open one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.importing.fields import Field
from gateway.harmonize.importing.naming import camel, once
from gateway.harmonize.importing.patterns import pattern_of_form, translate_pattern
from gateway.harmonize.importing.tokens import UnclearError
from gateway.harmonize.importing.writing import csv_text, flow
from gateway.harmonize.terms.codelists import CodeList

__all__ = ["Chosen", "Lists"]

_ANY_CODE: Final = "[A-Za-z0-9._-]{1,35}"
_LONGEST_CODE: Final = 35
_PROSE: Final = re.compile(r"\s*\(.*\)\s*|\bopen\b|\blist\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The list of one field: its name, its codes when it is closed, and what is left to finish."""

    name: str
    codes: tuple[str, ...] | None
    unfinished: str = ""


@dataclass(slots=True)
class Lists:
    """The code lists of an import: `shipped` by name, the `inventory`'s, `standards` by their words.

    `stems` are the names of the shipped files without endings; `lines` and `files` grow
    with what the import adds to the registry and beside it.
    """

    shipped: Mapping[str, CodeList]
    inventory: Mapping[str, Mapping[str, str]]
    standards: Mapping[str, tuple[str, str]]
    stems: frozenset[str] = frozenset()
    lines: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Chosen] = field(default_factory=dict)

    def choose(self, asked: Field, where: str) -> Chosen:
        """Return the list of a field of type code; `where` names a list that has no name."""
        listing = asked.listing
        if isinstance(listing, str) and listing in self.inventory:
            return self._own(listing, self.inventory[listing], f"own/{listing}")
        if isinstance(listing, str) and not asked.pattern:
            standard = self.standards.get(_words(listing))
            if standard is not None:
                return self._standard(listing, *standard)
        return self._open(asked, where)

    def _own(self, name: str, codes: Mapping[str, str], key: str) -> Chosen:
        """Return a list of the inventory; a shipped list with the same codes stands for it."""
        if key in self._known:
            return self._known[key]
        shipped = self.shipped.get(name)
        if shipped is not None and shipped.pattern is None and set(shipped.codes) == set(codes):
            chosen = Chosen(name, shipped.codes)
        else:
            name = once(camel(name), {*self.shipped, *self.lines}, "")
            file = f"codelists/{once(_file(name), self._files(), '-')}.csv"
            self.files[file] = csv_text([("code", "en"), *codes.items()])
            spec = {"file": file, "key": "code", "version": "1", "source": "the inventory"}
            self.lines[name] = f"  {name}: {flow(spec)}"
            chosen = Chosen(name, tuple(codes))
        self._known[key] = chosen
        return chosen

    def _files(self) -> frozenset[str]:
        """Return the names of files that may not be written over, without their endings."""
        return self.stems | {name.removeprefix("codelists/").removesuffix(".csv") for name in self.files}

    def _standard(self, listing: str, name: str, pattern: str) -> Chosen:
        if name in self.shipped:
            shipped = self.shipped[name]
            return Chosen(name, None if shipped.pattern else shipped.codes)
        return self._pattern(camel(listing), pattern, f"{listing}: any code of the form {pattern} passes")

    def _open(self, asked: Field, where: str) -> Chosen:
        listing = asked.listing if isinstance(asked.listing, str) else ""
        name = camel(_PROSE.sub(" ", listing).strip() or where)
        text = listing or f"the list of {where}"
        pattern, reason = pattern_of_form(listing), ""
        if asked.pattern:
            try:
                pattern = translate_pattern(asked.pattern, asked.longest or _LONGEST_CODE)
            except UnclearError as unclear:
                reason = f" (pattern {asked.pattern}: {unclear})"
        if pattern is None:
            pattern = f"[A-Za-z0-9._-]{{1,{asked.longest}}}" if asked.longest else _ANY_CODE
            reason = reason or " (it says no form)"
        shipped = self.shipped.get(name)
        if shipped is not None and shipped.pattern == pattern:
            return Chosen(name, None)
        return self._pattern(name, pattern, f"{text} is open: any code of the form {pattern} passes{reason}")

    def _pattern(self, name: str, pattern: str, unfinished: str) -> Chosen:
        key = f"open/{name}/{pattern}"
        if key not in self._known:
            name = once(name, {*self.shipped, *self.lines}, "")
            spec = {"open": pattern, "version": "open", "source": "the inventory; its rows are not held here"}
            self.lines[name] = f"  {name}: {flow(spec)}"
            self._known[key] = Chosen(name, None, unfinished)
        return self._known[key]


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _file(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
