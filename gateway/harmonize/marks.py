"""Reads YAML strictly: every scalar a string, no duplicate or unknown key, line kept for every node.

A mapping is law in small letters, so nothing in it may be guessed.  ``090``, ``NO`` and
``1E3`` are codes and stay text; anchors, aliases, tags and several documents in one file
are refused; a key that nobody reads is an error that names file and line (GW502).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from gateway.errors import MAPPING_WRONG, GatewayError

__all__ = ["Mark", "Node", "Table", "read_yaml", "wrong"]

_TAGS: Final = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_LARGEST: Final = 2_000_000
_DEEPEST: Final = 30


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a mapping file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def wrong(mark: Mark, name: str, expected: str, found: str) -> GatewayError:
    """Return the error of a wrong mapping (GW502): field, expectation, finding, file and line."""
    shown, wanted = (
        text if len(text) <= most else text[:most] + "…" for text, most in ((found, 80), (expected, 240))
    )
    return GatewayError(MAPPING_WRONG, f"{name}: expected {wanted}, found {shown}", str(mark))


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML node with its place: `value` is a text, a list of nodes, or a table of nodes by key."""

    value: str | list[Node] | dict[str, Node]
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return what the node is, in the words of an error message."""
        return {str: "text", list: "list", dict: "table"}[type(self.value)]

    def text(self, name: str) -> str:
        """Return the node's text; it may not be empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise wrong(self.mark, name, "a text", self.show())
        return self.value

    def number(self, name: str, low: int = 0, high: int = 10**9) -> int:
        """Return the node's whole number between `low` and `high`."""
        text = self.text(name)
        if not (text.isascii() and text.isdigit()) or len(text) > 10 or not low <= int(text) <= high:
            raise wrong(self.mark, name, f"a whole number from {low} to {high}", text)
        return int(text)

    def one_of(self, name: str, choices: Collection[str]) -> str:
        """Return the node's text, one of `choices`."""
        text = self.text(name)
        if text not in choices:
            raise wrong(self.mark, name, "one of " + ", ".join(sorted(choices)), text)
        return text

    def items(self, name: str) -> list[Node]:
        """Return the nodes of a list."""
        if not isinstance(self.value, list):
            raise wrong(self.mark, name, "a list", self.show())
        return self.value

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list of texts, each once."""
        nodes = self.items(name)
        found: list[str] = []
        for node in nodes:
            text = node.text(name)
            if text in found:
                raise wrong(node.mark, name, "each text once", text)
            found.append(text)
        return found

    def table(self, name: str) -> Table:
        """Return a reader of a table."""
        if not isinstance(self.value, dict):
            raise wrong(self.mark, name, "a table", self.show())
        return Table(self.value, self.mark, name, self.keys)

    def bounds(self, name: str) -> tuple[int, int]:
        """Return a list of two whole numbers, low and high."""
        nodes = self.items(name)
        if len(nodes) != 2:
            raise wrong(self.mark, name, "two numbers [low, high]", f"{len(nodes)} of them")
        low = nodes[0].number(name)
        return low, nodes[1].number(name, low)

    def digits(self, name: str) -> tuple[int, int]:
        """Return a list of two whole numbers: digits in all, and after the point."""
        nodes = self.items(name)
        if len(nodes) != 2:
            raise wrong(self.mark, name, "two numbers [digits, decimals]", f"{len(nodes)} of them")
        total = nodes[0].number(name, 1, 40)
        return total, nodes[1].number(name, 0, total)

    def show(self) -> str:
        """Return a short description for messages."""
        return repr(self.value) if isinstance(self.value, str) else f"a {self.kind}"


class Table:
    """A reader of one table that remembers which keys were read and refuses the others."""

    def __init__(self, nodes: dict[str, Node], mark: Mark, name: str, keys: dict[str, Mark]) -> None:
        self.mark = mark
        self.name = name
        self._nodes = nodes
        self._keys = keys
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def get(self, key: str) -> Node | None:
        """Return the node of `key`, or None."""
        self._read.add(key)
        return self._nodes.get(key)

    def need(self, key: str) -> Node:
        """Return the node of `key`, which must be there."""
        node = self.get(key)
        if node is None:
            raise wrong(self.mark, self.name, f"the key {key!r}", ", ".join(self._nodes) or "nothing")
        return node

    def text(self, key: str, default: str = "") -> str:
        """Return the text of `key`, or `default` when it is not there."""
        node = self.get(key)
        return default if node is None else node.text(f"{self.name}.{key}")

    def rest(self) -> Iterator[tuple[str, Node, Mark]]:
        """Yield every key not read so far, with its node and the place of the key."""
        for key, node in self._nodes.items():
            if key not in self._read:
                self._read.add(key)
                yield key, node, self._keys[key]

    def close(self) -> None:
        """Refuse keys that nobody has read."""
        for key in self._nodes:
            if key not in self._read:
                known = ", ".join(sorted(self._read))
                raise wrong(self._keys[key], self.name, f"only the keys {known}", f"unknown key {key!r}")


def read_yaml(content: bytes, file: str) -> Node:
    """Return the one document of a strict YAML file; `file` is the name that errors show."""
    start = Mark(file, 1)
    if len(content) > _LARGEST:
        raise wrong(start, "file", f"at most {_LARGEST} octets", str(len(content)))
    try:
        text = content.decode("utf-8")
        root = yaml.compose(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except UnicodeDecodeError as error:
        raise wrong(start, "file", "UTF-8", f"octet {error.start}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _malformed(error, file) from None
    if root is None:
        raise wrong(start, "file", "one YAML document", "nothing")
    return _convert(root, file, set(), 0)


def _malformed(error: Exception, file: str) -> GatewayError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    problem = getattr(error, "problem", None) or "no readable YAML"
    found = str(problem).removeprefix("but found ").removeprefix("found ")
    return wrong(Mark(file, line), "file", "one well-formed YAML document", found)


def _convert(node: yaml.Node, file: str, seen: set[int], depth: int) -> Node:
    mark = Mark(file, node.start_mark.line + 1)
    if depth > _DEEPEST:
        raise wrong(mark, "file", f"nesting of at most {_DEEPEST}", "deeper nesting")
    if id(node) in seen:
        raise wrong(mark, "file", "no anchors and aliases", "an alias")
    seen.add(id(node))
    if node.tag not in _TAGS:
        raise wrong(mark, "file", "no tags", str(node.tag))
    if isinstance(node, yaml.ScalarNode):
        return Node(str(node.value), mark)
    if isinstance(node, yaml.SequenceNode):
        return Node([_convert(child, file, seen, depth + 1) for child in node.value], mark)
    if isinstance(node, yaml.MappingNode):
        return _table(node, file, seen, depth)
    raise wrong(mark, "file", "a text, a list or a table", str(node.tag))


def _table(node: yaml.MappingNode, file: str, seen: set[int], depth: int) -> Node:
    nodes: dict[str, Node] = {}
    keys: dict[str, Mark] = {}
    for key_node, value_node in node.value:
        at = Mark(file, key_node.start_mark.line + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            raise wrong(at, "file", "a text as key", f"a {key_node.id}")
        key = str(key_node.value)
        if key in nodes:
            raise wrong(at, "file", "each key once", f"{key!r} again, first in line {keys[key].line}")
        nodes[key] = _convert(value_node, file, seen, depth + 1)
        keys[key] = at
    return Node(nodes, Mark(file, node.start_mark.line + 1), keys)
