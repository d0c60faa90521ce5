"""Reads the elements of verified calls by the types of Spyne, each of which is compiled once.

The elements fit their schema, and nothing but elements and text is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.web.spyne_shim import ComplexModel, primitive

__all__ = ["MemberReader", "TextConverters"]

#: By a type of Spyne, what makes a value of a text.
TextConverters = Mapping[Any, Callable[[str], Any]]
_Reader = Callable[[etree._Element], Any]


class _Member(NamedTuple):
    """How a member of an element is read, and whether there may be several."""

    read: _Reader
    repeats: bool


class MemberReader:
    """Reads the members of the elements of one type: values by name, None for what is absent."""

    def __init__(self, kind: Any, converters: TextConverters) -> None:
        self._members: Final = {
            name: _Member(_compile_reader(member, converters), member.Attributes.max_occurs > 1)
            for name, member in kind.get_flat_type_info(kind).items()
        }

    def read_values(self, element: etree._Element) -> dict[str, Any]:
        """Return the values of the members, in the order in which the type declares them."""
        values: dict[str, Any] = dict.fromkeys(self._members)
        for child in element:
            name = child.tag.rpartition("}")[2]
            member = self._members[name]
            if not member.repeats:
                values[name] = member.read(child)
            elif values[name] is None:
                values[name] = [member.read(child)]
            else:
                values[name].append(member.read(child))
        return values


def _compile_reader(kind: Any, converters: TextConverters) -> _Reader:
    if issubclass(kind, ComplexModel):
        return _compile_complex_reader(kind, converters)
    for base in kind.__mro__:
        if base in converters:
            return _make_text_reader(converters[base])
    if not issubclass(kind, primitive.Unicode):
        raise TypeError(f"no value can be made of the type {kind.get_type_name()}")
    return _read_text


def _compile_complex_reader(kind: Any, converters: TextConverters) -> _Reader:
    if any(issubclass(one, primitive.AnyXml) for one in kind.get_flat_type_info(kind).values()):
        # A document of any form is taken from the verified tree by who can read it.
        return lambda _: None
    members = MemberReader(kind, converters)
    return lambda element: SimpleNamespace(**members.read_values(element))


def _make_text_reader(convert: Callable[[str], Any]) -> _Reader:
    return lambda element: convert(element.text or "")


def _read_text(element: etree._Element) -> str:
    return element.text or ""
