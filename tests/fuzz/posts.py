"""Posts: what HTTP brings, kept as octets, and their changes: of headers, of MIME, of the envelope.

A post is kept as header lines, an empty line and the body.  Changes of the envelope can be
signed again afterwards, so that what lies behind the signature is reached.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from random import Random

from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import read_multipart_related
from tests.fuzz.octets import either, mutate_octets
from tests.fuzz.target import Mutate
from tests.fuzz.trees import mutate_xml, parsed, written

__all__ = ["UNSIGNABLE", "Sign", "mutate_post", "read_post", "write_post"]

#: Changes an envelope on its way and signs it: tree, attachments by Content-ID, random numbers.
Sign = Callable[[etree._Element, Mapping[str, bytes], Random], etree._Element]
#: What comes of signing a tree that is too odd to be signed.
UNSIGNABLE = (GatewayError, ValueError, TypeError, AttributeError, IndexError, StopIteration)

TYPES = (
    *(
        "text/xml",
        "text/xml; charset=utf-8",
        "text/xml; charset=UTF-16",
        "application/soap+xml",
        "multipart/related",
    ),
    *(
        "multipart/mixed; boundary=x",
        'multipart/related; type="text/xml"; boundary=""',
        "",
        ";",
        "a/b; c",
        "text/xml;;;",
    ),
    *(
        "multipart/related; boundary=a; boundary=b",
        "text/xml; charset*=utf-8''x",
        "text/xml; charset*0=u; charset*1=tf-8",
    ),
    *(
        'text/xml; charset="\xff"',
        "text/xml; charset=%s" % ("x" * 300),
        'text/xml; charset="utf-8',
        "TEXT/XML; CHARSET=x y",
    ),
    *(
        "text/xml; charset*=x'y'%ff%00",
        "text/xml; charset*=unknown-8bit''%e4",
        "text/xml\t; charset = utf_8 ; q",
    ),
)
ACTIONS = ('"ebXML"', "ebXML", "", '"', "urn:x", '"urn:a" "urn:b"', "\u20ac".encode().decode("latin-1"))
FIELDS = ("Content-Length", "Content-Encoding", "Transfer-Encoding", "Accept", "Status", "Content-Type")
VALUES = (
    "",
    "0",
    "-1",
    "5",
    "9" * 18,
    "9" * 30,
    "gzip",
    "identity",
    "chunked",
    "gzip, chunked",
    "\u00b2",
    "500",
)
ENCODINGS = (
    b"base64",
    b"quoted-printable",
    b"7bit",
    b"8bit",
    b"binary",
    b"x-uuencode",
    b"",
    b"BASE64 ",
    b"gzip",
)
_BOUNDARY = re.compile(rb'boundary="?([^";\r\n]+)')


def write_post(headers: Mapping[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return lines.encode("latin-1", "replace") + b"\r\n" + body


def read_post(data: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a post, whatever its octets are."""
    head, _, body = data.partition(b"\r\n\r\n")
    headers = {}
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(": ")
        if colon and name:
            headers[name] = value
    return headers, body


def mutate_post(sign: Sign | None = None) -> Mutate:
    """Return the mutation of posts; with `sign` most changed envelopes are signed again."""

    def envelope(data: bytes, rng: Random) -> bytes:
        return _envelope(data, rng, sign)

    return either((6 if sign else 4, envelope), (2, _mime), (1, _headers), (1, mutate_octets))


def _envelope(data: bytes, rng: Random, sign: Sign | None) -> bytes:
    headers, body = read_post(data)
    try:
        found = read_multipart_related(headers.get("Content-Type", ""), body)
    except GatewayError:
        return _mime(data, rng)
    root = parsed(found.root.content)
    if sign is None or root is None or rng.random() < 0.25:
        changed = mutate_xml(found.root.content, rng)
    else:
        try:
            changed = written(sign(root, {part.content_id: part.octets for part in found.attachments}, rng))
        except UNSIGNABLE:
            changed = mutate_xml(found.root.content, rng)
    # The root part lies in the body as it is, or (rarely) coded: then the whole is left as it was.
    return write_post(headers, body.replace(found.root.content, changed, 1))


def _headers(data: bytes, rng: Random) -> bytes:
    headers, body = read_post(data)
    if rng.random() < 0.5:
        headers["Content-Type"] = rng.choice((*TYPES, headers.get("Content-Type", "") + rng.choice(TYPES)))
    elif rng.random() < 0.5:
        headers["SOAPAction"] = rng.choice(ACTIONS)
    elif rng.random() < 0.5:
        headers[rng.choice(FIELDS)] = rng.choice(VALUES)
    elif headers:
        name = rng.choice(sorted(headers))
        value = mutate_octets(headers[name].encode("latin-1", "replace"), rng)
        headers[name] = value.decode("latin-1").replace("\r", "").replace("\n", "")
    return write_post(headers, body)


def _mime(data: bytes, rng: Random) -> bytes:
    headers, body = read_post(data)
    found = _BOUNDARY.search(headers.get("Content-Type", "").encode("latin-1", "replace"))
    if found is None:
        return write_post(headers, mutate_octets(body, rng))
    marker = b"--" + found[1]
    pieces = body.split(marker)
    place = rng.randrange(len(pieces))
    rng.choice(_OF_PIECES)(pieces, place, rng)
    return write_post(headers, marker.join(pieces))


def _drop(pieces: list[bytes], place: int, _rng: Random) -> None:
    del pieces[place]


def _double(pieces: list[bytes], place: int, rng: Random) -> None:
    pieces[place:place] = [pieces[place]] * rng.choice((1, 1, 110))


def _swap(pieces: list[bytes], place: int, rng: Random) -> None:
    other = rng.randrange(len(pieces))
    pieces[place], pieces[other] = pieces[other], pieces[place]


def _octets(pieces: list[bytes], place: int, rng: Random) -> None:
    pieces[place] = mutate_octets(pieces[place], rng)


def _coding(pieces: list[bytes], place: int, rng: Random) -> None:
    """Write the content of a part in a transfer encoding, rightly or not."""
    head, gap, content = pieces[place].partition(b"\r\n\r\n")
    name = rng.choice(ENCODINGS)
    if rng.random() < 0.7:
        content = {b"base64": _base64, b"quoted-printable": binascii.b2a_qp}.get(name, bytes)(content)
    pieces[place] = head + b"\r\nContent-Transfer-Encoding: " + name + gap + content


def _base64(content: bytes) -> bytes:
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def _lines(pieces: list[bytes], place: int, rng: Random) -> None:
    old, new = rng.choice(
        ((b"\r\n", b"\n"), (b"\n", b"\r\n"), (b"\r\n", b"\r"), (b": ", b":\r\n "), (b"\r\n", b" \r\n"))
    )
    pieces[place] = pieces[place].replace(old, new, rng.choice((1, 2, -1)))


def _field(pieces: list[bytes], place: int, rng: Random) -> None:
    lines = (
        b"Content-ID: <x@y>",
        b"Content-Type: text/xml",
        b"content-id: <root@broker.example>",
        b"X: " + b"y" * 999,
    )
    pieces[place] = b"\r\n" + rng.choice(lines) + pieces[place]


_OF_PIECES = (_drop, _double, _swap, _octets, _octets, _coding, _lines, _field)
