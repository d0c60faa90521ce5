"""Changes of XML that keep it XML: elements moved, values odd, names in other namespaces, ids twice."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random

from lxml import etree

from gateway.wire import DS, EB, SOAP11, WCO_DEC, WSA, WSSE, WSU, XML
from tests.fuzz.octets import NUMBERS, mutate_octets
from tests.wire.tree_mutations import MUTATIONS

__all__ = ["change_tree", "mutate_xml", "parsed", "written"]

Change = Callable[[Random, etree._Element], None]

IDS = ("Id", "ID", "id", f"{{{XML}}}id", f"{{{WSU}}}Id", f"{{{EB}}}id", "{urn:evil}Id")
NAMESPACES = (DS, EB, SOAP11, WSA, WSSE, WSU, WCO_DEC, "urn:single-window:submission:1", "urn:x", "relative")
TEXTS = (
    *(number.decode() for number in NUMBERS),
    *(
        "",
        " ",
        "\n",
        "\r",
        "\u2028",
        "\U0001f600",
        "\ufffe",
        "a" * 5000,
        "가" * 200,
        "]]>",
        "<!--",
        "&lt;",
        "&amp;amp;",
    ),
    *(
        "file:///etc/passwd",
        "http://127.0.0.1:9/",
        "#xpointer(/)",
        "##b",
        "cid:",
        "cid:%",
        "cid:%ff",
        "urn:",
        "#",
        "x:y",
    ),
    *(
        "true",
        "false",
        "Q?==",
        "QUJD",
        "*",
        "2026-11-20T09:00:00Z",
        "P1D",
        "../..",
        "{urn:x}a",
        "${x}",
        "%s%n",
        "\t x \n",
    ),
    *(
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
        "http://www.w3.org/TR/1999/REC-xslt-19991116",
        "not(//x)",
        "\x85",
    ),
)


def parsed(data: bytes) -> etree._Element | None:
    """Return the tree of `data`, None where it has none; entities are left as they are written."""
    if len(data) > 1 << 20:
        return None
    try:
        return etree.fromstring(
            data, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        )
    except (etree.XMLSyntaxError, ValueError):
        return None


def written(root: etree._Element) -> bytes:
    return etree.tostring(root, encoding="utf-8")


def mutate_xml(data: bytes, rng: Random) -> bytes:
    """Change a document as a tree, sometimes as octets afterwards too; octets alone where it is none."""
    root = parsed(data)
    if root is None or rng.random() < 0.05:
        return mutate_octets(data, rng)
    data = written(change_tree(root, rng))
    if rng.random() < 0.15:
        data = rng.choice(_OF_TEXT)(data, rng)
    return data


def change_tree(root: etree._Element, rng: Random) -> etree._Element:
    """Return the tree after one to four changes; what lxml does not write is left as it was."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        elements = list(root.iter("*"))
        element, change = rng.choice(elements), rng.choice(_CHANGES)
        if element is root and change in _NOT_OF_ROOT:
            continue
        try:
            change(rng, element)
        except (ValueError, IndexError, TypeError):  # a name or a text that no XML can hold
            continue
    return root


def _text(rng: Random, element: etree._Element) -> None:
    element.text = rng.choice(TEXTS)


def _tail(rng: Random, element: etree._Element) -> None:
    element.tail = rng.choice(TEXTS)


def _attribute(rng: Random, element: etree._Element) -> None:
    if element.attrib:
        element.set(rng.choice(sorted(element.attrib)), rng.choice(TEXTS))


def _identify(rng: Random, element: etree._Element) -> None:
    """Give the element an id that another one has already."""
    taken = [value for one in element.getroottree().iter("*") for value in one.attrib.values()]
    element.set(rng.choice(IDS), rng.choice(taken or ["x"]))


def _wrap(rng: Random, element: etree._Element) -> None:
    """Put the element into a new one, at its place."""
    parent = element.getparent()
    holder = element.makeelement(
        f"{{{rng.choice(NAMESPACES)}}}{rng.choice(('Object', 'Wrapper', 'Body', 'any'))}"
    )
    parent.replace(element, holder)
    holder.append(element)


def _comment(rng: Random, element: etree._Element) -> None:
    element.insert(rng.randint(0, len(element)), etree.Comment("c"))


def _split_text(rng: Random, element: etree._Element) -> None:
    """Put a comment in the middle of the text."""
    words = element.text or "ab"
    place = rng.randint(0, len(words))
    mark = etree.Comment("x")
    element.text, mark.tail = words[:place], words[place:]
    element.insert(0, mark)


def _many(rng: Random, element: etree._Element) -> None:
    """Repeat the element, as often as a message would hardly have it."""
    if sum(1 for _ in element.iter()) <= 20:
        for _ in range(rng.choice((5, 60))):
            element.addnext(deepcopy(element))


def _nest(rng: Random, element: etree._Element) -> None:
    """Nest empty elements in the element."""
    for _ in range(rng.choice((3, 40, 105))):
        element = etree.SubElement(element, element.tag)


def _attributes(rng: Random, element: etree._Element) -> None:
    for number in range(rng.choice((10, 70))):
        element.set(f"a{number}", "1")


def _declare(rng: Random, element: etree._Element) -> None:
    """Declare namespaces between the element and its children."""
    spaces: dict[str | None, str] = {f"n{n}": f"urn:n{n}" for n in range(rng.choice((1, 20, 70)))}
    if rng.random() < 0.3:
        spaces[None] = rng.choice(NAMESPACES)
    holder = element.makeelement("{urn:n0}holder", nsmap=spaces)
    holder.extend(list(element))
    element.append(holder)


def _exchange(rng: Random, element: etree._Element) -> None:
    """Exchange the element with another of its document."""
    other = rng.choice(list(element.getroottree().iter("*")))
    if other.getparent() is None or other in element.iter() or element in other.iter():
        return
    first, second = deepcopy(element), deepcopy(other)
    other.getparent().replace(other, first)
    element.getparent().replace(element, second)


def _copy_elsewhere(rng: Random, element: etree._Element) -> None:
    others = list(element.getroottree().iter("*"))
    rng.choice(others).insert(rng.randint(0, 3), deepcopy(element))


def _entity(data: bytes, rng: Random) -> bytes:
    """Write a document type, an instruction, an entity or a section into the octets."""
    words = rng.choice(
        (
            b'<!DOCTYPE a [<!ENTITY x "y">]>',
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
            b'<?xml-stylesheet href="http://127.0.0.1:9/"?>',
            b"&x;",
            b"<![CDATA[<x>]]>",
            b"&#55296;",
            b"&#x10FFFF;",
            b'<?xml version="1.1"?>',
        )
    )
    place = rng.choice((0, data.find(b">", rng.randint(0, len(data))) + 1))
    return data[:place] + words + data[place:]


_OF_TEXT = (mutate_octets, _entity)
_NOT_OF_ROOT: tuple[Change, ...] = (*MUTATIONS, _tail, _wrap, _many, _exchange)
_CHANGES: tuple[Change, ...] = (
    *MUTATIONS,
    *(_text, _text, _text, _tail, _attribute, _attribute, _identify, _identify, _wrap, _comment, _split_text),
    *(_many, _nest, _attributes, _declare, _exchange, _copy_elsewhere, _copy_elsewhere),
)
