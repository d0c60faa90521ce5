"""Writes plain values as fixed records and reads them back; nothing is cut, and nothing is guessed.

A value that does not survive its field is an error when it is written: a character that the encoding does
not have, a line end where lines are records, more octets than a field holds that may not go on. What else a
field cannot hold goes on in continuation records behind its own, cut between characters: the rest of a
longer text, and spaces at the end, since each continuation says how many of its octets count. The tail
counts the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.harmonize.carriers.document_nodes import DocumentNode
from gateway.harmonize.carriers.plain_values import TEXT, PlainValue, make_carried_error
from gateway.harmonize.carriers.record_layout import (
    CONTINUATION,
    COUNT_WIDTH,
    HEAD,
    NAME_WIDTH,
    TAIL,
    RecordField,
    RecordType,
)
from gateway.wire import quote_value

if TYPE_CHECKING:
    from gateway.harmonize.language import CarrierForm

__all__ = ["list_record_problems", "read_records", "write_records"]

_MOST_RECORDS: Final = 10**COUNT_WIDTH - 1
_FIELD_DIGITS: Final = 3
_SIZE_DIGITS: Final = 4
_CODE: Final = len(HEAD)
#: Who reads records line by line takes either for the end of one.
_LINE_ENDS: Final = {"\n": "a line feed", "\r": "a carriage return"}


def write_records(document: str, layout: RecordType, value: PlainValue, form: CarrierForm) -> bytes:
    """Return the records of a document; raise GW718 with the path of a value that cannot be carried."""
    writer = _RecordWriter(form)
    records = [HEAD + document.encode(form.charset).ljust(NAME_WIDTH)]
    records += writer.write_record(layout, value, layout.place)
    if writer.problems:
        raise writer.problems[0]
    records.append(TAIL + b"%0*d" % (COUNT_WIDTH, len(records) + 1))
    return b"".join(record + form.end for record in records)


def list_record_problems(layout: RecordType, value: PlainValue, form: CarrierForm) -> list[GatewayError]:
    """Return GW718 for each value of a document that its records cannot carry, in their order."""
    writer = _RecordWriter(form)
    deque(writer.write_record(layout, value, layout.place), maxlen=0)
    return writer.problems


class _RecordWriter:
    """Writes records; the field of a value that cannot be carried stays empty, and is in `problems`."""

    def __init__(self, form: CarrierForm) -> None:
        self._form = form
        self.problems: list[GatewayError] = []

    def write_record(self, kind: RecordType, value: PlainValue, at: str) -> Iterator[bytes]:
        """Yield the record of the element `at`, its continuations, and the records below it."""
        octets, further = kind.code, []
        for number, one in enumerate(kind.fields):
            first, *rest = self._try_field(
                one, _find_value(value, one.path), at + one.place[len(kind.place) :]
            )
            octets += first
            further += [
                CONTINUATION
                + b"%0*d%0*d" % (_FIELD_DIGITS, number, _SIZE_DIGITS, len(piece))
                + piece.ljust(self._form.longest)
                for piece in rest
            ]
        yield octets
        yield from further
        for below in kind.below:
            place = at + below.place[len(kind.place) :]
            for position, row in enumerate(_find_value(value, below.path) or (), 1):
                yield from self.write_record(below, row, f"{place}[{position}]")

    def _try_field(self, one: RecordField, text: PlainValue, at: str) -> list[bytes]:
        try:
            return self._write_field(one, text)
        except GatewayError as error:
            self.problems.append(make_carried_error(error.detail, at))
            return [b" " * one.width]

    def _write_field(self, one: RecordField, text: PlainValue) -> list[bytes]:
        if one.flag:
            if text and isinstance(text, str):
                raise make_carried_error("this element has no text", one.place)
            return [b" " if text is None else b"1"]
        if text is None:
            return [b" " * one.width]
        self._check_line(text, one)
        octets = self._encode_text(text, one)
        if one.zeros:
            return [_write_zeros(octets, one)]
        pieces = self._cut_text(octets, text, one)
        return [pieces[0].ljust(one.width), *pieces[1:]]

    def _check_line(self, text: str, one: RecordField) -> None:
        """Raise GW718 for a text that would end a record which a line end closes."""
        if not self._form.end:
            return
        for character, name in _LINE_ENDS.items():
            if character in text:
                detail = f"a record that ends with its line cannot carry {name}; a space can stand for it"
                raise make_carried_error(detail, one.place)

    def _encode_text(self, text: str, one: RecordField) -> bytes:
        try:
            return text.encode(self._form.charset)
        except UnicodeEncodeError as error:
            character = text[error.start]
            detail = f"{self._form.charset} has no character {character!r} (U+{ord(character):04X})"
            raise make_carried_error(detail, one.place) from error

    def _cut_text(self, octets: bytes, text: str, one: RecordField) -> list[bytes]:
        """Return the pieces of a text: that of its field, then those of continuation records."""
        if len(octets) > one.width and one.refuses:
            raise make_carried_error(
                f"the value has {len(octets)} octets of {self._form.charset}, {one.width} fit", one.place
            )
        size = self._count_characters(text, 0, one.width)
        first = text[:size].rstrip(" ")
        if len(first) < len(text) and one.refuses:
            raise make_carried_error("a field cannot carry spaces at the end", one.place)
        pieces, start = [first.encode(self._form.charset)], len(first)
        if not text:
            pieces.append(b"")
        while start < len(text):
            size = self._count_characters(text, start, self._form.longest)
            pieces.append(text[start : start + size].encode(self._form.charset))
            start += size
        return pieces

    def _count_characters(self, text: str, start: int, room: int) -> int:
        size = 0
        for character in text[start : start + room]:
            room -= len(character.encode(self._form.charset))
            if room < 0:
                break
            size += 1
        return size


def _write_zeros(octets: bytes, one: RecordField) -> bytes:
    if len(octets) > one.width:
        raise make_carried_error(f"the number has {len(octets)} digits and signs, {one.width} fit", one.place)
    sign = octets[:1] if octets[:1] == b"-" else b""
    written = sign + octets[len(sign) :].rjust(one.width - len(sign), b"0")
    if _read_zeros(written) != octets:
        detail = (
            f"{quote_value(octets.decode('ascii', 'replace'))} is not written as its field carries a number: "
        )
        raise make_carried_error(
            f"{detail}no plus sign, no leading zero, a digit before the point", one.place
        )
    return written


def _read_zeros(octets: bytes) -> bytes:
    sign = octets[:1] if octets[:1] == b"-" else b""
    digits = octets[len(sign) :].lstrip(b"0")
    return sign + (digits if digits[:1].isdigit() else b"0" + digits)


def _find_value(value: PlainValue, path: tuple[str, ...]) -> PlainValue:
    for name in path:
        if name == TEXT and isinstance(value, str):
            return value
        if value is None or isinstance(value, str):
            return None
        value = value.get(name)
    return value


def read_records(octets: bytes, document: str, layout: RecordType, form: CarrierForm) -> PlainValue:
    """Return the plain value of the records; raise GW718 with the number of a record that does not fit."""
    return _RecordReader(octets, layout, form).read_document(document)


class _RecordReader:
    def __init__(self, octets: bytes, layout: RecordType, form: CarrierForm) -> None:
        self._octets = octets
        self._form = form
        self._layout = layout
        self._types = {one.code: one for one in layout.walk_types()}
        self._position = 0
        self._record = 0
        #: The element of the last record of each type, with the pieces of its fields.
        self._open: dict[bytes, dict[str, PlainValue]] = {}
        self._pieces: dict[int, list[bytes]] = {}
        self._last: RecordType | None = None
        #: The list in which the last element stands.
        self._around: list[PlainValue] = []

    def read_document(self, document: str) -> PlainValue:
        head = self._take(_CODE + NAME_WIDTH)
        if head[:_CODE] != HEAD or head[_CODE:].rstrip(b" ") != document.encode():
            raise self._make_error(f"the head of {document} is expected")
        while (code := self._peek()) != TAIL:
            if code == CONTINUATION:
                self._take_continuation()
            else:
                self._take_record(code)
        self._store_fields()
        tail = self._take(_CODE + COUNT_WIDTH)[_CODE:]
        if not tail.isdigit() or int(tail) != self._record:
            raise self._make_error(f"the tail counts {tail!r} records, and there are {self._record}")
        if self._position != len(self._octets):
            raise self._make_error("something follows the tail")
        if self._layout.code not in self._open:
            raise self._make_error("no record of the document")
        return self._open[self._layout.code]

    def _peek(self) -> bytes:
        return self._octets[self._position : self._position + _CODE]

    def _take(self, size: int) -> bytes:
        self._record += 1
        found = self._octets[self._position : self._position + size]
        self._position += size
        end = self._octets[self._position : self._position + len(self._form.end)]
        if len(found) != size or end != self._form.end:
            raise self._make_error(f"a record of {size} octets and its end are expected")
        self._position += len(end)
        return found

    def _take_record(self, code: bytes) -> None:
        kind = self._types.get(code)
        if kind is None:
            self._record += 1
            raise self._make_error(f"there is no record type {code!r}")
        self._store_fields()
        octets = self._take(kind.length)
        element: dict[str, PlainValue] = {}
        if kind.parent is None:
            if self._open:
                raise self._make_error("the record of the document stands twice")
        else:
            self._add_to_parent(kind, element)
        for one in kind.walk_types():
            self._open.pop(one.code, None)
        self._open[code], self._last = element, kind
        self._pieces = {
            number: [octets[one.offset : one.offset + one.width]] for number, one in enumerate(kind.fields)
        }

    def _add_to_parent(self, kind: RecordType, element: dict[str, PlainValue]) -> None:
        around = self._open.get(kind.parent.code) if kind.parent is not None else None
        if around is None:
            raise self._make_error(f"no record before it to which {kind.place} belongs")
        for name in kind.path[:-1]:
            around = around.setdefault(name, {})
        self._around = around.setdefault(kind.path[-1], [])
        self._around.append(element)

    def _take_continuation(self) -> None:
        octets = self._take(_CODE + _FIELD_DIGITS + _SIZE_DIGITS + self._form.longest)[_CODE:]
        number, size = octets[:_FIELD_DIGITS], octets[_FIELD_DIGITS : _FIELD_DIGITS + _SIZE_DIGITS]
        piece = octets[_FIELD_DIGITS + _SIZE_DIGITS :]
        pieces = self._pieces.get(int(number)) if number.isdigit() else None
        if pieces is None or self._last is None or self._last.fields[int(number)].refuses:
            raise self._make_error(f"there is no field {number!r} that could go on")
        if not size.isdigit() or int(size) > len(piece) or piece[int(size) :].strip(b" "):
            raise self._make_error(f"{size!r} is not the octets of this continuation")
        pieces.append(piece[: int(size)])

    def _store_fields(self) -> None:
        """Give the element of the last record its values: pieces without fill, joined."""
        kind = self._last
        if kind is None:
            return
        for number, one in enumerate(kind.fields):
            text = self._read_field(one, self._pieces[number])
            if text == "" and one.flag:
                text = _find_empty_value(kind.node, one.path)
            if text is not None:
                _store_value(self._open[kind.code], one.path, text)
        if kind.node.leaf and not kind.node.attributes:
            if TEXT not in self._open[kind.code]:
                raise self._make_error(f"{kind.place}: a record without its text")
            self._around[-1] = self._open[kind.code][TEXT]
        self._last = None

    def _read_field(self, one: RecordField, pieces: list[bytes]) -> PlainValue:
        if not pieces[0].strip(b" ") and len(pieces) == 1:
            return None
        if one.flag:
            if pieces[0] != b"1":
                raise self._make_error(f"{one.place}: a flag is 1 or a space")
            return ""
        if one.zeros:
            return self._decode(_read_zeros(pieces[0]), one)
        first, *rest = pieces
        return "".join(self._decode(piece, one) for piece in (first.rstrip(b" "), *rest))

    def _decode(self, octets: bytes, one: RecordField) -> str:
        try:
            return octets.decode(self._form.charset)
        except UnicodeDecodeError as error:
            detail = f"{one.place}: octets that are no {self._form.charset}"
            raise self._make_error(detail) from error

    def _make_error(self, detail: str) -> Exception:
        return make_carried_error(detail, f"record {self._record}")


def _find_empty_value(node: DocumentNode, path: tuple[str, ...]) -> PlainValue:
    """Return what stands for an element without content: an empty text, or an empty table."""
    for name in path:
        node = node.children[name] if name != TEXT else node
    return "" if node.leaf else {}


def _store_value(element: dict[str, PlainValue], path: tuple[str, ...], text: str) -> None:
    for name in path[:-1]:
        element = element.setdefault(name, {})
    element[path[-1]] = text
