"""Writes the files made from the mappings: XML schemas of requests, fields, notices; WSDLs; label tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.language import (
    DocumentMapping,
    MappingBundle,
    MergedElement,
    NoticeCatalog,
    NoticeElement,
    NoticeMapping,
    UniqueField,
    ValueShape,
    merge_variants,
    write_simple_type,
)
from gateway.wire import AT_MOST_ONCE, SUB, bind_document_namespaces

_MAX_ITEMS: Final = 999


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
    types = SchemaTypes()
    body = _write_element(merge_variants(document.root), "  ", types, top=True)
    head = write_opening(
        document.namespace, f"{document.en} ({document.ko}): the request to the organisation."
    )
    return "\n".join([*head, *body, *types.list_declarations(), "</xs:schema>", ""])


def write_fields_schema(document: DocumentMapping) -> str:
    """Return the schema of the unique fields, in their recommended order, as type ``Fields``."""
    types = SchemaTypes()
    header = [ask for ask in document.asks if ask.per == "application"]
    items = [ask for ask in document.asks if ask.per == "item"]
    lines = ['  <xs:complexType name="Fields">', "    <xs:sequence>"]
    lines += [line for ask in header for line in _write_field(ask, "      ", types)]
    if items:
        least = 1 if any(ask.requirement.mandatory and not ask.shared for ask in items) else 0
        lines.append(f'      <xs:element name="Item"{format_occurrence(least, _MAX_ITEMS)}>')
        lines += ["        <xs:complexType>", "          <xs:sequence>"]
        lines += [line for ask in items for line in _write_field(ask, "            ", types)]
        lines += ["          </xs:sequence>"]
        lines += ['          <xs:attribute name="sequence" type="xs:positiveInteger" use="required"/>']
        lines += ["        </xs:complexType>", "      </xs:element>"]
    lines += ["    </xs:sequence>", "  </xs:complexType>"]
    head = write_opening(
        document.namespace, f"{document.en} ({document.ko}): the fields asked of the applicant."
    )
    return "\n".join([*head, *lines, *types.list_declarations(), "</xs:schema>", ""])


def write_application_schema(document: DocumentMapping, fields_file: str) -> str:
    """Return the schema of the submission's ``Fields`` element for this document."""
    lines = write_opening(SUB, f"The Fields of an application for {document.id}.", document.namespace)
    lines.append(f'  <xs:import namespace="{document.namespace}" schemaLocation={quoteattr(fields_file)}/>')
    lines.append('  <xs:element name="Fields" type="doc:Fields"/>')
    return "\n".join([*lines, "</xs:schema>", ""])


def _write_element(merged: MergedElement, indent: str, types: SchemaTypes, *, top: bool = False) -> list[str]:
    """Return the lines of XML Schema for an element and all below it; the root (`top`) has no occurrence."""
    occurs = "" if top else format_occurrence(merged.low, merged.high)
    if merged.shapes or merged.has_no_text:
        return _write_leaf(merged, occurs, indent, types)
    lines = [f"{indent}    <xs:sequence>"]
    lines += [line for child in merged.children for line in _write_element(child, indent + "      ", types)]
    lines.append(f"{indent}    </xs:sequence>")
    lines += _write_attributes(merged, indent + "    ", types)
    rules = [line for child in merged.children for line in _write_unique_rules(child, indent + "  ", types)]
    return write_complex_type(merged.name, occurs, lines, indent, rules)


def _write_leaf(merged: MergedElement, occurs: str, indent: str, types: SchemaTypes) -> list[str]:
    """Return the lines of XML Schema for an element with a value, or with attributes only."""
    if merged.has_no_text:
        return write_complex_type(
            merged.name, occurs, _write_attributes(merged, indent + "    ", types), indent
        )
    kind = types.get_union_name(merged.shapes, merged.name)
    inner = _write_attributes(merged, indent + "        ", types)
    if not inner:
        return [f'{indent}<xs:element name="{merged.name}" type="{kind}"{occurs}/>']
    return write_value_type(merged.name, occurs, kind, inner, indent)


def _write_attributes(merged: MergedElement, indent: str, types: SchemaTypes) -> list[str]:
    """Return the lines of XML Schema for the attributes of an element, those with fixed values included."""
    lines = []
    for attribute in merged.fields:
        use = ' use="required"' if attribute.is_required else ""
        kind = types.get_union_name(attribute.shapes, attribute.name[:1].upper() + attribute.name[1:])
        lines.append(f'{indent}<xs:attribute name="{attribute.name}" type="{kind}"{use}/>')
    for name, values in merged.fixed:
        kind = types.get_type_name(ValueShape("text", codes=values), f"{merged.name}Kind")
        lines.append(f'{indent}<xs:attribute name="{name}" type="{kind}" use="required"/>')
    return lines


