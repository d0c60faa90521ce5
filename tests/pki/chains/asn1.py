"""DER, written octet by octet: a builder that checks what it builds would refuse what is wanted here."""

from __future__ import annotations

from datetime import UTC, datetime

ANY_POLICY = "2.5.29.32.0"
TAGS = {"utf8": 0x0C, "printable": 0x13, "t61": 0x14, "ia5": 0x16, "bmp": 0x1E}

#: One relative name: attribute type, text, kind of string.
Step = tuple[str, str, str]
Name = tuple[Step, ...]


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return one element with its length."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def seq(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(0x30, *parts)


def integer(value: int, tag: int = 0x02) -> bytes:
    """Return an INTEGER."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool, tag: int = 0x01) -> bytes:
    """Return a BOOLEAN."""
    return tlv(tag, b"\xff" if value else b"\x00")


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return tlv(0x06, *map(_base128, (40 * first + second, *rest)))


def _base128(value: int) -> bytes:
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(value & 0x7F | 0x80)
    return bytes(reversed(octets))


def bits(value: bytes, unused: int = 0, tag: int = 0x03) -> bytes:
    """Return a BIT STRING."""
    return tlv(tag, bytes((unused,)), value)


def flags(numbers: set[int], tag: int = 0x03) -> bytes:
    """Return a BIT STRING of named bits, without zeros at its end."""
    if not numbers:
        return bits(b"", tag=tag)
    length = max(numbers) + 1
    value = sum(1 << (length - 1 - number) for number in numbers)
    unused = -length % 8
    return bits((value << unused).to_bytes((length + 7) // 8, "big"), unused, tag)


def octets(value: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tlv(0x04, value)


def moment(at: datetime) -> bytes:
    """Return a time as RFC 5280 §4.1.2.5 writes it."""
    if at.year < 2050:
        return tlv(0x17, at.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())
    return generalized(at)


def generalized(at: datetime) -> bytes:
    """Return a GeneralizedTime."""
    return tlv(0x18, at.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


def step(one: Step) -> bytes:
    """Return an AttributeTypeAndValue."""
    kind, text, form = one
    coded = text.encode({"bmp": "utf-16-be", "utf8": "utf-8"}.get(form, "latin-1"))
    return seq(oid(kind), tlv(TAGS[form], coded))


def name(steps: Name) -> bytes:
    """Return a Name; one attribute in each relative name."""
    return seq(*(tlv(0x31, step(each)) for each in steps))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return an Extension."""
    return seq(oid(kind), boolean(value=True) if critical else b"", octets(value))
