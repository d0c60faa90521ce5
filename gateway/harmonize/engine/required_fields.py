"""Checks for required values: mandatory common meanings, mandatory and conditional unique fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, NamedTuple

from lxml import etree

from gateway.errors import FIELD_MISSING, RULE_BROKEN, SOURCES_DISAGREE, Problem
from gateway.harmonize.engine.problem_places import ProblemPlace
from gateway.harmonize.language import DocumentMapping, MeaningNeed
from gateway.harmonize.submission import LevelMeanings, Scope, SiblingFields, make_missing_pointer
from gateway.harmonize.types import (
    CommonMeaning,
    DataDictionary,
    SourceMark,
    UniqueField,
    make_pointer_segment,
)

__all__ = ["check_common_meanings", "check_unique_fields"]

#: Where the fields of a document stand that are in no group.
_LEVELS: Final = ("application", "item")
_NOWHERE: Final[AbstractSet[str | None]] = frozenset()


def check_common_meanings(scope: Scope, document: DocumentMapping) -> None:
    """Report each mandatory common meaning that the submission lacks, and each that it gives twice."""
    facts, needs = scope.facts, _list_level_needs(scope, document)
    if needs.supplied is not None:
        # A search for one value of the supplement reads the keys of all of them.
        scope.trace.record_fate_once(facts.keys, "consumed", needs.supplied)
    checks = _find_doubtful_places(scope, needs)
    repeated = facts.find_repeated_meanings(needs.group_singles, scope.dictionary)
    for position, meaning, may_lack in needs.of_group:
        if not may_lack or repeated.get(meaning.name):
            inside = scope.list_value_scopes(meaning)
            checks += [(position, inner, inner.common[meaning.per]) for inner in inside]
    for position, inner, base in sorted(checks, key=itemgetter(0)):
        _check_common_meaning(inner, document.needs[position], base)


class _LevelNeeds(NamedTuple):
    """The meanings that a document needs, with their position among its needs: in groups, and outer ones.

    Each may lack, or must be there always or under a condition. `supplied` is the rule of the first that is
    in the supplement. `levels` are the outer meanings, `demanded` the names of those that may not lack, and
    `single` of those that have one value; `group_singles` are those of groups that may lack, and have one.
    """

    outer: tuple[tuple[int, CommonMeaning, bool], ...]
    of_group: tuple[tuple[int, CommonMeaning, bool], ...]
    supplied: SourceMark | None
    levels: LevelMeanings
    demanded: frozenset[str]
    single: frozenset[str]
    group_singles: tuple[CommonMeaning, ...]


def _list_level_needs(scope: Scope, document: DocumentMapping) -> _LevelNeeds:
    needs: _LevelNeeds | None = scope.answers.plans.get("needs")
    if needs is None:
        needs = scope.answers.plans["needs"] = _group_needs(document.needs, scope.dictionary)
    return needs


def _group_needs(needs: Sequence[MeaningNeed], dictionary: DataDictionary) -> _LevelNeeds:
    rows = [(n, one.meaning, not one.mandatory and one.when is None) for n, one in enumerate(needs)]
    outer = tuple(row for row in rows if row[1].per not in dictionary.groups)
    of_group = tuple(row for row in rows if row[1].per in dictionary.groups)
    by_place = [tuple(one for _, one, _ in outer if one.in_item == in_item) for in_item in (False, True)]
    return _LevelNeeds(
        outer,
        of_group,
        next((one.mark for one in needs if one.meaning.supplement), None),
        LevelMeanings(frozenset(meaning.name for _, meaning, _ in outer), (by_place[0], by_place[1])),
        frozenset(meaning.name for _, meaning, may_lack in outer if not may_lack),
        frozenset(meaning.name for _, meaning, _ in outer if not meaning.many),
        tuple(meaning for _, meaning, may_lack in of_group if may_lack and not meaning.many),
    )


#: A check of a need, by its position: in a scope, below an element.
_NeedCheck = tuple[int, Scope, etree._Element]


def _find_doubtful_places(scope: Scope, needs: _LevelNeeds) -> list[_NeedCheck]:
    """Return a check for the declaration, or each goods item, where a need has no value, or several."""
    facts, found = scope.facts, list[_NeedCheck]()
    _, lacking, several = facts.find_doubtful_items(needs.levels)
    doubtful = (lacking.keys() & needs.demanded) | (several.keys() & needs.single)
    for position, meaning, _ in needs.outer if doubtful else ():
        if meaning.name not in doubtful:
            continue
        numbers = lacking.get(meaning.name, _NOWHERE) | several.get(meaning.name, _NOWHERE)
        if None in numbers:
            found.append((position, scope, facts.declaration))
        found += [(position, i, facts.items[i.item or ""]) for i in scope.enter_items() if i.item in numbers]
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
    plans = scope.answers.plans
    watched: dict[str, _WatchedFields] | None = plans.get("watched")
    if watched is None:
        watched = plans["watched"] = {per: _watch_fields(document.asks, per) for per in _LEVELS}
    found = [(number, scope) for number in watched["application"].list_doubtful(scope.answers.top)]
    for inner in scope.enter_items():
        found += [(number, inner) for number in watched["item"].list_doubtful(inner.get_own_fields())]
    for position, inner in sorted(found, key=itemgetter(0)):
        where = place if inner.item is None else place.add_step(f"ITEM[{inner.item}]")
        _check_unique_field(inner, document.asks[position], where)
    concerned = frozenset(scope.numbers)
    for number in scope.answers.items:
        if number not in concerned:
            detail = f"fields for goods item {number}, which the application does not concern"
            pointer = place.add_step(f"ITEM[{number}]").make_pointer(scope.facts)
            scope.trace.report_problem(RULE_BROKEN, detail, pointer, (scope.application, document.asks_mark))


@dataclass(frozen=True, slots=True)
class _WatchedFields:
    """Fields that stand side by side, with their numbers: which must be looked at.

    `always` are looked at in any case; `mandatory` are the names of those that must be there.
    """

    fields: tuple[tuple[int, UniqueField], ...]
    always: tuple[int, ...]
    mandatory: frozenset[str]

    def list_doubtful(self, siblings: SiblingFields) -> Iterable[int]:
        """Return the numbers of the fields that must be looked at; most are plainly right."""
        if not siblings.is_odd and self.mandatory <= siblings.elements.keys():
            return self.always
        return [number for number, ask in self.fields if _needs_check(ask, siblings)]


def _watch_fields(asks: Sequence[UniqueField], per: str) -> _WatchedFields:
    """Return the fields of a level among `asks`."""
    own = tuple((number, ask) for number, ask in enumerate(asks) if ask.per == per)
    always = tuple(number for number, ask in own if _is_always_checked(ask))
    return _WatchedFields(own, always, frozenset(ask.name for _, ask in own if ask.requirement.mandatory))


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
        _check_group_fields(scope, ask, place)


def _check_group_fields(scope: Scope, group: UniqueField, place: ProblemPlace) -> None:
    """Check the fields in each occurrence of a group; `place` is that of the fields around it."""
    key = "watched", group.name, group.home
    watched: _WatchedFields | None = scope.answers.plans.get(key)
    if watched is None:
        watched = scope.answers.plans[key] = _watch_fields(group.fields, "group")
    for position, inner in enumerate(scope.enter_field_group(group), 1):
        doubtful = watched.list_doubtful(inner.find_group_fields(group))
        if doubtful:
            inside = _locate_group_occurrence(inner, group, place.add_step(f"{group.tag}[{position}]"))
            for number in doubtful:
                _check_unique_field(inner, group.fields[number], inside)


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
