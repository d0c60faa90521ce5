"""Judges which goods items an amended declaration adds and removes.

The number of an item is never given to other goods (WCO Data Model, SequenceNumeric 006 of 68A within a
declaration): a new item gets a number above all so far, and that of a removed one is not used again.
`restore_items` undoes the change of the items in a submission. So the mappings tell whether a request
differs in its items alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from lxml import etree

from gateway.errors import ITEM_NUMBER_TAKEN, ITEM_RENUMBERED, RULE_BROKEN, GatewayError
from gateway.wire import SUB, WCO_DEC, read_leaf_text

__all__ = [
    "ItemChange",
    "UsedNumbers",
    "check_kept_numbers",
    "judge_item_change",
    "list_changed_items",
    "restore_items",
]

_SUB: Final = f"{{{SUB}}}"
_DEC: Final = f"{{{WCO_DEC}}}"
_SHIPMENT: Final = f"{_DEC}GoodsShipment"
_ITEM: Final = f"{_DEC}GovernmentAgencyGoodsItem"
_NUMBER: Final = f"{_DEC}SequenceNumeric"
_ITEMS_PLACE: Final = "42A/67A[1]"
#: Totals that the declaration states of all its items: they follow from what is added and removed.
_TOTALS: Final = ("GoodsItemQuantity", "InvoiceAmount", "TotalGrossMassMeasure", "TotalPackageQuantity")


#: The tag of children that belong to items, and how the key of one is read.
_Children: TypeAlias = tuple[object, Callable[[etree._Element], object | None]]


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
    known: Collection[int], used: UsedNumbers, declared: Collection[int], *, is_child: bool = False
) -> ItemChange:
    """Return what the items `declared` change in the items `known` of a case.

    Items of a child declaration have the numbers of the parent's items, so that a new one may be lower
    than the last. Raises GW404 where no item stays, GW419 for a number that is not free.
    """
    added = tuple(sorted(set(declared) - set(known)))
    removed = tuple(sorted(set(known) - set(declared)))
    if len(removed) == len(set(known)):
        words = "an amendment keeps an item at least: withdraw the declaration, and file another one"
        raise GatewayError(RULE_BROKEN, words, _ITEMS_PLACE)
    for number in added:
        if number in used.removed:
            words = f"item {number} was removed: its number is not used again"
            raise GatewayError(ITEM_NUMBER_TAKEN, words, _make_place(number))
        if number <= used.last and not is_child:
            words = f"a new item has a number above all so far: {number} is not above {used.last}"
            raise GatewayError(ITEM_NUMBER_TAKEN, words, _make_place(number))
    gone = tuple(sorted({*used.removed, *removed}))
    return ItemChange(added, removed, UsedNumbers(max(used.last, *declared), gone))


def _make_place(number: int) -> str:
    return f"{_ITEMS_PLACE}/68A[{number}]"


def check_kept_numbers(former: etree._Element, amended: etree._Element) -> None:
    """Raise GW420 where goods of the former declaration have another number in the amended one.

    So they have when a new or changed item is, without its number, what a removed or changed one was.
    """
    before, after = _read_contents(former), _read_contents(amended)
    lost: dict[object, int] = {}
    for number, content in before.items():
        if after.get(number) != content:
            lost.setdefault(content, number)
    for number, content in after.items():
        if before.get(number) != content and content in lost:
            words = f"these goods are item {lost[content]} of the former declaration: they keep that number"
            raise GatewayError(ITEM_RENUMBERED, words, _make_place(number))


def _read_contents(declaration: etree._Element) -> dict[int, tuple[object, ...]]:
    """Return what each item says, by its number and without it."""
    return {number: tuple(_read_content(item)) for number, item in _list_goods(declaration).items()}


def _read_content(place: etree._Element) -> Iterable[object]:
    """Yield name, text and attributes of all in a place, each before and behind what is in it."""
    for element in place.iterchildren(tag=etree.Element):
        if element.tag == _NUMBER and place.tag == _ITEM:
            continue
        leaf = next(element.iterchildren(tag=etree.Element), None) is None
        text = read_leaf_text(element).strip() if leaf else ""
        yield element.tag, text, tuple(sorted((str(k), str(v)) for k, v in element.attrib.items()))
        yield from _read_content(element)
        yield None


def _list_goods(declaration: etree._Element) -> dict[int, etree._Element]:
    found = {}
    for item in declaration.findall(f"{_SHIPMENT}/{_ITEM}"):
        number = item.find(_NUMBER)
        if number is not None:
            found[int(Decimal(read_leaf_text(number).strip()))] = item
    return found


def restore_items(
    amended: etree._Element, former: etree._Element, changed: Collection[int] = ()
) -> etree._Element:
    """Return an amended submission with the items that the former one had, each in its application.

    What the amendment changes in items that stay, and beside the items, it changes here too; but the items
    in `changed` are those of the former one. The totals that the declaration states of its items, and
    applications that are new, are taken back with the items.
    """
    root = deepcopy(amended)
    staying = frozenset(_list_staying_items(amended, former)) - set(changed)
    _restore_declaration(_find_declaration(root), _find_declaration(former), staying)
    supplement, before = root.find(f"{_SUB}Supplement"), former.find(f"{_SUB}Supplement")
    if supplement is not None and before is not None:
        _restore_children(supplement, before, (f"{_SUB}Value", _read_value_key), staying)
    known = {one.get("id"): one for one in former.findall(f"{_SUB}Application")}
    for application in root.findall(f"{_SUB}Application"):
        one = known.get(application.get("id"))
        if one is None:
            root.remove(application)
        else:
            _restore_application(application, one, staying)
    return root


def list_changed_items(amended: etree._Element, former: etree._Element) -> frozenset[int]:
    """Return the items that both submissions have, and of which one says something else than the other."""
    now, before = _list_said_of_items(amended), _list_said_of_items(former)
    staying = _list_staying_items(amended, former)
    return frozenset(item for item in staying if now.get(item) != before.get(item))


def _list_staying_items(amended: etree._Element, former: etree._Element) -> set[int]:
    one, other = (_list_goods(_find_declaration(root)) for root in (amended, former))
    return set(one) & set(other)


def _list_said_of_items(root: etree._Element) -> dict[int, dict[object, tuple[object, ...]]]:
    """Return all that a submission says of each item, by what says it."""
    said: dict[int, dict[object, tuple[object, ...]]] = {}
    for item, goods in _list_goods(_find_declaration(root)).items():
        said.setdefault(item, {})["goods"] = tuple(_read_content(goods))
    places: list[tuple[str | None, etree._Element | None, _Children]]
    places = [(None, root.find(f"{_SUB}Supplement"), (f"{_SUB}Value", _read_value_key))]
    for one in root.findall(f"{_SUB}Application"):
        places.append((one.get("id"), one.find(f"{_SUB}Fields"), (etree.Element, _read_sequence_key)))
    for name, place, (tag, read_key) in places:
        for key, element in ({} if place is None else _collect(place, tag, read_key)).items():
            own = read_leaf_text(element).strip() if element.find("*") is None else ""
            content = (own, tuple(sorted(element.attrib.items())), *_read_content(element))
            said.setdefault(_read_item(key) or 0, {})[name, key] = content
    return said


def _find_declaration(root: etree._Element) -> etree._Element:
    return next(one for one in root.iter(f"{_DEC}Declaration") if one.find(_SHIPMENT) is not None)


def _restore_declaration(
    declaration: etree._Element, former: etree._Element, staying: Collection[int]
) -> None:
    for name in _TOTALS:
        now, before = declaration.find(f"{_DEC}{name}"), former.find(f"{_DEC}{name}")
        if now is not None and before is not None:
            declaration.replace(now, _copy(before))
    shipment, before_it = declaration.find(_SHIPMENT), former.find(_SHIPMENT)
    if shipment is not None and before_it is not None:
        _restore_children(shipment, before_it, (_ITEM, _read_goods_key), staying)


def _restore_application(
    application: etree._Element, former: etree._Element, staying: Collection[int]
) -> None:
    items, before = application.find(f"{_SUB}Items"), former.find(f"{_SUB}Items")
    if items is not None and before is not None:
        application.replace(items, _copy(before))
    fields, asked = application.find(f"{_SUB}Fields"), former.find(f"{_SUB}Fields")
    if fields is not None and asked is not None:
        _restore_children(fields, asked, (etree.Element, _read_sequence_key), staying)


def _restore_children(
    place: etree._Element, former: etree._Element, which: _Children, staying: Collection[int]
) -> None:
    """Give a place the children of the former one; those of an item that is `staying` are as they are now.

    A child without a key belongs to no item, and stays as it is.
    """
    now, before = _collect(place, *which), _collect(former, *which)
    first = next((place.index(one) for one in now.values()), len(place))
    for one in now.values():
        place.remove(one)
    kept = {key: one for key, one in now.items() if _read_item(key) in staying}
    found = [kept.pop(key, None) if _read_item(key) in staying else _copy(one) for key, one in before.items()]
    children = [one for one in (*found, *kept.values()) if one is not None]
    for offset, one in enumerate(children):
        place.insert(first + offset, one)


def _collect(
    place: etree._Element, tag: object, read_key: Callable[[etree._Element], object | None]
) -> Mapping[object, etree._Element]:
    children = place.iterchildren(tag=tag)
    return {key: one for one in children if (key := read_key(one)) is not None}


def _copy(element: etree._Element) -> etree._Element:
    made = deepcopy(element)
    made.tail = element.tail
    return made


def _read_item(key: object) -> int | None:
    """Return the item of a key; None where it is no number."""
    said = str(key[1] if isinstance(key, tuple) else key)
    return int(said) if said.isdecimal() else None


def _read_goods_key(item: etree._Element) -> object | None:
    number = item.find(_NUMBER)
    return None if number is None else Decimal(read_leaf_text(number).strip())


def _read_sequence_key(element: etree._Element) -> object | None:
    sequence = element.get("sequence")
    return None if sequence is None else (element.tag, sequence.strip())


def _read_value_key(value: etree._Element) -> object | None:
    item = value.get("item")
    return None if item is None else (value.get("path"), item.strip(), value.get("n", "1"))
