"""Finds checks that no values can satisfy: the ranges and numbers of their fields do not reach the bound."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import Final

from gateway.harmonize.language.document_checks import (
    INFINITE,
    DocumentCheck,
    NumberRange,
    can_satisfy,
    format_range,
    multiply_ranges,
    sum_range,
)
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.unique_fields import Field, UniqueField

#: The finding about a check that never holds.
NEVER_HOLDS: Final = "by the ranges and numbers of its fields the check never holds"

_MAX_ITEMS: Final = 999
_NUMBERS: Final = ("decimal", "integer")


def describe_unreachable_bound(check: DocumentCheck, document: DocumentMapping) -> str | None:
    """Return the reason why no values satisfy a sum or a comparison with a constant; None if some may.

    Return None, too, where a value may have several units: its number alone then says nothing.
    """
    if check.kind not in ("sum", "compare") or not isinstance(check.bound, str):
        return None
    ranges = [_get_range(factor) for factor in check.factors]
    if any(factor_range is None for factor_range in ranges):
        return None
    reached = reduce(multiply_ranges, [factor_range for factor_range in ranges if factor_range is not None])
    if check.kind == "sum":
        reached = sum_range(reached, _count_max_values(check, document))
    bound = Decimal(check.bound)
    if can_satisfy(reached, check.operator, NumberRange(bound, bound), check.tolerance):
        return None
    return f"{format_range(reached)} is compared with {check.bound}"


def _get_range(source: Field) -> NumberRange | None:
    """Return the range of an asked number in one unit; None for any other value."""
    if not isinstance(source, UniqueField) or source.shape.kind not in _NUMBERS or len(source.units) > 1:
        return None
    low, high = source.shape.min_value, source.shape.max_value
    return NumberRange(
        -INFINITE if low is None else Decimal(low),
        INFINITE if high is None else Decimal(high),
    )


def _count_max_values(check: DocumentCheck, document: DocumentMapping) -> int:
    """Return how many values the sum of a check has at most."""
    max_count = 1
    for source in check.factors[:1]:
        assert isinstance(source, UniqueField)
        enclosing_groups = {level.partition(":")[2] for level in check.repetitions}
        parts = source.name.split(".")
        for size in range(1, len(parts) + 1):
            name = ".".join(parts[:size])
            max_count *= 1 if name in enclosing_groups else document.ask_names[name].repeat.high
        max_count *= _MAX_ITEMS if source.home == "item" and "item" not in check.repetitions else 1
    return max_count
