"""Writes the XML schemas of a document from its mapping: for the request and for the unique fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.generator.notice_schemas import generate_notice_schemas
from gateway.harmonize.language import DocumentMapping, MappingBundle, MergedElement, merge_variants
from gateway.harmonize.types import UniqueField, ValueShape, write_simple_type
from gateway.wire import SUB

__all__ = [
    "generate_schemas",
    "get_request_schema",
    "write_application_schema",
    "write_fields_schema",
    "write_request_schema",
]

_WHOLE_MOST: Final = 999


@dataclass(slots=True)
class _SchemaTypes:
    """The named simple types of one schema, one for each shape."""

    names: dict[ValueShape, str] = field(default_factory=dict)
    unions: dict[tuple[str, ...], str] = field(default_factory=dict)
    rules: int = 0

    def get_type_name(self, shape: ValueShape, wanted: str) -> str:
        """Return the name of the type of `shape`; a new one is made from `wanted`."""
        if shape not in self.names:
            self.names[shape] = self._find_free_name(f"{wanted}Type")
        return f"doc:{self.names[shape]}"

    def get_union_name(self, shapes: tuple[ValueShape, ...], wanted: str) -> str:
        """Return the name of a type that accepts each value that one of `shapes` accepts."""
        if len(shapes) == 1:
            return self.get_type_name(shapes[0], wanted)
        if all(shape.codes is not None for shape in shapes):
            codes = tuple(dict.fromkeys(code for shape in shapes for code in shape.codes or ()))
            return self.get_type_name(ValueShape("text", codes=codes), wanted)
        bare = ValueShape()
        if all(replace(shape, longest=None, octets=None, charset=bare.charset) == bare for shape in shapes):
            return self.get_type_name(_get_widest_shape(shapes), wanted)
        members = tuple(self.get_type_name(shape, wanted) for shape in shapes)
        if members not in self.unions:
            self.unions[members] = self._find_free_name(f"{wanted}AnyType")
        return f"doc:{self.unions[members]}"

    def _find_free_name(self, wanted: str) -> str:
        """Return `wanted`, or the first name made from it that is not taken."""
        taken = {*self.names.values(), *self.unions.values()}
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}{number}", number + 1
        return name

    def make_rule_name(self, wanted: str) -> str:
        """Return a new name for an ``xs:unique`` rule, unique in the schema."""
        self.rules += 1
        return f"{wanted}Once" if self.rules == 1 else f"{wanted}Once{self.rules}"

    def list_declarations(self) -> list[str]:
        """Return the lines of the type declarations."""
        found = []
        for shape, name in self.names.items():
            first, *rest = write_simple_type(shape, "  ")
            found += [first.replace("<xs:simpleType>", f'<xs:simpleType name="{name}">'), *rest]
        for members, name in self.unions.items():
            union = f'<xs:union memberTypes="{" ".join(members)}"/>'
            found.append(f'  <xs:simpleType name="{name}">{union}</xs:simpleType>')
        return found


def _get_widest_shape(shapes: tuple[ValueShape, ...]) -> ValueShape:
    bounds = [shape.longest if shape.longest is not None else shape.octets for shape in shapes]
    known = [bound for bound in bounds if bound is not None]
    return ValueShape("text", longest=max(known) if len(known) == len(bounds) else None)


def generate_schemas(bundle: MappingBundle) -> dict[str, str]:
    """Return every generated schema of a bundle, by its path below ``xsd/agencies``."""
    files = {}
    for document in bundle.documents.values():
        fields = f"{document.schema_stem}-fields.xsd"
        files[f"{document.schema_stem}.xsd"] = write_request_schema(document)
        files[fields] = write_fields_schema(document)
        files[f"{document.schema_stem}-application.xsd"] = write_application_schema(
            document, fields.rpartition("/")[2]
        )
    return files | generate_notice_schemas(bundle.notices)


def get_request_schema(bundle: MappingBundle, document: DocumentMapping) -> bytes:
    """Return the schema of the requests of a document as octets, written at its first use."""
    return bundle.get_compiled(
        f"schema:{document.id}", lambda: write_request_schema(document).encode("utf-8")
    )


def write_request_schema(document: DocumentMapping) -> str:
    """Return the schema of the request: closed, ordered, with a type for every value."""
    types = _SchemaTypes()
    body = _write_element(merge_variants(document.root), "  ", types, top=True)
    head = _write_opening(
        document.namespace, f"{document.en} ({document.ko}): the request to the organisation."
    )
    return "\n".join([*head, *body, *types.list_declarations(), "</xs:schema>", ""])


def write_fields_schema(document: DocumentMapping) -> str:
    """Return the schema of the unique fields, in their recommended order, as type ``Fields``."""
    types = _SchemaTypes()
    header = [ask for ask in document.asks if ask.per == "application"]
    items = [ask for ask in document.asks if ask.per == "item"]
    lines = ['  <xs:complexType name="Fields">', "    <xs:sequence>"]
    lines += [line for ask in header for line in _write_field(ask, "      ", types)]
    if items:
        least = 1 if any(ask.requirement.mandatory and not ask.shared for ask in items) else 0
        lines.append(f'      <xs:element name="Item"{_format_occurrence(least, _WHOLE_MOST)}>')
        lines += ["        <xs:complexType>", "          <xs:sequence>"]
        lines += [line for ask in items for line in _write_field(ask, "            ", types)]
        lines += ["          </xs:sequence>"]
        lines += ['          <xs:attribute name="sequence" type="xs:positiveInteger" use="required"/>']
        lines += ["        </xs:complexType>", "      </xs:element>"]
    lines += ["    </xs:sequence>", "  </xs:complexType>"]
    head = _write_opening(
        document.namespace, f"{document.en} ({document.ko}): the fields asked of the applicant."
    )
    return "\n".join([*head, *lines, *types.list_declarations(), "</xs:schema>", ""])


def write_application_schema(document: DocumentMapping, fields_file: str) -> str:
    """Return the schema of the submission's ``Fields`` element for this document."""
    lines = _write_opening(SUB, f"The Fields of an application for {document.id}.", document.namespace)
    lines.append(f'  <xs:import namespace="{document.namespace}" schemaLocation={quoteattr(fields_file)}/>')
    lines.append('  <xs:element name="Fields" type="doc:Fields"/>')
    return "\n".join([*lines, "</xs:schema>", ""])


