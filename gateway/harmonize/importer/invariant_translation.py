"""Translates an invariant that an inventory writes as a text into checks of the mapping language.

An invariant is a sequence of clauses, divided by ``;`` or ``and``: ``sum(f) <= 100``,
``sum(a * b) <= invoice.amount``, ``from <= to``, ``distinct(lot.no)``, ``one_of(a, b)``,
``exactly_one(a, b)``, ``all_or_none(a, b)``.  ``~=`` means within 0.5.  Each clause is translated
by itself: it becomes a check, or raises `UnclearError` with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.harmonize.importer.tokenizer import TokenReader, UnclearError, read_tokens

__all__ = ["InvariantMember", "Locate", "split_clauses", "translate_clause"]

_SIGNS: Final = {
    "<=": "at_most",
    ">=": "at_least",
    "==": "equals",
    "~=": "equals",
    "<": "less_than",
    ">": "more_than",
}
_TURNED: Final = {
    "at_most": "at_least",
    "at_least": "at_most",
    "less_than": "more_than",
    "more_than": "less_than",
    "equals": "equals",
}
_NAMED: Final = {
    "distinct": "distinct",
    "unique": "distinct",
    "one_of": "one_of",
    "any_of": "one_of",
    "exactly_one": "exactly_one",
    "all_or_none": "all_or_none",
}
_WITHIN: Final = "0.5"
_MOST_FACTORS: Final = 8
_DIVIDER: Final = re.compile(r"\s*;\s*|\s+(?:and|AND)\s+")
_DATES: Final = ("date", "datetime")


@dataclass(frozen=True, slots=True)
class InvariantMember:
    """The field or meaning of a name in an invariant.

    `per` is application or item; `groups` are the asked groups around it, the outermost
    first; `asked` is true for a field of the document, false for a common meaning; `several`
    is true where the field itself may have several values; `measured` is the kind of its
    unit: unit, currency or empty.  `units` are the units or currencies that a value may have,
    None where it may have any.
    """

    name: str
    type: str
    per: str
    asked: bool
    groups: tuple[str, ...] = ()
    several: bool = False
    measured: str = ""
    units: tuple[str, ...] | None = ()

    @property
    def has_several_units(self) -> bool:
        """Return whether two values may have different units or currencies."""
        return bool(self.measured) and (self.units is None or len(self.units) > 1)


#: Returns the member of a name at the place of the invariant; raises `UnclearError` for an unknown name.
Locate = Callable[[str], InvariantMember]


@dataclass(frozen=True, slots=True)
class _ComparisonSide:
    """One side of a comparison: a number, one field, a product, or the sum of either."""

    number: str = ""
    factors: tuple[InvariantMember, ...] = ()
    summed: bool = False


def split_clauses(text: str) -> list[str]:
    """Return the clauses of an invariant."""
    return [clause for clause in _DIVIDER.split(" ".join(text.split())) if clause]


def translate_clause(
    text: str, locate: Locate, home: tuple[str, ...], *, whole: bool = False
) -> dict[str, Any]:
    """Return the check for a clause, without id and labels; raise `UnclearError` with a reason.

    `home` are the asked groups around the place of the invariant: the check applies within each
    of their occurrences.  With `whole`, the invariant stands at the document, so sums and
    ``distinct`` include all items of an application.
    """
    words = read_tokens(text)
    first, second = words.peek_token(), words.peek_token(1)
    if first is not None and second is not None and second.text == "(" and first.text.lower() != "sum":
        check = _translate_name_rule(words, locate, home, whole)
    else:
        check = _translate_comparison(words, locate, home, whole)
    words.check_end()
    return check


def _translate_name_rule(
    words: TokenReader, locate: Locate, home: tuple[str, ...], whole: bool
) -> dict[str, Any]:
    name = words.next_token().text.lower()
    if name not in _NAMED:
        known = ", ".join(dict.fromkeys(_NAMED.values()))
        raise UnclearError(f"{name} is nothing that a check does; it does sum, {known}")
    words.need_token("(")
    members = [_read_member(words, locate)]
    while words.take_token(","):
        members.append(_read_member(words, locate))
    words.need_token(")")
    kind = _NAMED[name]
    if not all(member.asked for member in members):
        raise UnclearError("it needs asked fields")
    if len({(member.per, member.groups) for member in members}) > 1:
        raise UnclearError("the fields do not stand side by side")
    if len(members) < (1 if kind == "distinct" else 2):
        raise UnclearError(f"{name} takes more fields")
    names = [member.name for member in members]
    if whole and kind != "distinct" and _is_repeated(members[0]):
        raise UnclearError(f"it stands at the document, and {names[0]} more than once")
    inner = _list_shared_groups(home, members[0].groups) if kind == "distinct" else members[0].groups
    return {
        "per": "application" if whole else _choose_check_place(members[0], inner),
        kind: names[0] if len(names) == 1 else names,
    }


def _is_repeated(member: InvariantMember) -> bool:
    """Return whether a field can occur more than once in an application."""
    return member.per == "item" or bool(member.groups)


def _list_shared_groups(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups that two places have in common."""
    return tuple(a for a, b in zip(first, second, strict=False) if a == b)


