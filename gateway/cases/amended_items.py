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
_ITEM_NUMBER: Final = f"{_DEC}SequenceNumeric"
_ITEMS_POINTER: Final = "42A/67A[1]"
#: Totals that the declaration states of all its items: they change with the added and removed items.
_TOTAL_ELEMENTS: Final = (
    "GoodsItemQuantity",
    "InvoiceAmount",
    "TotalGrossMassMeasure",
    "TotalPackageQuantity",
)


@dataclass(frozen=True, slots=True)
class _ChildSelector:
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

    max_number: int
    removed_numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemChange:
    """The items that an amended declaration adds and removes, and the numbers used with it."""

    added_items: tuple[int, ...]
    removed_items: tuple[int, ...]
    used_numbers: UsedNumbers


def compute_item_change(
    former_items: Collection[int],
    used_numbers: UsedNumbers,
    declared_items: Collection[int],
    *,
    is_child: bool = False,
) -> ItemChange:
    """Return the items that an amendment adds and removes, from the item numbers before and after it.

    `former_items` are the item numbers of the case, `declared_items` those of the amended declaration.

    Items of a child declaration have the numbers of the parent's items, so that a new one may be lower than
    the last. Raises GW404 where no item stays, GW419 for a number that is not free.
    """
    added_items = tuple(sorted(set(declared_items) - set(former_items)))
    removed_items = tuple(sorted(set(former_items) - set(declared_items)))
    if len(removed_items) == len(set(former_items)):
        detail = "an amendment keeps an item at least: withdraw the declaration, and file another one"
        raise GatewayError(RULE_BROKEN, detail, _ITEMS_POINTER)
    for number in added_items:
        if number in used_numbers.removed_numbers:
            detail = f"item {number} was removed: its number is not used again"
            raise GatewayError(ITEM_NUMBER_TAKEN, detail, _make_place(number))
        if number <= used_numbers.max_number and not is_child:
            detail = (
                f"a new item has a number above all so far: {number} is not above {used_numbers.max_number}"
            )
            raise GatewayError(ITEM_NUMBER_TAKEN, detail, _make_place(number))
    removed_numbers = tuple(sorted({*used_numbers.removed_numbers, *removed_items}))
    return ItemChange(
        added_items,
        removed_items,
        UsedNumbers(max(used_numbers.max_number, *declared_items), removed_numbers),
    )


def _make_place(number: int) -> str:
    return f"{_ITEMS_POINTER}/68A[{number}]"


def check_item_numbers(former: etree._Element, amended_declaration: etree._Element) -> None:
    """Raise GW420 where goods of the former declaration have another number in the amended one.

    Goods have another number if a new or changed item is, apart from its number, equal to a removed or
    changed one.
    """
    before, amended_contents = _read_item_contents(former), _read_item_contents(amended_declaration)
    lost: dict[object, int] = {}
    for number, content in before.items():
        if amended_contents.get(number) != content:
            lost.setdefault(content, number)
    for number, content in amended_contents.items():
        if before.get(number) != content and content in lost:
            detail = f"these goods are item {lost[content]} of the former declaration: they keep that number"
            raise GatewayError(ITEM_RENUMBERED, detail, _make_place(number))


def _read_item_contents(declaration: etree._Element) -> dict[int, tuple[object, ...]]:
    """Return the content of each item, without its number, by its number."""
    return {
        number: tuple(_iterate_content(item)) for number, item in _map_items_by_number(declaration).items()
    }


def _iterate_content(parent: etree._Element) -> Iterable[object]:
    """Yield name, text and attributes of every element below a parent, and None after its descendants."""
    for element in parent.iterchildren(tag=etree.Element):
        if element.tag == _ITEM_NUMBER and parent.tag == _ITEM:
            continue
        is_leaf = next(element.iterchildren(tag=etree.Element), None) is None
        text = read_leaf_text(element).strip() if is_leaf else ""
        yield element.tag, text, tuple(sorted(list_attributes(element)))
        yield from _iterate_content(element)
        yield None


