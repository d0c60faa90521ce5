"""A second canonicaliser, word for word from the two recommendations and without lxml.

It is slow and simple on purpose: the tests hold the product against it.
"""

from __future__ import annotations

from collections.abc import Collection
from xml.dom import Node, minidom

XML = "http://www.w3.org/XML/1998/namespace"


def elements_of(document: minidom.Document) -> list[minidom.Element]:
    """All elements in document order."""
    return list(document.getElementsByTagName("*"))


def canonical(
    apex: minidom.Element,
    *,
    exclusive: bool = False,
    prefixes: Collection[str] = (),
    comments: bool = False,
    omit: Collection[minidom.Element] = (),
) -> bytes:
    """The canonical form of the sub-tree at `apex` without the sub-trees `omit`."""
    inclusive = {"" if prefix == "#default" else prefix for prefix in prefixes}
    out: list[str] = []

    def write(node: minidom.Node, rendered: dict[str, str]) -> None:
        if node.nodeType in (Node.TEXT_NODE, Node.CDATA_SECTION_NODE):
            out.append(_text(node.data))
        elif node.nodeType == Node.COMMENT_NODE and comments:
            out.append(f"<!--{node.data}-->")
        elif node.nodeType == Node.PROCESSING_INSTRUCTION_NODE:
            out.append(f"<?{node.target}{' ' if node.data else ''}{node.data}?>")
        elif node.nodeType == Node.ELEMENT_NODE and node not in omit:
            element(node, rendered)

    def element(node: minidom.Element, rendered: dict[str, str]) -> None:
        scope = _scope(node)
        attributes = [(a.name, a.value) for a in _attributes(node) if not _declares(a.name)]
        if node is apex and not exclusive:
            attributes += _inherited(node)
        if exclusive:
            wanted = {_prefix(node.tagName)} | {_prefix(n) for n, _ in attributes if ":" in n} | inclusive
        else:
            wanted = set(scope) | {""}
        now = {p: scope.get(p, "") for p in wanted if p != "xml"}
        fresh = {p: uri for p, uri in now.items() if rendered.get(p, "") != uri}
        out.append("<" + node.tagName)
        for prefix in sorted(fresh):
            out.append(f' {"xmlns:" + prefix if prefix else "xmlns"}="{_value(fresh[prefix])}"')
        names = {**scope, "xml": XML}
        for name, value in sorted(attributes, key=lambda a: _order(a[0], names)):
            out.append(f' {name}="{_value(value)}"')
        out.append(">")
        for child in node.childNodes:
            write(child, {**rendered, **fresh})
        out.append(f"</{node.tagName}>")

    write(apex, {})
    return "".join(out).encode()


def _attributes(node: minidom.Element) -> list[minidom.Attr]:
    return [node.attributes.item(i) for i in range(node.attributes.length)]


def _declares(name: str) -> bool:
    return name == "xmlns" or name.startswith("xmlns:")


def _prefix(name: str) -> str:
    return name.split(":")[0] if ":" in name else ""


def _order(name: str, scope: dict[str, str]) -> tuple[str, str]:
    return (scope[_prefix(name)], name.split(":")[1]) if ":" in name else ("", name)


def _lineage(node: minidom.Element) -> list[minidom.Element]:
    path = []
    while node is not None and node.nodeType == Node.ELEMENT_NODE:
        path.append(node)
        node = node.parentNode
    return path


def _scope(node: minidom.Element) -> dict[str, str]:
    scope: dict[str, str] = {}
    for ancestor in reversed(_lineage(node)):
        for attribute in _attributes(ancestor):
            if _declares(attribute.name):
                scope[attribute.name[6:]] = attribute.value or ""
    return scope


def _inherited(node: minidom.Element) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for ancestor in _lineage(node)[1:]:
        for attribute in _attributes(ancestor):
            if attribute.name.startswith("xml:") and not node.hasAttribute(attribute.name):
                found.setdefault(attribute.name, attribute.value)
    return list(found.items())


def _text(data: str) -> str:
    return data.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


def _value(data: str) -> str:
    data = data.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return data.replace("\t", "&#x9;").replace("\n", "&#xA;").replace("\r", "&#xD;")
