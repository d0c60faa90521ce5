"""Changes of octets that know nothing of what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

__all__ = ["either", "mutate_octets", "with_words"]

Mutate = Callable[[bytes, Random], bytes]

NUMBERS = (
    *(
        b"0",
        b"-1",
        b"1",
        b"00",
        b"+1",
        b"1.",
        b".1",
        b"1e9",
        b"1E-9999",
        b"NaN",
        b"Infinity",
        b"0x10",
        b"1_0",
    ),
    *(b"99999999999999999999", b"9" * 400, b"2147483648", b"4294967296", b"18446744073709551616", b"-0"),
    *("١".encode(), "²".encode(), b"1 ", b"\t1", b"0001-01-01", b"9999-12-31T23:59:60Z"),
    *(
        b"0000-00-00T24:00:00+14:00",
        b"2026-02-30",
        b"9999-12-31T23:59:59-14:00",
        b"0001-01-01T00:00:00+14:00",
    ),
)
ODD = (
    *(
        b"\x00",
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b"\x7f",
        b"\x0b",
        b"\x85",
    ),
    *(
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\x98\x80",
        b"\xe2\x80\xa8",
        b"\xe1\x85\x9f",
    ),
    *(b"%", b"%00", b"%zz", b"\\", b'"', b"'", b"<", b">", b"&", b"&#0;", b"&#xD;", b"{", b"}", b"[", b"]"),
    *(
        b"--",
        b"*",
        b";",
        b":",
        b"=",
        b"==",
        b"/",
        b"//",
        b"..",
        b"#",
        b"@",
        b"|",
        b"~",
        b"^",
        b"$",
        b"(",
        b")",
    ),
)


def mutate_octets(data: bytes, rng: Random) -> bytes:
    """Change some octets: flip, take away, repeat, move, or write odd ones."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_CHANGES)(data, rng)
    return data


def with_words(words: Sequence[bytes]) -> Mutate:
    """Return a mutation that writes one of `words` somewhere, over something or between."""

    def mutate(data: bytes, rng: Random) -> bytes:
        start, end = _span(data, rng, 24)
        return data[:start] + rng.choice(words) + data[rng.choice((start, end)) :]

    return mutate


def either(*ways: tuple[float, Mutate]) -> Mutate:
    """Return a mutation that takes one of several ways, each as often as its weight says."""
    weights, mutations = [weight for weight, _ in ways], [mutation for _, mutation in ways]

    def mutate(data: bytes, rng: Random) -> bytes:
        return rng.choices(mutations, weights)[0](data, rng)

    return mutate


def _span(data: bytes, rng: Random, most: int) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.randint(0, most))


def _flip(data: bytes, rng: Random) -> bytes:
    if not data:
        return b"\x00"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _drop(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng, rng.choice((1, 8, 200)))
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng, rng.choice((1, 30, 400)))
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 20)) + data[end:]


def _move(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng, 100)
    place = rng.randint(0, len(data))
    return data[:place] + data[start:end] + data[place:]


def _number(data: bytes, rng: Random) -> bytes:
    places = [place for place, octet in enumerate(data[:65536]) if 48 <= octet <= 57]
    if not places:
        return data
    start = end = rng.choice(places)
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    return data[:start] + rng.choice(NUMBERS) + data[end:]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randint(0, len(data))]


_CHANGES: tuple[Mutate, ...] = (_flip, _flip, _drop, _repeat, _move, _number, _cut, with_words(ODD))
