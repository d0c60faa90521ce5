"""The changes: comparisons, conditions, numbers, returned values, raised errors, calls left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "list_mutants"]

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the octets from `start` to `end` become `text`."""

    path: str
    line: int
    start: int
    end: int
    text: str
    was: str

    def apply_to(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.was} -> {self.text}"


def list_mutants(path: Path, root: Path) -> list[Mutant]:
    """Return every change of a file, in the order of its lines."""
    source = path.read_bytes()
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = []
    for node, text in _walk_changes(ast.parse(source)):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        was = " ".join(source[start:end].decode().split())
        found.append(Mutant(path.relative_to(root).as_posix(), node.lineno, start, end, text, was))
    return sorted(found, key=lambda one: (one.start, one.text))


def _walk_changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in _walk_code(statement):
                    yield from _list_changes(node)


def _walk_code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: no annotations, no inner functions, no texts."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.JoinedStr):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk_code(child)


def _list_changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            yield node, f"{_write(left)} {_COMPARISONS[type(operator)]} {_write(right)}"
        case ast.BoolOp(op=operator, values=values):
            joint = " or " if isinstance(operator, ast.And) else " and "
            yield node, f"({joint.join(f'({ast.unparse(one)})' for one in values)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            yield node, str(not value)
        case ast.Constant(value=int(value)):
            yield node, str(value + 1)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            yield node, f"({_write(left)} {_ARITHMETIC[type(operator)]} {_write(right)})"
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield node, "return None"
        case ast.Raise():
            yield node, "pass"
        case ast.Expr(value=ast.Call() as call) if not ast.unparse(call.func).startswith("_log."):
            yield node, "pass"
        case ast.Continue():
            yield node, "break"
        case ast.Break():
            yield node, "continue"
        case _:
            pass


def _write(operand: ast.expr) -> str:
    """Return an operand as text that stays one operand beside any operator."""
    text = ast.unparse(operand)
    simple = (
        ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant | ast.Tuple | ast.List | ast.Set
    )
    return text if isinstance(operand, simple) else f"({text})"


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
