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
from gateway.cases.status_codes import make_code_table_reader
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
_CODE_COLUMNS: Final = ("code", "name", "role")
#: The role of a document whose approved items a child declaration takes; other roles are not read here.
_PARENT_ROLE: Final = "parent"
_MEASURES: Final = ("NetNetWeightMeasure", "TariffQuantity")
#: The elements that, with the classifications, must equal those of the approved item.
_IDENTITY_PATHS: Final = ("Commodity/Description", "Origin/CountryCode")


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


def read_parent_codes(table_text: str, file_name: str = "previous-document.csv") -> frozenset[str]:
    """Return the type codes of a document that names a parent, of a table (CSV: code, name, role).

    Raise GW502 with the line for a missing column, an empty code and one that occurs twice; and for a table
    without a code of the role parent.
    """
    rows = make_code_table_reader(table_text, _CODE_COLUMNS, file_name)
    roles: dict[str, str] = {}
    for row in rows:
        code = (row["code"] or "").strip()
        if not code or code in roles:
            detail = f"previous document {code[:20]!r}: {'it stands twice' if code else 'a code is empty'}"
            raise GatewayError(MAPPING_WRONG, detail, f"{file_name}:{rows.line_num}")
        roles[code] = row["role"] or ""
    parent_codes = frozenset(code for code, role in roles.items() if role == _PARENT_ROLE)
    if not parent_codes:
        raise GatewayError(MAPPING_WRONG, f"no code has the role {_PARENT_ROLE}", file_name)
    return parent_codes


def read_declared_release(
    declaration: etree._Element, parent_codes: Collection[str]
) -> DeclaredRelease | None:
    """Return the items that a schema-valid declaration takes of another case; None if it names no parent.

    `parent_codes` are the type codes of a document that names a parent. Raises GW416 where not every item
    names the same parent and its own number there.
    """
    pointers = PointerIndex()
    item_parents = [_read_parent_number(item, pointers, parent_codes) for item in declaration.findall(_ITEMS)]
    parent_numbers = {parent for parent in item_parents if parent is not None}
    if not parent_numbers:
        return None
    if len(parent_numbers) > 1 or None in item_parents:
        detail = "each item of a child declaration must name the same parent, under its own number there"
        raise GatewayError(PARENT_NOT_USABLE, detail, "42A/67A[1]")
    return DeclaredRelease(parent_numbers.pop(), read_releasable_items(declaration))


def _read_parent_number(
    item: etree._Element, pointers: PointerIndex, parent_codes: Collection[str]
) -> str | None:
    """Return the parent that an item names; raises GW416 for a second one, or for another number."""
    parent_documents = [
        document
        for document in item.findall(f"{_DEC}PreviousDocument")
        if _read_text(document, "TypeCode") in parent_codes
    ]
    if not parent_documents:
        return None
    item_number = _read_text(item, "SequenceNumeric")
    if len(parent_documents) > 1 or _read_text(parent_documents[0], "LineNumeric") not in ("", item_number):
        detail = f"item {item_number} names one item of its parent, and keeps its number"
        raise GatewayError(PARENT_NOT_USABLE, detail, pointers.get_pointer(parent_documents[-1]))
    return _read_text(parent_documents[0], "ID")


def read_releasable_items(declaration: etree._Element) -> tuple[ReleasableItem, ...]:
    """Return the items of a schema-valid declaration with their quantities."""
    pointers = PointerIndex()
    return tuple(_read_item(item, pointers) for item in declaration.findall(_ITEMS))


