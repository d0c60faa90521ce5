"""Judges a child declaration: which items of a decided case it takes, and how much of each.

Each item of a child names its parent in a PreviousDocument (WCO 99A): TypeCode a code of the role `parent`
in the table of previous documents, ID the number of the parent case, LineNumeric the parent's item. The item
has the same number in both. Quantities are compared exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from lxml import etree

from gateway.cases.code_tables import open_code_table
from gateway.errors import (
    DOCUMENT_INVALID,
    ITEM_ALREADY_RELEASED,
    ITEM_NOT_APPROVED,
    MAPPING_WRONG,
    PARENT_NOT_USABLE,
    GatewayError,
    Problem,
)
from gateway.harmonize import UnitTable, format_decimal
from gateway.wire import WCO_DEC, PointerIndex, read_leaf_text

__all__ = [
    "GoodsQuantity",
    "ReleasableItem",
    "ReleaseClaim",
    "ReleaseFinding",
    "judge_release",
    "read_parent_codes",
    "read_releasable_items",
    "read_release_claim",
]

_DEC: Final = f"{{{WCO_DEC}}}"
_ITEMS: Final = f"{_DEC}GoodsShipment/{_DEC}GovernmentAgencyGoodsItem"
_COLUMNS: Final = ("code", "name", "role")
#: The role of a document whose approved items a child declaration takes; other roles are not read here.
_PARENT: Final = "parent"
_MEASURES: Final = ("NetNetWeightMeasure", "TariffQuantity")
#: What makes the goods of an item what an agency has approved.
_IDENTITY: Final = (
    *("Commodity/Description", "Commodity/Classification/ID"),
    *("Commodity/Classification/IdentificationTypeCode", "Origin/CountryCode"),
)


@dataclass(frozen=True, slots=True)
class GoodsQuantity:
    """A quantity of an item's goods by the name of its measure, such as TariffQuantity."""

    measure: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class ReleasableItem:
    """One item: its quantities, and what its goods are; `pointer` is its place."""

    number: int
    quantities: tuple[GoodsQuantity, ...]
    identity: tuple[str, ...]
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """What a child declaration takes of its parent, the case of this number."""

    parent: str
    items: tuple[ReleasableItem, ...]


@dataclass(frozen=True, slots=True)
class ReleaseFinding:
    """Why an item may not leave."""

    problem: Problem
    detail: str
    pointer: str


def read_parent_codes(table: str, name: str = "previous-document.csv") -> frozenset[str]:
    """Return the type codes of a document that names a parent, of a table (CSV: code, name, role).

    Raise GW502 with the line for a missing column, an empty code and one that stands twice; and for a
    table without a code of the role parent.
    """
    rows = open_code_table(table, _COLUMNS, name)
    roles: dict[str, str] = {}
    for row in rows:
        code = (row["code"] or "").strip()
        if not code or code in roles:
            detail = f"previous document {code[:20]!r}: {'it stands twice' if code else 'a code is empty'}"
            raise GatewayError(MAPPING_WRONG, detail, f"{name}:{rows.line_num}")
        roles[code] = row["role"] or ""
    parents = frozenset(code for code, role in roles.items() if role == _PARENT)
    if not parents:
        raise GatewayError(MAPPING_WRONG, f"no code has the role {_PARENT}", name)
    return parents


def read_release_claim(declaration: etree._Element, codes: Collection[str]) -> ReleaseClaim | None:
    """Return what a schema-valid declaration takes of another case; None where it names no parent.

    `codes` are the type codes of a document that names a parent. Raises GW416 where not every item names
    the same parent and its own number there.
    """
    places = PointerIndex()
    named = [_read_parent(item, places, codes) for item in declaration.findall(_ITEMS)]
    parents = {one for one in named if one is not None}
    if not parents:
        return None
    if len(parents) > 1 or None in named:
        words = "each item of a child declaration names the same parent, under its own number there"
        raise GatewayError(PARENT_NOT_USABLE, words, "42A/67A[1]")
    return ReleaseClaim(parents.pop(), read_releasable_items(declaration))


def _read_parent(item: etree._Element, places: PointerIndex, codes: Collection[str]) -> str | None:
    """Return the parent that an item names; raises GW416 for a second one, or for another number."""
    found = [one for one in item.findall(f"{_DEC}PreviousDocument") if _read_text(one, "TypeCode") in codes]
    if not found:
        return None
    sequence = _read_text(item, "SequenceNumeric")
    if len(found) > 1 or _read_text(found[0], "LineNumeric") not in ("", sequence):
        words = f"item {sequence} names one item of its parent, and keeps its number"
        raise GatewayError(PARENT_NOT_USABLE, words, places.get_pointer(found[-1]))
    return _read_text(found[0], "ID")


