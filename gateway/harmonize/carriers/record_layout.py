"""The layout of a document as fixed records, made from its mapping and the form of the organisation.

A record type stands for an element that may occur several times, the first for the whole document. The
texts and attributes below it, up to the next such element, are its fields. Records stand in the order of
the document, so that the type of a record alone says to which one before it belongs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.harmonize.carriers.document_nodes import DocumentNode, is_numeric
from gateway.harmonize.carriers.plain_values import TEXT

if TYPE_CHECKING:
    from gateway.harmonize.language import CarrierForm
    from gateway.harmonize.types import ValueShape

__all__ = [
    "CONTINUATION",
    "COUNT_WIDTH",
    "HEAD",
    "NAME_WIDTH",
    "TAIL",
    "RecordField",
    "RecordType",
    "describe_record_type",
    "make_record_layout",
]

#: The record types that every document has: head, continuation of a field, tail.
HEAD: Final = b"000"
CONTINUATION: Final = b"998"
TAIL: Final = b"999"
#: The octets of the name in the head, and of the count in the tail.
NAME_WIDTH: Final = 40
COUNT_WIDTH: Final = 9
_WIDTHS: Final = {"day": 8, "date": 10, "boolean": 5, "moment": 35}
_LONGEST_NUMBER: Final = 40
_OCTETS: Final = {"utf-8": 4, "euc-kr": 2, "cp949": 2, "ascii": 1}


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field: the names from its record's element to its value, its place and format.

    A `flag` is one octet that says that an element without text is there.
    """

    path: tuple[str, ...]
    place: str
    offset: int
    width: int
    zeros: bool
    refuses: bool
    flag: bool = False


@dataclass(slots=True)
class RecordType:
    """One type of record: its code, the names from its parent's element, its fields, the types below."""

    code: bytes
    path: tuple[str, ...]
    place: str
    node: DocumentNode
    parent: RecordType | None = None
    fields: list[RecordField] = field(default_factory=list)
    below: list[RecordType] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Return the octets of a record, with its code."""
        return self.fields[-1].offset + self.fields[-1].width if self.fields else len(HEAD)

    def walk_types(self) -> Iterator[RecordType]:
        """Yield this type and all below it."""
        yield self
        for one in self.below:
            yield from one.walk_types()


def make_record_layout(node: DocumentNode, form: CarrierForm) -> RecordType:
    """Return the type of the first record of a document; the types are numbered in its order."""
    return _LayoutMaker(form).make_type(node, (), f"/{node.name}", None)


class _LayoutMaker:
    def __init__(self, form: CarrierForm) -> None:
        self._form = form
        self._made = 0

    def make_type(
        self, node: DocumentNode, path: tuple[str, ...], place: str, parent: RecordType | None
    ) -> RecordType:
        self._made += 1
        made = RecordType(b"%03d" % self._made, path, place, node, parent)
        self._add_content(made, node, (), place)
        return made

    def _add_content(self, made: RecordType, node: DocumentNode, path: tuple[str, ...], place: str) -> None:
        if node.leaf:
            own = path if path and not node.attributes else (*path, TEXT)
            self._add_field(made, own, place, node.shapes, flag=node.empty)
        for name, shapes in node.attributes.items():
            self._add_field(made, (*path, f"@{name}"), f"{place}/@{name}", shapes)
        for name, inner in node.children.items():
            if inner.many:
                made.below.append(self.make_type(inner, (*path, name), f"{place}/{name}", made))
            else:
                if inner.empty and not inner.leaf:
                    self._add_field(made, (*path, name), f"{place}/{name}", [], flag=True)
                self._add_content(made, inner, (*path, name), f"{place}/{name}")

    def _add_field(
        self,
        made: RecordType,
        path: tuple[str, ...],
        place: str,
        shapes: list[ValueShape],
        flag: bool = False,
    ) -> None:
        own = self._form.fields.get(place.lstrip("/"))
        numbers = (own.numbers if own else None) or self._form.numbers
        overflow = (own.overflow if own else None) or self._form.overflow
        width = (own.width if own else None) or max(map(self._measure_shape, shapes), default=1)
        made.fields.append(
            RecordField(
                path,
                place,
                made.length,
                1 if flag else width,
                numbers == "zeros" and is_numeric(shapes),
                overflow == "refuse" or is_numeric(shapes),
                flag,
            )
        )

    def _measure_shape(self, shape: ValueShape) -> int:
        """Return the octets that the longest value needs, at most those of a text field."""
        charset, most = self._form.charset, self._form.longest
        if shape.codes is not None:
            return min(max((len(code.encode(charset, "replace")) for code in shape.codes), default=1), most)
        if shape.kind in _WIDTHS:
            return _WIDTHS[shape.kind]
        if is_numeric([shape]):
            return _LONGEST_NUMBER if shape.total is None else min(shape.total + 3, _LONGEST_NUMBER)
        if shape.octets is not None and shape.charset == charset:
            return min(shape.octets, most)
        longest = shape.longest if shape.longest is not None else shape.octets
        return most if longest is None else min(longest * _OCTETS[charset], most)


def describe_record_type(one: RecordType) -> dict[str, Any]:
    """Return a record type as data."""
    return {
        "type": one.code.decode(),
        "element": one.place,
        "below": None if one.parent is None else one.parent.code.decode(),
        "octets": one.length,
        "fields": [
            {
                "path": field.place,
                "offset": field.offset,
                "width": field.width,
                "filled": "flag" if field.flag else "zeros" if field.zeros else "spaces",
                "overflow": "refuse" if field.refuses else "continue",
            }
            for field in one.fields
        ],
    }
