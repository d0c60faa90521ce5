"""Changes drawn values so that the checks of the document hold: totals, comparisons, values that differ.

What cannot be put right here stays as it is; the sample is then drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from itertools import zip_longest
from typing import Final

from gateway.harmonize.language.checks import Check
from gateway.harmonize.language.sources import plain
from gateway.harmonize.sampling.demands import name_of
from gateway.harmonize.sampling.sampledraft import Draft, Drawn
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.shapes import DECIMAL

__all__ = ["tune"]

_Place = tuple[object, ...]
_ROOM: Final = 1000
_TRIES: Final = 50
_MOST_STEPS: Final = 10**9


def tune(draft: Draft) -> None:
    """Change values of `draft` until the checks hold, as far as that is easily done."""
    for check in draft.document.checks:
        for values in _places(draft, check):
            if check.kind == "sum":
                _tune_sum(draft, check, values)
            elif check.kind == "compare":
                _tune_compare(draft, check, values)
            elif check.kind == "distinct":
                _tune_distinct(draft, check, values)


def _places(draft: Draft, check: Check) -> Iterator[dict[str, list[Drawn]]]:
    """Yield the values of everything that a check names, place by place."""
    named = [*check.factors, *([check.bound] if isinstance(check.bound, Ask | Meaning) else [])]
    found: dict[_Place, dict[str, list[Drawn]]] = {}
    outside: dict[str, list[Drawn]] = {}
    for source in named:
        for drawn in draft.read_all(source):
            if drawn.item is not None and drawn.item not in draft.concerned:
                continue
            place = _place(check, drawn)
            if None in place:
                outside.setdefault(name_of(source), []).append(drawn)
            else:
                found.setdefault(place, {}).setdefault(name_of(source), []).append(drawn)
    for place, values in found.items():
        # A value around the place, as one of the item beside those of its groups.
        around = {
            name: [d for d in ds if all(p in (None, q) for p, q in zip_longest(_place(check, d), place))]
            for name, ds in outside.items()
        }
        yield {**around, **values}


def _place(check: Check, drawn: Drawn) -> _Place:
    return tuple(
        drawn.item if level == "item" else drawn.place.get(level.partition(":")[2]) for level in check.around
    )


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if DECIMAL.fullmatch(text.strip()) else None


def _set(draft: Draft, source: Ask | Meaning, drawn: Drawn, text: str) -> bool:
    """Give a value another text where its field and every target take it."""
    if source.shape.refuse(text) is not None or not draft.demands.fits(name_of(source), text):
        return False
    if not draft.demands.converts_well(source, text, drawn.unit):
        return False
    drawn.text = text
    return True


def _tune_sum(draft: Draft, check: Check, values: dict[str, list[Drawn]]) -> None:
    rows = [values.get(name_of(factor), []) for factor in check.factors]
    total = Decimal(0)
    for row in zip(*rows, strict=False):
        product = Decimal(1)
        for drawn in row:
            product *= _number(drawn.text) or Decimal(0)
        total += product
    if not any(rows):
        return
    if isinstance(check.bound, Ask | Meaning):
        for drawn in values.get(name_of(check.bound), [])[:1]:
            _like(draft, (check.bound, drawn), (check.factors[-1], rows[-1]))
            _set(draft, check.bound, drawn, _beyond(total, check.operator))
    elif len(check.factors) == 1 and isinstance(check.bound, str):
        _share(draft, check, rows[0], (total, Decimal(check.bound)))


def _like(draft: Draft, one: tuple[Ask | Meaning, Drawn], many: tuple[Ask | Meaning, list[Drawn]]) -> None:
    """Give a value the unit of others that it is compared with, or all of them one that both may have."""
    (source, drawn), (other, others) = one, many
    unit = others[0].unit if others else None
    if drawn.unit is None or unit is None or unit == drawn.unit:
        return
    own, theirs = draft.units_of(source), draft.units_of(other)
    both = [known for known in (unit, *own) if known in own and known in theirs]
    if both:
        for value in (drawn, *_alike(draft, source)):
            value.unit = both[0]
        for value in (*others, *_alike(draft, other)):
            value.unit = both[0]


def _alike(draft: Draft, source: Ask | Meaning) -> list[Drawn]:
    """Return all values of a field where these must have one unit."""
    name = name_of(source)
    return draft.read_all(source) if name in draft.demands.alike else []


def _beyond(total: Decimal, operator: str) -> str:
    """Return a bound that `total` is within."""
    if operator == "equals":
        return plain(total)
    change = {"at_most": _ROOM, "less_than": _ROOM, "more_than": -1, "at_least": 0}[operator]
    return str(max(int(total) + change, 0))


def _share(draft: Draft, check: Check, row: list[Drawn], wanted: tuple[Decimal, Decimal]) -> None:
    """Give the values of a row such numbers that their total is within a constant bound."""
    total, bound = wanted
    good = {
        "at_most": total <= bound,
        "at_least": total >= bound,
        "less_than": total < bound,
        "more_than": total > bound,
        "equals": abs(total - bound) <= check.within,
    }
    if good[check.operator]:
        return
    source = check.factors[0]
    low, high, step = _limits(draft, source)
    goal = bound + {"less_than": -step, "more_than": step}.get(check.operator, Decimal(0))
    rest = goal.quantize(step, rounding=ROUND_FLOOR)
    if low == 0 and rest >= step * len(row):
        low = step
    high = max(rest, low) if high is None else high
    for left, drawn in zip(range(len(row) - 1, -1, -1), row, strict=True):
        least, most = max(low, rest - high * left), min(high, rest - low * left)
        for _ in range(_TRIES if least <= most else 0):
            value = least + step * draft.draws.number(0, min(int((most - least) / step), _MOST_STEPS))
            if _set(draft, source, drawn, plain(value)):
                break
        rest -= _number(drawn.text) or Decimal(0)


def _limits(draft: Draft, source: Ask | Meaning) -> tuple[Decimal, Decimal | None, Decimal]:
    """Return the lowest and the highest number that a field and its targets take, and the least step."""
    shapes = [source.shape, *draft.demands.shapes.get(name_of(source), ())]
    shapes = [shape for shape in shapes if shape.kind in ("decimal", "integer")]
    places = min((shape.fraction for shape in shapes if shape.fraction is not None), default=0)
    step = Decimal(1).scaleb(-places)
    lows = [Decimal(shape.low) for shape in shapes if shape.low is not None]
    highs = [Decimal(shape.high) for shape in shapes if shape.high is not None]
    low = max(lows, default=Decimal(0)).quantize(step, rounding=ROUND_CEILING)
    return low, min(highs).quantize(step, rounding=ROUND_FLOOR) if highs else None, step


def _tune_compare(draft: Draft, check: Check, values: dict[str, list[Drawn]]) -> None:
    left = check.factors[0]
    for drawn in values.get(name_of(left), []):
        if isinstance(check.bound, str):
            if not _holds(drawn.text, check.bound, check):
                _first_good(draft, check, [(left, drawn)], check.bound)
            continue
        assert check.bound is not None
        for other in values.get(name_of(check.bound), [])[:1]:
            _like(draft, (left, drawn), (check.bound, [other]))
            if not _holds(drawn.text, other.text, check):
                _first_good(draft, check, [(check.bound, other), (left, drawn)], None)


def _first_good(
    draft: Draft, check: Check, sides: list[tuple[Ask | Meaning, Drawn]], constant: str | None
) -> None:
    """Change one side of a comparison so that it holds: the right one where it is a field that takes it."""
    source, drawn = sides[0]
    model = constant if constant is not None else sides[1][1].text
    larger = check.operator in ("at_most", "less_than")
    sign = -1 if constant is not None else 1
    step = (1 if larger else -1) * sign
    base = _shifted(model, -sign * check.days) if check.days else model
    for text in (base, _shifted(base, step), _shifted(base, step * 30)):
        text = text[:10] if source.shape.kind == "date" else text
        left, right = (text, model) if constant is not None else (model, text)
        if _holds(left, right, check) and _set(draft, source, drawn, text):
            return
    if constant is None:
        _first_good(draft, check, sides[1:], drawn.text)


def _shifted(text: str, step: int) -> str:
    number = _number(text)
    if number is not None:
        return plain(number + step)
    try:
        return (date.fromisoformat(text[:10]) + timedelta(days=step)).isoformat() + text[10:]
    except ValueError:
        return text


def _holds(left: str, right: str, check: Check) -> bool:
    """Return whether a comparison holds, dates without their time."""
    first, second = _number(left), _number(right)
    if first is None or second is None:
        right = _shifted(right, check.days) if check.days else right
        if check.operator == "equals":
            return left == right
        return {
            "at_most": left[:10] <= right[:10],
            "at_least": left[:10] >= right[:10],
            "less_than": left[:10] < right[:10],
            "more_than": left[:10] > right[:10],
        }[check.operator]
    try:
        return {
            "at_most": first <= second,
            "at_least": first >= second,
            "less_than": first < second,
            "more_than": first > second,
            "equals": abs(first - second) <= check.within,
        }[check.operator]
    except InvalidOperation:
        return False


def _tune_distinct(draft: Draft, check: Check, values: dict[str, list[Drawn]]) -> None:
    source = check.factors[-1]
    rows = [values.get(name_of(factor), []) for factor in check.factors]
    seen: set[tuple[str, ...]] = set()
    for row in zip(*rows, strict=False):
        for _ in range(_TRIES):
            if tuple(drawn.text for drawn in row) not in seen:
                break
            _set(draft, source, row[-1], draft.text(source, source.shape))
        seen.add(tuple(drawn.text for drawn in row))
