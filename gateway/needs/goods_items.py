"""Reads from a declaration what the rules of need ask: direction, country, and the goods items.

The tree need not be valid: what is missing or has a wrong form is left unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.wire import WCO_DEC, WCO_MD, read_leaf_text

__all__ = ["DeclaredGoods", "GoodsItem", "find_declared_direction", "read_declared_goods"]

_DEC: Final = f"{{{WCO_DEC}}}"
_MD: Final = f"{{{WCO_MD}}}"
_CODE: Final = re.compile(r"[0-9]{2,18}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_NUMBER: Final = re.compile(r"\+?0*([0-9]{1,9})(?:\.0*)?")
#: The classifications that make the tariff code, in the order in which they are joined.
_CLASSIFICATIONS: Final = ("", "TSP", "TRC")
_FULL: Final = 10
#: The first letters of the type of a declaration, and the document codes of the Korean forms.
_DIRECTIONS: Final = {"IM": "import", "EX": "export", "929": "import", "830": "export"}


@dataclass(frozen=True, slots=True)
class GoodsItem:
    """One goods item: its number, its tariff code and its country of origin, both as far as known."""

    number: int
    hs: str
    origin: str | None

    @property
    def pointer(self) -> str:
        """Return the WCO pointer of the item."""
        return f"42A/67A[1]/68A[{self.number}]"


@dataclass(frozen=True, slots=True)
class DeclaredGoods:
    """The goods of a declaration; `direction` and `country` are None where it does not state them."""

    direction: str | None
    country: str | None
    items: tuple[GoodsItem, ...]


def read_declared_goods(declaration: etree._Element) -> DeclaredGoods:
    """Return the goods of a `Declaration`; the shell around it states the country whose codes it uses."""
    shell = declaration.getparent()
    country = None if shell is None else _read_child(shell, f"{_MD}ResponsibleCountryCode")
    items = _list_below(declaration, f"{_DEC}GoodsShipment", f"{_DEC}GovernmentAgencyGoodsItem")
    return DeclaredGoods(
        find_declared_direction(_read_child(declaration, f"{_DEC}TypeCode")),
        country if country and _COUNTRY.fullmatch(country) else None,
        tuple([_read_item(element, n) for n, element in enumerate(items, 1)]),
    )


def find_declared_direction(type_code: str) -> str | None:
    """Return the direction of a declaration by its type code (import or export); None for another one."""
    return _DIRECTIONS.get(type_code) or _DIRECTIONS.get(type_code[:2].upper())


def _read_item(element: etree._Element, position: int) -> GoodsItem:
    match = _NUMBER.fullmatch(_read_child(element, f"{_DEC}SequenceNumeric"))
    origins = _list_below(element, f"{_DEC}Origin", f"{_DEC}CountryCode")
    origin = read_leaf_text(origins[0]).strip() if origins else ""
    return GoodsItem(
        int(match[1]) if match else position,
        _read_tariff_code(element),
        origin if _COUNTRY.fullmatch(origin) else None,
    )


def _read_tariff_code(element: etree._Element) -> str:
    """Return the tariff code in whole pairs of digits, at most ten; empty where there is none."""
    parts: dict[str, str] = {}
    for one in _list_below(element, f"{_DEC}Commodity", f"{_DEC}Classification"):
        # Of several of one kind the first counts.
        parts.setdefault(_read_child(one, f"{_DEC}IdentificationTypeCode"), _read_child(one, f"{_DEC}ID"))
    code = "".join([parts.get(kind, "") for kind in _CLASSIFICATIONS])
    if not _CODE.fullmatch(code):
        return ""
    return code[: min(len(code) // 2 * 2, _FULL)]


def _read_child(element: etree._Element, tag: str) -> str:
    """Return the text of the first child of this name: quicker than that of a path."""
    found = next(element.iterchildren(tag), None)
    return "" if found is None else read_leaf_text(found).strip()


def _list_below(element: etree._Element, outer: str, inner: str) -> list[etree._Element]:
    """Return the children of a name in all children of another name: quicker than by a path."""
    return [one for child in element.iterchildren(outer) for one in child.iterchildren(inner)]
