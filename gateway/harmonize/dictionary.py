"""The dictionary of common meanings: each thing a declaration can say, named once.

Documents name meanings (``importer.name``), never paths.  That makes "declared once",
"one value for all agencies" and "never asked twice" look-ups instead of analyses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.codelists import CodeList, read_pattern
from gateway.harmonize.marks import Mark, Node, Table, wrong
from gateway.harmonize.shapes import Shape

__all__ = ["Dictionary", "Group", "Meaning", "Where", "read_dictionary"]

ITEM_PATH: Final = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"
_TYPES: Final = ("text", "code", "integer", "decimal", "amount", "measure", "datetime")
_HEADER: Final = "header"
_ITEM: Final = "item"
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Where:
    """Which of several like elements is meant: those whose sibling `element` has one of `values`.

    ``none`` among the values stands for "the sibling is not there".  The order of the
    values is the order in which the elements are taken.
    """

    element: str
    values: tuple[str, ...]

    def rank(self, text: str | None) -> int | None:
        """Return the place of a sibling's text among the values, None when it is not meant."""
        value = text if text else _NONE
        return self.values.index(value) if value in self.values else None


@dataclass(frozen=True, slots=True)
class Group:
    """Elements that repeat and hold meanings of their own, as containers or packages."""

    name: str
    path: str
    per: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Meaning:
    """One common meaning: where it stands, what it looks like, what people call it."""

    name: str
    path: str
    relative: tuple[str, ...]
    per: str
    wco: str
    type: str
    shape: Shape
    supplement: bool
    many: bool
    first: bool
    join: bool
    where: Where | None
    ko: str
    en: str
    mark: Mark

    @property
    def attribute(self) -> str | None:
        """Return the attribute that belongs to the value: a currency or a unit."""
        return {"amount": "currencyID", "measure": "unitCode"}.get(self.type)


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Every common meaning by name, with the groups that some of them stand in."""

    name: str
    version: str
    meanings: Mapping[str, Meaning]
    groups: Mapping[str, Group]
    mark: Mark

    def chain(self, per: str) -> tuple[str, ...]:
        """Return the groups that enclose a meaning given `per`, the outermost first."""
        found: tuple[str, ...] = ()
        while per in self.groups:
            found = (per, *found)
            per = self.groups[per].per
        return found

    def is_item(self, per: str) -> bool:
        """Return whether something given `per` belongs to one goods item."""
        while per in self.groups:
            per = self.groups[per].per
        return per == _ITEM


def read_dictionary(root: Node, lists: Mapping[str, CodeList]) -> Dictionary:
    """Return the dictionary that a file declares."""
    top = root.table("dictionary")
    name = top.need("dictionary").text("dictionary")
    version = top.need("version").text("version")
    groups = _read_groups(top)
    meanings: dict[str, Meaning] = {}
    for key, node, mark in top.need("meanings").table("meanings").rest():
        meanings[key] = _read_meaning(key, node.table(key), mark, (groups, lists))
    top.close()
    return Dictionary(name, version, meanings, groups, root.mark)


def _read_groups(top: Table) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    node = top.get("groups")
    for key, value, mark in node.table("groups").rest() if node else ():
        table = value.table(key)
        path = table.need("path").text("path")
        per = table.need("per").one_of("per", (_HEADER, _ITEM, *groups))
        table.close()
        groups[key] = Group(key, _inside(path, per, groups, mark), per, mark)
    return groups


def _base(per: str, groups: Mapping[str, Group]) -> str:
    if per in groups:
        group = groups[per]
        return f"{_base(group.per, groups)}/{group.path}"
    return ITEM_PATH if per == _ITEM else "Declaration"


def _inside(path: str, per: str, groups: Mapping[str, Group], mark: Mark) -> str:
    """Return the part of `path` below the element that `per` stands for."""
    base = _base(per, groups)
    if not path.startswith(f"{base}/") or not all(part.isalnum() for part in path.split("/")):
        raise wrong(mark, "path", f"a path of names below {base}", path)
    return path[len(base) + 1 :]


def _read_meaning(
    name: str, table: Table, mark: Mark, context: tuple[Mapping[str, Group], Mapping[str, CodeList]]
) -> Meaning:
    groups, lists = context
    path = table.need("path").text("path")
    per_node = table.get("per")
    per = per_node.one_of("per", (_HEADER, _ITEM, *groups)) if per_node else _HEADER
    kind = table.need("type").one_of("type", _TYPES)
    flags = {key: _flag(table, key) for key in ("supplement", "many", "first", "join")}
    where = _read_where(table)
    if flags["join"] and where is None:
        raise wrong(mark, name, "where, which says what is joined in which order", "join alone")
    shape = _read_shape(table, kind, lists)
    wco = table.text("wco")
    labels = table.need("ko").text("ko"), table.need("en").text("en")
    table.close()
    relative = tuple(_inside(path, per, groups, mark).split("/"))
    return Meaning(
        name,
        path,
        relative,
        per,
        wco,
        kind,
        shape,
        **flags,
        where=where,
        ko=labels[0],
        en=labels[1],
        mark=mark,
    )


def _flag(table: Table, key: str) -> bool:
    node = table.get(key)
    return node is not None and node.one_of(key, ("yes", "no")) == "yes"


def _read_where(table: Table) -> Where | None:
    node = table.get("where")
    if node is None:
        return None
    entries = list(node.table("where").rest())
    if len(entries) != 1:
        raise wrong(node.mark, "where", "one sibling element", f"{len(entries)} of them")
    element, values, _ = entries[0]
    return Where(element, tuple(values.texts("where")))


def _read_shape(table: Table, kind: str, lists: Mapping[str, CodeList]) -> Shape:
    longest = table.get("max")
    digits = table.get("digits")
    list_name = table.text("list")
    if list_name and list_name not in lists:
        raise wrong(table.mark, "list", "a code list of codelists.yaml", list_name)
    total, fraction = digits.digits("digits") if digits else (None, None)
    if kind in ("amount", "measure", "decimal"):
        return Shape("decimal", total=total, fraction=fraction)
    if kind == "integer":
        return Shape("integer", total=longest.number("max", 1) if longest else None, fraction=0, low="0")
    if kind == "datetime":
        return Shape("moment")
    bound = longest.number("max", 1) if longest else None
    pattern = read_pattern(table)
    if list_name:
        known = lists[list_name]
        codes = None if known.pattern else known.codes
        return Shape("text", longest=bound, pattern=known.pattern, codes=codes, list_name=list_name)
    return Shape("text", longest=bound, pattern=pattern)
