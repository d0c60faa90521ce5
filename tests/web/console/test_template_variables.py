"""Every page gives its template each variable that the template reads, in any branch of it, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, meta, nodes

from tests.kit.console import Console

SOURCES = Path(str(files("gateway.web.console")))


@dataclass(frozen=True)
class Rendering:
    """A call that renders a template, with the names of the variables that it gives."""

    place: str
    template: str
    variables: frozenset[str]


def list_calls(function: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call of a function in the sources of the console, with its place."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                yield f"{path.relative_to(SOURCES)}:{node.lineno}", node


def list_names(call: ast.Call) -> frozenset[str]:
    return frozenset(keyword.arg for keyword in call.keywords if keyword.arg is not None)


def list_renderings() -> Iterator[Rendering]:
    """Yield each rendering; `answer_list` alone computes the name of a template, and passes variables on."""
    (common,) = (call for _, call in list_calls("render_template") if isinstance(call.args[0], ast.JoinedStr))
    for place, call in list_calls("answer_list"):
        name = call.args[0]
        assert isinstance(name, ast.Constant), place
        yield Rendering(place, f"operations/{name.value}.html", list_names(common) | list_names(call))
    for place, call in list_calls("render_template"):
        if call is not common and isinstance(name := call.args[0], ast.Constant):
            passed_on = [keyword for keyword in call.keywords if keyword.arg is None]
            assert not passed_on, f"{place}: each variable is named where a template is rendered"
            yield Rendering(place, str(name.value), list_names(call))


@cache
def read_template(environment: Environment, name: str) -> nodes.Template:
    assert environment.loader is not None
    return environment.parse(environment.loader.get_source(environment, name)[0], name)


def list_parts(environment: Environment, name: str) -> Iterator[nodes.Template]:
    """Yield a template and all that read its variables: what it extends, includes, imports with context."""
    waiting, known = [name], {name}
    while waiting:
        tree = read_template(environment, waiting.pop())
        yield tree
        for reference in tree.find_all((nodes.Extends, nodes.Include, nodes.FromImport)):
            assert isinstance(reference, nodes.Extends | nodes.Include | nodes.FromImport)
            assert isinstance(reference.template, nodes.Const)
            reads = not isinstance(reference, nodes.FromImport) or reference.with_context
            if reads and reference.template.value not in known:
                known.add(reference.template.value)
                waiting.append(reference.template.value)


def list_needed_variables(environment: Environment, name: str) -> set[str]:
    parts = list(list_parts(environment, name))
    needed = {variable for tree in parts for variable in find_undeclared_variables(tree)}
    own = {variable for tree in parts for variable in list_own_names(tree)}
    return needed - own - environment.globals.keys()


def list_read_names(environment: Environment, name: str) -> set[str]:
    """Return every name that a template and its parts read, also those that they give themselves."""
    parts = list_parts(environment, name)
    return {read.name for tree in parts for read in tree.find_all(nodes.Name) if read.ctx == "load"}


def test_every_argument_of_a_macro_is_read(console: Console) -> None:
    environment = console.application.jinja_env
    for name in environment.list_templates():
        for macro in read_template(environment, name).find_all(nodes.Macro):
            read = {
                one.name
                for part in macro.body
                for one in [part, *part.find_all(nodes.Name)]
                if isinstance(one, nodes.Name) and one.ctx == "load"
            }
            unread = {argument.name for argument in macro.args} - read
            assert sorted(unread) == [], f"{name}: {macro.name}"


def test_what_is_translated_is_a_sentence_of_the_template(console: Console) -> None:
    """A sentence with values in it would be read as a format, and in English as markup."""
    environment = console.application.jinja_env
    for name in environment.list_templates():
        for call in read_template(environment, name).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name in ("_", "gettext", "ngettext"):
                assert isinstance(call.args[0], nodes.Const), f"{name}:{call.lineno}"


@cache
def find_undeclared_variables(tree: nodes.Template) -> set[str]:
    return meta.find_undeclared_variables(tree)


@cache
def list_own_names(tree: nodes.Template) -> frozenset[str]:
    """Return what a template itself gives names to: variables, macros, imported macros."""
    names = {target.name for target in tree.find_all(nodes.Name) if target.ctx == "store"}
    names |= {macro.name for macro in tree.find_all(nodes.Macro)}
    return frozenset(names | {str(name) for part in tree.find_all(nodes.FromImport) for name in part.names})


def list_page_values(console: Console, path: str) -> set[str]:
    """Return the names of the variables that every template below a path has."""
    values: dict[str, object] = {}
    with console.application.test_request_context(path):
        console.application.update_template_context(values)
    return set(values)


def test_a_page_gives_its_template_every_variable_that_it_reads(console: Console) -> None:
    environment, renderings = console.application.jinja_env, list(list_renderings())
    everywhere = list_page_values(console, "/console/sign-in")
    of_operators = list_page_values(console, "/console/operations")
    assert len(renderings) > 50
    for rendering in renderings:
        common = of_operators if rendering.template.startswith("operations/") else everywhere
        missing = list_needed_variables(environment, rendering.template) - common - rendering.variables
        assert sorted(missing) == [], f"{rendering.place}: {rendering.template}"
        unread = rendering.variables - list_read_names(environment, rendering.template)
        assert sorted(unread) == [], f"{rendering.place}: {rendering.template} reads none of these"
        hidden = rendering.variables & common
        assert sorted(hidden) == [], f"{rendering.place}: hides a variable of all pages"
