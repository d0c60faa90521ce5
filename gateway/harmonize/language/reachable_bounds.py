"""Finds checks that no values can satisfy: the ranges and numbers of their fields do not reach the bound."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import Final

from gateway.harmonize.language.document_checks import DocumentCheck
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.number_ranges import (
    INFINITE,
    NumberRange,
    can_satisfy,
    format_range,
    multiply_ranges,
    sum_range,
)
from gateway.harmonize.types import CommonMeaning, UniqueField

__all__ = ["NEVER_HOLDS", "describe_unreachable_bound"]

#: What is told of such a check.
NEVER_HOLDS: Final = "by the ranges and numbers of its fields the check never holds"

_MOST_ITEMS: Final = 999
_NUMBERS: Final = ("decimal", "integer")


def describe_unreachable_bound(check: DocumentCheck, document: DocumentMapping) -> str | None:
    """Return why a sum or a comparison with a constant never holds, whatever is given; else None.

    A value that may be in several units is not judged, since its number says nothing without them.
    """
    if check.kind not in ("sum", "compare") or not isinstance(check.bound, str):
        return None
    ranges = [_get_range(one) for one in check.factors]
    if any(one is None for one in ranges):
        return None
    reached = reduce(multiply_ranges, [one for one in ranges if one is not None])
    if check.kind == "sum":
        reached = sum_range(reached, _count_most(check, document))
    bound = Decimal(check.bound)
    if can_satisfy(reached, check.operator, (bound, bound), check.within):
        return None
    return f"{format_range(reached)} is compared with {check.bound}"


def _get_range(source: UniqueField | CommonMeaning) -> NumberRange | None:
    """Return the range of an asked number in one unit; None for any other value."""
    if not isinstance(source, UniqueField) or source.shape.kind not in _NUMBERS or len(source.units) > 1:
        return None
    low, high = source.shape.low, source.shape.high
    return (
        -INFINITE if low is None else Decimal(low),
        INFINITE if high is None else Decimal(high),
    )


def _count_most(check: DocumentCheck, document: DocumentMapping) -> int:
    """Return how many values the sum of a check has at most."""
    most = 1
    for source in check.factors[:1]:
        assert isinstance(source, UniqueField)
        inside = {level.partition(":")[2] for level in check.around}
        parts = source.name.split(".")
        for size in range(1, len(parts) + 1):
            name = ".".join(parts[:size])
            most *= 1 if name in inside else document.ask_names[name].repeat[1]
        most *= _MOST_ITEMS if source.home == "item" and "item" not in check.around else 1
    return most
