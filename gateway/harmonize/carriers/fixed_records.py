"""Writes plain values as fixed records and reads them back; nothing is cut, and nothing is guessed.

A value that does not survive its field is an error when it is written: a value with a character that the
encoding does not have, with a line end where lines are records, or with too many octets for a field that may
not be continued. Any other value that its field cannot hold goes on in continuation records behind its own
record, cut between characters: the rest of a longer text, and spaces at its end, since each continuation says
how many of its octets count. The tail counts the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.harmonize.carriers.plain_values import (
    TEXT,
    DocumentNode,
    PlainValue,
    is_numeric,
    make_carried_error,
)
from gateway.wire import describe_character, encode_text, quote_value

if TYPE_CHECKING:
    from gateway.harmonize.language import CarrierFormat, ValueShape


#: The record types that every document has: head, continuation of a field, tail.
HEAD: Final = b"000"
CONTINUATION: Final = b"998"
TAIL: Final = b"999"
#: The octets of the name in the head, and of the count in the tail.
NAME_WIDTH: Final = 40
COUNT_WIDTH: Final = 9
#: The digits of the field number, and of the size of the text, in a continuation.
FIELD_DIGITS: Final = 3
SIZE_DIGITS: Final = 4
_WIDTHS: Final = {"day": 8, "date": 10, "boolean": 5, "moment": 35}
_MAX_NUMBER_WIDTH: Final = 40
_MAX_OCTETS_PER_CHARACTER: Final = {"utf-8": 4, "euc-kr": 2, "cp949": 2, "ascii": 1}


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field: the names from its record's element to its value, its place and format.

    A `is_presence_flag` is one octet that says that an element without text is there.
    """

    path: tuple[str, ...]
    element_path: str
    offset: int
    width: int
    is_zero_filled: bool
    refuses_overflow: bool
    is_presence_flag: bool = False


