"""The primitives that give a target its value, and those that convert it: a closed set.

Each source says what form its values have, whether it always has one, what it reads, and
what is lost: ``exact`` (can be read back), ``residue`` (can be read back together with
other forwarded values) or ``lossy``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Final

from gateway.errors import CODE_UNKNOWN, VALUE_DOES_NOT_FIT, Problem
from gateway.harmonize.asks import Ask
from gateway.harmonize.codelists import CodeList
from gateway.harmonize.dictionary import Meaning
from gateway.harmonize.facts import Found
from gateway.harmonize.marks import Mark
from gateway.harmonize.scopes import Scope
from gateway.harmonize.shapes import DECIMAL, Shape

__all__ = [
    "FORMS",
    "HUB_VALUES",
    "Const",
    "Converted",
    "Count",
    "Form",
    "Hub",
    "Index",
    "MisfitError",
    "Product",
    "Serial",
    "Source",
    "Step",
    "Taken",
    "Value",
    "Via",
]

# A number has 80 digits at most (shapes.DECIMAL), so a product of ten of them is exact.
EXACT: Final = Context(prec=1000)
MOST_FACTORS: Final = 10
ROUNDINGS: Final = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}
HUB_VALUES: Final = {
    "application_number": (Shape("text", longest=35), True),
    "function": (Shape("text", longest=2), True),
    "case_number": (Shape("text", longest=35), False),
    "cancel_reason": (Shape("text", longest=500), False),
}


class MisfitError(Exception):
    """A value that a conversion cannot take: the problem and why."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Value:
    """One value on its way: its text, the leaves it came from, what was done to it."""

    text: str
    leaves: tuple[int, ...]
    origin: str
    transforms: tuple[str, ...] = ()
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Const:
    """The same text in every request."""

    text: str
    loss = "exact"

    def values(self, _scope: Scope, _rule: Mark) -> list[Value]:
        """Return the text."""
        return [Value(self.text, (), "const")]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("text", codes=(self.text,), list_name="const")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Hub:
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
class Taken:
    """What was declared under a common meaning, or answered to an asked field, as it stands."""

    source: Ask | Meaning
    mandatory: bool
    loss = "exact"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the declared values."""
        found = scope.look(self.source, rule)
        kind = "ask" if isinstance(self.source, Ask) else "common"
        origin = f"{kind}:{self.source.name}"
        return [Value(one.text, one.leaves, origin, (), one) for one in found]

    def shape(self) -> Shape:
        """Return the form of the values."""
        return self.source.shape

    def always(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory


@dataclass(frozen=True, slots=True)
class Count:
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
class Serial:
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

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("text", pattern=f"{self.prefix}[0-9]{{{self.width},5}}")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True


@dataclass(frozen=True, slots=True)
class Index:
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
class Product:
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
        return [Value(text, leaves, origin, (note,), parts[-1][0].found)]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("decimal", total=self.total, fraction=self.decimals)

    def always(self) -> bool:
        """Return whether there is always a value."""
        return all(factor.always() for factor in self.factors)


def plain(number: Decimal) -> str:
    """Return a number without exponent and without zeros that say nothing."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


FORMS: Final = {
    "iso": Shape("moment"),
    "date": Shape("date"),
    "CCYYMMDD": Shape("day"),
    "CCYYMMDDHHMMSS": Shape("digits", longest=14, exact=True),
    "digits": Shape("digits"),
    "digits10": Shape("digits", longest=10, exact=True),
}


@dataclass(frozen=True, slots=True)
class Form:
    """Writes a date (or checks a code) in a named form; `unknown` stands for a time that was not given."""

    name: str
    unknown: str

    @property
    def loss(self) -> str:
        """Return what the form loses: a day loses the time."""
        return "lossy" if self.name in ("CCYYMMDD", "date") else "exact"

    def apply(self, value: Value) -> Value | None:
        """Return the value in this form."""
        text = value.text
        if self.name in ("iso", "digits", "digits10"):
            return value
        if self.name in ("CCYYMMDD", "date"):
            day = text[:10]
            text = day.replace("-", "") if self.name == "CCYYMMDD" else day
        else:
            text = self._with_time(text)
        return replace(value, text=text, transforms=(*value.transforms, f"form {self.name}"))

    def _with_time(self, text: str) -> str:
        day, _, time = text.partition("T")
        if not time and not self.unknown:
            raise MisfitError(VALUE_DOES_NOT_FIT, "the time is not known and the form demands one")
        digits = time[:8].replace(":", "") if time else self.unknown
        return day.replace("-", "") + digits

    def shape(self) -> Shape:
        """Return the form of the result."""
        return FORMS[self.name]


@dataclass(frozen=True, slots=True)
class Via:
    """Translates a code by a list; an unknown code is an error unless `omit` is declared."""

    codes: CodeList
    omit: bool

    @property
    def loss(self) -> str:
        """Return what the translation loses."""
        return "exact" if self.codes.direction == "both" else "lossy"

    def apply(self, value: Value) -> Value | None:
        """Return the translated value, None when it is unknown and may be left out."""
        text = self.codes.translate(value.text)
        if text is None and self.omit:
            return None
        if text is None:
            raise MisfitError(CODE_UNKNOWN, f"{value.text[:60]!r} is not in the list {self.codes.name}")
        step = f"via {self.codes.name}@{self.codes.version}"
        return replace(value, text=text, transforms=(*value.transforms, step))

    def shape(self) -> Shape:
        """Return the form of the result."""
        codes = tuple(sorted(set((self.codes.to or {}).values())))
        return Shape("text", codes=codes, list_name=self.codes.name)


Source = Const | Hub | Taken | Count | Serial | Index | Product
Step = Form | Via


@dataclass(frozen=True, slots=True)
class Converted:
    """A source with its conversions, in order."""

    source: Source
    steps: tuple[Step, ...]

    def values(self, scope: Scope, rule: Mark) -> Iterator[Value]:
        """Yield the converted values; raises `MisfitError` where one cannot be converted."""
        for value in self.source.values(scope, rule):
            result: Value | None = value
            for step in self.steps:
                result = step.apply(result) if result is not None else None
            if result is not None:
                yield result

    def shape(self) -> Shape:
        """Return the form of the values."""
        shape = self.source.shape()
        for step in self.steps:
            shape = step.shape()
        return shape

    def always(self) -> bool:
        """Return whether there is always a value."""
        return self.source.always() and not any(isinstance(step, Via) and step.omit for step in self.steps)
