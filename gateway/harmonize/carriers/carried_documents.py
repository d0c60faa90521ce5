"""Carries a document in the format of an organisation, and reads it back: ``read(write(x)) = x``.

Only the document itself is written: the octets are a function of it, so they disclose nothing that it does
not. Every document is read back when it is written; one that does not come back the same is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_UNKNOWN, GatewayError
from gateway.harmonize.carriers.fixed_records import (
    CONTINUATION,
    COUNT_WIDTH,
    FIELD_DIGITS,
    HEAD,
    NAME_WIDTH,
    SIZE_DIGITS,
    TAIL,
    describe_record_type,
    list_record_problems,
    make_record_layout,
    read_records,
    write_records,
)
from gateway.harmonize.carriers.plain_values import (
    TEXT,
    DocumentNode,
    PlainValue,
    build_element,
    is_numeric,
    make_carried_error,
    make_notice_node,
    make_plain_value,
    make_request_node,
)
from gateway.harmonize.language import XML_FORMAT, CarrierFormat, DocumentMapping, MappingBundle
from gateway.wire import canonicalize_element, parse_xml, serialize_element

#: A number as JSON writes it, without exponent: its literal is the text of the value, digit by digit.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,59})(?:\.[0-9]{1,60})?")
#: The whole document, as RFC 6901 section 6 writes the pointer to it.
_WHOLE: Final = "#"
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode


def write_json(document: str, node: DocumentNode, value: PlainValue, *, writes_numbers: bool) -> bytes:
    """Return the JSON of a document; with `writes_numbers` numbers are numbers, else strings."""
    text = _write_value(node, value, writes_numbers=writes_numbers)
    return f'{{"document":{_encode(document)},{_encode(node.name)}:{text}}}\n'.encode()


def _write_value(node: DocumentNode, value: PlainValue, *, writes_numbers: bool) -> str:
    """Return the plain value of an element as JSON; with `writes_numbers`, numeric texts as JSON numbers."""
    if node.is_leaf and not node.attributes:
        return _write_text(value, writes_numbers and node.has_number_text)
    parts = []
    for name, member in value.items():
        if name == TEXT:
            text = _write_text(member, writes_numbers and node.has_number_text)
        elif name.startswith("@"):
            text = _write_text(member, writes_numbers and is_numeric(node.attributes[name[1:]]))
        elif isinstance(member, list):
            rows = (_write_value(node.children[name], row, writes_numbers=writes_numbers) for row in member)
            text = f"[{','.join(rows)}]"
        else:
            text = _write_value(node.children[name], member, writes_numbers=writes_numbers)
        parts.append(f"{_encode(name)}:{text}")
    return f"{{{','.join(parts)}}}"


def _write_text(text: str, writes_numbers: bool) -> str:
    """Return a text as JSON: with `writes_numbers` a number without exponent as a JSON number, else a string.

    `read_json` reads both alike.
    """
    return text if writes_numbers and _NUMBER.fullmatch(text) else _encode(text)


def read_json(octets: bytes, document: str, node: DocumentNode) -> PlainValue:
    """Return the plain value of the root; raise GW718 for octets that are no JSON of this document."""
    try:
        parsed: Any = json.loads(
            octets.decode("utf-8"),
            object_pairs_hook=_make_table,
            parse_int=str,
            parse_float=str,
            parse_constant=_Constant,
        )
    except UnicodeDecodeError as error:
        raise make_carried_error("the octets are no UTF-8", f"octet {error.start}") from error
    except json.JSONDecodeError as error:
        raise make_carried_error(
            f"no JSON: {error.msg}", f"line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise make_carried_error("the JSON is too deep", _WHOLE) from error
    _reject_faults(parsed)
    if not isinstance(parsed, dict) or set(parsed) != {"document", node.name}:
        raise make_carried_error(f"an object with document and {node.name} is expected", _WHOLE)
    if parsed["document"] != document:
        raise make_carried_error(f"the document is not {document}", "/document")
    return parsed[node.name]


class _Table(dict[str, Any]):
    """A JSON object; `repeated` is the first name that occurs twice in it, None where each occurs once."""

    repeated: str | None = None


class _Constant(str):
    """A word that is no number: NaN or Infinity."""


def _make_table(pairs: list[tuple[str, Any]]) -> _Table:
    table = _Table(pairs)
    if len(table) != len(pairs):
        table.repeated = _find_repeated(pairs)
    return table


def _find_repeated(pairs: list[tuple[str, Any]]) -> str:
    """Return the first name that occurs a second time, in one pass: an object may have many names."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _reject_faults(parsed: Any) -> None:
    """Raise GW718 for a name that occurs twice in one object, or for NaN or Infinity, at any depth.

    The location of the problem is the JSON pointer of the name or the constant.
    """
    waiting = [("", parsed)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, _Table):
            if value.repeated is not None:
                raise make_carried_error(
                    "a name stands twice in one object", f"{pointer}/{_escape(value.repeated)}"
                )
            waiting += [(f"{pointer}/{_escape(name)}", member) for name, member in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{number}", entry) for number, entry in enumerate(value)]
        elif isinstance(value, _Constant):
            raise make_carried_error(f"{value} is no number", pointer or _WHOLE)


def _escape(name: str) -> str:
    """Return the start of a name as a part of a JSON pointer (RFC 6901 section 3)."""
    return name[:60].replace("~", "~0").replace("/", "~1")


#: The most values of one request that are reported: the place of each is looked up.
_MAX_REPORTED_PROBLEMS: Final = 20
_PARSER: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
)


