"""XML as a bomb: what it declares, how much it has of everything, and what reading it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.conformance.hostile import xml_declarations
from gateway.conformance.hostile.bombs import (
    attributes,
    both_faces,
    declarations,
    in_body,
    in_header,
    in_signature,
    nested,
    repeated,
    root_says,
)
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.craft import Change
from gateway.wire.namespaces import DS, PREFIXES

__all__ = ["CASES"]

_C14N: Final = "canonicalisation is quadratic; measured with libxml2 2.14"
_SIZE: Final = "measured with libxml2 2.14"
_EXCLUSIVE: Final = PREFIXES["ec"].encode()
_DS: Final = DS.encode()
_KILO: Final = 1000

_ATTRIBUTES: Final[dict[str, tuple[str, Change]]] = {
    "200000": ("one element with 200,000 attributes", in_header(attributes(200 * _KILO))),
    "50000": ("one element with 50,000 attributes", in_body(attributes(50 * _KILO))),
    "one-too-many": ("an element with 65 attributes", in_header(attributes(65))),
    "on-the-envelope": ("70 attributes on the Envelope", root_says(repeated(b'a%d="" ', 70))),
    "everywhere": (
        "thousands of elements with sixty attributes each",
        in_header(lambda: attributes(60)() * 2000),
    ),
}


def _stacked(elements: int, each: int = 50) -> Callable[[], bytes]:
    """Return so many elements in each other, each with declarations of its own, around two hundred."""

    def made() -> bytes:
        found = b"<x:a/>" * 200
        for level in range(elements):
            names = b" ".join(b'xmlns:p%d-%d="urn:p"' % (level, number) for number in range(each))
            found = b"<x:d " + names + b">" + found + b"</x:d>"
        return found

    return made


_NAMESPACES: Final[dict[str, tuple[str, Change]]] = {
    "44-kb": ("1,200 namespaces over 200 elements", in_header(_stacked(24))),
    "178-kb": ("4,000 namespaces over 200 elements", in_header(_stacked(80))),
    "467-kb": ("15,000 namespaces on one element", in_header(declarations(15_000, [b"<x:a/>" * 200]))),
    "one-too-many": ("66 namespaces on one path", in_header(_stacked(4, 16))),
    "on-the-envelope": ("70 namespaces on the Envelope", root_says(repeated(b'xmlns:p%d="urn:p" ', 70))),
    "within": (
        "fifty namespaces over thousands of nested elements, each number within its limit",
        in_header(declarations(50, [nested(80)() * 60])),
    ),
    "flat": (
        "fifty namespaces over thousands of elements beside each other",
        in_header(declarations(50, [b"<x:a/>" * 9000])),
    ),
}


def _prefix_list(count: int) -> bytes:
    names = b" ".join(b"p%d" % number for number in range(count))
    return (
        b'<d:Reference xmlns:d="%s" URI=""><d:Transforms><d:Transform Algorithm="%s">'
        b'<e:InclusiveNamespaces xmlns:e="%s" PrefixList="%s"/></d:Transform></d:Transforms>'
        b'<d:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        b"<d:DigestValue>AAAA</d:DigestValue></d:Reference>"
    ) % (_DS, _EXCLUSIVE, _EXCLUSIVE, names)


def _reference(transforms: bytes) -> bytes:
    return (
        b'<d:Reference xmlns:d="%s" URI=""><d:Transforms>%s</d:Transforms>'
        b'<d:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        b"<d:DigestValue>AAAA</d:DigestValue></d:Reference>"
    ) % (_DS, transforms)


def _xpath(expression: bytes) -> bytes:
    return (
        b'<d:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><d:XPath>%s</d:XPath></d:Transform>'
        % expression
    )


_SIGNATURES: Final[dict[str, tuple[str, Change, str]]] = {
    "prefixes-2000": ("a PrefixList of 2,000", in_signature(lambda: _prefix_list(2000)), _C14N),
    "prefixes-33": ("a PrefixList of 33", in_signature(lambda: _prefix_list(33)), _C14N),
    "references": (
        "thousands of references",
        in_signature(lambda: _reference(_xpath(b"1")) * 3000),
        "XML Signature Best Practices 2.1",
    ),
    "transforms": (
        "hundreds of transforms in one reference",
        in_signature(
            lambda: _reference(
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

_SIZES: Final[dict[str, tuple[str, Change]]] = {
    "depth-100000": ("a hundred thousand nested elements", in_header(nested(100 * _KILO))),
    "depth-101": ("a hundred and one nested elements", in_header(nested(101))),
    "siblings": ("three million elements beside each other", in_header(repeated(b"<a/>", 3000 * _KILO))),
    "siblings-in-body": ("200,001 elements in the Body", in_body(repeated(b"<a/>", 200_001))),
    "names": ("a hundred thousand different names", in_header(repeated(b"<x:a%d/>", 100 * _KILO))),
    "attribute-names": (
        "a hundred thousand different attributes",
        in_header(repeated(b'<x:a b%d=""/>', 100 * _KILO)),
    ),
    "comments": ("a hundred thousand empty comments", in_header(repeated(b"<!---->", 100 * _KILO))),
    "texts": ("a hundred thousand texts of one character", in_header(repeated(b"<a/>x", 100 * _KILO))),
    "name": ("a name of twelve megabytes", in_header(lambda: b"<" + b"n" * 12_000_000 + b"/>")),
    "name-257": ("a name of 257 characters", in_header(lambda: b"<" + b"n" * 257 + b"/>")),
    "value": (
        "an attribute of a megabyte",
        in_header(lambda: b'<x:a b="' + b"v" * 1_000_000 + b'"/>'),
    ),
    "text": ("a text of twelve megabytes", in_header(lambda: b"t" * 12_000_000)),
    "never-ends": ("an element that is opened a million times", in_body(repeated(b"<a>", 1_000_000))),
}

_SEARCHES: Final[dict[str, tuple[str, Change]]] = {
    "declarations": (
        "the same fifty namespaces on a thousand elements beside each other",
        in_header(lambda: declarations(50)() * 1000),
    ),
    # What a node-set costs when each node is looked for among all that were found before.
    "actors": (
        "thousands of elements with an actor",
        in_header(repeated(b'<x:a xmlns:s="%s" s:actor="a"/>' % PREFIXES["soap"].encode(), 12 * _KILO)),
    ),
    "identifiers": (
        "thousands of elements with one identifier of two kinds",
        in_header(
            lambda: (
                repeated(b'<x:a xml:id="i%d"/>          ', 6 * _KILO)()
                + repeated(b'<e:a xmlns:e="%s" e:id="i%%d"/>' % PREFIXES["eb"].encode(), 6 * _KILO)()
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


def _cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for attack_id, rows, problems, source in (
        ("DOS-03", _ATTRIBUTES, "GW102", _C14N),
        ("DOS-04", _NAMESPACES, "GW102", _C14N),
        ("DOS-05", _SIZES, "GW102 GW104", _SIZE),
        ("DOS-05", _SEARCHES, "GW102 GW107 GW202 GW203", _SIZE),
    ):
        for name, (title, change) in rows.items():
            found += both_faces(f"{attack_id}.{name}", title, change, problems, source)
    for name, (title, change, source) in _SIGNATURES.items():
        found += both_faces(f"DOS-04.{name}", title, change, "GW102 GW202 GW204", source)
    for name, (title, expression) in _XPATHS.items():
        change = in_signature(partial(_reference, _xpath(expression)))
        found += both_faces(f"DOS-06.{name}", title, change, "GW202 GW204", "XPath denial of service")
    return tuple(found)


CASES: Final[tuple[Case, ...]] = (*xml_declarations.CASES, *_cases())
"""Attacks by XML: DOS-01 to DOS-07."""
