"""The streaming pre-scan that every XML document must pass before a tree is built.

It costs a fraction of a parse and keeps nothing in memory. A document that passes has no
document type, no entity, no processing instruction, one encoding, and a shape whose canonical
form costs bounded time. Canonicalization is the only step of verification that is not linear,
so its cost must be known in advance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn
from xml.parsers import expat

from gateway.errors import TOO_LARGE, XML_MALFORMED, GatewayError, Problem


@dataclass(frozen=True, slots=True)
class WireLimits:
    """The limits on one message; a message beyond one of them is refused.

    body: octets of the whole message.
    secret: octets of all encrypted parts of a message, which are decrypted in memory.
    parts: MIME parts, root included.  The largest agreed number of attachments is 99.
    part_headers: octets of the header block of one part.  Real ones have under 1 KB.
    part_header_count: header fields of one part.
    padding: octets before the first and after the last boundary, which no signature covers.
    chunks: chunks of a stored HTTP message.  Clients write chunks of 4 KB.
    xml: octets of one XML document.  64 MB of markup would be a tree of some 2 GB.
    envelope: octets of a SOAP envelope, which is read before its sender is known.  An envelope with
        a hundred payloads has 100 KB; a call with thousands of items is below 4 MB.
    tree: octets that the tree of an envelope of any size may take, as computed below.
    density: how many times its own octets the tree of a larger envelope may take.  Envelopes
        written by machines reach 6, calls of thousands of short items 13, XML bombs 60.
    depth: nested elements.  The deepest schema in use nests 21.
    elements: a tree costs about 130 octets an element.
    attributes: of one element.  Canonicalization sorts them with a quadratic method.
    namespaces: declarations on the path to an element; each is searched again below the element.
    canonical_work: sum over all elements of n x (n + depth), n declarations in scope; the cost of
        inclusive canonicalization of the document, in steps of about three nanoseconds.
    canonical_rate: such steps for each octet of an envelope, so that a small one cannot cost as
        much as a large one.  Real envelopes take fewer than ten.
    name: octets of an element's or attribute's name.
    value: characters of an attribute value.
    text: characters of one run of text; the parser itself stops at ten million.
    references: of one signature; each has its digest computed.
    prefixes: names in one InclusiveNamespaces PrefixList; exclusive canonicalization looks
        up each of them at every element.
    """

    body: int = 64 * 1024 * 1024
    secret: int = 64 * 1024 * 1024
    parts: int = 100
    part_headers: int = 16 * 1024
    part_header_count: int = 32
    padding: int = 1024
    chunks: int = 65_536
    xml: int = 32 * 1024 * 1024
    envelope: int = 4 * 1024 * 1024
    tree: int = 4 * 1024 * 1024
    density: int = 14
    depth: int = 100
    elements: int = 200_000
    attributes: int = 64
    namespaces: int = 64
    canonical_work: int = 100_000_000
    canonical_rate: int = 128
    name: int = 256
    value: int = 65_536
    text: int = 10_000_000
    references: int = 200
    prefixes: int = 32


DEFAULT_LIMITS: Final = WireLimits()

_FOREIGN_ENCODINGS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"<\x00\x00\x00", "UTF-32"),
    (b"\x00\x00\x00<", "UTF-32"),
    (b"<\x00", "UTF-16"),
    (b"\x00<", "UTF-16"),
    (b"Lo\xa7\x94", "EBCDIC"),
)


# Octets that libxml2 allocates for each node of a tree, without strings, including allocator overhead.
_ELEMENT_OCTETS: Final = 128
_ATTRIBUTE_OCTETS: Final = 240
_DECLARATION_OCTETS: Final = 128
_TEXT_OCTETS: Final = 128
_COMMENT_OCTETS: Final = 160
# A new name is stored twice: by the parser here and by the tree.
_NAME_OCTETS: Final = 384


def prescan_xml(
    data: bytes,
    limits: WireLimits = DEFAULT_LIMITS,
    *,
    allow_comments: bool = True,
    is_envelope: bool = False,
) -> None:
    """Raise a problem unless `data` is a plain UTF-8 XML document within `limits`.

    The sender of an `is_envelope` is not known yet: the size of its tree and the work of
    canonicalizing it must also be in proportion to its octets.
    """
    max_octets = min(limits.xml, limits.envelope) if is_envelope else limits.xml
    if len(data) > max_octets:
        detail = f"the document has {len(data)} octets, {max_octets} are allowed"
        raise GatewayError(TOO_LARGE, detail, "document")
    for first_octets, encoding in _FOREIGN_ENCODINGS:
        if data.startswith(first_octets):
            raise GatewayError(
                XML_MALFORMED, f"the encoding is {encoding}, it must be UTF-8", "line 1, column 1"
            )
    if is_envelope and len(data) > _SMALL_DOCUMENT_OCTETS and limits.attributes < _MANY:
        _reject_crowded_tags(data, limits)
    bounds = _compute_bounds(len(data), limits, is_envelope)
    scanner: _DocumentScanner
    if _needs_counting(data, limits, bounds):
        scanner = _CountingScanner(limits, bounds)
    elif _needs_element_checks(data, limits):
        scanner = _ElementScanner(limits)
    else:
        scanner = _DocumentScanner()
    if not allow_comments:
        scanner.parser.CommentHandler = scanner.reject_comment
    try:
        scanner.parser.Parse(data, True)
    except expat.ExpatError as error:
        location = f"line {error.lineno}, column {error.offset + 1}"
        raise GatewayError(
            XML_MALFORMED, expat.ErrorString(error.code) or "not well-formed", location
        ) from None
    finally:
        # The parser and its handlers refer to each other; without this they stay until a garbage collection.
        del scanner.parser


# In a smaller document the list of attributes from the parser is small, too.
_SMALL_DOCUMENT_OCTETS: Final = 64 * 1024
# From this limit of attributes on there is no effective limit, and regular expressions count no further.
_MANY: Final = 100_000
_CROWDED_TAG: Final = (
    rb"<[^<>\"'=!?/]++(?:=[ \t\r\n]*+(?:\"[^<\"]*+\"|'[^<']*+')[^<>\"'=]*+){%d}"  # without backtracking
)


@lru_cache(maxsize=8)
def _compile_crowded_pattern(max_attributes: int) -> re.Pattern[bytes]:
    return re.compile(_CROWDED_TAG % (max_attributes + 1))


def _reject_crowded_tags(data: bytes, limits: WireLimits) -> None:
    """Raise for a start tag with too many attributes before the parser makes a list of them all."""
    tag_match = _compile_crowded_pattern(limits.attributes).search(data)
    if tag_match is not None:
        line = data.count(b"\n", 0, tag_match.start()) + 1
        column = tag_match.start() - data.rfind(b"\n", 0, tag_match.start())
        location = f"line {line}, column {column}"
        raise GatewayError(TOO_LARGE, f"an element has more than {limits.attributes} attributes", location)


@dataclass(frozen=True, slots=True)
class _DocumentBounds:
    """The totals that one document may reach: octets of its tree, canonicalization steps, and its texts.

    `max_tree_octets` is None where the tree is not bounded; `may_have_long_text` says whether a run of text
    can be too long.
    """

    max_tree_octets: int | None
    max_work: int
    may_have_long_text: bool


def _compute_bounds(document_octets: int, limits: WireLimits, is_envelope: bool) -> _DocumentBounds:
    may_have_long_text = document_octets > limits.text
    if not is_envelope:
        return _DocumentBounds(None, limits.canonical_work, may_have_long_text)
    max_work = min(limits.canonical_work, limits.canonical_rate * document_octets)
    return _DocumentBounds(max(limits.tree, limits.density * document_octets), max_work, may_have_long_text)


def _needs_counting(data: bytes, limits: WireLimits, bounds: _DocumentBounds) -> bool:
    """Return false when counts of octets prove that no total can be exceeded, as in most messages."""
    tag_count, declaration_count = data.count(b"<"), data.count(b"xmlns")
    return (
        bounds.may_have_long_text
        or tag_count > limits.elements
        or declaration_count > limits.namespaces
        or tag_count * declaration_count * (declaration_count + limits.depth) > bounds.max_work
        or (
            bounds.max_tree_octets is not None
            and _estimate_max_tree(data, tag_count) > bounds.max_tree_octets
        )
    )


def _needs_element_checks(data: bytes, limits: WireLimits) -> bool:
    """Return false when octets prove that no element can exceed a limit, as in most documents."""
    return (
        len(data) > limits.value
        or _has_long_tag(data, limits.name, limits.attributes)
        or _may_be_deep(data, limits.depth)
    )


# Octets of an attribute at least, white space not counted.
_MIN_ATTRIBUTE_OCTETS: Final = 4


def _has_long_tag(data: bytes, max_name: int, max_attributes: int) -> bool:
    """Return whether a tag may have a name, or a number of attributes, above a limit.

    Only tags that are long enough for that are searched. A name follows a bracket or white space.
    """
    long_name, crowded_tag = _compile_tag_patterns(max_name, max_attributes)
    for start, end in _iterate_long_tags(data, min(max_name, _MIN_ATTRIBUTE_OCTETS * max_attributes)):
        if long_name.search(data, start, end) or (crowded_tag and crowded_tag.search(data, start, end)):
            return True
    return False


def _iterate_long_tags(data: bytes, max_octets: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each tag that may have more than `max_octets` octets inside.

    The span may include text after the tag. Each search for the next bracket goes backwards from the last
    position at which a short tag can end, so most brackets are skipped.
    """
    start, data_end = data.find(b"<"), len(data)
    while 0 <= start < data_end - max_octets - 1:
        next_start = data.rfind(b"<", start + 1, start + max_octets + 2)
        if next_start < 0:
            next_start = data.find(b"<", start + max_octets + 2)
            # No tag ends after the last bracket that may end it.
            end = data.rfind(b">", start, data_end if next_start < 0 else next_start)
            if end > start + max_octets:
                yield start, end
        start = next_start


