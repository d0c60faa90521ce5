"""Aggregate sources: an exact sum, the count of a group, and the one value that all items have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from lxml import etree

from gateway.errors import RULE_BROKEN, SOURCES_DISAGREE, VALUE_DOES_NOT_FIT
from gateway.harmonize.language.evaluated_value import (
    EXACT,
    ConversionError,
    EvaluatedValue,
    format_plain_decimal,
)
from gateway.harmonize.submission import Scope
from gateway.harmonize.types import (
    DECIMAL,
    CommonMeaning,
    MeaningGroup,
    SourceMark,
    UniqueField,
    UnitTable,
    ValueShape,
    format_decimal,
)

__all__ = [
    "GroupCount",
    "Sum",
    "UniformItemValue",
]


@dataclass(frozen=True, slots=True)
class Sum:
    """The exact sum of a number over all goods items in scope, or over all occurrences of a group.

    The sum carries the unit or currency of its values. Quantities in several units of one dimension
    are converted exactly to that of the first value in which the sum is a finite decimal; it is
    never rounded.
    """

    source: UniqueField | CommonMeaning
    over: str
    decimals: int
    mandatory: bool
    units: UnitTable
    loss = "lossy"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the sum, nothing where there is no value; raise `ConversionError` for different units."""
        found = [
            one
            for inner in scope.list_value_scopes(self.source)
            for one in inner.find_local_values(self.source, rule)
        ]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        total, units = Decimal(0), []
        for one in found:
            text = one.text.strip()
            if not DECIMAL.fullmatch(text):
                raise ConversionError(RULE_BROKEN, f"{text[:60]!r} is not a number", (*one.leaves, *leaves))
            total = EXACT.add(total, Decimal(text))
            units.append(self.find_stated_unit(one.element))
            if self._convert(Fraction(1), units[-1], units[0]) is None:
                detail = f"values of different units cannot be added: {units[0]}, {units[-1]}"
                raise ConversionError(RULE_BROKEN, detail, (*one.leaves, *leaves))
            if self.source.attribute is not None and scope.trace.keeps_fates:
                leaf = scope.facts.find_attribute_leaf(one.element, self.source.attribute)
                scope.trace.record_fate(() if leaf is None else (leaf,), "consumed", rule)
        kind = "ask" if isinstance(self.source, UniqueField) else "common"
        note = f"sum of {len(found)} over {self.over}"
        unit = None if self.source.attribute != "unitCode" else units[0]
        made = EvaluatedValue(
            *(format_plain_decimal(total), leaves, f"{kind}:{self.source.name}", (note,), found[0]),
            None if not unit else (unit, ()),
        )
        if len(set(units)) == 1:
            return [made]
        numbers = [Fraction(Decimal(one.text.strip())) for one in found]
        return [self._add_converted(made, list(zip(numbers, units, strict=True)))]

    def _add_converted(
        self, made: EvaluatedValue, added: Sequence[tuple[Fraction, str | None]]
    ) -> EvaluatedValue:
        """Return the sum of quantities in several units of one dimension, exactly."""
        for to in dict.fromkeys(unit for _, unit in added if unit is not None):
            text = format_decimal(self.add_quantities(added, to))
            if text is not None:
                note = f"{made.transforms[0]}, in {to}"
                return made._replace(text=text, transforms=(note,), measured=(to, ()), unit=to)
        detail = f"the sum of {self.source.name} is a finite decimal in none of its units"
        raise ConversionError(VALUE_DOES_NOT_FIT, detail, made.leaves)

    def add_quantities(self, added: Iterable[tuple[Fraction, str | None]], to: str) -> Fraction:
        """Return the exact sum of quantities in a unit; one that cannot be converted counts as it is."""
        total = Fraction(0)
        for number, unit in added:
            converted = self._convert(number, unit, to)
            total += number if converted is None else converted
        return total

    def _convert(self, number: Fraction, unit: str | None, to: str | None) -> Fraction | None:
        if unit == to:
            return number
        if unit is None or to is None or self.source.attribute != "unitCode":
            return None
        return self.units.convert_quantity(number, unit, to)

    def find_stated_unit(self, element: etree._Element) -> str | None:
        """Return the unit or currency of a value; the fixed unit where none is written."""
        if self.source.attribute is None:
            return None
        default = self.source.fixed_unit if isinstance(self.source, UniqueField) else None
        stated = element.get(self.source.attribute)
        return default if stated is None else str(stated)

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("decimal", fraction=self.decimals)

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def invert_value(self, _text: str) -> str | None:
        """Return None: the summands cannot be derived from their sum."""
        return None

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning whose unit or currency the sum has."""
        return self.source


@dataclass(frozen=True, slots=True)
class GroupCount:
    """The number of occurrences of an asked group, or a group of the dictionary, in scope and below."""

    group: UniqueField | MeaningGroup
    loss = "exact"

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the number."""
        return [
            EvaluatedValue(str(len(scope.list_occurrence_scopes(self.group))), (), f"count:{self.group.name}")
        ]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total=7, fraction=0, low="0")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield nothing: only the number of occurrences reaches the target."""
        yield from ()

    def invert_value(self, text: str) -> str | None:
        """Return the number."""
        return text

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the asked group; a group of the dictionary is named by `group` alone."""
        if isinstance(self.group, UniqueField):
            yield self.group

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return None: a count has no unit."""
        return None


_SHOWN = 60


@dataclass(frozen=True, slots=True)
class UniformItemValue:
    """The one value that all goods items of the application have; different values are rejected (GW505).

    It reads back as the value of each item, so nothing is lost.
    """

    source: UniqueField | CommonMeaning
    loss = "exact"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the value, nothing where no item has one; raise `ConversionError` where two items differ."""
        found = [
            one for inner in scope.enter_items() for one in inner.find_local_values(self.source, rule)[:1]
        ]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        for one in found:
            if one.text != found[0].text:
                detail = (
                    f"all items have one {self.source.name} here, not {found[0].text[:_SHOWN]!r} "
                    f"and {one.text[:_SHOWN]!r}"
                )
                raise ConversionError(SOURCES_DISAGREE, detail, (*one.leaves, *leaves))
        kind = "ask" if isinstance(self.source, UniqueField) else "common"
        note = (f"alike in {len(found)} items",) if len(found) > 1 else ()
        return [EvaluatedValue(found[0].text, leaves, f"{kind}:{self.source.name}", note, found[0])]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return self.source.shape

    def is_always_present(self) -> bool:
        """Return True: each item must have the value."""
        return True

    def invert_value(self, text: str) -> str | None:
        """Return the value that each of the items has."""
        return text

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return None: a text or a code has no unit."""
        return None
