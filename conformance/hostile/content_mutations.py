"""Changes for attacks: of octets (text, XML in a place, parts of a multipart), and of XML trees by path.

A change of octets that finds nothing to change raises LookupError, and the target of a change of a tree must
exist exactly once, so that no attack becomes an honest message unnoticed. A change of octets needs no key:
anyone who reaches the gateway can send it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Final, cast

from lxml import etree

from gateway.pki import Signer
from gateway.wire import (
    C14N,
    DS,
    DS11,
    EB3,
    PREFIXES,
    SOAP12,
    WSU,
    canonicalize_document,
    canonicalize_element,
    parse_xml,
    serialize_element,
)
from gateway.xmlsec import NEXT_ACTORS, SHA256, compute_digest
from gateway_conformance.hostile import naive_verifier

#: Changes octets.
OctetMutation = Callable[[bytes], bytes]

#: The boundary of every multipart made here, so that hooks know it.
BOUNDARY: Final = "=-boundary"
MARK: Final = f"--{BOUNDARY}".encode()
END: Final = b"\r\n" + MARK + b"--"
_HEADER_END: Final = re.compile(rb"</[\w.-]+:Header>")
_BODY_START: Final = re.compile(rb"<[\w.-]+:Body\b[^>]*>")
_SIGNED_INFO_END: Final = re.compile(rb"</[\w.-]+:SignedInfo>")
_ROOT: Final = re.compile(rb"<[\w.-]+:Envelope\b")

_XPATH_1_0: Final = b"http://www.w3.org/TR/1999/REC-xpath-19991116"
#: A header block that no gateway knows and that has no mustUnderstand.
_UNKNOWN: Final = b'<x:unknown xmlns:x="urn:example:unknown">'
#: Where `repeat_piece` puts a running number.
NUMBER_PLACEHOLDER: Final = b"%d"
_SECOND: Final = re.compile(rb"(Content-ID: <p2\.[^>]*>\r\n)\r\n(.*?)(?=\r\n--=-boundary)", re.DOTALL)


def swap_octets(old: str, new: str, count: int = 1) -> OctetMutation:
    """Return a change that replaces octets and raises if it does not find them."""

    def mutate_octets(data: bytes) -> bytes:
        if old.encode() not in data:
            raise LookupError(f"not in the message: {old}")
        return data.replace(old.encode(), new.encode(), count)

    return mutate_octets


def insert_before(old: str, new: str) -> OctetMutation:
    """Return a change that puts `new` before the first `old`."""
    return swap_octets(old, new + old)


def replace_text_of(tag: str, value: str) -> OctetMutation:
    """Return the change that gives the first element of that tag, ``prefix:name``, another text.

    An element of ebMS may have the prefix of either version.
    """
    name = f"eb3?:{tag[3:]}" if tag.startswith("eb:") else tag
    pattern = re.compile(rf"(<{name}\b[^>]*>)[^<]*".encode())

    def mutate_octets(data: bytes) -> bytes:
        changed, count = pattern.subn(lambda match: match[1] + value.encode(), data, count=1)
        if not count:
            raise LookupError(f"the message has no {tag}")
        return changed

    return mutate_octets


def _insert_at_pattern(
    pattern: re.Pattern[bytes], make_content: Callable[[], bytes], *, inserts_after: bool
) -> OctetMutation:
    def insert_content(data: bytes) -> bytes:
        match = pattern.search(data)
        if match is None:
            raise LookupError(f"not in the message: {pattern.pattern!r}")
        position = match.end() if inserts_after else match.start()
        return data[:position] + make_content() + data[position:]

    return insert_content


def insert_in_header(make_content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `make_content` into an unknown header block, the last one."""
    return _insert_at_pattern(
        _HEADER_END, lambda: _UNKNOWN + make_content() + b"</x:unknown>", inserts_after=False
    )


