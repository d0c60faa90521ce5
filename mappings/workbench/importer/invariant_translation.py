"""Translates an invariant that an inventory writes as a text into checks of the mapping language.

An invariant is a sequence of clauses, divided by ``;`` or ``and``: ``sum(f) <= 100``,
``sum(a * b) <= invoice.amount``, ``from <= to``, ``distinct(lot.no)``, ``one_of(a, b)``,
``exactly_one(a, b)``, ``all_or_none(a, b)``.  ``~=`` means within 0.5.  Each clause is translated
by itself: it becomes a check, or raises `UnclearError` with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any, Final

from gateway.harmonize import (
    DECIMAL,
    INFINITE,
    OPERATORS,
    NumberRange,
    can_satisfy,
    format_range,
    multiply_ranges,
    sum_range,
)
from gateway_workbench.importer.condition_translation import TokenReader, UnclearError, read_tokens
from gateway_workbench.importer.unique_fields import ImportedField

_SIGNS: Final = {
    "<=": "at_most",
    ">=": "at_least",
    "==": "equals",
    "~=": "equals",
    "<": "less_than",
    ">": "more_than",
}
_MIRRORED: Final = {
    "at_most": "at_least",
    "at_least": "at_most",
    "less_than": "more_than",
    "more_than": "less_than",
    "equals": "equals",
}
_FUNCTIONS: Final = {
    "distinct": "distinct",
    "unique": "distinct",
    "one_of": "one_of",
    "any_of": "one_of",
    "exactly_one": "exactly_one",
    "all_or_none": "all_or_none",
}
_WITHIN: Final = "0.5"
_MAX_FACTORS: Final = 8
_DIVIDER: Final = re.compile(r"\s*;\s*|\s+(?:and|AND)\s+")
_DATES: Final = ("date", "datetime")


@dataclass(frozen=True, slots=True)
class InvariantMember:
    """The field or meaning of a name in an invariant.

    `per` is application or item; `groups` are the asked groups around it, the outermost
    first; `is_asked` is true for a field of the document, false for a common meaning; `has_several_values`
    is true where the field itself may have several values; `unit_kind` is the kind of its
    unit: unit, currency or empty.  `units` are the units or currencies that a value may have,
    None where it may have any.
    """

    name: str
    type: str
    per: str
    is_asked: bool
    groups: tuple[str, ...] = ()
    has_several_values: bool = False
    unit_kind: str = ""
    units: tuple[str, ...] | None = ()

    @property
    def has_several_units(self) -> bool:
        """Return whether two values may have different units or currencies."""
        return bool(self.unit_kind) and (self.units is None or len(self.units) > 1)


#: Returns the member of a name at the place of the invariant; raises `UnclearError` for an unknown name.
FindMember = Callable[[str], InvariantMember]


@dataclass(frozen=True, slots=True)
class _ComparisonSide:
    """One side of a comparison: a number, one field, a product, or the sum of either."""

    number: str = ""
    factors: tuple[InvariantMember, ...] = ()
    is_summed: bool = False


def split_clauses(text: str) -> list[str]:
    """Return the clauses of an invariant."""
    return [clause for clause in _DIVIDER.split(" ".join(text.split())) if clause]


def translate_clause(
    text: str, find_member: FindMember, outer_groups: tuple[str, ...], *, is_whole_document: bool = False
) -> dict[str, Any]:
    """Return the check for a clause, without id and labels; raise `UnclearError` with a reason.

    `outer_groups` are the asked groups around the place of the invariant: the check applies within each
    of their occurrences.  With `is_whole_document`, the invariant is one of the document, so sums and
    ``distinct`` include all items of an application.
    """
    tokens = read_tokens(text)
    first, second = tokens.peek_token(), tokens.peek_token(1)
    if first is not None and second is not None and second.text == "(" and first.text.lower() != "sum":
        check = _translate_function_check(tokens, find_member, outer_groups, is_whole_document)
    else:
        check = _translate_comparison(tokens, find_member, outer_groups, is_whole_document)
    tokens.check_end()
    return check


def _translate_function_check(
    tokens: TokenReader, find_member: FindMember, outer_groups: tuple[str, ...], is_whole_document: bool
) -> dict[str, Any]:
    name = tokens.next_token().text.lower()
    if name not in _FUNCTIONS:
        choices = ", ".join(dict.fromkeys(_FUNCTIONS.values()))
        raise UnclearError(f"{name} is nothing that a check does; it does sum, {choices}")
    tokens.expect_token("(")
    members = [_read_member(tokens, find_member)]
    while tokens.accept_token(","):
        members.append(_read_member(tokens, find_member))
    tokens.expect_token(")")
    kind = _FUNCTIONS[name]
    if not all(member.is_asked for member in members):
        raise UnclearError("it needs asked fields")
    if len({(member.per, member.groups) for member in members}) > 1:
        raise UnclearError("the fields do not stand side by side")
    if len(members) < (1 if kind == "distinct" else 2):
        raise UnclearError(f"{name} takes more fields")
    names = [member.name for member in members]
    if is_whole_document and kind != "distinct" and _is_repeated(members[0]):
        raise UnclearError(f"it stands at the document, and {names[0]} more than once")
    inner = _list_shared_groups(outer_groups, members[0].groups) if kind == "distinct" else members[0].groups
    return {
        "per": "application" if is_whole_document else _choose_check_level(members[0], inner),
        kind: names[0] if len(names) == 1 else names,
    }


def _is_repeated(member: InvariantMember) -> bool:
    """Return whether a field can occur more than once in an application."""
    return member.per == "item" or bool(member.groups)


def _list_shared_groups(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups that two places have in common."""
    return tuple(a for a, b in zip(first, second, strict=False) if a == b)


