"""The value that a source expression evaluates to, and the plain form of decimal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Final, NamedTuple, Protocol

from gateway.errors import Problem
from gateway.harmonize.submission import FoundValue, Leaves, Scope
from gateway.harmonize.types import CommonMeaning, SourceMark, UniqueField, ValueShape

__all__ = [
    "EXACT",
    "MOST_FACTORS",
    "ROUNDINGS",
    "ConversionError",
    "EvaluatedValue",
    "SourceExpression",
    "format_plain_decimal",
]

# A number has 80 digits at most (value_shapes.DECIMAL), so a product of ten of them is exact.
EXACT: Final = Context(prec=1000)
MOST_FACTORS: Final = 10
ROUNDINGS: Final = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}


class ConversionError(Exception):
    """A value cannot be computed or converted: the problem, the reason, and the leaves of its source.

    An error report points to the first leaf.
    """

    def __init__(self, problem: Problem, detail: str, leaves: Leaves = ()) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.leaves = leaves


class EvaluatedValue(NamedTuple):
    """One evaluated value: its text, the leaves it came from, and the conversions applied to it.

    `measured` is the unit in which the value was given, with the leaves that state it; `unit`
    is the unit after a conversion.
    """

    text: str
    leaves: Leaves
    origin: str
    transforms: tuple[str, ...] = ()
    found: FoundValue | None = None
    measured: tuple[str, Leaves] | None = None
    unit: str | None = None


class SourceExpression(Protocol):
    """The AST node that gives a target its value."""

    @property
    def loss(self) -> str:
        """Return what is lost: ``exact``, ``residue`` or ``lossy``."""

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the values in `scope`; raise `ConversionError` where they cannot be computed."""

    def infer_shape(self) -> ValueShape:
        """Return the form of the values."""

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the fields and meanings whose values reach the target."""

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield every field and meaning that can change the outcome, the forwarded ones first."""

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning whose attribute (unit, currency, content id) the value carries."""

    def invert_value(self, text: str) -> str | None:
        """Return the value that was written as `text`; None where it cannot be read back."""


def format_plain_decimal(number: Decimal) -> str:
    """Return a number without exponent and without trailing zeros of the fraction."""
    text = f"{number:f}" if number else "0"  # never "-0", the product of zero and a negative number
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
