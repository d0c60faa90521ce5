"""Says in words what a value may be: which of some codes, between which bounds, in which form.

A partner reads why a value was refused. A regular expression, or a list as a programming language
writes it, says this to programmers only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["describe_choices", "describe_pattern", "quote_value"]

#: More codes than these are cut: a list of countries helps nobody in a sentence.
_MOST_CHOICES: Final = 12
_LONGEST_VALUE: Final = 60
_LONGEST_PATTERN: Final = 120
#: The categories of Unicode whose characters are not seen: controls, format characters, separators.
_UNSEEN: Final = ("Cc", "Cf", "Zs", "Zl", "Zp")
_SHORT_ESCAPES: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
#: Patterns that have a name of their own.
_KNOWN: Final = {
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}": "a date as 2026-01-31",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})": (
        "a date and time with zone as 2026-01-31T12:00:00Z"
    ),
    r"20\d{6}(\d{6}(Z|[+\-]\d\d))?": (
        "a date from 2000 to 2099 as 20260131, or with time and zone as 20260131120000Z"
    ),
    r".*\S.*": "at least one character that is not a space",
    r"[^/\s]+/\S.*": "a media type as application/pdf",
    r"[^\s/;]+/[^\s/;]+(\s*;.*)?": "a media type as application/pdf",
    r"[\i-[:]][\c-[:]]*": "a name of XML without a colon",
    r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*": "a language as en or en-GB",
}
_CLASSES: Final = {
    "0-9": ("digit", "digits"),
    "A-Z": ("capital letter", "capital letters"),
    "a-z": ("small letter", "small letters"),
    "A-Za-z": ("letter", "letters"),
    "0-9A-Z": ("capital letter or digit", "capital letters or digits"),
    "0-9a-z": ("small letter or digit", "small letters or digits"),
    "0-9A-Za-z": ("letter or digit", "letters or digits"),
    "0-9A-Fa-f": ("hexadecimal digit", "hexadecimal digits"),
    "0-9a-f": ("hexadecimal digit in small letters", "hexadecimal digits in small letters"),
    ".": ("character", "characters"),
    r"\d": ("digit", "digits"),
    r"\S": ("character that is not a space", "characters that are not spaces"),
    r"^\s": ("character that is not a space", "characters that are not spaces"),
}
_NAMED_CHOICES: Final = {"": "an empty value", " ": "a space"}
_ATOM: Final = re.compile(
    r"(?P<class>\[(?:\\.|[^\[\]\\])+\])|(?P<group>\((?:\\.|[^()\\])*\))|(?P<escape>\\.)|(?P<plain>[^\\\[\](){}?*+|])"
)
_COUNT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}|[?*+]")
_RANGE: Final = re.compile(r"(?:\\?(.))-(?:\\?(.))|\\(.)|(.)")


def quote_value(text: str) -> str:
    """Return a value in quotes, cut where it is long.

    Spaces stay as they are. Any other character that cannot be seen is written as in JSON, a line feed as
    backslash and n; so the value is one line, and one that is wrong by such a character does not look right.
    """
    shown = ""
    for character in text:
        step = _show_character(character)
        if len(shown) + len(step) > _LONGEST_VALUE:
            return f"'{shown}…'"
        shown += step
    return f"'{shown}'"


def _show_character(character: str) -> str:
    if character == " " or unicodedata.category(character) not in _UNSEEN:
        return character
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def describe_choices(choices: Iterable[str]) -> str:
    """Return ``A``, ``one of A, B or C``, or the first twelve with the number of the others."""
    known = [_NAMED_CHOICES.get(choice, choice) for choice in choices]
    if len(known) <= 1:
        return known[0] if known else "no value"
    if len(known) > _MOST_CHOICES:
        return f"one of {', '.join(known[:_MOST_CHOICES])} and {len(known) - _MOST_CHOICES} more"
    return f"one of {', '.join(known[:-1])} or {known[-1]}"


def describe_pattern(pattern: str) -> str:
    """Return in words what a pattern of XML Schema accepts; the pattern itself where words would not."""
    known = _KNOWN.get(pattern)
    if known is not None:
        return known
    branches = [_describe_sequence(branch) for branch in _split_alternatives(pattern)]
    if any(branch is None for branch in branches):
        shown = pattern if len(pattern) <= _LONGEST_PATTERN else pattern[:_LONGEST_PATTERN] + "…"
        return f"a text of the form {shown}"
    return " or ".join(str(branch) for branch in branches)


def _split_alternatives(pattern: str) -> list[str]:
    """Return the branches of a pattern that ``|`` separates outside of groups and classes."""
    branches, depth, start = [], 0, 0
    for found in re.finditer(r"\\.|[\[\]()|]", pattern):
        mark = found[0]
        depth += (mark in ("(", "[")) - (mark in (")", "]"))
        if mark == "|" and depth == 0:
            branches.append(pattern[start : found.start()])
            start = found.end()
    return [*branches, pattern[start:]]


def _describe_sequence(pattern: str) -> str | None:
    """Return the words for a sequence of classes, groups and characters; None for anything else."""
    parts: list[str] = []
    literal, at = "", 0
    while at < len(pattern):
        atom = _ATOM.match(pattern, at)
        if atom is None:
            return None
        count = _COUNT.match(pattern, atom.end())
        at = (count or atom).end()
        character = _read_literal(atom)
        if character is not None and count is None:
            literal += character
            continue
        words = _describe_atom(atom, count[0] if count else "")
        if words is None:
            return None
        parts += [f'"{literal}"', words] if literal else [words]
        literal = ""
    return ", ".join([*parts, f'"{literal}"'] if literal else parts) or "an empty value"


def _read_literal(atom: re.Match[str]) -> str | None:
    """Return the one character that an atom stands for, None for a class or a group."""
    if atom["escape"] is not None and not atom["escape"][1].isalpha():
        return atom["escape"][1]
    return atom["plain"] if atom["plain"] not in (None, ".") else None


def _describe_atom(atom: re.Match[str], count: str) -> str | None:
    if atom["group"] is not None:
        inner = [_describe_sequence(branch) for branch in _split_alternatives(atom["group"][1:-1])]
        if any(one is None for one in inner) or count not in ("", "?", "{0,1}"):
            return None
        words = " or ".join(str(one) for one in inner)
        return f"optionally {words}" if count else words
    literal = _read_literal(atom)
    if literal is not None:
        names = (f'"{literal}"', f'"{literal}"')
    else:
        names = _name_class(atom["class"][1:-1] if atom["class"] else atom[0])
    return _count_characters(names, count)


def _name_class(content: str) -> tuple[str, str]:
    """Return one and many characters of a class in words."""
    listed = sorted(
        f"{one[1]}-{one[2]}" if one[1] else (one[3] or one[4]) for one in _RANGE.finditer(content)
    )
    ranges = [one for one in listed if len(one) == 3]
    others = [one for one in listed if len(one) == 1]
    if content in _CLASSES:
        return _CLASSES[content]
    if content.startswith("^"):
        excluded = content[1:].replace(r"\s", " ")
        listed = [_NAMED_CHOICES.get(one, one) for one in dict.fromkeys(excluded)]
        return f"character other than {' '.join(listed)}", f"characters other than {' '.join(listed)}"
    kinds = _CLASSES.get("".join(ranges))
    if not ranges and others:
        return describe_choices(others), f"characters, each {describe_choices(others)}"
    one, many = kinds or (f"character of {' '.join(ranges)}", f"characters of {' '.join(ranges)}")
    extra = "".join(f' or "{other}"' for other in others)
    return f"{one}{extra}", f"{many}{extra}"


def _count_characters(names: Sequence[str], count: str) -> str:
    one, many = names
    fixed = {"": f"1 {one}", "?": f"optionally 1 {one}", "{0,1}": f"optionally 1 {one}"}
    fixed |= {"*": f"any number of {many}", "+": f"1 or more {many}"}
    if count in fixed:
        return fixed[count].replace("1 one of", "one of").replace('1 "', '"')
    low, _, high = count[1:-1].partition(",")
    if "," not in count:
        return f"{low} {one if low == '1' else many}"
    return f"{low} to {high} {many}" if high else f"at least {low} {many}"
