"""Evaluates the checks of a document on a submission; reports each failure with its pointer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from gateway.errors import RULE_BROKEN
from gateway.harmonize.engine.problem_places import ProblemPlace
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
from gateway.harmonize.types import (
    DECIMAL,
    CommonMeaning,
    UniqueField,
    format_decimal,
    make_pointer_segment,
    round_fraction,
)

__all__ = ["evaluate_checks"]

_SHOWN: Final = 40
#: A total that is no finite decimal is told with so many decimals.
_DECIMALS: Final = 6
_DAY: Final = 10
_OPERATORS: Final = {
    "at_most": "at most",
    "at_least": "at least",
    "more_than": "more than",
    "less_than": "less than",
    "equals": "equal to",
}


def evaluate_checks(scope: Scope, document: DocumentMapping, place: ProblemPlace) -> None:
    """Report each declared check that fails; `place` is that of the fields."""
    for check in document.checks:
        scopes = [scope]
        for level in check.around:
            scopes = [inner for outer in scopes for inner in enter_repetition(outer, level)]
        for inner in scopes:
            # A guard is always read, so that the read set does not depend on its value.
            if check.when is None or check.when.is_satisfied(inner):
                _RULES[check.kind](inner, check, _locate_scope(inner, place))


def _locate_scope(scope: Scope, place: ProblemPlace) -> ProblemPlace:
    """Return the place of the fields of `scope`: in a group, in an item, or at the top."""
    inner = [*scope.common.values(), *scope.asked.values()]
    if inner:
        return ProblemPlace(inner[-1])
    return place if scope.item is None else place.add_step(f"ITEM[{scope.item}]")


def _report_check_failure(scope: Scope, check: DocumentCheck, words: str, place: ProblemPlace) -> None:
    detail = f"{check.en} ({check.ko}): {words}" if words else f"{check.en} ({check.ko})"
    pointer = place.make_pointer(scope.facts)
    scope.trace.report_problem(RULE_BROKEN, detail, pointer, (scope.application, check.mark))


def _check_sum(scope: Scope, check: DocumentCheck, place: ProblemPlace) -> None:
    added: list[_Measured] = []
    unlike: list[tuple[FoundValue, str]] = []
    for inner in scope.list_value_scopes(check.factors[0]):
        products = [_Measured(Decimal(1), None)]
        for position in range(len(check.factors)):
            numbers = _read_factor(inner, check, position, unlike)
            products = [
                _Measured(_multiply_exactly(product.number, one.number), one.unit)
                for product in products
                for one in numbers
            ]
        added += products
    bound = _evaluate_bound(scope, check)
    if unlike:
        found, words = unlike[0]
        _report_check_failure(scope, check, words, ProblemPlace(found.element))
        return
    if not added or bound is None:
        return
    pair = _unite_numbers(scope, check, added, bound, place)
    if pair is not None and not _is_comparison_true(pair.left, pair.right, check):
        words = _describe_failure(pair.describe(pair.left), check, pair.describe(pair.right))
        _report_check_failure(scope, check, words, place)


def _read_factor(
    scope: Scope, check: DocumentCheck, position: int, unlike: list[tuple[FoundValue, str]]
) -> list[_Measured]:
    """Return the numbers of one factor: those of the last with their units, others as the check counts them.

    A value that cannot be converted to the unit in which its factor counts is added to `unlike`.
    """
    source, to = check.factors[position], check.get_counted_unit(position)
    last = position == len(check.factors) - 1
    read: list[_Measured] = []
    for one in scope.read_values(source, check.mark):
        unit = scope.read_unit(source, one, check.mark) if last or to is not None else None
        number = _parse_number(one.text)
        if number is None:
            continue
        if to is None:
            read.append(_Measured(number, unit))
            continue
        exact = None if unit is None else check.units.convert_quantity(Fraction(number), unit, to)
        if exact is None:
            words = f"a value in {(unit or 'no unit')[:_SHOWN]} cannot be counted in {to}"
            unlike.append((one, words))
        else:
            read.append(_Measured(exact, None))
    return read


def _multiply_exactly(one: Decimal | Fraction, other: Decimal | Fraction) -> Decimal | Fraction:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return EXACT.multiply(one, other)
    return Fraction(one) * Fraction(other)


def _evaluate_bound(scope: Scope, check: DocumentCheck) -> _Measured | None:
    """Return the bound with its unit, None where it has no single number."""
    if not isinstance(check.bound, UniqueField | CommonMeaning):
        return _Measured(Decimal(check.bound or "0"), None)
    found = scope.read_values(check.bound, check.mark)
    number = _parse_number(found[0].text) if len(found) == 1 else None
    if number is None:
        return None
    return _Measured(number, scope.read_unit(check.bound, found[0], check.mark))


class _Measured(NamedTuple):
    """A number with its unit or currency."""

    number: Decimal | Fraction
    unit: str | None


class _NumberPair(NamedTuple):
    """Two numbers to compare; in `unit` where they were converted to one."""

    left: Decimal | Fraction
    right: Decimal | Fraction
    unit: str | None = None

    def describe(self, number: Decimal | Fraction) -> str:
        """Return one of the numbers as text; one that is no finite decimal is rounded."""
        if isinstance(number, Decimal):
            return _format_number(number)
        text = format_decimal(number)
        if text is None:
            text = f"about {format_decimal(round_fraction(number, _DECIMALS, 'half_up') or Fraction(0))}"
        return f"{_cut_text(text)} {self.unit or ''}".rstrip()


def _unite_numbers(
    scope: Scope, check: DocumentCheck, added: Sequence[_Measured], bound: _Measured, place: ProblemPlace
) -> _NumberPair | None:
    """Return the sum of numbers and their bound in one unit: that of the bound, else of the first number.

    Quantities of one dimension are converted exactly. Return None where the rule does not compare different
    units, and for others after they were reported.
    """
    known = dict.fromkeys(one.unit for one in (bound, *added) if one.unit is not None)
    if len(known) <= 1:
        return _add_numbers([one.number for one in added], bound.number)
    if check.same_unit:
        return None
    to = next(iter(known))
    converted = [_convert_number(check, one, to) for one in added]
    numbers = [one for one in converted if one is not None]
    if len(numbers) < len(converted):
        names = ", ".join(sorted(unit[:_SHOWN] for unit in known))
        _report_check_failure(scope, check, f"values of different units cannot be compared: {names}", place)
        return None
    return _NumberPair(sum(numbers, Fraction(0)), Fraction(bound.number), to)


def _add_numbers(added: Sequence[Decimal | Fraction], bound: Decimal | Fraction) -> _NumberPair:
    """Return the sum of numbers of one unit, or of none, and their bound."""
    decimals = [one for one in added if isinstance(one, Decimal)]
    if len(decimals) < len(added):
        return _NumberPair(sum((Fraction(one) for one in added), Fraction(0)), Fraction(bound))
    total = Decimal(0)
    for one in decimals:
        total = EXACT.add(total, one)
    return _NumberPair(total, bound)


def _convert_number(check: DocumentCheck, one: _Measured, to: str) -> Fraction | None:
    """Return a number in a unit, exactly; None where the units have no dimension in common, as currencies."""
    if one.unit is None or one.unit == to:
        return Fraction(one.number)
    if check.factors[-1].attribute != "unitCode":
        return None
    return check.units.convert_quantity(Fraction(one.number), one.unit, to)


def _check_comparison(scope: Scope, check: DocumentCheck, _around: ProblemPlace) -> None:
    (left,) = check.factors
    lefts = scope.read_values(left, check.mark)
    right = check.bound
    rights = scope.read_values(right, check.mark) if isinstance(right, UniqueField | CommonMeaning) else ()
    if isinstance(right, UniqueField | CommonMeaning) and len(rights) != 1:
        return
    text = rights[0].text if rights else str(right)
    unit = (
        scope.read_unit(right, rights[0], check.mark)
        if isinstance(right, UniqueField | CommonMeaning)
        else None
    )
    for one in lefts:
        pair = _parse_comparable_values(left, one.text.strip(), text.strip(), check.days)
        if pair is None:
            continue
        words = one.text.strip()[:_SHOWN], text[:_SHOWN]
        if isinstance(pair[0], Decimal) and isinstance(pair[1], Decimal):
            own = _Measured(pair[0], scope.read_unit(left, one, check.mark))
            united = _unite_numbers(scope, check, [own], _Measured(pair[1], unit), ProblemPlace(one.element))
            if united is None:
                continue
            pair = united.left, united.right
            if united.unit is not None:
                words = united.describe(united.left), united.describe(united.right)
        if not _is_comparison_true(pair[0], pair[1], check):
            told = _describe_failure(words[0], check, words[1])
            _report_check_failure(scope, check, told, ProblemPlace(one.element))


_Ordered = Decimal | Fraction | datetime | str


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
    if isinstance(left, Fraction) and isinstance(right, Fraction) and check.operator == "equals":
        return abs(left - right) <= Fraction(check.within)
    if isinstance(left, Decimal) and isinstance(right, Decimal) and check.operator == "equals":
        return abs(EXACT.subtract(left, right)) <= check.within
    return {
        "at_most": left <= right,  # type: ignore[operator]
        "at_least": left >= right,  # type: ignore[operator]
        "more_than": left > right,  # type: ignore[operator]
        "less_than": left < right,  # type: ignore[operator]
        "equals": left == right,
    }[check.operator]


def _check_distinct_values(scope: Scope, check: DocumentCheck, _around: ProblemPlace) -> None:
    seen: set[tuple[str, ...]] = set()
    for inner in scope.list_value_scopes(check.factors[0]):
        found = [inner.read_values(source, check.mark) for source in check.factors]
        rows = [(one,) for one in found[0]] if len(found) == 1 else [tuple(one[0] for one in found if one)]
        for row in rows:
            key = tuple(one.text.strip() for one in row)
            if len(key) == len(check.factors) and key in seen:
                words = f"{', '.join(key)[:_SHOWN]} is given again"
                _report_check_failure(inner, check, words, ProblemPlace(row[0].element))
            seen.add(key)


def _is_source_given(scope: Scope, source: UniqueField | CommonMeaning, check: DocumentCheck) -> bool:
    """Return whether a field, or an occurrence of a group, is given in `scope` or below."""
    if isinstance(source, UniqueField) and source.type == "group":
        return bool(scope.list_occurrence_scopes(source))
    return bool(scope.read_values(source, check.mark))


def _locate_field(
    scope: Scope, check: DocumentCheck, source: UniqueField | CommonMeaning, place: ProblemPlace
) -> ProblemPlace:
    """Return the place of a field, where it is or should be."""
    if not isinstance(source, UniqueField) or len(list_enclosing_repetitions(source, scope.dictionary)) > len(
        check.around
    ):
        return place
    return place.add_step(make_pointer_segment(source))


def _check_one_of(scope: Scope, check: DocumentCheck, place: ProblemPlace) -> None:
    if not any([_is_source_given(scope, source, check) for source in check.factors]):
        names = ", ".join(source.en for source in check.factors)
        _report_check_failure(
            scope,
            check,
            f"none of {names} is given",
            _locate_field(scope, check, check.factors[0], place),
        )


def _check_exactly_one(scope: Scope, check: DocumentCheck, place: ProblemPlace) -> None:
    given = [source for source in check.factors if _is_source_given(scope, source, check)]
    if not given:
        _check_one_of(scope, check, place)
    elif len(given) > 1:
        names = ", ".join(source.en for source in given)
        words = f"only one of {names} may be given"
        _report_check_failure(scope, check, words, _locate_field(scope, check, given[1], place))


def _check_all_or_none(scope: Scope, check: DocumentCheck, place: ProblemPlace) -> None:
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
    return _cut_text(format_plain_decimal(number))


def _cut_text(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
