"""Fixed records as an agency's own system reads and writes them: by the printed layout of a document alone.

The layout is what ``gateway map render --layout`` prints. Nothing here knows the mappings or the hub's own
reader of records, so that each is a check of the other. A value is a table by name; ``#`` is the text of an
element, ``@name`` an attribute, a list an element that repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from gateway.errors import CARRIED_WRONG, GatewayError

__all__ = ["CarriedContent", "make_content_error", "read_record_content", "write_record_content"]

CarriedContent: TypeAlias = dict[str, Any]
_CODE: Final = 3


def make_content_error(detail: str, place: str) -> GatewayError:
    """Return GW718 for content that is not in the form of the agency."""
    return GatewayError(CARRIED_WRONG, ascii(detail)[1:-1][:300], ascii(place)[1:-1][:120])


def read_record_content(octets: bytes, layout: Mapping[str, Any]) -> CarriedContent:
    """Return the content of the root element; raise GW718 with the number of a record that does not fit."""
    rows = list(_cut_records(octets, layout))
    head, tail = layout["head"].encode(), layout["tail"].encode()
    name = layout["document"].encode().ljust(layout["name"])
    if not rows or rows[0] != head + name:
        raise make_content_error("the head of the document is expected", "record 1")
    if rows[-1] != tail + b"%0*d" % (layout["count"], len(rows)):
        raise make_content_error("the tail does not count the records", f"record {len(rows)}")
    return _RecordContent(layout).read_rows(rows[1:-1])


def _cut_records(octets: bytes, layout: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the records without what closes each; their lengths follow from their types."""
    sizes = {one["type"].encode(): one["octets"] for one in layout["records"]}
    more = layout["continuation"]
    sizes[more["type"].encode()] = _CODE + more["field"] + more["size"] + more["octets"]
    sizes[layout["head"].encode()] = _CODE + layout["name"]
    sizes[layout["tail"].encode()] = _CODE + layout["count"]
    end, start, number = layout["end"].encode(), 0, 0
    while start < len(octets):
        number += 1
        size = sizes.get(octets[start : start + _CODE])
        if size is None:
            raise make_content_error("no such type of record", f"record {number}")
        record = octets[start : start + size]
        start += size + len(end)
        if len(record) < size or octets[start - len(end) : start] != end:
            raise make_content_error("the record has another length", f"record {number}")
        yield record


class _RecordContent:
    """Puts records together; the record of each type that came last is the one to which others belong."""

    def __init__(self, layout: Mapping[str, Any]) -> None:
        self._layout = layout
        self._kinds = {one["type"]: one for one in layout["records"]}
        self._last: dict[str, CarriedContent] = {}

    def read_rows(self, rows: list[bytes]) -> CarriedContent:
        first = self._layout["records"][0]["type"]
        position = 0
        while position < len(rows):
            kind = self._kinds.get(rows[position][:_CODE].decode())
            further = self._count_continuations(rows, position)
            if kind is None or (kind["below"] is None) != (position == 0):
                raise make_content_error("the record does not stand here", f"record {position + 2}")
            pieces = self._join_pieces(kind, rows[position : position + 1 + further], position + 2)
            self._place_record(kind, pieces, position + 2)
            position += 1 + further
        if first not in self._last:
            raise make_content_error("no record of the document", "record 2")
        return self._last[first]

    def _count_continuations(self, rows: list[bytes], position: int) -> int:
        code = self._layout["continuation"]["type"].encode()
        end = position + 1
        while end < len(rows) and rows[end].startswith(code):
            end += 1
        return end - position - 1

    def _join_pieces(self, kind: Mapping[str, Any], rows: list[bytes], number: int) -> list[bytes | None]:
        """Return the octets of each field with its continuations; None where it is empty."""
        fields = kind["fields"]
        found = [_strip_fill(rows[0][one["offset"] : one["offset"] + one["width"]], one) for one in fields]
        more = self._layout["continuation"]
        for row in rows[1:]:
            where, size = row[_CODE : _CODE + more["field"]], row[_CODE + more["field"] :][: more["size"]]
            piece = row[_CODE + more["field"] + more["size"] :]
            if not (where.isdigit() and size.isdigit() and int(where) < len(fields)):
                raise make_content_error("a continuation of no field", f"record {number}")
            goes_on = (
                fields[int(where)]["overflow"] == "continue" and fields[int(where)]["filled"] == "spaces"
            )
            if int(size) > len(piece) or not goes_on:
                raise make_content_error("a continuation that cannot be", f"record {number}")
            found[int(where)] = (found[int(where)] or b"") + piece[: int(size)]
        return found

    def _place_record(self, kind: Mapping[str, Any], pieces: list[bytes | None], number: int) -> None:
        content: CarriedContent = {}
        if kind["below"] is not None:
            above = self._last.get(kind["below"])
            if above is None:
                raise make_content_error("no record to which this one belongs", f"record {number}")
            *way, name = self._list_names(kind["element"], self._kinds[kind["below"]]["element"])
            _walk_to(above, way).setdefault(name, []).append(content)
        self._forget_below(kind["type"])
        self._last[kind["type"]] = content
        for field, octets in zip(kind["fields"], pieces, strict=True):
            if octets is not None:
                self._place_text(content, field, (kind["element"], octets), number)

    def _forget_below(self, code: str) -> None:
        for one in self._layout["records"]:
            if one["below"] == code and self._last.pop(one["type"], None) is not None:
                self._forget_below(one["type"])

    def _place_text(
        self, content: CarriedContent, field: Mapping[str, Any], where: tuple[str, bytes], number: int
    ) -> None:
        names = self._list_names(field["path"], where[0])
        if field["filled"] == "flag":
            _walk_to(content, names)
            return
        try:
            text = where[1].decode(self._layout["charset"])
        except UnicodeDecodeError:
            raise make_content_error(
                f"octets of no character in {field['path']}", f"record {number}"
            ) from None
        if names and names[-1].startswith("@"):
            _walk_to(content, names[:-1])[names[-1]] = text
        else:
            _walk_to(content, names)["#"] = text

    @staticmethod
    def _list_names(path: str, above: str) -> list[str]:
        return [name for name in path.removeprefix(above).split("/") if name]


