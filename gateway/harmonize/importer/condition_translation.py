"""Translates a condition that an inventory writes as a text into one of the mapping language.

The parser is total: each text gives either a condition over known fields or `UnclearError`
with a reason.  Accepted forms: ``x in ['a', 'b']``, ``x == 'v'``, ``x != 'v'``, ``x >= 5``,
``x`` alone, ``x is present``, with and, or, not and brackets; words before a ``when`` or
``if`` are skipped as prose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.harmonize.importer.tokenizer import TokenReader, UnclearError, read_tokens

__all__ = ["ConditionSubject", "Find", "translate_condition"]

_PROSE: Final = re.compile(r"(?:^|.*\s)(?:when|if)\s+(.+)", re.IGNORECASE | re.DOTALL)
_COMPARISONS: Final = {"<=": "at_most", ">=": "at_least", "<": "less_than", ">": "more_than"}
_NEGATED: Final = {"!=": "==", "not in": "in"}
_BOOLEANS: Final = {"true": "true", "yes": "true", "y": "true", "1": "true"} | {
    "false": "false",
    "no": "false",
    "n": "false",
    "0": "false",
}
_DEEPEST: Final = 12
_PRESENT: Final = ("present", "given", "filled")
_MISSING: Final = ("absent", "empty", "missing", "null", "none")


@dataclass(frozen=True, slots=True)
class ConditionSubject:
    """The field or meaning of a name in a condition: its name in the mapping, its type, its codes."""

    name: str
    type: str
    codes: Sequence[str] | None = None


#: Returns the subject of a name at the place of the condition; raises `UnclearError` for an unknown name.
Find = Callable[[str], ConditionSubject]


def translate_condition(text: str, find: Find) -> dict[str, Any]:
    """Return the condition in `text` in the mapping language; raise `UnclearError` with a reason."""
    try:
        return _translate_whole(text, find)
    except UnclearError:
        prose = _PROSE.fullmatch(text)
        if prose is None:
            raise
        return _translate_whole(prose[1], find)


def _translate_whole(text: str, find: Find) -> dict[str, Any]:
    words = read_tokens(text)
    found = _translate_any(words, find, 0)
    words.check_end()
    return found


def _translate_any(words: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise UnclearError(f"it has brackets more than {_DEEPEST} deep")
    parts = [_translate_all(words, find, depth)]
    while words.take_token("or"):
        parts.append(_translate_all(words, find, depth))
    return parts[0] if len(parts) == 1 else {"any": parts}


def _translate_all(words: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    parts = [_translate_not(words, find, depth)]
    while words.take_token("and"):
        parts.append(_translate_not(words, find, depth))
    return parts[0] if len(parts) == 1 else {"all": parts}


def _translate_not(words: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    if words.take_token("not"):
        return (
            {"not": _translate_not(words, find, depth + 1)}
            if depth < _DEEPEST
            else _translate_any(words, find, depth + 1)
        )
    if words.take_token("("):
        found = _translate_any(words, find, depth + 1)
        words.need_token(")")
        return found
    return _translate_clause(words, find)


def _translate_clause(words: TokenReader, find: Find) -> dict[str, Any]:
    word = words.next_token()
    if word.kind != "name":
        raise UnclearError(f"it has {word.text} where a field should be")
    after = words.peek_token()
    if word.text in ("present", "given", "exists") and after is not None and after.text == "(":
        words.need_token("(")
        subject = find(words.next_token().text)
        words.need_token(")")
        return {subject.name: {"present": "yes"}}
    subject = find(word.text)
    if words.take_token(*_PRESENT):
        return {subject.name: {"present": "yes"}}
    operator = _read_operator(words)
    if operator is None:
        return _make_flag_test(subject)
    if operator in ("present", "absent"):
        return {subject.name: {"present": "yes" if operator == "present" else "no"}}
    positive = _NEGATED.get(operator, operator)
    found = _make_test(subject, positive, _read_values(words, listed=positive == "in"))
    return {"not": found} if operator in _NEGATED else found


def _read_operator(words: TokenReader) -> str | None:
    if words.take_token("is"):
        negative = bool(words.take_token("not"))
        if words.take_token(*_PRESENT):
            return "absent" if negative else "present"
        if words.take_token(*_MISSING):
            return "present" if negative else "absent"
        if words.take_token("in"):
            return "not in" if negative else "in"
        return "!=" if negative else "=="
    after = words.peek_token(1)
    if after is not None and after.text.lower() == "in" and words.take_token("not"):
        words.need_token("in")
        return "not in"
    return words.take_token("==", "!=", "in", *_COMPARISONS)


def _read_values(words: TokenReader, *, listed: bool) -> list[str]:
    if not listed:
        return [_read_value(words)]
    if not words.take_token("[", "("):
        raise UnclearError("it has no list behind in")
    values = [_read_value(words)]
    while words.take_token(","):
        values.append(_read_value(words))
    words.need_token("]", ")")
    return list(dict.fromkeys(values))


def _read_value(words: TokenReader) -> str:
    word = words.next_token()
    if word.kind == "sign" or not word.text.strip():
        raise UnclearError(f"it has {word.text or 'nothing'} where a value should be")
    return word.text.rstrip("%") if word.kind == "number" else word.text


def _make_flag_test(subject: ConditionSubject) -> dict[str, Any]:
    if subject.type == "boolean":
        return {subject.name: {"is": "true"}}
    return {subject.name: {"present": "yes"}}


def _make_test(subject: ConditionSubject, operator: str, values: list[str]) -> dict[str, Any]:
    if subject.type in ("group", "attachment"):
        raise UnclearError(f"{subject.name} is a {subject.type} and has no value")
    if subject.type == "boolean":
        values = [_check_boolean(value, subject) for value in values]
    if operator in _COMPARISONS or subject.type == "number":
        return _make_numeric_test(subject, operator, values)
    if subject.type in ("date", "datetime"):
        raise UnclearError(f"{subject.name} is a date, and conditions compare codes and numbers")
    for value in values:
        if subject.codes is not None and value not in subject.codes:
            raise UnclearError(f"{value} is no code of {subject.name}")
    if operator == "in":
        return {subject.name: {"in": values}}
    return {subject.name: {"is": values[0]}}


def _check_boolean(value: str, subject: ConditionSubject) -> str:
    found = _BOOLEANS.get(value.lower())
    if found is None:
        raise UnclearError(f"{subject.name} is true or false, not {value}")
    return found


def _make_numeric_test(subject: ConditionSubject, operator: str, values: list[str]) -> dict[str, Any]:
    """Return a comparison of numbers; equality becomes two bounds, since ``5`` and ``5.0`` are equal."""
    if subject.type != "number":
        raise UnclearError(f"{subject.name} is no number")
    for value in values:
        if not re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?", value):
            raise UnclearError(f"{subject.name} is a number, not {value}")
    if operator in _COMPARISONS:
        return {subject.name: {_COMPARISONS[operator]: values[0]}}
    equal = [{"all": [{subject.name: {side: v}} for side in ("at_least", "at_most")]} for v in values]
    return equal[0] if len(equal) == 1 else {"any": equal}