def _map_items_by_number(declaration: etree._Element) -> dict[int, etree._Element]:
    """Return the goods items of a declaration by sequence number; items without a number are left out."""
    items_by_number = {}
    for item in declaration.findall(f"{_SHIPMENT}/{_ITEM}"):
        number_element = item.find(_ITEM_NUMBER)
        if number_element is not None:
            items_by_number[int(Decimal(read_leaf_text(number_element).strip()))] = item
    return items_by_number


def restore_items(
    amended_submission: etree._Element, former_submission: etree._Element, changed_items: Collection[int] = ()
) -> etree._Element:
    """Return an amended submission with the items that the former one had, each in its application.

    Changes in items that stay, and outside of the items, are kept; but the items in `changed_items` are those
    of the former submission. The totals that the declaration states of its items, and applications that are
    new, are set back with the items.
    """
    restored_submission = deepcopy(amended_submission)
    kept_items = frozenset(_list_kept_items(amended_submission, former_submission)) - set(changed_items)
    _restore_declaration(
        _find_declaration(restored_submission), _find_declaration(former_submission), kept_items
    )
    supplement, former_supplement = (
        restored_submission.find(f"{_SUB}Supplement"),
        former_submission.find(f"{_SUB}Supplement"),
    )
    if supplement is not None and former_supplement is not None:
        _restore_children(
            supplement, former_supplement, _ChildSelector(f"{_SUB}Value", _read_value_key), kept_items
        )
    former_applications = {
        read_attribute(element, "id"): element for element in former_submission.findall(f"{_SUB}Application")
    }
    for application in restored_submission.findall(f"{_SUB}Application"):
        former_application = former_applications.get(application.get("id"))
        if former_application is None:
            restored_submission.remove(application)
        else:
            _restore_application(application, former_application, kept_items)
    return restored_submission


def list_changed_items(
    amended_submission: etree._Element, former_submission: etree._Element
) -> frozenset[int]:
    """Return the items that both submissions have, and whose contents differ."""
    amended_contents, former_contents = (
        _list_item_contents(amended_submission),
        _list_item_contents(former_submission),
    )
    kept_items = _list_kept_items(amended_submission, former_submission)
    return frozenset(item for item in kept_items if amended_contents.get(item) != former_contents.get(item))


def _list_kept_items(amended_submission: etree._Element, former_submission: etree._Element) -> set[int]:
    """Return the numbers of the goods items that both submissions have."""
    amended_goods, former_goods = (
        _map_items_by_number(_find_declaration(submission))
        for submission in (amended_submission, former_submission)
    )
    return set(amended_goods) & set(former_goods)


def _list_item_contents(submission: etree._Element) -> dict[int, dict[object, tuple[object, ...]]]:
    """Return the contents that a submission has for each item, by application and key."""
    contents: dict[int, dict[object, tuple[object, ...]]] = {}
    for item, goods in _map_items_by_number(_find_declaration(submission)).items():
        contents.setdefault(item, {})["goods"] = tuple(_iterate_content(goods))
    selected_parents: list[tuple[str | None, etree._Element | None, _ChildSelector]]
    selected_parents = [
        (None, submission.find(f"{_SUB}Supplement"), _ChildSelector(f"{_SUB}Value", _read_value_key))
    ]
    for application in submission.findall(f"{_SUB}Application"):
        selected_parents.append(
            (
                read_attribute(application, "id"),
                application.find(f"{_SUB}Fields"),
                _ChildSelector(etree.Element, _read_sequence_key),
            )
        )
    for application_id, parent, child_selector in selected_parents:
        for key, element in ({} if parent is None else child_selector.collect(parent)).items():
            text = read_leaf_text(element).strip() if element.find("*") is None else ""
            content = (text, tuple(sorted(list_attributes(element))), *_iterate_content(element))
            contents.setdefault(_parse_item_number(key) or 0, {})[application_id, key] = content
    return contents


def _find_declaration(submission: etree._Element) -> etree._Element:
    return next(
        element for element in submission.iter(f"{_DEC}Declaration") if element.find(_SHIPMENT) is not None
    )


