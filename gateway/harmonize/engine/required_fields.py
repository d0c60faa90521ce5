"""Checks for required values: mandatory common meanings, mandatory and conditional unique fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from lxml import etree

from gateway.errors import FIELD_MISSING, RULE_BROKEN, SOURCES_DISAGREE, Problem
from gateway.harmonize.engine.problem_places import ProblemPlace
from gateway.harmonize.language import DocumentMapping, MeaningNeed
from gateway.harmonize.submission import Scope, SiblingFields, make_missing_pointer
from gateway.harmonize.types import CommonMeaning, UniqueField, make_pointer_segment

__all__ = ["check_common_meanings", "check_unique_fields"]


def check_common_meanings(scope: Scope, document: DocumentMapping) -> None:
    """Report each mandatory common meaning that the submission lacks, and each that it gives twice."""
    supplied = next((need for need in document.needs if need.meaning.supplement), None)
    if supplied is not None:
        # A search for one value of the supplement reads the keys of all of them.
        scope.trace.record_fate_once(scope.facts.keys, "consumed", supplied.mark)
    doubtful = _find_doubtful_items(scope, document)
    declared = scope.facts.get_known_values(scope.facts.declaration)
    for position, need in enumerate(document.needs):
        meaning = need.meaning
        if meaning.per in scope.dictionary.groups:
            if not need.mandatory and need.when is None and not _is_given_twice(scope, meaning):
                continue
            for inner in scope.list_value_scopes(meaning):
                _check_common_meaning(inner, need, inner.common[meaning.per])
        elif not meaning.in_item and len(declared.get(meaning.name, ())) != 1:
            _check_common_meaning(scope, need, scope.facts.declaration)
        for inner, base in doubtful.get(position, ()):
            _check_common_meaning(inner, need, base)


def _is_given_twice(scope: Scope, meaning: CommonMeaning) -> bool:
    """Return whether an occurrence of the meaning's group, anywhere in the goods, has several values."""
    names = scope.dictionary.list_enclosing_groups(meaning.per)
    return scope.facts.has_several_values(meaning, [scope.dictionary.groups[name] for name in names])


def _find_doubtful_items(
    scope: Scope, document: DocumentMapping
) -> dict[int, list[tuple[Scope, etree._Element]]]:
    """Return the goods items in which a need has no value, or several, by the position of the need.

    The search is made once for all documents that need a meaning.
    """
    facts, found = scope.facts, dict[int, list[tuple[Scope, etree._Element]]]()
    needs = [(at, need.meaning) for at, need in enumerate(document.needs) if need.meaning.per == "item"]
    doubtful = facts.find_doubtful_items([meaning for _, meaning in needs])
    for position, meaning in needs:
        numbers = doubtful[meaning.name]
        if numbers:
            inside = [inner for inner in scope.enter_items() if inner.item in numbers]
            found[position] = [(inner, facts.items[inner.item or ""]) for inner in inside]
    return found


def _check_common_meaning(scope: Scope, need: MeaningNeed, base: etree._Element) -> None:
    """Check a meaning below `base`: the declaration, an item, or an occurrence of a group."""
    meaning = need.meaning
    found = scope.facts.find_values(meaning, base, scope.item)
    if not found and (need.mandatory or (need.when is not None and need.when.is_satisfied(scope))):
        detail = f"{meaning.en} ({meaning.ko}) is missing: {meaning.path}"
        pointer = make_missing_pointer(meaning, scope.item)
        if meaning.per in scope.dictionary.groups:
            pointer = "/".join([scope.facts.get_pointer(base), *pointer.split("/")[-len(meaning.relative) :]])
        scope.trace.report_problem(FIELD_MISSING, detail, pointer, (scope.application, need.mark))
    if len(found) > 1 and not meaning.many:
        detail = f"{meaning.en} is given {len(found)} times: {meaning.path}"
        pointer = scope.facts.get_pointer(found[1].element)
        scope.trace.report_problem(SOURCES_DISAGREE, detail, pointer, (scope.application, need.mark))


def check_unique_fields(scope: Scope, document: DocumentMapping, place: ProblemPlace) -> None:
    """Report each unique field that is missing, forbidden or given too often; `place` is theirs."""
    levels = [(scope, "application"), *((inner, "item") for inner in scope.enter_items())]
    found: list[tuple[int, Scope]] = []
    for inner, per in levels:
        found += [(number, inner) for number in _list_doubtful_fields(document, per, inner)]
    for position, inner in sorted(found, key=itemgetter(0)):
        where = place if inner.item is None else place.add_step(f"ITEM[{inner.item}]")
        _check_unique_field(inner, document.asks[position], where)
    concerned = frozenset(scope.numbers)
    for number in scope.answers.items:
        if number not in concerned:
            detail = f"fields for goods item {number}, which the application does not concern"
            pointer = place.add_step(f"ITEM[{number}]").make_pointer(scope.facts)
            scope.trace.report_problem(RULE_BROKEN, detail, pointer, (scope.application, document.asks_mark))


