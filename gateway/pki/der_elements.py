"""Reads the few DER elements of a certificate that are checked before a parser reads the rest."""

from __future__ import annotations

from typing import Final

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_VERSION: Final = 0xA0


def read_element(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Return (tag, start of content, end) of the element at `start`; None when it is not DER."""
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
    return None if content + length > len(data) else (tag, content, content + length)


def split_der_sequence(data: bytes) -> tuple[bytes, ...]:
    """Return the encodings of the members of a SEQUENCE; empty when `data` is not one whole SEQUENCE."""
    outer = read_element(data, 0)
    if outer is None or outer[0] != _SEQUENCE or outer[2] != len(data):
        return ()
    members, position = [], outer[1]
    while position < len(data):
        member = read_element(data, position)
        if member is None:
            return ()
        members.append(data[position : member[2]])
        position = member[2]
    return tuple(members)


def read_certificate_serial(data: bytes) -> bytes | None:
    """Return the octets of a certificate's serial number; None when `data` is not one certificate."""
    outer = read_element(data, 0)
    if outer is None or outer[0] != _SEQUENCE or outer[2] != len(data):
        return None
    inner = read_element(data, outer[1])
    if inner is None or inner[0] != _SEQUENCE:
        return None
    serial = _read_serial(data, inner[1])
    if serial is None or serial[0] != _INTEGER or serial[1] == serial[2]:
        return None
    return data[serial[1] : serial[2]]


def has_one_algorithm(data: bytes) -> bool:
    """Return whether the signed part and the outer field name the same algorithm (RFC 5280 §4.1.1.2)."""
    outer = read_element(data, 0)
    inner = read_element(data, outer[1]) if outer else None
    serial = _read_serial(data, inner[1]) if inner else None
    if inner is None or serial is None:
        return False
    inner_algorithm, outer_algorithm = read_element(data, serial[2]), read_element(data, inner[2])
    if inner_algorithm is None or outer_algorithm is None:
        return False
    return data[serial[2] : inner_algorithm[2]] == data[inner[2] : outer_algorithm[2]]


def has_octet_signature(data: bytes) -> bool:
    """Return whether the signature of a certificate, its third element, has no unused bits.

    No X.509 signature has unused bits; a parser that ignored the last bits would accept
    several forms of one signed text.
    """
    outer = read_element(data, 0)
    signed = read_element(data, outer[1]) if outer else None
    algorithm = read_element(data, signed[2]) if signed else None
    value = read_element(data, algorithm[2]) if algorithm else None
    return value is not None and value[0] == _BIT_STRING and data[value[1] : value[1] + 1] == b"\0"


def _read_serial(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Return the serial number element of a certificate whose signed part begins at `start`."""
    version = read_element(data, start)
    return read_element(data, version[2]) if version and version[0] == _VERSION else version
