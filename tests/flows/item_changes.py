"""Changes to the goods items of the sample submission, and to what belongs to each."""

from __future__ import annotations

from copy import deepcopy

from lxml import etree

from gateway.wire import SUB
from tests.flows.craft import Change, all_of, at, because, text

__all__ = ["add_item", "amendment", "concern", "drop_application", "new_application", "remove_item"]

_ITEM = "GovernmentAgencyGoodsItem"


def amendment(*changes: Change) -> Change:
    """Make it the amendment of the same."""
    return all_of(text("Function", "13"), lambda root: because(root, "17", "The items change."), *changes)


def _find_item(root: etree._Element, number: int) -> etree._Element:
    found = [one for one in root.iter(f"{{*}}{_ITEM}") if one.findtext("{*}SequenceNumeric") == str(number)]
    return found[0]


def add_item(number: int, like: int, words: str = "Honey wafers 280 g") -> Change:
    """Declare another item, which is like one there, but for its description."""

    def change(root: etree._Element) -> None:
        last = [*root.iter(f"{{*}}{_ITEM}")][-1]
        made = deepcopy(_find_item(root, like))
        at(made, "SequenceNumeric").text = str(number)
        at(made, "Commodity/Description").text = words
        last.addnext(made)
        for value in root.findall(f"{{{SUB}}}Supplement/{{{SUB}}}Value[@item='{like}']"):
            copy = deepcopy(value)
            copy.set("item", str(number))
            value.getparent().append(copy)  # type: ignore[union-attr]

    return change


def remove_item(number: int) -> Change:
    """Take an item out of the declaration, and all that is said of it."""

    def change(root: etree._Element) -> None:
        item = _find_item(root, number)
        item.getparent().remove(item)  # type: ignore[union-attr]
        for value in root.findall(f"{{{SUB}}}Supplement/{{{SUB}}}Value[@item='{number}']"):
            value.getparent().remove(value)  # type: ignore[union-attr]
        for application in root.findall(f"{{{SUB}}}Application"):
            items = (at(application, "Items").text or "").split()
            at(application, "Items").text = " ".join(one for one in items if one != str(number))
            for asked in application.findall(f"{{*}}Fields/{{*}}Item[@sequence='{number}']"):
                asked.getparent().remove(asked)  # type: ignore[union-attr]

    return change


def concern(application: str, number: int, like: int) -> Change:
    """Let an application concern another item, with the answers for one that it concerns."""

    def change(root: etree._Element) -> None:
        one = at(root, f"Application[@id='{application}']")
        at(one, "Items").text = f"{at(one, 'Items').text} {number}"
        known = one.findall(f"{{*}}Fields/{{*}}Item[@sequence='{like}']")
        for asked in known:
            copy = deepcopy(asked)
            copy.set("sequence", str(number))
            asked.addnext(copy)

    return change


def new_application(name: str, number: int, like: str) -> Change:
    """Add an application, which is like one there, but for its items."""

    def change(root: etree._Element) -> None:
        known = at(root, f"Application[@id='{like}']")
        made = deepcopy(known)
        made.set("id", name)
        at(made, "Items").text = str(number)
        for asked in made.findall("{*}Fields/{*}Item"):
            asked.set("sequence", str(number))
        for one in made.findall(f"{{{SUB}}}Attachment"):
            made.remove(one)
        known.addnext(made)

    return change


def drop_application(name: str) -> Change:
    """Leave an application out."""

    def change(root: etree._Element) -> None:
        one = at(root, f"Application[@id='{name}']")
        one.getparent().remove(one)  # type: ignore[union-attr]

    return change
