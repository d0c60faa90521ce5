"""Finds checks that no values can satisfy: the ranges and numbers of their fields do not reach the bound."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import Final

from gateway.harmonize.language import EXACT, DocumentCheck, DocumentMapping, format_plain_decimal
from gateway.harmonize.types import CommonMeaning, UniqueField

__all__ = ["describe_unreachable_bound"]

_INFINITE: Final = Decimal("Infinity")
_MOST_ITEMS: Final = 999
_NUMBERS: Final = ("decimal", "integer")
#: The lowest and the highest value.
_Bounds = tuple[Decimal, Decimal]


def describe_unreachable_bound(check: DocumentCheck, document: DocumentMapping) -> str | None:
    """Return why a sum or a comparison with a constant never holds, whatever is given; else None.

    A value that may be in several units is not judged, since its number says nothing without them.
    """
    if check.kind not in ("sum", "compare") or not isinstance(check.bound, str):
        return None
    ranges = [_get_range(one) for one in check.factors]
    if any(one is None for one in ranges):
        return None
    low, high = reduce(_multiply_ranges, [one for one in ranges if one is not None])
    if check.kind == "sum":
        most = Decimal(_count_most(check, document))
        low, high = min(low, _multiply(low, most)), max(high, _multiply(high, most))
    if _can_hold((low, high), check.operator, Decimal(check.bound), check.within):
        return None
    return f"{_format_range(low, high)} is compared with {check.bound}"


def _get_range(source: UniqueField | CommonMeaning) -> _Bounds | None:
    """Return the range of an asked number in one unit; None for any other value."""
    if not isinstance(source, UniqueField) or source.shape.kind not in _NUMBERS or len(source.units) > 1:
        return None
    low, high = source.shape.low, source.shape.high
    return (
        -_INFINITE if low is None else Decimal(low),
        _INFINITE if high is None else Decimal(high),
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


def _multiply_ranges(first: _Bounds, second: _Bounds) -> _Bounds:
    products = [_multiply(a, b) for a in first for b in second]
    return min(products), max(products)


def _multiply(first: Decimal, second: Decimal) -> Decimal:
    return EXACT.multiply(first, second) if first and second else Decimal(0)


def _can_hold(left: _Bounds, operator: str, right: Decimal, within: Decimal) -> bool:
    return {
        "at_most": left[0] <= right,
        "less_than": left[0] < right,
        "at_least": left[1] >= right,
        "more_than": left[1] > right,
        "equals": left[0] <= right + within and left[1] >= right - within,
    }[operator]


def _format_range(low: Decimal, high: Decimal) -> str:
    first, last = (format_plain_decimal(one) if one.is_finite() else "any" for one in (low, high))
    return first if first == last else f"{first} to {last}"
