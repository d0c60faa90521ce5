"""The tokenizer of the conditions and invariants of an inventory; rejects any other character."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Token", "TokenReader", "UnclearError", "read_tokens"]

_WORD: Final = re.compile(
    r"""\s*(?:
        (?P<text>'[^']*'|"[^"]*"|‘[^’]*’|“[^”]*”)
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?%?(?![\w]))
      | (?P<name>[^\W0-9][\w./-]*)
      | (?P<sign><=|>=|==|!=|<>|~=|&&|\|\||[<>=≤≥≠≈~!*×()\[\]{},;])
    )""",
    re.VERBOSE,
)
_ALIKE: Final = {
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

    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._at = 0

    def peek_token(self, ahead: int = 0) -> Token | None:
        """Return the token at `ahead` without taking it, None at the end."""
        place = self._at + ahead
        return self._words[place] if place < len(self._words) else None

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
        found = self.take_token(*texts)
        if found is None:
            word = self.peek_token()
            raise UnclearError(
                f"it has {word.text if word else 'nothing'} where {' or '.join(texts)} should be"
            )
        return found

    def check_end(self) -> None:
        """Raise `UnclearError` for a remaining token."""
        word = self.peek_token()
        if word is not None:
            raise UnclearError(f"it goes on with {word.text}")


def read_tokens(text: str) -> TokenReader:
    """Return the tokens of `text`; raise `UnclearError` for an unknown character or a long text."""
    if len(text) > _LONGEST:
        raise UnclearError(f"it has more than {_LONGEST} characters")
    words, position, whole = [], 0, text.rstrip()
    while position < len(whole):
        match = _WORD.match(whole, position)
        if match is None or match.lastgroup is None:
            raise UnclearError(f"it has {whole[position:].strip()[:20]}")
        kind, found = match.lastgroup, match[match.lastgroup]
        if kind == "text":
            found = found[1:-1]
        elif kind == "sign":
            found = _ALIKE.get(found, found)
        words.append(Token(kind, found.rstrip("./-") if kind == "name" else found))
        position = match.end()
    return TokenReader(words)
