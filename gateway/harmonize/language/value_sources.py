"""The sources of a value: a constant, a hub value, a field, a count, a serial number, a product, a sum.

Each source defines the form of its values, whether it always has a value, which fields and
meanings it forwards and reads, whose attribute its value carries, and its loss: ``exact`` (the
value can be read back), ``residue`` (the value can be read back together with other forwarded
values) or ``lossy``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from gateway.errors import RULE_BROKEN, SOURCES_DISAGREE, VALUE_DOES_NOT_FIT, Problem
from gateway.harmonize.language.data_dictionary import CommonMeaning, MeaningGroup
from gateway.harmonize.language.unique_fields import Field, UniqueField, find_stated_unit
from gateway.harmonize.language.unit_table import UnitTable, format_decimal, parse_fraction, round_fraction
from gateway.harmonize.language.value_shapes import DECIMAL, ValueShape
from gateway.harmonize.split import FoundValue, Leaves, Scope
from gateway.wire import SourceMark

MAX_FACTORS: Final = 10
ROUNDINGS: Final = ("half_up", "half_even")


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

    `stated_unit` is the unit in which the value was given, with the leaves that state it; `converted_unit`
    is the unit after a conversion.
    """

    text: str
    leaves: Leaves
    origin: str
    transforms: tuple[str, ...] = ()
    found_value: FoundValue | None = None
    stated_unit: tuple[str, Leaves] | None = None
    converted_unit: str | None = None


class SourceExpression:
    """A source of a target's value.

    The defaults of this class describe a source that always has a value and reads nothing; a subclass
    overrides those that do not apply to it.
    """

    __slots__ = ()

    @property
    def loss(self) -> str:
        """Return the loss: ``exact``, ``residue`` or ``lossy``."""
        return "exact"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the values in `scope`; raise `ConversionError` where they cannot be computed."""
        raise NotImplementedError

    def infer_shape(self) -> ValueShape:
        """Return the form of the values."""
        raise NotImplementedError

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings whose values reach the target."""
        yield from ()

    def list_key_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings that only select the value and are not forwarded."""
        yield from ()

    def list_read_sources(self) -> Iterator[Field]:
        """Yield every field and meaning that can change the outcome, the forwarded ones first."""
        yield from self.list_forwarded_sources()
        yield from self.list_key_sources()

    def find_attribute_carrier(self) -> Field | None:
        """Return the field or meaning whose attribute (unit, currency, content id) the value carries."""
        return None

    def invert_value(self, text: str) -> str | None:
        """Return the value that was written as `text`; None where it cannot be read back."""
        return text


class _SourceOfOneField(SourceExpression):
    """A source that forwards the values of one field or meaning, its `source`."""

    __slots__ = ()
    source: Field

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the field or meaning."""
        yield self.source


def format_plain_decimal(number: Decimal) -> str:
    """Return a number without exponent and without trailing zeros of the fraction."""
    text = f"{number:f}" if number else "0"  # never "-0", the product of zero and a negative number
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


_MAX_QUOTED_CHARACTERS: Final = 60
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
HUB_VALUES: Final = {
    "application_number": (ValueShape("text", max_length=35), True),
    "function": (ValueShape("text", max_length=2), True),
    "case_number": (ValueShape("text", max_length=35), False),
    "cancel_reason": (ValueShape("text", max_length=500), False),
}


@dataclass(frozen=True, slots=True)
class Constant(SourceExpression):
    """The same text in every request."""

    text: str

    def evaluate_values(self, _scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the text."""
        return [EvaluatedValue(self.text, (), "const")]

    def invert_value(self, text: str) -> str | None:
        """Return the constant, None for any other text."""
        return text if text == self.text else None

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("text", codes=(self.text,), list_name="const")


@dataclass(frozen=True, slots=True)
class HubValue(SourceExpression):
    """A value that the hub supplies, such as its application number or the function of the message."""

    name: str

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the hub's value, nothing where it has none."""
        text = scope.hub_values.get(self.name, "")
        return [EvaluatedValue(text, (), f"hub:{self.name}")] if text else []

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return HUB_VALUES[self.name][0]

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return HUB_VALUES[self.name][1]


@dataclass(frozen=True, slots=True)
class FieldValue(_SourceOfOneField):
    """The declared value of a common meaning, or the answer to an asked field, unchanged."""

    source: Field
    mandatory: bool

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the declared values."""
        values, origin = scope.find_local_values(self.source, rule), self.source.key
        if self.source.attribute == "unitCode":
            return [
                EvaluatedValue(
                    value.text, value.leaves, origin, (), value, self._find_stated_unit(value, scope)
                )
                for value in values
            ]
        if len(values) == 1:  # the usual case
            (value,) = values
            return [tuple.__new__(EvaluatedValue, (value.text, value.leaves, origin, (), value, None, None))]
        return [EvaluatedValue(value.text, value.leaves, origin, (), value) for value in values]

    def _find_stated_unit(self, value: FoundValue, scope: Scope) -> tuple[str, Leaves] | None:
        """Return the unit in which a value is given, with the leaf that states it."""
        unit = find_stated_unit(self.source, value.element)
        leaf = scope.submission_index.find_attribute_leaf(value.element, "unitCode")
        return None if unit is None else (unit, () if leaf is None else (leaf,))

    def find_attribute_carrier(self) -> Field | None:
        """Return the field or meaning itself."""
        return self.source

    def infer_shape(self) -> ValueShape:
        """Return the form of the values."""
        return self.source.shape

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory


@dataclass(frozen=True, slots=True)
class ItemCount(SourceExpression):
    """The number of goods items that the application concerns."""

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the number."""
        return [EvaluatedValue(str(len(scope.enter_items())), (), "count:items")]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total_digits=3, fraction_digits=0, min_value="1")


