"""Finds the common meaning of a path of the declaration, and of a unique field that asks it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.harmonize.importing.fields import Field
from gateway.harmonize.importing.inventory import Common
from gateway.harmonize.importing.naming import humanise, once, snake
from gateway.harmonize.importing.writing import flow
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.dictionary import ITEM_PATH, Dictionary, Meaning, read_dictionary
from gateway.harmonize.terms.marks import read_yaml
from gateway.wire.pointers import tags

__all__ = ["Known", "Match", "Meanings"]

_FORM: Final = re.compile(r"(an|a|n)(\.\.)?([0-9]{1,5})(?:,([0-9]{1,2}))?")
_DEFAULT_LENGTH: Final = 35
_MOST_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class Known:
    """A common meaning as an import needs it; `type` is that of the dictionary."""

    name: str
    path: str
    per: str
    type: str
    many: bool
    list: str = ""
    longest: int | None = None
    codes: tuple[str, ...] | None = None
    ko: str = ""
    en: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A unique field that has a common meaning, or where it is not `sure` may have it and is asked."""

    meaning: Known
    reason: str
    sure: bool


@dataclass(slots=True)
class Meanings:
    """The dictionary of an import: the shipped one and what the inventory's paths add to it.

    `same` says by the name of a unique field which common meaning it asks again, and why.
    `lines` and `unfinished` grow with what is added.
    """

    shipped: Dictionary
    same: Mapping[str, tuple[str, str]]
    lines: dict[str, str] = field(default_factory=dict)
    unfinished: list[tuple[str, str]] = field(default_factory=list)
    _paths: dict[str, Known] = field(default_factory=dict)
    _names: dict[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for meaning in self.shipped.meanings.values():
            known = _known(meaning)
            self._names[known.name] = known
            old = self._paths.get(meaning.path)
            if old is None or (meaning.where is None and self.shipped.meanings[old.name].where is not None):
                self._paths[meaning.path] = known

    def named(self, name: str) -> Known | None:
        """Return the meaning of that name."""
        return self._names.get(name)

    def at(self, path: str) -> Known | None:
        """Return the meaning of a path, with or without ``Declaration/`` before it."""
        return self._paths.get(path) or self._paths.get(f"Declaration/{path}")

    def whole(self, lists: Mapping[str, CodeList]) -> Dictionary:
        """Return the dictionary with all that was added to it."""
        head = "dictionary: d\nversion: '1'\n"
        groups = [
            f"  {name}: {flow({'path': self._whole(name), 'per': group.per})}"
            for name, group in self.shipped.groups.items()
        ]
        parts = [head.rstrip(), *(["groups:", *groups] if groups else []), "meanings:", *self.lines.values()]
        if not self.lines:
            return self.shipped
        added = read_dictionary(read_yaml("\n".join([*parts, ""]).encode(), "meanings"), lists)
        return replace(self.shipped, meanings={**self.shipped.meanings, **added.meanings})

    def is_item(self, per: str) -> bool:
        """Return whether something given `per` belongs to one goods item."""
        return self.shipped.is_item(per)

    def of(self, common: Common) -> Known | None:
        """Return the meaning of a common field, made where it is new; None where no submission can say it."""
        known = self._paths.get(common.path)
        if known is None and common.path in tags() and tags()[common.path].kind != "class":
            known = self._make(common)
        return known

    def _make(self, common: Common) -> Known:
        tag = tags()[common.path]
        per = self._per(common.path)
        base = ITEM_PATH if self.is_item(per) else "Declaration"
        name = snake(common.path.removeprefix(f"{base}/"))
        name = once(f"item.{name}" if base == ITEM_PATH else name, {*self._names, *self.shipped.groups}, ".")
        label = common.label or humanise(common.path.rpartition("Declaration/")[2])
        spec: dict[str, str | list[str]] = {"path": common.path}
        wco = common.wco or tag.wco_id
        spec |= {"wco": wco} if wco else {}
        spec |= {} if per == "header" else {"per": per}
        shape = _shape(common, tag.code_list, set(self._lists()))
        spec |= shape
        spec |= {"supplement": "yes"} if tag.kind == "supplement" else {}
        spec |= {"many": "yes"} if common.many and per in ("header", "item") else {}
        spec |= {"ko": label, "en": label[:1].upper() + label[1:]}
        self.lines[name] = f"  {name}: {flow(spec)}"
        self.unfinished.append((name, f"the Korean label of {name}"))
        most = shape.get("max")
        longest = int(most) if isinstance(most, str) else None
        known = Known(
            name,
            common.path,
            per,
            str(shape["type"]),
            "many" in spec,
            str(shape.get("list", "")),
            longest,
            ko=label,
            en=label,
        )
        self._names[name] = self._paths[common.path] = known
        return known

    def _lists(self) -> list[str]:
        return [meaning.shape.list_name for meaning in self.shipped.meanings.values()]

    def _per(self, path: str) -> str:
        """Return the innermost repetition that a path stands in."""
        groups = self.shipped.groups.values()
        found, best = ("item" if path.startswith(f"{ITEM_PATH}/") else "header"), 0
        for group in groups:
            whole = self._whole(group.name)
            if path.startswith(f"{whole}/") and len(whole) > best:
                found, best = group.name, len(whole)
        return found

    def _whole(self, per: str) -> str:
        """Return the path of a group from the declaration down."""
        if per == "item":
            return ITEM_PATH
        group = self.shipped.groups.get(per)
        return "Declaration" if group is None else f"{self._whole(group.per)}/{group.path}"

    def asked_again(self, asked: Field, group: Field | None, list_name: str) -> Match | None:
        """Return the common meaning that a unique field has by path, name or label, or None."""
        whole = f"{group.name}.{asked.name}" if group is not None else asked.name
        hint = self._hint(asked, whole, group is None)
        if hint is None:
            return None
        known, reason, sure = hint
        level = (group or asked).level
        fits = _alike(asked, known, list_name) and not (level == "header" and self.is_item(known.per))
        repeats = group is not None and (group.repeat or (0, 1))[1] > 1
        if repeats or (group is not None and known.per in self.shipped.groups):
            sure = False
        return Match(known, reason, sure and fits)

    def _hint(self, asked: Field, whole: str, alone: bool) -> tuple[Known, str, bool] | None:
        if asked.path and (known := self.at(asked.path)) is not None:
            return known, f"the path {known.path} is common", True
        row = self.same.get(whole)
        if row is not None and row[0] in self._names:
            return self._names[row[0]], row[1], True
        lower = whole.lower()
        for known in self._names.values():
            if lower in (known.name, known.name.replace(".", "_")):
                return known, f"{known.path} is common, and the field has its name", True
        if not alone:
            return None
        for known in self._names.values():
            if _label(asked.ko) and _label(asked.ko) == _label(known.ko):
                tokens = set(re.split(r"[_.]", lower)) & set(re.split(r"[_.]", known.name))
                return known, f"{known.path} is common, and the field has its label", bool(tokens)
        return None


def _label(text: str) -> str:
    return re.sub(r"[\s().,·-]", "", text.lower())


def _known(meaning: Meaning) -> Known:
    shape = meaning.shape
    return Known(
        meaning.name,
        meaning.path,
        meaning.per,
        meaning.type,
        meaning.many,
        shape.list_name,
        shape.longest,
        shape.codes,
        meaning.ko,
        meaning.en,
    )


def _alike(asked: Field, known: Known, list_name: str) -> bool:
    """Return whether a field and a meaning hold the same kind of value."""
    if known.type == "code" or known.list:
        return asked.type == "code" and list_name == known.list
    kinds = {
        "text": ("text", "id"),
        "integer": ("quantity", "measure"),
        "decimal": ("quantity", "measure"),
        "measure": ("quantity", "measure"),
        "amount": ("amount",),
        "datetime": ("date", "datetime"),
    }
    return asked.type in kinds[known.type]


def _shape(common: Common, list_name: str, lists: set[str]) -> dict[str, str | list[str]]:
    """Return the type of a path with its bounds: by its last name, and by its format (``n..16,6``)."""
    last = common.path.rpartition("/")[2]
    match = _FORM.fullmatch(common.form.replace(" ", ""))
    kind, upto, size, decimals = match.groups() if match else ("an", "..", str(_DEFAULT_LENGTH), None)
    length = max(1, int(size))
    digits = [str(min(length, _MOST_DIGITS)), str(min(int(decimals or 0), length, _MOST_DIGITS))]
    if last.endswith("DateTime"):
        return {"type": "datetime"}
    if last.endswith("Amount"):
        return {"type": "amount", "digits": digits if match else ["16", "3"]}
    if last.endswith("Measure") or (last.endswith("Quantity") and decimals):
        return {"type": "measure", "digits": digits if match else ["16", "6"]}
    if last.endswith(("Quantity", "Numeric", "Percent", "Rate")):
        if decimals:
            return {"type": "decimal", "digits": digits}
        return {"type": "integer", "max": str(length if match else 8)}
    if list_name in lists and list_name:
        return {"type": "code", "list": list_name}
    shape: dict[str, str | list[str]] = {"type": "text", "max": str(length)}
    if kind != "an":
        alphabet = "[A-Za-z]" if kind == "a" else "[0-9]"
        shape["pattern"] = f"{alphabet}{{{'1,' if upto else ''}{length}}}"
    return shape
