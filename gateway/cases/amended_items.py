"""Judges which goods items an amended declaration adds and removes.

The number of an item is never given to other goods (WCO Data Model, SequenceNumeric 006 of 68A within a
declaration): a new item gets a number above all so far, and that of a removed one is not used again.
`restore_items` undoes the change of the items in a submission. So the mappings tell whether a request
differs in its items alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.cases.declaration_validation import Finding
from gateway.errors import (
    CHANGE_NOT_NAMED,
    ITEM_NUMBER_TAKEN,
    ITEM_RENUMBERED,
    NAMED_NOT_CHANGED,
    RULE_BROKEN,
    GatewayError,
)
from gateway.wire import (
    SUB,
    WCO_DEC,
    build_pointer,
    iterate_pointers,
    list_attributes,
    read_attribute,
    read_leaf_text,
)

_SUB: Final = f"{{{SUB}}}"
_DEC: Final = f"{{{WCO_DEC}}}"
_SHIPMENT: Final = f"{_DEC}GoodsShipment"
_ITEM: Final = f"{_DEC}GovernmentAgencyGoodsItem"
_NUMBER: Final = f"{_DEC}SequenceNumeric"
_ITEMS_PLACE: Final = "42A/67A[1]"
#: Totals that the declaration states of all its items: they change with the added and removed items.
_TOTALS: Final = ("GoodsItemQuantity", "InvoiceAmount", "TotalGrossMassMeasure", "TotalPackageQuantity")


@dataclass(frozen=True, slots=True)
class _KeyedChildren:
    """Children of one tag that belong to items, and how the key of such a child is read."""

    tag: object
    read_key: Callable[[etree._Element], object | None]

    def collect(self, parent: etree._Element) -> dict[object, etree._Element]:
        """Return the children of a parent by their keys, without those that have none."""
        children = parent.iterchildren(tag=self.tag)
        return {key: child for child in children if (key := self.read_key(child)) is not None}


@dataclass(frozen=True, slots=True)
class UsedNumbers:
    """The item numbers that a case has used: the highest one ever, and those of removed items."""

    last: int
    removed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemChange:
    """The items that an amended declaration adds and removes, and the numbers used with it."""

    added: tuple[int, ...]
    removed: tuple[int, ...]
    used: UsedNumbers


def judge_item_change(
    former: Collection[int], used: UsedNumbers, declared: Collection[int], *, is_child: bool = False
) -> ItemChange:
    """Return the change of the items `former` of a case by the items `declared`.

    Items of a child declaration have the numbers of the parent's items, so that a new one may be lower than
    the last. Raises GW404 where no item stays, GW419 for a number that is not free.
    """
    added = tuple(sorted(set(declared) - set(former)))
    removed = tuple(sorted(set(former) - set(declared)))
    if len(removed) == len(set(former)):
        detail = "an amendment keeps an item at least: withdraw the declaration, and file another one"
        raise GatewayError(RULE_BROKEN, detail, _ITEMS_PLACE)
    for number in added:
        if number in used.removed:
            detail = f"item {number} was removed: its number is not used again"
            raise GatewayError(ITEM_NUMBER_TAKEN, detail, _make_place(number))
        if number <= used.last and not is_child:
            detail = f"a new item has a number above all so far: {number} is not above {used.last}"
            raise GatewayError(ITEM_NUMBER_TAKEN, detail, _make_place(number))
    gone = tuple(sorted({*used.removed, *removed}))
    return ItemChange(added, removed, UsedNumbers(max(used.last, *declared), gone))


def _make_place(number: int) -> str:
    return f"{_ITEMS_PLACE}/68A[{number}]"


def check_kept_numbers(former: etree._Element, amended: etree._Element) -> None:
    """Raise GW420 where goods of the former declaration have another number in the amended one.

    Goods have another number if a new or changed item is, apart from its number, equal to a removed or
    changed one.
    """
    before, after = _read_contents(former), _read_contents(amended)
    lost: dict[object, int] = {}
    for number, content in before.items():
        if after.get(number) != content:
            lost.setdefault(content, number)
    for number, content in after.items():
        if before.get(number) != content and content in lost:
            detail = f"these goods are item {lost[content]} of the former declaration: they keep that number"
            raise GatewayError(ITEM_RENUMBERED, detail, _make_place(number))


def _read_contents(declaration: etree._Element) -> dict[int, tuple[object, ...]]:
    """Return the content of each item, without its number, by its number."""
    return {number: tuple(_read_content(item)) for number, item in _list_goods(declaration).items()}


def _read_content(parent: etree._Element) -> Iterable[object]:
    """Yield name, text and attributes of every element below a parent, in document order."""
    for element in parent.iterchildren(tag=etree.Element):
        if element.tag == _NUMBER and parent.tag == _ITEM:
            continue
        leaf = next(element.iterchildren(tag=etree.Element), None) is None
        text = read_leaf_text(element).strip() if leaf else ""
        yield element.tag, text, tuple(sorted(list_attributes(element)))
        yield from _read_content(element)
        yield None


def _list_goods(declaration: etree._Element) -> dict[int, etree._Element]:
    goods = {}
    for item in declaration.findall(f"{_SHIPMENT}/{_ITEM}"):
        number = item.find(_NUMBER)
        if number is not None:
            goods[int(Decimal(read_leaf_text(number).strip()))] = item
    return goods


def restore_items(
    amended: etree._Element, former: etree._Element, changed: Collection[int] = ()
) -> etree._Element:
    """Return an amended submission with the items that the former one had, each in its application.

    Changes in items that stay, and outside of the items, are kept; but the items in `changed` are those of
    the former submission. The totals that the declaration states of its items, and applications that are new,
    are set back with the items.
    """
    root = deepcopy(amended)
    staying = frozenset(_list_staying_items(amended, former)) - set(changed)
    _restore_declaration(_find_declaration(root), _find_declaration(former), staying)
    supplement, before = root.find(f"{_SUB}Supplement"), former.find(f"{_SUB}Supplement")
    if supplement is not None and before is not None:
        _restore_children(supplement, before, _KeyedChildren(f"{_SUB}Value", _read_value_key), staying)
    former_applications = {
        read_attribute(element, "id"): element for element in former.findall(f"{_SUB}Application")
    }
    for application in root.findall(f"{_SUB}Application"):
        former_application = former_applications.get(application.get("id"))
        if former_application is None:
            root.remove(application)
        else:
            _restore_application(application, former_application, staying)
    return root


def list_changed_items(amended: etree._Element, former: etree._Element) -> frozenset[int]:
    """Return the items that both submissions have, and whose contents differ."""
    now, before = _list_item_contents(amended), _list_item_contents(former)
    staying = _list_staying_items(amended, former)
    return frozenset(item for item in staying if now.get(item) != before.get(item))


def _list_staying_items(amended: etree._Element, former: etree._Element) -> set[int]:
    amended_goods, former_goods = (_list_goods(_find_declaration(root)) for root in (amended, former))
    return set(amended_goods) & set(former_goods)


def _list_item_contents(root: etree._Element) -> dict[int, dict[object, tuple[object, ...]]]:
    """Return the contents that a submission has for each item, by application and key."""
    contents: dict[int, dict[object, tuple[object, ...]]] = {}
    for item, goods in _list_goods(_find_declaration(root)).items():
        contents.setdefault(item, {})["goods"] = tuple(_read_content(goods))
    parents: list[tuple[str | None, etree._Element | None, _KeyedChildren]]
    parents = [(None, root.find(f"{_SUB}Supplement"), _KeyedChildren(f"{_SUB}Value", _read_value_key))]
    for application in root.findall(f"{_SUB}Application"):
        parents.append(
            (
                read_attribute(application, "id"),
                application.find(f"{_SUB}Fields"),
                _KeyedChildren(etree.Element, _read_sequence_key),
            )
        )
    for name, parent, keyed in parents:
        for key, element in ({} if parent is None else keyed.collect(parent)).items():
            text = read_leaf_text(element).strip() if element.find("*") is None else ""
            content = (text, tuple(sorted(list_attributes(element))), *_read_content(element))
            contents.setdefault(_read_item(key) or 0, {})[name, key] = content
    return contents


def _find_declaration(root: etree._Element) -> etree._Element:
    return next(element for element in root.iter(f"{_DEC}Declaration") if element.find(_SHIPMENT) is not None)


def _restore_declaration(
    declaration: etree._Element, former: etree._Element, staying: Collection[int]
) -> None:
    for name in _TOTALS:
        now, before = declaration.find(f"{_DEC}{name}"), former.find(f"{_DEC}{name}")
        if now is not None and before is not None:
            declaration.replace(now, _copy(before))
    shipment, before_it = declaration.find(_SHIPMENT), former.find(_SHIPMENT)
    if shipment is not None and before_it is not None:
        _restore_children(shipment, before_it, _KeyedChildren(_ITEM, _read_goods_key), staying)


def _restore_application(
    application: etree._Element, former: etree._Element, staying: Collection[int]
) -> None:
    items, before = application.find(f"{_SUB}Items"), former.find(f"{_SUB}Items")
    if items is not None and before is not None:
        application.replace(items, _copy(before))
    fields, former_fields = application.find(f"{_SUB}Fields"), former.find(f"{_SUB}Fields")
    if fields is not None and former_fields is not None:
        _restore_children(fields, former_fields, _KeyedChildren(etree.Element, _read_sequence_key), staying)


def _restore_children(
    parent: etree._Element, former: etree._Element, keyed: _KeyedChildren, staying: Collection[int]
) -> None:
    """Give a parent the children of the former one; those of an item in `staying` are as they are now.

    A child without a key belongs to no item, and stays as it is.
    """
    now, before = keyed.collect(parent), keyed.collect(former)
    first = next((parent.index(child) for child in now.values()), len(parent))
    for member in now.values():
        parent.remove(member)
    staying_children = {key: child for key, child in now.items() if _read_item(key) in staying}
    restored = [
        staying_children.pop(key, None) if _read_item(key) in staying else _copy(child)
        for key, child in before.items()
    ]
    children = [child for child in (*restored, *staying_children.values()) if child is not None]
    for offset, member in enumerate(children):
        parent.insert(first + offset, member)


def _copy(element: etree._Element) -> etree._Element:
    copied = deepcopy(element)
    copied.tail = element.tail
    return copied


def _read_item(key: object) -> int | None:
    """Return the item of a key; None where it is no number."""
    text = str(key[1] if isinstance(key, tuple) else key)
    return int(text) if text.isascii() and text.isdecimal() else None


def _read_goods_key(item: etree._Element) -> object | None:
    number = item.find(_NUMBER)
    return None if number is None else Decimal(read_leaf_text(number).strip())


def _read_sequence_key(element: etree._Element) -> object | None:
    sequence = read_attribute(element, "sequence")
    return None if sequence is None else (element.tag, sequence.strip())


def _read_value_key(value: etree._Element) -> object | None:
    item = read_attribute(value, "item")
    return (
        None
        if item is None
        else (read_attribute(value, "path"), item.strip(), read_attribute(value, "n", "1"))
    )


_TOP: Final = "42A"
_AMENDMENT: Final = "Amendment"
#: Why and how it is amended belongs to the amendment itself, and is no change of the declaration.
_AMENDMENT_ELEMENTS: Final = frozenset({"FunctionCode", "AdditionalInformation", _AMENDMENT})


def compare_amendment_pointers(former: etree._Element, amended: etree._Element) -> tuple[Finding, ...]:
    """Return findings on pointers of an amended declaration to unchanged places, and on changes without one.

    A declaration whose amendments carry no pointer gets no finding: pointers are optional. An item that is
    added or removed is one change, at the place of the item.
    """
    chains = _read_chains(amended)
    if not chains:
        return ()
    changed = list_changed_places(former, amended)
    whole = _list_moved_items(former, amended)
    changes = {next((item for item in whole if _covers(item, path)), path) for path in changed}
    unnamed = [
        Finding(CHANGE_NOT_NAMED, "no pointer of the amendment names this change", path)
        for path in sorted(changes)
        if not any(_covers(chain, path) for chain in chains)
    ]
    unchanged = [
        Finding(NAMED_NOT_CHANGED, f"the pointer names {chain or 'no place'}, which is the same", pointer)
        for chain, pointer in chains.items()
        if not any(_covers(chain, path) for path in changed)
    ]
    return (*unnamed, *unchanged)


def _list_moved_items(former: etree._Element, amended: etree._Element) -> set[str]:
    """Return the places of the goods items that only one of the declarations has: each is one change."""
    before, after = ({path for _, path in _list_items(declaration)} for declaration in (former, amended))
    return before ^ after


def _list_items(declaration: etree._Element) -> list[tuple[etree._Element, str]]:
    return [pair for pair in iterate_pointers(declaration) if pair[0].tag == _ITEM]


def _covers(chain: str, path: str) -> bool:
    return bool(chain) and (path == chain or path.startswith((f"{chain}/", f"{chain}[")))


def _read_chains(declaration: etree._Element) -> dict[str, str]:
    """Return the place that each amendment names, with the pointer of the amendment's own chain."""
    pointers = {}
    for amendment in declaration.findall(f"{_DEC}{_AMENDMENT}"):
        steps = amendment.findall(f"{_DEC}Pointer")
        if steps:
            pointers[_join_chain(steps)] = build_pointer(steps[0], declaration)
    return pointers