def _write_unique_rules(merged: MergedElement, indent: str, types: SchemaTypes) -> list[str]:
    """Return the ``xs:unique`` rule that each variant of an element occurs at most once."""
    if not merged.unique_xpaths:
        return []
    return [
        f'{indent}<xs:unique name="{types.make_rule_name(merged.name)}">',
        f'{indent}  <xs:selector xpath="doc:{merged.name}"/>',
        *(
            f'{indent}  <xs:field xpath="{path if path.startswith("@") else f"doc:{path}"}"/>'
            for path in merged.unique_xpaths
        ),
        f"{indent}</xs:unique>",
    ]


def _write_field(ask: UniqueField, indent: str, types: SchemaTypes) -> list[str]:
    """Return the lines of XML Schema for a field; it may be absent unless mandatory and not shared."""
    low, high = max(ask.repeat.low, 1), max(ask.repeat.high, 1)
    # A shared field may be in another application. An optional one occurs `low` times at least, or never.
    if ask.requirement.mandatory and not ask.shared:
        return _write_answer(ask, format_occurrence(low, high), indent, types)
    if low == 1:
        return _write_answer(ask, format_occurrence(0, high), indent, types)
    inner = _write_answer(ask, format_occurrence(low, high), indent + "  ", types)
    return [f'{indent}<xs:sequence minOccurs="0">', *inner, f"{indent}</xs:sequence>"]


def _write_answer(ask: UniqueField, occurs: str, indent: str, types: SchemaTypes) -> list[str]:
    """Return the lines of XML Schema for one element of a field: a group, an attachment or a value."""
    if ask.type == "group":
        inner = [line for member in ask.fields for line in _write_field(member, indent + "      ", types)]
        lines = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>"]
        return write_complex_type(ask.tag, occurs, lines, indent)
    if ask.attribute is None:
        return [
            f'{indent}<xs:element name="{ask.tag}" type="{types.get_type_name(ask.shape, ask.tag)}"{occurs}/>'
        ]
    kind = types.get_type_name(ask.attribute_shape, ask.tag + ask.attribute[:1].upper() + ask.attribute[1:])
    use = "" if ask.fixed_unit is not None else ' use="required"'
    attribute = f'<xs:attribute name="{ask.attribute}" type="{kind}"{use}/>'
    if ask.type == "attachment":
        return write_complex_type(ask.tag, occurs, [f"{indent}    {attribute}"], indent)
    base = types.get_type_name(ask.shape, ask.tag)
    return write_value_type(ask.tag, occurs, base, [f"{indent}        {attribute}"], indent)


def generate_all_files(bundle: MappingBundle, template: bytes) -> dict[str, bytes]:
    """Return every generated file of a bundle, by its path beside the data folders.

    `template` is the WSDL from which the WSDL of each organisation is made.
    """
    files = {f"xsd/agencies/{name}": text.encode("utf-8") for name, text in generate_schemas(bundle).items()}
    files |= {f"wsdl/agencies/{name}.wsdl": wsdl for name, wsdl in _generate_services(bundle, template)}
    for document in bundle.documents.values():
        files[f"mappings/labels/{document.schema_stem}.csv"] = _write_csv(document)
    return files


