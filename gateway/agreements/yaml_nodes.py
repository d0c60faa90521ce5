"""Reads YAML as a tree of nodes with their lines, strictly.

YAML is used only as a notation for nested text: every scalar is a string until a reader converts it,
and there are no anchors, tags, merges or second documents. Each refusal names file and line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

import yaml

from gateway.agreements.pmode import parse_instant
from gateway.errors import MISUSE, GatewayError, describe_exception
from gateway.wire import is_xml_text

__all__ = ["YamlNode", "parse_yaml"]

_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 12
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class YamlNode:
    """A string, a list or a mapping of the file, with its line."""

    value: str | list[YamlNode] | dict[str, YamlNode]
    file: str
    line: int

    def raise_problem(self, detail: str) -> NoReturn:
        """Raise GW808 at this node."""
        raise GatewayError(MISUSE, detail, f"{self.file}:{self.line}")

    def read_text(self) -> str:
        """Return the text of a scalar."""
        if not isinstance(self.value, str) or not self.value:
            self.raise_problem("a text is expected here")
        if not is_xml_text(self.value):
            self.raise_problem("this text has a character that no message can carry")
        return self.value

    def read_list(self) -> list[YamlNode]:
        """Return the entries of a list."""
        if not isinstance(self.value, list) or not self.value:
            self.raise_problem("a list is expected here")
        return self.value

    def read_fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, YamlNode]:
        """Return the entries of a mapping that has these keys and no others."""
        fields = self.read_mapping()
        for name in required:
            if name not in fields:
                self.raise_problem(f"{name!r} is missing")
        for name, node in fields.items():
            if name not in required and name not in optional:
                node.raise_problem(
                    f"{name[:60]!r} is not a key here; known are {', '.join((*required, *optional))}"
                )
        return fields

    def read_mapping(self) -> dict[str, YamlNode]:
        """Return the entries of a mapping."""
        if not isinstance(self.value, dict):
            self.raise_problem("a mapping is expected here")
        return self.value

    def read_integer(self) -> int:
        """Return a whole number."""
        text = self.read_text()
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            self.raise_problem(f"{text[:60]!r} is not a whole number")
        return int(text)

    def read_boolean(self) -> bool:
        """Return true or false."""
        text = self.read_text()
        if text not in ("true", "false"):
            self.raise_problem(f"{text[:60]!r} is neither true nor false")
        return text == "true"

    def read_instant(self) -> datetime:
        """Return a time in UTC."""
        return parse_instant(self.read_text(), f"{self.file}:{self.line}")

    def build_located(self, make: Callable[[], _Value]) -> _Value:
        """Return what `make` returns; add the file and line of this node to a refusal."""
        try:
            return make()
        except GatewayError as refused:
            if refused.location.startswith(f"{self.file}:"):
                raise
            where = f"{self.file}:{self.line}" + (f" ({refused.location})" if refused.location else "")
            raise GatewayError(MISUSE, refused.detail, where) from refused


class _StrictLoader(yaml.BaseLoader):
    """Composes nodes; refuses aliases, anchors, tags and excessive nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise GatewayError(MISUSE, "anchors and aliases are not read", f"{self.name}:{line}")
        if getattr(event, "tag", None) is not None:
            raise GatewayError(MISUSE, "tags are not read", f"{self.name}:{line}")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise GatewayError(MISUSE, "nested too deeply", f"{self.name}:{line}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(data: bytes, filename: str) -> YamlNode:
    """Return the tree of a file; raises GW808 with file and line for what is not read."""
    if len(data) > _MAX_BYTES:
        raise GatewayError(MISUSE, "an agreement file is at most 1 MB", filename)
    try:
        loader = _StrictLoader(data.decode("utf-8"))
        loader.name = filename
        tree = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError) as mistake:
        mark = getattr(mistake, "problem_mark", None)
        where = f"{filename}:{mark.line + 1}" if mark else filename
        raise GatewayError(
            MISUSE, f"not YAML: {getattr(mistake, 'problem', None) or describe_exception(mistake)}", where
        ) from mistake
    if tree is None:
        raise GatewayError(MISUSE, "the file is empty", f"{filename}:1")
    return _convert_yaml_node(tree, filename)


def _convert_yaml_node(tree: Any, filename: str) -> YamlNode:
    line = tree.start_mark.line + 1
    if isinstance(tree, yaml.ScalarNode):
        return YamlNode(tree.value, filename, line)
    if isinstance(tree, yaml.SequenceNode):
        return YamlNode([_convert_yaml_node(one, filename) for one in tree.value], filename, line)
    fields: dict[str, YamlNode] = {}
    for key, value in tree.value:
        where = f"{filename}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise GatewayError(MISUSE, "a key is a text", where)
        if key.value in fields:
            raise GatewayError(MISUSE, f"key {key.value[:60]!r} is written twice", where)
        fields[key.value] = _convert_yaml_node(value, filename)
    return YamlNode(fields, filename, line)