def _choose_check_level(member: InvariantMember, groups: tuple[str, ...]) -> str:
    """Return the ``per`` of a check: the innermost group, else item or application."""
    return groups[-1] if groups else member.per


def _translate_comparison(
    tokens: TokenReader, find_member: FindMember, outer_groups: tuple[str, ...], is_whole_document: bool
) -> dict[str, Any]:
    left_side = _read_comparison_side(tokens, find_member)
    sign = tokens.accept_token(*_SIGNS)
    if sign is None:
        word = tokens.peek_token()
        raise UnclearError(f"it has {word.text if word else 'nothing'} where a comparison should be")
    right_side, operator = _read_comparison_side(tokens, find_member), _SIGNS[sign]
    if (left_side.number and not right_side.number) or (right_side.is_summed and not left_side.is_summed):
        left_side, right_side, operator = right_side, left_side, _MIRRORED[operator]
    if left_side.number:
        raise UnclearError("it compares no field")
    if right_side.is_summed or len(right_side.factors) > 1:
        raise UnclearError("a value is compared with a number or one other value")
    if left_side.is_summed or len(left_side.factors) > 1:
        left_side = _order_factors(left_side, right_side)
        check = _make_sum_check(
            left_side, operator, right_side, outer_groups, is_whole_document=is_whole_document
        )
    else:
        check = _make_value_check(left_side.factors[0], operator, right_side)
    return check | _require_same_unit(left_side, right_side) | ({"within": _WITHIN} if sign == "~=" else {})


def _require_same_unit(left_side: _ComparisonSide, right_side: _ComparisonSide) -> dict[str, str]:
    """Return ``when_same`` where both sides have a unit or currency, so that unlike ones are not compared.

    Raise `UnclearError` where one side has no unit and the other may have several, and where
    both never have the same.
    """
    last_factor = left_side.factors[-1]
    compared_member = right_side.factors[0] if right_side.factors else None
    if compared_member is None or last_factor.unit_kind != compared_member.unit_kind:
        # One amount may be compared with a number in any currency; zero is zero in each unit.
        is_clear = not left_side.is_summed and (
            last_factor.unit_kind == "currency" or not float(right_side.number or 1)
        )
        for member in filter(None, (last_factor, compared_member)):
            if member.has_several_units and not is_clear:
                raise UnclearError(_describe_ambiguity(member, right_side.number or "the other side"))
        return {}
    if (
        last_factor.units
        and compared_member.units
        and not set(last_factor.units) & set(compared_member.units)
    ):
        units = (", ".join(member.units or ()) for member in (last_factor, compared_member))
        described = " and ".join(
            f"{member.name} ({text})"
            for member, text in zip((last_factor, compared_member), units, strict=True)
        )
        raise UnclearError(
            f"{described} never have the same {last_factor.unit_kind}, so it would never be checked"
        )
    same_single_unit = len(last_factor.units or ()) == 1 and last_factor.units == compared_member.units
    return {"when_same": last_factor.unit_kind} if last_factor.unit_kind and not same_single_unit else {}


def _describe_ambiguity(member: InvariantMember, compared_name: str) -> str:
    kind = {"unit": "units", "currency": "currencies"}[member.unit_kind]
    units = f"one of several {kind} ({', '.join(member.units)})" if member.units else f"any of the {kind}"
    remedy = f"give the field one {member.unit_kind}"
    return f"{member.name} may be in {units}, and {compared_name} has none: {remedy}"


