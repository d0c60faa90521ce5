"""Applies the checks of a document to a submission: what does not hold is said with its pointer."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN
from gateway.harmonize.given.facts import Found
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.checks import Check, family
from gateway.harmonize.language.combined import enter, levels
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.values import EXACT, plain
from gateway.harmonize.terms.asks import Ask, segment
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.shapes import DECIMAL

__all__ = ["apply_checks"]

_SHOWN: Final = 40
_DAY: Final = 10
# Where something is wrong: a pointer, or the element that it is to be made of.
_Place = str | etree._Element


def apply_checks(scope: Scope, document: Document, place: str) -> None:
    """Note each declared check that does not hold; `place` points to the fields."""
    for check in document.checks:
        scopes = [scope]
        for level in check.around:
            scopes = [inner for outer in scopes for inner in enter(outer, level)]
        for inner in scopes:
            # A guard is always read, so that the read set does not depend on what it says.
            if check.when is None or check.when.holds(inner):
                _RULES[check.kind](inner, check, _place(inner, place))


def _place(scope: Scope, place: str) -> _Place:
    """Return where the fields of `scope` stand: in a group, in an item, or at the top."""
    inner = [*scope.common.values(), *scope.asked.values()]
    if inner:
        return inner[-1]
    return place if scope.item is None else f"{place}/ITEM[{scope.item}]"


def _pointer(scope: Scope, place: _Place) -> str:
    """Return a place as a pointer: made for what is wrong alone, as it is counted out."""
    return place if isinstance(place, str) else scope.facts.pointer(place)


def _trouble(scope: Scope, check: Check, words: str, place: _Place) -> None:
    detail = f"{check.en} ({check.ko}): {words}" if words else f"{check.en} ({check.ko})"
    scope.trace.trouble(RULE_BROKEN, detail, _pointer(scope, place), (scope.application, check.mark))


def _sum(scope: Scope, check: Check, place: _Place) -> None:
    total, units, seen = Decimal(0), set(), False
    for inner in scope.every(check.factors[0]):
        products = [Decimal(1)]
        for source in check.factors:
            found = inner.read(source, check.mark)
            if source is check.factors[-1]:
                units |= {_unit(inner, source, one, check) for one in found}
            numbers = [number for one in found if (number := _number(one.text)) is not None]
            products = [EXACT.multiply(product, number) for product in products for number in numbers]
        seen = seen or bool(products)
        for product in products:
            total = EXACT.add(total, product)
    bound = _bound(scope, check)
    if not seen or bound is None or not _like(scope, check, units | {bound[1]}, place):
        return
    if not _holds(total, bound[0], check):
        _trouble(scope, check, f"{_show(total)} is not {_words(check)} {_show(bound[0])}", place)


def _bound(scope: Scope, check: Check) -> tuple[Decimal, str | None] | None:
    """Return the bound with its unit, None when there is none to compare with."""
    if not isinstance(check.bound, Ask | Meaning):
        return Decimal(check.bound or "0"), None
    found = scope.read(check.bound, check.mark)
    number = _number(found[0].text) if len(found) == 1 else None
    return None if number is None else (number, _unit(scope, check.bound, found[0], check))


def _like(scope: Scope, check: Check, units: set[str | None], place: _Place) -> bool:
    """Return whether values have one unit or currency; else they are refused, or left alone if declared."""
    known = units - {None}
    if len(known) <= 1:
        return True
    if not check.same_unit:
        names = ", ".join(sorted(str(unit)[:_SHOWN] for unit in known))
        _trouble(scope, check, f"values of different units cannot be compared: {names}", place)
    return False


def _unit(scope: Scope, source: Ask | Meaning, found: Found, check: Check) -> str | None:
    """Return the unit or currency of a value, also where it need not be written."""
    if source.attribute is None:
        return None
    leaf = scope.facts.attributes.get((found.element, source.attribute))
    scope.trace.note(() if leaf is None else (leaf,), "consumed", check.mark)
    stated = found.element.get(source.attribute)
    default = source.fixed_unit if isinstance(source, Ask) else None
    return default if stated is None else str(stated)


def _compare(scope: Scope, check: Check, _around: _Place) -> None:
    (left,) = check.factors
    lefts = scope.read(left, check.mark)
    right = check.bound
    rights = scope.read(right, check.mark) if isinstance(right, Ask | Meaning) else ()
    if isinstance(right, Ask | Meaning) and len(rights) != 1:
        return
    text = rights[0].text if rights else str(right)
    unit = _unit(scope, right, rights[0], check) if isinstance(right, Ask | Meaning) else None
    for one in lefts:
        pair = _ordered(left, one.text.strip(), text.strip(), check.days)
        if pair is None or not _like(scope, check, {_unit(scope, left, one, check), unit}, one.element):
            continue
        if not _holds(pair[0], pair[1], check):
            words = f"{one.text.strip()[:_SHOWN]} is not {_words(check)} {text[:_SHOWN]}"
            _trouble(scope, check, words, one.element)


_Ordered = Decimal | datetime | str


def _ordered(source: Ask | Meaning, left: str, right: str, days: int) -> tuple[_Ordered, _Ordered] | None:
    """Return both sides as what they are, None where one of them is none of its kind.

    To a right side that is a date or a moment `days` are added.
    """
    kind = family(source)
    if kind == "number":
        numbers = _number(left), _number(right)
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


def _holds(left: _Ordered, right: _Ordered, check: Check) -> bool:
    if isinstance(left, Decimal) and isinstance(right, Decimal) and check.operator == "equals":
        return abs(EXACT.subtract(left, right)) <= check.within
    return {
        "at_most": left <= right,  # type: ignore[operator]
        "at_least": left >= right,  # type: ignore[operator]
        "more_than": left > right,  # type: ignore[operator]
        "less_than": left < right,  # type: ignore[operator]
        "equals": left == right,
    }[check.operator]


def _distinct(scope: Scope, check: Check, _around: _Place) -> None:
    seen: set[tuple[str, ...]] = set()
    for inner in scope.every(check.factors[0]):
        found = [inner.read(source, check.mark) for source in check.factors]
        rows = [(one,) for one in found[0]] if len(found) == 1 else [tuple(one[0] for one in found if one)]
        for row in rows:
            key = tuple(one.text.strip() for one in row)
            if len(key) == len(check.factors) and key in seen:
                words = f"{', '.join(key)[:_SHOWN]} is given again"
                _trouble(inner, check, words, row[0].element)
            seen.add(key)


def _given(scope: Scope, source: Ask | Meaning, check: Check) -> bool:
    """Return whether a field, or an occurrence of a group, is given here or below."""
    if isinstance(source, Ask) and source.type == "group":
        return bool(scope.occurrences(source))
    return bool(scope.read(source, check.mark))


def _missing(scope: Scope, check: Check, source: Ask | Meaning, place: _Place) -> _Place:
    """Return where a field should stand that is not given."""
    if not isinstance(source, Ask) or len(levels(source, scope.dictionary)) > len(check.around):
        return place
    return f"{_pointer(scope, place)}/{segment(source)}"


def _one_of(scope: Scope, check: Check, place: _Place) -> None:
    if not any([_given(scope, source, check) for source in check.factors]):
        names = ", ".join(source.en for source in check.factors)
        _trouble(scope, check, f"none of {names} is given", _missing(scope, check, check.factors[0], place))


def _all_or_none(scope: Scope, check: Check, place: _Place) -> None:
    given = [_given(scope, source, check) for source in check.factors]
    if any(given) and not all(given):
        missing = check.factors[given.index(False)]
        words = f"{missing.en} ({missing.ko}) is missing beside {check.factors[given.index(True)].en}"
        _trouble(scope, check, words, _missing(scope, check, missing, place))


_RULES: Final = {
    "sum": _sum,
    "compare": _compare,
    "distinct": _distinct,
    "one_of": _one_of,
    "all_or_none": _all_or_none,
}


def _words(check: Check) -> str:
    words = check.operator.replace("_", " ") + (f" {check.days} days from" if check.days else "")
    return f"{words} (within {plain(check.within)})" if check.within else words


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if DECIMAL.fullmatch(text.strip()) else None


def _show(number: Decimal) -> str:
    text = plain(number)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
