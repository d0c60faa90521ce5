"""Reads the WSDL 1.1 documents of the gateway: operations, actions, and the schema inside.

Only the form that the gateway itself writes is supported: document/literal wrapped, SOAP 1.1,
one port, ``wsam:Action`` on every message, one schema for the wrappers. Schemas of documents
below a wildcard are imported for other readers; this module leaves them out, because a
document is validated before it is passed here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from lxml import etree

from gateway.errors import (
    DOCUMENT_INVALID,
    SETTINGS_WRONG,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.wire.element_access import build_xpath
from gateway.wire.namespaces import WSAM, WSDL, XSD
from gateway.wire.schema_sets import compile_schema
from gateway.wire.schema_validation import find_violation
from gateway.wire.xml import serialize_element
from gateway.wire.xml_prescan import prescan_xml

_NAMESPACES: Final = {"wsdl": WSDL, "xsd": XSD}
_SCHEMA_START: Final = (
    '<xs:schema targetNamespace="urn:single-window:agency:1" elementFormDefault="qualified">'
)
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)


@dataclass(frozen=True, slots=True)
class WsdlOperation:
    """One operation: its name, the wrapper elements in Clark notation, and their actions.

    `open_part` is the child of the request that contains an agency document, None without
    one. `open_part_attributes` are the names of the attributes that this child may have.
    """

    name: str
    request: str
    response: str
    action: str
    reply_action: str
    open_part: str | None = None
    open_part_attributes: frozenset[str] = frozenset()


class BodySchema:
    """The schema of a WSDL's wrapper elements, compiled once; safe to share between threads."""

    def __init__(self, schema: etree._Element) -> None:
        # Serialized and parsed again: a copy of a sub-tree loses the prefixes that only its values use.
        schema_copy = etree.fromstring(serialize_element(schema), _PARSER)
        for import_element in schema_copy.findall(f"{{{XSD}}}import"):
            schema_copy.remove(import_element)
        # Documents below the wildcard were validated before; "skip" keeps their schemas out of this one.
        for wildcard in schema_copy.iter(f"{{{XSD}}}any"):
            wildcard.set("processContents", "skip")
        self._schema = compile_schema(serialize_element(schema_copy))
        self._lock = threading.Lock()  # the error log belongs to the schema, not to the call

    def validate_element(self, element: etree._Element) -> None:
        """Raise GW402 with the first violation unless `element` is valid."""
        with self._lock:
            violation = find_violation(self._schema, element)
        if violation is not None:
            raise GatewayError(
                DOCUMENT_INVALID, violation.message[:300], _locate_violation(element, violation.path or "/")
            )


def _locate_violation(element: etree._Element, path: str) -> str:
    """Return the XPath in its document of the violation at `path`, which starts at `element` as root."""
    relative_paths = path.split("/", 2)[2:]
    prefixes = {prefix: uri for prefix, uri in element.nsmap.items() if prefix}
    try:
        elements: Any = element.xpath(relative_paths[0], namespaces=prefixes) if relative_paths else [element]
    except etree.XPathError:  # a prefix that is declared further down
        elements = []
    return build_xpath(elements[0] if elements else element)[:300]


@dataclass(frozen=True, slots=True)
class ServiceDescription:
    """The content of a WSDL: operations by name, the schema, the namespaces allowed below the wildcard."""

    namespace: str
    operations: Mapping[str, WsdlOperation]
    schema: BodySchema
    document_namespaces: frozenset[str]

    def find_by_request(self, tag: str) -> WsdlOperation | None:
        """Return the operation whose request element is `tag` (Clark notation)."""
        return next((operation for operation in self.operations.values() if operation.request == tag), None)


def read_wsdl(data: bytes) -> ServiceDescription:
    """Read a WSDL; raise GW801 when it does not have the supported form."""
    try:
        return _read_description(_parse_wsdl(data))
    except (etree.LxmlError, LookupError, ValueError, StopIteration) as problem:
        raise_resource_problem(problem)
        raise GatewayError(
            SETTINGS_WRONG, f"the WSDL cannot be read: {describe_exception(problem)}"
        ) from problem


def _parse_wsdl(data: bytes) -> etree._Element:
    try:
        # A WSDL may come from an unknown source: a document type or excessive markup is rejected.
        prescan_xml(data)
        return etree.fromstring(data, _PARSER)
    except (GatewayError, etree.LxmlError) as problem:
        raise_resource_problem(problem)
        raise GatewayError(
            SETTINGS_WRONG, f"the WSDL cannot be read: {describe_exception(problem)}"
        ) from problem


def remove_schema_imports(data: bytes) -> bytes:
    """Return the WSDL without its schema imports; documents below a wildcard are sent without them."""
    root = _parse_wsdl(data)
    for schema in root.iterfind("wsdl:types/xsd:schema", _NAMESPACES):
        for import_element in schema.findall("xsd:import", _NAMESPACES):
            schema.remove(import_element)
    return serialize_element(root)


