"""XML as a bomb: what it declares, how much it has of everything, and what reading it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.conformance.hostile import xml_declaration_attacks
from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.message_mutation import OctetMutation
from gateway.conformance.hostile.xml_bombs import (
    add_root_attributes,
    build_attribute_element,
    build_declaration_element,
    insert_in_body,
    insert_in_header,
    insert_in_signature,
    make_both_face_cases,
    nest_elements,
    repeat_piece,
)
from gateway.wire.namespaces import DS, PREFIXES

__all__ = ["CASES"]

_C14N: Final = "canonicalisation is quadratic; measured with libxml2 2.14"
_SIZE: Final = "measured with libxml2 2.14"
_EXCLUSIVE: Final = PREFIXES["ec"].encode()
_DS: Final = DS.encode()
_KILO: Final = 1000

_ATTRIBUTES: Final[dict[str, tuple[str, OctetMutation]]] = {
    "200000": ("one element with 200,000 attributes", insert_in_header(build_attribute_element(200 * _KILO))),
    "50000": ("one element with 50,000 attributes", insert_in_body(build_attribute_element(50 * _KILO))),
    "one-too-many": ("an element with 65 attributes", insert_in_header(build_attribute_element(65))),
    "on-the-envelope": ("70 attributes on the Envelope", add_root_attributes(repeat_piece(b'a%d="" ', 70))),
    "everywhere": (
        "thousands of elements with sixty attributes each",
        insert_in_header(lambda: build_attribute_element(60)() * 2000),
    ),
}


def _stack_declarations(elements: int, each: int = 50) -> Callable[[], bytes]:
    """Return so many elements in each other, each with declarations of its own, around two hundred."""

    def build_stack() -> bytes:
        found = b"<x:a/>" * 200
        for level in range(elements):
            names = b" ".join(b'xmlns:p%d-%d="urn:p"' % (level, number) for number in range(each))
            found = b"<x:d " + names + b">" + found + b"</x:d>"
        return found

    return build_stack


_NAMESPACES: Final[dict[str, tuple[str, OctetMutation]]] = {
    "44-kb": ("1,200 namespaces over 200 elements", insert_in_header(_stack_declarations(24))),
    "178-kb": ("4,000 namespaces over 200 elements", insert_in_header(_stack_declarations(80))),
    "467-kb": (
        "15,000 namespaces on one element",
        insert_in_header(build_declaration_element(15_000, [b"<x:a/>" * 200])),
    ),
    "one-too-many": ("66 namespaces on one path", insert_in_header(_stack_declarations(4, 16))),
    "on-the-envelope": (
        "70 namespaces on the Envelope",
        add_root_attributes(repeat_piece(b'xmlns:p%d="urn:p" ', 70)),
    ),
    "within": (
        "fifty namespaces over thousands of nested elements, each number within its limit",
        insert_in_header(build_declaration_element(50, [nest_elements(80)() * 60])),
    ),
    "flat": (
        "fifty namespaces over thousands of elements beside each other",
        insert_in_header(build_declaration_element(50, [b"<x:a/>" * 9000])),
    ),
}


def _build_prefix_list(count: int) -> bytes:
    names = b" ".join(b"p%d" % number for number in range(count))
    return (
        b'<d:Reference xmlns:d="%s" URI=""><d:Transforms><d:Transform Algorithm="%s">'
        b'<e:InclusiveNamespaces xmlns:e="%s" PrefixList="%s"/></d:Transform></d:Transforms>'
        b'<d:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        b"<d:DigestValue>AAAA</d:DigestValue></d:Reference>"
    ) % (_DS, _EXCLUSIVE, _EXCLUSIVE, names)


def _build_reference(transforms: bytes) -> bytes:
    return (
        b'<d:Reference xmlns:d="%s" URI=""><d:Transforms>%s</d:Transforms>'
        b'<d:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        b"<d:DigestValue>AAAA</d:DigestValue></d:Reference>"
    ) % (_DS, transforms)


def _build_xpath_transform(expression: bytes) -> bytes:
    return (
        b'<d:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><d:XPath>%s</d:XPath></d:Transform>'
        % expression
    )


_SIGNATURES: Final[dict[str, tuple[str, OctetMutation, str]]] = {
    "prefixes-2000": ("a PrefixList of 2,000", insert_in_signature(lambda: _build_prefix_list(2000)), _C14N),
    "prefixes-33": ("a PrefixList of 33", insert_in_signature(lambda: _build_prefix_list(33)), _C14N),
    "references": (
        "thousands of references",
        insert_in_signature(lambda: _build_reference(_build_xpath_transform(b"1")) * 3000),
        "XML Signature Best Practices 2.1",
    ),
    "transforms": (
        "hundreds of transforms in one reference",
        insert_in_signature(
            lambda: _build_reference(
                b'<d:Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>' * 500
            )
        ),
        "XML Signature Best Practices 2.1.4",
    ),
}

_XPATHS: Final[dict[str, tuple[str, bytes]]] = {
    "count": ("an XPath that counts at every node", b"//*[count(//*)>1]"),
    "quadratic": ("an XPath that compares all nodes with each other", b"//*[//*=//*]"),
    "axes": ("an XPath of many axes", b"ancestor-or-self::node()/descendant-or-self::node()" * 15),
    "parentheses": ("an XPath of nine hundred parentheses", b"(" * 450 + b"1" + b")" * 450),
    "long": ("an XPath of half a megabyte", b"1 | " * 125_000 + b"1"),
}

_SIZES: Final[dict[str, tuple[str, OctetMutation]]] = {
    "depth-100000": ("a hundred thousand nested elements", insert_in_header(nest_elements(100 * _KILO))),
    "depth-101": ("a hundred and one nested elements", insert_in_header(nest_elements(101))),
    "siblings": (
        "three million elements beside each other",
        insert_in_header(repeat_piece(b"<a/>", 3000 * _KILO)),
    ),
    "siblings-in-body": ("200,001 elements in the Body", insert_in_body(repeat_piece(b"<a/>", 200_001))),
    "names": ("a hundred thousand different names", insert_in_header(repeat_piece(b"<x:a%d/>", 100 * _KILO))),
    "attribute-names": (
        "a hundred thousand different attributes",
        insert_in_header(repeat_piece(b'<x:a b%d=""/>', 100 * _KILO)),
    ),
    "comments": (
        "a hundred thousand empty comments",
        insert_in_header(repeat_piece(b"<!---->", 100 * _KILO)),
    ),
    "texts": (
        "a hundred thousand texts of one character",
        insert_in_header(repeat_piece(b"<a/>x", 100 * _KILO)),
    ),
    "name": ("a name of twelve megabytes", insert_in_header(lambda: b"<" + b"n" * 12_000_000 + b"/>")),
    "name-257": ("a name of 257 characters", insert_in_header(lambda: b"<" + b"n" * 257 + b"/>")),
    "value": (
        "an attribute of a megabyte",
        insert_in_header(lambda: b'<x:a b="' + b"v" * 1_000_000 + b'"/>'),
    ),
    "text": ("a text of twelve megabytes", insert_in_header(lambda: b"t" * 12_000_000)),
    "never-ends": (
        "an element that is opened a million times",
        insert_in_body(repeat_piece(b"<a>", 1_000_000)),
    ),
}

_SEARCHES: Final[dict[str, tuple[str, OctetMutation]]] = {
    "declarations": (
        "the same fifty namespaces on a thousand elements beside each other",
        insert_in_header(lambda: build_declaration_element(50)() * 1000),
    ),
    # What a node-set costs when each node is looked for among all that were found before.
    "actors": (
        "thousands of elements with an actor",
        insert_in_header(
            repeat_piece(b'<x:a xmlns:s="%s" s:actor="a"/>' % PREFIXES["soap"].encode(), 12 * _KILO)
        ),
    ),
    "identifiers": (
        "thousands of elements with one identifier of two kinds",
        insert_in_header(
            lambda: (
                repeat_piece(b'<x:a xml:id="i%d"/>          ', 6 * _KILO)()
                + repeat_piece(b'<e:a xmlns:e="%s" e:id="i%%d"/>' % PREFIXES["eb"].encode(), 6 * _KILO)()
            )
        ),
    ),
    "blocks": (
        "thousands of header blocks",
        lambda data: data.replace(
            b"</soap:Header>", b'<x:b xmlns:x="urn:example:unknown"/>' * 9000 + b"</soap:Header>", 1
        ),
    ),
}


def _make_cases() -> tuple[AttackCase, ...]:
    found: list[AttackCase] = []
    for attack_id, rows, problems, source in (
        ("DOS-03", _ATTRIBUTES, "GW102", _C14N),
        ("DOS-04", _NAMESPACES, "GW102", _C14N),
        ("DOS-05", _SIZES, "GW102 GW104", _SIZE),
        ("DOS-05", _SEARCHES, "GW102 GW107 GW202 GW203", _SIZE),
    ):
        for name, (title, change) in rows.items():
            found += make_both_face_cases(f"{attack_id}.{name}", title, change, problems, source)
    for name, (title, change, source) in _SIGNATURES.items():
        found += make_both_face_cases(f"DOS-04.{name}", title, change, "GW102 GW202 GW204", source)
    for name, (title, expression) in _XPATHS.items():
        change = insert_in_signature(partial(_build_reference, _build_xpath_transform(expression)))
        found += make_both_face_cases(
            f"DOS-06.{name}", title, change, "GW202 GW204", "XPath denial of service"
        )
    return tuple(found)


CASES: Final[tuple[AttackCase, ...]] = (*xml_declaration_attacks.CASES, *_make_cases())
"""Attacks by XML: DOS-01 to DOS-07."""
