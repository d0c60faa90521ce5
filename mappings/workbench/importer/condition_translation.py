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
_MAX_TEXT_LENGTH: Final = 2000


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
        token = self.peek_token()
        if token is None:
            raise UnclearError("it ends too early")
        self._at += 1
        return token

    def accept_token(self, *texts: str) -> str | None:
        """Take the next token if it is a name or sign among `texts`; return it in lower case, else None."""
        token = self.peek_token()
        if token is None or token.kind not in ("name", "sign") or token.text.lower() not in texts:
            return None
        self._at += 1
        return token.text.lower()

    def expect_token(self, *texts: str) -> str:
        """Take the next token; raise `UnclearError` unless it is among `texts`."""
        text = self.accept_token(*texts)
        if text is None:
            token = self.peek_token()
            raise UnclearError(
                f"it has {token.text if token else 'nothing'} where {' or '.join(texts)} should be"
            )
        return text

    def check_end(self) -> None:
        """Raise `UnclearError` for a remaining token."""
        token = self.peek_token()
        if token is not None:
            raise UnclearError(f"it goes on with {token.text}")


def read_tokens(text: str) -> TokenReader:
    """Return the tokens of `text`; raise `UnclearError` for an unknown character or a long text."""
    if len(text) > _MAX_TEXT_LENGTH:
        raise UnclearError(f"it has more than {_MAX_TEXT_LENGTH} characters")
    tokens, position, stripped_text = [], 0, text.rstrip()
    while position < len(stripped_text):
        match = _WORD.match(stripped_text, position)
        if match is None or match.lastgroup is None:
            raise UnclearError(f"it has {stripped_text[position:].strip()[:20]}")
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
_MAX_DEPTH: Final = 12
_PRESENT: Final = ("present", "given", "filled")
_MISSING: Final = ("absent", "empty", "missing", "null", "none")


@dataclass(frozen=True, slots=True)
class ConditionSubject:
    """The field or meaning of a name in a condition: its name in the mapping, its type, its codes."""

    name: str
    type: str
    codes: Sequence[str] | None = None


#: Returns the subject of a name at the place of the condition; raises `UnclearError` for an unknown name.
FindSubject = Callable[[str], ConditionSubject]


def translate_condition(text: str, find_subject: FindSubject) -> dict[str, Any]:
    """Return the condition in `text` in the mapping language; raise `UnclearError` with a reason."""
    try:
        return _translate_full_text(text, find_subject)
    except UnclearError:
        prose = _PROSE.fullmatch(text)
        if prose is None:
            raise
        return _translate_full_text(prose[1], find_subject)


def _translate_full_text(text: str, find_subject: FindSubject) -> dict[str, Any]:
    tokens = read_tokens(text)
    condition = _translate_disjunction(tokens, find_subject, 0)
    tokens.check_end()
    return condition


def _translate_disjunction(tokens: TokenReader, find_subject: FindSubject, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise UnclearError(f"it has brackets more than {_MAX_DEPTH} deep")
    parts = [_translate_conjunction(tokens, find_subject, depth)]
    while tokens.accept_token("or"):
        parts.append(_translate_conjunction(tokens, find_subject, depth))
    return parts[0] if len(parts) == 1 else {"any": parts}


def _translate_conjunction(tokens: TokenReader, find_subject: FindSubject, depth: int) -> dict[str, Any]:
    parts = [_translate_negation(tokens, find_subject, depth)]
    while tokens.accept_token("and"):
        parts.append(_translate_negation(tokens, find_subject, depth))
    return parts[0] if len(parts) == 1 else {"all": parts}


def _translate_negation(tokens: TokenReader, find_subject: FindSubject, depth: int) -> dict[str, Any]:
    if tokens.accept_token("not"):
        return (
            {"not": _translate_negation(tokens, find_subject, depth + 1)}
            if depth < _MAX_DEPTH
            else _translate_disjunction(tokens, find_subject, depth + 1)
        )
    if tokens.accept_token("("):
        inner = _translate_disjunction(tokens, find_subject, depth + 1)
        tokens.expect_token(")")
        return inner
    return _translate_clause(tokens, find_subject)


def _translate_clause(tokens: TokenReader, find_subject: FindSubject) -> dict[str, Any]:
    token = tokens.next_token()
    if token.kind != "name":
        raise UnclearError(f"it has {token.text} where a field should be")
    after = tokens.peek_token()
    if token.text in ("present", "given", "exists") and after is not None and after.text == "(":
        tokens.expect_token("(")
        subject = find_subject(tokens.next_token().text)
        tokens.expect_token(")")
        return {subject.name: {"present": "yes"}}
    subject = find_subject(token.text)
    if tokens.accept_token(*_PRESENT):
        return {subject.name: {"present": "yes"}}
    operator = _read_operator(tokens)
    if operator is None:
        return _make_flag_test(subject)
    if operator in ("present", "absent"):
        return {subject.name: {"present": "yes" if operator == "present" else "no"}}
    positive = _NEGATED.get(operator, operator)
    test = _make_test(subject, positive, _read_values(tokens, is_list=positive == "in"))
    return {"not": test} if operator in _NEGATED else test


def _read_operator(tokens: TokenReader) -> str | None:
    if tokens.accept_token("is"):
        negative = bool(tokens.accept_token("not"))
        if tokens.accept_token(*_PRESENT):
            return "absent" if negative else "present"
        if tokens.accept_token(*_MISSING):
            return "present" if negative else "absent"
        if tokens.accept_token("in"):
            return "not in" if negative else "in"
        return "!=" if negative else "=="
    after = tokens.peek_token(1)
    if after is not None and after.text.lower() == "in" and tokens.accept_token("not"):
        tokens.expect_token("in")
        return "not in"
    return tokens.accept_token("==", "!=", "in", *_COMPARISONS)


def _read_values(tokens: TokenReader, *, is_list: bool) -> list[str]:
    if not is_list:
        return [_read_value(tokens)]
    if not tokens.accept_token("[", "("):
        raise UnclearError("it has no list behind in")
    values = [_read_value(tokens)]
    while tokens.accept_token(","):
        values.append(_read_value(tokens))
    tokens.expect_token("]", ")")
    return list(dict.fromkeys(values))


def _read_value(tokens: TokenReader) -> str:
    token = tokens.next_token()
    if token.kind == "sign" or not token.text.strip():
        raise UnclearError(f"it has {token.text or 'nothing'} where a value should be")
    return token.text.rstrip("%") if token.kind == "number" else token.text


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