def _strip_fill(octets: bytes, field: Mapping[str, Any]) -> bytes | None:
    """Return what a field holds without its fill; None for an empty one."""
    if not octets.strip(b" "):
        return None
    if field["filled"] != "zeros":
        return octets.rstrip(b" ")
    sign = b"-" if octets.startswith(b"-") else b""
    digits = octets.removeprefix(sign).lstrip(b"0")
    return sign + (digits if digits[:1].isdigit() else b"0" + digits)


def _walk_to(content: CarriedContent, names: list[str]) -> CarriedContent:
    for name in names:
        content = content.setdefault(name, {})
    return content


def write_record_content(content: CarriedContent, layout: Mapping[str, Any]) -> bytes:
    """Return the records of the content of a root element; raise GW718 for a value that does not fit."""
    records = [layout["head"].encode() + layout["document"].encode().ljust(layout["name"])]
    records += _write_records(content, layout["records"][0], layout)
    records.append(layout["tail"].encode() + b"%0*d" % (layout["count"], len(records) + 1))
    return b"".join(one + layout["end"].encode() for one in records)


def _write_records(
    content: CarriedContent, kind: Mapping[str, Any], layout: Mapping[str, Any]
) -> Iterator[bytes]:
    record = kind["type"].encode()
    further: list[bytes] = []
    for number, field in enumerate(kind["fields"]):
        value = _find_value(content, field["path"].removeprefix(kind["element"]))
        octets, rest = _write_field(value, field, layout["charset"])
        record += octets
        further += _write_continuations(number, rest, layout)
    yield record
    yield from further
    for below in layout["records"]:
        if below["below"] == kind["type"]:
            for one in _find_value(content, below["element"].removeprefix(kind["element"])) or ():
                yield from _write_records(one if isinstance(one, dict) else {"#": one}, below, layout)


def _find_value(content: Any, path: str) -> Any:
    for name in path.split("/"):
        if name:
            content = content.get(name) if isinstance(content, dict) else None
    return content


def _write_field(value: Any, field: Mapping[str, Any], charset: str) -> tuple[bytes, str]:
    """Return the octets of a field, and the text that did not fit into it."""
    text = value.get("#") if isinstance(value, dict) else value
    width = field["width"]
    if field["filled"] == "flag":
        return (b" " if value is None else b"1"), ""
    octets = _encode_text(text or "", field, charset)
    if field["filled"] == "zeros" and len(octets) <= width:
        return (octets.rjust(width, b"0") if octets else b" " * width), ""
    # The fill of a field is not told from spaces at its end: these go on as well.
    first = _cut_octets(octets, width, charset).rstrip(b" ")
    if len(first) < len(octets) and field["overflow"] != "continue":
        raise make_content_error(f"no {width} octets without spaces at the end", field["path"])
    return first.ljust(width), octets[len(first) :].decode(charset)


def _encode_text(text: str, field: Mapping[str, Any], charset: str) -> bytes:
    try:
        return text.encode(charset)
    except UnicodeEncodeError:
        raise make_content_error(f"a character that {charset} does not have", field["path"]) from None


def _write_continuations(number: int, text: str, layout: Mapping[str, Any]) -> Iterator[bytes]:
    more, rest = layout["continuation"], text.encode(layout["charset"])
    while rest:
        piece = _cut_octets(rest, more["octets"], layout["charset"])
        rest = rest[len(piece) :]
        head = b"%0*d%0*d" % (more["field"], number, more["size"], len(piece))
        yield more["type"].encode() + head + piece.ljust(more["octets"])


def _cut_octets(octets: bytes, most: int, charset: str) -> bytes:
    """Return the first of these octets, at most so many, cut between characters."""
    return octets[:most].decode(charset, "ignore").encode(charset)
