"""Writes the XML schemas of a document from its mapping: of the request, and of the unique fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.building.noticeschemas import build_notices
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.variants import Merged, merge
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.shapes import Shape, simple_type
from gateway.wire.namespaces import SUB

__all__ = ["application_schema", "build", "fields_schema", "request_schema"]

_WHOLE_MOST: Final = 999


@dataclass(slots=True)
class _Types:
    """The named simple types of one schema, each form once."""

    names: dict[Shape, str] = field(default_factory=dict)
    unions: dict[tuple[str, ...], str] = field(default_factory=dict)
    rules: int = 0

    def name(self, shape: Shape, wanted: str) -> str:
        """Return the name of the type of `shape`, made from `wanted` where it is new."""
        if shape not in self.names:
            self.names[shape] = self._free(f"{wanted}Type")
        return f"doc:{self.names[shape]}"

    def any_of(self, shapes: tuple[Shape, ...], wanted: str) -> str:
        """Return the name of a type that accepts what one of `shapes` accepts."""
        if len(shapes) == 1:
            return self.name(shapes[0], wanted)
        if all(shape.codes is not None for shape in shapes):
            codes = tuple(dict.fromkeys(code for shape in shapes for code in shape.codes or ()))
            return self.name(Shape("text", codes=codes), wanted)
        bare = Shape()
        if all(replace(shape, longest=None, octets=None, charset=bare.charset) == bare for shape in shapes):
            return self.name(_widest(shapes), wanted)
        members = tuple(self.name(shape, wanted) for shape in shapes)
        if members not in self.unions:
            self.unions[members] = self._free(f"{wanted}AnyType")
        return f"doc:{self.unions[members]}"

    def _free(self, wanted: str) -> str:
        """Return `wanted`, or the first name made from it that is not taken."""
        taken = {*self.names.values(), *self.unions.values()}
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}{number}", number + 1
        return name

    def rule(self, wanted: str) -> str:
        """Return a name of a rule of uniqueness, each once in a schema."""
        self.rules += 1
        return f"{wanted}Once" if self.rules == 1 else f"{wanted}Once{self.rules}"

    def lines(self) -> list[str]:
        """Return the declarations."""
        found = []
        for shape, name in self.names.items():
            first, *rest = simple_type(shape, "  ")
            found += [first.replace("<xs:simpleType>", f'<xs:simpleType name="{name}">'), *rest]
        for members, name in self.unions.items():
            union = f'<xs:union memberTypes="{" ".join(members)}"/>'
            found.append(f'  <xs:simpleType name="{name}">{union}</xs:simpleType>')
        return found


def _widest(shapes: tuple[Shape, ...]) -> Shape:
    bounds = [shape.longest if shape.longest is not None else shape.octets for shape in shapes]
    known = [bound for bound in bounds if bound is not None]
    return Shape("text", longest=max(known) if len(known) == len(bounds) else None)


def build(bundle: Bundle) -> dict[str, str]:
    """Return every schema made from a bundle, by its path below ``xsd/agencies``."""
    files = {}
    for document in bundle.documents.values():
        fields = f"{document.file}-fields.xsd"
        files[f"{document.file}.xsd"] = request_schema(document)
        files[fields] = fields_schema(document)
        files[f"{document.file}-application.xsd"] = application_schema(document, fields.rpartition("/")[2])
    return files | build_notices(bundle.notices)


def request_schema(document: Document) -> str:
    """Return the schema of the request: closed, ordered, every value typed."""
    types = _Types()
    body = _element(merge(document.root), "  ", types, top=True)
    head = _opening(document.namespace, f"{document.en} ({document.ko}): the request to the organisation.")
    return "\n".join([*head, *body, *types.lines(), "</xs:schema>", ""])


def fields_schema(document: Document) -> str:
    """Return the schema of the unique fields, in their recommended order, as type ``Fields``."""
    types = _Types()
    header = [ask for ask in document.asks if ask.per == "application"]
    items = [ask for ask in document.asks if ask.per == "item"]
    lines = ['  <xs:complexType name="Fields">', "    <xs:sequence>"]
    lines += [line for ask in header for line in _asked(ask, "      ", types)]
    if items:
        least = 1 if any(ask.requirement.mandatory and not ask.shared for ask in items) else 0
        lines.append(f'      <xs:element name="Item"{_occurs(least, _WHOLE_MOST)}>')
        lines += ["        <xs:complexType>", "          <xs:sequence>"]
        lines += [line for ask in items for line in _asked(ask, "            ", types)]
        lines += ["          </xs:sequence>"]
        lines += ['          <xs:attribute name="sequence" type="xs:positiveInteger" use="required"/>']
        lines += ["        </xs:complexType>", "      </xs:element>"]
    lines += ["    </xs:sequence>", "  </xs:complexType>"]
    head = _opening(document.namespace, f"{document.en} ({document.ko}): the fields asked of the applicant.")
    return "\n".join([*head, *lines, *types.lines(), "</xs:schema>", ""])


def application_schema(document: Document, fields_file: str) -> str:
    """Return the schema of the submission's ``Fields`` element for this document."""
    lines = _opening(SUB, f"The Fields of an application for {document.id}.", document.namespace)
    lines.append(f'  <xs:import namespace="{document.namespace}" schemaLocation={quoteattr(fields_file)}/>')
    lines.append('  <xs:element name="Fields" type="doc:Fields"/>')
    return "\n".join([*lines, "</xs:schema>", ""])


