"""Changes to the sample submission, each for one thing that may be right or wrong with it."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from gateway.wire import SUB, WCO_DEC

Change = Callable[[etree._Element], None]


def at(root: etree._Element, path: str) -> etree._Element:
    """Return the first element of a path in which every name may be of any namespace."""
    found = root.find("/".join(f"{{*}}{name}" if name[:1].isalpha() else name for name in path.split("/")))
    assert found is not None, path
    return found


def text(path: str, value: str) -> Change:
    """Write another value at a path."""

    def change(root: etree._Element) -> None:
        at(root, path).text = value

    return change


def attribute(path: str, name: str, value: str) -> Change:
    """Write another attribute at a path."""

    def change(root: etree._Element) -> None:
        at(root, path).set(name, value)

    return change


def without(path: str) -> Change:
    """Take an element away."""

    def change(root: etree._Element) -> None:
        element = at(root, path)
        element.getparent().remove(element)  # type: ignore[union-attr]

    return change


def without_applications(root: etree._Element) -> None:
    """Leave the declaration alone."""
    for one in root.findall(f"{{{SUB}}}Application"):
        root.remove(one)


def with_agent(value: str) -> Change:
    """Name an agent in the declaration."""

    def change(root: etree._Element) -> None:
        agent = etree.Element(f"{{{WCO_DEC}}}Agent")
        etree.SubElement(agent, f"{{{WCO_DEC}}}ID").text = value
        at(root, ".//BorderTransportMeans").addprevious(agent)

    return change


def reference(value: str) -> Change:
    """Give the submission another reference."""
    return all_of(text("Reference", value), text(".//FunctionalReferenceID", value))


def supplement(root: etree._Element) -> None:
    """Make it the supplement of the same."""
    at(root, "Function").text = "35"


def withdrawal(root: etree._Element) -> None:
    """Make it the withdrawal of the same: nothing but who, which one and why."""
    at(root, "Function").text = "1"
    without_applications(root)
    for one in root.findall(f"{{{SUB}}}Supplement"):
        root.remove(one)
    declaration = at(root, ".//Declaration/Declarant").getparent()
    assert declaration is not None
    kept = {"FunctionCode", "FunctionalReferenceID", "Declarant", "Agent"}
    for child in list(declaration):
        if etree.QName(child).localname not in kept:
            declaration.remove(child)
    because(root, "84", "The goods failed their inspection.")


def because(root: etree._Element, code: str, words: str) -> None:
    """State the reason of an amendment or a withdrawal."""
    declaration = at(root, ".//Declaration/Declarant").getparent()
    assert declaration is not None
    said = etree.Element(f"{{{WCO_DEC}}}AdditionalInformation")
    etree.SubElement(said, f"{{{WCO_DEC}}}StatementDescription").text = words
    etree.SubElement(said, f"{{{WCO_DEC}}}StatementTypeCode").text = "AES"
    change = etree.Element(f"{{{WCO_DEC}}}Amendment")
    etree.SubElement(change, f"{{{WCO_DEC}}}ChangeReasonCode").text = code
    names = [etree.QName(child).localname for child in declaration]
    # The classes stand behind the leaves, in the order of their names.
    first = next(n for n, name in enumerate(names) if name in ("Agent", "BorderTransportMeans", "Declarant"))
    declaration.insert(first, said)
    second = next(n for n, name in enumerate(names) if name in ("BorderTransportMeans", "Declarant"))
    declaration.insert(second + 1, change)


def all_of(*changes: Change) -> Change:
    """Make several changes."""

    def change(root: etree._Element) -> None:
        for one in changes:
            one(root)

    return change