@dataclass(frozen=True, slots=True)
class CarriedDocument:
    """A document or a notice as it can be carried: its name, its namespace, its elements."""

    name: str
    namespace: str
    node: DocumentNode


def find_carried_document(bundle: MappingBundle, name: str) -> CarriedDocument:
    """Return the document or the notice `name` of the mappings; raise GW401 for an unknown one."""
    return bundle.get_compiled(f"carried:{name}", lambda: _make_carried_document(bundle, name))


def _make_carried_document(bundle: MappingBundle, name: str) -> CarriedDocument:
    """Return the document or notice `name` with its elements; raise GW401 if the mappings have neither."""
    document, notice = bundle.documents.get(name), bundle.notices.notices.get(name)
    if document is not None:
        return CarriedDocument(name, document.namespace, make_request_node([document.root]))
    if notice is not None:
        return CarriedDocument(name, notice.namespace, make_notice_node([notice.root]))
    raise GatewayError(DOCUMENT_UNKNOWN, f"the mappings have no document {name[:60]!r}", "document")


def get_carrier_format(bundle: MappingBundle, organisation: str) -> CarrierFormat:
    """Return the format in which the system of an organisation speaks: XML where the mappings say nothing."""
    return bundle.carriers.get(organisation, XML_FORMAT)


def write_carried(root: etree._Element, document: CarriedDocument, carrier_format: CarrierFormat) -> bytes:
    """Return the document `root` in a format; raise GW718 with the place that the format cannot carry."""
    if carrier_format.syntax == "xml":
        return etree.tostring(root, encoding="utf-8", xml_declaration=True, with_tail=False)
    if root.tag != f"{{{document.namespace}}}{document.node.name}":
        raise make_carried_error(f"this is no {document.name}", f"/{etree.QName(root).localname}")
    value = make_plain_value(document.node, root, f"/{document.node.name}")
    if carrier_format.syntax == "json":
        octets = write_json(
            document.name, document.node, value, writes_numbers=carrier_format.number_format == "exact"
        )
    else:
        octets = write_records(
            document.name, make_record_layout(document.node, carrier_format), value, carrier_format
        )
    if _canonicalize(read_carried(octets, document, carrier_format)) != _canonicalize(root):
        raise make_carried_error("an element without content cannot be carried", f"/{document.node.name}")
    return octets


def list_uncarried_values(
    bundle: MappingBundle, document: DocumentMapping, request: etree._Element, *, is_complete: bool = True
) -> list[GatewayError]:
    """Return GW718 for the values of a request that the format of its agency cannot carry, the first of many.

    `document` is the mapping that the request was written by. Each error names its place in the request.
    Without `is_complete`, the request is incomplete: it is not written, and each of its values is checked
    alone.
    """
    carrier_format = get_carrier_format(bundle, document.organisation)
    if carrier_format.syntax == "xml":
        return []
    carried, problems = find_carried_document(bundle, document.id), []
    if carrier_format.syntax == "fixed":
        try:
            value = make_plain_value(carried.node, request, f"/{carried.node.name}")
            problems = list_record_problems(
                make_record_layout(carried.node, carrier_format), value, carrier_format
            )
        except GatewayError:
            if is_complete:
                raise
    if not problems and is_complete:
        try:
            write_carried(request, carried, carrier_format)
        except GatewayError as error:
            problems = [error]
    return problems[:_MAX_REPORTED_PROBLEMS]


def _canonicalize(root: etree._Element) -> bytes:
    """Return the canonical octets of a document without comments and the white space between its elements."""
    alone = etree.fromstring(serialize_element(root), _PARSER)
    for element in alone.iter(etree.Element):
        element.tail = None
        if len(element):
            element.text = None
    return canonicalize_element(alone, exclusive=True)


def read_carried(octets: bytes, document: CarriedDocument, carrier_format: CarrierFormat) -> etree._Element:
    """Return the document that was carried; raise GW718 with the place of a value that does not fit."""
    if carrier_format.syntax == "xml":
        return parse_xml(octets)
    if carrier_format.syntax == "json":
        value = read_json(octets, document.name, document.node)
    else:
        value = read_records(
            octets, document.name, make_record_layout(document.node, carrier_format), carrier_format
        )
    return build_element(document.node, value, document.namespace, f"/{document.node.name}")


def describe_layout(document: CarriedDocument, carrier_format: CarrierFormat) -> dict[str, Any]:
    """Return the layout of a document in fixed records as plain data, for programmers of an agency.

    ``head`` and ``tail`` are the codes of the first and last record; ``name`` and ``count`` are the octets
    of the document name in the head and of the record count in the tail. In a continuation, ``field`` and
    ``size`` are the digits of the field number and of the size of the text.
    """
    layout = make_record_layout(document.node, carrier_format)
    return {
        "document": document.name,
        "charset": carrier_format.charset,
        "end": carrier_format.record_end.decode(),
        "head": HEAD.decode(),
        "name": NAME_WIDTH,
        "continuation": {
            "type": CONTINUATION.decode(),
            "field": FIELD_DIGITS,
            "size": SIZE_DIGITS,
            "octets": carrier_format.max_text_octets,
        },
        "tail": TAIL.decode(),
        "count": COUNT_WIDTH,
        "records": [describe_record_type(record_type) for record_type in layout.walk_types()],
    }