def find_document_schemas(data: bytes) -> dict[str, bytes | str]:
    """Return the schemas of a WSDL, without that of its wrappers, by namespace: octets, or a location.

    A location is the schemaLocation as the WSDL writes it. Raises GW801 for octets that are no WSDL.
    """
    root = _parse_wsdl(data)
    schemas: dict[str, bytes | str] = {}
    for schema in root.iterfind("wsdl:types/xsd:schema", _NAMESPACES):
        for import_element in schema.iterfind("xsd:import", _NAMESPACES):
            schemas.setdefault(import_element.get("namespace", ""), import_element.get("schemaLocation", ""))
        if schema.get("targetNamespace") != root.get("targetNamespace"):
            schemas[schema.get("targetNamespace", "")] = serialize_element(schema)
    return schemas


def bind_document_namespaces(
    template: bytes, organisation: str, schema_locations: Mapping[str, str]
) -> bytes:
    """Return the WSDL template with its wildcard bound to the namespaces of an organisation's documents.

    `schema_locations` maps each namespace to the location of its schema, relative to the result.
    """
    if not schema_locations:
        raise GatewayError(SETTINGS_WRONG, f"{organisation[:40]} has no document to bind")
    names = " ".join(sorted(schema_locations))
    imports = "".join(
        f"\n      <xs:import namespace={quoteattr(name)} schemaLocation={quoteattr(schema_locations[name])}/>"
        for name in sorted(schema_locations)
    )
    bound_wsdl = template.decode("utf-8")
    for old_text, new_text in (
        ('<xs:any namespace="##other" ', f"<xs:any namespace={quoteattr(names)} "),
        (_SCHEMA_START, _SCHEMA_START + imports),
        (
            'location="http://localhost/agency"',
            f"location={quoteattr('http://localhost/agency/' + organisation)}",
        ),
    ):
        if bound_wsdl.count(old_text) != 1:
            raise GatewayError(SETTINGS_WRONG, f"the WSDL template has no {old_text.strip()!r}")
        bound_wsdl = bound_wsdl.replace(old_text, new_text)
    return bound_wsdl.encode("utf-8")


def _read_description(root: etree._Element) -> ServiceDescription:
    """Return the operations of a WSDL and the schema of its namespace; raise ValueError if unsupported."""
    namespace = _get_attribute(root, "targetNamespace")
    schemas = root.findall("wsdl:types/xsd:schema", _NAMESPACES)
    schema = next(candidate for candidate in schemas if candidate.get("targetNamespace") == namespace)
    if next(schema.iter(f"{{{XSD}}}include", f"{{{XSD}}}redefine"), None) is not None:
        raise ValueError("its schema includes another file")
    elements_by_message = {
        _get_attribute(
            message, "name"
        ): f"{{{namespace}}}{_get_local_name(_get_attribute(message[0], 'element'))}"
        for message in root.findall("wsdl:message", _NAMESPACES)
    }
    operation_elements = root.findall("wsdl:portType/wsdl:operation", _NAMESPACES)
    operations = [_read_operation(element, elements_by_message, schema) for element in operation_elements]
    if not operations:
        raise ValueError("it has no operations")
    return ServiceDescription(
        namespace=namespace,
        operations={operation.name: operation for operation in operations},
        schema=BodySchema(schema),
        document_namespaces=frozenset(
            name
            for wildcard in schema.iter(f"{{{XSD}}}any")
            for name in wildcard.get("namespace", "").split()
        ),
    )


def _read_operation(
    element: etree._Element, elements_by_message: Mapping[str, str], schema: etree._Element
) -> WsdlOperation:
    """Return one operation; `elements_by_message` has the element of each message in Clark notation."""
    wsdl_input, wsdl_output = (
        element.find("wsdl:input", _NAMESPACES),
        element.find("wsdl:output", _NAMESPACES),
    )
    if wsdl_input is None or wsdl_output is None:
        raise ValueError("an operation needs an input and an output")
    request = elements_by_message[_get_local_name(_get_attribute(wsdl_input, "message"))]
    open_part, content = _find_open_part(schema, etree.QName(request).localname)
    return WsdlOperation(
        name=_get_attribute(element, "name"),
        request=request,
        response=elements_by_message[_get_local_name(_get_attribute(wsdl_output, "message"))],
        action=_get_attribute(wsdl_input, f"{{{WSAM}}}Action"),
        reply_action=_get_attribute(wsdl_output, f"{{{WSAM}}}Action"),
        open_part=open_part,
        open_part_attributes=frozenset(
            attribute.get("name", "")
            for attribute in (() if content is None else content.findall("xsd:attribute", _NAMESPACES))
        ),
    )


def _find_open_part(schema: etree._Element, wrapper: str) -> tuple[str, etree._Element] | tuple[None, None]:
    """Return the name and the type of the wrapper's child whose type is a wildcard."""
    complex_types = schema.findall("xsd:complexType", _NAMESPACES)
    wildcards = {
        complex_type.get("name"): complex_type
        for complex_type in complex_types
        if complex_type.find(".//xsd:any", _NAMESPACES) is not None
    }
    for child in schema.iterfind(f"xsd:element[@name='{wrapper}']//xsd:element", _NAMESPACES):
        content = wildcards.get(_get_local_name(child.get("type", "")))
        if content is not None:
            return _get_attribute(child, "name"), content
    return None, None


def _get_attribute(element: etree._Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise LookupError(f"{element.tag} has no {name}")
    return value


def _get_local_name(name: str) -> str:
    return name.rpartition(":")[2]
