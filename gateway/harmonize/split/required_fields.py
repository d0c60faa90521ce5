"""Checks for required values: mandatory common meanings, mandatory and conditional unique fields."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from gateway.errors import FIELD_MISSING, RULE_BROKEN, SOURCES_DISAGREE, Problem
from gateway.harmonize.language import (
    DocumentMapping,
    MeaningNeed,
    UniqueField,
    make_pointer_segment,
)
from gateway.harmonize.split.evaluation_scope import Scope
from gateway.harmonize.split.submission_index import SubmissionIndex, make_missing_pointer


class ProblemPlace(NamedTuple):
    """The place of a problem; its pointer is made for a problem only, since that counts elements."""

    element: etree._Element
    steps: str = ""

    def add_step(self, step: str) -> ProblemPlace:
        """Return the place below this one."""
        return ProblemPlace(self.element, f"{self.steps}/{step}")

    def make_pointer(self, submission_index: SubmissionIndex) -> str:
        """Return the pointer of the place."""
        return submission_index.get_pointer(self.element) + self.steps


def check_common_meanings(scope: Scope, document: DocumentMapping) -> None:
    """Report each mandatory common meaning that the submission lacks, and each that it gives twice."""
    supplement_mark = next((need.mark for need in document.needs if need.meaning.supplement), None)
    if supplement_mark is not None:
        # A search for one value of the supplement reads the keys of all of them.
        scope.trace.record_fate_once(
            scope.submission_index.supplement_key_leaves, "consumed", supplement_mark
        )
    for need in document.needs:
        for inner in scope.list_value_scopes(need.meaning):
            base = inner.find_base_element(need.meaning.per)
            if base is not None:
                _check_common_meaning(inner, need, base)


def _check_common_meaning(scope: Scope, need: MeaningNeed, base: etree._Element) -> None:
    """Check a meaning below `base`: the declaration, an item, or an occurrence of a group."""
    meaning = need.meaning
    values = scope.submission_index.find_values(meaning, base, scope.item)
    if not values and (need.mandatory or (need.when is not None and need.when.is_satisfied(scope))):
        detail = f"{meaning.en} ({meaning.ko}) is missing: {meaning.path}"
        pointer = make_missing_pointer(meaning, scope.item)
        if meaning.per in scope.dictionary.groups:
            pointer = "/".join(
                [scope.submission_index.get_pointer(base), *pointer.split("/")[-len(meaning.relative) :]]
            )
        scope.trace.report_problem(FIELD_MISSING, detail, pointer, scope.application, need.mark)
    if len(values) > 1 and not meaning.many:
        detail = f"{meaning.en} is given {len(values)} times: {meaning.path}"
        pointer = scope.submission_index.get_pointer(values[1].element)
        scope.trace.report_problem(SOURCES_DISAGREE, detail, pointer, scope.application, need.mark)


def check_unique_fields(scope: Scope, document: DocumentMapping, problem_place: ProblemPlace) -> None:
    """Report each unique field that is missing, forbidden or given too often; `problem_place` is theirs."""
    for ask in document.asks:
        for inner in [scope] if ask.per == "application" else scope.enter_items():
            item_place = (
                problem_place if inner.item is None else problem_place.add_step(f"ITEM[{inner.item}]")
            )
            _check_unique_field(inner, ask, item_place)
    concerned = frozenset(scope.item_numbers)
    for number in scope.answers.fields_by_item:
        if number not in concerned:
            detail = f"fields for goods item {number}, which the application does not concern"
            pointer = problem_place.add_step(f"ITEM[{number}]").make_pointer(scope.submission_index)
            scope.trace.report_problem(RULE_BROKEN, detail, pointer, scope.application, document.asks_mark)


def _check_unique_field(scope: Scope, ask: UniqueField, problem_place: ProblemPlace) -> None:
    """Report a unique field that is missing (GW503), forbidden, or given too rarely or too often (GW404)."""
    (written, count), requirement = scope.count_answers(ask), ask.requirement
    low, high = ask.repeat.low, max(ask.repeat.high, 1)
    holds = requirement.when.is_satisfied(scope) if requirement.when is not None else requirement.mandatory
    if holds and count < max(low, 1):
        _report_field_problem(scope, ask, problem_place, FIELD_MISSING, "is missing")
    elif count and requirement.when is not None and requirement.forbidden_otherwise and not holds:
        _report_field_problem(scope, ask, problem_place, RULE_BROKEN, "may not be given here")
    elif 0 < count < low:
        detail = f"{ask.en} ({ask.ko}) is given {count} times, at least {low} or not at all"
        pointer = scope.submission_index.get_pointer(written[0])
        scope.trace.report_problem(RULE_BROKEN, detail, pointer, scope.application, ask.mark)
    if len(written) > high:
        _report_field_problem(
            scope, ask, problem_place, RULE_BROKEN, f"is given {len(written)} times, at most {high}"
        )
        for surplus in written[high:]:
            scope.trace.record_fate(scope.submission_index.list_leaves_below(surplus), "withheld", ask.mark)
    if ask.type == "group":
        _check_group_fields(scope, ask, problem_place)


def _check_group_fields(scope: Scope, group: UniqueField, problem_place: ProblemPlace) -> None:
    """Check the fields in each occurrence of a group; `problem_place` is that of the fields around it."""
    for position, inner in enumerate(scope.enter_field_group(group), 1):
        element = inner.unique_occurrences[group.name]
        occurrence_place = problem_place.add_step(f"{group.tag}[{position}]")
        if element in scope.answers.borrowed_elements:
            occurrence_place = ProblemPlace(element)
        for ask in group.fields:
            _check_unique_field(inner, ask, occurrence_place)


def _report_field_problem(
    scope: Scope, ask: UniqueField, problem_place: ProblemPlace, problem: Problem, predicate: str
) -> None:
    """Report a problem of a field: `predicate` is the sentence that its name begins."""
    written = scope.list_written_elements(ask)
    field_place = ProblemPlace(written[0]) if written else problem_place.add_step(make_pointer_segment(ask))
    pointer = field_place.make_pointer(scope.submission_index)
    detail = f"{ask.en} ({ask.ko}) {predicate}"
    scope.trace.report_problem(problem, detail, pointer, scope.application, ask.mark)
