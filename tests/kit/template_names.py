"""What templates name: each attribute that a template reads, and what objects it was read from.

The templates of an environment are compiled with a call for each attribute (`one.state`), and one at the
beginning of each template and macro. So a test that renders pages knows what no page has rendered; an
attribute in a branch that no page has reached is looked for in the objects that the same variable held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator
from jinja2.visitor import NodeTransformer

from tests.kit.console import CompiledTemplates


@dataclass(frozen=True, order=True)
class NamedAttribute:
    """An attribute that a template reads of a variable; a loop variable is named with what it runs over."""

    template: str
    variable: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.template}: {self.attribute} of {self.variable}"


@dataclass
class TemplateNames:
    """The attributes and macros of templates, and those that pages have rendered."""

    #: Templates and macros (`folder/file.html: macro`), and those of them that were rendered.
    parts: set[str] = field(default_factory=set)
    rendered: set[str] = field(default_factory=set)
    attributes: set[NamedAttribute] = field(default_factory=set)
    was_read: set[NamedAttribute] = field(default_factory=set)
    #: The objects that a variable of a template held, one of each type.
    held: dict[tuple[str, str], dict[type, Any]] = field(default_factory=dict)
    _compiled: CompiledTemplates = field(default_factory=CompiledTemplates)

    def watch(self, environment: Environment) -> None:
        """Let the templates of an environment tell what they read; call it before any is compiled."""

        class WatchedGenerator(CodeGenerator):
            def visit_Template(generator, node: nodes.Template, frame: Any = None) -> None:
                _Marker(self, generator.name or "").mark(node, generator.environment)
                super().visit_Template(node, frame)

        environment.bytecode_cache = self._compiled
        environment.code_generator_class = WatchedGenerator
        # Compiled templates call these by the names of `_Marker`.
        environment.note_part = self.rendered.add  # type: ignore[attr-defined]
        environment.read_attribute = (  # type: ignore[attr-defined]
            lambda owner, attribute, variable, template: self._read(
                environment, owner, NamedAttribute(template, variable, attribute)
            )
        )

    def _read(self, environment: Environment, owner: Any, named: NamedAttribute) -> Any:
        value = environment.getattr(owner, named.attribute)
        self.was_read.add(named)
        self._hold(named.template, named.variable, owner)
        self._hold(named.template, f"{named.variable}.{named.attribute}", value)
        return value

    def _hold(self, template: str, variable: str, value: Any) -> None:
        if value is not None:
            self.held.setdefault((template, variable), {}).setdefault(type(value), value)

    def compile_all(self, environment: Environment) -> None:
        """Compile every template, so that also those which no page uses are known."""
        assert environment.loader is not None
        for name in environment.loader.list_templates():
            environment.get_template(name)

    def list_unread(self) -> Iterator[tuple[NamedAttribute, Mapping[type, Any]]]:
        """Yield each attribute that no page has read, with the objects that its variable held."""
        for named in sorted(self.attributes - self.was_read):
            yield named, self.held.get((named.template, named.variable), {})


def has_attribute(owner: Any, attribute: str) -> bool:
    """Return whether a template can read an attribute, or a key of this name, of an object.

    Of a class, the objects have what it declares.
    """
    if isinstance(owner, type) and any(
        attribute in vars(base).get("__annotations__", {}) for base in owner.__mro__
    ):
        return True
    return hasattr(owner, attribute) or (isinstance(owner, Mapping) and attribute in owner)


class _Marker(NodeTransformer):
    """Adds the calls to the tree of a template."""

    def __init__(self, names: TemplateNames, template: str) -> None:
        self._names, self._template = names, template
        #: What each variable of a scope stands for, the innermost last.
        self._scopes: list[dict[str, str]] = [{}]

    def mark(self, tree: nodes.Template, environment: Environment) -> None:
        tree.body = [self._note_part(self._template), *self.visit_list_of(tree.body)]
        tree.set_environment(environment)

    def visit_list_of(self, children: list[nodes.Node]) -> list[nodes.Node]:
        return [node for child in children for node in self.visit_list(child)]

    def _note_part(self, part: str) -> nodes.Node:
        self._names.parts.add(part)
        noted = nodes.Call(nodes.EnvironmentAttribute("note_part"), [nodes.Const(part)], [], None, None)
        return nodes.ExprStmt(noted, lineno=1)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        node.defaults = self.visit_list_of(node.defaults)
        self._scopes.append({argument.name: f"{node.name}({argument.name})" for argument in node.args})
        node.body = [
            self._note_part(f"{self._template}: {node.name}"),
            *self.visit_list_of(node.body),
        ]
        self._scopes.pop()
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        values = self._describe(node.iter)
        node.iter = self.visit(node.iter)
        self._scopes.append({})
        self._bind(node.target, f"each of {values}")
        if node.test is not None:
            node.test = self.visit(node.test)
        node.body = self.visit_list_of(node.body)
        self._scopes.pop()
        node.else_ = self.visit_list_of(node.else_)
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        value = self._describe(node.node)
        node.node = self.visit(node.node)
        self._bind(node.target, value)
        return node

    def _bind(self, target: nodes.Node, value: str) -> None:
        """Let the variable of a loop or an assignment stand for its value, several for a part of it each."""
        if isinstance(target, nodes.Name):
            self._scopes[-1][target.name] = value
        for name in target.find_all(nodes.Name):
            self._scopes[-1][name.name] = f"{name.name} in {value}"

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        if isinstance(node.node, nodes.Name) and node.node.name == "loop":
            return node
        named = NamedAttribute(self._template, self._describe(node.node), node.attr)
        self._names.attributes.add(named)
        values = [named.attribute, named.variable, named.template]
        reading = nodes.EnvironmentAttribute("read_attribute")
        arguments = [self.visit(node.node), *map(nodes.Const, values)]
        return nodes.Call(reading, arguments, [], None, None, lineno=node.lineno)

    def _describe(self, node: nodes.Node) -> str:
        """Return the text of an expression, in which a variable of a loop stands for what it runs over."""
        match node:
            case nodes.Name():
                bound = [scope[node.name] for scope in self._scopes if node.name in scope]
                return bound[-1] if bound else node.name
            case nodes.Getattr():
                return f"{self._describe(node.node)}.{node.attr}"
            case nodes.Call():
                return f"{self._describe(node.node)}()"
            case nodes.Getitem():
                return f"each of {self._describe(node.node)}"
            case nodes.Filter() if node.node is not None:
                return f"{self._describe(node.node)}|{node.name}"
        return f"{type(node).__name__.lower()} in line {node.lineno}"
