"""Translates a regular expression of an inventory into a pattern of the mapping language.

The language has sequences of characters and classes with counts, and choices of fixed words;
Python and XML Schema read these alike.  Any other expression is rejected with a reason.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.harmonize.importer.tokenizer import UnclearError
from gateway.harmonize.types import is_simple_pattern

__all__ = ["make_form_pattern", "translate_pattern"]

_CLASSES: Final = {"d": "0-9", "w": "A-Za-z0-9_"}
_COUNT: Final = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_LARGE: Final = re.compile(r"(?<!\\)\{[0-9,]*[0-9]{5,}[0-9,]*\}")
_LONGEST: Final = 400
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _/-]")
_CHOICE: Final = re.compile(r"\((?:\?:)?([^()\[\]{}\\?+*.^$]+(?:\|[^()\[\]{}\\?+*.^$]+)*)\)")
_FORM: Final = re.compile(r"(an|a|n)(\.\.)?([0-9]{1,3})(?![0-9A-Za-z])")
_PICTURE: Final = re.compile(r"(?<![A-Za-z0-9])(?=[A09.-]*0)[A9][A09.-]{2,30}(?![A-Za-z0-9])")
_ALPHABETS: Final = {"an": "[A-Za-z0-9]", "a": "[A-Za-z]", "n": "[0-9]"}


def translate_pattern(pattern: str, longest: int) -> str:
    """Return `pattern` in the form of mappings, open counts limited to `longest`; raise `UnclearError`."""
    if len(pattern) > _LONGEST:
        raise UnclearError(f"it has more than {_LONGEST} characters")
    if (large := _LARGE.search(pattern)) is not None:
        raise UnclearError(f"the count {large[0]} is larger than 9999")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UnclearError(f"it is no regular expression ({error})") from None
    text = pattern.removeprefix("^").removesuffix("$")
    parts: list[str] = []
    position = 0
    while position < len(text):
        atom, position = _translate_atom(text, position)
        count, position = _translate_count(text, position, longest)
        parts.append(atom + count)
    found = "".join(parts)
    if not is_simple_pattern(found):
        raise UnclearError(
            f"a pattern is a row of characters, classes and choices with counts, not {pattern}"
        )
    return found


def _translate_atom(text: str, position: int) -> tuple[str, int]:
    letter = text[position]
    if letter == "[":
        return _translate_class(text, position)
    if letter == "(":
        choice = _CHOICE.match(text, position)
        if choice is None:
            raise UnclearError("brackets hold a choice of fixed words only")
        return f"({choice[1]})", choice.end()
    if letter == "\\":
        after = text[position + 1 : position + 2]
        if after in _CLASSES:
            return f"[{_CLASSES[after]}]", position + 2
        if after.isalnum():
            raise UnclearError(f"it has \\{after}")
        return _write_literal(after), position + 2
    if letter in "^$|)?+*{}.":
        raise UnclearError(f"it has {letter} where a character or a class should be")
    return _write_literal(letter), position + 1


def _write_literal(letter: str) -> str:
    return letter if _PLAIN.fullmatch(letter) else f"[{letter}]"


def _translate_class(text: str, position: int) -> tuple[str, int]:
    """Return a class with its escapes resolved, and the position after it."""
    content, at = "", position + 1
    if text[at : at + 1] == "^":
        raise UnclearError("it has a class of what may not stand there")
    last = ""
    while at < len(text) and (text[at] != "]" or at == position + 1):
        letter = text[at]
        if letter == "\\":
            letter = text[at + 1 : at + 2]
            at += 1
            if letter in _CLASSES:
                content, at = content + _CLASSES[letter], at + 1
                continue
            if letter == "-":
                last, at = "-", at + 1
                continue
            if letter.isalnum():
                raise UnclearError(f"it has \\{letter}")
        content, at = content + letter, at + 1
    return f"[{content}{last}]", at + 1


def _translate_count(text: str, position: int, longest: int) -> tuple[str, int]:
    letter = text[position : position + 1]
    if letter in ("?", "+", "*"):
        if text[position + 1 : position + 2] in ("?", "+"):
            raise UnclearError("it says how greedy a count is")
        return {"?": "{0,1}", "+": f"{{1,{longest}}}", "*": f"{{0,{longest}}}"}[letter], position + 1
    if letter == "{":
        match = _COUNT.match(text, position)
        if match is None:
            raise UnclearError("it has a count without numbers")
        low, high = match[1], (match[3] or str(max(longest, int(match[1])))) if match[2] else ""
        return (f"{{{low},{high}}}" if high else f"{{{low}}}"), match.end()
    return "", position


def make_form_pattern(text: str) -> str | None:
    """Return the pattern in the description of an open list: ``an..12``, ``a3``, ``A00000.00``; or None."""
    form = _FORM.search(text)
    if form is not None:
        low = "1," if form[2] else ""
        return f"{_ALPHABETS[form[1]]}{{{low}{int(form[3])}}}"
    picture = _PICTURE.search(text)
    if picture is not None:
        return _make_picture_pattern(picture[0])
    letters = re.search(r"([0-9])-(alpha|digit|character)s?\b", text)
    if letters is not None:
        alphabet = {"alpha": "[A-Z]", "digit": "[0-9]", "character": "[A-Za-z0-9]"}[letters[2]]
        return f"{alphabet}{{{letters[1]}}}"
    return None


def _make_picture_pattern(picture: str) -> str:
    """Return the pattern of a picture in which A is a letter, 0 and 9 a digit."""
    parts = []
    for run in re.finditer(r"A+|[09]+|[.-]+", picture):
        letter = {"A": "[A-Z]", "0": "[0-9]", "9": "[0-9]", ".": "[.]", "-": "-"}[run[0][0]]
        parts.append(letter + (f"{{{len(run[0])}}}" if len(run[0]) > 1 else ""))
    return "".join(parts)