def _list_doubtful_fields(document: DocumentMapping, per: str, scope: Scope) -> Iterable[int]:
    """Return the fields of a document that must be looked at in a scope; most are plainly right."""
    siblings = scope.get_own_fields()
    watched: _WatchedFields | None = scope.answers.plans.get(("watched", per))
    if watched is None:
        watched = scope.answers.plans["watched", per] = _list_watched_fields(document.asks, per)
    if not siblings.is_odd and watched.mandatory <= siblings.elements.keys():
        return watched.always
    own = [(number, ask) for number, ask in enumerate(document.asks) if ask.per == per]
    return [number for number, ask in own if _needs_check(ask, siblings)]


class _WatchedFields(NamedTuple):
    """The fields of one level that are always looked at, by their number, and the names of mandatory ones."""

    always: tuple[int, ...]
    mandatory: frozenset[str]


def _list_watched_fields(asks: Sequence[UniqueField], per: str) -> _WatchedFields:
    own = [(number, ask) for number, ask in enumerate(asks) if ask.per == per]
    always = tuple(number for number, ask in own if _is_always_checked(ask))
    return _WatchedFields(always, frozenset(ask.name for _, ask in own if ask.requirement.mandatory))


def _is_always_checked(ask: UniqueField) -> bool:
    """Return whether more decides about a field than that it stands there once, with a value."""
    return ask.requirement.when is not None or ask.repeat[0] > 1 or ask.type == "group"


def _needs_check(ask: UniqueField, siblings: SiblingFields) -> bool:
    """Return whether the number of a field's values must be looked at."""
    written = siblings.elements.get(ask.name)
    if written is None:
        return ask.requirement.when is not None or ask.requirement.mandatory
    return _is_always_checked(ask) or len(written) > 1 or not siblings.values.get(ask.name)


def _check_unique_field(scope: Scope, ask: UniqueField, place: ProblemPlace) -> None:
    (written, count), requirement = scope.count_answers(ask), ask.requirement
    low, high = ask.repeat[0], max(ask.repeat[1], 1)
    holds = requirement.when.is_satisfied(scope) if requirement.when is not None else requirement.mandatory
    if holds and count < max(low, 1):
        _report_field_problem(scope, ask, place, (FIELD_MISSING, "is missing"))
    elif count and requirement.when is not None and requirement.forbidden_otherwise and not holds:
        _report_field_problem(scope, ask, place, (RULE_BROKEN, "may not be given here"))
    elif 0 < count < low:
        detail = f"{ask.en} ({ask.ko}) is given {count} times, at least {low} or not at all"
        pointer = scope.facts.get_pointer(written[0])
        scope.trace.report_problem(RULE_BROKEN, detail, pointer, (scope.application, ask.mark))
    if len(written) > high:
        _report_field_problem(
            scope, ask, place, (RULE_BROKEN, f"is given {len(written)} times, at most {high}")
        )
        for surplus in written[high:]:
            scope.trace.record_fate(scope.facts.list_leaves_below(surplus), "withheld", ask.mark)
    if ask.type == "group":
        for position, inner in enumerate(scope.enter_field_group(ask), 1):
            inside = _locate_group_occurrence(inner, ask, place.add_step(f"{ask.tag}[{position}]"))
            siblings = inner.find_group_fields(ask)
            for member in ask.fields:
                if _needs_check(member, siblings):
                    _check_unique_field(inner, member, inside)


def _locate_group_occurrence(scope: Scope, group: UniqueField, place: ProblemPlace) -> ProblemPlace:
    """Return the place of an occurrence of a group: its own place, or that of a shared answer."""
    element = scope.asked[group.name]
    return ProblemPlace(element) if element in scope.answers.borrowed else place


def _report_field_problem(
    scope: Scope, ask: UniqueField, place: ProblemPlace, finding: tuple[Problem, str]
) -> None:
    written = scope.list_written_elements(ask)
    where = ProblemPlace(written[0]) if written else place.add_step(make_pointer_segment(ask))
    pointer = where.make_pointer(scope.facts)
    detail = f"{ask.en} ({ask.ko}) {finding[1]}"
    scope.trace.report_problem(finding[0], detail, pointer, (scope.application, ask.mark))