@lru_cache(maxsize=8)
def _compile_tag_patterns(name: int, attributes: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes] | None]:
    """Return the patterns of a name longer than `name` octets, and of more than `attributes` attributes.

    The last one is None from `_MANY` attributes on: no document within the other limits has that number.
    """
    return (
        re.compile(rb"[<\s][^\s<>\"'=/]{%d}" % (name + 1)),
        _compile_crowded_pattern(attributes) if attributes < _MANY else None,
    )


# The octets to which a document is reduced to see its nesting: 1 begins an element, 2 ends one.
_BEGIN_OCTET: Final = b"\x01"
_END_OCTET: Final = b"\x02"
_NESTING_TABLE: Final = bytes.maketrans(b"<", _BEGIN_OCTET)
_OTHER_OCTETS: Final = bytes(one for one in range(256) if one not in b"<" + _END_OCTET)


def _may_be_deep(data: bytes, max_depth: int) -> bool:
    """Return false when octets prove that elements are not nested more than `max_depth` deep.

    Without comments and CDATA sections, ``<`` occurs only where a tag begins (processing instructions are
    refused). ``/>`` may also be in a text; then there are more ends than begins, and nothing is proved. Each
    round removes the innermost elements.
    """
    if data.count(b"<") <= max_depth:
        return False
    # One octet is found faster than two.
    if (b"!" in data and b"<!" in data) or _END_OCTET in data:
        return True
    if _is_flat(data, max_depth):
        return False
    start = data.find(b"?>") + 2 if data.startswith(b"<?xml") else 0
    nesting = (
        data[start:]
        .replace(b"</", _END_OCTET)
        .replace(b"/>", _END_OCTET)
        .translate(_NESTING_TABLE, _OTHER_OCTETS)
    )
    for _ in range(max_depth):
        if not nesting:
            return False
        shorter_nesting = nesting.replace(_BEGIN_OCTET + _END_OCTET, b"")
        if len(shorter_nesting) == len(nesting):
            return True
        nesting = shorter_nesting
    return bool(nesting)


