"""The sources that name one thing: a constant, a value of the hub, a field, a position, a product.

Each source says what form its values have, whether it always has one, which fields and
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

from gateway.harmonize.given.facts import Found
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.values import EXACT, ROUNDINGS, Value, plain
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark
from gateway.harmonize.terms.shapes import DECIMAL, Shape

__all__ = ["HUB_VALUES", "Const", "Count", "Hub", "Index", "Product", "Serial", "Taken"]

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
HUB_VALUES: Final = {
    "application_number": (Shape("text", longest=35), True),
    "function": (Shape("text", longest=2), True),
    "case_number": (Shape("text", longest=35), False),
    "cancel_reason": (Shape("text", longest=500), False),
}


class _Silent:
    """What a source does that takes nothing from the submission."""

    __slots__ = ()

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the fields and meanings whose values reach the target."""
        yield from ()

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield every field and meaning that can change the outcome, those forwarded first."""
        yield from self.forwards()

    def carries(self) -> Ask | Meaning | None:
        """Return the field or meaning whose attribute (unit, currency, content id) the value carries."""
        return None

    def undo(self, text: str) -> str | None:
        """Return the value that was written as `text`; None where it cannot be read back."""
        return text


@dataclass(frozen=True, slots=True)
class Const(_Silent):
    """The same text in every request."""

    text: str
    loss = "exact"

    def values(self, _scope: Scope, _rule: Mark) -> list[Value]:
        """Return the text."""
        return [Value(self.text, (), "const")]

    def undo(self, text: str) -> str | None:
        """Return the constant, None for any other text."""
        return text if text == self.text else None

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("text", codes=(self.text,), list_name="const")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Hub(_Silent):
    """A value that the hub gives: a number of its own, the function of the message."""

    name: str
    loss = "exact"

    def values(self, scope: Scope, _rule: Mark) -> list[Value]:
        """Return the hub's value when it has one."""
        text = scope.hub.get(self.name, "")
        return [Value(text, (), f"hub:{self.name}")] if text else []

    def shape(self) -> Shape:
        """Return the form of the value."""
        return HUB_VALUES[self.name][0]

    def always(self) -> bool:
        """Return whether there is always a value."""
        return HUB_VALUES[self.name][1]


@dataclass(frozen=True, slots=True)
class Taken(_Silent):
    """What was declared under a common meaning, or answered to an asked field, as it stands."""

    source: Ask | Meaning
    mandatory: bool
    loss = "exact"
    _origin: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        kind = "ask" if isinstance(self.source, Ask) else "common"
        object.__setattr__(self, "_origin", f"{kind}:{self.source.name}")

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the declared values."""
        found, origin = scope.look(self.source, rule), self._origin
        if self.source.attribute == "unitCode":
            return [Value(one.text, one.leaves, origin, (), one, self._measured(one, scope)) for one in found]
        return [Value(one.text, one.leaves, origin, (), one) for one in found]

    def _measured(self, found: Found, scope: Scope) -> tuple[str, tuple[int, ...]] | None:
        """Return the unit that a value is given in, with the leaf that says so."""
        unit = found.element.get("unitCode")
        if unit is None:
            fixed = self.source.fixed_unit if isinstance(self.source, Ask) else None
            return None if fixed is None else (fixed, ())
        leaf = scope.facts.attributes.get((found.element, "unitCode"))
        return str(unit), () if leaf is None else (leaf,)

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the one field or meaning."""
        yield self.source

    def carries(self) -> Ask | Meaning | None:
        """Return the field or meaning itself."""
        return self.source

    def shape(self) -> Shape:
        """Return the form of the values."""
        return self.source.shape

    def always(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory


@dataclass(frozen=True, slots=True)
class Count(_Silent):
    """The number of goods items that the application concerns."""

    loss = "exact"

    def values(self, scope: Scope, _rule: Mark) -> list[Value]:
        """Return the number."""
        return [Value(str(len(scope.into_items())), (), "count:items")]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("integer", total=3, fraction=0, low="1")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Serial(_Silent):
    """An identifier made of a prefix and the item's own number, so that amendments do not move it."""

    prefix: str
    width: int
    source: Meaning
    loss = "exact"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the identifier."""
        found = scope.look(self.source, rule)
        text = (scope.item or "0").rjust(self.width, "0")
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        return [Value(self.prefix + text, leaves, f"common:{self.source.name}", ("serial",))]

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the meaning that numbers the items."""
        yield self.source

    def undo(self, text: str) -> str | None:
        """Return the item's own number, None where `text` is no identifier of this series."""
        number = text.removeprefix(self.prefix)
        if not text.startswith(self.prefix) or not _NUMBER.fullmatch(number) or len(number) < self.width:
            return None
        return number.lstrip("0") or "0"

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("text", pattern=f"{self.prefix}[0-9]{{{self.width},5}}")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Index(_Silent):
    """The position of the current occurrence of a group, from 1."""

    group: str
    loss = "exact"

    def values(self, scope: Scope, _rule: Mark) -> list[Value]:
        """Return the position."""
        return [Value(str(scope.index[self.group]), (), f"index:{self.group}")]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("integer", total=5, fraction=0, low="1")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Product(_Silent):
    """The exact product of numbers, rounded as declared; the factors are forwarded beside it."""

    factors: tuple[Taken, ...]
    decimals: int
    rounding: str
    total: int
    loss = "residue"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the product when every factor has one value."""
        parts = [factor.values(scope, rule) for factor in self.factors]
        if any(len(part) != 1 or not DECIMAL.fullmatch(part[0].text.strip()) for part in parts):
            return []
        product = Decimal(1)
        for part in parts:
            product = EXACT.multiply(product, Decimal(part[0].text.strip()))
        step = Decimal(1).scaleb(-self.decimals)
        rounded = product.quantize(step, rounding=ROUNDINGS[self.rounding], context=EXACT)
        leaves = tuple(leaf for part in parts for leaf in part[0].leaves)
        origin = " × ".join(part[0].origin for part in parts)
        text = plain(rounded)
        note = f"multiply (rounded {self.rounding} to {self.decimals})" if rounded != product else "multiply"
        # The last factor carries the attributes: a price has the currency of the amount.
        last = parts[-1][0]
        return [Value(text, leaves, origin, (note,), last.found, last.measured)]

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the factors."""
        for factor in self.factors:
            yield factor.source

    def carries(self) -> Ask | Meaning | None:
        """Return the last factor."""
        return self.factors[-1].source

    def undo(self, _text: str) -> str | None:
        """Return nothing: the factors cannot be told from their product."""
        return None

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("decimal", total=self.total, fraction=self.decimals)

    def always(self) -> bool:
        """Return whether there is always a value."""
        return all(factor.always() for factor in self.factors)