def insert_in_body(make_content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `make_content` first into the Body."""
    return _insert_at_pattern(_BODY_START, make_content, inserts_after=True)


def insert_in_signature(make_content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `make_content` last into SignedInfo."""
    return _insert_at_pattern(_SIGNED_INFO_END, make_content, inserts_after=False)


def add_root_attributes(make_attributes: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts attributes or declarations on the Envelope."""
    return _insert_at_pattern(_ROOT, lambda: b" " + make_attributes(), inserts_after=True)


def prepend_prolog(make_prolog: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `make_prolog` before the envelope."""
    return lambda data: make_prolog() + data


def replace_envelope(make_envelope: Callable[[], bytes]) -> OctetMutation:
    """Return the change that sends `make_envelope` in place of the envelope."""
    return lambda _: make_envelope()


def repeat_piece(piece: bytes, count: int) -> Callable[[], bytes]:
    """Return the function that repeats `piece`, with a running number where it has a place for one."""
    if NUMBER_PLACEHOLDER not in piece:
        return lambda: piece * count
    return lambda: b"".join(piece.replace(NUMBER_PLACEHOLDER, b"%d" % number) for number in range(count))


def nest_elements(depth: int, name: bytes = b"x:n", inner: bytes = b"") -> Callable[[], bytes]:
    """Return the function that nests elements to a depth."""
    return lambda: b"<%s>" % name * depth + inner + b"</%s>" % name * depth


def build_attribute_element(count: int, piece: bytes = b'a%d="" ') -> Callable[[], bytes]:
    """Return the function that builds an element with this number of attributes."""
    return lambda: b"<x:a " + repeat_piece(piece, count)() + b"/>"


def build_reference(transforms: bytes = b"", uri: bytes = b"") -> bytes:
    """Return a ds:Reference with these transforms and the digest of empty content."""
    chain = b"<d:Transforms>%s</d:Transforms>" % transforms if transforms else b""
    return (
        b'<d:Reference xmlns:d="%s" URI="%s">%s<d:DigestMethod Algorithm="%s"/>'
        b"<d:DigestValue>AAAA</d:DigestValue></d:Reference>"
    ) % (DS.encode(), uri, chain, SHA256.encode())


def build_xpath_transform(expression: bytes) -> bytes:
    """Return a ds:Transform by an XPath expression."""
    return b'<d:Transform Algorithm="%s"><d:XPath>%s</d:XPath></d:Transform>' % (_XPATH_1_0, expression)


def build_declaration_element(count: int, inner: Iterable[bytes] = ()) -> Callable[[], bytes]:
    """Return the function that builds an element with this number of namespaces and `inner` as content."""
    return lambda: (
        b"<x:d " + repeat_piece(b'xmlns:p%d="urn:p" ', count)() + b">" + b"".join(inner) + b"</x:d>"
    )


def insert_parts(make_parts: Callable[[], bytes]) -> OctetMutation:
    """Return the change that inserts octets, with their boundaries, before the final boundary."""

    def mutate_octets(data: bytes) -> bytes:
        head, end, tail = data.rpartition(END)
        if not end:
            raise LookupError("the message has no final boundary")
        return head + make_parts() + end + tail

    return mutate_octets


def append_epilogue(content: bytes) -> OctetMutation:
    """Return the change that puts octets behind the final boundary."""
    return lambda data: data + content


def _rewrite_second_part(build: Callable[[bytes, bytes], bytes]) -> OctetMutation:
    def mutate_octets(data: bytes) -> bytes:
        changed, count = _SECOND.subn(lambda match: build(match[1], match[2]), data)
        if count != 1:
            raise LookupError("the message has no second payload")
        return changed

    return mutate_octets


def add_part_headers(*lines: bytes) -> OctetMutation:
    """Return the change that gives the second payload further header fields."""
    return _rewrite_second_part(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + content
    )


def encode_part_content(encode: Callable[[bytes], bytes], *lines: bytes) -> OctetMutation:
    """Return the change that re-encodes the second payload and adds header fields."""
    return _rewrite_second_part(
        lambda head, content: head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + encode(content)
    )


def replace_in_content_type(old: str, new: str) -> Callable[[str], str]:
    """Return the change of a Content-Type; raises if the replaced text is missing."""

    def replace_text(value: str) -> str:
        if old not in value:
            raise LookupError(f"not in the Content-Type: {old}")
        return value.replace(old, new, 1)

    return replace_text


NEXT: Final = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT_MSH: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"
SIGNATURE: Final = "//ds:Signature[ds:SignedInfo]"
_NAMESPACES: Final[Mapping[str, str]] = {**PREFIXES, "wsu": WSU, "ds11": DS11, "x": "urn:example:unknown"}
_DECLARATIONS: Final = "".join(
    f' xmlns:{prefix}="{name}"' for prefix, name in _NAMESPACES.items() if prefix != "xml"
)

#: Changes the tree of an envelope in place.
TreeMutation = Callable[[etree._Element], object]


def expand_name(prefixed: str) -> str:
    """Return the name of an element or attribute as lxml has it, from ``prefix:name``."""
    prefix, colon, local = prefixed.rpartition(":")
    if prefix == "xml":
        return f"{{http://www.w3.org/XML/1998/namespace}}{local}"
    return f"{{{_NAMESPACES[prefix]}}}{local}" if colon else local


ACTOR: Final = expand_name("soap:actor")


def _get_namespaces(node: etree._Element) -> dict[str, str]:
    """Return the namespaces of paths by prefix; for SOAP 1.2, ``soap`` and ``eb`` are those of AS4."""
    if node.getroottree().getroot().tag == f"{{{SOAP12}}}Envelope":
        return {**_NAMESPACES, "soap": SOAP12, "eb": EB3}
    return dict(_NAMESPACES)


def get_element(root: etree._Element, path: str) -> etree._Element:
    """Return the one element at a path; raises LookupError when there is none, or another."""
    elements = cast("list[etree._Element]", root.xpath(path, namespaces=_get_namespaces(root)))
    if len(elements) != 1:
        raise LookupError(f"{len(elements)} elements at {path}")
    return elements[0]


def get_elements(root: etree._Element, path: str) -> list[etree._Element]:
    """Return the elements at a path; raises LookupError when there is none."""
    elements = cast("list[etree._Element]", root.xpath(path, namespaces=_get_namespaces(root)))
    if not elements:
        raise LookupError(f"nothing at {path}")
    return elements


def find_element(root: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at a path, None when there is none."""
    return next(iter(cast("list[etree._Element]", root.xpath(path, namespaces=_get_namespaces(root)))), None)


def parse_element(element_xml: str) -> etree._Element:
    """Return an element that is written with the prefixes of the gateway; ``x`` is an unknown namespace."""
    element = etree.fromstring(f"<r{_DECLARATIONS}>{element_xml}</r>")[0]
    alone = deepcopy(element)
    etree.cleanup_namespaces(alone)
    return alone


def mutate_tree(*changes: TreeMutation) -> OctetMutation:
    """Return changes of a tree as one change of octets."""

    def mutate_octets(data: bytes) -> bytes:
        root = parse_xml(data)
        for change in changes:
            change(root)
        return serialize_element(root)

    return mutate_octets


def combine_mutations(*changes: TreeMutation) -> TreeMutation:
    """Return changes as one."""

    def alter_tree(root: etree._Element) -> None:
        for change in changes:
            change(root)

    return alter_tree


def insert_element(path: str, element_xml: str, index: int = 0) -> TreeMutation:
    """Return the change that puts a new element among the children of the one at `path`."""
    return lambda root: get_element(root, path).insert(index, parse_element(element_xml))


def insert_after(path: str, element_xml: str) -> TreeMutation:
    """Return the change that puts a new element behind the one at `path`."""
    return lambda root: get_element(root, path).addnext(parse_element(element_xml))


def append_element(path: str, element_xml: str) -> TreeMutation:
    """Return the change that appends a new element to the one at `path`."""
    return lambda root: get_element(root, path).append(parse_element(element_xml))


def make_first_child(parent: etree._Element, child: etree._Element) -> None:
    """Move `child` from any place to the first child of `parent`."""
    parent.insert(0, child)


def remove_element(path: str) -> TreeMutation:
    """Return the change that takes the element at `path` out."""
    return lambda root: naive_verifier.detach_element(get_element(root, path))


def move_element(path: str, target_path: str) -> TreeMutation:
    """Return the change that makes the element at `path` the last child of the one at `target_path`."""
    return lambda root: get_element(root, target_path).append(get_element(root, path))


def insert_comment(path: str) -> TreeMutation:
    """Return the change that puts a comment into the middle of the text of the element at `path`."""

    def alter_tree(root: etree._Element) -> None:
        target = get_element(root, path)
        text = target.text or ""
        comment = etree.Comment("x")
        comment.tail, target.text = text[len(text) // 2 :], text[: len(text) // 2]
        target.insert(0, comment)

    return alter_tree


def duplicate_element(path: str) -> TreeMutation:
    """Return the change that puts a copy of the element at `path` behind it."""

    def alter_tree(root: etree._Element) -> None:
        original = get_element(root, path)
        original.addnext(deepcopy(original))

    return alter_tree


def set_attribute(path: str, name: str, value: str) -> TreeMutation:
    """Return the change that sets an attribute, ``prefix:name``, of the element at `path`."""
    return lambda root: get_element(root, path).set(expand_name(name), value)


def remove_attribute(path: str, name: str) -> TreeMutation:
    """Return the change that takes an attribute, ``prefix:name``, from the element at `path`."""
    return lambda root: get_element(root, path).attrib.pop(expand_name(name))


def rename_element(path: str, name: str) -> TreeMutation:
    """Return the change that gives the element at `path` another name, as lxml has it."""
    return lambda root: setattr(get_element(root, path), "tag", name)


def set_text(path: str, new_text: str) -> TreeMutation:
    """Return the change that gives the element at `path` another text."""
    return replace_text(path, lambda _: new_text)


def replace_text(path: str, change_text: Callable[[str], str]) -> TreeMutation:
    """Return the change that makes the text of the element at `path` another one."""

    def alter_tree(root: etree._Element) -> None:
        target = get_element(root, path)
        target.text = change_text(target.text or "")

    return alter_tree


def recompute_envelope_digest(root: etree._Element) -> None:
    """Compute the digest of the envelope of an ebMS 2.0 message again, with the intended XPath transform."""
    signature = naive_verifier.find_signature(root)
    omitted_elements = [element for element in root.iter("*") if element.get(ACTOR) in NEXT_ACTORS]
    digest = compute_digest(SHA256, canonicalize_document(root, (signature, *omitted_elements)))
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference[@URI='']"):
        get_element(reference, "ds:DigestValue").text = base64.b64encode(digest).decode()


def recompute_written_digests(root: etree._Element) -> None:
    """Compute the digest of each reference inside the document again, as the naive verifier resolves it."""
    signature = naive_verifier.find_signature(root)
    for reference in signature.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference"):
        with suppress(
            LookupError, etree.LxmlError
        ):  # a reference that the naive verifier cannot resolve keeps its digest
            digest = compute_digest(SHA256, naive_verifier.dereference_octets(signature, reference, {}))
            get_element(reference, "ds:DigestValue").text = base64.b64encode(digest).decode()


def recompute_signature(signer: Signer) -> TreeMutation:
    """Return the change that signs the current SignedInfo again.

    The owner of the key can do it. Then only the one change can be refused.
    """

    def alter_tree(root: etree._Element) -> None:
        signature = naive_verifier.find_signature(root)
        signed_info = next(signature.iterchildren(f"{{{DS}}}SignedInfo"))
        method = signed_info[0].get("Algorithm", C14N)
        data = canonicalize_element(signed_info, exclusive="xml-exc-c14n" in method)
        value = next(signature.iterchildren(f"{{{DS}}}SignatureValue"))
        value.text = base64.b64encode(signer.sign(data)).decode()

    return alter_tree
