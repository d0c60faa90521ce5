"""The unique fields: those that one document alone asks the applicant for; and conditions on values."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Final, Protocol

from lxml import etree

from gateway.harmonize.language.code_lists import CodeList
from gateway.harmonize.language.data_dictionary import CommonMeaning
from gateway.harmonize.language.unit_table import NO_UNITS, UnitTable, parse_fraction
from gateway.harmonize.language.value_shapes import DECIMAL, ValueShape
from gateway.wire import Occurs, SourceMark

_ATTRIBUTES: Final = {
    "quantity": "unitCode",
    "measure": "unitCode",
    "amount": "currencyID",
    "attachment": "cid",
}


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """When a field must be given: always, where `when` holds, or never.

    With `forbidden_otherwise` it may not be given where `when` does not hold.
    """

    mandatory: bool = False
    when: Condition | None = None
    forbidden_otherwise: bool = False


@dataclass(frozen=True, slots=True)
class UniqueField:
    """One asked field, or a group of them; `name` is dotted inside a `group`.

    `per` is ``group`` inside a group; `home` is ``item`` or ``application`` for every field.
    `repetitions` are those around the field, the outermost first: ``item``, ``asked:GROUP``.
    The answer to a `shared` field, or to a whole group, is used in all applications of a
    submission that share its meaning.  `attribute` is the attribute that the field carries, a
    unit, a currency or a content id; `attribute_shape` is the form of that attribute. A field that
    `is_text` is a text without one.
    """

    name: str
    tag: str
    type: str
    shape: ValueShape
    per: str
    means: str
    requirement: FieldRequirement
    units: tuple[str, ...]
    repeat: Occurs
    fields: tuple[UniqueField, ...]
    mime: tuple[str, ...]
    max_mib: int | None
    labels: Mapping[str, tuple[str, str]]
    ko: str
    en: str
    mark: SourceMark
    group: str = ""
    home: str = "application"
    shared: bool = False
    key: str = field(init=False, compare=False, repr=False)
    repetitions: tuple[str, ...] = field(init=False, compare=False, repr=False)
    attribute: str | None = field(init=False, compare=False, repr=False)
    attribute_shape: ValueShape = field(init=False, compare=False, repr=False)
    is_text: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Set the fields that are derived from the others."""
        object.__setattr__(self, "key", f"ask:{self.name}")
        groups = tuple(f"asked:{name}" for name in list_enclosing_names(self.group))
        object.__setattr__(self, "repetitions", (("item",) if self.in_item else ()) + groups)
        object.__setattr__(self, "attribute", _ATTRIBUTES.get(self.type))
        object.__setattr__(self, "is_text", self.attribute is None and self.type != "group")
        listed = f"units or currencies of {self.name}"
        shape = ValueShape("text", codes=self.units, list_name=listed) if self.units else ValueShape("text")
        object.__setattr__(self, "attribute_shape", shape)

    @property
    def in_item(self) -> bool:
        """Return whether the field belongs to one goods item, directly or in a group of it."""
        return self.home == "item"

    @property
    def inner_repetitions(self) -> tuple[str, ...]:
        """Return the repetitions around a member of the group, the outermost first; the group is the last."""
        return (*self.repetitions, f"asked:{self.name}")

    @property
    def many(self) -> bool:
        """Return whether the field may have several values, side by side."""
        return self.repeat.high > 1

    @property
    def fixed_unit(self) -> str | None:
        """Return the unit where only one is possible, so that it need not be written."""
        return self.units[0] if len(self.units) == 1 else None


#: What holds a value: a field that a document asks, or a common meaning of the declaration.
Field = UniqueField | CommonMeaning


@cache
def list_enclosing_names(group: str) -> tuple[str, ...]:
    """Return a dotted group and those around it, the outermost first."""
    parts = group.split(".") if group else []
    return tuple(".".join(parts[: position + 1]) for position in range(len(parts)))


def find_stated_unit(asked_field: Field, element: etree._Element) -> str | None:
    """Return the unit or currency of a value; the fixed unit where none is written."""
    if asked_field.attribute is None:
        return None
    unit = element.get(asked_field.attribute)
    return asked_field.fixed_unit if unit is None else str(unit)


def to_element_name(name: str) -> str:
    """Return the element name of a field: ``lot_no`` becomes ``LotNo``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def make_pointer_segment(ask: UniqueField) -> str:
    """Return the last segment of the pointer of a field's first occurrence, present or missing."""
    numbered = ask.type == "group" or (ask.home == "item" and not ask.group)
    return f"{ask.tag}[1]" if numbered else ask.tag


def to_dotted_element_name(name: str) -> str:
    """Return the element names of a dotted field: ``animal.tag_no`` becomes ``Animal.TagNo``."""
    return ".".join(to_element_name(part) for part in name.split("."))