def _order_factors(left_side: _ComparisonSide, right_side: _ComparisonSide) -> _ComparisonSide:
    """Return a product with the factor last whose unit is that of the right side.

    The last factor gives a product its unit; a quantity times an amount is an amount.
    """
    unit_kinds = [factor.unit_kind for factor in left_side.factors if factor.unit_kind]
    bound = right_side.factors[0].unit_kind if right_side.factors else ""
    kind = bound or next(
        (measured_kind for measured_kind in unit_kinds if measured_kind == "currency"), "unit"
    )
    if unit_kinds.count("currency") > 1 or (bound == "unit" and "currency" in unit_kinds):
        names = ", ".join(factor.name for factor in left_side.factors)
        raise UnclearError(f"the product of {names} is no amount and no quantity")
    if bound and unit_kinds and bound not in unit_kinds:
        raise UnclearError(
            f"{left_side.factors[0].name} and {right_side.factors[0].name} are an amount and a quantity"
        )
    last = [factor for factor in left_side.factors if factor.unit_kind == kind]
    rest = [factor for factor in left_side.factors if factor.unit_kind != kind]
    return _ComparisonSide(factors=(*rest, *last), is_summed=left_side.is_summed)


def _read_comparison_side(tokens: TokenReader, find_member: FindMember) -> _ComparisonSide:
    token, after = tokens.peek_token(), tokens.peek_token(1)
    if token is not None and token.text.lower() == "sum" and after is not None and after.text == "(":
        tokens.expect_token("sum", "SUM")
        tokens.expect_token("(")
        factors = _read_factors(tokens, find_member)
        tokens.expect_token(")")
        return _ComparisonSide(factors=factors, is_summed=True)
    if token is not None and token.kind in ("number", "text"):
        text = tokens.next_token().text.rstrip("%")
        if not re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?", text):
            raise UnclearError(f"{text} is no number")
        return _ComparisonSide(number=text)
    return _ComparisonSide(factors=_read_factors(tokens, find_member))


def _read_factors(tokens: TokenReader, find_member: FindMember) -> tuple[InvariantMember, ...]:
    members = [_read_member(tokens, find_member)]
    while tokens.accept_token("*"):
        members.append(_read_member(tokens, find_member))
    if len(members) > _MAX_FACTORS:
        raise UnclearError(f"it multiplies more than {_MAX_FACTORS} fields")
    return tuple(members)


def _read_member(tokens: TokenReader, find_member: FindMember) -> InvariantMember:
    word = tokens.next_token()
    if word.kind != "name":
        raise UnclearError(f"it has {word.text} where a field should be")
    return find_member(word.text)


def _make_sum_check(
    left_side: _ComparisonSide,
    operator: str,
    right_side: _ComparisonSide,
    outer_groups: tuple[str, ...],
    *,
    is_whole_document: bool,
) -> dict[str, Any]:
    """Return the check of a sum; a product alone becomes the sum of one product in its own place.

    `outer_groups` are the groups around the invariant; it is `is_whole_document` where it is one of the whole
    application.
    """
    factors = left_side.factors
    for factor in factors:
        if factor.type != "number" or not factor.is_asked:
            raise UnclearError(f"{factor.name} is no asked number")
    if len({(factor.per, factor.groups) for factor in factors}) > 1 or (
        len(factors) > 1 and any(factor.has_several_values for factor in factors)
    ):
        raise UnclearError("the factors do not stand side by side")
    groups = (
        _list_shared_groups(outer_groups, factors[0].groups) if left_side.is_summed else factors[0].groups
    )
    if right_side.factors:
        right_member = right_side.factors[0]
        if right_member.type != "number" or right_member.has_several_values:
            raise UnclearError(f"{right_member.name} is no single number")
        groups = (
            _list_shared_groups(groups, right_member.groups)
            if right_member.groups or right_member.per != factors[0].per
            else groups
        )
        if right_member.groups != groups[: len(right_member.groups)]:
            raise UnclearError(f"{right_member.name} stands in another group")
    per = _choose_check_level(factors[0], groups)
    if left_side.is_summed and (
        is_whole_document
        or (right_side.factors and right_side.factors[0].per == "application" and not groups)
    ):
        per = "application"
    if right_side.factors and per == "application" and _is_repeated(right_side.factors[0]):
        name = right_side.factors[0].name
        raise UnclearError(f"{name} stands more than once beside a total of all items: say it at {name}")
    total: dict[str, Any] = {"ask": factors[0].name}
    if len(factors) > 1:
        total = {"multiply": [factor.name for factor in factors]}
    return {"per": per, "sum": total, operator: _name_right_side(right_side)}


def _name_right_side(right_side: _ComparisonSide) -> str:
    return right_side.number or right_side.factors[0].name


def _make_value_check(member: InvariantMember, operator: str, right_side: _ComparisonSide) -> dict[str, Any]:
    """Return the comparison of one value with a number or with another value of the same type."""
    if right_side.number and member.type != "number":
        raise UnclearError(f"{member.name} is no number")
    if right_side.factors:
        _check_alike_types(member, operator, right_side.factors[0])
        if right_side.factors[0].has_several_values:
            member, right_side, operator = (
                right_side.factors[0],
                _ComparisonSide(factors=(member,)),
                _MIRRORED[operator],
            )
    per = "item" if "item" in (member.per, *(factor.per for factor in right_side.factors)) else "application"
    return {"per": per, "compare": {"left": member.name, operator: _name_right_side(right_side)}}


