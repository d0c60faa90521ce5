"""Changes drawn values so that the checks of the document hold: sums, comparisons, distinct values.

A check that cannot be satisfied is left as it is; the sample is then drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from itertools import zip_longest
from typing import Final

from gateway.harmonize.language import (
    DECIMAL,
    DeclarationRule,
    DocumentCheck,
    Field,
    format_decimal,
    format_plain_decimal,
    localize_moment,
    parse_fraction,
    round_fraction,
)
from gateway.harmonize.samples.sample_draft import DrawnValue, SampleDraft

_OccurrenceKey = tuple[object, ...]
_ROOM: Final = 1000
_TRIES: Final = 50
_MAX_STEPS: Final = 10**9
#: Decimals to which a quantity without a finite decimal form in another unit is rounded.
_DECIMALS: Final = 6


def tune_draft(draft: SampleDraft) -> None:
    """Change values of `draft` so that the checks hold, where a simple change is sufficient."""
    for check in sorted(draft.document.checks, key=_rank_check):
        for values in _list_occurrence_values(draft, check):
            if check.kind == "sum":
                _tune_sum(draft, check, values)
            elif check.kind == "compare":
                _tune_compare(draft, check, values)
            elif check.kind == "distinct":
                _tune_distinct(draft, check, values)
    for rule in draft.bundle.rules:
        _tune_dates(draft, rule)


def _rank_check(check: DocumentCheck) -> int:
    """Return the rank of a check: values that a constant bounds are set before values that follow from them.

    A sum is shared among the values that no comparison with a constant has set; a field that
    bounds a sum is set to a sum that no constant changes any more.
    """
    if _has_constant(check):
        return 0
    return 1 if check.kind == "sum" and isinstance(check.bound, str) else 2


def _has_constant(check: DocumentCheck) -> bool:
    return check.kind == "compare" and isinstance(check.bound, str)


def _is_due(draft: SampleDraft, check: DocumentCheck, drawn: DrawnValue) -> bool:
    """Return whether the condition of a check holds in the item and groups of a drawn value."""
    outer = draft.item, draft.occurrence_numbers
    draft.item, draft.occurrence_numbers = drawn.item, drawn.occurrence_numbers
    due = check.when is None or draft.is_satisfied(check.when)
    draft.item, draft.occurrence_numbers = outer
    return due


def _tune_dates(draft: SampleDraft, rule: DeclarationRule) -> None:
    """Move a date of the declaration to the bound of a rule that it breaks."""
    bounds = draft.read_all(rule.bound_meaning) if rule.bound_meaning is not None else []
    for drawn in draft.read_all(rule.meaning) if len(bounds) == 1 else ():
        if rule.find_date_violation(drawn.text, bounds[0].text) is not None:
            bound = localize_moment(bounds[0].text, rule.zone)
            day = date.fromisoformat(bound[:10]) + timedelta(days=rule.day_offset)
            time = localize_moment(drawn.text, rule.zone)[10:]
            _set_value(draft, rule.meaning, drawn, day.isoformat() + time)


def _list_occurrence_values(
    draft: SampleDraft, check: DocumentCheck
) -> Iterator[dict[str, list[DrawnValue]]]:
    """Yield the values of all sources that a check names, place by place."""
    sources = [
        *check.factors,
        *([check.bound] if isinstance(check.bound, Field) else []),
    ]
    values_by_occurrence: dict[_OccurrenceKey, dict[str, list[DrawnValue]]] = {}
    outside: dict[str, list[DrawnValue]] = {}
    for source in sources:
        for drawn in draft.read_all(source):
            if drawn.item is not None and drawn.item not in draft.concerned_items:
                continue
            occurrence = _get_occurrence_key(check, drawn)
            if None in occurrence:
                outside.setdefault(source.key, []).append(drawn)
            else:
                values_by_occurrence.setdefault(occurrence, {}).setdefault(source.key, []).append(drawn)
    for occurrence, values in values_by_occurrence.items():
        # Values of an outer level, such as one of the item, hold for each of its groups, too.
        outer_values = {
            name: [
                d
                for d in ds
                if all(p in (None, q) for p, q in zip_longest(_get_occurrence_key(check, d), occurrence))
            ]
            for name, ds in outside.items()
        }
        yield {**outer_values, **values}


def _get_occurrence_key(check: DocumentCheck, drawn: DrawnValue) -> _OccurrenceKey:
    """Return item and group positions of a value at the levels at which a check is evaluated."""
    return tuple(
        drawn.item if level == "item" else drawn.occurrence_numbers.get(level.partition(":")[2])
        for level in check.repetitions
    )


def _parse_number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if DECIMAL.fullmatch(text.strip()) else None


def _set_value(draft: SampleDraft, source: Field, drawn: DrawnValue, text: str) -> bool:
    """Set the text of a value.

    Return False, without a change, where its field or a target rejects it, or where it was decided.
    """
    if (
        drawn.is_fixed
        or source.shape.find_violation(text) is not None
        or not draft.demands.fits_targets(source.key, text)
    ):
        return False
    if not draft.demands.fits_after_conversion(source, text, drawn.unit):
        return False
    drawn.text = text
    return True


def _tune_sum(draft: SampleDraft, check: DocumentCheck, values: dict[str, list[DrawnValue]]) -> None:
    """Change drawn values so that a check of a sum of products holds, by its other side or by the addends."""
    rows = [values.get(factor.key, []) for factor in check.factors]
    total = Decimal(0)
    for row in zip(*rows, strict=False):
        product = Decimal(1)
        for position, drawn in enumerate(row):
            text = _convert_text(check, drawn.text, drawn.unit, check.get_counted_unit(position))
            product *= _parse_number(text) or Decimal(0)
        total += product
    if not any(rows):
        return
    if isinstance(check.bound, Field):
        for drawn in values.get(check.bound.key, [])[:1]:
            _align_units(draft, check.bound, drawn, check.factors[-1], rows[-1])
            units = rows[-1][0].unit if rows[-1] else None, drawn.unit
            goal = Decimal(_convert_text(check, format_plain_decimal(total), *units))
            _set_value(draft, check.bound, drawn, _get_bound(goal, check.operator))
    elif len(check.factors) == 1 and isinstance(check.bound, str):
        _share_total(draft, check, rows[0], total, Decimal(check.bound))


def _align_units(
    draft: SampleDraft,
    source: Field,
    drawn: DrawnValue,
    bound_source: Field,
    others: list[DrawnValue],
) -> None:
    """Give a value and those that it is compared with one unit that both sources may have.

    `drawn` is the value of `source`, `others` are those of `bound_source`.
    """
    unit = others[0].unit if others else None
    if drawn.unit is None or unit is None or unit == drawn.unit:
        return
    units, bound_units = draft.list_units(source), draft.list_units(bound_source)
    both = [candidate for candidate in (unit, *units) if candidate in units and candidate in bound_units]
    if both:
        for value in (drawn, *_list_same_unit_values(draft, source)):
            value.unit = both[0]
        for value in (*others, *_list_same_unit_values(draft, bound_source)):
            value.unit = both[0]


def _list_same_unit_values(draft: SampleDraft, source: Field) -> list[DrawnValue]:
    """Return all values of a field whose values must have one unit, else none."""
    name = source.key
    return draft.read_all(source) if name in draft.demands.single_unit_sources else []


def _get_bound(total: Decimal, operator: str) -> str:
    """Return a bound for which `total` and `operator` make a true comparison."""
    if operator == "equals":
        return format_plain_decimal(total)
    change = {"at_most": _ROOM, "less_than": _ROOM, "more_than": -1, "at_least": 0}[operator]
    return str(max(int(total) + change, 0))


def _share_total(
    draft: SampleDraft, check: DocumentCheck, row: list[DrawnValue], total: Decimal, bound: Decimal
) -> None:
    """Change the values of a row, whose sum is `total`, so that their sum satisfies a constant bound."""
    if check.holds_between(Fraction(total), Fraction(bound)):
        return
    source = check.factors[0]
    low, high, step = _get_limits(draft, source)
    bound -= sum(
        (
            _parse_number(drawn_value.text) or Decimal(0)
            for drawn_value in row
            if _is_set_by_constant(draft, check, drawn_value)
        ),
        Decimal(0),
    )
    row = [drawn_value for drawn_value in row if not _is_set_by_constant(draft, check, drawn_value)]
    goal = bound + {"less_than": -step, "more_than": step}.get(check.operator, Decimal(0))
    rest = goal.quantize(step, rounding=ROUND_FLOOR)
    if low == 0 and rest >= step * len(row):
        low = step
    high = max(rest, low) if high is None else high
    for remaining, drawn in zip(range(len(row) - 1, -1, -1), row, strict=True):
        min_value, max_value = max(low, rest - high * remaining), min(high, rest - low * remaining)
        for _ in range(_TRIES if min_value <= max_value else 0):
            value = min_value + step * draft.draws.draw_number(
                0, min(int((max_value - min_value) / step), _MAX_STEPS)
            )
            if _set_value(draft, source, drawn, format_plain_decimal(value)):
                break
        rest -= _parse_number(drawn.text) or Decimal(0)


def _is_set_by_constant(draft: SampleDraft, check: DocumentCheck, drawn: DrawnValue) -> bool:
    """Return whether a comparison with a constant has set a value of the sum that `check` bounds."""
    return any(
        _has_constant(other_check)
        and other_check.factors == check.factors
        and _is_due(draft, other_check, drawn)
        for other_check in draft.document.checks
    )


def _get_limits(draft: SampleDraft, source: Field) -> tuple[Decimal, Decimal | None, Decimal]:
    """Return the lowest and the highest number that a field and its targets accept, and the step."""
    shapes = [source.shape, *draft.demands.shapes.get(source.key, ())]
    shapes = [shape for shape in shapes if shape.kind in ("decimal", "integer")]
    decimals = min(
        (shape.fraction_digits for shape in shapes if shape.fraction_digits is not None), default=0
    )
    step = Decimal(1).scaleb(-decimals)
    lows = [Decimal(shape.min_value) for shape in shapes if shape.min_value is not None]
    highs = [Decimal(shape.max_value) for shape in shapes if shape.max_value is not None]
    low = max(lows, default=Decimal(0)).quantize(step, rounding=ROUND_CEILING)
    return low, min(highs).quantize(step, rounding=ROUND_FLOOR) if highs else None, step


def _tune_compare(draft: SampleDraft, check: DocumentCheck, values: dict[str, list[DrawnValue]]) -> None:
    """Change one side of each comparison of a check that does not hold."""
    source = check.factors[0]
    for drawn in values.get(source.key, []):
        if not _is_due(draft, check, drawn):
            continue
        if isinstance(check.bound, str):
            if not _is_comparison_true(drawn.text, check.bound, check):
                _tune_one_side(draft, check, [(source, drawn)], check.bound)
            continue
        assert check.bound is not None
        for bound_value in values.get(check.bound.key, [])[:1]:
            _align_units(draft, source, drawn, check.bound, [bound_value])
            text = _convert_text(check, bound_value.text, bound_value.unit, drawn.unit)
            if not _is_comparison_true(drawn.text, text, check):
                _tune_one_side(draft, check, [(check.bound, bound_value), (source, drawn)], None)


def _tune_one_side(
    draft: SampleDraft,
    check: DocumentCheck,
    sides: list[tuple[Field, DrawnValue]],
    constant: str | None,
) -> None:
    """Change one side of a comparison so that it holds: the first of `sides` that accepts the change."""
    source, drawn = sides[0]
    if constant is None:
        model = _convert_text(check, sides[1][1].text, sides[1][1].unit, drawn.unit)
    else:
        model = constant
    larger = check.operator in ("at_most", "less_than")
    sign = -1 if constant is not None else 1
    step = (1 if larger else -1) * sign
    base = _shift_date(model, -sign * check.day_offset) if check.day_offset else model
    for text in (base, _shift_date(base, step), _shift_date(base, step * 30)):
        text = text[:10] if source.shape.kind == "date" else text
        left_text, right_text = (text, model) if constant is not None else (model, text)
        if _is_comparison_true(left_text, right_text, check) and _set_value(draft, source, drawn, text):
            return
    if constant is None:
        _tune_one_side(
            draft, check, sides[1:], _convert_text(check, drawn.text, drawn.unit, sides[1][1].unit)
        )


def _convert_text(check: DocumentCheck, text: str, unit: str | None, to: str | None) -> str:
    """Return a number in another unit of its dimension, rounded where needed; other texts unchanged."""
    if unit is None or to is None or unit == to or _parse_number(text) is None:
        return text
    exact = check.units.convert_quantity(parse_fraction(text), unit, to)
    if exact is None:
        return text
    rounded = round_fraction(exact, _DECIMALS, "half_up") or exact
    return format_decimal(exact) or format_decimal(rounded) or text


def _shift_date(text: str, step: int) -> str:
    """Return a number plus `step`, or a date `step` days later; another text is returned unchanged."""
    number = _parse_number(text)
    if number is not None:
        return format_plain_decimal(number + step)
    try:
        return (date.fromisoformat(text[:10]) + timedelta(days=step)).isoformat() + text[10:]
    except ValueError:
        return text


def _is_comparison_true(left_text: str, right_text: str, check: DocumentCheck) -> bool:
    """Return whether a comparison holds; dates are compared without their time."""
    first, second = _parse_number(left_text), _parse_number(right_text)
    if first is None or second is None:
        right_text = _shift_date(right_text, check.day_offset) if check.day_offset else right_text
        if check.operator == "equals":
            return left_text == right_text
        first_day, last_day = (localize_moment(text, check.zone)[:10] for text in (left_text, right_text))
        return check.holds_between(first_day, last_day)
    return check.holds_between(Fraction(first), Fraction(second))


def _tune_distinct(draft: SampleDraft, check: DocumentCheck, values: dict[str, list[DrawnValue]]) -> None:
    """Draw the last field of a check again until no two combinations are alike, at most `_TRIES` times."""
    source = check.factors[-1]
    rows = [values.get(factor.key, []) for factor in check.factors]
    seen: set[tuple[str, ...]] = set()
    for row in zip(*rows, strict=False):
        for _ in range(_TRIES):
            if tuple(drawn.text for drawn in row) not in seen:
                break
            _set_value(draft, source, row[-1], draft.draw_fitting_text(source, source.shape))
        seen.add(tuple(drawn.text for drawn in row))