@dataclass(slots=True)
class RecordType:
    """One type of record: its code, the names from its parent's element, its fields, the types below."""

    code: bytes
    path: tuple[str, ...]
    element_path: str
    node: DocumentNode
    parent: RecordType | None = None
    fields: list[RecordField] = field(default_factory=list)
    child_types: list[RecordType] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Return the octets of a record, with its code."""
        return self.fields[-1].offset + self.fields[-1].width if self.fields else len(HEAD)

    def walk_types(self) -> Iterator[RecordType]:
        """Yield this type and all below it."""
        yield self
        for record_type in self.child_types:
            yield from record_type.walk_types()


def make_record_layout(node: DocumentNode, carrier_format: CarrierFormat) -> RecordType:
    """Return the type of the first record of a document; the types are numbered in its order."""
    return _LayoutMaker(carrier_format).make_type(node, (), f"/{node.name}", None)


class _LayoutMaker:
    def __init__(self, carrier_format: CarrierFormat) -> None:
        self._carrier_format = carrier_format
        self._type_count = 0

    def make_type(
        self, node: DocumentNode, path: tuple[str, ...], element_path: str, parent: RecordType | None
    ) -> RecordType:
        """Return the record type of the element `node`, with its fields and the types below it.

        `path` has the names from the element of `parent`; `element_path` has those from the root.
        """
        self._type_count += 1
        record_type = RecordType(b"%03d" % self._type_count, path, element_path, node, parent)
        self._add_content(record_type, node, (), element_path)
        return record_type

    def _add_content(
        self, record_type: RecordType, node: DocumentNode, path: tuple[str, ...], element_path: str
    ) -> None:
        """Add the fields of `node` and of all elements in it; a repeated element becomes a type of its own.

        `path` has the names from the element of the record to `node`.
        """
        if node.is_leaf:
            value_path = path if path and not node.attributes else (*path, TEXT)
            self._add_field(record_type, value_path, element_path, node.shapes, flag=node.may_be_empty)
        for name, shapes in node.attributes.items():
            self._add_field(record_type, (*path, f"@{name}"), f"{element_path}/@{name}", shapes)
        for name, inner in node.children.items():
            if inner.is_repeated:
                record_type.child_types.append(
                    self.make_type(inner, (*path, name), f"{element_path}/{name}", record_type)
                )
            else:
                if inner.may_be_empty and not inner.is_leaf:
                    self._add_field(record_type, (*path, name), f"{element_path}/{name}", [], flag=True)
                self._add_content(record_type, inner, (*path, name), f"{element_path}/{name}")

    def _add_field(
        self,
        record_type: RecordType,
        path: tuple[str, ...],
        element_path: str,
        shapes: list[ValueShape],
        flag: bool = False,
    ) -> None:
        """Add a field behind the last one; the carrier format sets its width, padding and overflow.

        Without a width there, it is that of the longest value of `shapes`; a `flag` has one octet.
        """
        field_format = self._carrier_format.fields.get(element_path.lstrip("/"))
        numbers = (field_format.number_format if field_format else None) or self._carrier_format.number_format
        overflow = (field_format.overflow if field_format else None) or self._carrier_format.overflow
        width = (field_format.width if field_format else None) or max(
            map(self._measure_shape, shapes), default=1
        )
        record_type.fields.append(
            RecordField(
                path,
                element_path,
                record_type.length,
                1 if flag else width,
                numbers == "zeros" and is_numeric(shapes),
                overflow == "refuse" or is_numeric(shapes),
                flag,
            )
        )

    def _measure_shape(self, shape: ValueShape) -> int:
        """Return the octets that the longest value needs, at most those of a text field."""
        charset, max_octets = self._carrier_format.charset, self._carrier_format.max_text_octets
        if shape.codes is not None:
            return min(
                max((len(code.encode(charset, "replace")) for code in shape.codes), default=1), max_octets
            )
        if shape.kind in _WIDTHS:
            return _WIDTHS[shape.kind]
        if is_numeric([shape]):
            return (
                _MAX_NUMBER_WIDTH
                if shape.total_digits is None
                else min(shape.total_digits + 3, _MAX_NUMBER_WIDTH)
            )
        if shape.octets is not None and shape.charset == charset:
            return min(shape.octets, max_octets)
        max_length = shape.max_length if shape.max_length is not None else shape.octets
        return (
            max_octets
            if max_length is None
            else min(max_length * _MAX_OCTETS_PER_CHARACTER[charset], max_octets)
        )


def describe_record_type(record_type: RecordType) -> dict[str, Any]:
    """Return a record type as data."""
    return {
        "type": record_type.code.decode(),
        "element": record_type.element_path,
        "below": None if record_type.parent is None else record_type.parent.code.decode(),
        "octets": record_type.length,
        "fields": [
            {
                "path": field.element_path,
                "offset": field.offset,
                "width": field.width,
                "filled": "flag" if field.is_presence_flag else "zeros" if field.is_zero_filled else "spaces",
                "overflow": "refuse" if field.refuses_overflow else "continue",
            }
            for field in record_type.fields
        ],
    }


_CODE: Final = len(HEAD)
#: A program that reads records line by line takes either character for the end of a record.
_LINE_ENDS: Final = {"\n": "a line feed", "\r": "a carriage return"}


def write_records(
    document: str, layout: RecordType, value: PlainValue, carrier_format: CarrierFormat
) -> bytes:
    """Return the records of a document; raise GW718 with the path of a value that cannot be carried."""
    writer = _RecordWriter(carrier_format)
    records = [HEAD + encode_text(document, carrier_format.charset).ljust(NAME_WIDTH)]
    records += writer.write_record(layout, value, layout.element_path)
    if writer.problems:
        raise writer.problems[0]
    records.append(TAIL + b"%0*d" % (COUNT_WIDTH, len(records) + 1))
    return b"".join(record + carrier_format.record_end for record in records)


def list_record_problems(
    layout: RecordType, value: PlainValue, carrier_format: CarrierFormat
) -> list[GatewayError]:
    """Return GW718 for each value of a document that its records cannot carry, in their order."""
    writer = _RecordWriter(carrier_format)
    deque(writer.write_record(layout, value, layout.element_path), maxlen=0)
    return writer.problems


class _RecordWriter:
    """Writes records; the field of a value that cannot be carried stays empty, and is in `problems`."""

    def __init__(self, carrier_format: CarrierFormat) -> None:
        self._carrier_format = carrier_format
        self.problems: list[GatewayError] = []

    def write_record(self, record_type: RecordType, value: PlainValue, at: str) -> Iterator[bytes]:
        """Yield the record of the element `at`, its continuations, and the records below it."""
        octets, continuations = record_type.code, []
        for number, record_field in enumerate(record_type.fields):
            first, *rest = self._try_field(
                record_field,
                _find_value(value, record_field.path),
                at + record_field.element_path[len(record_type.element_path) :],
            )
            octets += first
            continuations += [
                CONTINUATION
                + b"%0*d%0*d" % (FIELD_DIGITS, number, SIZE_DIGITS, len(piece))
                + piece.ljust(self._carrier_format.max_text_octets)
                for piece in rest
            ]
        yield octets
        yield from continuations
        for below in record_type.child_types:
            pointer = at + below.element_path[len(record_type.element_path) :]
            for position, row in enumerate(_find_value(value, below.path) or (), 1):
                yield from self.write_record(below, row, f"{pointer}[{position}]")

    def _try_field(self, record_field: RecordField, text: PlainValue, at: str) -> list[bytes]:
        try:
            return self._write_field(record_field, text)
        except GatewayError as error:
            self.problems.append(make_carried_error(error.detail, at))
            return [b" " * record_field.width]

    def _write_field(self, record_field: RecordField, text: PlainValue) -> list[bytes]:
        """Return the octets of a field, then the pieces for continuation records; spaces for None.

        Raise GW718 for a value that the field cannot carry.
        """
        if record_field.is_presence_flag:
            if text and isinstance(text, str):
                raise make_carried_error("this element has no text", record_field.element_path)
            return [b" " if text is None else b"1"]
        if text is None:
            return [b" " * record_field.width]
        self._check_line(text, record_field)
        octets = self._encode_text(text, record_field)
        if record_field.is_zero_filled:
            return [_write_zeros(octets, record_field)]
        pieces = self._cut_text(octets, text, record_field)
        return [pieces[0].ljust(record_field.width), *pieces[1:]]

    def _check_line(self, text: str, record_field: RecordField) -> None:
        """Raise GW718 for a text that would end a record which a line end closes."""
        if not self._carrier_format.record_end:
            return
        for character, name in _LINE_ENDS.items():
            if character in text:
                detail = f"a record that ends with its line cannot carry {name}; a space can stand for it"
                raise make_carried_error(detail, record_field.element_path)

    def _encode_text(self, text: str, record_field: RecordField) -> bytes:
        """Return `text` in the charset of the format; raise GW718 for a character that it does not have."""
        try:
            return encode_text(text, self._carrier_format.charset)
        except UnicodeEncodeError as error:
            detail = (
                f"{self._carrier_format.charset} has no character {describe_character(text, error.start)}"
            )
            raise make_carried_error(detail, record_field.element_path) from error

    def _cut_text(self, octets: bytes, text: str, record_field: RecordField) -> list[bytes]:
        """Return the pieces of a text: that of its field, then those of continuation records."""
        if len(octets) > record_field.width and record_field.refuses_overflow:
            raise make_carried_error(
                f"the value has {len(octets)} octets of {self._carrier_format.charset}, "
                f"{record_field.width} fit",
                record_field.element_path,
            )
        size = self._count_characters(text, 0, record_field.width)
        first = text[:size].rstrip(" ")
        if len(first) < len(text) and record_field.refuses_overflow:
            raise make_carried_error("a field cannot carry spaces at the end", record_field.element_path)
        pieces, start = [encode_text(first, self._carrier_format.charset)], len(first)
        if not text:
            pieces.append(b"")
        while start < len(text):
            size = self._count_characters(text, start, self._carrier_format.max_text_octets)
            pieces.append(encode_text(text[start : start + size], self._carrier_format.charset))
            start += size
        return pieces

    def _count_characters(self, text: str, start: int, room: int) -> int:
        """Return how many characters of `text` from `start` fit into `room` octets."""
        size = 0
        for character in text[start : start + room]:
            room -= len(encode_text(character, self._carrier_format.charset))
            if room < 0:
                break
            size += 1
        return size


def _write_zeros(octets: bytes, record_field: RecordField) -> bytes:
    """Return a number filled with zeros to the width of its field, with the minus sign first.

    Raise GW718 for a number that is too long, or that would be read back differently.
    """
    if len(octets) > record_field.width:
        raise make_carried_error(
            f"the number has {len(octets)} digits and signs, {record_field.width} fit",
            record_field.element_path,
        )
    sign = octets[:1] if octets[:1] == b"-" else b""
    written = sign + octets[len(sign) :].rjust(record_field.width - len(sign), b"0")
    if _read_zeros(written) != octets:
        detail = (
            f"{quote_value(octets.decode('ascii', 'replace'))} is not written as its field carries a number: "
        )
        raise make_carried_error(
            f"{detail}no plus sign, no leading zero, a digit before the point", record_field.element_path
        )
    return written


def _read_zeros(octets: bytes) -> bytes:
    sign = octets[:1] if octets[:1] == b"-" else b""
    digits = octets[len(sign) :].lstrip(b"0")
    return sign + (digits if digits[:1].isdigit() else b"0" + digits)


def _find_value(value: PlainValue, path: tuple[str, ...]) -> PlainValue:
    """Return the value at `path` below `value`, None if there is none."""
    for name in path:
        if name == TEXT and isinstance(value, str):
            return value
        if value is None or isinstance(value, str):
            return None
        value = value.get(name)
    return value


def read_records(
    octets: bytes, document: str, layout: RecordType, carrier_format: CarrierFormat
) -> PlainValue:
    """Return the plain value of the records; raise GW718 with the number of a record that does not fit."""
    return _RecordReader(octets, layout, carrier_format).read_document(document)


class _RecordReader:
    def __init__(self, octets: bytes, layout: RecordType, carrier_format: CarrierFormat) -> None:
        self._octets = octets
        self._carrier_format = carrier_format
        self._layout = layout
        self._types = {record_type.code: record_type for record_type in layout.walk_types()}
        self._position = 0
        self._record = 0
        #: The element of the last record of each type, with the pieces of its fields.
        self._open_elements: dict[bytes, dict[str, PlainValue]] = {}
        self._pieces: dict[int, list[bytes]] = {}
        self._last_type: RecordType | None = None
        #: The list that contains the last element.
        self._siblings: list[PlainValue] = []

    def read_document(self, document: str) -> PlainValue:
        """Read the head, all records and the tail; return the plain value of the root element.

        Raise GW718 for a record that does not fit, or a wrong number of records in the tail.
        """
        head = self._read_octets(_CODE + NAME_WIDTH)
        if head[:_CODE] != HEAD or head[_CODE:].rstrip(b" ") != document.encode():
            raise self._make_error(f"the head of {document} is expected")
        while (code := self._peek()) != TAIL:
            if code == CONTINUATION:
                self._read_continuation()
            else:
                self._read_record(code)
        self._store_fields()
        tail = self._read_octets(_CODE + COUNT_WIDTH)[_CODE:]
        if not tail.isdigit() or int(tail) != self._record:
            raise self._make_error(f"the tail counts {tail!r} records, and there are {self._record}")
        if self._position != len(self._octets):
            raise self._make_error("something follows the tail")
        if self._layout.code not in self._open_elements:
            raise self._make_error("no record of the document")
        return self._open_elements[self._layout.code]

    def _peek(self) -> bytes:
        return self._octets[self._position : self._position + _CODE]

    def _read_octets(self, size: int) -> bytes:
        """Return the next `size` octets, a record without its end; raise GW718 if it is shorter or longer."""
        self._record += 1
        octets = self._octets[self._position : self._position + size]
        self._position += size
        end = self._octets[self._position : self._position + len(self._carrier_format.record_end)]
        if len(octets) != size or end != self._carrier_format.record_end:
            raise self._make_error(f"a record of {size} octets and its end are expected")
        self._position += len(end)
        return octets

    def _read_record(self, code: bytes) -> None:
        """Read a record of the type `code`: add its element to that of its parent, and keep its fields.

        Raise GW718 for an unknown type, or a second record of the document.
        """
        record_type = self._types.get(code)
        if record_type is None:
            self._record += 1
            raise self._make_error(f"there is no record type {code!r}")
        self._store_fields()
        octets = self._read_octets(record_type.length)
        element: dict[str, PlainValue] = {}
        if record_type.parent is None:
            if self._open_elements:
                raise self._make_error("the record of the document stands twice")
        else:
            self._add_to_parent(record_type, element)
        for inner_type in record_type.walk_types():
            self._open_elements.pop(inner_type.code, None)
        self._open_elements[code], self._last_type = element, record_type
        self._pieces = {
            number: [octets[record_field.offset : record_field.offset + record_field.width]]
            for number, record_field in enumerate(record_type.fields)
        }

    def _add_to_parent(self, record_type: RecordType, element: dict[str, PlainValue]) -> None:
        """Add `element` to the last element of the parent type; raise GW718 if there is none."""
        parent = self._open_elements.get(record_type.parent.code) if record_type.parent is not None else None
        if parent is None:
            raise self._make_error(f"no record before it to which {record_type.element_path} belongs")
        for name in record_type.path[:-1]:
            parent = parent.setdefault(name, {})
        self._siblings = parent.setdefault(record_type.path[-1], [])
        self._siblings.append(element)

    def _read_continuation(self) -> None:
        """Add the text of a continuation record to the field of the last record that it continues.

        Raise GW718 for a field that cannot be continued, or a wrong size.
        """
        length = _CODE + FIELD_DIGITS + SIZE_DIGITS + self._carrier_format.max_text_octets
        octets = self._read_octets(length)[_CODE:]
        number, size = octets[:FIELD_DIGITS], octets[FIELD_DIGITS : FIELD_DIGITS + SIZE_DIGITS]
        piece = octets[FIELD_DIGITS + SIZE_DIGITS :]
        pieces = self._pieces.get(int(number)) if number.isdigit() else None
        if pieces is None or self._last_type is None or self._last_type.fields[int(number)].refuses_overflow:
            raise self._make_error(f"there is no field {number!r} that could go on")
        if not size.isdigit() or int(size) > len(piece) or piece[int(size) :].strip(b" "):
            raise self._make_error(f"{size!r} is not the octets of this continuation")
        pieces.append(piece[: int(size)])

    def _store_fields(self) -> None:
        """Store the field values of the last record in its element; join the pieces of each field."""
        record_type = self._last_type
        if record_type is None:
            return
        for number, record_field in enumerate(record_type.fields):
            text = self._read_field(record_field, self._pieces[number])
            if text == "" and record_field.is_presence_flag:
                text = _find_empty_value(record_type.node, record_field.path)
            if text is not None:
                _store_value(self._open_elements[record_type.code], record_field.path, text)
        if record_type.node.is_leaf and not record_type.node.attributes:
            if TEXT not in self._open_elements[record_type.code]:
                raise self._make_error(f"{record_type.element_path}: a record without its text")
            self._siblings[-1] = self._open_elements[record_type.code][TEXT]
        self._last_type = None

    def _read_field(self, record_field: RecordField, pieces: list[bytes]) -> PlainValue:
        """Return the value of a field from its pieces: None for a blank field, empty text for a set flag."""
        if not pieces[0].strip(b" ") and len(pieces) == 1:
            return None
        if record_field.is_presence_flag:
            if pieces[0] != b"1":
                raise self._make_error(f"{record_field.element_path}: a flag is 1 or a space")
            return ""
        if record_field.is_zero_filled:
            return self._decode(_read_zeros(pieces[0]), record_field)
        first, *rest = pieces
        return "".join(self._decode(piece, record_field) for piece in (first.rstrip(b" "), *rest))

    def _decode(self, octets: bytes, record_field: RecordField) -> str:
        try:
            return octets.decode(self._carrier_format.charset)
        except UnicodeDecodeError as error:
            detail = f"{record_field.element_path}: octets that are no {self._carrier_format.charset}"
            raise self._make_error(detail) from error

    def _make_error(self, detail: str) -> Exception:
        return make_carried_error(detail, f"record {self._record}")


def _find_empty_value(node: DocumentNode, path: tuple[str, ...]) -> PlainValue:
    """Return the value of an element without content: an empty text for a leaf, else an empty table.

    `path` leads to the element from `node`.
    """
    for name in path:
        node = node.children[name] if name != TEXT else node
    return "" if node.is_leaf else {}


def _store_value(element: dict[str, PlainValue], path: tuple[str, ...], text: str) -> None:
    for name in path[:-1]:
        element = element.setdefault(name, {})
    element[path[-1]] = text