def _opening(namespace: str, text: str, other: str = "") -> list[str]:
    return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Made from the mapping by `gateway map build`; change the mapping, not this file. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="{other or namespace}"',
        f'           targetNamespace="{namespace}" elementFormDefault="qualified">',
        f"  <xs:annotation><xs:documentation>{escape(text)}</xs:documentation></xs:annotation>",
    ]


def _occurs(low: int, high: int) -> str:
    text = "" if low == 1 else f' minOccurs="{low}"'
    return text if high == 1 else f'{text} maxOccurs="{high}"'


def _element(merged: Merged, indent: str, types: _Types, *, top: bool = False) -> list[str]:
    occurs = "" if top else _occurs(merged.low, merged.high)
    if merged.shapes or merged.empty:
        return _leaf(merged, occurs, indent, types)
    lines = [f"{indent}    <xs:sequence>"]
    lines += [line for child in merged.children for line in _element(child, indent + "      ", types)]
    lines.append(f"{indent}    </xs:sequence>")
    lines += _attributes(merged, indent + "    ", types)
    opening, kind, *inner, closing, end = _complex(merged.name, occurs, lines, indent)
    rules = [line for child in merged.children for line in _once(child, indent + "  ", types)]
    return [opening, kind, *inner, closing, *rules, end]


def _leaf(merged: Merged, occurs: str, indent: str, types: _Types) -> list[str]:
    if merged.empty:
        return _complex(merged.name, occurs, _attributes(merged, indent + "    ", types), indent)
    kind = types.any_of(merged.shapes, merged.name)
    inner = _attributes(merged, indent + "        ", types)
    if not inner:
        return [f'{indent}<xs:element name="{merged.name}" type="{kind}"{occurs}/>']
    opening = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{kind}">']
    closing = [f"{indent}      </xs:extension>", f"{indent}    </xs:simpleContent>"]
    return _complex(merged.name, occurs, [*opening, *inner, *closing], indent)


def _attributes(merged: Merged, indent: str, types: _Types) -> list[str]:
    lines = []
    for one in merged.fields:
        use = ' use="required"' if one.required else ""
        kind = types.any_of(one.shapes, one.name[:1].upper() + one.name[1:])
        lines.append(f'{indent}<xs:attribute name="{one.name}" type="{kind}"{use}/>')
    for name, values in merged.fixed:
        kind = types.name(Shape("text", codes=values), f"{merged.name}Kind")
        lines.append(f'{indent}<xs:attribute name="{name}" type="{kind}" use="required"/>')
    return lines


def _complex(name: str, occurs: str, inner: list[str], indent: str) -> list[str]:
    return [
        f'{indent}<xs:element name="{name}"{occurs}>',
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        f"{indent}</xs:element>",
    ]


def _once(merged: Merged, indent: str, types: _Types) -> list[str]:
    """Write the rule that each variant of an element stands once."""
    if not merged.once:
        return []
    return [
        f'{indent}<xs:unique name="{types.rule(merged.name)}">',
        f'{indent}  <xs:selector xpath="doc:{merged.name}"/>',
        *(
            f'{indent}  <xs:field xpath="{place if place.startswith("@") else f"doc:{place}"}"/>'
            for place in merged.once
        ),
        f"{indent}</xs:unique>",
    ]


def _asked(ask: Ask, indent: str, types: _Types) -> list[str]:
    low, high = max(ask.repeat[0], 1), max(ask.repeat[1], 1)
    # What is shared may stand in another application; what need not be given is given often enough or not.
    if ask.requirement.mandatory and not ask.shared:
        return _answer(ask, _occurs(low, high), indent, types)
    if low == 1:
        return _answer(ask, _occurs(0, high), indent, types)
    inner = _answer(ask, _occurs(low, high), indent + "  ", types)
    return [f'{indent}<xs:sequence minOccurs="0">', *inner, f"{indent}</xs:sequence>"]


def _answer(ask: Ask, occurs: str, indent: str, types: _Types) -> list[str]:
    if ask.type == "group":
        inner = [line for member in ask.fields for line in _asked(member, indent + "      ", types)]
        lines = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>"]
        return _complex(ask.tag, occurs, lines, indent)
    if ask.attribute is None:
        return [f'{indent}<xs:element name="{ask.tag}" type="{types.name(ask.shape, ask.tag)}"{occurs}/>']
    kind = types.name(ask.attribute_shape, ask.tag + ask.attribute[:1].upper() + ask.attribute[1:])
    use = "" if ask.fixed_unit is not None else ' use="required"'
    attribute = f'<xs:attribute name="{ask.attribute}" type="{kind}"{use}/>'
    if ask.type == "attachment":
        return _complex(ask.tag, occurs, [f"{indent}    {attribute}"], indent)
    base = types.name(ask.shape, ask.tag)
    lines = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{base}">']
    lines += [
        f"{indent}        {attribute}",
        f"{indent}      </xs:extension>",
        f"{indent}    </xs:simpleContent>",
    ]
    return _complex(ask.tag, occurs, lines, indent)
