"""Writes a condition as a sentence, in Korean and in English, and as plain data for a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.harmonize.language import NUMBER_TESTS, AllOf, AnyOf, Condition, Negation, ValueTest

#: The clause of a test by its kind, with places for the field and for the compared value.
_CLAUSES: Final = {
    "en": {
        "given": "{} is given",
        "absent": "{} is not given",
        "at_least": "{} is at least {}",
        "at_most": "{} is at most {}",
        "more_than": "{} is more than {}",
        "less_than": "{} is less than {}",
        "listed": "{} is in the list {}",
        "in": "{} is {}",
    },
    "ko": {
        "given": "{} 있음",
        "absent": "{} 없음",
        "at_least": "{} {} 이상",
        "at_most": "{} {} 이하",
        "more_than": "{} {} 초과",
        "less_than": "{} {} 미만",
        "listed": "{}: 목록 {}에 있음",
        "in": "{} = {}",
    },
}
_NOT: Final = {"en": "not ({})", "ko": "({}) 아님"}
_AND: Final = {"en": " and ", "ko": " 그리고 "}
_OR: Final = {"en": " or ", "ko": " 또는 "}


def write_sentence(condition: Condition, language: str) -> str:
    """Return a condition as a clause in ``ko`` or ``en``, without capital and full stop."""

    def write_clause(test: ValueTest) -> str:
        kind, compared = _read_test(test, language)
        return _CLAUSES[language][kind].format(getattr(test.source, language), compared)

    return _join_clauses(condition, language, write_clause)


def describe_condition(condition: Condition) -> str:
    """Return a condition as an English clause with the names of fields, such as ``colour is one of R, G``."""
    return _join_clauses(condition, "en", _describe_test)


def _describe_test(test: ValueTest) -> str:
    """Return a test as an English clause with the name of its field."""
    if test.code_list is not None:
        return f"{test.name} is in {test.code_list.name}@{test.code_list.version}"
    if test.operator == "in":
        return f"{test.name} is one of {', '.join(test.values)}"
    kind, compared = _read_test(test, "en")
    return _CLAUSES["en"][kind].format(test.name, compared)


def _join_clauses(condition: Condition, language: str, write_clause: Callable[[ValueTest], str]) -> str:
    """Return a condition as one clause, whose tests `write_clause` writes."""
    if isinstance(condition, ValueTest):
        return write_clause(condition)
    if isinstance(condition, Negation):
        return _NOT[language].format(_join_clauses(condition.part, language, write_clause))
    parts = ((part, _join_clauses(part, language, write_clause)) for part in condition.parts)
    joint = _AND[language] if isinstance(condition, AllOf) else _OR[language]
    return joint.join(f"({text})" if isinstance(part, AllOf | AnyOf) else text for part, text in parts)


def _read_test(test: ValueTest, language: str) -> tuple[str, str]:
    """Return the kind of a test, and the text with which its field is compared."""
    if test.operator == "present":
        return ("given" if test.values[0] == "yes" else "absent"), ""
    if test.operator in NUMBER_TESTS:
        return test.operator, test.values[0] if test.unit is None else f"{test.values[0]} {test.unit}"
    if test.code_list is not None:
        return "listed", test.code_list.name
    return "in", _OR[language].join(test.values)


def to_data(condition: Condition) -> dict[str, Any]:
    """Return a condition as data in the form of a mapping: one key on each level, ``in`` beside a number."""
    if isinstance(condition, ValueTest) and condition.code_list is not None:
        return {condition.name: {"in_list": condition.code_list.name}}
    if isinstance(condition, ValueTest):
        value = list(condition.values) if condition.operator == "in" else condition.values[0]
        unit = {} if condition.counted_in is None else {"in": condition.counted_in}
        return {condition.name: {condition.operator: value, **unit}}
    if isinstance(condition, Negation):
        return {"not": to_data(condition.part)}
    name = "all" if isinstance(condition, AllOf) else "any"
    return {name: [to_data(part) for part in condition.parts]}