def _choose_check_place(member: InvariantMember, groups: tuple[str, ...]) -> str:
    """Return the ``per`` of a check: the innermost group, else item or application."""
    return groups[-1] if groups else member.per


def _translate_comparison(
    words: TokenReader, locate: Locate, home: tuple[str, ...], whole: bool
) -> dict[str, Any]:
    left = _read_side(words, locate)
    sign = words.take_token(*_SIGNS)
    if sign is None:
        word = words.peek_token()
        raise UnclearError(f"it has {word.text if word else 'nothing'} where a comparison should be")
    right, operator = _read_side(words, locate), _SIGNS[sign]
    if (left.number and not right.number) or (right.summed and not left.summed):
        left, right, operator = right, left, _TURNED[operator]
    if left.number:
        raise UnclearError("it compares no field")
    if right.summed or len(right.factors) > 1:
        raise UnclearError("a value is compared with a number or one other value")
    if left.summed or len(left.factors) > 1:
        left = _order_factors(left, right)
        check = _make_sum_check(left, operator, right, (home, whole))
    else:
        check = _make_value_check(left.factors[0], operator, right)
    return check | _require_same_unit(left, right) | ({"within": _WITHIN} if sign == "~=" else {})


def _require_same_unit(left: _ComparisonSide, right: _ComparisonSide) -> dict[str, str]:
    """Return ``when_same`` where both sides have a unit or currency, so that unlike ones are not compared.

    Raise `UnclearError` where one side has no unit and the other may have several, and where
    both never have the same.
    """
    last = left.factors[-1]
    other = right.factors[0] if right.factors else None
    if other is None or last.measured != other.measured:
        # One amount may be compared with a number in any currency; zero is zero in each unit.
        is_clear = not left.summed and (last.measured == "currency" or not float(right.number or 1))
        for member in filter(None, (last, other)):
            if member.has_several_units and not is_clear:
                raise UnclearError(_describe_ambiguity(member, right.number or "the other side"))
        return {}
    if last.units and other.units and not set(last.units) & set(other.units):
        units = (", ".join(one.units or ()) for one in (last, other))
        told = " and ".join(f"{one.name} ({text})" for one, text in zip((last, other), units, strict=True))
        raise UnclearError(f"{told} never have the same {last.measured}, so it would never be checked")
    alike = len(last.units or ()) == 1 and last.units == other.units
    return {"when_same": last.measured} if last.measured and not alike else {}


def _describe_ambiguity(member: InvariantMember, bound: str) -> str:
    kind = {"unit": "units", "currency": "currencies"}[member.measured]
    units = f"one of several {kind} ({', '.join(member.units)})" if member.units else f"any of the {kind}"
    return f"{member.name} may be in {units}, and {bound} has none: give the field one {member.measured}"


def _order_factors(left: _ComparisonSide, right: _ComparisonSide) -> _ComparisonSide:
    """Return a product with the factor last whose unit is that of the right side.

    The last factor gives a product its unit; a quantity times an amount is an amount.
    """
    kinds = [factor.measured for factor in left.factors if factor.measured]
    bound = right.factors[0].measured if right.factors else ""
    kind = bound or next((one for one in kinds if one == "currency"), "unit")
    if kinds.count("currency") > 1 or (bound == "unit" and "currency" in kinds):
        names = ", ".join(factor.name for factor in left.factors)
        raise UnclearError(f"the product of {names} is no amount and no quantity")
    if bound and kinds and bound not in kinds:
        raise UnclearError(f"{left.factors[0].name} and {right.factors[0].name} are an amount and a quantity")
    last = [factor for factor in left.factors if factor.measured == kind]
    rest = [factor for factor in left.factors if factor.measured != kind]
    return _ComparisonSide(factors=(*rest, *last), summed=left.summed)


