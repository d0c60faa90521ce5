"""The dictionary of common meanings: each value that a declaration can hold, named once.

Documents name meanings (``importer.name``), never paths.  So "declared once", "one value for
all agencies" and "never asked twice" are proved by look-ups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from gateway.harmonize.language.code_lists import CodeList, read_pattern
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.wire import (
    TARIFF_CODE_PATH,
    TARIFF_CODE_TYPES,
    WCO_DEC,
    SourceMark,
    YamlNode,
    YamlTable,
    load_wco_elements,
)

ITEM_PATH: Final = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"
_TYPES: Final = ("text", "code", "integer", "decimal", "amount", "measure", "datetime")
_ATTRIBUTES: Final = {"amount": "currencyID", "measure": "unitCode"}
_HEADER: Final = "header"
_ITEM: Final = "item"
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class SiblingSelector:
    """Selects among elements of one name those whose sibling `element` has one of `values`.

    ``none`` among the values means that the sibling is missing.  The elements are taken in the
    order of the values.
    """

    element: str
    values: tuple[str, ...]

    def find_rank(self, text: str | None) -> int | None:
        """Return the position of a sibling's text among the values, None where it is not selected."""
        value = (text or "").strip()
        if value == _NONE:
            return None
        return self.values.index(value or _NONE) if (value or _NONE) in self.values else None


_TARIFF_CODE_PARTS: Final = SiblingSelector(
    "IdentificationTypeCode", tuple([one or _NONE for one in TARIFF_CODE_TYPES])
)


@dataclass(frozen=True, slots=True)
class MeaningGroup:
    """A repeated element that holds meanings of its own, such as a container or a package.

    `tags` lead to its elements from the element that `per` names. `repetitions` are those around it, the
    outermost first: ``item``, ``common:GROUP``.
    """

    name: str
    path: str
    per: str
    mark: SourceMark
    repetitions: tuple[str, ...]
    tags: tuple[str, ...] = field(init=False, compare=False, repr=False)

    @property
    def key(self) -> str:
        """Return the kind and the name, which together no field, meaning or other group has."""
        return f"group:{self.name}"

    @property
    def inner_repetitions(self) -> tuple[str, ...]:
        """Return the repetitions around a member of the group, the outermost first; the group is the last."""
        return (*self.repetitions, f"common:{self.name}")

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(f"{{*}}{name}" for name in self.path.split("/")))


