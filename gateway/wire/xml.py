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

_TEXT_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"}
_VALUE_ESCAPES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    '"': "&quot;",
    "\t": "&#x9;",
    "\n": "&#xA;",
    "\r": "&#xD;",
}
_TEXT_TABLE: Final = str.maketrans(_TEXT_ESCAPES)
_VALUE_TABLE: Final = str.maketrans(_VALUE_ESCAPES)


def canonicalize_exclusive(document: bytes, prefixes: Collection[str], with_comments: bool) -> bytes:
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
    if with_comments:
        parser.CommentHandler = writer.write_comment
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        # Names that libxml2 takes by the fifth edition of XML 1.0, and expat, by the fourth, does not.
        raise GatewayError(XML_MALFORMED, expat.ErrorString(error.code) or _NO_CANONICAL_FORM) from None
    return "".join(writer.pieces).encode()


class _ExclusiveWriter:
    """Writes the canonical form of the document that expat reads; names are qualified, with prefixes."""

    def __init__(self, inclusive_prefixes: set[str]) -> None:
        self.inclusive_prefixes = inclusive_prefixes
        self.pieces: list[str] = []
        self.namespace_scopes: list[dict[str, str]] = [{}]
        self.rendered_scopes: list[dict[str, str]] = [{}]

    def write_start_tag(self, name: str, attributes: list[str]) -> None:
        """Write a start tag in exclusive canonical form; `attributes` alternates names and values."""
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        declared_namespaces = {
            key[6:]: value for key, value in pairs if key == "xmlns" or key.startswith("xmlns:")
        }
        scope = self.namespace_scopes[-1] | declared_namespaces
        own_attributes = [
            (key, value) for key, value in pairs if key != "xmlns" and not key.startswith("xmlns:")
        ]
        used_prefixes = {_get_name_prefix(name)} | {
            _get_name_prefix(key) for key, _ in own_attributes if ":" in key
        }
        rendered_namespaces = self.rendered_scopes[-1]
        new_namespaces = {
            prefix: scope.get(prefix, "")
            for prefix in (used_prefixes | self.inclusive_prefixes) - {"xml"}
            if rendered_namespaces.get(prefix, "") != scope.get(prefix, "")
        }
        self.namespace_scopes.append(scope)
        self.rendered_scopes.append(rendered_namespaces | new_namespaces)
        namespace_attributes = [
            (f"xmlns:{prefix}" if prefix else "xmlns", new_namespaces[prefix])
            for prefix in sorted(new_namespaces)
        ]
        namespaces = {**scope, "xml": XML}
        # Namespaces are sorted by prefix, attributes by namespace name and then local name.
        own_attributes.sort(key=lambda pair: _make_attribute_key(pair[0], namespaces))
        attribute_text = "".join(
            f' {key}="{value.translate(_VALUE_TABLE)}"'
            for key, value in namespace_attributes + own_attributes
        )
        self.pieces.append(f"<{name}{attribute_text}>")

    def write_end_tag(self, name: str) -> None:
        self.namespace_scopes.pop()
        self.rendered_scopes.pop()
        self.pieces.append(f"</{name}>")

    def write_text(self, data: str) -> None:
        self.pieces.append(data.translate(_TEXT_TABLE))

    def write_instruction(self, target: str, data: str) -> None:
        if (
            len(self.namespace_scopes) > 1
        ):  # the apex is an element: nodes outside it are not part of the form
            self.pieces.append(f"<?{target}{' ' if data else ''}{data}?>")

    def write_comment(self, data: str) -> None:
        if len(self.namespace_scopes) > 1:
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
_LONG_DOCUMENT_NODES: Final = 10_000


def parse_xml(
    data: bytes,
    limits: WireLimits = DEFAULT_LIMITS,
    *,
    allow_comments: bool = True,
    is_envelope: bool = False,
) -> etree._Element:
    """Return the root element of the document `data`, which must pass the pre-scan."""
    prescan_xml(data, limits, allow_comments=allow_comments, is_envelope=is_envelope)
    return _parse_hardened(data)


class _ThreadCounter(threading.local):
    """The number of octets that one thread has parsed."""

    octets = 0