#: Octets of a document in which brackets are counted at once.
_STRETCH_OCTETS: Final = 1024


def _is_flat(data: bytes, max_depth: int) -> bool:
    """Return whether counts of brackets prove that elements are not nested more than `max_depth` deep.

    The count is an upper bound of the open elements at each place: elements begun minus end tags, with empty
    elements counted as open. It suffices where most elements have content and end soon.
    """
    open_elements = 0
    for start in range(0, len(data), _STRETCH_OCTETS):
        stretch_end = start + _STRETCH_OCTETS
        end_tags = data.count(b"</", start, stretch_end + 1)
        start_tags = data.count(b"<", start, stretch_end) - end_tags
        if open_elements + start_tags > max_depth:
            return False
        open_elements += start_tags - end_tags
    return True


def _estimate_max_tree(data: bytes, tag_count: int) -> int:
    """Return an upper bound for the tree of `data`: a text at each tag, an attribute at each equals sign."""
    return (_COMMENT_OCTETS + _TEXT_OCTETS + _NAME_OCTETS) * tag_count + (
        _ATTRIBUTE_OCTETS + _NAME_OCTETS
    ) * data.count(b"=")


class _DocumentScanner:
    """Scanner that checks the content outside elements, and that the document is well-formed."""

    __slots__ = ("parser",)

    def __init__(self) -> None:
        # The encoding given here overrides the declared one, which is checked separately.
        parser = self.parser = expat.ParserCreate("UTF-8")
        parser.XmlDeclHandler = self.check_declaration
        parser.StartDoctypeDeclHandler = self.reject_doctype
        parser.ProcessingInstructionHandler = self.reject_instruction

    def reject_document(self, problem: Problem, detail: str) -> NoReturn:
        location = f"line {self.parser.CurrentLineNumber}, column {self.parser.CurrentColumnNumber + 1}"
        raise GatewayError(problem, detail, location)

    def check_declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0":
            self.reject_document(XML_MALFORMED, f"XML version {version[:20]!r} is declared, it must be 1.0")
        if encoding is not None and encoding.upper() != "UTF-8":
            self.reject_document(XML_MALFORMED, f"encoding {encoding[:40]!r} is declared, it must be UTF-8")

    def reject_doctype(self, *_: object) -> None:
        self.reject_document(XML_MALFORMED, "a document type declaration is not allowed")

    def reject_instruction(self, target: str, _data: str) -> None:
        self.reject_document(XML_MALFORMED, f"processing instruction {target[:40]!r} is not allowed")

    def reject_comment(self, _data: str) -> None:
        self.reject_document(XML_MALFORMED, "a comment is not allowed here")


