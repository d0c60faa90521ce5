"""What a document says, read twice: by expat, which scans it, and by libxml2, which is believed."""

from __future__ import annotations

from xml.parsers import expat

from lxml import etree

__all__ = ["by_expat", "by_lxml"]

#: Elements with their attributes, runs of text, and ends of elements, in document order.
Said = list[tuple[object, ...]]


def by_expat(data: bytes) -> Said:
    said: Said = []

    def text(words: str) -> None:
        if said and said[-1][0] == "text":
            said[-1] = ("text", f"{said[-1][1]}{words}")
        else:
            said.append(("text", words))

    parser = expat.ParserCreate("UTF-8", namespace_separator="}")
    parser.StartElementHandler = lambda name, found: said.append(("start", name, sorted(found.items())))
    parser.EndElementHandler = lambda _name: said.append(("end",))
    parser.CharacterDataHandler = text
    parser.Parse(data, True)
    return said


def by_lxml(root: etree._Element) -> Said:
    said: Said = []

    def text(words: str | None) -> None:
        if words and said and said[-1][0] == "text":
            said[-1] = ("text", f"{said[-1][1]}{words}")
        elif words:
            said.append(("text", words))

    for event, element in etree.iterwalk(root, events=("start", "end", "comment")):
        if event == "start":
            found = sorted((str(name).lstrip("{"), value) for name, value in element.attrib.items())
            said.append(("start", str(element.tag).lstrip("{"), found))
            text(element.text)
            continue
        if event == "end":
            said.append(("end",))
        if element is not root:
            text(element.tail)
    return said