def _join_chain(steps: Collection[etree._Element]) -> str:
    """Return the place of one chain; the declaration itself may be its first step or left out."""
    path = [_TOP]
    for step in steps:
        section = _read(step, "DocumentSectionCode")
        number = _read(step, "SequenceNumeric").strip() or "1"
        if section and section != _TOP:
            path.append(f"{section}[{int(Decimal(number))}]")
        tag = _read(step, "TagID")
        if tag:
            path.append(tag)
    return "/".join(path)


def _read(step: etree._Element, name: str) -> str:
    child = step.find(f"{_DEC}{name}")
    return "" if child is None else read_leaf_text(child).strip()


def list_changed_places(former: etree._Element, amended: etree._Element) -> set[str]:
    """Return the places of the elements whose text or attributes differ, are new, or are gone.

    The function of a declaration, and the reason of its amendment, do not count as changes.
    """
    before, after = _list_values(former), _list_values(amended)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _list_values(declaration: etree._Element) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    """Return text and attributes of every leaf by its path."""
    amendment_elements = {child for child in declaration if _is_own(child)}
    return {
        path: (read_leaf_text(element).strip(), tuple(sorted(list_attributes(element))))
        for element, path in iterate_pointers(declaration)
        if next(element.iterchildren(tag=etree.Element), None) is None
        and not _is_below(element, amendment_elements)
    }


def _is_own(child: etree._Element) -> bool:
    return isinstance(child.tag, str) and etree.QName(child).localname in _AMENDMENT_ELEMENTS


def _is_below(element: etree._Element, tops: Collection[etree._Element]) -> bool:
    return element in tops or any(ancestor in tops for ancestor in element.iterancestors())
