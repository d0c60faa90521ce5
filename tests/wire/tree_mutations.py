"""Seeded mutations of XML trees: what a careless or malicious sender might do to a message."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy

from lxml import etree

NAMES = [
    "From",
    "Role",
    "Reference",
    "Transforms",
    "Value",
    "KeyInfo",
    "Object",
    "Unheard",
    "faultcode",
    "Header",
]
NAMESPACES = [
    "",
    "urn:other",
    "http://www.w3.org/2000/09/xmldsig#",
    "http://schemas.xmlsoap.org/soap/envelope/",
    "http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd",
    "http://www.w3.org/1999/xlink",
    "http://www.w3.org/2003/05/soap-envelope",
    "http://www.w3.org/XML/1998/namespace",
]
VALUES = [
    "",
    " ",
    "1",
    "true",
    "-5",
    "2026-01-01T00:00:00Z",
    "2026-13-01T00:00:00",
    "QUJD",
    "Q?",
    "Error",
    "Continue",
    "simple",
    "en",
    "e n",
    "urn:a:b",
    "a b",
    "soap:Client",
    "nobody:Client",
    "0",
    "2.0",
    "x" * 300,
    "Received",
    "http://[bad",
    "%zz",
    "\u00e9",
]
ATTRIBUTES = [
    "Id",
    "id",
    "version",
    "type",
    "URI",
    "Algorithm",
    "mustUnderstand",
    "actor",
    "signed",
    "lang",
    "href",
]

Mutation = Callable[[random.Random, etree._Element], None]


def _qualified(rng: random.Random, names: list[str]) -> str:
    namespace = rng.choice(NAMESPACES)
    return f"{{{namespace}}}{rng.choice(names)}" if namespace else rng.choice(names)


def drop(_rng: random.Random, element: etree._Element) -> None:
    """Take the element away."""
    element.getparent().remove(element)


def repeat(_rng: random.Random, element: etree._Element) -> None:
    """Put a copy of the element behind it."""
    element.addnext(deepcopy(element))


def reorder(rng: random.Random, element: etree._Element) -> None:
    """Move the element elsewhere among its siblings."""
    parent = element.getparent()
    parent.remove(element)
    parent.insert(rng.randint(0, len(parent)), element)


def move(rng: random.Random, element: etree._Element) -> None:
    """Move the element to another parent."""
    others = [e for e in element.getroottree().getroot().iter("*") if element not in (e, *e.iterancestors())]
    rng.choice(others).append(element)


def rename(rng: random.Random, element: etree._Element) -> None:
    """Give the element another local name."""
    element.tag = etree.QName(etree.QName(element).namespace, rng.choice(NAMES)).text


def renamespace(rng: random.Random, element: etree._Element) -> None:
    """Give the element another namespace, or none."""
    namespace = rng.choice(NAMESPACES)
    local = etree.QName(element).localname
    element.tag = f"{{{namespace}}}{local}" if namespace else local


def empty(_rng: random.Random, element: etree._Element) -> None:
    """Take all content away."""
    for child in list(element):
        element.remove(child)
    element.text = None


def retext(rng: random.Random, element: etree._Element) -> None:
    """Write another text into the element."""
    element.text = rng.choice(VALUES)


def add_child(rng: random.Random, element: etree._Element) -> None:
    """Put an unexpected element into the element."""
    child = etree.Element(_qualified(rng, NAMES))
    child.text = rng.choice(VALUES)
    element.insert(rng.randint(0, len(element)), child)


def add_attribute(rng: random.Random, element: etree._Element) -> None:
    """Give the element an attribute more."""
    element.set(_qualified(rng, ATTRIBUTES), rng.choice(VALUES))


def drop_attribute(rng: random.Random, element: etree._Element) -> None:
    """Take an attribute away."""
    if element.attrib:
        del element.attrib[rng.choice(sorted(element.attrib))]


def change_attribute(rng: random.Random, element: etree._Element) -> None:
    """Give an attribute another value."""
    if element.attrib:
        element.set(rng.choice(sorted(element.attrib)), rng.choice(VALUES))


def rename_attribute(rng: random.Random, element: etree._Element) -> None:
    """Give an attribute another namespace, or none."""
    if element.attrib:
        name = rng.choice(sorted(element.attrib))
        value = element.attrib.pop(name)
        namespace = rng.choice(NAMESPACES)
        local = etree.QName(name).localname
        element.set(f"{{{namespace}}}{local}" if namespace else local, value)


MUTATIONS: list[Mutation] = [
    drop,
    repeat,
    reorder,
    move,
    rename,
    renamespace,
    empty,
    retext,
    add_child,
    add_attribute,
    drop_attribute,
    change_attribute,
    rename_attribute,
]


def mutate(rng: random.Random, document: etree._Element) -> tuple[etree._Element, str]:
    """Return a copy of `document` with one to three mutations, and their names."""
    root = deepcopy(document)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        candidates = list(root.iter("*"))[1:]
        if not candidates:
            break
        element, mutation = rng.choice(candidates), rng.choice(MUTATIONS)
        done.append(f"{mutation.__name__} {etree.QName(element).localname}")
        mutation(rng, element)
    return root, ", ".join(done)
