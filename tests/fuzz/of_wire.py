"""Targets: MIME, stored HTTP, the pre-scan with the parse and the canonical forms, pointers."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from random import Random

from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import (
    TreeByteRanges,
    WireLimits,
    build_xpath,
    canonicalize_document,
    canonicalize_element,
    iterate_pointers,
    parse_xml,
    prescan_xml,
    read_envelope,
    read_fault,
    read_http_message,
    read_multipart_related,
    write_fault_envelope,
    write_multipart_related,
)
from gateway.wire.wco_pointers import find_element, find_value
from tests.fuzz import samples
from tests.fuzz.octets import either, mutate_octets, with_words
from tests.fuzz.posts import mutate_post, read_post
from tests.fuzz.readings import by_expat, by_lxml
from tests.fuzz.target import BrokenPromiseError, Target, promise
from tests.fuzz.trees import mutate_xml

__all__ = ["TARGETS"]

#: As in service, but so small that a fuzzer meets them.
_LIMITS = WireLimits(
    depth=40, elements=3000, attributes=30, namespaces=24, canonical_work=2_000_000, text=40_000
)
_LARGEST_TREE = 400


def _mime(data: bytes) -> object:
    headers, body = read_post(data)
    found = read_multipart_related(headers.get("Content-Type", ""), body)
    parts = [
        (found.root.content_id, found.root.content),
        *((p.content_id, p.content) for p in found.attachments),
    ]
    if found.root.content_id and all(name for name, _ in parts):
        kind, again = write_multipart_related(
            found.root.content, found.attachments, "=-fuzz-=", found.root.content_id
        )
        read = read_multipart_related(kind, again)
        back = [(p.content_id, p.content) for p in (read.root, *read.attachments)]
        promise(back == parts, "what was read reads otherwise when it is written")
    return parts


def _http(data: bytes) -> object:
    found = read_http_message(data)
    promise(len(found.body) <= len(data), "the body is longer than the message")
    return found.start_line, sorted(found.headers.items()), found.body


def _xml(data: bytes) -> object:
    """Hold the pre-scan against the parser, the canonical forms against a second way to make them."""
    prescan_xml(data, _LIMITS)
    root = parse_xml(data, _LIMITS)
    promise(root.getroottree().docinfo.internalDTD is None, "a document type came through")
    strange = next(root.iter(etree.PI, etree.Entity), None)
    promise(strange is None, "an instruction or entity came through")
    canonical = [
        _or_refusal(lambda each=each: canonicalize_element(root, exclusive=each)) for each in (False, True)
    ]
    elements = list(root.iter("*"))
    promise(len(elements) <= _LIMITS.elements, "more elements than the limit")
    promise(by_expat(data) == by_lxml(root), "two parsers read two documents")
    if len(elements) <= _LARGEST_TREE:
        _compare_omitted(root, elements)
        _spans(data, root)
        try:
            fault = read_fault(read_envelope(root))
        except GatewayError:
            fault = None
        if fault is not None:
            write_fault_envelope(fault)
    return canonical, build_xpath(elements[-1])


def _or_refusal(make: object) -> object:
    try:
        return make()  # type: ignore[operator]
    except GatewayError as refused:
        return refused.problem.id


def _compare_omitted(root: etree._Element, elements: list[etree._Element]) -> None:
    """Leave some elements out of the canonical form: by the product, and by taking them out of a copy."""
    chosen = [one for place, one in enumerate(elements) if place % 5 == 3]
    if not chosen or isinstance(_or_refusal(lambda: canonicalize_element(root)), str):
        return
    tree = deepcopy(root.getroottree())
    for one in [other for place, other in enumerate(tree.getroot().iter("*")) if place % 5 == 3]:
        _take_out(one)
    expected = etree.tostring(tree, method="c14n", with_comments=False)
    promise(canonicalize_document(root, chosen) == expected, "a canonical form without elements is another")


def _take_out(element: etree._Element) -> None:
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if before is not None:
        before.tail = (before.tail or "") + (element.tail or "") or None
    else:
        parent.text = (parent.text or "") + (element.tail or "") or None
    element.tail = None
    parent.remove(element)


def _spans(data: bytes, root: etree._Element) -> None:
    """Each element must lie where it is said to lie."""
    try:
        found = TreeByteRanges(data, root)
    except GatewayError as refused:
        raise BrokenPromiseError("offsets are of another document") from refused
    for element in root.iter("*"):
        span = found.find_element_range(element)
        promise(span is not None, "an element lies nowhere")
        assert span is not None
        promise(data[span.start : span.start + 1] == b"<", "an element does not begin where it is said to")


def _pointers(data: bytes) -> object:
    pointer, _, document = data.partition(b"\n")
    root = parse_xml(document, _LIMITS)
    places = list(iterate_pointers(root))
    known = dict(places)
    for _, place in places[:60]:
        # Two items with one number have one pointer: such a submission is refused when it is read.
        found = find_element(root, place)
        promise(found is not None and known[found] == place, "a pointer names no element, or another")
    return [place for _, place in places], find_value(root, pointer.decode("utf-8", "replace"))


def _mutate_pointed(data: bytes, rng: Random) -> bytes:
    pointer, _, document = data.partition(b"\n")
    if rng.random() < 0.3:
        return mutate_octets(pointer, rng).replace(b"\n", b"") + b"\n" + document
    return pointer + b"\n" + mutate_xml(document, rng)


_HTTP_WORDS = (
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
        b"5;a=b\r\n",
    ),
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"Content-Length: +5\r\n",
        b" folded\r\n",
    ),
)


def _bare_xml() -> Iterable[bytes]:
    return (*samples.documents(), *samples.envelopes())


TARGETS = (
    Target(
        "mime",
        "multipart/related, strictly; read, written and read again",
        samples.posts,
        _mime,
        mutate_post(),
    ),
    Target(
        "stored-http",
        "HTTP messages kept in files: start line, chunks, trailers",
        samples.stored,
        _http,
        either((1, mutate_octets), (1, with_words(_HTTP_WORDS))),
    ),
    Target(
        "xml",
        "what the pre-scan passes is parsed or refused; canonical forms made in two ways; faults; offsets",
        _bare_xml,
        _xml,
        mutate_xml,
    ),
    Target(
        "pointers",
        "each element has a pointer, and the pointer leads to one that has it",
        samples.pointed,
        _pointers,
        _mutate_pointed,
    ),
)