def _restore_declaration(
    declaration: etree._Element, former_declaration: etree._Element, kept_items: Collection[int]
) -> None:
    """Put back the totals and goods items of `former_declaration`, except for items in `kept_items`."""
    for total_name in _TOTAL_ELEMENTS:
        amended_total, former_total = (
            declaration.find(f"{_DEC}{total_name}"),
            former_declaration.find(f"{_DEC}{total_name}"),
        )
        if amended_total is not None and former_total is not None:
            declaration.replace(amended_total, _copy_with_tail(former_total))
    shipment, former_shipment = declaration.find(_SHIPMENT), former_declaration.find(_SHIPMENT)
    if shipment is not None and former_shipment is not None:
        _restore_children(shipment, former_shipment, _ChildSelector(_ITEM, _read_item_key), kept_items)


def _restore_application(
    application: etree._Element, former_application: etree._Element, kept_items: Collection[int]
) -> None:
    """Put back the item list and the answers of `former_application`, except for items in `kept_items`."""
    items, former_items = application.find(f"{_SUB}Items"), former_application.find(f"{_SUB}Items")
    if items is not None and former_items is not None:
        application.replace(items, _copy_with_tail(former_items))
    fields, former_fields = application.find(f"{_SUB}Fields"), former_application.find(f"{_SUB}Fields")
    if fields is not None and former_fields is not None:
        _restore_children(
            fields, former_fields, _ChildSelector(etree.Element, _read_sequence_key), kept_items
        )


def _restore_children(
    parent: etree._Element, former: etree._Element, keyed: _ChildSelector, staying: Collection[int]
) -> None:
    """Replace the keyed children of `parent` by those of `former`, except for the items in `staying`.

    A child without a key belongs to no item, and stays as it is.
    """
    amended_children, former_children = keyed.collect(parent), keyed.collect(former)
    first_index = next((parent.index(child) for child in amended_children.values()), len(parent))
    for child_element in amended_children.values():
        parent.remove(child_element)
    kept_children = {
        key: child for key, child in amended_children.items() if _parse_item_number(key) in staying
    }
    restored_children = [
        kept_children.pop(key, None) if _parse_item_number(key) in staying else _copy_with_tail(child)
        for key, child in former_children.items()
    ]
    children = [child for child in (*restored_children, *kept_children.values()) if child is not None]
    for offset, child_element in enumerate(children):
        parent.insert(first_index + offset, child_element)


def _copy_with_tail(element: etree._Element) -> etree._Element:
    """Return a copy of an element with the white space that follows it."""
    element_copy = deepcopy(element)
    element_copy.tail = element.tail
    return element_copy


def _parse_item_number(key: object) -> int | None:
    """Return the item of a key; None where it is no number."""
    text = str(key[1] if isinstance(key, tuple) else key)
    return int(text) if text.isascii() and text.isdecimal() else None


def _read_item_key(item: etree._Element) -> object | None:
    number_element = item.find(_ITEM_NUMBER)
    return None if number_element is None else Decimal(read_leaf_text(number_element).strip())


def _read_sequence_key(element: etree._Element) -> object | None:
    sequence = read_attribute(element, "sequence")
    return None if sequence is None else (element.tag, sequence.strip())


def _read_value_key(value: etree._Element) -> object | None:
    """Return path, item number and occurrence of a supplement value; None if it belongs to no item."""
    item = read_attribute(value, "item")
    return (
        None
        if item is None
        else (read_attribute(value, "path"), item.strip(), read_attribute(value, "n", "1"))
    )


_DECLARATION_ID: Final = "42A"
_AMENDMENT: Final = "Amendment"
#: Why and how it is amended belongs to the amendment itself, and is no change of the declaration.
_AMENDMENT_ELEMENTS: Final = frozenset({"FunctionCode", "AdditionalInformation", _AMENDMENT})


