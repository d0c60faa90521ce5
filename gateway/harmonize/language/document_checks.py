"""The checks of a document: rules between values, read from its mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList
from gateway.harmonize.language.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.language.field_reader import read_condition, read_counted_unit
from gateway.harmonize.language.unique_fields import (
    COMPARISONS,
    STATED_UNIT,
    Condition,
    Field,
    UniqueField,
    list_guard_tests,
)
from gateway.harmonize.language.unit_table import NO_UNITS, UnitTable
from gateway.harmonize.language.value_shapes import DECIMAL
from gateway.harmonize.language.value_sources import MAX_FACTORS, format_plain_decimal
from gateway.wire import SourceMark, YamlNode, YamlTable

KINDS: Final = ("sum", "compare", "distinct", "one_of", "exactly_one", "all_or_none")
OPERATORS: Final = tuple(COMPARISONS)
_FAMILIES: Final = {"decimal": "number", "integer": "number", "date": "time", "moment": "time"}
#: The values of ``when_same``: only numbers of one currency or unit are compared.
_SAME: Final = ("currency", "unit")
_WHOLE: Final = re.compile(r"-?[0-9]{1,6}")
_MOST_DAYS: Final = 36_600


@dataclass(frozen=True, slots=True)
class DocumentCheck:
    """One rule over values, of one of `KINDS`.

    `factors` are the fields of the rule: those multiplied and added up (sum), the left side
    (compare), or those that must be distinct, or given together. `counted_in` has the unit in
    which each factor of a product counts, `STATED_UNIT` for its own; None where the mapping does not
    say. `bound` is the right side: a constant, a field or a meaning. The rule is evaluated in each
    occurrence of the repetitions `repetitions`; a sum and ``distinct`` then include everything below.
    `day_offset` are added to the right side of a comparison of dates. With `compares_same_unit_only`, values
    of different units or currencies are not compared; otherwise quantities are converted exactly within one
    dimension of `units`, and others are rejected. The day of an instant is that of `zone`.
    """

    id: str
    kind: str
    per: str
    factors: tuple[Field, ...]
    operator: str
    bound: str | Field | None
    tolerance: Decimal
    day_offset: int
    compares_same_unit_only: bool
    when: Condition | None
    repetitions: tuple[str, ...]
    ko: str
    en: str
    mark: SourceMark
    units: UnitTable
    counted_in: tuple[str | None, ...] = ()
    zone: str = DEFAULT_ZONE

    def get_counted_unit(self, position: int) -> str | None:
        """Return the unit to which the factor at a position is converted; None for its number alone."""
        unit = self.counted_in[position] if self.counted_in else None
        return None if unit == STATED_UNIT else unit

    def holds_between(self, value: Fraction | datetime | str, bound: Fraction | datetime | str) -> bool:
        """Return whether a value and its bound compare as the rule demands, equal numbers to `tolerance`."""
        if self.operator == "equals" and isinstance(value, Fraction) and isinstance(bound, Fraction):
            return abs(value - bound) <= Fraction(self.tolerance)
        return bool(COMPARISONS[self.operator](value, bound))

    def list_factors_without_unit(self) -> Iterator[Field]:
        """Yield each factor but the last that may have several units while the check names no unit."""
        for source, unit in zip(self.factors[:-1], self.counted_in, strict=False):
            if unit is None and may_have_several_units(source):
                yield source

    def list_read_sources(self) -> Iterator[Field]:
        """Yield every field and meaning that decides whether the rule holds; of a group, its presence."""
        yield from self.factors
        if isinstance(self.bound, Field):
            yield self.bound
        for test in list_guard_tests(self.when) if self.when is not None else ():
            yield test.source


@dataclass(frozen=True, slots=True)
class _SymbolTable:
    """The names that a check may use."""

    asks: Mapping[str, UniqueField]
    dictionary: DataDictionary
    lists: Mapping[str, CodeList]
    units: UnitTable
    zone: str

    def get_source(self, node: YamlNode, name: str, *, allows_groups: bool = False) -> Field:
        """Return the field or meaning of a name; raise GW502 where there is none."""
        source = self.find_source(name)
        if source is None or (not allows_groups and source.type in ("attachment", "group")):
            raise node.make_error("check", "an asked field or a common meaning", name)
        return source

    def read_condition(self, node: YamlNode) -> Condition:
        """Return the condition in `node`; raise GW502 for a wrong one."""
        return read_condition(node, self.asks, self.dictionary, self.lists, self.units)

    def find_source(self, name: str) -> Field | None:
        """Return the field or meaning of a name, None where there is none."""
        return self.asks.get(name) or self.dictionary.meanings.get(name)


def get_value_family(source: Field) -> str:
    """Return the family of values with which a field can be compared: number, time, boolean or text."""
    kind = source.shape.kind
    return _FAMILIES.get(kind, kind if kind == "boolean" else "text")


def read_document_checks(
    top: YamlTable,
    asks: Mapping[str, UniqueField],
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList],
    units: UnitTable = NO_UNITS,
    zone: str = DEFAULT_ZONE,
) -> tuple[DocumentCheck, ...]:
    """Return the checks that a document declares under ``checks``, each with a name of its own."""
    node = top.get("checks")
    names = _SymbolTable(asks, dictionary, lists, units, zone)
    checks: dict[str, DocumentCheck] = {}
    for entry in node.read_list("checks") if node is not None else ():
        check = _read_check(entry.read_table("check"), names)
        if check.id in checks:
            raise check.mark.make_error("id", "each check once", check.id)
        checks[check.id] = check
    return tuple(checks.values())


def _read_check(table: YamlTable, names: _SymbolTable) -> DocumentCheck:
    """Return the document check of a table, which has exactly one kind; raise GW502 for a wrong key."""
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise table.make_error("check", "one of " + ", ".join(KINDS), ", ".join(kinds) or "none")
    kind, node = kinds[0], table.get_required(kinds[0])
    per_node = table.get_required("per")
    per = _read_repetition_level(per_node, names)
    operator, bound, days = "", None, 0
    counted_in: tuple[str | None, ...] = ()
    if kind == "sum":
        factors, counted_in = _read_sum_factors(node, names)
        operator, bound = _read_operator(table, factors[-1], names)
    elif kind == "compare":
        inner = node.read_table("compare")
        left_node = inner.get_required("left")
        factors = (names.get_source(left_node, left_node.read_text("left")),)
        operator, bound = _read_operator(inner, factors[0], names)
        days = _read_day_offset(inner, factors[0])
        inner.reject_unread_keys()
    else:
        factors = _read_field_list(kind, node, names)
    when = table.get("when")
    check = DocumentCheck(
        id=table.get_required("id").read_text("id"),
        kind=kind,
        per=per_node.read_text("per"),
        factors=factors,
        operator=operator,
        bound=bound,
        tolerance=_read_tolerance(table, kind, operator, factors[-1]),
        day_offset=days,
        compares_same_unit_only=bool(table.read_choice("when_same", _SAME)),
        when=None if when is None else names.read_condition(when),
        repetitions=_derive_repetitions(kind, per, factors, bound, table.mark),
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        mark=table.mark,
        units=names.units,
        counted_in=counted_in,
        zone=names.zone,
    )
    table.reject_unread_keys()
    if kind == "exactly_one":
        _reject_mandatory_choice(check, node.mark)
    return check


def _reject_mandatory_choice(check: DocumentCheck, mark: SourceMark) -> None:
    """Raise GW502 for an ``exactly_one`` check with a mandatory field: it forbids all other fields."""
    for factor in check.factors:
        always = isinstance(factor, UniqueField) and factor.requirement.mandatory
        if always and factor.repetitions == check.repetitions:
            raise mark.make_error(check.kind, "fields that may be missing", f"{factor.name}, mandatory")


def _read_repetition_level(node: YamlNode, names: _SymbolTable) -> tuple[str, ...]:
    """Return the repetitions that ``per`` names: none, the items, or all down to a group."""
    name = node.read_text("per")
    if name in ("application", "item"):
        return () if name == "application" else ("item",)
    ask = names.asks.get(name)
    if ask is not None and ask.type == "group":
        return ask.inner_repetitions
    if name not in names.dictionary.groups:
        raise node.make_error("per", "application, item or a group", name)
    return names.dictionary.groups[name].inner_repetitions


def may_have_several_units(source: Field) -> bool:
    """Return whether the values of a number may be in different units or currencies."""
    if source.attribute is None:
        return False
    return len(source.units) != 1


def _read_sum_factors(
    node: YamlNode, names: _SymbolTable
) -> tuple[tuple[Field, ...], tuple[str | None, ...]]:
    """Return the factors of the values that are added up, and the unit in which each of them counts."""
    table = node.read_table("sum")
    key = next((key for key in ("multiply", "ask", "common") if key in table), "ask")
    summed = table.get_required(key)
    entries = summed.read_list("multiply") if key == "multiply" else [summed]
    table.reject_unread_keys()
    factors, counted_in = [], []
    for entry in entries:
        name, unit = _read_factor(entry) if key == "multiply" else (entry, None)
        source = names.find_source(name.read_text("sum"))
        if source is None or get_value_family(source) != "number":
            expected = "a common number" if key == "common" else "an asked number"
            raise entry.make_error("sum", expected, name.read_text("sum"))
        factors.append(source)
        counted_in.append(None if unit is None else read_counted_unit(unit, source, names.units))
    if counted_in[-1] is not None:
        raise entries[-1].make_error("in", "it of a factor before the last", factors[-1].name)
    if not 1 <= len(factors) <= MAX_FACTORS:
        raise table.make_error("sum", f"at most {MAX_FACTORS} factors", str(len(factors)))
    if len({factor.repetitions for factor in factors}) > 1 or (
        len(factors) > 1 and _has_repeated_source(factors)
    ):
        raise table.make_error("sum", "factors that stand side by side", "factors of different groups")
    return tuple(factors), tuple(counted_in)


def _read_factor(entry: YamlNode) -> tuple[YamlNode, YamlNode | None]:
    """Return the nodes of a factor: its name, and the unit in which it counts (None if it has no unit)."""
    if isinstance(entry.value, str):
        return entry, None
    table = entry.read_table("multiply")
    parts = table.get_required("of"), table.get_required("in")
    table.reject_unread_keys()
    return parts


def _has_repeated_source(sources: list[Field]) -> bool:
    return any(source.many for source in sources)


def _read_field_list(kind: str, node: YamlNode, names: _SymbolTable) -> tuple[Field, ...]:
    """Return the fields of a ``distinct`` rule, or of a rule on which of several fields are given."""
    entries = node.read_list(kind) if isinstance(node.value, list) else [node]
    least = 1 if kind == "distinct" else 2
    if not least <= len(entries) <= MAX_FACTORS:
        raise node.make_error(kind, f"{least} to {MAX_FACTORS} fields", f"{len(entries)} of them")
    fields = tuple(
        names.get_source(entry, entry.read_text(kind), allows_groups=kind != "distinct") for entry in entries
    )
    if len({source.name for source in fields}) != len(fields):
        raise node.make_error(kind, "each field once", "a field again")
    if kind == "distinct" and (
        len({source.repetitions for source in fields}) > 1
        or (len(fields) > 1 and _has_repeated_source(list(fields)))
    ):
        raise node.make_error(kind, "fields that stand side by side", "fields of different groups")
    return fields


def _read_operator(table: YamlTable, source: Field, names: _SymbolTable) -> tuple[str, str | Field]:
    """Return the operator of a check and its right side: a constant, or a field of the kind of `source`."""
    operators = [key for key in OPERATORS if key in table]
    if len(operators) != 1:
        raise table.make_error("check", "one of " + ", ".join(OPERATORS), ", ".join(operators) or "none")
    (operator,) = operators
    node = table.get_required(operator)
    text, kind = node.read_text(operator), get_value_family(source)
    if kind in ("text", "boolean") and operator != "equals":
        raise node.make_error(operator, "a number or a date, which have an order", source.name)
    right = names.find_source(text)
    if right is not None:
        unlike = {source.attribute, right.attribute} == {"unitCode", "currencyID"}
        if get_value_family(right) != kind or right.many or right.type in ("group", "attachment") or unlike:
            like = "a number or a common meaning that is one" if kind == "number" else f"a {kind}"
            raise node.make_error(operator, f"{like}, of one value as {source.name}", text)
        return operator, right
    if kind == "number" and not DECIMAL.fullmatch(text):
        raise node.make_error(operator, "a number or a common meaning that is one", text)
    if kind != "number" and source.shape.find_violation(text) is not None:
        raise node.make_error(operator, f"a value of {source.name}, or a field like it", text)
    return operator, text


def _read_day_offset(table: YamlTable, source: Field) -> int:
    """Return how many days are added to the right side of a comparison of dates."""
    node = table.get("days")
    if node is None:
        return 0
    text = node.read_text("days")
    if get_value_family(source) != "time":
        raise node.make_error("days", "two dates to compare", source.name)
    if not _WHOLE.fullmatch(text) or abs(int(text)) > _MOST_DAYS:
        raise node.make_error("days", f"a whole number from -{_MOST_DAYS} to {_MOST_DAYS}", text)
    return int(text)


def _read_tolerance(table: YamlTable, kind: str, operator: str, source: Field) -> Decimal:
    """Return the permitted difference (``within``) of two numbers that must be equal; 0 without the key."""
    node = table.get("within")
    if node is None:
        return Decimal(0)
    text = node.read_text("within")
    if kind not in ("sum", "compare") or operator != "equals" or get_value_family(source) != "number":
        raise node.make_error("within", "a tolerance of two equal numbers", operator or kind)
    if not DECIMAL.fullmatch(text) or Decimal(text) < 0:
        raise node.make_error("within", "a number of zero or more", text)
    return Decimal(text)


def _derive_repetitions(
    kind: str,
    per: tuple[str, ...],
    factors: tuple[Field, ...],
    bound: str | Field | None,
    mark: SourceMark,
) -> tuple[str, ...]:
    """Return the repetitions in which a rule is evaluated; all that it names must be on one chain of them."""
    chains = [source.repetitions for source in factors]
    right = [bound.repetitions] if isinstance(bound, UniqueField | CommonMeaning) else []
    if kind in ("sum", "distinct"):
        if not _is_prefix(per, chains[0]) or not all(_is_prefix(chain, per) for chain in right):
            raise mark.make_error("per", "a place around what is added or distinct", "another place")
        return per
    if kind == "compare":
        deepest = max((per, *chains, *right), key=len)
        if not all(_is_prefix(chain, deepest) for chain in (per, *chains, *right)):
            raise mark.make_error("check", "values of which one stands around the other", "different groups")
        return deepest
    shared = [steps[0] for steps in zip(*chains, strict=False) if len(set(steps)) == 1]
    level = max((per, tuple(shared)), key=len)
    if not all(_is_prefix(chain, level) or _is_prefix(level, chain) for chain in (per, *chains)):
        raise mark.make_error("check", "fields that stand together", "fields of different groups")
    return level


def _is_prefix(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return second[: len(first)] == first


INFINITE: Final = Decimal("Infinity")
# A number has 80 digits at most (value_shapes.DECIMAL), so a product of ten of them is exact.
_EXACT: Final = Context(prec=1000)


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The lowest and the highest number that a value may be; infinite where there is no bound."""

    low: Decimal
    high: Decimal


