"""The checks of a document: rules between values, read from its mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.harmonize.language.combined_sources import list_enclosing_repetitions
from gateway.harmonize.language.evaluated_value import MOST_FACTORS
from gateway.harmonize.types import (
    DECIMAL,
    NO_UNITS,
    STATED,
    CodeList,
    CommonMeaning,
    Condition,
    DataDictionary,
    SourceMark,
    UniqueField,
    UnitTable,
    YamlNode,
    YamlTable,
    list_guard_tests,
    make_mapping_error,
    read_condition,
    read_counted_unit,
)

__all__ = [
    "KINDS",
    "OPERATORS",
    "STATED",
    "DocumentCheck",
    "get_value_family",
    "may_have_several_units",
    "read_document_checks",
]

KINDS: Final = ("sum", "compare", "distinct", "one_of", "exactly_one", "all_or_none")
OPERATORS: Final = ("at_most", "at_least", "more_than", "less_than", "equals")
_FAMILIES: Final = {"decimal": "number", "integer": "number", "date": "time", "moment": "time"}
#: A factor of a product that counts in the unit that stands beside it, by its number.
_SAME: Final = ("currency", "unit")
_WHOLE: Final = re.compile(r"-?[0-9]{1,6}")
_MOST_DAYS: Final = 36_600


@dataclass(frozen=True, slots=True)
class DocumentCheck:
    """One rule over values, of one of `KINDS`.

    `factors` are the fields of the rule: those multiplied and added up (sum), the left side
    (compare), or those that must be distinct, or given together. `counted_in` has the unit in
    which each factor of a product counts, `STATED` for its own; None where the mapping does not
    say. `bound` is the right side: a constant, a field or a meaning. The rule is evaluated in each
    occurrence of the repetitions `around`; a sum and ``distinct`` then include everything below.
    `days` are added to the right side of a comparison of dates. With `same_unit`, values of
    different units or currencies are not compared; otherwise quantities are converted exactly
    within one dimension of `units`, and others are rejected.
    """

    id: str
    kind: str
    per: str
    factors: tuple[UniqueField | CommonMeaning, ...]
    operator: str
    bound: str | UniqueField | CommonMeaning | None
    within: Decimal
    days: int
    same_unit: bool
    when: Condition | None
    around: tuple[str, ...]
    ko: str
    en: str
    mark: SourceMark
    units: UnitTable
    counted_in: tuple[str | None, ...] = ()

    def get_counted_unit(self, position: int) -> str | None:
        """Return the unit to which the factor at a position is converted; None for its number alone."""
        unit = self.counted_in[position] if self.counted_in else None
        return None if unit == STATED else unit

    def list_unsaid_factors(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield each factor before the last that may be in several units, where none is said to count."""
        for source, unit in zip(self.factors[:-1], self.counted_in, strict=False):
            if unit is None and may_have_several_units(source):
                yield source

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield every field and meaning that decides whether the rule holds; of a group, its presence."""
        yield from self.factors
        if isinstance(self.bound, UniqueField | CommonMeaning):
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

    def get_source(self, node: YamlNode, text: str, *, groups: bool = False) -> UniqueField | CommonMeaning:
        """Return the field or meaning of a name; raise GW502 where there is none."""
        source = self.find_source(text)
        if source is None or (not groups and source.type in ("attachment", "group")):
            raise make_mapping_error(node.mark, "check", "an asked field or a common meaning", text)
        return source

    def read_condition(self, node: YamlNode) -> Condition:
        """Return the condition in `node`; raise GW502 for a wrong one."""
        return read_condition(node, self.asks, self.dictionary, self.lists, self.units)

    def find_source(self, text: str) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning of a name, None where there is none."""
        return self.asks.get(text) or self.dictionary.meanings.get(text)

    def list_enclosing_repetitions(self, source: UniqueField | CommonMeaning) -> tuple[str, ...]:
        """Return the repetitions around a field or meaning."""
        return list_enclosing_repetitions(source, self.dictionary)


