"""Docstrings and comments that a reader whose second language is English understands at first reading.

They name the thing, not a clause about it: "the octets of the call", not "what was sent".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.kit.source_tree import get_place, read_source, walk_sources

RIDDLE = re.compile(
    r"\b(whoever|(is|are|was|were|been|be) told|so many|so often|what (is|was|are|were|has))\b", re.IGNORECASE
)
#: A comment on a line of its own, or behind code after two blanks.
COMMENT = re.compile(r"(?:^\s*|  )#(.*)")

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def list_docstrings() -> Iterator[tuple[str, str]]:
    for path, nodes in walk_sources():
        for node in nodes:
            if isinstance(node, _Documented) and (text := ast.get_docstring(node)):
                yield f"{get_place(path)}:{node.body[0].lineno}", " ".join(text.split())


def list_comments() -> Iterator[tuple[str, str]]:
    """Yield each comment, its lines joined, with the place of the first one."""
    for path, _ in walk_sources():
        start, lines = 0, list[str]()
        for number, line in enumerate([*read_source(path).split("\n"), ""], 1):
            comment = COMMENT.search(line)
            if comment:
                start = start if lines else number
                lines.append(comment.group(1).strip(": "))
            elif lines:
                yield f"{get_place(path)}:{start}", " ".join(lines)
                lines = []


def list_riddles(sentences: Iterator[tuple[str, str]]) -> list[str]:
    return [f"{place}: {found.group()}" for place, text in sentences if (found := RIDDLE.search(text))]


def test_docstrings_name_what_they_speak_of() -> None:
    assert list_riddles(list_docstrings()) == []


def test_comments_name_what_they_speak_of() -> None:
    assert list_riddles(list_comments()) == []


def test_riddles_are_found() -> None:
    lines = ["So many texts are kept.", "Whoever waits is told.", "what is known", "It tells what it has."]
    assert [bool(RIDDLE.search(line)) for line in lines] == [True, True, True, False]
    match = COMMENT.search('value = "a#b"  # what is\n')
    assert match is not None
    assert match.group(1).strip() == "what is"
