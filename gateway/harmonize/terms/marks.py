"""Reads YAML strictly: every scalar a string, no duplicate or unknown key, line kept for every node.

A mapping is law in small letters, so nothing in it may be guessed.  ``090``, ``NO`` and
``1E3`` are codes and stay text; anchors, aliases, tags and several documents in one file
are refused; a key that nobody reads is an error that names file and line (GW502).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from gateway.errors import MAPPING_WRONG, GatewayError

__all__ = ["Mark", "Node", "Table", "WrongMappingError", "foreign", "read_yaml", "wrong"]

# What XML 1.0 cannot carry: control characters, U+FFFE, U+FFFF and halves of a pair.
_FOREIGN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LARGEST: Final = 2_000_000
_MOST_NODES: Final = 1_000_000
_DEEPEST: Final = 30


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a mapping file; line 0 is no place in it but what `file` says in words."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class WrongMappingError(GatewayError):
    """A mapping that does not load (GW502): its place, the field, and the proof that it breaks, if one."""

    def __init__(self, mark: Mark, name: str, detail: str, proof: str) -> None:
        super().__init__(MAPPING_WRONG, f"{name}: {detail}", str(mark))
        self.mark = mark
        self.name = name
        self.proof = proof


def wrong(mark: Mark, name: str, expected: str, found: str, *, proof: str = "") -> WrongMappingError:
    """Return the error of a wrong mapping (GW502): field, expectation, finding, file and line.

    `proof` names the proof that the mapping breaks, where it is refused for that.
    """
    shown, wanted = (
        text if len(text) <= most else text[:most] + "…" for text, most in ((found, 80), (expected, 240))
    )
    return WrongMappingError(mark, name, f"expected {wanted}, found {shown}", proof)


def foreign(text: str) -> str:
    """Return the first character of `text` that no XML document can carry, escaped; empty for none."""
    found = _FOREIGN.search(text)
    return ascii(found[0])[1:-1] if found else ""


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


def read_yaml(content: bytes, file: str, *, aliases: bool = False, largest: int = _LARGEST) -> Node:
    """Return the one document of a strict YAML file; `file` is the name that errors show.

    `largest` is in octets.  `aliases` lets a part stand for an earlier one (``*name``), as
    programs write it that dump tables; a mapping may not have them.
    """
    start = Mark(file, 1)
    if len(content) > largest:
        raise wrong(start, "file", f"at most {largest} octets", str(len(content)))
    try:
        return _Reader(content.decode("utf-8"), file, aliases).read()
    except UnicodeDecodeError as error:
        raise wrong(start, "file", "UTF-8", f"octet {error.start}") from None
    except yaml.YAMLError as error:
        raise _malformed(error, file) from None


def _malformed(error: Exception, file: str) -> GatewayError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    problem = getattr(error, "problem", None) or "no readable YAML"
    found = str(problem).removeprefix("but found ").removeprefix("found ")
    return wrong(Mark(file, line), "file", "one well-formed YAML document", found)


class _Reader:
    """Makes nodes of the events of a YAML parser; no values are guessed, nothing is built twice."""

    def __init__(self, text: str, file: str, aliases: bool) -> None:
        self._events = yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
        self._file = file
        self._aliases = aliases
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def read(self) -> Node:
        """Return the root of the only document."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise wrong(Mark(self._file, 1), "file", "one YAML document", "nothing")
        root = self._node(next(self._events), 0, "file")
        next(self._events)
        further = next(self._events)
        if not isinstance(further, yaml.StreamEndEvent):
            raise wrong(self._mark(further), "file", "one YAML document", "another document")
        return root

    def _mark(self, event: yaml.Event) -> Mark:
        return Mark(self._file, event.start_mark.line + 1 if event.start_mark is not None else 1)

    def _text(self, event: yaml.ScalarEvent, mark: Mark, name: str) -> str:
        """Return the text of a scalar, which has no tag and only characters that XML can carry."""
        text = str(event.value)
        if event.tag is not None:
            raise wrong(mark, name, "no tags", str(event.tag))
        if strange := foreign(text):
            raise wrong(mark, name, "characters that XML 1.0 can carry", strange)
        return text

    def _node(self, event: yaml.Event, depth: int, name: str) -> Node:
        """Return the node that begins with `event`; `name` is the key that it stands under."""
        mark = self._mark(event)
        self._nodes += 1
        if depth > _DEEPEST:
            raise wrong(mark, "file", f"nesting of at most {_DEEPEST}", "deeper nesting")
        if self._nodes > _MOST_NODES:
            raise wrong(mark, "file", f"at most {_MOST_NODES} values", "more of them")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, mark)
        assert isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent))
        if event.tag is not None:
            raise wrong(mark, name, "no tags", str(event.tag))
        if event.anchor is not None and not self._aliases:
            raise wrong(mark, "file", "no anchors and aliases", "an anchor or an alias")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._text(event, mark, name), mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._list(depth, name), mark)
        else:
            node = self._table(mark, depth, name)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, mark: Mark) -> Node:
        if not self._aliases:
            raise wrong(mark, "file", "no anchors and aliases", "an alias")
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise wrong(mark, "file", "an alias of something before it", f"*{event.anchor}")
        return node

    def _list(self, depth: int, name: str) -> list[Node]:
        nodes: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            nodes.append(self._node(event, depth + 1, name))
        return nodes

    def _table(self, mark: Mark, depth: int, name: str) -> Node:
        nodes: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = self._mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                kind = "an alias" if isinstance(event, yaml.AliasEvent) else "no text"
                raise wrong(at, "file", "a text as key", kind)
            key = self._text(event, at, name)
            if key in nodes:
                raise wrong(at, "file", "each key once", f"{key!r} again, first in line {keys[key].line}")
            nodes[key] = self._node(next(self._events), depth + 1, key)
            keys[key] = at
        return Node(nodes, mark, keys)
