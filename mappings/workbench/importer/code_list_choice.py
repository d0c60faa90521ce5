"""Chooses the code list of each field, and translates the regular expressions of an inventory.

A list is the inventory's own, a shipped one, a standard, or an open one. The patterns of the mapping language
have sequences of characters and classes with counts, and choices of fixed words; Python and XML Schema read
these alike. Any other expression is rejected with a reason.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize import NO_UNITS, CodeList, UnitTable, is_simple_pattern
from gateway.wire import shorten_text
from gateway_workbench.importer.condition_translation import UnclearError
from gateway_workbench.importer.inventory_fields import CodeLabels, InventoryField
from gateway_workbench.importer.written_names import (
    make_camel_case,
    make_unique_name,
    write_csv,
    write_flow,
)

_CLASSES: Final = {"d": "0-9", "w": "A-Za-z0-9_"}
_COUNT: Final = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_LARGE: Final = re.compile(r"(?<!\\)\{[0-9,]*[0-9]{5,}[0-9,]*\}")
_MAX_PATTERN_LENGTH: Final = 400
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _/-]")
_CHOICE: Final = re.compile(r"\((?:\?:)?([^()\[\]{}\\?+*.^$]+(?:\|[^()\[\]{}\\?+*.^$]+)*)\)")
_FORMAT_PATTERN: Final = re.compile(r"(an|a|n)(\.\.)?([0-9]{1,3})(?![0-9A-Za-z])")
_PICTURE: Final = re.compile(r"(?<![A-Za-z0-9])(?=[A09.-]*0)[A9][A09.-]{2,30}(?![A-Za-z0-9])")
_ALPHABETS: Final = {"an": "[A-Za-z0-9]", "a": "[A-Za-z]", "n": "[0-9]"}


def translate_pattern(pattern: str, max_count: int) -> str:
    """Return `pattern` in the form of mappings, open counts limited to `max_count`; raise `UnclearError`."""
    if len(pattern) > _MAX_PATTERN_LENGTH:
        raise UnclearError(f"it has more than {_MAX_PATTERN_LENGTH} characters")
    if (large := _LARGE.search(pattern)) is not None:
        raise UnclearError(f"the count {large[0]} is larger than 9999")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UnclearError(f"it is no regular expression ({error})") from None
    text = pattern.removeprefix("^").removesuffix("$")
    parts: list[str] = []
    position = 0
    while position < len(text):
        atom, position = _translate_atom(text, position)
        count, position = _translate_count(text, position, max_count)
        parts.append(atom + count)
    translated = "".join(parts)
    if not is_simple_pattern(translated):
        raise UnclearError(
            f"a pattern is a row of characters, classes and choices with counts, not {pattern}"
        )
    return translated


def _translate_atom(text: str, position: int) -> tuple[str, int]:
    letter = text[position]
    if letter == "[":
        return _translate_class(text, position)
    if letter == "(":
        choice = _CHOICE.match(text, position)
        if choice is None:
            raise UnclearError("brackets hold a choice of fixed words only")
        return f"({choice[1]})", choice.end()
    if letter == "\\":
        escaped = text[position + 1 : position + 2]
        if escaped in _CLASSES:
            return f"[{_CLASSES[escaped]}]", position + 2
        if escaped.isalnum():
            raise UnclearError(f"it has \\{escaped}")
        return _write_literal(escaped), position + 2
    if letter in "^$|)?+*{}.":
        raise UnclearError(f"it has {letter} where a character or a class should be")
    return _write_literal(letter), position + 1


def _write_literal(letter: str) -> str:
    return letter if _PLAIN.fullmatch(letter) else f"[{letter}]"


def _translate_class(text: str, position: int) -> tuple[str, int]:
    """Return a class with its escapes resolved, and the position after it."""
    content, at = "", position + 1
    if text[at : at + 1] == "^":
        raise UnclearError("it has a class of what may not stand there")
    last = ""
    while at < len(text) and (text[at] != "]" or at == position + 1):
        letter = text[at]
        if letter == "\\":
            letter = text[at + 1 : at + 2]
            at += 1
            if letter in _CLASSES:
                content, at = content + _CLASSES[letter], at + 1
                continue
            if letter == "-":
                last, at = "-", at + 1
                continue
            if letter.isalnum():
                raise UnclearError(f"it has \\{letter}")
        content, at = content + letter, at + 1
    return f"[{content}{last}]", at + 1


def _translate_count(text: str, position: int, max_count: int) -> tuple[str, int]:
    letter = text[position : position + 1]
    if letter in ("?", "+", "*"):
        if text[position + 1 : position + 2] in ("?", "+"):
            raise UnclearError("it says how greedy a count is")
        return {"?": "{0,1}", "+": f"{{1,{max_count}}}", "*": f"{{0,{max_count}}}"}[letter], position + 1
    if letter == "{":
        match = _COUNT.match(text, position)
        if match is None:
            raise UnclearError("it has a count without numbers")
        low, high = match[1], (match[3] or str(max(max_count, int(match[1])))) if match[2] else ""
        return (f"{{{low},{high}}}" if high else f"{{{low}}}"), match.end()
    return "", position


def make_format_pattern(text: str) -> str | None:
    """Return the pattern in the description of an open list: ``an..12``, ``a3``, ``A00000.00``; or None."""
    match = _FORMAT_PATTERN.search(text)
    if match is not None:
        low = "1," if match[2] else ""
        return f"{_ALPHABETS[match[1]]}{{{low}{int(match[3])}}}"
    picture = _PICTURE.search(text)
    if picture is not None:
        return _make_picture_pattern(picture[0])
    letters = re.search(r"([0-9])-(alpha|digit|character)s?\b", text)
    if letters is not None:
        alphabet = {"alpha": "[A-Z]", "digit": "[0-9]", "character": "[A-Za-z0-9]"}[letters[2]]
        return f"{alphabet}{{{letters[1]}}}"
    return None


def _make_picture_pattern(picture: str) -> str:
    """Return the pattern of a picture in which A is a letter, 0 and 9 a digit."""
    parts = []
    for run in re.finditer(r"A+|[09]+|[.-]+", picture):
        letter = {"A": "[A-Z]", "0": "[0-9]", "9": "[0-9]", ".": "[.]", "-": "-"}[run[0][0]]
        parts.append(letter + (f"{{{len(run[0])}}}" if len(run[0]) > 1 else ""))
    return "".join(parts)


_ANY_CODE: Final = "[A-Za-z0-9._-]{1,35}"
_MAX_CODE_LENGTH: Final = 35
_UNITS: Final = ("rec20", "rec20Former")
_CURRENCIES: Final = "iso4217"
# How like a list of the inventory a name must be to be a misspelling of it.
_LIKENESS: Final = 0.8
_MAX_CHARACTERS: Final = 160
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
    _choices: dict[str, ChosenList] = field(default_factory=dict)

    def is_allowed_unit(self, code: str) -> bool:
        """Return whether Recommendation 20 or the table of units has a unit."""
        listed = (self.shipped.get(name) for name in _UNITS)
        return self.units.get(code) is not None or any(
            code_list and code in code_list.codes for code_list in listed
        )

    def choose_currencies(self, inventory_field: InventoryField, location: str) -> str:
        """Return the list of the currencies of an amount; raise GW502 for one that ISO 4217 lacks.

        `location` is the document and the field.
        """
        standard_names = [
            self.standards.get(_normalize_text(currency), ("",))[0] for currency in inventory_field.currencies
        ]
        if not standard_names or standard_names == [_CURRENCIES]:
            return _CURRENCIES
        standard_list = self.shipped.get(_CURRENCIES)
        for code in inventory_field.currencies:
            if standard_list is not None and code not in standard_list.codes:
                name = _make_key_location(location, "currencies")
                raise inventory_field.mark.make_error(name, "currencies of ISO 4217", code)
        codes = {code: (code, code) for code in inventory_field.currencies}
        own_name = f"currencies {location.partition(' ')[2]}"
        return self._choose_own_list(own_name, codes, f"own/{own_name}/{' '.join(codes)}").name

    def choose_list(self, inventory_field: InventoryField, location: str) -> ChosenList:
        """Return the list of a field of type code; `location` gives a name to a list without one."""
        listing = inventory_field.listing
        if isinstance(listing, str) and listing in self.inventory:
            return self._choose_own_list(listing, self.inventory[listing], f"own/{listing}")
        if isinstance(listing, str) and not inventory_field.pattern:
            standard = self.standards.get(_normalize_text(listing))
            if standard is not None:
                return self._choose_standard_list(listing, *standard)
        if isinstance(listing, str) and self._is_list_name(listing):
            self._refuse_misspelling(inventory_field, listing, location)
        return self._choose_open_list(inventory_field, location)

    def _is_list_name(self, listing: str) -> bool:
        """Return whether a description is one word, as the name of a list is, and no standard."""
        return bool(listing) and " " not in listing and _normalize_text(listing) not in self.standards

    def _refuse_misspelling(self, inventory_field: InventoryField, name: str, location: str) -> None:
        """Raise GW502 for a name that is almost that of a list of the inventory."""
        folded = {list_name.casefold(): list_name for list_name in self.inventory}
        close = difflib.get_close_matches(name[:_MAX_CHARACTERS].casefold(), folded, 1, _LIKENESS)
        if close:
            expected = f"a list of the inventory, as {folded[close[0]]}"
            raise inventory_field.mark.make_error(_make_key_location(location, "code_list"), expected, name)

    def _choose_own_list(self, name: str, codes: CodeLabels, key: str) -> ChosenList:
        """Return a list of the inventory, or the shipped list of that name where it has the same codes."""
        if key in self._choices:
            return self._choices[key]
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
        self._choices[key] = chosen
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

    def _choose_open_list(self, inventory_field: InventoryField, location: str) -> ChosenList:
        listing = inventory_field.listing if isinstance(inventory_field.listing, str) else ""
        name = make_camel_case(_PROSE.sub(" ", listing).strip() or location)
        description = shorten_text(listing, _MAX_CHARACTERS) or f"the list of {location}"
        if self._is_list_name(listing) and self.inventory:
            list_names = shorten_text(", ".join(self.inventory), _MAX_CHARACTERS)
            description = (
                f"no code list of the inventory is named {description} (it has {list_names}); the list"
            )
        pattern, reason = make_format_pattern(listing), ""
        if inventory_field.pattern:
            try:
                pattern = translate_pattern(
                    inventory_field.pattern, inventory_field.max_length or _MAX_CODE_LENGTH
                )
            except UnclearError as unclear:
                reason = (
                    shorten_text(f" (pattern {inventory_field.pattern}: {unclear}", _MAX_CHARACTERS) + ")"
                )
        if pattern is None:
            pattern = (
                f"[A-Za-z0-9._-]{{1,{inventory_field.max_length}}}"
                if inventory_field.max_length
                else _ANY_CODE
            )
            reason = reason or " (it says no form)"
        shipped = self.shipped.get(name)
        if shipped is not None and shipped.pattern == pattern:
            return ChosenList(name, None)
        return self._choose_pattern_list(
            name, pattern, f"{description} is open: any code of the form {pattern} passes{reason}"
        )

    def _choose_pattern_list(self, name: str, pattern: str, unfinished: str) -> ChosenList:
        key = f"open/{name}/{pattern}"
        if key not in self._choices:
            name = make_unique_name(name, {*self.shipped, *self.lines}, "")
            spec = {"open": pattern, "version": "open", "source": "the inventory; its rows are not held here"}
            self.lines[name] = f"  {name}: {write_flow(spec)}"
            self._choices[key] = ChosenList(name, None, unfinished)
        return self._choices[key]


def describe_missing_labels(codes: CodeLabels) -> str:
    """Return which codes lack a Korean label, in words; empty where none lacks it."""
    missing = [code for code, (ko, _) in codes.items() if not ko]
    listed_codes = shorten_text(", ".join(missing), _MAX_CHARACTERS)
    return f"the Korean label of the code{'s' if len(missing) > 1 else ''} {listed_codes}" if missing else ""


def _make_key_location(location: str, key: str) -> str:
    """Return the name of a key of a field in errors; `location` is the document and the field."""
    document, _, field_name = location.partition(" ")
    return f"{document}.unique.{field_name}.{key}"


def _normalize_text(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _make_file_name(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