_parsed_octets: Final = _ThreadCounter()


def count_parsed_octets() -> int:
    """Return how many octets this thread has parsed, including documents that were refused."""
    return _parsed_octets.octets


def _parse_hardened(data: bytes) -> etree._Element:
    """Return the root of `data`, without DTD and entities; raise GW104 if malformed, GW806 without memory."""
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
    remaining_errors = parser.error_log.filter_from_errors()
    if len(remaining_errors):
        first_error = remaining_errors[0]
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
    with_comments: bool = False,
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
        return _canonicalize_subtree(element, exclusive, prefixes, with_comments)

    return canonicalize() if once else _write_twice(canonicalize)


def _write_twice(canonicalize: Callable[[], bytes]) -> bytes:
    octets = canonicalize()
    if canonicalize() != octets:
        raise GatewayError(NO_ROOM, _NO_MEMORY)
    return octets


def _canonicalize_subtree(
    element: etree._Element, exclusive: bool, prefixes: Sequence[str], with_comments: bool
) -> bytes:
    """Return the canonical form of `element`; `prefixes` is the PrefixList of the exclusive form."""
    if exclusive and "#default" in prefixes:
        return canonicalize_exclusive(
            etree.tostring(element, encoding="utf-8", with_tail=False), prefixes, with_comments
        )
    is_alone = element.getparent() is None and element.getprevious() is None and element.getnext() is None
    apex = (
        element
        if is_alone or _inherits_correctly(element, exclusive)
        else _detach_element(element, not exclusive)
    )
    return _write_canonical_form(apex, exclusive, prefixes, with_comments)


def canonicalize_document(
    root: etree._Element,
    omitted_elements: Collection[etree._Element] = (),
    *,
    exclusive: bool = False,
    once: bool = False,
) -> bytes:
    """Return the canonical form of the document, inclusive or exclusive, without `omitted_elements`.

    The tree is not changed: the omitted elements are cut out of the canonical octets. The
    result is the form of a node-set without these sub-trees, since the output of an element
    depends on its ancestors only, and the ancestors of a remaining element remain too. `once` is as in
    `canonicalize_element`.
    """

    def canonicalize() -> bytes:
        return _canonicalize_whole(root, omitted_elements, exclusive)

    return canonicalize() if once else _write_twice(canonicalize)


def _canonicalize_whole(
    root: etree._Element, omitted_elements: Collection[etree._Element], exclusive: bool
) -> bytes:
    """Return the canonical form, without comments, of the document of `root` without `omitted_elements`."""
    if omitted_elements and next(islice(root.iter(), _LONG_DOCUMENT_NODES, None), None) is not None:
        return _canonicalize_long_document(root, omitted_elements, exclusive)
    canonical_form = _write_canonical_form(root.getroottree(), exclusive, prefixes=(), with_comments=False)
    return (
        omit_canonical_elements(root, omitted_elements, canonical_form)
        if omitted_elements
        else canonical_form
    )


def _canonicalize_long_document(
    root: etree._Element, omitted_elements: Collection[etree._Element], exclusive: bool
) -> bytes:
    """Return the canonical form of a document without `omitted_elements`; only one copy is in memory."""
    tree: Any = root.getroottree()
    buffer = BytesIO()
    try:
        tree.write(buffer, method="c14n", exclusive=exclusive, with_comments=False)
    except etree.C14NError:
        raise _make_canonicalization_error(root.getroottree()) from None
    # `getvalue` makes no copy: it shares the buffer until the next write.
    spans = _find_canonical_spans(tree.getroot(), omitted_elements, buffer.getvalue())
    kept_end = position = 0
    with buffer.getbuffer() as view:
        for span_start, span_end in (*spans, (len(view), len(view))):
            if span_start >= position:  # else it is inside an element that is already cut out
                length = span_start - position
                view[kept_end : kept_end + length] = view[position:span_start]
                kept_end, position = kept_end + length, span_end
    buffer.truncate(kept_end)
    return buffer.getvalue()


