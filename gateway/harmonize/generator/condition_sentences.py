"""Writes a condition as a sentence, in Korean and in English, and as plain data for a program."""

from __future__ import annotations

from typing import Any, Final

from gateway.harmonize.types import AllOf, AnyOf, Condition, Negation, ValueTest

__all__ = ["to_data", "write_sentence"]

_EN: Final = {
    "at_least": "is at least {}",
    "at_most": "is at most {}",
    "more_than": "is more than {}",
    "less_than": "is less than {}",
}
_KO: Final = {
    "at_least": "{} 이상",
    "at_most": "{} 이하",
    "more_than": "{} 초과",
    "less_than": "{} 미만",
}


def write_sentence(condition: Condition, language: str) -> str:
    """Return a condition as a clause in ``ko`` or ``en``, without capital and full stop."""
    if isinstance(condition, ValueTest):
        return _write_korean(condition) if language == "ko" else _write_english(condition)
    if isinstance(condition, Negation):
        inner = write_sentence(condition.part, language)
        return f"({inner}) 아님" if language == "ko" else f"not ({inner})"
    words = {"ko": (" 그리고 ", " 또는 "), "en": (" and ", " or ")}[language]
    joined = words[0] if isinstance(condition, AllOf) else words[1]
    return joined.join(_write_clause(part, language) for part in condition.parts)


def _write_clause(condition: Condition, language: str) -> str:
    text = write_sentence(condition, language)
    return f"({text})" if isinstance(condition, AllOf | AnyOf) else text


def _write_english(test: ValueTest) -> str:
    if test.operator == "present":
        return f"{test.source.en} is {'given' if test.values[0] == 'yes' else 'not given'}"
    if test.operator in _EN:
        return f"{test.source.en} {_EN[test.operator].format(_write_number(test))}"
    if test.listed is not None:
        return f"{test.source.en} is in the list {test.listed.name}"
    return f"{test.source.en} is {' or '.join(test.values)}"


def _write_number(test: ValueTest) -> str:
    """Return the number of a comparison, with the unit in which it is made."""
    return test.values[0] if test.unit is None else f"{test.values[0]} {test.unit}"


def _write_korean(test: ValueTest) -> str:
    if test.operator == "present":
        return f"{test.source.ko} {'있음' if test.values[0] == 'yes' else '없음'}"
    if test.operator in _KO:
        return f"{test.source.ko} {_KO[test.operator].format(_write_number(test))}"
    if test.listed is not None:
        return f"{test.source.ko}: 목록 {test.listed.name}에 있음"
    return f"{test.source.ko} = {' 또는 '.join(test.values)}"


def to_data(condition: Condition) -> dict[str, Any]:
    """Return a condition as data in the form of a mapping: one key on each level, ``in`` beside a number."""
    if isinstance(condition, ValueTest) and condition.listed is not None:
        return {condition.name: {"in_list": condition.listed.name}}
    if isinstance(condition, ValueTest):
        value = list(condition.values) if condition.operator == "in" else condition.values[0]
        unit = {} if condition.counted_in is None else {"in": condition.counted_in}
        return {condition.name: {condition.operator: value, **unit}}
    if isinstance(condition, Negation):
        return {"not": to_data(condition.part)}
    name = "all" if isinstance(condition, AllOf) else "any"
    return {name: [to_data(part) for part in condition.parts]}
