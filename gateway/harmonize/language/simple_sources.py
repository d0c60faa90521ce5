"""The simple sources: constant, hub value, field value, item count, serial number, position, product.

Each source defines the form of its values, whether it always has one, which fields and
meanings it forwards and reads, whose attribute its value carries, and what is lost:
``exact`` (can be read back), ``residue`` (can be read back together with other forwarded
values) or ``lossy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from gateway.harmonize.language.evaluated_value import EXACT, ROUNDINGS, EvaluatedValue, format_plain_decimal
from gateway.harmonize.submission import FoundValue, Leaves, Scope
from gateway.harmonize.types import DECIMAL, CommonMeaning, SourceMark, UniqueField, ValueShape

__all__ = [
    "HUB_VALUES",
    "Constant",
    "FieldValue",
    "GroupPosition",
    "HubValue",
    "ItemCount",
    "Product",
    "SerialNumber",
]

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
HUB_VALUES: Final = {
    "application_number": (ValueShape("text", longest=35), True),
    "function": (ValueShape("text", longest=2), True),
    "case_number": (ValueShape("text", longest=35), False),
    "cancel_reason": (ValueShape("text", longest=500), False),
}


class _SourceDefaults:
    """The methods of a source that takes nothing from the submission."""

    __slots__ = ()

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the fields and meanings whose values reach the target."""
        yield from ()

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield every field and meaning that can change the outcome, the forwarded ones first."""
        yield from self.list_forwarded_sources()

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning whose attribute (unit, currency, content id) the value carries."""
        return None

    def invert_value(self, text: str) -> str | None:
        """Return the value that was written as `text`; None where it cannot be read back."""
        return text


@dataclass(frozen=True, slots=True)
class Constant(_SourceDefaults):
    """The same text in every request."""

    text: str
    loss = "exact"
    origin = "const"

    def evaluate_values(self, _scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the text."""
        return [EvaluatedValue(self.text, (), self.origin)]

    def invert_value(self, text: str) -> str | None:
        """Return the constant, None for any other text."""
        return text if text == self.text else None

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("text", codes=(self.text,), list_name="const")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class HubValue(_SourceDefaults):
    """A value that the hub supplies, such as its application number or the function of the message."""

    name: str
    loss = "exact"

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the hub's value, nothing where it has none."""
        text = scope.hub.get(self.name, "")
        return [EvaluatedValue(text, (), self.origin)] if text else []

    @property
    def origin(self) -> str:
        """Return how the origin of the value is told."""
        return f"hub:{self.name}"

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return HUB_VALUES[self.name][0]

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return HUB_VALUES[self.name][1]


@dataclass(frozen=True, slots=True)
class FieldValue(_SourceDefaults):
    """The declared value of a common meaning, or the answer to an asked field, unchanged."""

    source: UniqueField | CommonMeaning
    mandatory: bool
    loss = "exact"
    origin: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        kind = "ask" if isinstance(self.source, UniqueField) else "common"
        object.__setattr__(self, "origin", f"{kind}:{self.source.name}")

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the declared values."""
        found, origin = scope.find_local_values(self.source, rule), self.origin
        if self.source.attribute == "unitCode":
            return [
                EvaluatedValue(one.text, one.leaves, origin, (), one, self._find_stated_unit(one, scope))
                for one in found
            ]
        if len(found) == 1:  # the usual case
            (one,) = found
            return [tuple.__new__(EvaluatedValue, (one.text, one.leaves, origin, (), one, None, None))]
        return [EvaluatedValue(one.text, one.leaves, origin, (), one) for one in found]

    def _find_stated_unit(self, found: FoundValue, scope: Scope) -> tuple[str, Leaves] | None:
        """Return the unit in which a value is given, with the leaf that states it."""
        unit = found.element.get("unitCode")
        if unit is None:
            fixed = self.source.fixed_unit if isinstance(self.source, UniqueField) else None
            return None if fixed is None else (fixed, ())
        leaf = scope.facts.find_attribute_leaf(found.element, "unitCode")
        return str(unit), () if leaf is None else (leaf,)

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the one field or meaning."""
        yield self.source

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning itself."""
        return self.source

    def infer_shape(self) -> ValueShape:
        """Return the form of the values."""
        return self.source.shape

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory


@dataclass(frozen=True, slots=True)
class ItemCount(_SourceDefaults):
    """The number of goods items that the application concerns."""

    loss = "exact"

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the number."""
        return [EvaluatedValue(str(len(scope.enter_items())), (), "count:items")]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total=3, fraction=0, low="1")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class SerialNumber(_SourceDefaults):
    """An identifier of a prefix and the item's own number, so that amendments do not change it."""

    prefix: str
    width: int
    source: CommonMeaning
    loss = "exact"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the identifier."""
        found = scope.find_local_values(self.source, rule)
        text = (scope.item or "0").rjust(self.width, "0")
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        return [EvaluatedValue(self.prefix + text, leaves, f"common:{self.source.name}", ("serial",))]

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the meaning that numbers the items."""
        yield self.source

    def invert_value(self, text: str) -> str | None:
        """Return the item's own number, None where `text` is no identifier of this series."""
        number = text.removeprefix(self.prefix)
        if not text.startswith(self.prefix) or not _NUMBER.fullmatch(number) or len(number) < self.width:
            return None
        return number.lstrip("0") or "0"

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("text", pattern=f"{self.prefix}[0-9]{{{self.width},5}}")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class GroupPosition(_SourceDefaults):
    """The position of the current occurrence of a group, from 1."""

    group: str
    loss = "exact"

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the position."""
        return [EvaluatedValue(str(scope.index[self.group]), (), f"index:{self.group}")]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total=5, fraction=0, low="1")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Product(_SourceDefaults):
    """The exact product of numbers, rounded as declared; the factors are forwarded beside it."""

    factors: tuple[FieldValue, ...]
    decimals: int
    rounding: str
    total: int
    loss = "residue"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the product when every factor has one value."""
        parts = [factor.evaluate_values(scope, rule) for factor in self.factors]
        if any(len(part) != 1 or not DECIMAL.fullmatch(part[0].text.strip()) for part in parts):
            return []
        product = Decimal(1)
        for part in parts:
            product = EXACT.multiply(product, Decimal(part[0].text.strip()))
        step = Decimal(1).scaleb(-self.decimals)
        rounded = product.quantize(step, rounding=ROUNDINGS[self.rounding], context=EXACT)
        leaves = tuple(leaf for part in parts for leaf in part[0].leaves)
        origin = " × ".join(part[0].origin for part in parts)
        text = format_plain_decimal(rounded)
        note = f"multiply (rounded {self.rounding} to {self.decimals})" if rounded != product else "multiply"
        # The last factor carries the attributes: a price has the currency of the amount.
        last = parts[-1][0]
        return [EvaluatedValue(text, leaves, origin, (note,), last.found, last.measured)]

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the factors."""
        for factor in self.factors:
            yield factor.source

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the last factor."""
        return self.factors[-1].source

    def invert_value(self, _text: str) -> str | None:
        """Return None: the factors cannot be derived from their product."""
        return None

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("decimal", total=self.total, fraction=self.decimals)

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return all(factor.is_always_present() for factor in self.factors)
