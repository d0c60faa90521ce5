"""Reads the few DER elements of a certificate that are checked before a parser reads the rest."""

from __future__ import annotations

from typing import Final, NamedTuple

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_VERSION: Final = 0xA0


class DerElement(NamedTuple):
    """An element in some octets: its tag, and the positions at which its content begins and it ends."""

    tag: int
    content: int
    end: int


def read_element(data: bytes, start: int) -> DerElement | None:
    """Return the element that begins at the position `start` of `data`; None when it is not DER."""
    if start + 2 > len(data):
        return None
    tag, length, content = data[start], data[start + 1], start + 2
    if length >= 0x80:
        count = length & 0x7F
        octets = data[content : content + count]
        if not 1 <= count <= 4 or len(octets) != count:
            return None
        length = int.from_bytes(octets)
        # X.690 §10.1: only the shortest form of a length is allowed.
        if length < 0x80 or octets[0] == 0:
            return None
        content += count
    return None if content + length > len(data) else DerElement(tag, content, content + length)


def split_der_sequence(data: bytes) -> tuple[bytes, ...]:
    """Return the encodings of the members of a SEQUENCE; empty when `data` is not one whole SEQUENCE."""
    outer = read_element(data, 0)
    if outer is None or outer.tag != _SEQUENCE or outer.end != len(data):
        return ()
    members, position = [], outer.content
    while position < len(data):
        member = read_element(data, position)
        if member is None:
            return ()
        members.append(data[position : member.end])
        position = member.end
    return tuple(members)


def read_certificate_serial(data: bytes) -> bytes | None:
    """Return the octets of a certificate's serial number; None when `data` is not one certificate."""
    outer = read_element(data, 0)
    if outer is None or outer.tag != _SEQUENCE or outer.end != len(data):
        return None
    inner = read_element(data, outer.content)
    if inner is None or inner.tag != _SEQUENCE:
        return None
    serial = _read_serial(data, inner.content)
    if serial is None or serial.tag != _INTEGER or serial.content == serial.end:
        return None
    return data[serial.content : serial.end]


def has_one_algorithm(data: bytes) -> bool:
    """Return whether the signed part and the outer field name the same algorithm (RFC 5280 §4.1.1.2)."""
    outer = read_element(data, 0)
    inner = read_element(data, outer.content) if outer else None
    serial = _read_serial(data, inner.content) if inner else None
    if inner is None or serial is None:
        return False
    inner_algorithm, outer_algorithm = read_element(data, serial.end), read_element(data, inner.end)
    if inner_algorithm is None or outer_algorithm is None:
        return False
    return data[serial.end : inner_algorithm.end] == data[inner.end : outer_algorithm.end]


def has_octet_signature(data: bytes) -> bool:
    """Return whether the signature of a certificate, its third element, has no unused bits.

    No X.509 signature has unused bits; a parser that ignored the last bits would accept
    several forms of one signed text.
    """
    outer = read_element(data, 0)
    signed = read_element(data, outer.content) if outer else None
    algorithm = read_element(data, signed.end) if signed else None
    signature = read_element(data, algorithm.end) if algorithm else None
    if signature is None or signature.tag != _BIT_STRING:
        return False
    # The first octet of a BIT STRING is the number of its unused bits.
    return data[signature.content : signature.content + 1] == b"\0"


def _read_serial(data: bytes, start: int) -> DerElement | None:
    """Return the serial number element of a certificate; `start`: the content of its signed part.

    The version before the serial number is optional. Returns None when an element is not DER.
    """
    first = read_element(data, start)
    return read_element(data, first.end) if first and first.tag == _VERSION else first