def _read_side(words: TokenReader, locate: Locate) -> _ComparisonSide:
    word, after = words.peek_token(), words.peek_token(1)
    if word is not None and word.text.lower() == "sum" and after is not None and after.text == "(":
        words.need_token("sum", "SUM")
        words.need_token("(")
        factors = _read_factors(words, locate)
        words.need_token(")")
        return _ComparisonSide(factors=factors, summed=True)
    if word is not None and word.kind in ("number", "text"):
        text = words.next_token().text.rstrip("%")
        if not re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?", text):
            raise UnclearError(f"{text} is no number")
        return _ComparisonSide(number=text)
    return _ComparisonSide(factors=_read_factors(words, locate))


def _read_factors(words: TokenReader, locate: Locate) -> tuple[InvariantMember, ...]:
    found = [_read_member(words, locate)]
    while words.take_token("*"):
        found.append(_read_member(words, locate))
    if len(found) > _MOST_FACTORS:
        raise UnclearError(f"it multiplies more than {_MOST_FACTORS} fields")
    return tuple(found)


def _read_member(words: TokenReader, locate: Locate) -> InvariantMember:
    word = words.next_token()
    if word.kind != "name":
        raise UnclearError(f"it has {word.text} where a field should be")
    return locate(word.text)


def _make_sum_check(
    left: _ComparisonSide, operator: str, right: _ComparisonSide, where: tuple[tuple[str, ...], bool]
) -> dict[str, Any]:
    """Return the check of a sum; a product alone becomes the sum of one product in its own place."""
    (home, whole), factors = where, left.factors
    for factor in factors:
        if factor.type != "number" or not factor.asked:
            raise UnclearError(f"{factor.name} is no asked number")
    if len({(factor.per, factor.groups) for factor in factors}) > 1 or (
        len(factors) > 1 and any(factor.several for factor in factors)
    ):
        raise UnclearError("the factors do not stand side by side")
    groups = _list_shared_groups(home, factors[0].groups) if left.summed else factors[0].groups
    if right.factors:
        bound = right.factors[0]
        if bound.type != "number" or bound.several:
            raise UnclearError(f"{bound.name} is no single number")
        groups = (
            _list_shared_groups(groups, bound.groups)
            if bound.groups or bound.per != factors[0].per
            else groups
        )
        if bound.groups != groups[: len(bound.groups)]:
            raise UnclearError(f"{bound.name} stands in another group")
    per = _choose_check_place(factors[0], groups)
    if left.summed and (whole or (right.factors and right.factors[0].per == "application" and not groups)):
        per = "application"
    if right.factors and per == "application" and _is_repeated(right.factors[0]):
        name = right.factors[0].name
        raise UnclearError(f"{name} stands more than once beside a total of all items: say it at {name}")
    total: dict[str, Any] = {"ask": factors[0].name}
    if len(factors) > 1:
        total = {"multiply": [factor.name for factor in factors]}
    return {"per": per, "sum": total, operator: _name_right_side(right)}


def _name_right_side(right: _ComparisonSide) -> str:
    return right.number or right.factors[0].name


def _make_value_check(left: InvariantMember, operator: str, right: _ComparisonSide) -> dict[str, Any]:
    """Return the comparison of one value with a number or with another value of the same type."""
    if right.number and left.type != "number":
        raise UnclearError(f"{left.name} is no number")
    if right.factors:
        _check_alike_types(left, operator, right.factors[0])
        if right.factors[0].several:
            left, right, operator = right.factors[0], _ComparisonSide(factors=(left,)), _TURNED[operator]
    per = "item" if "item" in (left.per, *(one.per for one in right.factors)) else "application"
    return {"per": per, "compare": {"left": left.name, operator: _name_right_side(right)}}


def _check_alike_types(left: InvariantMember, operator: str, right: InvariantMember) -> None:
    if _get_type_family(left) != _get_type_family(right):
        raise UnclearError(f"{left.name} and {right.name} are not of like type")
    if operator != "equals" and _get_type_family(left) not in ("number", "date"):
        raise UnclearError(f"{left.name} has no order")
    if "" not in (left.measured, right.measured) and left.measured != right.measured:
        raise UnclearError(f"{left.name} and {right.name} are an amount and a quantity")
    if left.several and right.several:
        raise UnclearError(f"{left.name} and {right.name} both repeat")
    if _list_shared_groups(left.groups, right.groups) not in (left.groups, right.groups):
        raise UnclearError(f"{left.name} and {right.name} stand in different groups")


def _get_type_family(member: InvariantMember) -> str:
    if member.type in ("group", "attachment"):
        raise UnclearError(f"{member.name} has no value")
    if member.type in _DATES:
        return "date"
    return member.type if member.type in ("number", "boolean") else "text"
