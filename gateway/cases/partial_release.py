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

from gateway.cases.declaration_validation import Finding
from gateway.cases.status_codes import open_code_table
from gateway.errors import (
    DOCUMENT_INVALID,
    ITEM_ALREADY_RELEASED,
    ITEM_NOT_APPROVED,
    MAPPING_WRONG,
    PARENT_NOT_USABLE,
    GatewayError,
)
from gateway.harmonize import UnitTable, format_decimal
from gateway.wire import (
    TARIFF_CODE_TYPES,
    WCO_DEC,
    PointerIndex,
    read_attribute,
    read_leaf_text,
    read_tariff_code,
)

_DEC: Final = f"{{{WCO_DEC}}}"
_ITEMS: Final = f"{_DEC}GoodsShipment/{_DEC}GovernmentAgencyGoodsItem"
_COLUMNS: Final = ("code", "name", "role")
#: The role of a document whose approved items a child declaration takes; other roles are not read here.
_PARENT: Final = "parent"
_MEASURES: Final = ("NetNetWeightMeasure", "TariffQuantity")
#: The elements that, with the classifications, must equal those of the approved item.
_IDENTITY: Final = ("Commodity/Description", "Origin/CountryCode")


@dataclass(frozen=True, slots=True)
class GoodsQuantity:
    """A quantity of an item's goods by the name of its measure, such as TariffQuantity."""

    measure: str
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class ReleasableItem:
    """One item: its quantities, and the description of its goods; `pointer` is its place."""

    number: int
    quantities: tuple[GoodsQuantity, ...]
    identity: tuple[str, ...]
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredRelease:
    """The items that a child declaration takes of its parent, the case of this number."""

    parent: str
    items: tuple[ReleasableItem, ...]


