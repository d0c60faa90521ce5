"""Carries a document in the form of an organisation, and reads it back: ``read(write(x)) = x``.

Only the document itself is written: the octets are a function of it, so they disclose nothing that it does
not. Every document is read back when it is written; one that does not come back the same is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_UNKNOWN, GatewayError
from gateway.harmonize.carriers.document_nodes import DocumentNode, make_notice_node, make_request_node
from gateway.harmonize.carriers.fixed_form import list_record_problems, read_records, write_records
from gateway.harmonize.carriers.json_form import read_json, write_json
from gateway.harmonize.carriers.plain_values import build_element, make_carried_error, make_plain_value
from gateway.harmonize.carriers.record_layout import (
    CONTINUATION,
    COUNT_WIDTH,
    HEAD,
    NAME_WIDTH,
    TAIL,
    describe_record_type,
    make_record_layout,
)
from gateway.harmonize.language import XML_FORM, CarrierForm, MappingBundle
from gateway.wire import canonicalize_element, parse_xml

__all__ = [
    "CarriedDocument",
    "describe_layout",
    "find_carried_document",
    "get_carrier_form",
    "list_uncarried_values",
    "read_carried",
    "write_carried",
]

#: So many values of one request are told: the place of each is looked up.
_MOST: Final = 20
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
    document, notice = bundle.documents.get(name), bundle.notices.notices.get(name)
    if document is not None:
        return CarriedDocument(name, document.namespace, make_request_node([document.root]))
    if notice is not None:
        return CarriedDocument(name, notice.namespace, make_notice_node([notice.root]))
    raise GatewayError(DOCUMENT_UNKNOWN, f"the mappings have no document {name[:60]!r}", "document")


def get_carrier_form(bundle: MappingBundle, organisation: str) -> CarrierForm:
    """Return the form in which the system of an organisation speaks: XML where the mappings say nothing."""
    return bundle.carriers.get(organisation, XML_FORM)


def write_carried(root: etree._Element, document: CarriedDocument, form: CarrierForm) -> bytes:
    """Return the document `root` in a form; raise GW718 with the place that the form cannot carry."""
    if form.form == "xml":
        return etree.tostring(root, encoding="utf-8", xml_declaration=True, with_tail=False)
    if root.tag != f"{{{document.namespace}}}{document.node.name}":
        raise make_carried_error(f"this is no {document.name}", f"/{etree.QName(root).localname}")
    value = make_plain_value(document.node, root, f"/{document.node.name}")
    if form.form == "json":
        octets = write_json(document.name, document.node, value, exact=form.numbers == "exact")
    else:
        octets = write_records(document.name, make_record_layout(document.node, form), value, form)
    if _canonicalize(read_carried(octets, document, form)) != _canonicalize(root):
        raise make_carried_error("an element without content cannot be carried", f"/{document.node.name}")
    return octets


def list_uncarried_values(
    bundle: MappingBundle, request: tuple[str, str], root: etree._Element, *, whole: bool = True
) -> list[GatewayError]:
    """Return GW718 for the values of a request that the form of its agency cannot carry, the first of many.

    `request` is the organisation and the document. Each names its place in the request. One that is not
    `whole` is not written: only its values are looked at, each for itself.
    """
    form = get_carrier_form(bundle, request[0])
    if form.form == "xml":
        return []
    document, found = find_carried_document(bundle, request[1]), []
    if form.form == "fixed":
        try:
            value = make_plain_value(document.node, root, f"/{document.node.name}")
            found = list_record_problems(make_record_layout(document.node, form), value, form)
        except GatewayError:
            if whole:
                raise
    if not found and whole:
        try:
            write_carried(root, document, form)
        except GatewayError as error:
            found = [error]
    return found[:_MOST]


def _canonicalize(root: etree._Element) -> bytes:
    """Return the canonical octets of a document without comments and the white space between its elements."""
    alone = etree.fromstring(etree.tostring(root, with_tail=False), _PARSER)
    for one in alone.iter(etree.Element):
        one.tail = None
        if len(one):
            one.text = None
    return canonicalize_element(alone, exclusive=True)


def read_carried(octets: bytes, document: CarriedDocument, form: CarrierForm) -> etree._Element:
    """Return the document that was carried; raise GW718 with the place of what does not fit."""
    if form.form == "xml":
        return parse_xml(octets)
    if form.form == "json":
        value = read_json(octets, document.name, document.node)
    else:
        value = read_records(octets, document.name, make_record_layout(document.node, form), form)
    return build_element(document.node, value, document.namespace, f"/{document.node.name}")


def describe_layout(document: CarriedDocument, form: CarrierForm) -> dict[str, Any]:
    """Return the layout of a document as fixed records, as data: what a programmer needs."""
    layout = make_record_layout(document.node, form)
    return {
        "document": document.name,
        "charset": form.charset,
        "end": form.end.decode(),
        "head": HEAD.decode(),
        "name": NAME_WIDTH,
        "continuation": {"type": CONTINUATION.decode(), "field": 3, "size": 4, "octets": form.longest},
        "tail": TAIL.decode(),
        "count": COUNT_WIDTH,
        "records": [describe_record_type(one) for one in layout.walk_types()],
    }
