"""Reads YAML strictly: every scalar is a string, keys are known and unique, every node has its line.

Mappings and agreements are read by it. Types are never guessed: ``090``, ``NO`` and ``1E3`` are codes and
stay text.  Anchors, aliases, tags and several documents in one file are rejected; a key that no reader reads
is an error that names file and line, by the problem that the caller names for the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from gateway.errors import MAPPING_WRONG, GatewayError, Problem
from gateway.wire.xml_writer import find_invalid_xml_character

_MAX_OCTETS: Final = 2_000_000
_MAX_NODES: Final = 1_000_000
_MAX_DEPTH: Final = 30


@dataclass(frozen=True, slots=True)
class SourceMark:
    """A place in a file; with line 0, `file` is a description. An error there is the problem `problem`."""

    file: str
    line: int
    problem: Problem = MAPPING_WRONG

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def make_error(self, field_name: str, expected: str, actual: str, *, proof: str = "") -> MarkedError:
        """Return the error of a wrong file: field, expected and found text, file and line.

        `proof` names the proof that the mapping fails, where that is the reason.
        """
        detail = (
            f"expected {shorten_text(expected, max_length=240)}, found {shorten_text(actual, max_length=80)}"
        )
        return MarkedError(self, field_name, detail, proof)


@dataclass(frozen=True, slots=True)
class Occurs:
    """How often something may occur in one place: at least `low` and at most `high` times."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


#: The bounds of an optional element that must not be repeated.
AT_MOST_ONCE: Final = Occurs(0, 1)


class MarkedError(GatewayError):
    """A file that cannot be loaded: the mark, the field, and the proof that a mapping fails, if any."""

    def __init__(self, mark: SourceMark, name: str, detail: str, proof: str) -> None:
        super().__init__(mark.problem, f"{name}: {detail}", str(mark))
        self.mark = mark
        self.name = name
        self.proof = proof


def shorten_text(text: str, max_length: int) -> str:
    """Return `text` with at most `max_length` characters and … for the rest."""
    return text if len(text) <= max_length else text[:max_length] + "…"


def locate_octet(content: bytes, octet_index: int) -> tuple[int, str]:
    """Return in words the octet with index `octet_index`: its line, and its position there, from 1."""
    line = len((content[:octet_index] + b"x").splitlines())
    return line, f"octet 0x{content[octet_index]:02x} at position {octet_index + 1}"


@dataclass(frozen=True, slots=True)
class YamlNode:
    """One YAML node with its mark: `value` is a text, a list of nodes, or a table of nodes by key."""

    value: str | list[YamlNode] | dict[str, YamlNode]
    mark: SourceMark
    keys: dict[str, SourceMark] = field(default_factory=dict)
    #: The key where the node stands, which errors name where a reader names nothing else.
    name: str = "file"

    @property
    def kind_name(self) -> str:
        """Return the kind of the node, as error messages name it."""
        return {str: "text", list: "list", dict: "table"}[type(self.value)]

    def make_error(self, field_name: str, expected: str, actual: str, *, proof: str = "") -> MarkedError:
        """Return the error of a wrong file at this node, as `SourceMark.make_error` does."""
        return self.mark.make_error(field_name, expected, actual, proof=proof)

    def read_text(self, name: str = "") -> str:
        """Return the node's text; raise the file's problem for an empty one."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.make_error(name or self.name, "a text", self.describe_value())
        return self.value

    def read_integer(self, name: str = "", low: int = 0, high: int = 10**9) -> int:
        """Return the node's whole number between `low` and `high`."""
        text = self.read_text(name)
        # bounded: at most ten ASCII digits, asked before
        if not (text.isascii() and text.isdigit()) or len(text) > 10 or not low <= int(text) <= high:
            expected = f"a whole number from {low} to {high}"
            raise self.make_error(name or self.name, expected, text)
        return int(text)  # bounded: at most ten ASCII digits

    def read_choice(self, name: str, choices: Collection[str]) -> str:
        """Return the node's text, one of `choices`."""
        text = self.read_text(name)
        if text not in choices:
            raise self.make_error(name, "one of " + ", ".join(sorted(choices)), text)
        return text

    def read_list(self, name: str = "") -> list[YamlNode]:
        """Return the nodes of a list."""
        if not isinstance(self.value, list):
            raise self.make_error(name or self.name, "a list", self.describe_value())
        return self.value

    def read_distinct_texts(self, name: str) -> list[str]:
        """Return the texts of a list of texts, each once."""
        nodes = self.read_list(name)
        texts: list[str] = []
        for node in nodes:
            text = node.read_text(name)
            if text in texts:
                raise node.make_error(name, "each text once", text)
            texts.append(text)
        return texts

    def read_table(self, name: str = "") -> YamlTable:
        """Return a reader of a table."""
        if not isinstance(self.value, dict):
            raise self.make_error(name or self.name, "a table", self.describe_value())
        return YamlTable(self.value, self.mark, name or self.name, self.keys)

    def read_lines(self, name: str, noun: str) -> Iterator[tuple[str, YamlNode, SourceMark]]:
        """Yield key, node and place of each entry of a list whose entries are tables with one key."""
        for entry in self.read_list(name):
            entry_items = list(entry.read_table(name).take_unread_items())
            if len(entry_items) != 1:
                raise entry.make_error(name, f"one {noun} a line", f"{len(entry_items)} of them")
            yield entry_items[0]

    def read_bounds(self, name: str, max_value: int = 10**9) -> Occurs:
        """Return a list of two whole numbers, low and high, of which neither is more than `max_value`."""
        nodes = self.read_list(name)
        if len(nodes) != 2:
            raise self.make_error(name, "two numbers [low, high]", f"{len(nodes)} of them")
        low = nodes[0].read_integer(name, 0, max_value)
        return Occurs(low, nodes[1].read_integer(name, low, max_value))

    def read_digit_counts(self, name: str) -> tuple[int, int]:
        """Return a list of two whole numbers: digits in all, and after the point."""
        nodes = self.read_list(name)
        if len(nodes) != 2:
            raise self.make_error(name, "two numbers [digits, decimals]", f"{len(nodes)} of them")
        total = nodes[0].read_integer(name, 1, 40)
        return total, nodes[1].read_integer(name, 0, total)

    def describe_value(self) -> str:
        """Return a short description for messages."""
        return repr(self.value) if isinstance(self.value, str) else f"a {self.kind_name}"


