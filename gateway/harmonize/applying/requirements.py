"""What must be there: mandatory common fields, mandatory and conditional asked fields."""

from __future__ import annotations

from lxml import etree

from gateway.errors import FIELD_MISSING, RULE_BROKEN, SOURCES_DISAGREE, Problem
from gateway.harmonize.given.facts import missing_pointer
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.documents import Document, Need
from gateway.harmonize.terms.asks import Ask, segment

__all__ = ["check_asks", "check_needs"]


def check_needs(scope: Scope, document: Document) -> None:
    """Note each mandatory common field that the submission lacks, and each that it gives twice."""
    supplied = next((need for need in document.needs if need.meaning.supplement), None)
    if supplied is not None:
        # To find one value of the supplement is to read the keys of all of them.
        scope.trace.note_once(scope.facts.keys, "consumed", supplied.mark)
    doubtful = _doubtful(scope, document)
    for position, need in enumerate(document.needs):
        meaning = need.meaning
        if meaning.per in scope.dictionary.groups:
            for inner in scope.every(meaning):
                _check_need(inner, need, inner.common[meaning.per])
        elif not meaning.in_item:
            _check_need(scope, need, scope.facts.declaration)
        for inner, base in doubtful.get(position, ()):
            _check_need(inner, need, base)


def _doubtful(scope: Scope, document: Document) -> dict[int, list[tuple[Scope, etree._Element]]]:
    """Return by the position of a need the goods items in which it has no value, or several.

    Many items are gone through one after the other, as all that one item says lies close
    together; what is found is told need by need.
    """
    facts, found = scope.facts, dict[int, list[tuple[Scope, etree._Element]]]()
    needs = [(at, need.meaning) for at, need in enumerate(document.needs) if need.meaning.per == "item"]
    for inner in scope.into_items():
        base = facts.items[inner.item or ""]
        for position, meaning in needs:
            if len(facts.find(meaning, base, inner.item).found) != 1:
                found.setdefault(position, []).append((inner, base))
    return found


def _check_need(scope: Scope, need: Need, base: etree._Element) -> None:
    """Check a meaning in the element that it belongs to: the declaration, an item, one of a group."""
    meaning = need.meaning
    found = scope.facts.find(meaning, base, scope.item).found
    if not found and (need.mandatory or (need.when is not None and need.when.holds(scope))):
        detail = f"{meaning.en} ({meaning.ko}) is missing: {meaning.path}"
        pointer = missing_pointer(meaning, scope.item)
        if meaning.per in scope.dictionary.groups:
            pointer = "/".join([scope.facts.pointer(base), *pointer.split("/")[-len(meaning.relative) :]])
        scope.trace.trouble(FIELD_MISSING, detail, pointer, (scope.application, need.mark))
    if len(found) > 1 and not meaning.many:
        detail = f"{meaning.en} is given {len(found)} times: {meaning.path}"
        pointer = scope.facts.pointer(found[1].element)
        scope.trace.trouble(SOURCES_DISAGREE, detail, pointer, (scope.application, need.mark))


def check_asks(scope: Scope, document: Document, place: str) -> None:
    """Note each asked field that is missing, forbidden or too often there; `place` points to the fields."""
    items = [(inner, f"{place}/ITEM[{inner.item}]") for inner in scope.into_items()]
    for ask in document.asks:
        for inner, where in [(scope, place)] if ask.per == "application" else items:
            _check_ask(inner, ask, where)
    concerned = frozenset(scope.numbers)
    for number in scope.answers.items:
        if number not in concerned:
            detail = f"fields for goods item {number}, which the application does not concern"
            scope.trace.trouble(
                RULE_BROKEN, detail, f"{place}/ITEM[{number}]", (scope.application, document.asks_mark)
            )


def _check_ask(scope: Scope, ask: Ask, place: str) -> None:
    written = scope.written(ask)
    # A group is given by its element, a field by what stands in it.
    count = len(written) if ask.type == "group" or not written else len(scope.look(ask, ask.mark))
    low, high = ask.repeat[0], max(ask.repeat[1], 1)
    requirement = ask.requirement
    holds = requirement.when.holds(scope) if requirement.when is not None else requirement.mandatory
    if holds and count < max(low, 1):
        _trouble(scope, ask, place, (FIELD_MISSING, "is missing"))
    elif count and requirement.when is not None and requirement.forbidden_otherwise and not holds:
        _trouble(scope, ask, place, (RULE_BROKEN, "may not be given here"))
    elif 0 < count < low:
        detail = f"{ask.en} ({ask.ko}) is given {count} times, at least {low} or not at all"
        place = scope.facts.pointer(written[0])
        scope.trace.trouble(RULE_BROKEN, detail, place, (scope.application, ask.mark))
    if len(written) > high:
        _trouble(scope, ask, place, (RULE_BROKEN, f"is given {len(written)} times, at most {high}"))
        for surplus in written[high:]:
            scope.trace.note(scope.facts.below(surplus), "withheld", ask.mark)
    if ask.type == "group":
        for position, inner in enumerate(scope.into_asked(ask), 1):
            for member in ask.fields:
                _check_ask(inner, member, _place(inner, ask, f"{place}/{ask.tag}[{position}]"))


def _place(scope: Scope, group: Ask, place: str) -> str:
    """Return where an occurrence of a group stands: its own place, or that of a shared answer."""
    element = scope.asked[group.name]
    return scope.facts.pointer(element) if element in scope.answers.borrowed else place


def _trouble(scope: Scope, ask: Ask, place: str, finding: tuple[Problem, str]) -> None:
    written = scope.written(ask)
    pointer = scope.facts.pointer(written[0]) if written else f"{place}/{segment(ask)}"
    detail = f"{ask.en} ({ask.ko}) {finding[1]}"
    scope.trace.trouble(finding[0], detail, pointer, (scope.application, ask.mark))
