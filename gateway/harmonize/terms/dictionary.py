"""The dictionary of common meanings: each thing a declaration can say, named once.

Documents name meanings (``importer.name``), never paths.  That makes "declared once",
"one value for all agencies" and "never asked twice" look-ups instead of analyses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.terms.codelists import CodeList, read_pattern
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import Shape
from gateway.wire.pointers import tags

__all__ = ["Dictionary", "Group", "Meaning", "Where", "read_dictionary"]

ITEM_PATH: Final = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"
_TYPES: Final = ("text", "code", "integer", "decimal", "amount", "measure", "datetime")
_ATTRIBUTES: Final = {"amount": "currencyID", "measure": "unitCode"}
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
    """One common meaning: where it stands, what it looks like, what people call it.

    `in_item` says whether it belongs to one goods item, itself or in a group of it; `attribute`
    is what belongs to the value, a currency or a unit.
    """

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
    in_item: bool
    attribute: str | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute", _ATTRIBUTES.get(self.type))


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

    def path_of(self, group: Group) -> str:
        """Return the path of a group's element from the declaration's root."""
        return f"{_base(group.per, self.groups)}/{group.path}"

    def is_item(self, per: str) -> bool:
        """Return whether something given `per` belongs to one goods item."""
        return _in_item(per, self.groups)


def read_dictionary(root: Node, lists: Mapping[str, CodeList]) -> Dictionary:
    """Return the dictionary that a file declares."""
    top = root.table("dictionary")
    name = top.need("dictionary").text("dictionary")
    version = top.need("version").text("version")
    groups = _read_groups(top)
    meanings: dict[str, Meaning] = {}
    for key, node, mark in top.need("meanings").table("meanings").rest():
        meanings[key] = _read_meaning(key, node.table(key), mark, (groups, lists))
        _demand_alone(meanings[key], meanings)
    top.close()
    return Dictionary(name, version, meanings, groups, root.mark)


def _demand_alone(meaning: Meaning, known: Mapping[str, Meaning]) -> None:
    """Refuse a meaning of the very elements that another has: same path, and the same where."""
    for other in known.values():
        if other is not meaning and other.path == meaning.path and _chosen(other) == _chosen(meaning):
            expected = f"a path or a where of its own ({other.name} has it, {other.mark})"
            raise wrong(meaning.mark, f"{meaning.name}.path", expected, meaning.path)


def _chosen(meaning: Meaning) -> tuple[str, frozenset[str]]:
    where = meaning.where
    return ("", frozenset()) if where is None else (where.element, frozenset(where.values))


def _read_groups(top: Table) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    node = top.get("groups")
    for key, value, mark in node.table("groups").rest() if node else ():
        table = value.table(key)
        path = table.need("path").text("path")
        per = table.need("per").one_of("per", (_HEADER, _ITEM, *groups))
        table.close()
        if (tag := tags().get(path)) is not None and tag.kind != "class":
            raise wrong(mark, f"{key}.path", "the path of an element that holds others", path)
        groups[key] = Group(key, _inside(path, per, groups, mark), per, mark)
    return groups


def _in_item(per: str, groups: Mapping[str, Group]) -> bool:
    while per in groups:
        per = groups[per].per
    return per == _ITEM


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
    if path not in tags():
        raise wrong(mark, "path", "a path that the declaration or its supplement has", path)
    return path[len(base) + 1 :]


def _demand_element(meaning: Meaning) -> None:
    """Refuse a meaning that no submission can hold: no element with a value, another id, no such sibling."""
    tag, mark, name = tags()[meaning.path], meaning.mark, meaning.name
    if tag.kind == "class":
        raise wrong(mark, f"{name}.path", "the path of an element with a value", meaning.path)
    if meaning.supplement != (tag.kind == "supplement"):
        expected = "one of the paths that a supplement may hold" if meaning.supplement else "supplement: yes"
        raise wrong(mark, f"{name}.supplement", expected, meaning.path)
    if meaning.supplement and meaning.per not in (_HEADER, _ITEM):
        raise wrong(mark, f"{name}.per", "header or item, as it stands in the supplement", meaning.per)
    if meaning.wco and meaning.wco != tag.wco_id:
        raise wrong(mark, f"{name}.wco", f"the id of the element, {tag.wco_id or 'none'}", meaning.wco)
    if meaning.where is not None:
        sibling = f"{meaning.path.rpartition('/')[0]}/{meaning.where.element}"
        if sibling not in tags() or meaning.supplement:
            raise wrong(mark, f"{name}.where", "an element beside the value", meaning.where.element)


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
    meaning = Meaning(
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
        in_item=_in_item(per, groups),
    )
    _demand_element(meaning)
    return meaning


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
    pattern = read_pattern(table, bound)
    if list_name:
        known = lists[list_name]
        codes = None if known.pattern else known.codes
        return Shape("text", longest=bound, pattern=known.pattern, codes=codes, list_name=list_name)
    return Shape("text", longest=bound, pattern=pattern)