class YamlTable:
    """A reader of one table that records which keys were read and rejects the others."""

    def __init__(
        self, nodes: dict[str, YamlNode], mark: SourceMark, name: str, keys: dict[str, SourceMark]
    ) -> None:
        self.mark = mark
        self.name = name
        self._nodes = nodes
        self._keys = keys
        self._read_keys: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def make_error(self, name: str, expected: str, actual: str) -> MarkedError:
        """Return the error of this table, as `SourceMark.make_error` does."""
        return self.mark.make_error(name, expected, actual)

    def get(self, key: str) -> YamlNode | None:
        """Return the node of `key`, or None."""
        self._read_keys.add(key)
        return self._nodes.get(key)

    def get_required(self, key: str) -> YamlNode:
        """Return the node of `key`; raise the file's problem where it is missing."""
        node = self.get(key)
        if node is None:
            raise self.make_error(self.name, f"the key {key!r}", ", ".join(self._nodes) or "nothing")
        return node

    def read_text(self, key: str, default: str = "") -> str:
        """Return the text of `key`, or `default` where it is missing."""
        node = self.get(key)
        return default if node is None else node.read_text(f"{self.name}.{key}")

    def read_choice(self, key: str, choices: Collection[str], default: str = "") -> str:
        """Return the text of `key`, one of `choices`, or `default` where it is missing."""
        node = self.get(key)
        return default if node is None else node.read_choice(key, choices)

    def take_unread_items(self) -> Iterator[tuple[str, YamlNode, SourceMark]]:
        """Yield every key not read so far, with its node and the mark of the key."""
        for key, node in self._nodes.items():
            if key not in self._read_keys:
                self._read_keys.add(key)
                yield key, node, self._keys[key]

    def reject_unread_keys(self) -> None:
        """Raise the file's problem for a key that has not been read."""
        for key in self._nodes:
            if key not in self._read_keys:
                allowed_keys = ", ".join(sorted(self._read_keys))
                raise self._keys[key].make_error(
                    self.name, f"only the keys {allowed_keys}", f"unknown key {key!r}"
                )


def read_yaml(
    content: bytes,
    file_name: str,
    *,
    allow_aliases: bool = False,
    max_octets: int = _MAX_OCTETS,
    max_depth: int = _MAX_DEPTH,
    problem: Problem = MAPPING_WRONG,
) -> YamlNode:
    """Return the one document of a strict YAML file; `file_name` is the name that errors show.

    `max_octets` is in octets; `max_depth` is how many levels may stand below the root.  `allow_aliases`
    permits references to earlier nodes (``*name``), as YAML dumpers write them; a mapping may not have them.
    A wrong file is the error `problem`.
    """
    start_mark = SourceMark(file_name, 1, problem)
    if len(content) > max_octets:
        raise start_mark.make_error("file", f"at most {max_octets} octets", str(len(content)))
    try:
        return _YamlReader(content.decode("utf-8"), start_mark, allow_aliases, max_depth).read_document()
    except UnicodeDecodeError as error:
        line, octet = locate_octet(content, error.start)
        raise replace(start_mark, line=line).make_error("file", "UTF-8", octet) from None
    except yaml.YAMLError as error:
        raise _make_syntax_error(error, start_mark, content) from None


