"""Writes the XML schema of a notice from its mapping: closed, ordered, with a type for every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.language import NoticeCatalog, NoticeElement, NoticeMapping
from gateway.harmonize.types import ValueShape, write_simple_type

__all__ = ["generate_notice_schemas", "write_notice_schema"]


@dataclass(slots=True)
class _NoticeTypes:
    """The named simple types of one schema, one for each shape."""

    names: dict[ValueShape, str] = field(default_factory=dict)
    rules: int = 0

    def get_type_name(self, shape: ValueShape, wanted: str) -> str:
        """Return the name of the type of `shape`."""
        if shape not in self.names:
            taken = set(self.names.values())
            name, number = f"{wanted}Type", 2
            while name in taken:
                name, number = f"{wanted}Type{number}", number + 1
            self.names[shape] = name
        return f"doc:{self.names[shape]}"

    def list_declarations(self) -> list[str]:
        """Return the lines of the type declarations."""
        lines: list[str] = []
        for shape, name in self.names.items():
            first, *rest = write_simple_type(shape, "  ")
            lines += [first.replace("<xs:simpleType>", f'<xs:simpleType name="{name}">'), *rest]
        return lines


def generate_notice_schemas(notices: NoticeCatalog) -> dict[str, str]:
    """Return the schema of every notice, by its path below ``xsd/agencies``."""
    return {f"notices/{notice.id}.xsd": write_notice_schema(notice) for notice in notices.notices.values()}


def write_notice_schema(notice: NoticeMapping) -> str:
    """Return the schema of one notice; only the reader checks lengths in octets."""
    pen = _NoticeTypes()
    body = _write_family([notice.root], "  ", pen, top=True)
    text = f"{notice.en} ({notice.ko}): a notice of the {notice.sender}."
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Made from the mapping by `gateway map build`; change the mapping, not this file. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="{notice.namespace}"',
        f'           targetNamespace="{notice.namespace}" elementFormDefault="qualified">',
        f"  <xs:annotation><xs:documentation>{escape(text)}</xs:documentation></xs:annotation>",
    ]
    return "\n".join([*head, *body, *pen.list_declarations(), "</xs:schema>", ""])


def _format_occurrence(family: list[NoticeElement]) -> str:
    """Return the occurrence attributes of the elements of one name: the sum of their slots."""
    low = high = 0
    for slot in family:
        bound = slot.each.bound if slot.each else slot.line.bound if slot.line else (0, 1)
        low += max(bound[0], 1) if slot.required else 0
        high += max(bound[1], 1) if slot.each is None else bound[1]
    text = "" if low == 1 else f' minOccurs="{low}"'
    return text if high == 1 else f'{text} maxOccurs="{high}"'


def _write_family(
    family: list[NoticeElement], indent: str, pen: _NoticeTypes, *, top: bool = False
) -> list[str]:
    """Return the element of all slots of one name."""
    first = family[0]
    occurs = "" if top else _format_occurrence(family)
    attributes = _write_attributes(family, indent + "    ", pen)
    if first.line is None:
        inner = [
            line for one in first.group_children() for line in _write_family(one, indent + "      ", pen)
        ]
        inner = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>", *attributes]
        rules = [
            line for one in first.group_children() for line in _write_unique_rules(one, indent + "  ", pen)
        ]
        return _write_complex_type(first.name, occurs, inner, rules, indent)
    shapes = [_get_shape(slot) for slot in family]
    kind = pen.get_type_name(shapes[0] if len(set(shapes)) == 1 else _get_widest_shape(shapes), first.name)
    if not attributes:
        return [f'{indent}<xs:element name="{first.name}" type="{kind}"{occurs}/>']
    inner = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{kind}">']
    inner += [f"    {line}" for line in attributes]
    inner += [f"{indent}      </xs:extension>", f"{indent}    </xs:simpleContent>"]
    return _write_complex_type(first.name, occurs, inner, [], indent)


def _write_complex_type(name: str, occurs: str, inner: list[str], rules: list[str], indent: str) -> list[str]:
    head = f'{indent}<xs:element name="{name}"{occurs}>'
    return [
        head,
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        *rules,
        f"{indent}</xs:element>",
    ]


def _get_shape(slot: NoticeElement) -> ValueShape:
    assert slot.line is not None
    if slot.part is None:
        return slot.line.shape
    return ValueShape("text", longest=slot.part.chars, octets=slot.part.octets, charset=slot.part.charset)


def _get_widest_shape(shapes: list[ValueShape]) -> ValueShape:
    bounds = [shape.longest if shape.longest is not None else shape.octets for shape in shapes]
    known = [bound for bound in bounds if bound is not None]
    return ValueShape("text", longest=max(known) if len(known) == len(bounds) else None)


def _write_attributes(family: list[NoticeElement], indent: str, pen: _NoticeTypes) -> list[str]:
    lines = []
    fixed = [slot.fixed for slot in family if slot.fixed is not None]
    if fixed:
        kind = pen.get_type_name(
            ValueShape("text", codes=tuple(value for _, value in fixed)), f"{family[0].name}Kind"
        )
        lines.append(f'{indent}<xs:attribute name="{fixed[0][0]}" type="{kind}" use="required"/>')
    for one in {one.name: one for slot in family for one in slot.attributes}.values():
        kind = pen.get_type_name(one.shape, one.name[:1].upper() + one.name[1:])
        always = all(any(a.name == one.name and a.required for a in slot.attributes) for slot in family)
        use = ' use="required"' if always else ""
        lines.append(f'{indent}<xs:attribute name="{one.name}" type="{kind}"{use}/>')
    return lines


def _write_unique_rules(family: list[NoticeElement], indent: str, pen: _NoticeTypes) -> list[str]:
    """Return the ``xs:unique`` rule that each element that differs by an attribute occurs at most once."""
    fixed = family[0].fixed
    if fixed is None or len(family) == 1:
        return []
    pen.rules += 1
    name = quoteattr(f"{family[0].name}Once{pen.rules}")
    return [
        f"{indent}<xs:unique name={name}>",
        f'{indent}  <xs:selector xpath="doc:{family[0].name}"/>',
        f'{indent}  <xs:field xpath="@{fixed[0]}"/>',
        f"{indent}</xs:unique>",
    ]