def _write_opening(namespace: str, text: str, other: str = "") -> list[str]:
    return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Made from the mapping by `gateway map build`; change the mapping, not this file. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="{other or namespace}"',
        f'           targetNamespace="{namespace}" elementFormDefault="qualified">',
        f"  <xs:annotation><xs:documentation>{escape(text)}</xs:documentation></xs:annotation>",
    ]


def _format_occurrence(low: int, high: int) -> str:
    text = "" if low == 1 else f' minOccurs="{low}"'
    return text if high == 1 else f'{text} maxOccurs="{high}"'


def _write_element(
    merged: MergedElement, indent: str, types: _SchemaTypes, *, top: bool = False
) -> list[str]:
    occurs = "" if top else _format_occurrence(merged.low, merged.high)
    if merged.shapes or merged.empty:
        return _write_leaf(merged, occurs, indent, types)
    lines = [f"{indent}    <xs:sequence>"]
    lines += [line for child in merged.children for line in _write_element(child, indent + "      ", types)]
    lines.append(f"{indent}    </xs:sequence>")
    lines += _write_attributes(merged, indent + "    ", types)
    opening, kind, *inner, closing, end = _write_complex_type(merged.name, occurs, lines, indent)
    rules = [line for child in merged.children for line in _write_unique_rules(child, indent + "  ", types)]
    return [opening, kind, *inner, closing, *rules, end]


