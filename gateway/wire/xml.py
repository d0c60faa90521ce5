"""Parsing and serialization of XML: one hardened parser, and correct canonical forms of sub-trees."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from io import BytesIO
from itertools import islice
from typing import Any, Final

from lxml import etree

from gateway.errors import XML_MALFORMED, GatewayError
from gateway.wire.exclusive_c14n import canonicalize_exclusive
from gateway.wire.namespaces import DOCUMENT, PREFIXES, XML
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits, prescan_xml

__all__ = [
    "XPathIndex",
    "build_xpath",
    "canonicalize_document",
    "canonicalize_element",
    "count_parsed_octets",
    "list_xpath_namespaces",
    "omit_canonical_elements",
    "parse_scanned_xml",
    "parse_xml",
    "read_own_element",
    "serialize_element",
]

_PREFIX_OF: Final = {uri: prefix for prefix, uri in PREFIXES.items()}
_XML_ATTRIBUTE: Final = f"{{{XML}}}"
#: The namespace of an agency document, and its id, which is its prefix in a path.
_AGENCY_DOCUMENT: Final = re.compile(re.escape(DOCUMENT) + r"([a-z][a-z0-9.-]*):1")
# In a canonical form every "<" begins markup; group 1 tells tags from instructions.
_MARKUP: Final = re.compile(rb"<\?.*?\?>|(<[^?])", re.DOTALL)
_NO_FORM: Final = "no canonical form exists: a namespace name is relative"
#: From so many nodes on, a document is long.
_MANY: Final = 10_000


def parse_xml(
    data: bytes, limits: WireLimits = DEFAULT_LIMITS, *, allow_comments: bool = True, envelope: bool = False
) -> etree._Element:
    """Return the root element of the document `data`, which must pass the pre-scan."""
    prescan_xml(data, limits, allow_comments=allow_comments, envelope=envelope)
    return parse_scanned_xml(data)


def parse_scanned_xml(data: bytes) -> etree._Element:
    """Return the root element of a document that has passed the pre-scan."""
    return _parse_hardened(data)


class _ThreadCounter(threading.local):
    """The number of octets that one thread has parsed."""

    octets = 0


_HERE: Final = _ThreadCounter()


def count_parsed_octets() -> int:
    """Return how many octets this thread has parsed, including documents that were refused."""
    return _HERE.octets


def _parse_hardened(data: bytes) -> etree._Element:
    _HERE.octets += len(data)
    # Each document has its own parser: threads would wait for a shared one, and the cost is the same.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        detail = (error.msg or "not well-formed").split(", line ")[0][:200]
        raise GatewayError(XML_MALFORMED, detail, f"line {line}, column {column}") from None
    # When a warning follows, libxml2 loses the error that a prefix is unbound and leaves the prefix in the
    # name.
    forgotten = parser.error_log.filter_from_errors()
    if len(forgotten):
        found = forgotten[0]
        raise GatewayError(XML_MALFORMED, found.message[:200], f"line {found.line}, column {found.column}")
    return root


def read_own_element(text: bytes) -> etree._Element:
    """Return the element that the gateway itself has just written, and that nobody else could change.

    Nothing is asked of it but that it is well-formed: whatever came from outside is for `parse_xml`.
    """
    return _parse_hardened(text)


def serialize_element(element: etree._Element) -> bytes:
    """Return `element` as UTF-8 without XML declaration and without the text after its end tag."""
    return etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def canonicalize_element(
    element: etree._Element,
    *,
    exclusive: bool = False,
    prefixes: Sequence[str] = (),
    comments: bool = False,
) -> bytes:
    """Return the canonical form of the sub-tree `element` in its context.

    Inclusive is Canonical XML 1.0, exclusive is Exclusive XML Canonicalization 1.0 with
    `prefixes` as its InclusiveNamespaces PrefixList (``#default`` for the default one). The
    text after the element's end tag is not included.
    """
    if exclusive and "#default" in prefixes:
        return canonicalize_exclusive(
            etree.tostring(element, encoding="utf-8", with_tail=False), prefixes, comments
        )
    alone = element.getparent() is None and element.getprevious() is None and element.getnext() is None
    apex = (
        element
        if alone or _inherits_correctly(element, exclusive)
        else _detach_element(element, not exclusive)
    )
    return _write_canonical_form(apex, exclusive, prefixes, comments)


def canonicalize_document(
    root: etree._Element, omit: Collection[etree._Element] = (), *, exclusive: bool = False
) -> bytes:
    """Return the canonical form of the whole document, inclusive or exclusive, without the elements `omit`.

    The tree is not changed: the omitted elements are cut out of the canonical octets. The
    result is the form of a node-set without these sub-trees, since the output of an element
    depends on its ancestors only, and the ancestors of a remaining element remain too.
    """
    if omit and next(islice(root.iter(), _MANY, None), None) is not None:
        return _canonicalize_long_document(root, omit, exclusive)
    whole = _write_canonical_form(root.getroottree(), exclusive, (), False)
    return omit_canonical_elements(root, omit, whole) if omit else whole


def _canonicalize_long_document(
    root: etree._Element, omit: Collection[etree._Element], exclusive: bool
) -> bytes:
    """Return the canonical form of a document without the elements `omit`; it is held once."""
    top: Any = root.getroottree()
    written = BytesIO()
    try:
        top.write(written, method="c14n", exclusive=exclusive, with_comments=False)
    except etree.C14NError:
        raise GatewayError(XML_MALFORMED, _NO_FORM) from None
    # Not a copy, but what was written, until something else is.
    spans = _find_canonical_spans(top.getroot(), omit, written.getvalue())
    end = position = 0
    with written.getbuffer() as view:
        for start, stop in (*spans, (len(view), len(view))):
            if start >= position:  # else it is inside an element that is already cut out
                kept = start - position
                view[end : end + kept] = view[position:start]
                end, position = end + kept, stop
    written.truncate(end)
    return written.getvalue()


def omit_canonical_elements(root: etree._Element, omit: Collection[etree._Element], whole: bytes) -> bytes:
    """Return the canonical form `whole` of the document of `root` without its elements `omit`."""
    top = root.getroottree()
    # Views: a long form is copied once.
    view, position = memoryview(whole), 0
    kept: list[memoryview] = []
    for start, end in _find_canonical_spans(top.getroot(), omit, whole):
        if start >= position:  # else it is inside an element that is already cut out
            kept.append(view[position:start])
            position = end
    kept.append(view[position:])
    return b"".join(kept)


def build_xpath(element: etree._Element) -> str:
    """Return a readable absolute path to `element`, with the prefixes of the gateway."""
    steps: list[str] = []
    current: etree._Element | None = element
    while current is not None:
        steps.append(_format_xpath_step(current))
        current = current.getparent()
    return "/" + "/".join(reversed(steps))


class XPathIndex:
    """The paths (see `build_xpath`) of a document that does not change: children are counted only once."""

    def __init__(self) -> None:
        self._known: dict[etree._Element, str] = {}

    def get_xpath(self, element: etree._Element) -> str:
        """Return the absolute path to `element`."""
        path = self._known.get(element)
        if path is not None:
            return path
        parent = element.getparent()
        if parent is None:
            path = self._known[element] = build_xpath(element)
            return path
        above = self.get_xpath(parent)
        alike = Counter(child.tag for child in parent)
        seen: Counter[object] = Counter()
        for child in parent:
            seen[child.tag] += 1
            number = f"[{seen[child.tag]}]" if alike[child.tag] > 1 and isinstance(child.tag, str) else ""
            self._known[child] = f"{above}/{_format_node_name(child)}{number}"
        return self._known[element]


def _inherits_correctly(element: etree._Element, exclusive: bool) -> bool:
    """Return whether lxml's own canonical form is correct: `element` inherits nothing that lxml mistakes."""
    if None in element.nsmap:
        return False
    if exclusive:  # its form has no attributes of ancestors
        return True
    names = (str(name) for one in element.iterancestors() for name in one.attrib)
    return not any(name.startswith(_XML_ATTRIBUTE) for name in names)


def _detach_element(element: etree._Element, xml_attributes: bool) -> etree._Element:
    """Return a copy of `element` as a root with everything it inherits.

    lxml's own canonical form of a sub-tree writes superfluous xmlns="" below an inherited
    default namespace and omits inherited xml:lang, xml:space and xml:base. Only the inclusive
    form includes these.
    """
    copy = _parse_hardened(etree.tostring(element, encoding="utf-8", with_tail=False))
    for ancestor in element.iterancestors() if xml_attributes else ():
        for name, value in ancestor.attrib.items():
            if str(name).startswith(_XML_ATTRIBUTE) and name not in copy.attrib:
                copy.set(name, value)
    return copy


def _write_canonical_form(apex: Any, exclusive: bool, prefixes: Sequence[str], comments: bool) -> bytes:
    try:
        octets: bytes = etree.tostring(
            apex,
            method="c14n",
            exclusive=exclusive,
            inclusive_ns_prefixes=list(prefixes) or None,
            with_comments=comments,
            with_tail=False,
        )
    except etree.C14NError:
        raise GatewayError(XML_MALFORMED, _NO_FORM) from None
    return octets


def _find_canonical_spans(
    root: etree._Element, omit: Collection[etree._Element], whole: bytes
) -> list[tuple[int, int]]:
    """Return the start and end of the elements `omit` in the canonical form `whole` of their document."""
    if b"<?" in whole or any(element.getroottree().getroot() is not root for element in omit):
        return list(_count_canonical_spans(root, omit, whole))
    spans = []
    for element in omit:
        local = str(element.tag).rpartition("}")[2]
        name = f"{element.prefix}:{local}".encode() if element.prefix else local.encode()
        end = whole.find(b"</" + name + b">")
        if whole.find(b"</" + name + b">", end + 1) >= 0:
            return list(_count_canonical_spans(root, omit, whole))
        start = whole.find(b"<" + name)
        while whole[start + len(name) + 1] not in b" >":  # the beginning of a longer name
            start = whole.find(b"<" + name, start + 1)
        spans.append((start, end + len(name) + 3))
    return sorted(spans)


def _count_canonical_spans(
    root: etree._Element, omit: Collection[etree._Element], whole: bytes
) -> Iterator[tuple[int, int]]:
    """Yield the spans by counting tags in document order, for elements that names do not distinguish."""
    tags = ((match.start(), match[1] == b"</") for match in _MARKUP.finditer(whole) if match[1])
    opened = 0
    for index, size in _measure_extents(root, omit):
        start = -1
        while opened <= index:
            start, closing = next(tags)
            opened += not closing
        closed = 0
        while closed < size:  # a sub-tree ends with as many end tags as it has elements
            end, closing = next(tags)
            closed += closing
            opened += not closing
        yield start, whole.index(b">", end) + 1


def _measure_extents(root: etree._Element, omit: Collection[etree._Element]) -> list[tuple[int, int]]:
    """Return for each outermost element of `omit` its index in document order and its element count."""
    waiting = set(omit)
    extents: list[tuple[int, int]] = []
    beyond = 0
    for index, element in enumerate(root.iter("*")):
        if not waiting:
            break
        if element in waiting:
            waiting.discard(element)
            if index >= beyond:
                size = sum(1 for _ in element.iter("*"))
                extents.append((index, size))
                beyond = index + size
    return extents


def _format_node_name(element: etree._Element) -> str:
    if not isinstance(element.tag, str):
        return "comment()"
    name, prefix = etree.QName(element.tag), _get_prefix(element)
    return f"{prefix}:{name.localname}" if prefix else name.localname


def _get_prefix(element: etree._Element) -> str | None:
    """Return the prefix of an element in a path: one for each namespace, whatever its sender wrote."""
    namespace = etree.QName(element.tag).namespace or ""
    document = _AGENCY_DOCUMENT.fullmatch(namespace)
    return document[1] if document is not None else _PREFIX_OF.get(namespace) or element.prefix


def list_xpath_namespaces(root: etree._Element) -> dict[str, str]:
    """Return the namespace of each prefix in the paths (see `build_xpath`) of the elements of `root`."""
    found = {
        prefix: etree.QName(element.tag).namespace or ""
        for element in root.iter(tag=etree.Element)
        if (prefix := _get_prefix(element))
    }
    return dict(sorted(found.items()))


def _format_xpath_step(element: etree._Element) -> str:
    tag, step = element.tag, _format_node_name(element)
    if not isinstance(tag, str):
        return step
    before = sum(1 for _ in element.itersiblings(tag, preceding=True))
    if before or next(element.itersiblings(tag), None) is not None:
        return f"{step}[{before + 1}]"
    return step
