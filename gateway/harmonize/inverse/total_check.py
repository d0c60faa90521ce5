"""Verifies the sums, products and unit conversions of lines by an independent computation."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from gateway.harmonize.language import ConvertedSource, EvaluatedValue, Product, Sum, UnitConversion
from gateway.harmonize.submission import SubmissionIndex
from gateway.harmonize.types import DECIMAL

__all__ = ["is_total"]


def is_total(
    content: ConvertedSource | None, value: EvaluatedValue, put: str, facts: SubmissionIndex
) -> bool:
    """Return whether `put` is the result that `content` gives for the leaves of `value`.

    A product may differ by the declared rounding, a converted quantity by one step of its
    last decimal; a sum must be exact.  True for lines that compute nothing.
    """
    if content is None:
        return True
    converted = next((step for step in content.steps if isinstance(step, UnitConversion)), None)
    texts = [facts.leaves[leaf].value.strip() for leaf in value.leaves]
    source = content.source
    if isinstance(source, Sum | Product) and all(map(DECIMAL.fullmatch, texts)):
        numbers = [Fraction(Decimal(text)) for text in texts]
        made, slack = Fraction(1), Fraction(1, 10**source.decimals)
        for number in numbers:
            made *= number
        if isinstance(source, Sum):
            made, slack = sum(numbers, Fraction(0)), Fraction(0)
        if abs(made - Fraction(Decimal(value.text))) > slack:
            return False
    return converted is None or _is_converted(converted, value, put)


def _is_converted(step: UnitConversion, value: EvaluatedValue, put: str) -> bool:
    unit = value.measured[0] if value.measured is not None else step.origin
    known, wanted = step.units.get(unit or ""), step.units.get(step.to)
    if known is None or wanted is None or not DECIMAL.fullmatch(put):
        return False
    exact = Fraction(Decimal(value.text.strip())) * known.factor / wanted.factor
    return abs(exact - Fraction(Decimal(put))) < Fraction(1, 10**step.decimals)