def _write_leaf(merged: MergedElement, occurs: str, indent: str, types: _SchemaTypes) -> list[str]:
    if merged.empty:
        return _write_complex_type(
            merged.name, occurs, _write_attributes(merged, indent + "    ", types), indent
        )
    kind = types.get_union_name(merged.shapes, merged.name)
    inner = _write_attributes(merged, indent + "        ", types)
    if not inner:
        return [f'{indent}<xs:element name="{merged.name}" type="{kind}"{occurs}/>']
    opening = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{kind}">']
    closing = [f"{indent}      </xs:extension>", f"{indent}    </xs:simpleContent>"]
    return _write_complex_type(merged.name, occurs, [*opening, *inner, *closing], indent)


def _write_attributes(merged: MergedElement, indent: str, types: _SchemaTypes) -> list[str]:
    lines = []
    for one in merged.fields:
        use = ' use="required"' if one.required else ""
        kind = types.get_union_name(one.shapes, one.name[:1].upper() + one.name[1:])
        lines.append(f'{indent}<xs:attribute name="{one.name}" type="{kind}"{use}/>')
    for name, values in merged.fixed:
        kind = types.get_type_name(ValueShape("text", codes=values), f"{merged.name}Kind")
        lines.append(f'{indent}<xs:attribute name="{name}" type="{kind}" use="required"/>')
    return lines


def _write_complex_type(name: str, occurs: str, inner: list[str], indent: str) -> list[str]:
    return [
        f'{indent}<xs:element name="{name}"{occurs}>',
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        f"{indent}</xs:element>",
    ]


def _write_unique_rules(merged: MergedElement, indent: str, types: _SchemaTypes) -> list[str]:
    """Return the ``xs:unique`` rule that each variant of an element occurs at most once."""
    if not merged.once:
        return []
    return [
        f'{indent}<xs:unique name="{types.make_rule_name(merged.name)}">',
        f'{indent}  <xs:selector xpath="doc:{merged.name}"/>',
        *(
            f'{indent}  <xs:field xpath="{place if place.startswith("@") else f"doc:{place}"}"/>'
            for place in merged.once
        ),
        f"{indent}</xs:unique>",
    ]


def _write_field(ask: UniqueField, indent: str, types: _SchemaTypes) -> list[str]:
    low, high = max(ask.repeat[0], 1), max(ask.repeat[1], 1)
    # A shared field may stand in another application.  An optional field has its minimum number or none.
    if ask.requirement.mandatory and not ask.shared:
        return _write_answer(ask, _format_occurrence(low, high), indent, types)
    if low == 1:
        return _write_answer(ask, _format_occurrence(0, high), indent, types)
    inner = _write_answer(ask, _format_occurrence(low, high), indent + "  ", types)
    return [f'{indent}<xs:sequence minOccurs="0">', *inner, f"{indent}</xs:sequence>"]


def _write_answer(ask: UniqueField, occurs: str, indent: str, types: _SchemaTypes) -> list[str]:
    if ask.type == "group":
        inner = [line for member in ask.fields for line in _write_field(member, indent + "      ", types)]
        lines = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>"]
        return _write_complex_type(ask.tag, occurs, lines, indent)
    if ask.attribute is None:
        return [
            f'{indent}<xs:element name="{ask.tag}" type="{types.get_type_name(ask.shape, ask.tag)}"{occurs}/>'
        ]
    kind = types.get_type_name(ask.attribute_shape, ask.tag + ask.attribute[:1].upper() + ask.attribute[1:])
    use = "" if ask.fixed_unit is not None else ' use="required"'
    attribute = f'<xs:attribute name="{ask.attribute}" type="{kind}"{use}/>'
    if ask.type == "attachment":
        return _write_complex_type(ask.tag, occurs, [f"{indent}    {attribute}"], indent)
    base = types.get_type_name(ask.shape, ask.tag)
    lines = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{base}">']
    lines += [
        f"{indent}        {attribute}",
        f"{indent}      </xs:extension>",
        f"{indent}    </xs:simpleContent>",
    ]
    return _write_complex_type(ask.tag, occurs, lines, indent)
