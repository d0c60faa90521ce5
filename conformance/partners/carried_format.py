"""The format in which a simulated agency speaks, where its data say JSON or fixed records instead of XML.

``carriers.yaml`` of the mappings names the format; for fixed records the agency has the layout of each
document, as ``gateway map render --layout`` prints it. The data that the agency reads become the document
that its schema describes, in the order of that schema.

This module uses no part of the hub's own reader of records, so that each reader is a check of the other.
The value of a record is a table by name; ``#`` is the text of an element, ``@name`` an attribute, a list an
element that repeats.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

import yaml
from lxml import etree

from gateway.errors import CARRIED_WRONG, MISUSE, GatewayError
from gateway.wire import CARRIED, describe_character, encode_text, make_document_namespace

CarriedContent: TypeAlias = dict[str, Any]
_CODE: Final = 3


def make_content_error(detail: str, location: str) -> GatewayError:
    """Return GW718 for content that is not in the format of the agency."""
    return GatewayError(CARRIED_WRONG, ascii(detail)[1:-1][:300], ascii(location)[1:-1][:120])


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
    """Yield the records without their end marks; the length of a record follows from its type."""
    sizes = {record["type"].encode(): record["octets"] for record in layout["records"]}
    continuation = layout["continuation"]
    sizes[continuation["type"].encode()] = (
        _CODE + continuation["field"] + continuation["size"] + continuation["octets"]
    )
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
        self._record_layouts = {record["type"]: record for record in layout["records"]}
        self._last: dict[str, CarriedContent] = {}

    def read_rows(self, rows: list[bytes]) -> CarriedContent:
        first = self._layout["records"][0]["type"]
        position = 0
        while position < len(rows):
            record_layout = self._record_layouts.get(rows[position][:_CODE].decode())
            continuations = self._count_continuations(rows, position)
            if record_layout is None or (record_layout["below"] is None) != (position == 0):
                raise make_content_error("the record does not stand here", f"record {position + 2}")
            pieces = self._join_pieces(
                record_layout, rows[position : position + 1 + continuations], position + 2
            )
            self._add_record(record_layout, pieces, position + 2)
            position += 1 + continuations
        if first not in self._last:
            raise make_content_error("no record of the document", "record 2")
        return self._last[first]

    def _count_continuations(self, rows: list[bytes], position: int) -> int:
        code = self._layout["continuation"]["type"].encode()
        end = position + 1
        while end < len(rows) and rows[end].startswith(code):
            end += 1
        return end - position - 1

    def _join_pieces(
        self, record_layout: Mapping[str, Any], rows: list[bytes], record_number: int
    ) -> list[bytes | None]:
        """Return the octets of each field with its continuations; None where it is empty."""
        fields = record_layout["fields"]
        values = [
            _strip_fill(rows[0][field["offset"] : field["offset"] + field["width"]], field)
            for field in fields
        ]
        continuation = self._layout["continuation"]
        for row in rows[1:]:
            field_number, size = (
                row[_CODE : _CODE + continuation["field"]],
                row[_CODE + continuation["field"] :][: continuation["size"]],
            )
            piece = row[_CODE + continuation["field"] + continuation["size"] :]
            if not (field_number.isdigit() and size.isdigit() and int(field_number) < len(fields)):
                raise make_content_error("a continuation of no field", f"record {record_number}")
            goes_on = (
                fields[int(field_number)]["overflow"] == "continue"
                and fields[int(field_number)]["filled"] == "spaces"
            )
            if int(size) > len(piece) or not goes_on:
                raise make_content_error("a continuation that cannot be", f"record {record_number}")
            values[int(field_number)] = (values[int(field_number)] or b"") + piece[: int(size)]
        return values

    def _add_record(
        self, record_layout: Mapping[str, Any], pieces: list[bytes | None], record_number: int
    ) -> None:
        content: CarriedContent = {}
        if record_layout["below"] is not None:
            parent = self._last.get(record_layout["below"])
            if parent is None:
                raise make_content_error("no record to which this one belongs", f"record {record_number}")
            *ancestors, name = self._list_names(
                record_layout["element"], self._record_layouts[record_layout["below"]]["element"]
            )
            _walk_to(parent, ancestors).setdefault(name, []).append(content)
        self._forget_below(record_layout["type"])
        self._last[record_layout["type"]] = content
        for field, octets in zip(record_layout["fields"], pieces, strict=True):
            if octets is not None:
                self._add_text(content, field, record_layout["element"], octets, record_number)

    def _forget_below(self, record_type: str) -> None:
        for record in self._layout["records"]:
            if record["below"] == record_type and self._last.pop(record["type"], None) is not None:
                self._forget_below(record["type"])

    def _add_text(
        self,
        content: CarriedContent,
        field: Mapping[str, Any],
        parent_path: str,
        octets: bytes,
        record_number: int,
    ) -> None:
        names = self._list_names(field["path"], parent_path)
        if field["filled"] == "flag":
            _walk_to(content, names)
            return
        try:
            text = octets.decode(self._layout["charset"])
        except UnicodeDecodeError:
            raise make_content_error(
                f"octets of no character in {field['path']}", f"record {record_number}"
            ) from None
        if names and names[-1].startswith("@"):
            _walk_to(content, names[:-1])[names[-1]] = text
        else:
            _walk_to(content, names)["#"] = text

    @staticmethod
    def _list_names(path: str, parent_path: str) -> list[str]:
        return [name for name in path.removeprefix(parent_path).split("/") if name]


def _strip_fill(octets: bytes, field: Mapping[str, Any]) -> bytes | None:
    """Return the octets of a field without its fill; None for an empty field."""
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
    return b"".join(record + layout["end"].encode() for record in records)


def _write_records(
    content: CarriedContent, record_layout: Mapping[str, Any], layout: Mapping[str, Any]
) -> Iterator[bytes]:
    record = record_layout["type"].encode()
    continuations: list[bytes] = []
    for number, field in enumerate(record_layout["fields"]):
        value = _find_value(content, field["path"].removeprefix(record_layout["element"]))
        octets, rest = _write_field(value, field, layout["charset"])
        record += octets
        continuations += _write_continuations(number, field, rest, layout)
    yield record
    yield from continuations
    for below in layout["records"]:
        if below["below"] == record_layout["type"]:
            for row in _find_value(content, below["element"].removeprefix(record_layout["element"])) or ():
                yield from _write_records(row if isinstance(row, dict) else {"#": row}, below, layout)


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
        return encode_text(text, charset)
    except UnicodeEncodeError as error:
        character = describe_character(text, error.start)
        raise make_content_error(f"{charset} has no character {character}", field["path"]) from None


def _write_continuations(
    field_number: int, field: Mapping[str, Any], rest_text: str, layout: Mapping[str, Any]
) -> Iterator[bytes]:
    """Yield the continuations of a field; raise GW718 for a character longer than a continuation."""
    continuation, rest = layout["continuation"], encode_text(rest_text, layout["charset"])
    while rest:
        piece = _cut_octets(rest, continuation["octets"], layout["charset"])
        if not piece:
            character = describe_character(rest.decode(layout["charset"]), 0)
            detail = f"a continuation of {continuation['octets']} octets cannot hold {character}"
            raise make_content_error(detail, field["path"])
        rest = rest[len(piece) :]
        head = b"%0*d%0*d" % (continuation["field"], field_number, continuation["size"], len(piece))
        yield continuation["type"].encode() + head + piece.ljust(continuation["octets"])


def _cut_octets(octets: bytes, max_octets: int, charset: str) -> bytes:
    """Return the first octets, at most `max_octets`, cut between two characters."""
    return octets[:max_octets].decode(charset, "ignore").encode(charset)


_TAG: Final = f"{{{CARRIED}}}Carried"
_SYNTAXES: Final = ("xml", "json", "fixed")
_LAYOUT: Final = frozenset(
    ("document", "charset", "end", "head", "name", "continuation", "tail", "count", "records")
)
_XSD: Final = "{http://www.w3.org/2001/XMLSchema}"


class CarriedFormat:
    """One format, json or fixed, with the schemas and layouts to read and write it.

    `schemas` is the folder of the agency's schemas, `layouts` the printed layouts of fixed records by the
    name of the document or notice.
    """

    def __init__(self, syntax: str, schemas: Traversable, layouts: Mapping[str, Any]) -> None:
        self.syntax = syntax
        self._schemas = schemas
        self._layouts = layouts
        self._orders: dict[str, dict[tuple[str, ...], list[str]]] = {}

    def open_document(self, carried: etree._Element) -> etree._Element:
        """Return the document that an element Carried holds; raise GW718 for one that it cannot be."""
        document_name = carried.get("document", "")
        if carried.tag != _TAG or carried.get("form") != self.syntax:
            raise make_content_error(f"the agency speaks {self.syntax}", "/Carried/@form")
        try:
            octets = base64.b64decode("".join((carried.text or "").split()), validate=True)
        except binascii.Error:
            raise make_content_error("the content is no base64", "/Carried") from None
        root, content = self._read_content(octets, document_name)
        try:
            return _DocumentBuilder(document_name, self._get_order(document_name)).build((root,), content)
        except (ValueError, RecursionError):
            raise make_content_error("no XML document can have this", f"/{root}") from None

    def _read_content(self, octets: bytes, document_name: str) -> tuple[str, CarriedContent]:
        if self.syntax == "fixed":
            layout = self._get_layout(document_name)
            return layout["records"][0]["element"].strip("/"), read_record_content(octets, layout)
        parsed = _read_json(octets)
        if not isinstance(parsed, dict) or len(parsed) != 2 or parsed.pop("document", None) != document_name:
            raise make_content_error(f"an object with the document {document_name} is expected", "/document")
        ((root, content),) = parsed.items()
        return root, content

    def _get_layout(self, name: str) -> Any:
        if name not in self._layouts:
            raise make_content_error("the agency has no layout of this document", f"/{name}")
        return self._layouts[name]

    def _get_order(self, name: str) -> dict[tuple[str, ...], list[str]]:
        if name not in self._orders:
            file = self._schemas.joinpath(f"{name}.xsd")
            # A name that is no file of the folder has no order: no schema knows the document either.
            has_schema = name.replace("-", "").isalnum() and file.is_file()
            self._orders[name] = _read_element_order(file.read_bytes()) if has_schema else {}
        return self._orders[name]

    def has_notice(self, name: str) -> bool:
        """Return whether the agency can write a notice in its format."""
        return self.syntax == "json" or name in self._layouts

    def carry_notice(self, name: str, content: CarriedContent) -> etree._Element:
        """Return the element Carried with a notice, whose root is Response; GW718 where it cannot be."""
        if self.syntax == "fixed":
            octets = write_record_content(content, self._get_layout(name))
        else:
            octets = json.dumps({"document": name, "Response": content}, ensure_ascii=False).encode()
        nsmap: Any = {None: CARRIED}
        element = etree.Element(_TAG, nsmap=nsmap, form=self.syntax, document=name)
        element.text = base64.b64encode(octets).decode("ascii")
        return element


class _DocumentBuilder:
    """Makes elements of content, in the order of the schema."""

    def __init__(self, document: str, order: Mapping[tuple[str, ...], list[str]]) -> None:
        self._namespace = make_document_namespace(document)
        self._order = order

    def build(self, path: tuple[str, ...], content: Any) -> etree._Element:
        nsmap: Any = {None: self._namespace}
        element = etree.Element(f"{{{self._namespace}}}{path[-1]}", nsmap=nsmap)
        if not isinstance(content, dict):
            element.text = _require_text(content)
            return element
        for name in self._sort_names(path, content):
            value = content[name]
            if name == "#":
                element.text = _require_text(value)
            elif name.startswith("@"):
                element.set(name[1:], _require_text(value))
            else:
                rows = value if isinstance(value, list) else [value]
                element.extend(self.build((*path, name), row) for row in rows)
        return element

    def _sort_names(self, path: tuple[str, ...], content: CarriedContent) -> list[str]:
        """Return the names in the order of the schema; names that the schema does not have stand last."""
        positions = {name: number for number, name in enumerate(self._order.get(path, ()))}
        return sorted(content, key=lambda name: positions.get(name, len(positions)))


def _require_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _read_json(octets: bytes) -> Any:
    """Return the values of JSON octets, each number as its text; raise GW718 for octets that are not JSON."""
    try:
        return json.loads(
            octets, object_pairs_hook=_make_table, parse_int=str, parse_float=str, parse_constant=str
        )
    except (ValueError, RecursionError) as error:
        raise make_content_error(f"no JSON: {str(error)[:100]}", "/Carried") from None


def _make_table(pairs: list[tuple[str, Any]]) -> CarriedContent:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return table


def _read_element_order(schema: bytes) -> dict[tuple[str, ...], list[str]]:
    """Return the names of the elements below each element of a schema, in their order."""
    orders: dict[tuple[str, ...], list[str]] = {}
    top = etree.fromstring(schema)
    for element in top.iter(f"{_XSD}element"):
        ancestors = [ancestor.get("name", "") for ancestor in element.iterancestors(f"{_XSD}element")]
        names = orders.setdefault(tuple(reversed(ancestors)), [])
        if element.get("name", "") not in names:
            names.append(element.get("name", ""))
    return orders


def load_carried_format(
    agency: str, schemas: Traversable, mappings: Traversable, layouts: Traversable | None
) -> CarriedFormat | None:
    """Return the format that ``carriers.yaml`` names for an agency; None where it speaks XML.

    `layouts` is a folder with one file NAME.json for each document and notice; raises GW808 when the agency
    speaks fixed records and there is none, and for data that cannot be read.
    """
    syntax = _read_syntax(agency, mappings.joinpath("carriers.yaml"))
    if syntax == "xml":
        return None
    if syntax == "fixed" and layouts is None:
        raise GatewayError(MISUSE, f"{agency} speaks fixed records: give the folder of layouts", "--layouts")
    files = sorted(_list_layout_files(layouts), key=lambda path: path.name) if layouts is not None else []
    read = {path.name.removesuffix(".json"): _read_layout(path) for path in files}
    return CarriedFormat(syntax, schemas.joinpath("agencies", agency), read)


def _read_syntax(agency: str, file: Traversable) -> str:
    if not file.is_file():
        return "xml"
    try:
        settings: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        syntax = settings["carriers"].get(agency, {"form": "xml"})["form"]
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise GatewayError(MISUSE, f"no forms of organisations: {str(error)[:200]}", str(file)) from None
    if syntax not in _SYNTAXES:
        raise GatewayError(MISUSE, f"a form must be one of {', '.join(_SYNTAXES)}", str(file))
    return str(syntax)


def _list_layout_files(layouts: Traversable) -> list[Traversable]:
    try:
        return [path for path in layouts.iterdir() if path.name.endswith(".json")]
    except OSError as error:
        raise GatewayError(MISUSE, f"the layouts cannot be read: {error}"[:300], "--layouts") from None


def _read_layout(file: Traversable) -> Any:
    """Return a printed layout; raise GW808 for a file that is none."""
    try:
        layout: Any = json.loads(file.read_bytes())
    except ValueError:
        layout = None
    if not isinstance(layout, dict) or not layout.keys() >= _LAYOUT or not layout["records"]:
        raise GatewayError(MISUSE, "this is no layout of `gateway map render --layout`", str(file))
    return layout
