"""Takes goods items out of a submission of a broker, and adds others that are like those that stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import SUB, WCO_DEC, parse_xml, serialize_element

__all__ = ["change_items"]

_DEC: Final = f"{{{WCO_DEC}}}"
_SUB: Final = f"{{{SUB}}}"
_ITEM: Final = f"{_DEC}GovernmentAgencyGoodsItem"


def change_items(content: bytes, removed: Collection[int], added: Collection[Mapping[str, Any]]) -> bytes:
    """Return a submission without the items `removed`, and with each item of `added`.

    A row of `added` has the number `item`, the item that it is `like`, and its `description`. It goes
    into the applications of the item that it is like. An application without items is left out.
    """
    root = parse_xml(content)
    for row in added:
        _add_item(root, str(row["item"]), str(row["like"]), row["description"])
    for item in map(str, removed):
        for old in (_find_goods(root, item), *_find_parts(root, item)):
            _remove(old)
    for application in root.findall(f"{_SUB}Application"):
        items = application.find(f"{_SUB}Items")
        stay = (
            [one for one in (items.text or "").split() if int(one) not in removed]
            if items is not None
            else []
        )
        if items is not None and stay:
            items.text = " ".join(stay)
        else:
            root.remove(application)
    return serialize_element(root)


def _find_goods(root: etree._Element, item: str) -> etree._Element:
    for goods in root.iter(_ITEM):
        if goods.findtext(f"{_DEC}SequenceNumeric") == item:
            return goods
    raise GatewayError(RULE_BROKEN, f"the declaration has no item {item}", "/Submission/Declaration")


def _find_parts(root: etree._Element, item: str) -> list[etree._Element]:
    """Return what belongs to an item beside the declaration: values of the supplement, and answers."""
    values = root.findall(f"{_SUB}Supplement/{_SUB}Value[@item='{item}']")
    return [*values, *root.findall(f"{_SUB}Application/{_SUB}Fields/*[@sequence='{item}']")]


def _add_item(root: etree._Element, item: str, like: str, description: str) -> None:
    made = deepcopy(_find_goods(root, like))
    for path, text in (("SequenceNumeric", item), (f"Commodity/{_DEC}Description", description)):
        place = made.find(f"{_DEC}{path}")
        if place is not None:
            place.text = text
    [*root.iter(_ITEM)][-1].addnext(made)
    for part in _find_parts(root, like):
        name = "item" if part.get("item") is not None else "sequence"
        copy = deepcopy(part)
        copy.set(name, item)
        part.addnext(copy)
    for items in root.findall(f"{_SUB}Application/{_SUB}Items"):
        if like in (items.text or "").split():
            items.text = f"{items.text} {item}"


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