@dataclass(frozen=True, slots=True)
class CommonMeaning:
    """One common meaning: its path, its shape and its labels.

    `in_item` is true where it belongs to one goods item, directly or in a group of it;
    `repetitions` are those around it, the outermost first: ``item``, ``common:GROUP``;
    `dimension` is that of the units of a measure where the dictionary says it, as mass;
    `attribute` is the attribute of the value, a currency or a unit; `tags` lead to its elements
    from the element that `per` names.  `is_plain`: to find its values, no other leaf is read or left out.
    `is_text`: it is the text of its element. `is_inside_items`: its path leads into the goods items.
    """

    name: str
    path: str
    relative: tuple[str, ...]
    per: str
    wco: str
    type: str
    shape: ValueShape
    supplement: bool
    many: bool
    first: bool
    join: bool
    selector: SiblingSelector | None
    ko: str
    en: str
    mark: SourceMark
    in_item: bool
    repetitions: tuple[str, ...]
    dimension: str = ""
    #: A declaration may state any unit.
    units: ClassVar[tuple[str, ...]] = ()
    fixed_unit: ClassVar[str | None] = None
    key: str = field(init=False, compare=False, repr=False)
    attribute: str | None = field(init=False, compare=False, repr=False)
    tags: tuple[str, ...] = field(init=False, compare=False, repr=False)
    is_plain: bool = field(init=False, compare=False, repr=False)
    is_text: bool = field(init=False, compare=False, repr=False)
    is_inside_items: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Set the fields that are derived from the others."""
        object.__setattr__(self, "key", f"common:{self.name}")
        object.__setattr__(self, "attribute", _ATTRIBUTES.get(self.type))
        object.__setattr__(self, "tags", tuple(f"{{{WCO_DEC}}}{name}" for name in self.relative))
        chosen = self.selector is not None or self.first or self.type == "datetime"
        object.__setattr__(self, "is_plain", self.supplement or not chosen)
        is_other = self.supplement or self.selector is not None or self.type == "datetime"
        object.__setattr__(self, "is_text", not is_other)
        object.__setattr__(self, "is_inside_items", self.path.startswith(ITEM_PATH))


@dataclass(frozen=True, slots=True)
class DataDictionary:
    """Every common meaning by name, with the groups that some of them belong to."""

    name: str
    version: str
    meanings: Mapping[str, CommonMeaning]
    groups: Mapping[str, MeaningGroup]
    mark: SourceMark
    _chains: Mapping[str, tuple[str, ...]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        chains: dict[str, tuple[str, ...]] = {}
        for name, group in self.groups.items():
            # A group is declared after the group that contains it.
            chains[name] = (*chains.get(group.per, ()), name)
        object.__setattr__(self, "_chains", chains)

    def list_enclosing_groups(self, per: str) -> tuple[str, ...]:
        """Return the groups around a meaning whose ``per`` is `per`, the outermost first."""
        return self._chains.get(per, ())

    def make_group_path(self, group: MeaningGroup) -> str:
        """Return the path of a group's element from the declaration's root."""
        return f"{_make_base_path(group.per, self.groups)}/{group.path}"

    def is_per_item(self, per: str) -> bool:
        """Return whether a meaning or group whose ``per`` is `per` belongs to one goods item."""
        return _is_in_item(per, self.groups)


def read_data_dictionary(root: YamlNode, lists: Mapping[str, CodeList]) -> DataDictionary:
    """Return the dictionary that a file declares; raise GW502 for a wrong declaration."""
    top = root.read_table("dictionary")
    name = top.get_required("dictionary").read_text("dictionary")
    version = top.get_required("version").read_text("version")
    groups = _read_meaning_groups(top)
    meanings: dict[str, CommonMeaning] = {}
    for key, node, mark in top.get_required("meanings").read_table("meanings").take_unread_items():
        meanings[key] = _read_meaning(key, node.read_table(key), mark, groups, lists)
        _check_unique_path(meanings[key], meanings)
    top.reject_unread_keys()
    return DataDictionary(name, version, meanings, groups, root.mark)


def _check_unique_path(meaning: CommonMeaning, meanings: Mapping[str, CommonMeaning]) -> None:
    """Raise GW502 for a meaning with the same path and the same ``where`` as another."""
    for rival in meanings.values():
        if (
            rival is not meaning
            and rival.path == meaning.path
            and _make_selector_key(rival) == _make_selector_key(meaning)
        ):
            expected = f"a path or a where of its own ({rival.name} has it, {rival.mark})"
            raise meaning.mark.make_error(f"{meaning.name}.path", expected, meaning.path)


def _make_selector_key(meaning: CommonMeaning) -> tuple[str, frozenset[str]]:
    selector = meaning.selector
    return ("", frozenset()) if selector is None else (selector.element, frozenset(selector.values))


def _read_meaning_groups(top: YamlTable) -> dict[str, MeaningGroup]:
    """Return the meaning groups of the dictionary by name; an outer group stands before its inner ones."""
    groups: dict[str, MeaningGroup] = {}
    node = top.get("groups")
    for key, value, mark in node.read_table("groups").take_unread_items() if node else ():
        table = value.read_table(key)
        path = table.get_required("path").read_text("path")
        per = table.get_required("per").read_choice("per", (_HEADER, _ITEM, *groups))
        table.reject_unread_keys()
        if (tag := load_wco_elements().get(path)) is not None and tag.kind != "class":
            raise mark.make_error(f"{key}.path", "the path of an element that holds others", path)
        groups[key] = MeaningGroup(
            key, _make_relative_path(path, per, groups, mark), per, mark, _list_repetitions(per, groups)
        )
    return groups


def _list_repetitions(per: str, groups: Mapping[str, MeaningGroup]) -> tuple[str, ...]:
    """Return the repetitions around a child of the element that `per` names, the outermost first."""
    return groups[per].inner_repetitions if per in groups else (_ITEM,) if per == _ITEM else ()


def _is_in_item(per: str, groups: Mapping[str, MeaningGroup]) -> bool:
    while per in groups:
        per = groups[per].per
    return per == _ITEM


def _make_base_path(per: str, groups: Mapping[str, MeaningGroup]) -> str:
    if per in groups:
        group = groups[per]
        return f"{_make_base_path(group.per, groups)}/{group.path}"
    return ITEM_PATH if per == _ITEM else "Declaration"


def _make_relative_path(path: str, per: str, groups: Mapping[str, MeaningGroup], mark: SourceMark) -> str:
    """Return the part of `path` below the element that `per` names; raise GW502 for an unknown path."""
    base = _make_base_path(per, groups)
    if not path.startswith(f"{base}/") or not all(part.isalnum() for part in path.split("/")):
        raise mark.make_error("path", f"a path of names below {base}", path)
    if path not in load_wco_elements():
        raise mark.make_error("path", "a path that the declaration or its supplement has", path)
    return path[len(base) + 1 :]


def _check_declared_element(meaning: CommonMeaning) -> None:
    """Raise GW502 for a meaning that no submission can hold: wrong kind of element, id or sibling."""
    tag, mark, name = load_wco_elements()[meaning.path], meaning.mark, meaning.name
    if tag.kind == "class":
        raise mark.make_error(f"{name}.path", "the path of an element with a value", meaning.path)
    if meaning.supplement != (tag.kind == "supplement"):
        expected = "one of the paths that a supplement may hold" if meaning.supplement else "supplement: yes"
        raise mark.make_error(f"{name}.supplement", expected, meaning.path)
    if meaning.supplement and meaning.per not in (_HEADER, _ITEM):
        raise mark.make_error(f"{name}.per", "header or item, as it stands in the supplement", meaning.per)
    if meaning.wco and meaning.wco != tag.wco_id:
        raise mark.make_error(f"{name}.wco", f"the id of the element, {tag.wco_id or 'none'}", meaning.wco)
    if meaning.selector is not None:
        sibling = f"{meaning.path.rpartition('/')[0]}/{meaning.selector.element}"
        if sibling not in load_wco_elements() or meaning.supplement:
            raise mark.make_error(f"{name}.where", "an element beside the value", meaning.selector.element)


def _read_meaning(
    name: str,
    table: YamlTable,
    mark: SourceMark,
    groups: Mapping[str, MeaningGroup],
    lists: Mapping[str, CodeList],
) -> CommonMeaning:
    """Return the meaning `name` that a table declares; raise GW502 for a wrong key."""
    path = table.get_required("path").read_text("path")
    per = table.read_choice("per", (_HEADER, _ITEM, *groups), _HEADER)
    kind = table.get_required("type").read_choice("type", _TYPES)
    flags = {
        key: table.read_choice(key, ("yes", "no")) == "yes" for key in ("supplement", "many", "first", "join")
    }
    selector = _read_sibling_selector(table)
    if flags["join"] and (path != TARIFF_CODE_PATH or per != _ITEM or selector != _TARIFF_CODE_PARTS):
        parts = f"{_TARIFF_CODE_PARTS.element}: [{', '.join(_TARIFF_CODE_PARTS.values)}]"
        expected = f"join only for the tariff code of an item, where {parts}"
        raise mark.make_error(name, expected, path)
    shape = _read_shape(table, kind, lists)
    wco = table.read_text("wco")
    dimension = table.read_text("dimension")
    if dimension and kind != "measure":
        raise mark.make_error(f"{name}.dimension", "a measure, which has a unit", kind)
    labels = table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en")
    table.reject_unread_keys()
    relative = tuple(_make_relative_path(path, per, groups, mark).split("/"))
    meaning = CommonMeaning(
        name,
        path,
        relative,
        per,
        wco,
        kind,
        shape,
        **flags,
        selector=selector,
        ko=labels[0],
        en=labels[1],
        mark=mark,
        in_item=_is_in_item(per, groups),
        repetitions=_list_repetitions(per, groups),
        dimension=dimension,
    )
    _check_declared_element(meaning)
    return meaning


def _read_sibling_selector(table: YamlTable) -> SiblingSelector | None:
    """Return the selector that ``where`` declares: one sibling element and its values; None without it."""
    node = table.get("where")
    if node is None:
        return None
    entries = list(node.read_table("where").take_unread_items())
    if len(entries) != 1:
        raise node.make_error("where", "one sibling element", f"{len(entries)} of them")
    element, values, _ = entries[0]
    return SiblingSelector(element, tuple(values.read_distinct_texts("where")))


def _read_shape(table: YamlTable, kind: str, lists: Mapping[str, CodeList]) -> ValueShape:
    """Return the shape of the values of a meaning with the type `kind` and the limits in `table`."""
    longest = table.get("max")
    digits = table.get("digits")
    list_name = table.read_text("list")
    if list_name and list_name not in lists:
        raise table.make_error("list", "a code list of codelists.yaml", list_name)
    total, fraction = digits.read_digit_counts("digits") if digits else (None, None)
    if kind in ("amount", "measure", "decimal"):
        return ValueShape("decimal", total_digits=total, fraction_digits=fraction)
    if kind == "integer":
        return ValueShape(
            "integer",
            total_digits=longest.read_integer("max", 1) if longest else None,
            fraction_digits=0,
            min_value="0",
        )
    if kind == "datetime":
        return ValueShape("moment")
    bound = longest.read_integer("max", 1) if longest else None
    pattern = read_pattern(table, bound)
    if list_name:
        code_list = lists[list_name]
        codes = None if code_list.pattern else code_list.codes
        return ValueShape(
            "text", max_length=bound, pattern=code_list.pattern, codes=codes, list_name=list_name
        )
    return ValueShape("text", max_length=bound, pattern=pattern)
