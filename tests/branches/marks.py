"""The marks of a source: a statement without effect at the start of each way of each branch.

The statement is `pass` with a line number behind the end of the source. The compiler keeps it, because it is
the only statement of its line, and a tracer of lines is told of it. The numbers follow from the source alone:
they are found again when the measured lines are read.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Branch", "mark_branches", "write_marked_program"]


@dataclass(frozen=True)
class Branch:
    """A line with two ways out, into a body of lines and past it, and the line that shows each as taken."""

    line: int
    body: range
    entered: int
    passed: int


def mark_branches(source: str) -> tuple[ast.Module, list[Branch]]:
    """Return the tree of a source with a mark in each way of each branch, and the branches."""
    tree = ast.parse(source)
    behind = len(source.splitlines()) + 1
    branches = []
    for node in list(ast.walk(tree)):
        for line, body, other, seen in _list_ways(node):
            entered = behind + 2 * len(branches)
            branches.append(Branch(line, _find_lines(body), entered, seen or entered + 1))
            body.insert(0, _make_mark(entered))
            if seen is None:
                other.insert(0, _make_mark(entered + 1))
    return tree, branches


def write_marked_program(folder: Path) -> int:
    """Compile the files below a folder with their marks, where Python looks for them; return how many.

    A file that is changed afterwards is compiled again, without marks, by whoever imports it.
    """
    files = sorted(folder.rglob("*.py"))
    for file in files:
        tree, _ = mark_branches(file.read_text(encoding="utf-8"))
        state = file.stat()
        times = [int(number) & 0xFFFFFFFF for number in (0, state.st_mtime, state.st_size)]
        place = Path(importlib.util.cache_from_source(str(file)))
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(
            importlib.util.MAGIC_NUMBER
            + b"".join(number.to_bytes(4, "little") for number in times)
            + marshal.dumps(compile(tree, str(file.resolve()), "exec", dont_inherit=True))
        )
    return len(files)


_Way = list[ast.stmt]


def _list_ways(node: ast.AST) -> Iterator[tuple[int, _Way, _Way, int | None]]:
    # The line that decides, the statements of both ways, and a line that shows without a mark that the body
    # was passed.
    match node:
        case ast.If() | ast.While():
            yield node.test.lineno, node.body, node.orelse, None
        case ast.For() | ast.AsyncFor():
            yield node.iter.lineno, node.body, node.orelse, None
        case ast.Match():
            yield from _list_ways_of_cases(node)


def _list_ways_of_cases(node: ast.Match) -> Iterator[tuple[int, _Way, _Way, int | None]]:
    for case, following in zip(node.cases, node.cases[1:], strict=False):
        yield case.pattern.lineno, case.body, [], following.pattern.lineno
    last = node.cases[-1]
    if not _matches_all(last):
        nothing: _Way = []
        yield last.pattern.lineno, last.body, nothing, None
        # Filled by now.
        everything = ast.copy_location(ast.MatchAs(), last.pattern)
        node.cases.append(ast.match_case(pattern=everything, body=nothing))


def _matches_all(case: ast.match_case) -> bool:
    pattern = case.pattern
    while isinstance(pattern, ast.MatchOr | ast.MatchAs):
        if isinstance(pattern, ast.MatchOr):
            pattern = pattern.patterns[-1]
        elif pattern.pattern is None:
            return case.guard is None
        else:
            pattern = pattern.pattern
    return False


def _find_lines(body: _Way) -> range:
    decorators = getattr(body[0], "decorator_list", [])
    first = min(part.lineno for part in (body[0], *decorators))
    return range(first, (body[-1].end_lineno or body[-1].lineno) + 1)


def _make_mark(line: int) -> ast.stmt:
    return ast.Pass(lineno=line, end_lineno=line, col_offset=0, end_col_offset=0)
