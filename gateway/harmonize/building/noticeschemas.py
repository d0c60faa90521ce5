"""Writes the XML schema of a notice from its map: closed, in the order of its lines, every value typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from gateway.harmonize.language.slots import Notice, Notices, Slot
from gateway.harmonize.terms.shapes import Shape, simple_type

__all__ = ["build_notices", "notice_schema"]


@dataclass(slots=True)
class _Pen:
    """Writes one schema; each form of a value becomes one named type."""

    names: dict[Shape, str] = field(default_factory=dict)
    rules: int = 0

    def type(self, shape: Shape, wanted: str) -> str:
        """Return the name of the type of `shape`."""
        if shape not in self.names:
            taken = set(self.names.values())
            name, number = f"{wanted}Type", 2
            while name in taken:
                name, number = f"{wanted}Type{number}", number + 1
            self.names[shape] = name
        return f"doc:{self.names[shape]}"

    def types(self) -> list[str]:
        """Return the declarations of the types."""
        lines: list[str] = []
        for shape, name in self.names.items():
            first, *rest = simple_type(shape, "  ")
            lines += [first.replace("<xs:simpleType>", f'<xs:simpleType name="{name}">'), *rest]
        return lines


def build_notices(notices: Notices) -> dict[str, str]:
    """Return the schema of every notice, by its path below ``xsd/agencies``."""
    return {f"notices/{notice.id}.xsd": notice_schema(notice) for notice in notices.notices.values()}


def notice_schema(notice: Notice) -> str:
    """Return the schema of one notice; lengths in octets are checked by the reader alone."""
    pen = _Pen()
    body = _family([notice.root], "  ", pen, top=True)
    text = f"{notice.en} ({notice.ko}): a notice of the {notice.sender}."
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Made from the mapping by `gateway map build`; change the mapping, not this file. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="{notice.namespace}"',
        f'           targetNamespace="{notice.namespace}" elementFormDefault="qualified">',
        f"  <xs:annotation><xs:documentation>{escape(text)}</xs:documentation></xs:annotation>",
    ]
    return "\n".join([*head, *body, *pen.types(), "</xs:schema>", ""])


def _occurs(family: list[Slot]) -> str:
    """Return how often elements of one name may stand: the sum of their slots."""
    low = high = 0
    for slot in family:
        bound = slot.each.bound if slot.each else slot.line.bound if slot.line else (0, 1)
        low += max(bound[0], 1) if slot.required else 0
        high += max(bound[1], 1) if slot.each is None else bound[1]
    text = "" if low == 1 else f' minOccurs="{low}"'
    return text if high == 1 else f'{text} maxOccurs="{high}"'


def _family(family: list[Slot], indent: str, pen: _Pen, *, top: bool = False) -> list[str]:
    """Return the element of all slots of one name."""
    first = family[0]
    occurs = "" if top else _occurs(family)
    attributes = _attributes(family, indent + "    ", pen)
    if first.line is None:
        inner = [line for one in first.families() for line in _family(one, indent + "      ", pen)]
        inner = [f"{indent}    <xs:sequence>", *inner, f"{indent}    </xs:sequence>", *attributes]
        rules = [line for one in first.families() for line in _once(one, indent + "  ", pen)]
        return _complex(first.name, occurs, inner, rules, indent)
    shapes = [_shape(slot) for slot in family]
    kind = pen.type(shapes[0] if len(set(shapes)) == 1 else _widest(shapes), first.name)
    if not attributes:
        return [f'{indent}<xs:element name="{first.name}" type="{kind}"{occurs}/>']
    inner = [f"{indent}    <xs:simpleContent>", f'{indent}      <xs:extension base="{kind}">']
    inner += [f"    {line}" for line in attributes]
    inner += [f"{indent}      </xs:extension>", f"{indent}    </xs:simpleContent>"]
    return _complex(first.name, occurs, inner, [], indent)


def _complex(name: str, occurs: str, inner: list[str], rules: list[str], indent: str) -> list[str]:
    head = f'{indent}<xs:element name="{name}"{occurs}>'
    return [
        head,
        f"{indent}  <xs:complexType>",
        *inner,
        f"{indent}  </xs:complexType>",
        *rules,
        f"{indent}</xs:element>",
    ]


def _shape(slot: Slot) -> Shape:
    assert slot.line is not None
    if slot.part is None:
        return slot.line.shape
    return Shape("text", longest=slot.part.chars, octets=slot.part.octets, charset=slot.part.charset)


def _widest(shapes: list[Shape]) -> Shape:
    bounds = [shape.longest if shape.longest is not None else shape.octets for shape in shapes]
    known = [bound for bound in bounds if bound is not None]
    return Shape("text", longest=max(known) if len(known) == len(bounds) else None)


def _attributes(family: list[Slot], indent: str, pen: _Pen) -> list[str]:
    lines = []
    fixed = [slot.fixed for slot in family if slot.fixed is not None]
    if fixed:
        kind = pen.type(Shape("text", codes=tuple(value for _, value in fixed)), f"{family[0].name}Kind")
        lines.append(f'{indent}<xs:attribute name="{fixed[0][0]}" type="{kind}" use="required"/>')
    for one in {one.name: one for slot in family for one in slot.attributes}.values():
        kind = pen.type(one.shape, one.name[:1].upper() + one.name[1:])
        always = all(any(a.name == one.name and a.required for a in slot.attributes) for slot in family)
        use = ' use="required"' if always else ""
        lines.append(f'{indent}<xs:attribute name="{one.name}" type="{kind}"{use}/>')
    return lines


def _once(family: list[Slot], indent: str, pen: _Pen) -> list[str]:
    """Return the rule that each of the elements that differ by an attribute stands once."""
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