def _read_item(item: etree._Element, pointers: PointerIndex) -> ReleasableItem:
    """Return number, quantities and identity of a goods item; raise GW402 for a quantity that is no number.

    The identity has the tariff code and the other texts that must be equal in parent and child declaration.
    """
    pointer = pointers.get_pointer(item)
    quantities = []
    for measure_name in _MEASURES:
        for element in item.findall(f"{_DEC}Commodity/{_DEC}GoodsMeasure/{_DEC}{measure_name}"):
            quantity = _read_number(read_leaf_text(element), "quantity", pointer)
            quantities.append(
                GoodsQuantity(measure_name, quantity, read_attribute(element, "unitCode", "").strip())
            )
    classifications = item.iterfind(f"{_DEC}Commodity/{_DEC}Classification")
    typed_codes = [
        (_read_text(classification, "IdentificationTypeCode"), _read_text(classification, "ID"))
        for classification in classifications
    ]
    other_codes = [
        text
        for code_type, code in typed_codes
        if code_type not in TARIFF_CODE_TYPES
        for text in (code_type, code)
    ]
    identity_texts = [
        read_leaf_text(element).strip()
        for path in _IDENTITY_PATHS
        for element in item.findall("/".join(f"{_DEC}{name}" for name in path.split("/")))
    ]
    identity = (read_tariff_code(item).text, *other_codes, *identity_texts)
    number = int(_read_number(_read_text(item, "SequenceNumeric"), "number of a goods item", pointer))
    return ReleasableItem(number, tuple(quantities), identity, pointer)


def _read_number(text: str, meaning: str, pointer: str) -> Decimal:
    """Return a number that is not negative; raise GW402 at `pointer` for a text that is none.

    `meaning` says in the error what the number counts.
    """
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is no {meaning}", pointer)
    return number


def _read_text(element: etree._Element, child_name: str) -> str:
    child = element.find(f"{_DEC}{child_name}")
    return "" if child is None else read_leaf_text(child).strip()


def find_release_problems(
    declared_release: DeclaredRelease,
    items_of_parent: Iterable[ReleasableItem],
    approved: Collection[int],
    released_by_item: Mapping[int, Iterable[GoodsQuantity]],
    units: UnitTable,
) -> tuple[Finding, ...]:
    """Return a finding for each item of a child declaration that may not be released; empty if all may.

    `items_of_parent` are the items of the parent case, `approved` the numbers of those that are approved,
    `released_by_item` the quantities that earlier children took, by item. An item without a quantity is
    released only once.
    """
    parent_items = {parent_item.number: parent_item for parent_item in items_of_parent}
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
            released_quantities = tuple(released_by_item.get(item.number, ()))
            findings += _find_shortages(
                declared_release.parent, item, approved_item, released_quantities, units
            )
    return tuple(findings)


def _find_shortages(
    parent_number: str,
    item: ReleasableItem,
    approved_item: ReleasableItem,
    released_quantities: tuple[GoodsQuantity, ...],
    units: UnitTable,
) -> Iterable[Finding]:
    """Yield a finding (GW415) for each quantity of `item` that is not left, or that cannot be compared.

    `approved_item` is the item in the parent declaration. Other child declarations have taken the
    `released_quantities` of it. Quantities are converted by `units`.
    """
    name = f"item {item.number} of case {parent_number}"
    declared_by_measure = {quantity.measure: quantity for quantity in item.quantities}
    if {quantity.measure for quantity in approved_item.quantities} != set(declared_by_measure):
        detail = f"{name} leaves with the same measures as it was declared with"
        yield Finding(ITEM_ALREADY_RELEASED, detail, item.pointer)
        return
    if not approved_item.quantities and released_quantities:
        yield Finding(ITEM_ALREADY_RELEASED, f"{name} has left", item.pointer)
    for declared in approved_item.quantities:
        leaves = declared_by_measure[declared.measure]
        amounts = [
            leaves,
            *(
                released_quantity
                for released_quantity in released_quantities
                if released_quantity.measure == declared.measure
            ),
        ]
        converted = [_convert_quantity(amount, declared.unit, units) for amount in amounts]
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


def _convert_quantity(amount: GoodsQuantity, unit: str, units: UnitTable) -> Fraction | None:
    number = Fraction(amount.quantity)
    return number if amount.unit == unit else units.convert_quantity(number, amount.unit, unit)
