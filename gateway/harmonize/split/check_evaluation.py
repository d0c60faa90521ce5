"""Evaluates the checks of a document on a submission; reports each failure with its pointer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Final, NamedTuple

from gateway.errors import RULE_BROKEN
from gateway.harmonize.language import (
    DECIMAL,
    DocumentCheck,
    DocumentMapping,
    Field,
    UniqueField,
    format_decimal,
    format_plain_decimal,
    get_value_family,
    localize_moment,
    make_pointer_segment,
    parse_fraction,
    round_fraction,
)
from gateway.harmonize.split.evaluation_scope import Scope
from gateway.harmonize.split.required_fields import ProblemPlace
from gateway.harmonize.split.submission_index import FoundValue

_MAX_QUOTED_CHARACTERS: Final = 40
#: Decimals with which a total without a finite decimal form is shown.
_DECIMALS: Final = 6
_DAY: Final = 10
_OPERATORS: Final = {
    "at_most": "at most",
    "at_least": "at least",
    "more_than": "more than",
    "less_than": "less than",
    "equals": "equal to",
}


def evaluate_checks(scope: Scope, document: DocumentMapping, problem_place: ProblemPlace) -> None:
    """Report each declared check that fails; `problem_place` is that of the fields."""
    for check in document.checks:
        scopes = [scope]
        for level in check.repetitions:
            scopes = [inner for outer in scopes for inner in outer.enter_repetition(level)]
        for inner in scopes:
            # A guard is always read, so that the read set does not depend on its value.
            if check.when is None or check.when.is_satisfied(inner):
                _CHECK_FUNCTIONS[check.kind](inner, check, _locate_scope(inner, problem_place))


def _locate_scope(scope: Scope, problem_place: ProblemPlace) -> ProblemPlace:
    """Return the place of the fields of `scope`: in a group, in an item, or at the top."""
    inner = [*scope.common_occurrences.values(), *scope.unique_occurrences.values()]
    if inner:
        return ProblemPlace(inner[-1])
    return problem_place if scope.item is None else problem_place.add_step(f"ITEM[{scope.item}]")


def _report_check_failure(
    scope: Scope, check: DocumentCheck, explanation: str, problem_place: ProblemPlace
) -> None:
    detail = f"{check.en} ({check.ko}): {explanation}" if explanation else f"{check.en} ({check.ko})"
    pointer = problem_place.make_pointer(scope.submission_index)
    scope.trace.report_problem(RULE_BROKEN, detail, pointer, scope.application, check.mark)


def _check_sum(scope: Scope, check: DocumentCheck, problem_place: ProblemPlace) -> None:
    """Report the check if the sum of the products of its factors does not compare to its bound as declared.

    Report also a value that cannot be converted; nothing without a summand or a bound.
    """
    summands: list[_NumberWithUnit] = []
    inconvertible_values: list[tuple[FoundValue, str]] = []
    for inner in scope.list_value_scopes(check.factors[0]):
        products = [_NumberWithUnit(Fraction(1), None)]
        for position in range(len(check.factors)):
            numbers = _read_factor(inner, check, position, inconvertible_values)
            products = [
                _NumberWithUnit(product.number * measured.number, measured.unit)
                for product in products
                for measured in numbers
            ]
        summands += products
    bound = _evaluate_bound(scope, check)
    if inconvertible_values:
        value, explanation = inconvertible_values[0]
        _report_check_failure(scope, check, explanation, ProblemPlace(value.element))
        return
    if not summands or bound is None:
        return
    pair = _convert_to_one_unit(scope, check, summands, bound, problem_place)
    if pair is not None and not check.holds_between(pair.left_number, pair.right_number):
        explanation = _describe_failure(
            pair.describe(pair.left_number), check, pair.describe(pair.right_number)
        )
        _report_check_failure(scope, check, explanation, problem_place)


def _read_factor(
    scope: Scope, check: DocumentCheck, position: int, inconvertible_values: list[tuple[FoundValue, str]]
) -> list[_NumberWithUnit]:
    """Return the numbers of one factor, in the unit in which the check counts it, where it names one.

    Without such a unit the numbers of the last factor have the units that are given, others have none.
    Appends to `inconvertible_values` a value that cannot be converted to the unit of the check.
    """
    source, target_unit = check.factors[position], check.get_counted_unit(position)
    is_last = position == len(check.factors) - 1
    read: list[_NumberWithUnit] = []
    for value in scope.read_values(source, check.mark):
        unit = scope.read_unit(source, value, check.mark) if is_last or target_unit is not None else None
        number = _parse_number(value.text)
        if number is None:
            continue
        if target_unit is None:
            read.append(_NumberWithUnit(number, unit))
            continue
        exact = None if unit is None else check.units.convert_quantity(number, unit, target_unit)
        if exact is None:
            unit_text = (unit or "no unit")[:_MAX_QUOTED_CHARACTERS]
            explanation = f"a value in {unit_text} cannot be counted in {target_unit}"
            inconvertible_values.append((value, explanation))
        else:
            read.append(_NumberWithUnit(exact, None))
    return read


def _evaluate_bound(scope: Scope, check: DocumentCheck) -> _NumberWithUnit | None:
    """Return the bound with its unit, None where it has no single number."""
    if not isinstance(check.bound, Field):
        return _NumberWithUnit(parse_fraction(check.bound or "0"), None)
    values = scope.read_values(check.bound, check.mark)
    number = _parse_number(values[0].text) if len(values) == 1 else None
    if number is None:
        return None
    return _NumberWithUnit(number, scope.read_unit(check.bound, values[0], check.mark))


class _NumberWithUnit(NamedTuple):
    """A number with its unit or currency."""

    number: Fraction
    unit: str | None


class _NumberPair(NamedTuple):
    """Two numbers to compare; in `unit` where they were converted to one."""

    left_number: Fraction
    right_number: Fraction
    unit: str | None = None

    def describe(self, number: Fraction) -> str:
        """Return one of the numbers as text; one that is no finite decimal is rounded."""
        text = format_decimal(number)
        if text is None:
            text = f"about {format_decimal(round_fraction(number, _DECIMALS, 'half_up') or Fraction(0))}"
        return f"{_cut_text(text)} {self.unit or ''}".rstrip()


def _convert_to_one_unit(
    scope: Scope,
    check: DocumentCheck,
    summands: Sequence[_NumberWithUnit],
    bound: _NumberWithUnit,
    problem_place: ProblemPlace,
) -> _NumberPair | None:
    """Return the sum of numbers and their bound in one unit: that of the bound, else of the first number.

    Quantities of one dimension are converted exactly. Return None where the rule does not compare different
    units, and for others after they were reported.
    """
    units = dict.fromkeys(measured.unit for measured in (bound, *summands) if measured.unit is not None)
    if len(units) <= 1:
        return _NumberPair(sum((measured.number for measured in summands), Fraction(0)), bound.number)
    if check.compares_same_unit_only:
        return None
    target_unit = next(iter(units))
    converted = [_convert_number(check, measured, target_unit) for measured in summands]
    numbers = [number for number in converted if number is not None]
    if len(numbers) < len(converted):
        names = ", ".join(sorted(unit[:_MAX_QUOTED_CHARACTERS] for unit in units))
        _report_check_failure(
            scope, check, f"values of different units cannot be compared: {names}", problem_place
        )
        return None
    return _NumberPair(sum(numbers, Fraction(0)), bound.number, target_unit)


def _convert_number(check: DocumentCheck, measured: _NumberWithUnit, target_unit: str) -> Fraction | None:
    """Return a number in a unit, exactly; None where the units have no dimension in common, as currencies."""
    if measured.unit is None or measured.unit == target_unit:
        return measured.number
    if check.factors[-1].attribute != "unitCode":
        return None
    return check.units.convert_quantity(measured.number, measured.unit, target_unit)


def _check_comparison(scope: Scope, check: DocumentCheck, _around: ProblemPlace) -> None:
    """Report each value of the field that does not compare as declared to a constant or another field.

    A field on the right with no value or with several ones is not compared.
    """
    (field,) = check.factors
    lefts = scope.read_values(field, check.mark)
    right = check.bound
    rights = scope.read_values(right, check.mark) if isinstance(right, Field) else ()
    if isinstance(right, Field) and len(rights) != 1:
        return
    text = rights[0].text if rights else str(right)
    unit = scope.read_unit(right, rights[0], check.mark) if isinstance(right, Field) else None
    for value in lefts:
        pair = _parse_comparable_values(field, value.text.strip(), text.strip(), check)
        if pair is None:
            continue
        sides = value.text.strip()[:_MAX_QUOTED_CHARACTERS], text[:_MAX_QUOTED_CHARACTERS]
        if isinstance(pair[0], Fraction) and isinstance(pair[1], Fraction):
            measured = _NumberWithUnit(pair[0], scope.read_unit(field, value, check.mark))
            united = _convert_to_one_unit(
                scope, check, [measured], _NumberWithUnit(pair[1], unit), ProblemPlace(value.element)
            )
            if united is None:
                continue
            pair = united.left_number, united.right_number
            if united.unit is not None:
                sides = united.describe(united.left_number), united.describe(united.right_number)
        if not check.holds_between(pair[0], pair[1]):
            failure = _describe_failure(sides[0], check, sides[1])
            _report_check_failure(scope, check, failure, ProblemPlace(value.element))


_Ordered = Fraction | datetime | str


def _parse_comparable_values(
    source: Field, left_text: str, right_text: str, check: DocumentCheck
) -> tuple[_Ordered, _Ordered] | None:
    """Return both sides parsed as their kind (number, time or text), None where one cannot be parsed.

    The days of the check are added to a right side that is a date or a date with time. Where only one side
    has a time, or a zone, the days in the zone of the check are compared.
    """
    days = check.day_offset
    kind = get_value_family(source)
    if kind == "number":
        numbers = _parse_number(left_text), _parse_number(right_text)
        return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])
    if kind != "time":
        return left_text, right_text
    try:
        moments = datetime.fromisoformat(left_text), datetime.fromisoformat(right_text)
        if (
            "T" in left_text
            and "T" in right_text
            and (moments[0].tzinfo is None) == (moments[1].tzinfo is None)
        ):
            return moments[0], moments[1] + timedelta(days=days)
        first, last = (localize_moment(text, check.zone)[:_DAY] for text in (left_text, right_text))
        return first, (date.fromisoformat(last) + timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        return None


def _check_distinct_values(scope: Scope, check: DocumentCheck, _around: ProblemPlace) -> None:
    """Report each combination of values of the fields that was given before; incomplete ones are left out."""
    seen: set[tuple[str, ...]] = set()
    for inner in scope.list_value_scopes(check.factors[0]):
        values = [inner.read_values(source, check.mark) for source in check.factors]
        rows = (
            [(value,) for value in values[0]]
            if len(values) == 1
            else [tuple(factor_values[0] for factor_values in values if factor_values)]
        )
        for row in rows:
            key = tuple(value.text.strip() for value in row)
            if len(key) == len(check.factors) and key in seen:
                explanation = f"{', '.join(key)[:_MAX_QUOTED_CHARACTERS]} is given again"
                _report_check_failure(inner, check, explanation, ProblemPlace(row[0].element))
            seen.add(key)


def _is_source_given(scope: Scope, source: Field, check: DocumentCheck) -> bool:
    """Return whether a field, or an occurrence of a group, is given in `scope` or below."""
    if isinstance(source, UniqueField) and source.type == "group":
        return bool(scope.list_occurrence_scopes(source))
    return bool(scope.read_values(source, check.mark))


def _locate_field(check: DocumentCheck, source: Field, problem_place: ProblemPlace) -> ProblemPlace:
    """Return the place of a field, where it is or should be."""
    if not isinstance(source, UniqueField) or len(source.repetitions) > len(check.repetitions):
        return problem_place
    return problem_place.add_step(make_pointer_segment(source))


def _check_one_of(scope: Scope, check: DocumentCheck, problem_place: ProblemPlace) -> None:
    """Report the check at its first field if none of its fields is given."""
    if not any([_is_source_given(scope, source, check) for source in check.factors]):
        names = ", ".join(source.en for source in check.factors)
        _report_check_failure(
            scope,
            check,
            f"none of {names} is given",
            _locate_field(check, check.factors[0], problem_place),
        )


def _check_exactly_one(scope: Scope, check: DocumentCheck, problem_place: ProblemPlace) -> None:
    """Report the check if none or more than one of its fields is given."""
    given_fields = [source for source in check.factors if _is_source_given(scope, source, check)]
    if not given_fields:
        _check_one_of(scope, check, problem_place)
    elif len(given_fields) > 1:
        names = ", ".join(source.en for source in given_fields)
        explanation = f"only one of {names} may be given"
        _report_check_failure(scope, check, explanation, _locate_field(check, given_fields[1], problem_place))


def _check_all_or_none(scope: Scope, check: DocumentCheck, problem_place: ProblemPlace) -> None:
    """Report the first missing field of the check if another one of its fields is given."""
    presence = [_is_source_given(scope, source, check) for source in check.factors]
    if any(presence) and not all(presence):
        missing = check.factors[presence.index(False)]
        explanation = (
            f"{missing.en} ({missing.ko}) is missing beside {check.factors[presence.index(True)].en}"
        )
        _report_check_failure(scope, check, explanation, _locate_field(check, missing, problem_place))


_CHECK_FUNCTIONS: Final = {
    "sum": _check_sum,
    "compare": _check_comparison,
    "distinct": _check_distinct_values,
    "one_of": _check_one_of,
    "exactly_one": _check_exactly_one,
    "all_or_none": _check_all_or_none,
}


def _describe_failure(left_text: str, check: DocumentCheck, right_text: str) -> str:
    """Return a comparison that is not true, in words."""
    operator = _OPERATORS[check.operator] + (f" {check.day_offset} days from" if check.day_offset else "")
    within = f" (within {format_plain_decimal(check.tolerance)})" if check.tolerance else ""
    return f"{left_text} is not {operator} {right_text}{within}"


def _parse_number(text: str) -> Fraction | None:
    return parse_fraction(text) if DECIMAL.fullmatch(text.strip()) else None


def _cut_text(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"