def compare_amendment_pointers(
    former_declaration: etree._Element, amended_declaration: etree._Element
) -> tuple[Finding, ...]:
    """Return findings on pointers of an amended declaration to unchanged places, and on changes without one.

    A declaration whose amendments carry no pointer gets no finding: pointers are optional. An item that is
    added or removed is one change, at the place of the item.
    """
    pointed_places = _read_pointed_places(amended_declaration)
    if not pointed_places:
        return ()
    changed_places = list_changed_places(former_declaration, amended_declaration)
    whole_items = _list_added_or_removed_items(former_declaration, amended_declaration)
    changes = {
        next((item for item in whole_items if _contains_place(item, path)), path) for path in changed_places
    }
    missing_pointers = [
        Finding(CHANGE_NOT_NAMED, "no pointer of the amendment names this change", path)
        for path in sorted(changes)
        if not any(_contains_place(pointed_place, path) for pointed_place in pointed_places)
    ]
    wrong_pointers = [
        Finding(
            NAMED_NOT_CHANGED, f"the pointer names {pointed_place or 'no place'}, which is the same", pointer
        )
        for pointed_place, pointer in pointed_places.items()
        if not any(_contains_place(pointed_place, path) for path in changed_places)
    ]
    return (*missing_pointers, *wrong_pointers)


def _list_added_or_removed_items(
    former_declaration: etree._Element, amended_declaration: etree._Element
) -> set[str]:
    """Return the places of the goods items that only one of the declarations has: each is one change."""
    former_pointers, amended_pointers = (
        {path for _, path in _list_item_pointers(declaration)}
        for declaration in (former_declaration, amended_declaration)
    )
    return former_pointers ^ amended_pointers


def _list_item_pointers(declaration: etree._Element) -> list[tuple[etree._Element, str]]:
    return [pair for pair in iterate_pointers(declaration) if pair[0].tag == _ITEM]


def _contains_place(outer_place: str, inner_place: str) -> bool:
    """Return whether the place `inner_place` is `outer_place` or within it."""
    return bool(outer_place) and (
        inner_place == outer_place or inner_place.startswith((f"{outer_place}/", f"{outer_place}["))
    )


def _read_pointed_places(declaration: etree._Element) -> dict[str, str]:
    """Return, by the place that each amendment points to, the pointer of its first Pointer element."""
    pointers_by_place = {}
    for amendment in declaration.findall(f"{_DEC}{_AMENDMENT}"):
        steps = amendment.findall(f"{_DEC}Pointer")
        if steps:
            pointers_by_place[_build_pointed_place(steps)] = build_pointer(steps[0], declaration)
    return pointers_by_place


def _build_pointed_place(steps: Collection[etree._Element]) -> str:
    """Return the place to which a chain of Pointer elements leads; the declaration may be its first step."""
    place_steps = [_DECLARATION_ID]
    for step in steps:
        section = _read_step_text(step, "DocumentSectionCode")
        sequence_number = _read_step_text(step, "SequenceNumeric").strip() or "1"
        if section and section != _DECLARATION_ID:
            place_steps.append(f"{section}[{int(Decimal(sequence_number))}]")
        tag_id = _read_step_text(step, "TagID")
        if tag_id:
            place_steps.append(tag_id)
    return "/".join(place_steps)


def _read_step_text(step: etree._Element, element_name: str) -> str:
    child = step.find(f"{_DEC}{element_name}")
    return "" if child is None else read_leaf_text(child).strip()


def list_changed_places(former_declaration: etree._Element, amended_declaration: etree._Element) -> set[str]:
    """Return the places of the elements whose text or attributes differ, are new, or are gone.

    The function of a declaration, and the reason of its amendment, do not count as changes.
    """
    former_values, amended_values = (
        _list_leaf_values(former_declaration),
        _list_leaf_values(amended_declaration),
    )
    return {
        path
        for path in former_values.keys() | amended_values.keys()
        if former_values.get(path) != amended_values.get(path)
    }


def _list_leaf_values(declaration: etree._Element) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    """Return text and attributes of every leaf by its path."""
    amendment_elements = {child for child in declaration if _is_about_amendment(child)}
    return {
        path: (read_leaf_text(element).strip(), tuple(sorted(list_attributes(element))))
        for element, path in iterate_pointers(declaration)
        if next(element.iterchildren(tag=etree.Element), None) is None
        and not _is_within_any(element, amendment_elements)
    }


def _is_about_amendment(child: etree._Element) -> bool:
    return isinstance(child.tag, str) and etree.QName(child).localname in _AMENDMENT_ELEMENTS


def _is_within_any(element: etree._Element, subtree_roots: Collection[etree._Element]) -> bool:
    return element in subtree_roots or any(ancestor in subtree_roots for ancestor in element.iterancestors())
