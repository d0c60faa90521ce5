"""Small damages to a message, made from a seeded random source and named by their kind.

A third of them should leave the message valid (a comment more, an optional element less, a
text of exactly the longest length), else agreement between two schemas would prove little.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy

from lxml import etree

XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
NAMESPACES = (
    "urn:wco:datamodel:WCO:DEC-DMS:2",
    "urn:wco:datamodel:WCO:RES-DMS:2",
    "urn:wco:datamodel:WCO:DocumentMetaData-DMS:2",
    "urn:wco:datamodel:WCO:Declaration_DS:DMS:2",
    "urn:wco:datamodel:WCO:Response_DS:DMS:2",
    "urn:wco:datamodel:WCO:DEC-DMS:3",
    "",
)
NAMES = (
    "ID", "Name", "TypeCode", "CategoryCode", "FunctionCode", "SequenceNumeric", "Address", "CountryCode",
    "Line", "Pointer", "AdditionalDocument", "GoodsShipment", "Declaration", "Response", "MetaData",
    "DateTimeString", "QuantityQuantity", "StatementCode", "id", "Unknown",
)  # fmt: skip
# The longest lengths that occur in the data model; each is tried exactly, and one more.
LENGTHS = (1, 2, 3, 4, 5, 7, 9, 17, 18, 35, 50, 70, 256, 512)
VALUES = (
    "0", "1", "9", "13", "14", "7", "09", "-1", "+5", "1.0", "1.5", "0.001", "1.12345",
    "1.123456", "1.1234567", "99999", "100000", "99999999", "123456789", "1234567890123456",
    "12345678901234567", "1e3", "INF",
    "NaN", ".5", "5.", "true", "false", "GB", "gb", "KOR", "K1", "a", "AB", "ABC", "ABCD", "٣",
    "한국", "ß", "x y", " x ", "x  y",
    "\t1\n", "one\ntwo", "20200101", "20200101000000", "20200101000000Z", "20200101000000+01", "19990101",
    "2020-01-01", "202001010000Z", "2020013", "20209999", "٢0200101", "\u00a0", "\u3000x",
)  # fmt: skip
ATTRIBUTES = (
    "currencyID", "unitCode", "formatCode", "listID", "listAgencyID", "listAgencyName", "listName",
    "listVersionID", "listURI", "listSchemeURI", "name", "languageID", "schemeID", "schemeName",
    "schemeAgencyID", "schemeAgencyName", "schemeVersionID", "schemeDataURI", "schemeURI", "unknown", "id",
    f"{XSI}schemaLocation", f"{XSI}noNamespaceSchemaLocation", f"{XSI}nil", f"{XSI}type",
    "{http://www.w3.org/XML/1998/namespace}lang", "{http://www.w3.org/XML/1998/namespace}space",
    "{urn:example:other}currencyID",
)  # fmt: skip
ATTRIBUTE_VALUES = (
    "GBP", "gbp", "XYZ", "GB", "GBPX", "", " ", "KGM", "ABCDE", "ABCDEF", "102", "304", "203", "10 2", " 102",
    "en", "en-GB", "e n", "123456789", "en_", "http://example.org/a b", "http://[", "::", "6", "123", "1234",
    "true", "preserve", "false", "urn:a a.xsd",
)  # fmt: skip

Mutation = Callable[[random.Random, etree._Element], bool]


def drop(rng: random.Random, node: etree._Element) -> bool:
    """Take the element out."""
    parent = node.getparent()
    if parent is None:
        return False
    parent.remove(node)
    return True


def repeat(rng: random.Random, node: etree._Element) -> bool:
    """Put copies of the element right behind it."""
    if node.getparent() is None:
        return False
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        node.addnext(deepcopy(node))
    return True


def reorder(rng: random.Random, node: etree._Element) -> bool:
    """Move the element among its siblings."""
    parent = node.getparent()
    if parent is None or len(parent) < 2:
        return False
    parent.remove(node)
    parent.insert(rng.randrange(len(parent) + 1), node)
    return True


def rename(rng: random.Random, node: etree._Element) -> bool:
    """Give the element another name of the same namespace."""
    names = [*NAMES, *(etree.QName(other).localname for other in node.itersiblings(tag=etree.Element))]
    node.tag = etree.QName(etree.QName(node).namespace, rng.choice(names)).text
    return True


def namespace(rng: random.Random, node: etree._Element) -> bool:
    """Put the element into another namespace, or into none."""
    node.tag = etree.QName(rng.choice(NAMESPACES) or None, etree.QName(node).localname).text
    return True


def length(rng: random.Random, node: etree._Element) -> bool:
    """Make the text as long as some limit, or one longer."""
    if len(node):
        return False
    wanted = rng.choice(LENGTHS) + rng.choice((0, 0, 1))
    filling = rng.choice(("x", "7", "A", "é", "김", "x ", "0"))
    old = "" if filling == "0" else (node.text or "")
    node.text = (old + filling * wanted)[:wanted]
    return True


def empty(rng: random.Random, node: etree._Element) -> bool:
    """Take all content away, or leave white space alone."""
    for child in list(node):
        node.remove(child)
    node.text = rng.choice((None, "", " ", "\n\t ", "\u00a0"))
    return True


def kind_of_value(rng: random.Random, node: etree._Element) -> bool:
    """Put a value of another kind in place of the text."""
    if len(node):
        return False
    node.text = rng.choice(VALUES)
    return True


def attribute(rng: random.Random, node: etree._Element) -> bool:
    """Add, change or take away an attribute."""
    bearing = [one for one in node.iter(tag=etree.Element) if one.attrib]
    if bearing and rng.random() < 0.5:
        node = rng.choice(bearing)
    choice = rng.random()
    if node.attrib and choice < 0.3:
        del node.attrib[rng.choice(sorted(node.attrib))]
    elif node.attrib and choice < 0.7:
        node.set(rng.choice(sorted(node.attrib)), rng.choice(ATTRIBUTE_VALUES))
    else:
        name = rng.choice(ATTRIBUTES)
        value = rng.choice(ATTRIBUTE_VALUES)
        if name == f"{XSI}type":
            value = rng.choice(("Declaration", "xs:string", "xs:token", "unknown:Type"))
        node.set(name, value)
    return True


def stray(rng: random.Random, node: etree._Element) -> bool:
    """Put a comment, an instruction, text or a foreign element where it may not matter, or does."""
    choice = rng.randrange(5)
    if choice == 0:
        node.insert(rng.randrange(len(node) + 1), etree.Comment(" checked "))
    elif choice == 1:
        node.insert(rng.randrange(len(node) + 1), etree.ProcessingInstruction("note", "checked"))
    elif choice == 2:
        node.insert(rng.randrange(len(node) + 1), etree.Element("{urn:example:other}Extra"))
    elif choice == 3 and len(node):
        node[rng.randrange(len(node))].tail = rng.choice(("stray", "\n", "0"))
    else:
        name = etree.QName(etree.QName(node).namespace, rng.choice(NAMES)).text
        node.insert(rng.randrange(len(node) + 1), etree.Element(name))
    return True


MUTATIONS: dict[str, Mutation] = {
    "drop": drop,
    "repeat": repeat,
    "reorder": reorder,
    "rename": rename,
    "other namespace": namespace,
    "length": length,
    "empty": empty,
    "other value": kind_of_value,
    "attribute": attribute,
    "stray content": stray,
}


def mutant(rng: random.Random, kind: str, original: etree._Element) -> etree._Element:
    """Return a copy of `original` with one damage of `kind`, as it is after being written and read."""
    copy = deepcopy(original)
    levels = _levels(copy)
    while not MUTATIONS[kind](rng, rng.choice(rng.choice(levels))):
        pass
    return etree.fromstring(etree.tostring(copy))


def _levels(root: etree._Element) -> list[list[etree._Element]]:
    """Return the elements by depth, so that deep ones (few levels, many elements) do not crowd out others."""
    levels = [[root]]
    while below := [child for node in levels[-1] for child in node.iterchildren(tag=etree.Element)]:
        levels.append(below)
    return levels
