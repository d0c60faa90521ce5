"""Calculates with ranges of numbers, to tell whether a check can hold for any values of its fields."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.harmonize.language.evaluated_value import EXACT, format_plain_decimal

__all__ = ["INFINITE", "NumberRange", "can_satisfy", "format_range", "multiply_ranges", "sum_range"]

INFINITE: Final = Decimal("Infinity")
#: The lowest and the highest value.
NumberRange = tuple[Decimal, Decimal]


def multiply_ranges(first: NumberRange, second: NumberRange) -> NumberRange:
    """Return the range of the products of two values."""
    products = [_multiply(a, b) for a in first for b in second]
    return min(products), max(products)


def sum_range(one: NumberRange, most: int) -> NumberRange:
    """Return the range of the sums of at least one value and of `most` values."""
    low, high = one
    count = Decimal(most)
    return min(low, _multiply(low, count)), max(high, _multiply(high, count))


def _multiply(first: Decimal, second: Decimal) -> Decimal:
    # Zero times infinity is no number in decimal arithmetic.
    return EXACT.multiply(first, second) if first and second else Decimal(0)


def can_satisfy(left: NumberRange, operator: str, right: NumberRange, within: Decimal) -> bool:
    """Return whether a value of `left` and one of `right` can satisfy a comparison."""
    return {
        "at_most": left[0] <= right[1],
        "less_than": left[0] < right[1],
        "at_least": left[1] >= right[0],
        "more_than": left[1] > right[0],
        "equals": left[0] <= right[1] + within and left[1] >= right[0] - within,
    }[operator]


def format_range(one: NumberRange) -> str:
    """Return a range in words; an end without a bound is ``any``."""
    low, high = one
    if low == high:
        return format_plain_decimal(low)
    return " to ".join(format_plain_decimal(end) if end.is_finite() else "any" for end in (low, high))