@dataclass(frozen=True, slots=True)
class SerialNumber(_SourceOfOneField):
    """An identifier of a prefix and the item's own number, so that amendments do not change it."""

    prefix: str
    width: int
    source: CommonMeaning

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the identifier."""
        values = scope.find_local_values(self.source, rule)
        text = (scope.item or "0").rjust(self.width, "0")
        leaves = tuple(leaf for value in values for leaf in value.leaves)
        return [EvaluatedValue(self.prefix + text, leaves, self.source.key, ("serial",))]

    def invert_value(self, text: str) -> str | None:
        """Return the item's own number, None where `text` is no identifier of this series."""
        number = text.removeprefix(self.prefix)
        if not text.startswith(self.prefix) or not _NUMBER.fullmatch(number) or len(number) < self.width:
            return None
        return number.lstrip("0") or "0"

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("text", pattern=f"{self.prefix}[0-9]{{{self.width},5}}")


@dataclass(frozen=True, slots=True)
class GroupPosition(SourceExpression):
    """The position of the current occurrence of a group, from 1."""

    group: str

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the position."""
        return [EvaluatedValue(str(scope.occurrence_positions[self.group]), (), f"index:{self.group}")]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total_digits=5, fraction_digits=0, min_value="1")


@dataclass(frozen=True, slots=True)
class Product(SourceExpression):
    """The exact product of numbers, rounded as declared; the factors are forwarded beside it."""

    factors: tuple[FieldValue, ...]
    decimals: int
    rounding: str
    total: int
    loss = "residue"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the product when every factor has one value."""
        factor_values = [factor.evaluate_values(scope, rule) for factor in self.factors]
        if any(len(part) != 1 or not DECIMAL.fullmatch(part[0].text.strip()) for part in factor_values):
            return []
        product = math.prod((parse_fraction(part[0].text) for part in factor_values), start=Fraction(1))
        rounded = round_fraction(product, self.decimals, self.rounding) or Fraction(0)
        leaves = tuple(leaf for part in factor_values for leaf in part[0].leaves)
        origin = " × ".join(part[0].origin for part in factor_values)
        text = format_decimal(rounded) or "0"
        note = f"multiply (rounded {self.rounding} to {self.decimals})" if rounded != product else "multiply"
        # The last factor carries the attributes: a price has the currency of the amount.
        last = factor_values[-1][0]
        return [EvaluatedValue(text, leaves, origin, (note,), last.found_value, last.stated_unit)]

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the factors."""
        for factor in self.factors:
            yield factor.source

    def find_attribute_carrier(self) -> Field | None:
        """Return the last factor."""
        return self.factors[-1].source

    def invert_value(self, _text: str) -> str | None:
        """Return None: the factors cannot be derived from their product."""
        return None

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("decimal", total_digits=self.total, fraction_digits=self.decimals)

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return all(factor.is_always_present() for factor in self.factors)


@dataclass(frozen=True, slots=True)
class Sum(_SourceOfOneField):
    """The exact sum of a number over all goods items in scope, or over all occurrences of a group.

    The sum carries the unit or currency of its values. Quantities in several units of one dimension
    are converted exactly to that of the first value in which the sum is a finite decimal; it is
    never rounded.
    """

    source: Field
    over: str
    decimals: int
    mandatory: bool
    units: UnitTable
    loss = "lossy"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the sum, nothing where there is no value; raise `ConversionError` for different units."""
        values = [
            value
            for inner in scope.list_value_scopes(self.source)
            for value in inner.find_local_values(self.source, rule)
        ]
        if not values:
            return []
        leaves = tuple(leaf for value in values for leaf in value.leaves)
        quantities: list[tuple[Fraction, str | None]] = []
        for value in values:
            text = value.text.strip()
            if not DECIMAL.fullmatch(text):
                raise ConversionError(RULE_BROKEN, f"{text[:60]!r} is not a number", (*value.leaves, *leaves))
            quantities.append((parse_fraction(text), find_stated_unit(self.source, value.element)))
            first_unit, unit = quantities[0][1], quantities[-1][1]
            if self._convert_quantity(Fraction(1), unit, first_unit) is None:
                detail = f"values of different units cannot be added: {first_unit}, {unit}"
                raise ConversionError(RULE_BROKEN, detail, (*value.leaves, *leaves))
            if self.source.attribute is not None and scope.trace.keeps_fates:
                leaf = scope.submission_index.find_attribute_leaf(value.element, self.source.attribute)
                scope.trace.record_fate(() if leaf is None else (leaf,), "consumed", rule)
        units = dict.fromkeys(unit for _, unit in quantities)
        for target_unit in units:
            total = format_decimal(self.add_quantities(quantities, target_unit))
            if total is not None:
                is_converted = len(units) > 1
                note = f"sum of {len(values)} over {self.over}" + (
                    f", in {target_unit}" if is_converted else ""
                )
                measured = (target_unit, ()) if target_unit and self.source.attribute == "unitCode" else None
                unit = target_unit if is_converted else None
                return [EvaluatedValue(total, leaves, self.source.key, (note,), values[0], measured, unit)]
        detail = f"the sum of {self.source.name} is a finite decimal in none of its units"
        raise ConversionError(VALUE_DOES_NOT_FIT, detail, leaves)

    def add_quantities(
        self, quantities: Iterable[tuple[Fraction, str | None]], target_unit: str | None
    ) -> Fraction:
        """Return the exact sum of quantities in a unit; one that cannot be converted counts as it is."""
        total = Fraction(0)
        for number, unit in quantities:
            converted = self._convert_quantity(number, unit, target_unit)
            total += number if converted is None else converted
        return total

    def _convert_quantity(
        self, number: Fraction, unit: str | None, target_unit: str | None
    ) -> Fraction | None:
        """Return `number` in `target_unit`, None if it cannot be converted from `unit`."""
        if unit == target_unit:
            return number
        if unit is None or target_unit is None or self.source.attribute != "unitCode":
            return None
        return self.units.convert_quantity(number, unit, target_unit)

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("decimal", fraction_digits=self.decimals)

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory

    def invert_value(self, _text: str) -> str | None:
        """Return None: the summands cannot be derived from their sum."""
        return None

    def find_attribute_carrier(self) -> Field | None:
        """Return the field or meaning whose unit or currency the sum has."""
        return self.source


