"""Finds checks of an import that decide nothing: the bounds of their fields let them always or never hold."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from typing import Any, Final

from gateway.harmonize.importer.unique_fields import ImportedField
from gateway.harmonize.language import (
    INFINITE,
    OPERATORS,
    NumberRange,
    can_satisfy,
    format_range,
    multiply_ranges,
    sum_range,
)
from gateway.harmonize.types import DECIMAL

__all__ = ["describe_idle_check"]

_MOST_ITEMS: Final = 999


def describe_idle_check(check: Mapping[str, Any], fields: Mapping[str, ImportedField]) -> str:
    """Return why a check always or never holds, empty where it may do either.

    `fields` are the asked fields by name.
    """
    for kind in ("one_of", "exactly_one", "all_or_none"):
        if kind in check:
            return _describe_given_fields(kind, [fields[name] for name in check[kind]])
    compared = check.get("compare", check)
    operator = next((one for one in OPERATORS if one in compared), "")
    if not operator:
        return ""
    left = _bound_value(check["compare"]["left"], fields) if "compare" in check else _bound_sum(check, fields)
    right = _bound_value(compared[operator], fields)
    if left is None or right is None or can_satisfy(left, operator, right, Decimal(check.get("within", "0"))):
        return ""
    ranges = f"{format_range(left)} is compared with {format_range(right)}"
    return f"by the ranges of the fields it never holds: {ranges}"


def _describe_given_fields(kind: str, named: list[ImportedField]) -> str:
    """Return why a rule on given fields decides nothing."""
    always = [one for one in named if _is_mandatory(one)]
    if kind == "one_of" and always:
        return f"{always[0].name} is mandatory, so it always holds"
    if kind == "exactly_one" and always:
        return f"{always[0].name} is mandatory, so no other could be given"
    if kind == "all_or_none" and len(always) == len(named):
        return "all are mandatory, so it always holds"
    return ""


def _is_mandatory(one: ImportedField) -> bool:
    """Return whether a field is given wherever the rule is applied: in each occurrence of its group."""
    return one.source.need == "M" and not one.source.condition


def _bound_value(name: str, fields: Mapping[str, ImportedField]) -> NumberRange | None:
    """Return the bounds of a number or of an asked number; None for any other value."""
    field = fields.get(name)
    if field is None:
        number = Decimal(name) if DECIMAL.fullmatch(name) else None
        return None if number is None else (number, number)
    if field.source.type not in ("quantity", "measure", "amount"):
        return None
    if field.source.bounds is not None:
        return Decimal(field.source.bounds[0]), Decimal(field.source.bounds[1])
    return (-INFINITE if field.source.type == "measure" else Decimal(0)), INFINITE


def _bound_sum(check: Mapping[str, Any], fields: Mapping[str, ImportedField]) -> NumberRange | None:
    """Return the bounds of a sum of at least one value."""
    total = check["sum"]
    names = total["multiply"] if "multiply" in total else [total["ask"]]
    found = [_bound_value(name, fields) for name in names]
    if any(one is None for one in found):
        return None
    product = reduce(multiply_ranges, [one for one in found if one is not None])
    return sum_range(product, _count_most(fields[names[0]], check["per"]))


def _count_most(one: ImportedField, per: str) -> int:
    """Return how often a field can occur at most within an occurrence of `per`."""
    most = one.max_occurrences
    for group in reversed(one.groups):
        if group.name == per:
            return most
        most *= group.max_occurrences
    return most * (_MOST_ITEMS if per == "application" and one.home == "item" else 1)