def get_value_family(source: UniqueField | CommonMeaning) -> str:
    """Return the family of values with which a field can be compared: number, time, boolean or text."""
    kind = source.shape.kind
    return _FAMILIES.get(kind, kind if kind == "boolean" else "text")


def read_document_checks(
    top: YamlTable,
    asks: Mapping[str, UniqueField],
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList],
    units: UnitTable = NO_UNITS,
) -> tuple[DocumentCheck, ...]:
    """Return the checks that a document declares under ``checks``, each with a name of its own."""
    node = top.get("checks")
    names = _SymbolTable(asks, dictionary, lists, units)
    checks: dict[str, DocumentCheck] = {}
    for entry in node.read_list("checks") if node is not None else ():
        check = _read_check(entry.read_table("check"), names)
        if check.id in checks:
            raise make_mapping_error(check.mark, "id", "each check once", check.id)
        checks[check.id] = check
    return tuple(checks.values())


def _read_check(table: YamlTable, names: _SymbolTable) -> DocumentCheck:
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise make_mapping_error(
            table.mark, "check", "one of " + ", ".join(KINDS), ", ".join(kinds) or "none"
        )
    kind, node = kinds[0], table.get_required(kinds[0])
    per_node = table.get_required("per")
    per = _read_level(per_node, names)
    operator, bound, days = "", None, 0
    counted_in: tuple[str | None, ...] = ()
    if kind == "sum":
        factors, counted_in = _read_sum_factors(node, names)
        operator, bound = _read_operator(table, factors[-1], names)
    elif kind == "compare":
        inner = node.read_table("compare")
        left = inner.get_required("left")
        factors = (names.get_source(left, left.read_text("left")),)
        operator, bound = _read_operator(inner, factors[0], names)
        days = _read_day_offset(inner, factors[0])
        inner.reject_unread_keys()
    else:
        factors = _read_field_list(kind, node, names)
    same, when = table.get("when_same"), table.get("when")
    check = DocumentCheck(
        id=table.get_required("id").read_text("id"),
        kind=kind,
        per=per_node.read_text("per"),
        factors=factors,
        operator=operator,
        bound=bound,
        within=_read_tolerance(table, kind, operator, factors[-1]),
        days=days,
        same_unit=same is not None and bool(same.read_choice("when_same", _SAME)),
        when=None if when is None else names.read_condition(when),
        around=_derive_repetitions(kind, per, (factors, bound), (names, table.mark)),
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        mark=table.mark,
        units=names.units,
        counted_in=counted_in,
    )
    table.reject_unread_keys()
    if kind == "exactly_one":
        _refuse_mandatory_choice(check, node.mark, names)
    return check


def _refuse_mandatory_choice(check: DocumentCheck, mark: SourceMark, names: _SymbolTable) -> None:
    """Raise GW502 for a choice of one field among others of which one is always given."""
    for one in check.factors:
        always = isinstance(one, UniqueField) and one.requirement.mandatory
        if always and names.list_enclosing_repetitions(one) == check.around:
            raise make_mapping_error(mark, check.kind, "fields that may be missing", f"{one.name}, mandatory")


def _read_level(node: YamlNode, names: _SymbolTable) -> tuple[str, ...]:
    """Return the repetitions that ``per`` names: none, the items, or all down to a group."""
    name = node.read_text("per")
    if name in ("application", "item"):
        return () if name == "application" else ("item",)
    ask = names.asks.get(name)
    if ask is not None and ask.type == "group":
        return (*names.list_enclosing_repetitions(ask), f"asked:{name}")
    if name not in names.dictionary.groups:
        raise make_mapping_error(node.mark, "per", "application, item or a group", name)
    outer = ("item",) if names.dictionary.is_per_item(name) else ()
    return outer + tuple(f"common:{one}" for one in names.dictionary.list_enclosing_groups(name))


