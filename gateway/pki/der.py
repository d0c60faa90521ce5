"""The few octets of DER that are looked at before a parser sees the rest."""

from __future__ import annotations

from typing import Final

__all__ = ["certificate_serial", "element", "is_signed_in_octets", "names_one_algorithm"]

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_VERSION: Final = 0xA0


def element(data: bytes, start: int) -> tuple[int, int, int] | None:
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
        # X.690 §10.1: the shortest form of a length is the only one.
        if length < 0x80 or octets[0] == 0:
            return None
        content += count
    return None if content + length > len(data) else (tag, content, content + length)


def certificate_serial(data: bytes) -> bytes | None:
    """Return the octets of a certificate's serial number; None when `data` is not one certificate."""
    outer = element(data, 0)
    if outer is None or outer[0] != _SEQUENCE or outer[2] != len(data):
        return None
    inner = element(data, outer[1])
    if inner is None or inner[0] != _SEQUENCE:
        return None
    serial = _serial(data, inner[1])
    if serial is None or serial[0] != _INTEGER or serial[1] == serial[2]:
        return None
    return data[serial[1] : serial[2]]


def names_one_algorithm(data: bytes) -> bool:
    """Say whether a certificate names one algorithm in what is signed and beside it (RFC 5280 §4.1.1.2)."""
    outer = element(data, 0)
    inner = element(data, outer[1]) if outer else None
    serial = _serial(data, inner[1]) if inner else None
    if inner is None or serial is None:
        return False
    within, beside = element(data, serial[2]), element(data, inner[2])
    if within is None or beside is None:
        return False
    return data[serial[2] : within[2]] == data[inner[2] : beside[2]]


def is_signed_in_octets(data: bytes) -> bool:
    """Say whether the signature of a certificate, its third element, has no bits left over.

    No signature of X.509 has any; a parser that leaves the last bits out would let one signed text
    have several forms.
    """
    outer = element(data, 0)
    signed = element(data, outer[1]) if outer else None
    algorithm = element(data, signed[2]) if signed else None
    value = element(data, algorithm[2]) if algorithm else None
    return value is not None and value[0] == _BIT_STRING and data[value[1] : value[1] + 1] == b"\0"


def _serial(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Return the serial number of a certificate whose signed part begins at `start`."""
    version = element(data, start)
    return element(data, version[2]) if version and version[0] == _VERSION else version
