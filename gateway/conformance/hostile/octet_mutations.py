"""Changes of octets for attacks: text, XML in a place of an envelope, parts of a multipart.

A change that finds nothing to change raises LookupError, so that no attack becomes an honest
message unnoticed. None of them needs a key: anyone who reaches the gateway can send them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gateway.wire import DS
from gateway.xmlsec import SHA256

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
NUMBERED: Final = b"%d"
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
        changed, count = pattern.subn(lambda found: found[1] + value.encode(), data, count=1)
        if not count:
            raise LookupError(f"the message has no {tag}")
        return changed

    return mutate_octets


def _insert_at_pattern(
    place: re.Pattern[bytes], content: Callable[[], bytes], *, after: bool
) -> OctetMutation:
    def insert_content(data: bytes) -> bytes:
        found = place.search(data)
        if found is None:
            raise LookupError(f"not in the message: {place.pattern!r}")
        position = found.end() if after else found.start()
        return data[:position] + content() + data[position:]

    return insert_content


def insert_in_header(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` into an unknown header block, the last one."""
    return _insert_at_pattern(_HEADER_END, lambda: _UNKNOWN + content() + b"</x:unknown>", after=False)


def insert_in_body(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` first into the Body."""
    return _insert_at_pattern(_BODY_START, content, after=True)


def insert_in_signature(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `content` last into SignedInfo."""
    return _insert_at_pattern(_SIGNED_INFO_END, content, after=False)


def add_root_attributes(declared: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts attributes or declarations on the Envelope."""
    return _insert_at_pattern(_ROOT, lambda: b" " + declared(), after=True)


def prepend_prolog(prolog: Callable[[], bytes]) -> OctetMutation:
    """Return the change that puts `prolog` before the envelope."""
    return lambda data: prolog() + data


def replace_envelope(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that sends `content` in place of the envelope."""
    return lambda _: content()


def repeat_piece(piece: bytes, count: int) -> Callable[[], bytes]:
    """Return the function that repeats `piece`, with a running number where it has a place for one."""
    if NUMBERED not in piece:
        return lambda: piece * count
    return lambda: b"".join(piece.replace(NUMBERED, b"%d" % number) for number in range(count))


def nest_elements(depth: int, name: bytes = b"x:n", inner: bytes = b"") -> Callable[[], bytes]:
    """Return the function that nests elements to a depth."""
    return lambda: b"<%s>" % name * depth + inner + b"</%s>" % name * depth


def build_attribute_element(count: int, piece: bytes = b'a%d="" ') -> Callable[[], bytes]:
    """Return an element with this number of attributes."""
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
    """Return an element that declares this number of namespaces and contains `inner`."""
    return lambda: (
        b"<x:d " + repeat_piece(b'xmlns:p%d="urn:p" ', count)() + b">" + b"".join(inner) + b"</x:d>"
    )


def insert_parts(content: Callable[[], bytes]) -> OctetMutation:
    """Return the change that inserts octets, with their boundaries, before the final boundary."""

    def mutate_octets(data: bytes) -> bytes:
        head, end, tail = data.rpartition(END)
        if not end:
            raise LookupError("the message has no final boundary")
        return head + content() + end + tail

    return mutate_octets


def append_epilogue(content: bytes) -> OctetMutation:
    """Return the change that puts octets behind the final boundary."""
    return lambda data: data + content


def _rewrite_second_part(build: Callable[[bytes, bytes], bytes]) -> OctetMutation:
    def mutate_octets(data: bytes) -> bytes:
        changed, count = _SECOND.subn(lambda found: build(found[1], found[2]), data)
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
