"""Changes of DER that keep its lengths right, so that what is odd is the value and not the frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fuzz.identities import AUTHORITY, key
from tests.fuzz.octets import mutate_octets

__all__ = ["mutate_signed_der"]

_DEEPEST = 12
_TAGS = (1, 2, 3, 4, 5, 6, 10, 12, 19, 22, 23, 24, 30, 48, 49, 0x80, 0xA0, 0xA3)
_VALUES = (
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\x00\x01",
        b"\x80" + bytes(20),
        bytes(40),
        b"\x7f" * 21,
        b"99991231235959Z",
        b"000101000000Z",
    ),
    *(
        b"20261320000000Z",
        b"261120090000+0100",
        b"a\x00b",
        "가".encode(),
        b"\xff\xfe",
        b"x" * 300,
        b"\x01\x01\xff",
    ),
    *(
        b"\x55\x1d\x13",
        b"\x55\x1d\x1e",
        b"\x55\x1d\x0f",
        b"\x55\x1d\x25\x00",
        b"\x88\x37",
        b"\x80\x01",
        b"\x2b" + b"\xff" * 12,
    ),
)


@dataclass
class _Node:
    tag: int
    content: bytes = b""
    inner: list[_Node] = field(default_factory=list)

    def octets(self) -> bytes:
        content = b"".join(one.octets() for one in self.inner) if self.inner else self.content
        size = len(content)
        length = bytes([size]) if size < 128 else _long(size)
        return bytes([self.tag]) + length + content

    def all(self) -> list[_Node]:
        return [self, *(each for one in self.inner for each in one.all())]


def _long(size: int) -> bytes:
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def _read(data: bytes, depth: int = 0) -> list[_Node]:
    """Return the elements of `data`; raises ValueError where it is not DER."""
    found = []
    position = 0
    while position < len(data):
        tag, size = data[position], data[position + 1] if position + 1 < len(data) else 256
        position += 2
        if size > 128:
            width = size & 0x7F
            size = int.from_bytes(data[position : position + width], "big")
            position += width
        if position + size > len(data) or size == 128:
            raise ValueError("not DER")
        node = _Node(tag, data[position : position + size])
        if (tag & 0x20 or tag == 4) and node.content and depth < _DEEPEST:
            try:
                node.inner = _read(node.content, depth + 1)
            except ValueError:
                if tag & 0x20:
                    raise
        found.append(node)
        position += size
    return found


def mutate_signed_der(data: bytes, rng: Random) -> bytes:
    """Change the signed part of a certificate or list, and sign it again; at times the octets alone."""
    try:
        (whole,) = _read(data)
        body = whole.inner[0]
    except (ValueError, IndexError):
        return mutate_octets(data, rng)
    if rng.random() < 0.15:
        return mutate_octets(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(rng.choice((body, whole) if rng.random() < 0.2 else (body,)), rng)
    if rng.random() < 0.8:
        value = key(AUTHORITY).sign(body.octets(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        if len(whole.inner) == 3:
            whole.inner[2] = _Node(3, b"\x00" + value)
    return whole.octets()


def _change(root: _Node, rng: Random) -> None:
    nodes = root.all()
    one, other = rng.choice(nodes), rng.choice(nodes)
    kind = rng.randrange(8)
    if kind == 0:
        one.tag = rng.choice(_TAGS)
    elif kind in (1, 2):
        one.inner, one.content = [], rng.choice((*_VALUES, mutate_octets(one.content, rng)))
    elif kind == 3 and one.inner:
        del one.inner[rng.randrange(len(one.inner))]
    elif kind == 4 and one.inner and other not in one.all() and one not in other.all():
        one.inner.insert(rng.randint(0, len(one.inner)), other)
    elif kind == 5 and one.inner:
        one.inner.extend([rng.choice(one.inner)] * rng.choice((1, 1, 200)))
    elif kind == 6 and len(one.inner) > 1:
        rng.shuffle(one.inner)
    elif other not in one.all() and one not in other.all():
        one.tag, one.content, one.inner = other.tag, other.content, other.inner
