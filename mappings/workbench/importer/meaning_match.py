"""Matches common meanings with paths of the declaration and with unique fields that ask them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.harmonize import ITEM_PATH, CodeList, CommonMeaning, DataDictionary, read_data_dictionary
from gateway.wire import SourceMark, load_wco_elements, read_yaml
from gateway_workbench.importer.inventory_fields import InventoryField
from gateway_workbench.importer.inventory_reader import InventoryCommonField
from gateway_workbench.importer.written_names import (
    make_label,
    make_snake_case,
    make_unique_name,
    write_flow,
)

_FORMAT_PATTERN: Final = re.compile(r"(an|a|n)(\.\.)?([0-9]{1,5})(?:,([0-9]{1,2}))?")
_DEFAULT_LENGTH: Final = 35
_MAX_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class ImportedMeaning:
    """The properties of a common meaning that an import needs; `type` is that of the dictionary."""

    name: str
    path: str
    per: str
    type: str
    many: bool
    list: str = ""
    max_length: int | None = None
    codes: tuple[str, ...] | None = None
    ko: str = ""
    en: str = ""


@dataclass(frozen=True, slots=True)
class MeaningMatch:
    """The common meaning of a unique field; where the match is not `sure`, the field is still asked."""

    meaning: ImportedMeaning
    reason: str
    sure: bool


@dataclass(slots=True)
class ImportedMeanings:
    """The dictionary of an import: the shipped one, with meanings added for the inventory's paths.

    `same` gives, by the name of a unique field, the common meaning that it asks again, and the
    reason.  `lines` and `unfinished` collect the additions.
    """

    shipped: DataDictionary
    same: Mapping[str, tuple[str, str]]
    lines: dict[str, str] = field(default_factory=dict)
    unfinished: list[tuple[str, str, SourceMark]] = field(default_factory=list)
    _paths: dict[str, ImportedMeaning] = field(default_factory=dict)
    _names: dict[str, ImportedMeaning] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for meaning in self.shipped.meanings.values():
            imported_meaning = _make_imported_meaning(meaning)
            self._names[imported_meaning.name] = imported_meaning
            old = self._paths.get(meaning.path)
            if old is None or (
                meaning.selector is None and self.shipped.meanings[old.name].selector is not None
            ):
                self._paths[meaning.path] = imported_meaning

    def find_by_name(self, name: str) -> ImportedMeaning | None:
        """Return the meaning of that name, None where there is none."""
        return self._names.get(name)

    def find_by_path(self, path: str) -> ImportedMeaning | None:
        """Return the meaning of a path, with or without ``Declaration/``; None where there is none."""
        return self._paths.get(path) or self._paths.get(f"Declaration/{path}")

    def build_dictionary(self, lists: Mapping[str, CodeList]) -> DataDictionary:
        """Return the dictionary with all added meanings."""
        head = "dictionary: d\nversion: '1'\n"
        groups = [
            f"  {name}: {write_flow({'path': self._get_group_path(name), 'per': group.per})}"
            for name, group in self.shipped.groups.items()
        ]
        parts = [head.rstrip(), *(["groups:", *groups] if groups else []), "meanings:", *self.lines.values()]
        if not self.lines:
            return self.shipped
        added = read_data_dictionary(read_yaml("\n".join([*parts, ""]).encode(), "meanings"), lists)
        return replace(self.shipped, meanings={**self.shipped.meanings, **added.meanings})

    def is_item_group(self, per: str) -> bool:
        """Return whether a meaning whose ``per`` is `per` belongs to one goods item."""
        return self.shipped.is_per_item(per)

    def get_or_make_meaning(self, common: InventoryCommonField) -> ImportedMeaning | None:
        """Return the meaning of a common field, added where new; None where no submission can hold it."""
        meaning = self._paths.get(common.path)
        if (
            meaning is None
            and common.path in load_wco_elements()
            and load_wco_elements()[common.path].kind != "class"
        ):
            meaning = self._make_meaning(common)
        return meaning

    def _make_meaning(self, common_field: InventoryCommonField) -> ImportedMeaning:
        tag = load_wco_elements()[common_field.path]
        per = self._find_innermost_group(common_field.path)
        base = ITEM_PATH if self.is_item_group(per) else "Declaration"
        name = make_snake_case(common_field.path.removeprefix(f"{base}/"))
        name = make_unique_name(
            f"item.{name}" if base == ITEM_PATH else name, {*self._names, *self.shipped.groups}, "."
        )
        label = common_field.label or make_label(common_field.path.rpartition("Declaration/")[2])
        spec: dict[str, str | list[str]] = {"path": common_field.path}
        wco = common_field.wco or tag.wco_id
        spec |= {"wco": wco} if wco else {}
        spec |= {} if per == "header" else {"per": per}
        shape = _make_shape(common_field, tag.code_list, set(self._list_code_lists()))
        spec |= shape
        spec |= {"supplement": "yes"} if tag.kind == "supplement" else {}
        spec |= {"many": "yes"} if common_field.is_repeated and per in ("header", "item") else {}
        spec |= {"ko": label, "en": label[:1].upper() + label[1:]}
        self.lines[name] = f"  {name}: {write_flow(spec)}"
        self.unfinished.append((name, f"the Korean label of {name}", common_field.mark))
        max_text = shape.get("max")
        max_length = int(max_text) if isinstance(max_text, str) else None
        meaning = ImportedMeaning(
            name,
            common_field.path,
            per,
            str(shape["type"]),
            "many" in spec,
            str(shape.get("list", "")),
            max_length,
            ko=label,
            en=label,
        )
        self._names[name] = self._paths[common_field.path] = meaning
        return meaning

    def _list_code_lists(self) -> list[str]:
        return [meaning.shape.list_name for meaning in self.shipped.meanings.values()]

    def _find_innermost_group(self, path: str) -> str:
        """Return the innermost repetition around a path."""
        groups = self.shipped.groups.values()
        innermost, best = ("item" if path.startswith(f"{ITEM_PATH}/") else "header"), 0
        for group in groups:
            group_path = self._get_group_path(group.name)
            if path.startswith(f"{group_path}/") and len(group_path) > best:
                innermost, best = group.name, len(group_path)
        return innermost

    def _get_group_path(self, per: str) -> str:
        """Return the path of a group from the declaration down."""
        if per == "item":
            return ITEM_PATH
        group = self.shipped.groups.get(per)
        return "Declaration" if group is None else f"{self._get_group_path(group.per)}/{group.path}"

    def match_unique_field(
        self, inventory_field: InventoryField, group: InventoryField | None, list_name: str
    ) -> MeaningMatch | None:
        """Return the common meaning that a unique field has by path, name or label, or None."""
        full_name = f"{group.name}.{inventory_field.name}" if group is not None else inventory_field.name
        hint = self._find_hint(inventory_field, full_name, group is None)
        if hint is None:
            return None
        meaning, reason, sure = hint
        level = (group or inventory_field).level
        fits = _are_same_kind(inventory_field, meaning, list_name) and not (
            level == "header" and self.is_item_group(meaning.per)
        )
        repeats = group is not None and (group.repeat or (0, 1))[1] > 1
        if repeats or (group is not None and meaning.per in self.shipped.groups):
            sure = False
        return MeaningMatch(meaning, reason, sure and fits)

    def _find_hint(
        self, inventory_field: InventoryField, full_name: str, is_ungrouped: bool
    ) -> tuple[ImportedMeaning, str, bool] | None:
        if inventory_field.path and (meaning := self.find_by_path(inventory_field.path)) is not None:
            return meaning, f"the path {meaning.path} is common", True
        row = self.same.get(full_name)
        if row is not None and row[0] in self._names:
            return self._names[row[0]], row[1], True
        lower = full_name.lower()
        for meaning in self._names.values():
            if lower in (meaning.name, meaning.name.replace(".", "_")):
                return meaning, f"{meaning.path} is common, and the field has its name", True
        if not is_ungrouped:
            return None
        for meaning in self._names.values():
            if _normalize_label(inventory_field.ko) and _normalize_label(
                inventory_field.ko
            ) == _normalize_label(meaning.ko):
                tokens = set(re.split(r"[_.]", lower)) & set(re.split(r"[_.]", meaning.name))
                return meaning, f"{meaning.path} is common, and the field has its label", bool(tokens)
        return None


def _normalize_label(text: str) -> str:
    return re.sub(r"[\s().,·-]", "", text.lower())


def _make_imported_meaning(meaning: CommonMeaning) -> ImportedMeaning:
    shape = meaning.shape
    return ImportedMeaning(
        meaning.name,
        meaning.path,
        meaning.per,
        meaning.type,
        meaning.many,
        shape.list_name,
        shape.max_length,
        shape.codes,
        meaning.ko,
        meaning.en,
    )


def _are_same_kind(inventory_field: InventoryField, meaning: ImportedMeaning, list_name: str) -> bool:
    """Return whether a field and a meaning have the same kind of value."""
    if meaning.type == "code" or meaning.list:
        return inventory_field.type == "code" and list_name == meaning.list
    kinds = {
        "text": ("text", "id"),
        "integer": ("quantity", "measure"),
        "decimal": ("quantity", "measure"),
        "measure": ("quantity", "measure"),
        "amount": ("amount",),
        "datetime": ("date", "datetime"),
    }
    return inventory_field.type in kinds[meaning.type]


def _make_shape(common: InventoryCommonField, list_name: str, lists: set[str]) -> dict[str, str | list[str]]:
    """Return the type and bounds of a path, derived from its last name and its format (``n..16,6``)."""
    last_name = common.path.rpartition("/")[2]
    match = _FORMAT_PATTERN.fullmatch(common.wco_format.replace(" ", ""))
    kind, upto, size, decimals = match.groups() if match else ("an", "..", str(_DEFAULT_LENGTH), None)
    length = max(1, int(size))
    digits = [str(min(length, _MAX_DIGITS)), str(min(int(decimals or 0), length, _MAX_DIGITS))]
    if last_name.endswith("DateTime"):
        return {"type": "datetime"}
    if last_name.endswith("Amount"):
        return {"type": "amount", "digits": digits if match else ["16", "3"]}
    if last_name.endswith("Measure") or (last_name.endswith("Quantity") and decimals):
        return {"type": "measure", "digits": digits if match else ["16", "6"]}
    is_number = last_name.endswith(("Quantity", "Numeric", "Percent", "Rate"))
    if (is_number and decimals) or (kind == "n" and int(decimals or 0)):
        return {"type": "decimal", "digits": digits}
    if is_number:
        return {"type": "integer", "max": str(length if match else 8)}
    if list_name in lists and list_name:
        return {"type": "code", "list": list_name}
    shape: dict[str, str | list[str]] = {"type": "text", "max": str(length)}
    if kind != "an":
        alphabet = "[A-Za-z]" if kind == "a" else "[0-9]"
        shape["pattern"] = f"{alphabet}{{{'1,' if upto else ''}{length}}}"
    return shape