def multiply_ranges(first: NumberRange, second: NumberRange) -> NumberRange:
    """Return the range of the products of two values."""
    products = [_multiply(a, b) for a in (first.low, first.high) for b in (second.low, second.high)]
    return NumberRange(min(products), max(products))


def sum_range(value_range: NumberRange, max_count: int) -> NumberRange:
    """Return the range of the sums of at least one value and of `max_count` values."""
    low, high, count = value_range.low, value_range.high, Decimal(max_count)
    return NumberRange(min(low, _multiply(low, count)), max(high, _multiply(high, count)))


def _multiply(first: Decimal, second: Decimal) -> Decimal:
    # Zero times infinity is no number in decimal arithmetic.
    return _EXACT.multiply(first, second) if first and second else Decimal(0)


def can_satisfy(
    value_range: NumberRange, operator: str, limit_range: NumberRange, tolerance: Decimal
) -> bool:
    """Return whether a value of `value_range` and one of `limit_range` can satisfy a comparison."""
    return {
        "at_most": value_range.low <= limit_range.high,
        "less_than": value_range.low < limit_range.high,
        "at_least": value_range.high >= limit_range.low,
        "more_than": value_range.high > limit_range.low,
        "equals": value_range.low <= limit_range.high + tolerance
        and value_range.high >= limit_range.low - tolerance,
    }[operator]


def format_range(value_range: NumberRange) -> str:
    """Return a range in words; an end without a bound is ``any``."""
    low, high = value_range.low, value_range.high
    if low == high:
        return format_plain_decimal(low)
    return " to ".join(format_plain_decimal(end) if end.is_finite() else "any" for end in (low, high))
