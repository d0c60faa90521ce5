"""What must be there: mandatory common fields, mandatory and conditional asked fields, sums."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.errors import FIELD_MISSING, RULE_BROKEN, SOURCES_DISAGREE
from gateway.harmonize.asks import Ask
from gateway.harmonize.documents import Check, Document, Need
from gateway.harmonize.facts import missing_pointer
from gateway.harmonize.scopes import Scope
from gateway.harmonize.shapes import DECIMAL
from gateway.harmonize.sources import EXACT, plain
from gateway.wire.pointers import pointer_of

__all__ = ["check_asks", "check_needs", "check_sums"]

_SHOWN: Final = 40


def check_needs(scope: Scope, document: Document) -> None:
    """Note each mandatory common field that the submission lacks, and each that it gives twice."""
    supplied = next((need for need in document.needs if need.meaning.supplement), None)
    if supplied is not None:
        # To find one value of the supplement is to read the keys of all of them.
        scope.trace.note(tuple(scope.facts.keys), "consumed", supplied.mark)
    items = scope.into_items()
    for need in document.needs:
        for place in items if scope.dictionary.is_item(need.meaning.per) else [scope]:
            _check_need(place, need)


def _check_need(scope: Scope, need: Need) -> None:
    meaning = need.meaning
    if meaning.per in scope.dictionary.groups:
        return
    base = scope.facts.items.get(scope.item or "") if scope.item else scope.facts.declaration
    if base is None:
        return
    found = scope.facts.find(meaning, base, scope.item).found
    place = (scope.application, need.mark)
    if not found and (need.mandatory or (need.when is not None and need.when.holds(scope))):
        detail = f"{meaning.en} ({meaning.ko}) is missing: {meaning.path}"
        scope.trace.trouble(FIELD_MISSING, detail, missing_pointer(meaning, scope.item), place)
    if len(found) > 1 and not meaning.many:
        detail = f"{meaning.en} is given {len(found)} times: {meaning.path}"
        scope.trace.trouble(SOURCES_DISAGREE, detail, pointer_of(found[1].element), place)


def check_asks(scope: Scope, document: Document, place: str) -> None:
    """Note each asked field that is missing, forbidden or too often there; `place` points to the fields."""
    items = scope.into_items()
    for ask in document.asks:
        if ask.per == "application":
            _check_ask(scope, ask, place)
            continue
        for inner in items:
            _check_ask(inner, ask, f"{place}/ITEM[{inner.item}]")
    for number in scope.answers.items:
        if number not in scope.numbers:
            detail = f"fields for goods item {number}, which the application does not concern"
            scope.trace.trouble(
                RULE_BROKEN, detail, f"{place}/ITEM[{number}]", (scope.application, document.asks_mark)
            )


def _check_ask(scope: Scope, ask: Ask, place: str) -> None:
    written = scope.written(ask)
    count = len(written) if ask.type == "group" else len(scope.look(ask, ask.mark))
    low, high = ask.repeat[0], max(ask.repeat[1], 1)
    requirement, here = ask.requirement, (scope.application, ask.mark)
    pointer = f"{place}/{ask.tag}" + ("[1]" if scope.item is not None or ask.group else "")
    holds = requirement.when.holds(scope) if requirement.when is not None else requirement.mandatory
    if holds and count < max(low, 1):
        scope.trace.trouble(FIELD_MISSING, f"{ask.en} ({ask.ko}) is missing", pointer, here)
    elif count and requirement.when is not None and requirement.forbidden_otherwise and not holds:
        scope.trace.trouble(RULE_BROKEN, f"{ask.en} ({ask.ko}) may not be given here", pointer, here)
    if len(written) > high:
        detail = f"{ask.en} ({ask.ko}) is given {len(written)} times, at most {high}"
        scope.trace.trouble(RULE_BROKEN, detail, pointer, here)
        for surplus in written[high:]:
            scope.trace.note(scope.facts.below(surplus), "withheld", ask.mark)
    if ask.type == "group":
        for position, inner in enumerate(scope.into_asked(ask), 1):
            for member in ask.fields:
                _check_ask(inner, member, f"{place}/{ask.tag}[{position}]")


def check_sums(scope: Scope, document: Document, place: str) -> None:
    """Note each declared check that does not hold; `place` points to the fields."""
    for check in document.checks:
        if check.per == "application":
            _check_sum(scope, check, place)
            continue
        for inner in scope.into_items():
            _check_sum(inner, check, f"{place}/ITEM[{inner.item}]")


def _check_sum(scope: Scope, check: Check, place: str) -> None:
    total, currencies, seen = Decimal(0), set(), False
    for inner in scope.every(check.factors[0]):
        product: Decimal | None = Decimal(1)
        for ask in check.factors:
            found = inner.read(ask, check.mark)
            text = found[0].text.strip() if found else ""
            currencies |= {str(f.element.get("currencyID")) for f in found if ask.type == "amount"}
            number = Decimal(text) if DECIMAL.fullmatch(text) else None
            product = None if number is None or product is None else EXACT.multiply(product, number)
        if product is not None:
            total, seen = EXACT.add(total, product), True
    bound = _bound(scope, check, currencies)
    if not seen or bound is None or _holds(total, bound, check.operator):
        return
    detail = (
        f"{check.en} ({check.ko}): {_show(total)} is not {check.operator.replace('_', ' ')} {_show(bound)}"
    )
    scope.trace.trouble(RULE_BROKEN, detail, place, (scope.application, check.mark))


def _bound(scope: Scope, check: Check, currencies: set[str]) -> Decimal | None:
    """Return the bound, None when there is none to compare with (other currency, nothing declared)."""
    if isinstance(check.bound, str):
        return Decimal(check.bound)
    found = scope.read(check.bound, check.mark)
    if len(found) != 1 or not DECIMAL.fullmatch(found[0].text.strip()):
        return None
    if check.same_currency:
        leaf = scope.facts.attributes.get((found[0].element, "currencyID"))
        scope.trace.note(() if leaf is None else (leaf,), "consumed", check.mark)
        if currencies != {str(found[0].element.get("currencyID"))}:
            return None
    return Decimal(found[0].text.strip())


def _holds(total: Decimal, bound: Decimal, operator: str) -> bool:
    if operator == "equals":
        return total == bound
    return total <= bound if operator == "at_most" else total >= bound


def _show(number: Decimal) -> str:
    text = plain(number)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
