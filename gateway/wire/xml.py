"""Parsing and serialization of XML: one hardened parser, and correct canonical forms of sub-trees."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from io import BytesIO
from itertools import islice
from typing import Any, Final
from xml.parsers import expat

from lxml import etree

from gateway.errors import NO_ROOM, XML_MALFORMED, GatewayError, confirm_refusal, raise_resource_problem
from gateway.wire.element_access import list_attributes
from gateway.wire.namespaces import XML
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits, prescan_xml

_TEXT: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"}
_VALUE: Final = {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
_ESCAPED_TEXT: Final = str.maketrans(_TEXT)
_ESCAPED_VALUE: Final = str.maketrans(_VALUE)


def canonicalize_exclusive(document: bytes, prefixes: Collection[str], comments: bool) -> bytes:
    """Return the exclusive canonical form of the well-formed UTF-8 `document`; its root is the apex.

    Raises GW104 for a document that expat does not read.
    """
    writer = _ExclusiveWriter({"" if prefix == "#default" else prefix for prefix in prefixes})
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = writer.write_start_tag
    parser.EndElementHandler = writer.write_end_tag
    parser.CharacterDataHandler = writer.write_text
    parser.ProcessingInstructionHandler = writer.write_instruction
    if comments:
        parser.CommentHandler = writer.write_comment
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        # Names that libxml2 takes by the fifth edition of XML 1.0, and expat, by the fourth, does not.
        raise GatewayError(XML_MALFORMED, expat.ErrorString(error.code) or _NO_CANONICAL_FORM) from None
    return "".join(writer.pieces).encode()


class _ExclusiveWriter:
    """Writes the canonical form of the document that expat reads; names are qualified, with prefixes."""

    def __init__(self, inclusive: set[str]) -> None:
        self.inclusive = inclusive
        self.pieces: list[str] = []
        self.scopes: list[dict[str, str]] = [{}]
        self.rendered: list[dict[str, str]] = [{}]

    def write_start_tag(self, name: str, attributes: list[str]) -> None:
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        declared = {key[6:]: value for key, value in pairs if key == "xmlns" or key.startswith("xmlns:")}
        scope = self.scopes[-1] | declared
        own_attributes = [
            (key, value) for key, value in pairs if key != "xmlns" and not key.startswith("xmlns:")
        ]
        used = {_get_name_prefix(name)} | {_get_name_prefix(key) for key, _ in own_attributes if ":" in key}
        rendered = self.rendered[-1]
        fresh = {
            prefix: scope.get(prefix, "")
            for prefix in (used | self.inclusive) - {"xml"}
            if rendered.get(prefix, "") != scope.get(prefix, "")
        }
        self.scopes.append(scope)
        self.rendered.append(rendered | fresh)
        names = [(f"xmlns:{prefix}" if prefix else "xmlns", fresh[prefix]) for prefix in sorted(fresh)]
        scope_of = {**scope, "xml": XML}
        # Namespaces are sorted by prefix, attributes by namespace name and then local name.
        own_attributes.sort(key=lambda pair: _make_attribute_key(pair[0], scope_of))
        written = "".join(
            f' {key}="{value.translate(_ESCAPED_VALUE)}"' for key, value in names + own_attributes
        )
        self.pieces.append(f"<{name}{written}>")

    def write_end_tag(self, name: str) -> None:
        self.scopes.pop()
        self.rendered.pop()
        self.pieces.append(f"</{name}>")

    def write_text(self, data: str) -> None:
        self.pieces.append(data.translate(_ESCAPED_TEXT))

    def write_instruction(self, target: str, data: str) -> None:
        if len(self.scopes) > 1:  # the apex is an element: nodes outside it are not part of the form
            self.pieces.append(f"<?{target}{' ' if data else ''}{data}?>")

    def write_comment(self, data: str) -> None:
        if len(self.scopes) > 1:
            self.pieces.append(f"<!--{data}-->")


def _get_name_prefix(name: str) -> str:
    return name.partition(":")[0] if ":" in name else ""


def _make_attribute_key(name: str, scope: dict[str, str]) -> tuple[str, str]:
    prefix, colon, local = name.partition(":")
    return (scope.get(prefix, ""), local) if colon else ("", name)


_XML_ATTRIBUTE: Final = f"{{{XML}}}"
# In a canonical form every "<" begins markup; group 1 tells tags from instructions.
_MARKUP: Final = re.compile(rb"<\?.*?\?>|(<[^?])", re.DOTALL)
_NO_CANONICAL_FORM: Final = "no canonical form exists: a namespace name is relative"
_NO_MEMORY: Final = "memory is used up"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
#: A document with at least this number of nodes is long.
_MANY: Final = 10_000


def parse_xml(
    data: bytes, limits: WireLimits = DEFAULT_LIMITS, *, allow_comments: bool = True, envelope: bool = False
) -> etree._Element:
    """Return the root element of the document `data`, which must pass the pre-scan."""
    prescan_xml(data, limits, allow_comments=allow_comments, envelope=envelope)
    return _parse_hardened(data)


class _ThreadCounter(threading.local):
    """The number of octets that one thread has parsed."""

    octets = 0


_parsed_octets: Final = _ThreadCounter()


def count_parsed_octets() -> int:
    """Return how many octets this thread has parsed, including documents that were refused."""
    return _parsed_octets.octets


def _parse_hardened(data: bytes) -> etree._Element:
    _parsed_octets.octets += len(data)
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
        raise_resource_problem(error)
        line, column = error.position
        detail = (error.msg or "not well-formed").split(", line ")[0][:200]
        raise GatewayError(XML_MALFORMED, detail, f"line {line}, column {column}") from None
    # When a warning follows, libxml2 loses the error that a prefix is unbound and leaves the prefix in the
    # name.
    forgotten = parser.error_log.filter_from_errors()
    if len(forgotten):
        first_error = forgotten[0]
        if first_error.type == etree.ErrorTypes.ERR_NO_MEMORY:
            raise GatewayError(NO_ROOM, _NO_MEMORY)
        raise GatewayError(
            XML_MALFORMED, first_error.message[:200], f"line {first_error.line}, column {first_error.column}"
        )
    return root


def read_own_element(text: bytes) -> etree._Element:
    """Return the root of a text that the gateway itself has just written, and that cannot have changed since.

    The text must only be well-formed; octets from outside are for `parse_xml`.
    """
    return confirm_refusal(lambda: _parse_hardened(text))


def serialize_element(element: etree._Element) -> bytes:
    """Return `element` as UTF-8 without XML declaration and without the text after its end tag."""
    return etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def canonicalize_element(
    element: etree._Element,
    *,
    exclusive: bool = False,
    prefixes: Sequence[str] = (),
    comments: bool = False,
    once: bool = False,
) -> bytes:
    """Return the canonical form of the sub-tree `element` in its context.

    Inclusive is Canonical XML 1.0, exclusive is Exclusive XML Canonicalization 1.0 with
    `prefixes` as its InclusiveNamespaces PrefixList (``#default`` for the default one). The
    text after the element's end tag is not included.

    The form is written twice and compared, as libxml2 may leave something out without an error when an
    allocation fails. Raises GW806 then. With `once` it is written only once: for a caller that compares the
    form with a digest, which shows a wrong form, and that repeats the comparison before it refuses.
    """

    def canonicalize() -> bytes:
        return _canonicalize_subtree(element, exclusive, prefixes, comments)

    return canonicalize() if once else _write_twice(canonicalize)


def _write_twice(canonicalize: Callable[[], bytes]) -> bytes:
    octets = canonicalize()
    if canonicalize() != octets:
        raise GatewayError(NO_ROOM, _NO_MEMORY)
    return octets


def _canonicalize_subtree(
    element: etree._Element, exclusive: bool, prefixes: Sequence[str], comments: bool
) -> bytes:
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
    root: etree._Element,
    omit: Collection[etree._Element] = (),
    *,
    exclusive: bool = False,
    once: bool = False,
) -> bytes:
    """Return the canonical form of the whole document, inclusive or exclusive, without the elements `omit`.

    The tree is not changed: the omitted elements are cut out of the canonical octets. The
    result is the form of a node-set without these sub-trees, since the output of an element
    depends on its ancestors only, and the ancestors of a remaining element remain too. `once` is as in
    `canonicalize_element`.
    """

    def canonicalize() -> bytes:
        return _canonicalize_whole(root, omit, exclusive)

    return canonicalize() if once else _write_twice(canonicalize)


def _canonicalize_whole(root: etree._Element, omit: Collection[etree._Element], exclusive: bool) -> bytes:
    if omit and next(islice(root.iter(), _MANY, None), None) is not None:
        return _canonicalize_long_document(root, omit, exclusive)
    whole = _write_canonical_form(root.getroottree(), exclusive, (), False)
    return omit_canonical_elements(root, omit, whole) if omit else whole


def _canonicalize_long_document(
    root: etree._Element, omit: Collection[etree._Element], exclusive: bool
) -> bytes:
    """Return the canonical form of a document without the elements `omit`; only one copy is in memory."""
    top: Any = root.getroottree()
    written = BytesIO()
    try:
        top.write(written, method="c14n", exclusive=exclusive, with_comments=False)
    except etree.C14NError:
        raise _make_canonicalization_error(root.getroottree()) from None
    # `getvalue` makes no copy: it shares the buffer until the next write.
    spans = _find_canonical_spans(top.getroot(), omit, written.getvalue())
    end = position = 0
    with written.getbuffer() as view:
        for start, stop in (*spans, (len(view), len(view))):
            if start >= position:  # else it is inside an element that is already cut out
                length = start - position
                view[end : end + length] = view[position:start]
                end, position = end + length, stop
    written.truncate(end)
    return written.getvalue()


def omit_canonical_elements(root: etree._Element, omit: Collection[etree._Element], whole: bytes) -> bytes:
    """Return the canonical form `whole` of the document of `root` without its elements `omit`."""
    top = root.getroottree()
    # Views: a long form is copied once.
    view, position = memoryview(whole), 0
    pieces: list[memoryview] = []
    for start, end in _find_canonical_spans(top.getroot(), omit, whole):
        if start >= position:  # else it is inside an element that is already cut out
            pieces.append(view[position:start])
            position = end
    pieces.append(view[position:])
    return b"".join(pieces)


def _inherits_correctly(element: etree._Element, exclusive: bool) -> bool:
    """Return whether lxml's own canonical form is correct: `element` inherits nothing that lxml mistakes."""
    if None in element.nsmap:
        return False
    if exclusive:  # its form has no attributes of ancestors
        return True
    names = (str(name) for ancestor in element.iterancestors() for name in ancestor.attrib)
    return not any(name.startswith(_XML_ATTRIBUTE) for name in names)


def _detach_element(element: etree._Element, xml_attributes: bool) -> etree._Element:
    """Return a copy of `element` as a root with everything it inherits.

    lxml's own canonical form of a sub-tree writes superfluous xmlns="" below an inherited
    default namespace and omits inherited xml:lang, xml:space and xml:base. Only the inclusive
    form includes these.
    """
    # Writing is confirmed too: without enough memory, it may leave out a namespace declaration.
    copy = confirm_refusal(
        lambda: _parse_hardened(etree.tostring(element, encoding="utf-8", with_tail=False))
    )
    for ancestor in element.iterancestors() if xml_attributes else ():
        for name, value in list_attributes(ancestor):
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
        raise _make_canonicalization_error(apex) from None
    return octets


def _make_canonicalization_error(tree: Any) -> GatewayError:
    """Return why a tree could not be written: a namespace name or memory, for which libxml2 has one error."""
    names = {uri for element in tree.iter("*") for uri in element.nsmap.values()}
    if all(map(_SCHEME.match, names)):
        return GatewayError(NO_ROOM, _NO_MEMORY)
    return GatewayError(XML_MALFORMED, _NO_CANONICAL_FORM)


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