class _ElementScanner(_DocumentScanner):
    """Scanner that also checks each element by itself while expat reads."""

    __slots__ = ("depth", "limits", "max_attributes", "max_depth", "max_name")

    def __init__(self, limits: WireLimits) -> None:
        super().__init__()
        self.limits = limits
        self.depth = 0
        self.max_depth, self.max_name, self.max_attributes = limits.depth, limits.name, 2 * limits.attributes
        self.parser.ordered_attributes = True
        self.parser.StartElementHandler = self.start_element
        self.parser.EndElementHandler = self.end_element

    def start_element(self, name: str, attributes: list[str]) -> None:
        self.depth = depth = self.depth + 1
        if depth > self.max_depth:
            self.reject_document(TOO_LARGE, f"elements are nested more than {self.max_depth} deep")
        if len(name) > self.max_name:
            self.reject_document(TOO_LARGE, f"a name has more than {self.max_name} characters")
        # One pass over names and values together; only a long one among them needs a closer look.
        if attributes and (
            len(attributes) > self.max_attributes or len(max(attributes, key=len)) > self.max_name
        ):
            self.check_attributes(attributes)

    def end_element(self, _name: str) -> None:
        self.depth -= 1

    def check_attributes(self, attributes: list[str]) -> None:
        limits = self.limits
        if len(attributes) > self.max_attributes:
            self.reject_document(TOO_LARGE, f"an element has more than {limits.attributes} attributes")
        if len(max(attributes[::2], key=len)) > self.max_name:
            self.reject_document(TOO_LARGE, f"a name has more than {self.max_name} characters")
        if len(max(attributes[1::2], key=len)) > limits.value:
            self.reject_document(TOO_LARGE, f"an attribute has more than {limits.value} characters")


