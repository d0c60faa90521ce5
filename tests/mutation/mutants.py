"""The changes: conditions and their halves, first items, rows, comparisons, returns, errors, calls."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "choose_mutants", "list_mutants"]

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
#: Halves of conditions, second items, second rows.
_OVERLOOKED = ("half", "first item", "row", "element")
#: Characters of what tells a change.
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Change:
    """What a part of a tree becomes; `without` is the part of it that is left out, where there is one."""

    node: ast.expr | ast.stmt
    text: str
    kind: str
    without: ast.AST | None = None


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the octets from `start` to `end` become `text`; `words` tell it to people."""

    path: str
    line: int
    start: int
    end: int
    text: str
    kind: str
    words: str

    def apply_to(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def __str__(self) -> str:
        return self.words


def list_mutants(path: Path, root: Path) -> list[Mutant]:
    """Return every change of a file, in the order of its lines."""
    source = path.read_bytes()
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    mutants = []
    place = path.relative_to(root).as_posix()
    for change in _walk_changes(ast.parse(source)):
        node = change.node
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        if change.without is not None:
            words = f"without {ast.unparse(change.without)}"
        else:
            words = f"{' '.join(source[start:end].decode().split())} -> {change.text}"
        mutants.append(Mutant(place, node.lineno, start, end, change.text, change.kind, words[:_LONGEST]))
    return sorted(mutants, key=lambda mutant: (mutant.start, mutant.kind, mutant.text))


def choose_mutants(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return so many of the mutants, drawn by a seed: of each kind in turn, and of a line one only.

    What tests overlook most (`_OVERLOOKED`) has two in each turn.
    """
    draw = random.Random(seed)
    by_kind: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_kind.setdefault(mutant.kind, []).append(mutant)
    for kind in by_kind:
        draw.shuffle(by_kind[kind])
    others = sorted(set(by_kind) - set(_OVERLOOKED))
    draw.shuffle(others)
    turn = [kind for kind in (*_OVERLOOKED, *_OVERLOOKED, *others) if kind in by_kind]
    chosen: dict[tuple[str, int], Mutant] = {}
    while len(chosen) < count and any(by_kind.values()):
        for kind in turn:
            while by_kind[kind] and len(chosen) < count:
                mutant = by_kind[kind].pop()
                if (mutant.path, mutant.line) not in chosen:
                    chosen[mutant.path, mutant.line] = mutant
                    break
    return sorted(chosen.values(), key=lambda mutant: (mutant.path, mutant.start))


def _walk_changes(tree: ast.Module) -> Iterator[Change]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and not _is_export(statement):
            yield from _drop_rows(statement)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in _walk_code(statement):
                    yield from _list_changes(node)


def _is_export(statement: ast.Assign | ast.AnnAssign) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"


def _drop_rows(statement: ast.Assign | ast.AnnAssign) -> Iterator[Change]:
    """Yield a table of the module without each of its rows."""
    for node in ast.walk(statement.value) if statement.value is not None else ():
        yield from _drop_elements(node, "row")


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


def _list_changes(node: ast.AST) -> Iterator[Change]:
    yield from _change_value(node)
    yield from _change_step(node)
    yield from _leave_out(node)


def _change_value(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            changed = f"{_write(left)} {_COMPARISONS[type(operator)]} {_write(right)}"
            yield Change(node, changed, "comparison")
        case ast.BoolOp():
            yield from _change_condition(node)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield Change(node, f"({ast.unparse(operand)})", "negation")
        case ast.Constant(value=bool(value)):
            yield Change(node, str(not value), "constant")
        case ast.Constant(value=int(value)):
            yield Change(node, str(value + 1), "constant")
        case ast.BinOp(left=left, op=operator, right=right) if (
            type(operator) in _ARITHMETIC and not _is_text(left) and not _is_text(right)
        ):
            changed = f"({_write(left)} {_ARITHMETIC[type(operator)]} {_write(right)})"
            yield Change(node, changed, "arithmetic")
        case _:
            pass


def _change_step(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield Change(node, "return None", "return")
        case ast.Raise():
            yield Change(node, "pass", "error")
        case ast.Expr(value=ast.Call() as call) if not ast.unparse(call.func).startswith("_log."):
            yield Change(node, "pass", "call")
        case ast.Continue():
            yield Change(node, "break", "loop")
        case ast.Break():
            yield Change(node, "continue", "loop")
        case _:
            pass


def _leave_out(node: ast.AST) -> Iterator[Change]:
    """Yield a loop over the first item only, and lists and calls without one of their parts."""
    match node:
        case ast.For(iter=items):
            yield Change(items, f"list({ast.unparse(items)})[:1]", "first item")
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for loop in node.generators:
                yield Change(loop.iter, f"list({ast.unparse(loop.iter)})[:1]", "first item")
        case ast.Call(keywords=keywords) if any(keyword.arg for keyword in keywords):
            yield from _drop_keywords(node)
        case ast.Tuple() | ast.List() | ast.Set() | ast.Dict():
            yield from _drop_elements(node, "element")
        case _:
            pass


def _change_condition(node: ast.BoolOp) -> Iterator[Change]:
    """Yield a condition with the other operator, and without each of its parts."""
    joint, other = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
    parts = [f"({ast.unparse(part)})" for part in node.values]
    yield Change(node, f"({other.join(parts)})", "condition")
    for place in range(len(parts)):
        yield Change(node, f"({joint.join(parts[:place] + parts[place + 1 :])})", "half", node.values[place])


def _drop_keywords(node: ast.Call) -> Iterator[Change]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            left = [*node.keywords[:place], *node.keywords[place + 1 :]]
            yield Change(node, ast.unparse(ast.Call(node.func, node.args, left)), "keyword", keyword)


def _drop_elements(node: ast.AST, kind: str) -> Iterator[Change]:
    """Yield a table, or a list of constants in a function, without each of its elements."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        elements = node.elts
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return
    elif isinstance(node, ast.Dict):
        elements = node.values
    else:
        return
    if len(elements) < 2 or (
        kind == "element" and not all(isinstance(element, ast.Constant) for element in elements)
    ):
        return
    for place in range(len(elements)):
        left = [*elements[:place], *elements[place + 1 :]]
        if isinstance(node, ast.Dict):
            keys = [*node.keys[:place], *node.keys[place + 1 :]]
            yield Change(node, ast.unparse(ast.Dict(keys, left)), kind, elements[place])
        else:
            yield Change(node, ast.unparse(type(node)(left)), kind, elements[place])


def _write(operand: ast.expr) -> str:
    """Return an operand as text that stays one operand beside any operator."""
    text = ast.unparse(operand)
    simple = (
        ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant | ast.Tuple | ast.List | ast.Set
    )
    return text if isinstance(operand, simple) else f"({text})"


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
