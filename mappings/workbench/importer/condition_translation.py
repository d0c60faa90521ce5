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

_WORD: Final = re.compile(
    r"""\s*(?:
        (?P<text>'[^']*'|"[^"]*"|‘[^’]*’|“[^”]*”)
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?%?(?![\w]))
      | (?P<name>[^\W0-9][\w./-]*)
      | (?P<sign><=|>=|==|!=|<>|~=|&&|\|\||[<>=≤≥≠≈~!*×()\[\]{},;])
    )""",
    re.VERBOSE,
)
_OPERATORS: Final = {
    "=": "==",
    "<>": "!=",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "≈": "~=",
    "~": "~=",
    "&&": "and",
    "||": "or",
    "×": "*",
    "!": "not",
    "{": "[",
    "}": "]",
}
_LONGEST: Final = 2000


class UnclearError(Exception):
    """A text that the mapping language cannot express; the message is the reason.  The import handles it."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token: a ``name``, a quoted ``text``, a ``number`` or a ``sign``."""

    kind: str
    text: str


class TokenReader:
    """The tokens of one text, read from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek_token(self, ahead: int = 0) -> Token | None:
        """Return the token at `ahead` without taking it, None at the end."""
        index = self._at + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def next_token(self) -> Token:
        """Take the next token; raise `UnclearError` at the end."""
        word = self.peek_token()
        if word is None:
            raise UnclearError("it ends too early")
        self._at += 1
        return word

    def take_token(self, *texts: str) -> str | None:
        """Take the next token if it is a name or sign among `texts`; return it in lower case, else None."""
        word = self.peek_token()
        if word is None or word.kind not in ("name", "sign") or word.text.lower() not in texts:
            return None
        self._at += 1
        return word.text.lower()

    def need_token(self, *texts: str) -> str:
        """Take the next token; raise `UnclearError` unless it is among `texts`."""
        text = self.take_token(*texts)
        if text is None:
            word = self.peek_token()
            raise UnclearError(
                f"it has {word.text if word else 'nothing'} where {' or '.join(texts)} should be"
            )
        return text

    def check_end(self) -> None:
        """Raise `UnclearError` for a remaining token."""
        word = self.peek_token()
        if word is not None:
            raise UnclearError(f"it goes on with {word.text}")


def read_tokens(text: str) -> TokenReader:
    """Return the tokens of `text`; raise `UnclearError` for an unknown character or a long text."""
    if len(text) > _LONGEST:
        raise UnclearError(f"it has more than {_LONGEST} characters")
    tokens, position, whole = [], 0, text.rstrip()
    while position < len(whole):
        match = _WORD.match(whole, position)
        if match is None or match.lastgroup is None:
            raise UnclearError(f"it has {whole[position:].strip()[:20]}")
        kind, token_text = match.lastgroup, match[match.lastgroup]
        if kind == "text":
            token_text = token_text[1:-1]
        elif kind == "sign":
            token_text = _OPERATORS.get(token_text, token_text)
        tokens.append(Token(kind, token_text.rstrip("./-") if kind == "name" else token_text))
        position = match.end()
    return TokenReader(tokens)


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
    tokens = read_tokens(text)
    condition = _translate_any(tokens, find, 0)
    tokens.check_end()
    return condition


def _translate_any(tokens: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise UnclearError(f"it has brackets more than {_DEEPEST} deep")
    parts = [_translate_all(tokens, find, depth)]
    while tokens.take_token("or"):
        parts.append(_translate_all(tokens, find, depth))
    return parts[0] if len(parts) == 1 else {"any": parts}


def _translate_all(tokens: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    parts = [_translate_not(tokens, find, depth)]
    while tokens.take_token("and"):
        parts.append(_translate_not(tokens, find, depth))
    return parts[0] if len(parts) == 1 else {"all": parts}


def _translate_not(tokens: TokenReader, find: Find, depth: int) -> dict[str, Any]:
    if tokens.take_token("not"):
        return (
            {"not": _translate_not(tokens, find, depth + 1)}
            if depth < _DEEPEST
            else _translate_any(tokens, find, depth + 1)
        )
    if tokens.take_token("("):
        inner = _translate_any(tokens, find, depth + 1)
        tokens.need_token(")")
        return inner
    return _translate_clause(tokens, find)


def _translate_clause(tokens: TokenReader, find: Find) -> dict[str, Any]:
    word = tokens.next_token()
    if word.kind != "name":
        raise UnclearError(f"it has {word.text} where a field should be")
    after = tokens.peek_token()
    if word.text in ("present", "given", "exists") and after is not None and after.text == "(":
        tokens.need_token("(")
        subject = find(tokens.next_token().text)
        tokens.need_token(")")
        return {subject.name: {"present": "yes"}}
    subject = find(word.text)
    if tokens.take_token(*_PRESENT):
        return {subject.name: {"present": "yes"}}
    operator = _read_operator(tokens)
    if operator is None:
        return _make_flag_test(subject)
    if operator in ("present", "absent"):
        return {subject.name: {"present": "yes" if operator == "present" else "no"}}
    positive = _NEGATED.get(operator, operator)
    test = _make_test(subject, positive, _read_values(tokens, listed=positive == "in"))
    return {"not": test} if operator in _NEGATED else test


def _read_operator(tokens: TokenReader) -> str | None:
    if tokens.take_token("is"):
        negative = bool(tokens.take_token("not"))
        if tokens.take_token(*_PRESENT):
            return "absent" if negative else "present"
        if tokens.take_token(*_MISSING):
            return "present" if negative else "absent"
        if tokens.take_token("in"):
            return "not in" if negative else "in"
        return "!=" if negative else "=="
    after = tokens.peek_token(1)
    if after is not None and after.text.lower() == "in" and tokens.take_token("not"):
        tokens.need_token("in")
        return "not in"
    return tokens.take_token("==", "!=", "in", *_COMPARISONS)


def _read_values(tokens: TokenReader, *, listed: bool) -> list[str]:
    if not listed:
        return [_read_value(tokens)]
    if not tokens.take_token("[", "("):
        raise UnclearError("it has no list behind in")
    values = [_read_value(tokens)]
    while tokens.take_token(","):
        values.append(_read_value(tokens))
    tokens.need_token("]", ")")
    return list(dict.fromkeys(values))


def _read_value(tokens: TokenReader) -> str:
    word = tokens.next_token()
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
    boolean = _BOOLEANS.get(value.lower())
    if boolean is None:
        raise UnclearError(f"{subject.name} is true or false, not {value}")
    return boolean


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