def read_parent_codes(table: str, name: str = "previous-document.csv") -> frozenset[str]:
    """Return the type codes of a document that names a parent, of a table (CSV: code, name, role).

    Raise GW502 with the line for a missing column, an empty code and one that occurs twice; and for a table
    without a code of the role parent.
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


def read_declared_release(declaration: etree._Element, codes: Collection[str]) -> DeclaredRelease | None:
    """Return the items that a schema-valid declaration takes of another case; None if it names no parent.

    `codes` are the type codes of a document that names a parent. Raises GW416 where not every item names the
    same parent and its own number there.
    """
    pointers = PointerIndex()
    parents = [_read_parent(item, pointers, codes) for item in declaration.findall(_ITEMS)]
    distinct = {parent for parent in parents if parent is not None}
    if not distinct:
        return None
    if len(distinct) > 1 or None in parents:
        detail = "each item of a child declaration names the same parent, under its own number there"
        raise GatewayError(PARENT_NOT_USABLE, detail, "42A/67A[1]")
    return DeclaredRelease(distinct.pop(), read_releasable_items(declaration))


def _read_parent(item: etree._Element, pointers: PointerIndex, codes: Collection[str]) -> str | None:
    """Return the parent that an item names; raises GW416 for a second one, or for another number."""
    documents = [
        document
        for document in item.findall(f"{_DEC}PreviousDocument")
        if _read_text(document, "TypeCode") in codes
    ]
    if not documents:
        return None
    sequence = _read_text(item, "SequenceNumeric")
    if len(documents) > 1 or _read_text(documents[0], "LineNumeric") not in ("", sequence):
        detail = f"item {sequence} names one item of its parent, and keeps its number"
        raise GatewayError(PARENT_NOT_USABLE, detail, pointers.get_pointer(documents[-1]))
    return _read_text(documents[0], "ID")


def read_releasable_items(declaration: etree._Element) -> tuple[ReleasableItem, ...]:
    """Return the items of a schema-valid declaration with their quantities."""
    pointers = PointerIndex()
    return tuple(_read_item(item, pointers) for item in declaration.findall(_ITEMS))


def _read_item(item: etree._Element, pointers: PointerIndex) -> ReleasableItem:
    pointer = pointers.get_pointer(item)
    quantities = []
    for name in _MEASURES:
        for element in item.findall(f"{_DEC}Commodity/{_DEC}GoodsMeasure/{_DEC}{name}"):
            quantity = _read_number(read_leaf_text(element), pointer)
            quantities.append(GoodsQuantity(name, quantity, read_attribute(element, "unitCode", "").strip()))
    classifications = item.iterfind(f"{_DEC}Commodity/{_DEC}Classification")
    kinds = [
        (_read_text(classification, "IdentificationTypeCode"), _read_text(classification, "ID"))
        for classification in classifications
    ]
    others = [text for kind, code in kinds if kind not in TARIFF_CODE_TYPES for text in (kind, code)]
    identity_texts = [
        read_leaf_text(element).strip()
        for path in _IDENTITY
        for element in item.findall("/".join(f"{_DEC}{name}" for name in path.split("/")))
    ]
    identity = (read_tariff_code(item).text, *others, *identity_texts)
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
    child = element.find(f"{_DEC}{name}")
    return "" if child is None else read_leaf_text(child).strip()


def judge_release(
    declared_release: DeclaredRelease,
    parent: Iterable[ReleasableItem],
    approved: Collection[int],
    released: Mapping[int, Iterable[GoodsQuantity]],
    units: UnitTable,
) -> tuple[Finding, ...]:
    """Return why items of a child may not leave; nothing where all may.

    `released` is what earlier children have taken of each item. An item without a quantity leaves once.
    """
    parent_items = {parent_item.number: parent_item for parent_item in parent}
    findings = []
    for item in declared_release.items:
        approved_item = parent_items.get(item.number)
        if approved_item is None or item.number not in approved:
            detail = f"item {item.number} of case {declared_release.parent} is not approved"
            findings.append(Finding(ITEM_NOT_APPROVED, detail, item.pointer))
        elif approved_item.identity != item.identity:
            detail = (
                f"item {item.number} has not the goods that were approved in case {declared_release.parent}"
            )
            findings.append(Finding(ITEM_NOT_APPROVED, detail, item.pointer))
        else:
            released_quantities = tuple(released.get(item.number, ()))
            findings += _find_shortages(
                declared_release.parent, item, approved_item, released_quantities, units
            )
    return tuple(findings)


def _find_shortages(
    parent: str,
    item: ReleasableItem,
    approved_item: ReleasableItem,
    released_quantities: tuple[GoodsQuantity, ...],
    units: UnitTable,
) -> Iterable[Finding]:
    name = f"item {item.number} of case {parent}"
    leaving = {quantity.measure: quantity for quantity in item.quantities}
    if {quantity.measure for quantity in approved_item.quantities} != set(leaving):
        detail = f"{name} leaves with the same measures as it was declared with"
        yield Finding(ITEM_ALREADY_RELEASED, detail, item.pointer)
        return
    if not approved_item.quantities and released_quantities:
        yield Finding(ITEM_ALREADY_RELEASED, f"{name} has left", item.pointer)
    for declared in approved_item.quantities:
        leaves = leaving[declared.measure]
        amounts = [
            leaves,
            *(released for released in released_quantities if released.measure == declared.measure),
        ]
        converted = [_convert(amount, declared.unit, units) for amount in amounts]
        if None in converted:
            detail = f"{name} is in {declared.unit}, which cannot be converted to {leaves.unit}"
            yield Finding(ITEM_ALREADY_RELEASED, detail, item.pointer)
            continue
        released_amount = sum((amount for amount in converted[1:] if amount is not None), Fraction(0))
        remaining = max(Fraction(declared.quantity) - released_amount, Fraction(0))
        if converted[0] is not None and (converted[0] > remaining or not converted[0]):
            amount = format_decimal(remaining) or "less"
            detail = f"{name}: {leaves.quantity:f} {leaves.unit} leave, {amount} {declared.unit} stay"
            yield Finding(ITEM_ALREADY_RELEASED, detail, item.pointer)


def _convert(amount: GoodsQuantity, unit: str, units: UnitTable) -> Fraction | None:
    number = Fraction(amount.quantity)
    return number if amount.unit == unit else units.convert_quantity(number, amount.unit, unit)