def read_releasable_items(declaration: etree._Element) -> tuple[ReleasableItem, ...]:
    """Return the items of a schema-valid declaration with their quantities."""
    places = PointerIndex()
    return tuple(_read_item(item, places) for item in declaration.findall(_ITEMS))


def _read_item(item: etree._Element, places: PointerIndex) -> ReleasableItem:
    pointer = places.get_pointer(item)
    quantities = []
    for name in _MEASURES:
        for element in item.findall(f"{_DEC}Commodity/{_DEC}GoodsMeasure/{_DEC}{name}"):
            quantity = _read_number(read_leaf_text(element), pointer)
            quantities.append(GoodsQuantity(name, quantity, element.get("unitCode", "").strip()))
    identity = tuple(
        read_leaf_text(element).strip()
        for path in _IDENTITY
        for element in item.findall("/".join(f"{_DEC}{name}" for name in path.split("/")))
    )
    number = int(_read_number(_read_text(item, "SequenceNumeric"), pointer))
    return ReleasableItem(number, tuple(quantities), identity, pointer)


def _read_number(text: str, pointer: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is no quantity", pointer)
    return number


def _read_text(element: etree._Element, name: str) -> str:
    found = element.find(f"{_DEC}{name}")
    return "" if found is None else read_leaf_text(found).strip()


def judge_release(
    claim: ReleaseClaim,
    parent: Iterable[ReleasableItem],
    approved: Collection[int],
    released: Mapping[int, Iterable[GoodsQuantity]],
    units: UnitTable,
) -> tuple[ReleaseFinding, ...]:
    """Return why items of a child may not leave; nothing where all may.

    `released` is what earlier children have taken of each item. An item without a quantity leaves once.
    """
    known = {one.number: one for one in parent}
    found = []
    for item in claim.items:
        whole = known.get(item.number)
        if whole is None or item.number not in approved:
            words = f"item {item.number} of case {claim.parent} is not approved"
            found.append(ReleaseFinding(ITEM_NOT_APPROVED, words, item.pointer))
        elif whole.identity != item.identity:
            words = f"item {item.number} has not the goods that were approved in case {claim.parent}"
            found.append(ReleaseFinding(ITEM_NOT_APPROVED, words, item.pointer))
        else:
            taken = tuple(released.get(item.number, ()))
            found += _find_shortages(claim.parent, item, whole, taken, units)
    return tuple(found)


def _find_shortages(
    parent: str,
    item: ReleasableItem,
    whole: ReleasableItem,
    taken: tuple[GoodsQuantity, ...],
    units: UnitTable,
) -> Iterable[ReleaseFinding]:
    name = f"item {item.number} of case {parent}"
    stated = {one.measure: one for one in item.quantities}
    if {one.measure for one in whole.quantities} != set(stated):
        words = f"{name} leaves with the same measures as it was declared with"
        yield ReleaseFinding(ITEM_ALREADY_RELEASED, words, item.pointer)
        return
    if not whole.quantities and taken:
        yield ReleaseFinding(ITEM_ALREADY_RELEASED, f"{name} has left", item.pointer)
    for one in whole.quantities:
        wanted = stated[one.measure]
        amounts = [wanted, *(other for other in taken if other.measure == one.measure)]
        converted = [_convert(other, one.unit, units) for other in amounts]
        if None in converted:
            words = f"{name} is in {one.unit}, which cannot be converted to {wanted.unit}"
            yield ReleaseFinding(ITEM_ALREADY_RELEASED, words, item.pointer)
            continue
        gone = sum((amount for amount in converted[1:] if amount is not None), Fraction(0))
        left = max(Fraction(one.quantity) - gone, Fraction(0))
        if converted[0] is not None and (converted[0] > left or not converted[0]):
            amount = format_decimal(left) or "less"
            words = f"{name}: {wanted.quantity:f} {wanted.unit} leave, {amount} {one.unit} stay"
            yield ReleaseFinding(ITEM_ALREADY_RELEASED, words, item.pointer)


def _convert(amount: GoodsQuantity, unit: str, units: UnitTable) -> Fraction | None:
    number = Fraction(amount.quantity)
    return number if amount.unit == unit else units.convert_quantity(number, amount.unit, unit)