def _generate_services(bundle: MappingBundle, template: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each organisation with its WSDL, made from `template` for the schemas of its documents."""
    documents: dict[str, dict[str, str]] = {}
    for document in bundle.documents.values():
        schema = f"../../xsd/agencies/{document.schema_stem}.xsd"
        documents.setdefault(document.organisation, {})[document.namespace] = schema
    for organisation, bound in documents.items():
        yield organisation, bind_document_namespaces(template, organisation, bound)


def _write_csv(document: DocumentMapping) -> bytes:
    """Return the labels of a document as CSV with the columns kind, name, ko and en."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("kind", "name", "ko", "en"))
    writer.writerows(_list_labels(document))
    return table.getvalue().encode("utf-8")


def _list_labels(document: DocumentMapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield every label of a document: its kind, its name, the Korean and the English text."""
    yield "document", document.id, document.ko, document.en
    for need in document.needs:
        yield "declared", need.meaning.name, need.meaning.ko, need.meaning.en
    for ask in document.asks:
        yield from _list_field_labels(ask)
    for check in document.checks:
        yield "check", check.id, check.ko, check.en


def _list_field_labels(ask: UniqueField) -> Iterator[tuple[str, str, str, str]]:
    yield "asked", ask.name, ask.ko, ask.en
    for code, (ko, en) in ask.labels.items():
        yield "code", f"{ask.name}={code}", ko, en
    for member in ask.fields:
        yield from _list_field_labels(member)


def generate_notice_schemas(notices: NoticeCatalog) -> dict[str, str]:
    """Return the schema of every notice, by its path below ``xsd/agencies``."""
    return {f"notices/{notice.id}.xsd": write_notice_schema(notice) for notice in notices.notices.values()}


def write_notice_schema(notice: NoticeMapping) -> str:
    """Return the schema of one notice; only the reader checks lengths in octets."""
    types = SchemaTypes()
    body = _write_family([notice.root], "  ", types, top=True)
    text = f"{notice.en} ({notice.ko}): a notice of the {notice.sender}."
    return "\n".join(
        [*write_opening(notice.namespace, text), *body, *types.list_declarations(), "</xs:schema>", ""]
    )


def _format_family_occurrence(family: list[NoticeElement]) -> str:
    """Return the occurrence attributes of the elements of one name: the sum of their slots."""
    low = high = 0
    for slot in family:
        bound = slot.repetition.bound if slot.repetition else slot.line.bound if slot.line else AT_MOST_ONCE
        low += max(bound.low, 1) if slot.is_required else 0
        high += max(bound.high, 1) if slot.repetition is None else bound.high
    return format_occurrence(low, high)


def _write_family(
    family: list[NoticeElement], indent: str, types: SchemaTypes, *, top: bool = False
) -> list[str]:
    """Return the element of all slots of one name."""
    first = family[0]
    occurs = "" if top else _format_family_occurrence(family)
    attributes = _write_notice_attributes(family, indent + "    ", types)
    if first.line is None:
        inner = [
            line
            for group in first.group_children()
            for line in _write_family(group, indent + "      ", types)
        ]
        inner = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>", *attributes]
        rules = [
            line
            for group in first.group_children()
            for line in _write_notice_rules(group, indent + "  ", types)
        ]
        return write_complex_type(first.name, occurs, inner, indent, rules)
    shapes = [_get_notice_shape(slot) for slot in family]
    kind = types.get_type_name(shapes[0] if len(set(shapes)) == 1 else get_widest_shape(shapes), first.name)
    if not attributes:
        return [f'{indent}<xs:element name="{first.name}" type="{kind}"{occurs}/>']
    return write_value_type(first.name, occurs, kind, [f"    {line}" for line in attributes], indent)


def _get_notice_shape(slot: NoticeElement) -> ValueShape:
    """Return the form of a slot's text; a piece of a split text has only its length and character set."""
    assert slot.line is not None
    return slot.line.shape if slot.text_piece is None else slot.text_piece.shape


def _write_notice_attributes(family: list[NoticeElement], indent: str, types: SchemaTypes) -> list[str]:
    """Return the lines of XML Schema for the attributes of the slots `family`, which share one element."""
    lines = []
    fixed = [slot.fixed_attribute for slot in family if slot.fixed_attribute is not None]
    if fixed:
        kind = types.get_type_name(
            ValueShape("text", codes=tuple(value for _, value in fixed)), f"{family[0].name}Kind"
        )
        lines.append(f'{indent}<xs:attribute name="{fixed[0][0]}" type="{kind}" use="required"/>')
    for attribute in {attribute.name: attribute for slot in family for attribute in slot.attributes}.values():
        kind = types.get_type_name(attribute.shape, attribute.name[:1].upper() + attribute.name[1:])
        always = all(
            any(a.name == attribute.name and a.is_required for a in slot.attributes) for slot in family
        )
        use = ' use="required"' if always else ""
        lines.append(f'{indent}<xs:attribute name="{attribute.name}" type="{kind}"{use}/>')
    return lines


def _write_notice_rules(family: list[NoticeElement], indent: str, types: SchemaTypes) -> list[str]:
    """Return the ``xs:unique`` rule that each element that differs by an attribute occurs at most once."""
    fixed = family[0].fixed_attribute
    if fixed is None or len(family) == 1:
        return []
    types.rules += 1
    name = quoteattr(f"{family[0].name}Once{types.rules}")
    return [
        f"{indent}<xs:unique name={name}>",
        f'{indent}  <xs:selector xpath="doc:{family[0].name}"/>',
        f'{indent}  <xs:field xpath="@{fixed[0]}"/>',
        f"{indent}</xs:unique>",
    ]


@dataclass(slots=True)
class SchemaTypes:
    """The named simple types of one schema, one for each shape."""

    names: dict[ValueShape, str] = field(default_factory=dict)
    unions: dict[tuple[str, ...], str] = field(default_factory=dict)
    rules: int = 0

    def get_type_name(self, shape: ValueShape, base_name: str) -> str:
        """Return the name of the type of `shape`; a new one is made from `base_name`."""
        if shape not in self.names:
            self.names[shape] = self._find_free_name(f"{base_name}Type")
        return f"doc:{self.names[shape]}"

    def get_union_name(self, shapes: tuple[ValueShape, ...], base_name: str) -> str:
        """Return the name of a type that accepts each value that one of `shapes` accepts."""
        if len(shapes) == 1:
            return self.get_type_name(shapes[0], base_name)
        if all(shape.codes is not None for shape in shapes):
            codes = tuple(dict.fromkeys(code for shape in shapes for code in shape.codes or ()))
            return self.get_type_name(ValueShape("text", codes=codes), base_name)
        bare = ValueShape()
        if all(
            replace(shape, max_length=None, octets=None, charset=bare.charset) == bare for shape in shapes
        ):
            return self.get_type_name(get_widest_shape(shapes), base_name)
        members = tuple(self.get_type_name(shape, base_name) for shape in shapes)
        if members not in self.unions:
            self.unions[members] = self._find_free_name(f"{base_name}AnyType")
        return f"doc:{self.unions[members]}"

    def _find_free_name(self, base_name: str) -> str:
        """Return `base_name`, or the first name made from it that is not taken."""
        used_names = {*self.names.values(), *self.unions.values()}
        name, number = base_name, 2
        while name in used_names:
            name, number = f"{base_name}{number}", number + 1
        return name

    def make_rule_name(self, base_name: str) -> str:
        """Return a new name for an ``xs:unique`` rule, unique in the schema."""
        self.rules += 1
        return f"{base_name}Once" if self.rules == 1 else f"{base_name}Once{self.rules}"

    def list_declarations(self) -> list[str]:
        """Return the lines of the type declarations."""
        lines = []
        for shape, name in self.names.items():
            first, *rest = write_simple_type(shape, "  ")
            lines += [first.replace("<xs:simpleType>", f'<xs:simpleType name="{name}">'), *rest]
        for members, name in self.unions.items():
            union = f'<xs:union memberTypes="{" ".join(members)}"/>'
            lines.append(f'  <xs:simpleType name="{name}">{union}</xs:simpleType>')
        return lines


def get_widest_shape(shapes: Sequence[ValueShape]) -> ValueShape:
    """Return the form of a text as long as the longest of `shapes` may be."""
    bounds = [shape.max_length if shape.max_length is not None else shape.octets for shape in shapes]
    limits = [bound for bound in bounds if bound is not None]
    return ValueShape("text", max_length=max(limits) if len(limits) == len(bounds) else None)


def write_opening(namespace: str, text: str, types_namespace: str = "") -> list[str]:
    """Return the first lines of a schema for `namespace`, with `text` as its documentation."""
    return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Made from the mapping by `gateway map build`; change the mapping, not this file. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="{types_namespace or namespace}"',
        f'           targetNamespace="{namespace}" elementFormDefault="qualified">',
        f"  <xs:annotation><xs:documentation>{escape(text)}</xs:documentation></xs:annotation>",
    ]


def format_occurrence(low: int, high: int) -> str:
    """Return the attributes (minOccurs, maxOccurs) of an element for how often it may occur in one place."""
    text = "" if low == 1 else f' minOccurs="{low}"'
    return text if high == 1 else f'{text} maxOccurs="{high}"'


def write_complex_type(
    name: str, occurs: str, inner: list[str], indent: str, rules: Iterable[str] = ()
) -> list[str]:
    """Return the element of a complex type with the lines `inner`, and the rules behind the type."""
    return [
        f'{indent}<xs:element name="{name}"{occurs}>',
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        *rules,
        f"{indent}</xs:element>",
    ]


def write_value_type(name: str, occurs: str, base: str, attributes: list[str], indent: str) -> list[str]:
    """Return the element of a text of the type `base` with attributes, their lines indented as given."""
    inner = [
        f"{indent}    <xs:simpleContent>",
        f'{indent}      <xs:extension base="{base}">',
        *attributes,
        f"{indent}      </xs:extension>",
        f"{indent}    </xs:simpleContent>",
    ]
    return write_complex_type(name, occurs, inner, indent)