def _check_alike_types(left_member: InvariantMember, operator: str, right_member: InvariantMember) -> None:
    if _get_type_family(left_member) != _get_type_family(right_member):
        raise UnclearError(f"{left_member.name} and {right_member.name} are not of like type")
    if operator != "equals" and _get_type_family(left_member) not in ("number", "date"):
        raise UnclearError(f"{left_member.name} has no order")
    if (
        "" not in (left_member.unit_kind, right_member.unit_kind)
        and left_member.unit_kind != right_member.unit_kind
    ):
        raise UnclearError(f"{left_member.name} and {right_member.name} are an amount and a quantity")
    if left_member.has_several_values and right_member.has_several_values:
        raise UnclearError(f"{left_member.name} and {right_member.name} both repeat")
    if _list_shared_groups(left_member.groups, right_member.groups) not in (
        left_member.groups,
        right_member.groups,
    ):
        raise UnclearError(f"{left_member.name} and {right_member.name} stand in different groups")


def _get_type_family(member: InvariantMember) -> str:
    if member.type in ("group", "attachment"):
        raise UnclearError(f"{member.name} has no value")
    if member.type in _DATES:
        return "date"
    return member.type if member.type in ("number", "boolean") else "text"


_MAX_ITEMS: Final = 999


def describe_idle_check(check: Mapping[str, Any], fields: Mapping[str, ImportedField]) -> str:
    """Return why a check always or never holds, empty where it may do either.

    `fields` are the asked fields by name.
    """
    for kind in ("one_of", "exactly_one", "all_or_none"):
        if kind in check:
            return _describe_idle_presence_check(kind, [fields[name] for name in check[kind]])
    compared = check.get("compare", check)
    operator = next((candidate for candidate in OPERATORS if candidate in compared), "")
    if not operator:
        return ""
    left_range = (
        _find_value_range(check["compare"]["left"], fields)
        if "compare" in check
        else _compute_sum_range(check, fields)
    )
    right_range = _find_value_range(compared[operator], fields)
    if (
        left_range is None
        or right_range is None
        or can_satisfy(left_range, operator, right_range, Decimal(check.get("within", "0")))
    ):
        return ""
    ranges = f"{format_range(left_range)} is compared with {format_range(right_range)}"
    return f"by the ranges of the fields it never holds: {ranges}"


def _describe_idle_presence_check(check_kind: str, fields: list[ImportedField]) -> str:
    """Return why a rule on given fields decides nothing."""
    always = [field for field in fields if _is_mandatory(field)]
    if check_kind == "one_of" and always:
        return f"{always[0].name} is mandatory, so it always holds"
    if check_kind == "exactly_one" and always:
        return f"{always[0].name} is mandatory, so no other could be given"
    if check_kind == "all_or_none" and len(always) == len(fields):
        return "all are mandatory, so it always holds"
    return ""


def _is_mandatory(field: ImportedField) -> bool:
    """Return whether a field is given wherever the rule is applied: in each occurrence of its group."""
    return field.source.need == "M" and not field.source.condition


def _find_value_range(name: str, fields: Mapping[str, ImportedField]) -> NumberRange | None:
    """Return the bounds of a number or of an asked number; None for any other value."""
    field = fields.get(name)
    if field is None:
        number = Decimal(name) if DECIMAL.fullmatch(name) else None
        return None if number is None else NumberRange(number, number)
    if field.source.type not in ("quantity", "measure", "amount"):
        return None
    if field.source.bounds is not None:
        return NumberRange(Decimal(field.source.bounds[0]), Decimal(field.source.bounds[1]))
    return NumberRange(-INFINITE if field.source.type == "measure" else Decimal(0), INFINITE)


def _compute_sum_range(check: Mapping[str, Any], fields: Mapping[str, ImportedField]) -> NumberRange | None:
    """Return the bounds of a sum of at least one value."""
    total = check["sum"]
    names = total["multiply"] if "multiply" in total else [total["ask"]]
    bounds = [_find_value_range(name, fields) for name in names]
    if any(bound is None for bound in bounds):
        return None
    product = reduce(multiply_ranges, [bound for bound in bounds if bound is not None])
    return sum_range(product, _count_max_occurrences(fields[names[0]], check["per"]))


def _count_max_occurrences(field: ImportedField, per: str) -> int:
    """Return how often a field can occur at most within an occurrence of `per`."""
    most = field.max_occurrences
    for group in reversed(field.groups):
        if group.name == per:
            return most
        most *= group.max_occurrences
    return most * (_MAX_ITEMS if per == "application" and field.home == "item" else 1)