@dataclass(frozen=True, slots=True)
class GroupCount(SourceExpression):
    """The number of occurrences of an asked group, or a group of the dictionary, in scope and below."""

    group: UniqueField | MeaningGroup

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the number."""
        return [
            EvaluatedValue(str(len(scope.list_occurrence_scopes(self.group))), (), f"count:{self.group.name}")
        ]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total_digits=7, fraction_digits=0, min_value="0")

    def list_key_sources(self) -> Iterator[Field]:
        """Yield the asked group; a group of the dictionary is named by `group` alone."""
        if isinstance(self.group, UniqueField):
            yield self.group


@dataclass(frozen=True, slots=True)
class UniformItemValue(_SourceOfOneField):
    """The one value that all goods items of the application have; different values are rejected (GW505).

    It reads back as the value of each item, so nothing is lost.
    """

    source: Field

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the value, nothing where no item has one; raise `ConversionError` where two items differ."""
        values = [
            value for inner in scope.enter_items() for value in inner.find_local_values(self.source, rule)[:1]
        ]
        if not values:
            return []
        leaves = tuple(leaf for value in values for leaf in value.leaves)
        for value in values:
            if value.text != values[0].text:
                detail = (
                    f"all items have one {self.source.name} here, "
                    f"not {values[0].text[:_MAX_QUOTED_CHARACTERS]!r} "
                    f"and {value.text[:_MAX_QUOTED_CHARACTERS]!r}"
                )
                raise ConversionError(SOURCES_DISAGREE, detail, (*value.leaves, *leaves))
        note = (f"alike in {len(values)} items",) if len(values) > 1 else ()
        return [EvaluatedValue(values[0].text, leaves, self.source.key, note, values[0])]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return self.source.shape
