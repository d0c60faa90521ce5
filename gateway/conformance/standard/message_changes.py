"""Changes of a message that a row of a table describes, by the name of the operation.

``{text: [//eb:Action, Nothing]}`` gives an element another text. Values may have placeholders:
``${now}``, ``${later}``, ``${past}``, ``${id}``, ``${id:STEP}``, ``${new}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile import (
    OctetMutation,
    TreeMutation,
    append_element,
    duplicate_element,
    expand_name,
    get_element,
    insert_element,
    make_first_child,
    move_element,
    mutate_tree,
    parse_element,
    remove_attribute,
    remove_element,
    rename_element,
    set_attribute,
    set_text,
    swap_octets,
)
from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["Values", "build_octet_change", "fill_placeholders", "format_instant"]

_PLACE: Final = re.compile(r"\$\{([a-z]+)(?::([A-Za-z0-9_-]+))?\}")
#: Returns the value of a placeholder and its argument.
Values = Callable[[str, str], str]


def format_instant(at: datetime) -> str:
    """Return an xs:dateTime in UTC, to the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def shift_instant(now: datetime, name: str) -> str:
    """Return the text of ``now``, ``later`` (an hour), ``past`` (an hour ago)."""
    hours = {"now": 0, "later": 1, "past": -1}[name]
    return format_instant(now + timedelta(hours=hours))


def fill_placeholders(value: Any, values: Values) -> Any:
    """Return `value`, a text or lists and mappings of texts, with its placeholders filled."""
    if isinstance(value, str):
        return _PLACE.sub(lambda found: values(found[1], found[2] or ""), value)
    if isinstance(value, Mapping):
        return {name: fill_placeholders(one, values) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [fill_placeholders(one, values) for one in value]
    return value


def build_octet_change(rows: Sequence[Mapping[str, Any]]) -> OctetMutation | None:
    """Return all changes of a list as one change of the octets of an envelope; None for none."""
    if not rows:
        return None
    changes = [_build_change(*_get_operation(row)) for row in rows]

    def change_octets(data: bytes) -> bytes:
        for one in changes:
            data = one(data)
        return data

    return change_octets


def _get_operation(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    ((name, argument),) = row.items()
    return name, [str(one) for one in (argument if isinstance(argument, list) else [argument])]


def _build_change(name: str, arguments: list[str]) -> OctetMutation:
    if name == "swap":
        return lambda data: re.sub(
            rb"(?<=[ </])" + re.escape(arguments[0].encode()), arguments[1].encode(), data
        )
    if name == "octets":
        return swap_octets(arguments[0], arguments[1])
    if name == "encode":
        return lambda data: data.decode("utf-8").encode(arguments[0])
    if name == "prefix":
        return lambda data: arguments[0].encode("utf-8") + data
    if name not in _OPERATIONS:
        raise GatewayError(OUR_MISTAKE, f"{name!r} changes nothing", "requirements")
    return mutate_tree(_OPERATIONS[name](*arguments))


def _move_first(path: str) -> TreeMutation:
    """Return the change that makes an element the first child of its parent."""

    def alter_tree(root: etree._Element) -> None:
        element = get_element(root, path)
        parent = element.getparent()
        if parent is None:
            raise LookupError(f"{path} has no parent")
        make_first_child(parent, element)

    return alter_tree


def _insert_after(path: str, text: str) -> TreeMutation:
    return lambda root: get_element(root, path).addnext(parse_element(text))


def _insert_before(path: str, text: str) -> TreeMutation:
    return lambda root: get_element(root, path).addprevious(parse_element(text))


def _indent_tree() -> TreeMutation:
    return lambda root: etree.indent(root)


_OPERATIONS: Final[Mapping[str, Callable[..., TreeMutation]]] = {
    "text": set_text,
    "set": set_attribute,
    "unset": remove_attribute,
    "remove": remove_element,
    "append": append_element,
    "insert": insert_element,
    "after": _insert_after,
    "before": _insert_before,
    "rename": lambda path, name: rename_element(path, expand_name(name)),
    "repeat": duplicate_element,
    "move": move_element,
    "first": _move_first,
    "indent": lambda *_: _indent_tree(),
}