def walk_fields(asks: tuple[UniqueField, ...]) -> Iterator[UniqueField]:
    """Yield every field, groups before their members."""
    for ask in asks:
        yield ask
        yield from walk_fields(ask.fields)


#: Written instead of a unit: a number counts in the unit that is given beside it.
STATED_UNIT: Final = "stated"
_TRUE: Final = {"1": "true", "0": "false"}
#: The comparisons of conditions and checks, by their names.
COMPARISONS: Final = {
    "at_most": operator.le,
    "at_least": operator.ge,
    "more_than": operator.gt,
    "less_than": operator.lt,
    "equals": operator.eq,
}


class ValueReader(Protocol):
    """The interface from which a condition reads the values of a source."""

    def read_values(self, source: Field, rule: SourceMark) -> Sequence[TextValue]:
        """Return the values of `source`, read by `rule`."""

    def read_unit(self, _source: Field, _found: Any, _rule: SourceMark, /) -> str | None:
        """Return the unit of a value of the source; None by default, for a reader without units."""
        return None

    def report_unlike_unit(self, _test: ValueTest, _found: Any, _unit: str | None, /) -> None:
        """Report a value whose unit does not convert to the unit of the test; by default, do nothing."""
        return


class TextValue(Protocol):
    """A value with its text."""

    @property
    def text(self) -> str:
        """Return the text."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when every part holds."""

    parts: tuple[Condition, ...]

    def is_satisfied(self, scope: ValueReader) -> bool:
        """Return whether the condition holds in `scope`; all parts are always read, for a fixed read set."""
        return all([part.is_satisfied(scope) for part in self.parts])


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when at least one part holds."""

    parts: tuple[Condition, ...]

    def is_satisfied(self, scope: ValueReader) -> bool:
        """Return whether the condition holds in `scope`; all parts are always read, for a fixed read set."""
        return any([part.is_satisfied(scope) for part in self.parts])


@dataclass(frozen=True, slots=True)
class Negation:
    """Holds when its part does not."""

    part: Condition

    def is_satisfied(self, scope: ValueReader) -> bool:
        """Return whether the condition holds in `scope`."""
        return not self.part.is_satisfied(scope)


@dataclass(frozen=True, slots=True)
class ValueTest:
    """Compares one value: ``is``, ``in``, ``present`` or a numeric comparison.

    `counted_in` is the unit in which a number is compared, or `STATED_UNIT`; None where nothing is said.
    """

    name: str
    source: Field
    operator: str
    values: tuple[str, ...]
    is_boolean: bool
    mark: SourceMark
    code_list: CodeList | None = None
    counted_in: str | None = None
    units: UnitTable = field(default=NO_UNITS, compare=False, repr=False)

    @property
    def unit(self) -> str | None:
        """Return the unit to which values are converted; None where their numbers alone are compared."""
        return None if self.counted_in == STATED_UNIT else self.counted_in

    def is_satisfied(self, scope: ValueReader) -> bool:
        """Return whether a value in `scope` passes the test; without a value only ``present: no`` holds."""
        values = scope.read_values(self.source, self.mark)
        if self.unit is not None:
            return any([self._matches_in_unit(scope, value, self.unit) for value in values])
        if self.operator == "present":
            return bool(values) == (self.values[0] == "yes")
        return any([self._matches_text(value.text) for value in values])

    def _matches_in_unit(self, scope: ValueReader, value: TextValue, target_unit: str) -> bool:
        """Return whether a quantity passes, converted exactly; one that cannot be converted does not."""
        unit = scope.read_unit(self.source, value, self.mark)
        number = value.text.strip()
        if not DECIMAL.fullmatch(number):
            return False
        exact = (
            None if unit is None else self.units.convert_quantity(parse_fraction(number), unit, target_unit)
        )
        if exact is None:
            scope.report_unlike_unit(self, value, unit)
            return False
        return bool(COMPARISONS[self.operator](exact, Fraction(self.values[0])))

    def _matches_text(self, text: str) -> bool:
        """Return whether `text` satisfies the test; for a comparison, a text that is no number does not."""
        if self.is_boolean:
            text = _TRUE.get(text, text)
        if self.code_list is not None:
            return text in self.code_list.code_set
        if self.operator in ("is", "in"):
            return text in self.values
        number = text.strip()
        if not DECIMAL.fullmatch(number):
            return False
        return bool(COMPARISONS[self.operator](Decimal(number), Decimal(self.values[0])))


Condition = AllOf | AnyOf | Negation | ValueTest


def list_guard_tests(condition: Condition) -> Iterator[ValueTest]:
    """Yield every test of a condition: the guards that decide it."""
    if isinstance(condition, ValueTest):
        yield condition
        return
    for part in (condition.part,) if isinstance(condition, Negation) else condition.parts:
        yield from list_guard_tests(part)