def _make_syntax_error(error: Exception, start_mark: SourceMark, content: bytes) -> GatewayError:
    """Return the error for malformed YAML, in the line that the parser names, else in line 1."""
    if isinstance(error, yaml.reader.ReaderError):
        return _make_character_error(start_mark, content)
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    problem = getattr(error, "problem", None) or "no readable YAML"
    problem_text = str(problem).removeprefix("but found ").removeprefix("found ")
    problem_text = problem_text.replace("did not find expected", "no")
    return replace(start_mark, line=line).make_error("file", "one well-formed YAML document", problem_text)


def _make_character_error(start_mark: SourceMark, content: bytes) -> GatewayError:
    """Return the error of the first character that YAML does not allow, with its line."""
    text = content.decode("utf-8-sig")
    invalid_match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    line = text.count("\n", 0, invalid_match.start()) + 1 if invalid_match is not None else 1
    character = f"U+{ord(invalid_match[0]):04X}" if invalid_match is not None else "another"
    return replace(start_mark, line=line).make_error("file", "characters that YAML allows", character)


class _YamlReader:
    """Builds nodes from the events of a YAML parser; no types are guessed, no alias is copied."""

    def __init__(self, text: str, start_mark: SourceMark, allow_aliases: bool, max_depth: int) -> None:
        self._events = yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
        self._start_mark = start_mark
        self._allow_aliases = allow_aliases
        self._max_depth = max_depth
        self._anchors: dict[str, YamlNode] = {}
        self._node_count = 0

    def read_document(self) -> YamlNode:
        """Return the root of the one document; raise the file's problem if there is none, or several."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise self._start_mark.make_error("file", "one YAML document", "nothing")
        root = self._read_node(next(self._events), 0, "file")
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._locate_event(event).make_error("file", "one YAML document", "another document")
        return root

    def _locate_event(self, event: yaml.Event) -> SourceMark:
        mark = event.start_mark
        return self._start_mark if mark is None else replace(self._start_mark, line=mark.line + 1)

    def _read_scalar(self, event: yaml.ScalarEvent, mark: SourceMark, name: str) -> str:
        """Return the text of a scalar; raise the file's problem for a tag or a character that XML has not."""
        text = str(event.value)
        if event.tag is not None:
            raise mark.make_error(name, "no tags", str(event.tag))
        if invalid_character := find_invalid_xml_character(text):
            raise mark.make_error(name, "characters that XML 1.0 can carry", invalid_character)
        return text

    def _read_node(self, event: yaml.Event, depth: int, name: str) -> YamlNode:
        """Return the node that begins with `event`; `name` is the key of the node."""
        mark = self._locate_event(event)
        self._node_count += 1
        if depth > self._max_depth:
            raise mark.make_error("file", f"nesting of at most {self._max_depth}", "deeper nesting")
        if self._node_count > _MAX_NODES:
            raise mark.make_error("file", f"at most {_MAX_NODES} values", "more of them")
        if isinstance(event, yaml.AliasEvent):
            return self._resolve_alias(event, mark)
        assert isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent))
        if event.tag is not None:
            raise mark.make_error(name, "no tags", str(event.tag))
        if event.anchor is not None and not self._allow_aliases:
            raise mark.make_error("file", "no anchors and aliases", "an anchor or an alias")
        if isinstance(event, yaml.ScalarEvent):
            node = YamlNode(self._read_scalar(event, mark, name), mark, name=name)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = YamlNode(self._read_sequence(depth, name), mark, name=name)
        else:
            node = self._read_mapping(mark, depth, name)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _resolve_alias(self, event: yaml.AliasEvent, mark: SourceMark) -> YamlNode:
        if not self._allow_aliases:
            raise mark.make_error("file", "no anchors and aliases", "an alias")
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise mark.make_error("file", "an alias of something before it", f"*{event.anchor}")
        return node

    def _read_sequence(self, depth: int, name: str) -> list[YamlNode]:
        nodes: list[YamlNode] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            nodes.append(self._read_node(event, depth + 1, name))
        return nodes

    def _read_mapping(self, mark: SourceMark, depth: int, name: str) -> YamlNode:
        """Return the mapping whose start event was read; raise for a key that is no text or occurs twice."""
        nodes: dict[str, YamlNode] = {}
        keys: dict[str, SourceMark] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = self._locate_event(event)
            if not isinstance(event, yaml.ScalarEvent):
                found_kind = "an alias" if isinstance(event, yaml.AliasEvent) else "no text"
                raise at.make_error("file", "a text as key", found_kind)
            key = self._read_scalar(event, at, name)
            if key in nodes:
                raise at.make_error("file", "each key once", f"{key!r} again, first in line {keys[key].line}")
            nodes[key] = self._read_node(next(self._events), depth + 1, key)
            keys[key] = at
        return YamlNode(nodes, mark, keys, name)
