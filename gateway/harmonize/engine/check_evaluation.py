"""Evaluates the checks of a document on a submission; reports each failure with its pointer."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN
from gateway.harmonize.language import (
    EXACT,
    DocumentCheck,
    DocumentMapping,
    enter_repetition,
    format_plain_decimal,
    get_value_family,
    list_enclosing_repetitions,
)
from gateway.harmonize.submission import FoundValue, Scope
from gateway.harmonize.types import DECIMAL, CommonMeaning, UniqueField, make_pointer_segment

__all__ = ["evaluate_checks"]

_SHOWN: Final = 40
_DAY: Final = 10
_OPERATORS: Final = {
    "at_most": "at most",
    "at_least": "at least",
    "more_than": "more than",
    "less_than": "less than",
    "equals": "equal to",
}
# The place of a failure: a pointer, or the element from which the pointer is made.
_Place = str | etree._Element


def evaluate_checks(scope: Scope, document: DocumentMapping, place: str) -> None:
    """Report each declared check that fails; `place` is the pointer of the fields."""
    for check in document.checks:
        scopes = [scope]
        for level in check.around:
            scopes = [inner for outer in scopes for inner in enter_repetition(outer, level)]
        for inner in scopes:
            # A guard is always read, so that the read set does not depend on its value.
            if check.when is None or check.when.is_satisfied(inner):
                _RULES[check.kind](inner, check, _locate_scope(inner, place))


def _locate_scope(scope: Scope, place: str) -> _Place:
    """Return the place of the fields of `scope`: in a group, in an item, or at the top."""
    inner = [*scope.common.values(), *scope.asked.values()]
    if inner:
        return inner[-1]
    return place if scope.item is None else f"{place}/ITEM[{scope.item}]"


def _make_pointer(scope: Scope, place: _Place) -> str:
    """Return a place as a pointer; made for failures only, since making it counts elements."""
    return place if isinstance(place, str) else scope.facts.get_pointer(place)


def _report_check_failure(scope: Scope, check: DocumentCheck, words: str, place: _Place) -> None:
    detail = f"{check.en} ({check.ko}): {words}" if words else f"{check.en} ({check.ko})"
    scope.trace.report_problem(
        RULE_BROKEN, detail, _make_pointer(scope, place), (scope.application, check.mark)
    )


def _check_sum(scope: Scope, check: DocumentCheck, place: _Place) -> None:
    total, units, seen = Decimal(0), set(), False
    for inner in scope.list_value_scopes(check.factors[0]):
        products = [Decimal(1)]
        for source in check.factors:
            found = inner.read_values(source, check.mark)
            if source is check.factors[-1]:
                units |= {_read_stated_unit(inner, source, one, check) for one in found}
            numbers = [number for one in found if (number := _parse_number(one.text)) is not None]
            products = [EXACT.multiply(product, number) for product in products for number in numbers]
        seen = seen or bool(products)
        for product in products:
            total = EXACT.add(total, product)
    bound = _evaluate_bound(scope, check)
    if not seen or bound is None or not _has_same_unit(scope, check, units | {bound[1]}, place):
        return
    if not _is_comparison_true(total, bound[0], check):
        words = _describe_failure(_format_number(total), check, _format_number(bound[0]))
        _report_check_failure(scope, check, words, place)


def _evaluate_bound(scope: Scope, check: DocumentCheck) -> tuple[Decimal, str | None] | None:
    """Return the bound with its unit, None where it has no single number."""
    if not isinstance(check.bound, UniqueField | CommonMeaning):
        return Decimal(check.bound or "0"), None
    found = scope.read_values(check.bound, check.mark)
    number = _parse_number(found[0].text) if len(found) == 1 else None
    return None if number is None else (number, _read_stated_unit(scope, check.bound, found[0], check))


def _has_same_unit(scope: Scope, check: DocumentCheck, units: set[str | None], place: _Place) -> bool:
    """Return whether values have one unit or currency; if not, report it unless ``when_same`` is set."""
    known = units - {None}
    if len(known) <= 1:
        return True
    if not check.same_unit:
        names = ", ".join(sorted(str(unit)[:_SHOWN] for unit in known))
        _report_check_failure(scope, check, f"values of different units cannot be compared: {names}", place)
    return False


def _read_stated_unit(
    scope: Scope, source: UniqueField | CommonMeaning, found: FoundValue, check: DocumentCheck
) -> str | None:
    """Return the unit or currency of a value; the fixed unit where none is written."""
    if source.attribute is None:
        return None
    leaf = scope.facts.attributes.get((found.element, source.attribute))
    scope.trace.record_fate(() if leaf is None else (leaf,), "consumed", check.mark)
    stated = found.element.get(source.attribute)
    default = source.fixed_unit if isinstance(source, UniqueField) else None
    return default if stated is None else str(stated)


def _check_comparison(scope: Scope, check: DocumentCheck, _around: _Place) -> None:
    (left,) = check.factors
    lefts = scope.read_values(left, check.mark)
    right = check.bound
    rights = scope.read_values(right, check.mark) if isinstance(right, UniqueField | CommonMeaning) else ()
    if isinstance(right, UniqueField | CommonMeaning) and len(rights) != 1:
        return
    text = rights[0].text if rights else str(right)
    unit = (
        _read_stated_unit(scope, right, rights[0], check)
        if isinstance(right, UniqueField | CommonMeaning)
        else None
    )
    for one in lefts:
        pair = _parse_comparable_values(left, one.text.strip(), text.strip(), check.days)
        if pair is None or not _has_same_unit(
            scope, check, {_read_stated_unit(scope, left, one, check), unit}, one.element
        ):
            continue
        if not _is_comparison_true(pair[0], pair[1], check):
            words = _describe_failure(one.text.strip()[:_SHOWN], check, text[:_SHOWN])
            _report_check_failure(scope, check, words, one.element)


_Ordered = Decimal | datetime | str


def _parse_comparable_values(
    source: UniqueField | CommonMeaning, left: str, right: str, days: int
) -> tuple[_Ordered, _Ordered] | None:
    """Return both sides parsed as their kind (number, time or text), None where one cannot be parsed.

    `days` are added to a right side that is a date or a date with time.
    """
    kind = get_value_family(source)
    if kind == "number":
        numbers = _parse_number(left), _parse_number(right)
        return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])
    if kind != "time":
        return left, right
    try:
        moments = datetime.fromisoformat(left), datetime.fromisoformat(right)
        if "T" in left and "T" in right and (moments[0].tzinfo is None) == (moments[1].tzinfo is None):
            return moments[0], moments[1] + timedelta(days=days)
        later = date.fromisoformat(right[:_DAY]) + timedelta(days=days)
        return left[:_DAY], later.isoformat()
    except (ValueError, OverflowError):
        return None


def _is_comparison_true(left: _Ordered, right: _Ordered, check: DocumentCheck) -> bool:
    if isinstance(left, Decimal) and isinstance(right, Decimal) and check.operator == "equals":
        return abs(EXACT.subtract(left, right)) <= check.within
    return {
        "at_most": left <= right,  # type: ignore[operator]
        "at_least": left >= right,  # type: ignore[operator]
        "more_than": left > right,  # type: ignore[operator]
        "less_than": left < right,  # type: ignore[operator]
        "equals": left == right,
    }[check.operator]


def _check_distinct_values(scope: Scope, check: DocumentCheck, _around: _Place) -> None:
    seen: set[tuple[str, ...]] = set()
    for inner in scope.list_value_scopes(check.factors[0]):
        found = [inner.read_values(source, check.mark) for source in check.factors]
        rows = [(one,) for one in found[0]] if len(found) == 1 else [tuple(one[0] for one in found if one)]
        for row in rows:
            key = tuple(one.text.strip() for one in row)
            if len(key) == len(check.factors) and key in seen:
                words = f"{', '.join(key)[:_SHOWN]} is given again"
                _report_check_failure(inner, check, words, row[0].element)
            seen.add(key)


def _is_source_given(scope: Scope, source: UniqueField | CommonMeaning, check: DocumentCheck) -> bool:
    """Return whether a field, or an occurrence of a group, is given in `scope` or below."""
    if isinstance(source, UniqueField) and source.type == "group":
        return bool(scope.list_occurrence_scopes(source))
    return bool(scope.read_values(source, check.mark))


def _locate_field(
    scope: Scope, check: DocumentCheck, source: UniqueField | CommonMeaning, place: _Place
) -> _Place:
    """Return the place of a field, where it is or should be."""
    if not isinstance(source, UniqueField) or len(list_enclosing_repetitions(source, scope.dictionary)) > len(
        check.around
    ):
        return place
    return f"{_make_pointer(scope, place)}/{make_pointer_segment(source)}"


def _check_one_of(scope: Scope, check: DocumentCheck, place: _Place) -> None:
    if not any([_is_source_given(scope, source, check) for source in check.factors]):
        names = ", ".join(source.en for source in check.factors)
        _report_check_failure(
            scope,
            check,
            f"none of {names} is given",
            _locate_field(scope, check, check.factors[0], place),
        )


def _check_exactly_one(scope: Scope, check: DocumentCheck, place: _Place) -> None:
    given = [source for source in check.factors if _is_source_given(scope, source, check)]
    if not given:
        _check_one_of(scope, check, place)
    elif len(given) > 1:
        names = ", ".join(source.en for source in given)
        words = f"only one of {names} may be given"
        _report_check_failure(scope, check, words, _locate_field(scope, check, given[1], place))


def _check_all_or_none(scope: Scope, check: DocumentCheck, place: _Place) -> None:
    given = [_is_source_given(scope, source, check) for source in check.factors]
    if any(given) and not all(given):
        missing = check.factors[given.index(False)]
        words = f"{missing.en} ({missing.ko}) is missing beside {check.factors[given.index(True)].en}"
        _report_check_failure(scope, check, words, _locate_field(scope, check, missing, place))


_RULES: Final = {
    "sum": _check_sum,
    "compare": _check_comparison,
    "distinct": _check_distinct_values,
    "one_of": _check_one_of,
    "exactly_one": _check_exactly_one,
    "all_or_none": _check_all_or_none,
}


def _describe_failure(left: str, check: DocumentCheck, right: str) -> str:
    """Return a comparison that is not true, in words."""
    operator = _OPERATORS[check.operator] + (f" {check.days} days from" if check.days else "")
    within = f" (within {format_plain_decimal(check.within)})" if check.within else ""
    return f"{left} is not {operator} {right}{within}"


def _parse_number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if DECIMAL.fullmatch(text.strip()) else None


def _format_number(number: Decimal) -> str:
    text = format_plain_decimal(number)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