class _CountingScanner(_ElementScanner):
    """Scanner that also counts the totals of a document that might exceed one of them."""

    __slots__ = ("bounds", "declared", "elements", "names", "run", "stack", "tree", "work")

    def __init__(self, limits: WireLimits, bounds: _DocumentBounds) -> None:
        super().__init__(limits)
        self.bounds = bounds
        self.elements = self.declared = self.work = self.run = self.tree = self.names = 0
        self.stack: list[tuple[int, int]] = []
        if bounds.may_have_long_text or bounds.max_tree_octets is not None:
            self.parser.buffer_text = True
            self.parser.CharacterDataHandler = self.count_text
        if bounds.max_tree_octets is not None:
            self.parser.CommentHandler = self.count_comment

    def start_element(self, name: str, attributes: list[str]) -> None:
        """Count the element, its declarations and its memory; reject a document above a limit."""
        super().start_element(name, attributes)
        self.run = 0
        self.elements += 1
        declaration_count = 0
        if attributes:
            declaration_count = len([name for name in attributes[::2] if name[:5] == "xmlns"])
            if declaration_count:
                self.stack.append((self.depth, declaration_count))
                self.declared += declaration_count
        self.work += self.declared * (self.declared + self.depth)
        name_count = len(self.parser.intern)
        self.add_tree_octets(
            _ELEMENT_OCTETS
            + _NAME_OCTETS * (name_count - self.names)
            + _DECLARATION_OCTETS * declaration_count
            + _ATTRIBUTE_OCTETS * (len(attributes) // 2 - declaration_count)
        )
        self.names = name_count
        limits = self.limits
        if self.declared > limits.namespaces:
            self.reject_document(
                TOO_LARGE, f"more than {limits.namespaces} namespace declarations are in scope"
            )
        if self.elements > limits.elements:
            self.reject_document(TOO_LARGE, f"the document has more than {limits.elements} elements")
        if self.work > self.bounds.max_work:
            self.reject_document(
                TOO_LARGE, "namespace declarations and nesting make canonicalisation too costly"
            )

    def end_element(self, _name: str) -> None:
        if self.stack and self.stack[-1][0] == self.depth:
            self.declared -= self.stack.pop()[1]
        self.depth -= 1
        self.run = 0

    def count_text(self, data: str) -> None:
        if not self.run:
            self.add_tree_octets(_TEXT_OCTETS)
        self.run += len(data)
        if self.run > self.limits.text:
            self.reject_document(TOO_LARGE, f"a text has more than {self.limits.text} characters")

    def count_comment(self, _data: str) -> None:
        self.run = 0
        self.add_tree_octets(_COMMENT_OCTETS)

    def add_tree_octets(self, octets: int) -> None:
        self.tree += octets
        if self.bounds.max_tree_octets is not None and self.tree > self.bounds.max_tree_octets:
            self.reject_document(
                TOO_LARGE, f"the tree would take more than {self.bounds.max_tree_octets} octets"
            )
