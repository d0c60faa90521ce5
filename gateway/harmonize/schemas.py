"""Writes the XML schemas of a document from its mapping: of the request, and of the unique fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.asks import Ask
from gateway.harmonize.bundle import Bundle
from gateway.harmonize.documents import Document
from gateway.harmonize.shapes import Shape, simple_type
from gateway.harmonize.targets import AttributePut, Target
from gateway.wire.namespaces import SUB

__all__ = ["application_schema", "build", "fields_schema", "request_schema"]

_WHOLE_MOST: Final = 999


@dataclass(slots=True)
class _Types:
    """The named simple types of one schema, each form once."""

    names: dict[Shape, str] = field(default_factory=dict)
    rules: int = 0

    def name(self, shape: Shape, wanted: str) -> str:
        """Return the name of the type of `shape`, made from `wanted` where it is new."""
        if shape not in self.names:
            taken = set(self.names.values())
            name, number = f"{wanted}Type", 2
            while name in taken:
                name, number = f"{wanted}Type{number}", number + 1
            self.names[shape] = name
        return f"doc:{self.names[shape]}"

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
        return found


def build(bundle: Bundle) -> dict[str, str]:
    """Return every schema made from a bundle, by its path below ``xsd/agencies``."""
    files = {}
    for document in bundle.documents.values():
        fields = f"{document.file}-fields.xsd"
        files[f"{document.file}.xsd"] = request_schema(document)
        files[fields] = fields_schema(document)
        files[f"{document.file}-application.xsd"] = application_schema(document, fields.rpartition("/")[2])
    return files


def request_schema(document: Document) -> str:
    """Return the schema of the request: closed, ordered, every value typed."""
    types = _Types()
    body = _element(document.root, "  ", types, top=True)
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
        least = 1 if any(ask.requirement.mandatory for ask in items) else 0
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


def _element(target: Target, indent: str, types: _Types, *, top: bool = False) -> list[str]:
    low, high = (1 if target.required else 0), 1
    if target.each is not None:
        low, high = target.each.bound
    elif target.content is not None and target.bound != (0, 1):
        low, high = (target.bound[0] if target.required else 0), target.bound[1]
    occurs = "" if top else _occurs(low, high)
    if target.content is not None:
        return _leaf([target], occurs, indent, types)
    lines = [f'{indent}<xs:element name="{target.name}"{occurs}>', f"{indent}  <xs:complexType>"]
    lines.append(f"{indent}    <xs:sequence>")
    for likes in _by_name(target.children):
        if len(likes) == 1 and not likes[0].fixed:
            lines += _element(likes[0], indent + "      ", types)
        else:
            low = sum(1 for one in likes if one.required)
            lines += _leaf(likes, _occurs(low, len(likes)), indent + "      ", types)
    lines.append(f"{indent}    </xs:sequence>")
    lines += [
        line for attribute in target.attributes for line in _attribute(attribute, indent + "    ", types)
    ]
    lines.append(f"{indent}  </xs:complexType>")
    lines += [
        line
        for likes in _by_name(target.children)
        if likes[0].fixed
        for line in _once(likes[0], indent + "  ", types)
    ]
    return [*lines, f"{indent}</xs:element>"]


def _by_name(children: Iterable[Target]) -> list[list[Target]]:
    groups: dict[str, list[Target]] = {}
    for child in children:
        groups.setdefault(child.name, []).append(child)
    return list(groups.values())


def _leaf(likes: list[Target], occurs: str, indent: str, types: _Types) -> list[str]:
    """Write a leaf; several `likes` are elements of one name that differ by a fixed attribute."""
    target, name = likes[0], likes[0].name
    if target.empty:
        inner = [
            line for attribute in target.attributes for line in _attribute(attribute, indent + "    ", types)
        ]
        return _complex(name, occurs, inner, indent)
    shape = target.shape if len(likes) == 1 else _widest([one.shape for one in likes])
    kind = types.name(shape, name)
    inner = [
        line for attribute in target.attributes for line in _attribute(attribute, indent + "        ", types)
    ]
    if target.fixed:
        values = tuple(one.fixed[0][1] for one in likes)
        put = types.name(Shape("text", codes=values), f"{name}Kind")
        inner.append(
            f'{indent}        <xs:attribute name="{target.fixed[0][0]}" type="{put}" use="required"/>'
        )
    if not inner:
        return [f'{indent}<xs:element name="{name}" type="{kind}"{occurs}/>']
    opening = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{kind}">']
    closing = [f"{indent}      </xs:extension>", f"{indent}    </xs:simpleContent>"]
    return _complex(name, occurs, [*opening, *inner, *closing], indent)


def _complex(name: str, occurs: str, inner: list[str], indent: str) -> list[str]:
    return [
        f'{indent}<xs:element name="{name}"{occurs}>',
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        f"{indent}</xs:element>",
    ]


def _once(target: Target, indent: str, types: _Types) -> list[str]:
    """Write the rule that each variant of an element stands once."""
    return [
        f'{indent}<xs:unique name="{types.rule(target.name)}">',
        f'{indent}  <xs:selector xpath="doc:{target.name}"/>',
        f'{indent}  <xs:field xpath="@{target.fixed[0][0]}"/>',
        f"{indent}</xs:unique>",
    ]


def _widest(shapes: list[Shape]) -> Shape:
    bounds = [shape.longest if shape.longest is not None else shape.octets for shape in shapes]
    known = [bound for bound in bounds if bound is not None]
    return Shape("text", longest=max(known) if len(known) == len(bounds) else None)


def _attribute(put: AttributePut, indent: str, types: _Types) -> list[str]:
    use = ' use="required"' if put.required else ""
    kind = types.name(put.shape, put.name[:1].upper() + put.name[1:])
    return [f'{indent}<xs:attribute name="{put.name}" type="{kind}"{use}/>']


def _asked(ask: Ask, indent: str, types: _Types) -> list[str]:
    low, high = (1 if ask.requirement.mandatory else 0), 1
    if ask.type == "group":
        low, high = max(low, ask.repeat[0]) if ask.requirement.mandatory else 0, max(ask.repeat[1], 1)
    occurs = _occurs(low, high)
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