def may_have_several_units(source: UniqueField | CommonMeaning) -> bool:
    """Return whether the values of a number may be in different units or currencies."""
    if source.attribute is None:
        return False
    return not isinstance(source, UniqueField) or (source.fixed_unit is None and len(source.units) != 1)


def _read_sum_factors(
    node: YamlNode, names: _SymbolTable
) -> tuple[tuple[UniqueField | CommonMeaning, ...], tuple[str | None, ...]]:
    """Return what is added up, or the factors of it, and the unit in which each of them counts."""
    table = node.read_table("sum")
    key = next((key for key in ("multiply", "ask", "common") if key in table), "ask")
    named = table.get_required(key)
    entries = named.read_list("multiply") if key == "multiply" else [named]
    table.reject_unread_keys()
    factors, counted_in = [], []
    for entry in entries:
        name, unit = _read_factor(entry) if key == "multiply" else (entry, None)
        source = names.find_source(name.read_text("sum"))
        if source is None or get_value_family(source) != "number":
            what = "a common number" if key == "common" else "an asked number"
            raise make_mapping_error(entry.mark, "sum", what, name.read_text("sum"))
        factors.append(source)
        counted_in.append(None if unit is None else read_counted_unit(unit, source, names.units))
    if counted_in[-1] is not None:
        raise make_mapping_error(entries[-1].mark, "in", "it of a factor before the last", factors[-1].name)
    if not 1 <= len(factors) <= MOST_FACTORS:
        raise make_mapping_error(table.mark, "sum", f"at most {MOST_FACTORS} factors", str(len(factors)))
    if len({names.list_enclosing_repetitions(factor) for factor in factors}) > 1 or (
        len(factors) > 1 and _has_repeated_source(factors)
    ):
        raise make_mapping_error(
            table.mark, "sum", "factors that stand side by side", "factors of different groups"
        )
    return tuple(factors), tuple(counted_in)


def _read_factor(entry: YamlNode) -> tuple[YamlNode, YamlNode | None]:
    """Return the name of a factor, and the unit in which it counts, if that is said."""
    if isinstance(entry.value, str):
        return entry, None
    table = entry.read_table("multiply")
    named = table.get_required("of"), table.get_required("in")
    table.reject_unread_keys()
    return named


def _has_repeated_source(sources: list[UniqueField | CommonMeaning]) -> bool:
    return any(source.many for source in sources)


def _read_field_list(
    kind: str, node: YamlNode, names: _SymbolTable
) -> tuple[UniqueField | CommonMeaning, ...]:
    """Return the fields of a ``distinct`` rule, or of one on which of several fields are given."""
    entries = node.read_list(kind) if isinstance(node.value, list) else [node]
    least = 1 if kind == "distinct" else 2
    if not least <= len(entries) <= MOST_FACTORS:
        raise make_mapping_error(
            node.mark, kind, f"{least} to {MOST_FACTORS} fields", f"{len(entries)} of them"
        )
    found = tuple(names.get_source(one, one.read_text(kind), groups=kind != "distinct") for one in entries)
    if len({source.name for source in found}) != len(found):
        raise make_mapping_error(node.mark, kind, "each field once", "a field again")
    if kind == "distinct" and (
        len({names.list_enclosing_repetitions(source) for source in found}) > 1
        or (len(found) > 1 and _has_repeated_source(list(found)))
    ):
        raise make_mapping_error(
            node.mark, kind, "fields that stand side by side", "fields of different groups"
        )
    return found


