"""Names that say nothing, and tuples in place of arguments: there are none but the terms below.

A name is empty where it says how something came (`found`, `given`, `told`) and not what it is. A parameter
whose type is a tuple of different things is a class without a name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.kit.source_tree import get_place, walk_sources

EMPTY = {
    *("told", "said", "given", "known", "found", "asked", "wanted", "heard", "one", "other"),
    *("further", "named", "taken", "what", "where", "how", "who", "about", "made", "begun"),
    *("shown", "left", "kept", "stated", "owed", "done", "more", "above", "beside", "alike"),
    *("mine", "own", "meant", "came", "around", "inside", "place", "words", "ways", "way"),
    *("here", "standing"),
}
#: Where such a word is the term itself: of SQL, and of places in a file.
TERMS = {
    "conformance/hostile/signature_wrapping.py:make_element_wrapping": {"way"},
    "store/table_types.py:__init__": {"where"},
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def list_functions() -> Iterator[tuple[str, _Function]]:
    for path, nodes in walk_sources():
        for node in nodes:
            if isinstance(node, _Function) and "migrations" not in path.parts:
                yield get_place(path), node


def list_parameters(function: _Function) -> Iterator[ast.arg]:
    yield from (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)


def list_names(function: _Function) -> set[str]:
    variables = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return variables | {parameter.arg for parameter in list_parameters(function)}


def is_tuple_of_different(parameter: ast.arg) -> bool:
    kind = "" if parameter.annotation is None else ast.unparse(parameter.annotation)
    return kind.startswith("tuple[") and ", " in kind and not kind.endswith("...]")


def test_a_name_says_what_the_thing_is() -> None:
    empty: dict[str, set[str]] = {}
    for place, function in list_functions():
        if names := list_names(function) & EMPTY:
            empty.setdefault(f"{place}:{function.name}", set()).update(names)
    assert empty == TERMS


def test_things_that_differ_are_arguments_of_their_own() -> None:
    tuples = [
        f"{place}:{function.name}({parameter.arg})"
        for place, function in list_functions()
        for parameter in list_parameters(function)
        if is_tuple_of_different(parameter)
    ]
    assert not tuples