def omit_canonical_elements(
    root: etree._Element, omitted_elements: Collection[etree._Element], canonical_form: bytes
) -> bytes:
    """Return the document of `root` in `canonical_form`, without its elements `omitted_elements`."""
    top = root.getroottree()
    # Views: a long form is copied once.
    view, position = memoryview(canonical_form), 0
    pieces: list[memoryview] = []
    for start, end in _find_canonical_spans(top.getroot(), omitted_elements, canonical_form):
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


def _detach_element(element: etree._Element, inherit_xml_attributes: bool) -> etree._Element:
    """Return a copy of `element` as a root with everything it inherits.

    lxml's own canonical form of a sub-tree writes superfluous xmlns="" below an inherited
    default namespace and omits inherited xml:lang, xml:space and xml:base. Only the inclusive
    form includes these.
    """
    # If the copy is refused, it is written and parsed a second time: without enough memory, lxml may leave
    # out a namespace declaration.
    copy = confirm_refusal(
        lambda: _parse_hardened(etree.tostring(element, encoding="utf-8", with_tail=False))
    )
    for ancestor in element.iterancestors() if inherit_xml_attributes else ():
        for name, value in list_attributes(ancestor):
            if str(name).startswith(_XML_ATTRIBUTE) and name not in copy.attrib:
                copy.set(name, value)
    return copy


def _write_canonical_form(apex: Any, exclusive: bool, prefixes: Sequence[str], with_comments: bool) -> bytes:
    """Return the canonical form that lxml writes of `apex`, an element or a whole tree."""
    try:
        octets: bytes = etree.tostring(
            apex,
            method="c14n",
            exclusive=exclusive,
            inclusive_ns_prefixes=list(prefixes) or None,
            with_comments=with_comments,
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
    root: etree._Element, omitted_elements: Collection[etree._Element], canonical_form: bytes
) -> list[tuple[int, int]]:
    """Return the start and end of the `omitted_elements` in the `canonical_form` of their document."""
    if b"<?" in canonical_form or any(
        element.getroottree().getroot() is not root for element in omitted_elements
    ):
        return list(_count_canonical_spans(root, omitted_elements, canonical_form))
    spans = []
    for element in omitted_elements:
        local_name = str(element.tag).rpartition("}")[2]
        qualified_name = f"{element.prefix}:{local_name}".encode() if element.prefix else local_name.encode()
        end = canonical_form.find(b"</" + qualified_name + b">")
        if canonical_form.find(b"</" + qualified_name + b">", end + 1) >= 0:
            return list(_count_canonical_spans(root, omitted_elements, canonical_form))
        start = canonical_form.find(b"<" + qualified_name)
        while canonical_form[start + len(qualified_name) + 1] not in b" >":  # the beginning of a longer name
            start = canonical_form.find(b"<" + qualified_name, start + 1)
        spans.append((start, end + len(qualified_name) + 3))
    return sorted(spans)


def _count_canonical_spans(
    root: etree._Element, omitted_elements: Collection[etree._Element], canonical_form: bytes
) -> Iterator[tuple[int, int]]:
    """Yield the spans by counting tags in document order, for elements that names do not distinguish."""
    tags = ((match.start(), match[1] == b"</") for match in _MARKUP.finditer(canonical_form) if match[1])
    opened_count = 0
    for index, element_count in _measure_extents(root, omitted_elements):
        start = -1
        while opened_count <= index:
            start, closing = next(tags)
            opened_count += not closing
        closed_count = 0
        while closed_count < element_count:  # a sub-tree ends with as many end tags as it has elements
            end, closing = next(tags)
            closed_count += closing
            opened_count += not closing
        yield start, canonical_form.index(b">", end) + 1


def _measure_extents(
    root: etree._Element, omitted_elements: Collection[etree._Element]
) -> list[tuple[int, int]]:
    """Return index in document order and element count of each outermost one of `omitted_elements`."""
    pending_elements = set(omitted_elements)
    extents: list[tuple[int, int]] = []
    next_index = 0
    for index, element in enumerate(root.iter("*")):
        if not pending_elements:
            break
        if element in pending_elements:
            pending_elements.discard(element)
            if index >= next_index:
                element_count = sum(1 for _ in element.iter("*"))
                extents.append((index, element_count))
                next_index = index + element_count
    return extents
