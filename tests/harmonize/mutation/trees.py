"""Edits the tree of a mapping file; every node keeps the line that it had in the file."""

from __future__ import annotations

from typing import Any

from gateway.wire import SourceMark, YamlNode

__all__ = ["Path", "at", "inserted", "made", "plain", "renamed", "replaced", "without"]

Path = tuple[str | int, ...]


def at(node: YamlNode, path: Path) -> YamlNode:
    """Return the node at `path`."""
    for step in path:
        inside: Any = node.value
        node = inside[step]
    return node


def made(value: Any, mark: SourceMark) -> YamlNode:
    """Return plain texts, lists and tables as a node that stands at `mark`."""
    if isinstance(value, YamlNode):
        return value
    if isinstance(value, dict):
        return YamlNode({k: made(v, mark) for k, v in value.items()}, mark, dict.fromkeys(value, mark))
    if isinstance(value, (list, tuple)):
        return YamlNode([made(one, mark) for one in value], mark)
    return YamlNode(str(value), mark)


def plain(node: YamlNode) -> Any:
    """Return a node as plain texts, lists and tables."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


def replaced(node: YamlNode, path: Path, value: Any) -> YamlNode:
    """Return the tree with `value` at `path`, put there where nothing was."""
    if not path:
        return made(value, node.mark)
    step, rest = path[0], path[1:]
    if isinstance(node.value, dict):
        key = str(step)
        old = node.value.get(key) or YamlNode("", node.mark)
        marks = {**node.keys, key: node.keys.get(key, node.mark)}
        return YamlNode({**node.value, key: replaced(old, rest, value)}, node.mark, marks)
    assert isinstance(node.value, list)
    assert isinstance(step, int)
    nodes = list(node.value)
    nodes[step] = replaced(nodes[step], rest, value)
    return YamlNode(nodes, node.mark)


def without(node: YamlNode, path: Path) -> YamlNode:
    """Return the tree without what stands at `path`."""
    *outer, last = path
    inside = at(node, tuple(outer))
    if isinstance(inside.value, dict):
        table = {key: value for key, value in inside.value.items() if key != last}
        return replaced(node, tuple(outer), YamlNode(table, inside.mark, inside.keys))
    assert isinstance(inside.value, list)
    nodes = [one for number, one in enumerate(inside.value) if number != last]
    return replaced(node, tuple(outer), YamlNode(nodes, inside.mark))


def inserted(node: YamlNode, path: Path, value: Any) -> YamlNode:
    """Return the tree with `value` put before what stands at `path`, a place of a list."""
    *outer, last = path
    inside = at(node, tuple(outer))
    assert isinstance(inside.value, list)
    assert isinstance(last, int)
    mark = inside.value[min(last, len(inside.value) - 1)].mark if inside.value else inside.mark
    nodes = [*inside.value[:last], made(value, mark), *inside.value[last:]]
    return replaced(node, tuple(outer), YamlNode(nodes, inside.mark))


def renamed(node: YamlNode, path: Path, name: str) -> YamlNode:
    """Return the tree with another key at `path`, in the same place of its table."""
    *outer, last = path
    inside = at(node, tuple(outer))
    assert isinstance(inside.value, dict)
    table = {name if key == last else key: value for key, value in inside.value.items()}
    marks = {name if key == last else key: mark for key, mark in inside.keys.items()}
    return replaced(node, tuple(outer), YamlNode(table, inside.mark, marks))