def _read_operator(
    table: YamlTable, left: UniqueField | CommonMeaning, names: _SymbolTable
) -> tuple[str, str | UniqueField | CommonMeaning]:
    operators = [key for key in OPERATORS if key in table]
    if len(operators) != 1:
        raise make_mapping_error(
            table.mark, "check", "one of " + ", ".join(OPERATORS), ", ".join(operators) or "none"
        )
    (operator,) = operators
    node = table.get_required(operator)
    text, kind = node.read_text(operator), get_value_family(left)
    if kind in ("text", "boolean") and operator != "equals":
        raise make_mapping_error(node.mark, operator, "a number or a date, which have an order", left.name)
    right = names.find_source(text)
    if right is not None:
        unlike = {left.attribute, right.attribute} == {"unitCode", "currencyID"}
        if get_value_family(right) != kind or right.many or right.type in ("group", "attachment") or unlike:
            like = "a number or a common meaning that is one" if kind == "number" else f"a {kind}"
            raise make_mapping_error(node.mark, operator, f"{like}, of one value as {left.name}", text)
        return operator, right
    if kind == "number" and not DECIMAL.fullmatch(text):
        raise make_mapping_error(node.mark, operator, "a number or a common meaning that is one", text)
    if kind != "number" and left.shape.find_violation(text) is not None:
        raise make_mapping_error(node.mark, operator, f"a value of {left.name}, or a field like it", text)
    return operator, text


def _read_day_offset(table: YamlTable, left: UniqueField | CommonMeaning) -> int:
    """Return how many days are added to the right side of a comparison of dates."""
    node = table.get("days")
    if node is None:
        return 0
    text = node.read_text("days")
    if get_value_family(left) != "time":
        raise make_mapping_error(node.mark, "days", "two dates to compare", left.name)
    if not _WHOLE.fullmatch(text) or abs(int(text)) > _MOST_DAYS:
        raise make_mapping_error(
            node.mark, "days", f"a whole number from -{_MOST_DAYS} to {_MOST_DAYS}", text
        )
    return int(text)


def _read_tolerance(table: YamlTable, kind: str, operator: str, left: UniqueField | CommonMeaning) -> Decimal:
    node = table.get("within")
    if node is None:
        return Decimal(0)
    text = node.read_text("within")
    if kind not in ("sum", "compare") or operator != "equals" or get_value_family(left) != "number":
        raise make_mapping_error(node.mark, "within", "a tolerance of two equal numbers", operator or kind)
    if not DECIMAL.fullmatch(text) or Decimal(text) < 0:
        raise make_mapping_error(node.mark, "within", "a number of zero or more", text)
    return Decimal(text)


def _derive_repetitions(
    kind: str,
    per: tuple[str, ...],
    values: tuple[tuple[UniqueField | CommonMeaning, ...], str | UniqueField | CommonMeaning | None],
    where: tuple[_SymbolTable, SourceMark],
) -> tuple[str, ...]:
    """Return the repetitions in which a rule is evaluated; all that it names must be on one chain of them."""
    (factors, bound), (names, mark) = values, where
    chains = [names.list_enclosing_repetitions(source) for source in factors]
    right = (
        [names.list_enclosing_repetitions(bound)] if isinstance(bound, UniqueField | CommonMeaning) else []
    )
    if kind in ("sum", "distinct"):
        if not _is_prefix(per, chains[0]) or not all(_is_prefix(chain, per) for chain in right):
            raise make_mapping_error(mark, "per", "a place around what is added or distinct", "another place")
        return per
    if kind == "compare":
        deepest = max((per, *chains, *right), key=len)
        if not all(_is_prefix(chain, deepest) for chain in (per, *chains, *right)):
            raise make_mapping_error(
                mark, "check", "values of which one stands around the other", "different groups"
            )
        return deepest
    shared = [steps[0] for steps in zip(*chains, strict=False) if len(set(steps)) == 1]
    place = max((per, tuple(shared)), key=len)
    if not all(_is_prefix(chain, place) or _is_prefix(place, chain) for chain in (per, *chains)):
        raise make_mapping_error(mark, "check", "fields that stand together", "fields of different groups")
    return place


def _is_prefix(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return second[: len(first)] == first
