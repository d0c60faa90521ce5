"""The worst that passes: messages that keep every limit and cost as much as they can.

For each shape and size the largest number is searched that the pre-scan lets through, so
that limits hold the cost down, not the numbers that somebody thought of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.conformance.hostile.bench import Bench
from gateway.conformance.hostile.bombs import attributes, in_body, in_header, in_signature, nested, repeated
from gateway.conformance.hostile.case import Post
from gateway.conformance.hostile.cost import Posted
from gateway.conformance.hostile.craft import Change
from gateway.conformance.hostile.framing import parts_between
from gateway.errors import GatewayError
from gateway.wire.mime import read_related
from gateway.wire.namespaces import DS, PREFIXES
from gateway.wire.prescan import DEFAULT_LIMITS, Limits, prescan

__all__ = ["SHAPES", "SIZES", "Shape", "extremes"]

#: How large the messages are made, in octets.
SIZES: Final = (6 * 1024, 24 * 1024, 96 * 1024, 400 * 1024, 1_600_000, 4_150_000)
_SOAP: Final = PREFIXES["soap"].encode()
_EB: Final = PREFIXES["eb"].encode()


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to cost: what is done to a signed envelope (or to the `whole` body) with so many of something."""

    name: str
    change: Callable[[int], Change]
    whole: bool = False


def _spaced(piece: bytes, spaces: int) -> Callable[[int], Callable[[], bytes]]:
    """Return what repeats a piece with white space in proportion, as dense as it may be."""
    return lambda count: lambda: repeated(piece, count)() + b" " * (spaces * count)


def _scopes(names: int, inner: Callable[[int], bytes]) -> Callable[[int], Change]:
    declared = b"".join(b' xmlns:p%d="u:"' % number for number in range(names))
    return lambda count: in_header(lambda: b"<x:d" + declared + b">" + inner(count) + b"</x:d>")


def _towers(spaces: int) -> Callable[[int], bytes]:
    return lambda count: (nested(90)() + b" " * spaces) * count


def _references(count: int) -> Change:
    one = (
        b'<d:Reference xmlns:d="%s" URI="cid:x"><d:DigestMethod Algorithm='
        b'"http://www.w3.org/2001/04/xmlenc#sha256"/><d:DigestValue>AAAA</d:DigestValue></d:Reference>'
        % DS.encode()
    )
    return in_signature(lambda: one * min(count, DEFAULT_LIMITS.references - 3))


def _expressions(count: int) -> Change:
    transform = (
        b'<d:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><d:XPath>'
        b"%sa%d</d:XPath></d:Transform>"
    )
    one = (
        b'<d:Reference xmlns:d="%s" URI="cid:x"><d:Transforms>%%s</d:Transforms><d:DigestMethod Algorithm='
        b'"http://www.w3.org/2001/04/xmlenc#sha256"/><d:DigestValue>AAAA</d:DigestValue></d:Reference>'
        % DS.encode()
    )

    def made() -> bytes:
        numbers = range(min(count, DEFAULT_LIMITS.references - 3))
        # Each expression is another one: what was read before is not remembered.
        return b"".join(
            one % b"".join(transform % (b"(" * 900, 4 * number + k) for k in range(4)) for number in numbers
        )

    return in_signature(made)


def _many_parts(count: int) -> Change:
    part = b"\r\n--=-boundary\r\nContent-ID: <n%d@x>\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(30))
    return parts_between(lambda: b"".join(part % number + b"\r\nx" for number in range(min(count, 97))))


def _put(
    where: Callable[[Callable[[], bytes]], Change], make: Callable[[int], Callable[[], bytes]]
) -> Callable[[int], Change]:
    return lambda count: where(make(count))


def _shapes() -> tuple[Shape, ...]:
    header: dict[str, Callable[[int], Callable[[], bytes]]] = {
        "elements": _spaced(b"<x:a/>", 0),
        "elements-spread": _spaced(b"<x:a/>", 12),
        "names": _spaced(b"<x:a%d/>", 32),
        "attribute-names": _spaced(b'<x:a b%d=""/>', 60),
        "attributes": lambda count: lambda: (attributes(60)() + b" " * 600) * count,
        "texts": _spaced(b"<x:a/>t", 10),
        "comments": _spaced(b"<!---->", 6),
        "references": _spaced(b"&#38;&lt;", 0),
        "actors": _spaced(b'<x:a xmlns:s="%s" s:actor="a"/>' % _SOAP, 0),
        "towers": lambda count: lambda: (nested(90)() + b" " * 200) * count,
        "ids": lambda count: (
            lambda: (
                b'<x:i xmlns:e="%s">' % _EB
                + b'<x:a xml:id="i"/><x:a e:id="i"/>' * count
                + b" " * (60 * count)
                + b"</x:i>"
            )
        ),
    }
    bodies = {"in-body": _spaced(b"<x/>", 12)}
    return (
        *(Shape(name, _put(in_header, make)) for name, make in header.items()),
        *(Shape(name, _put(in_body, make)) for name, make in bodies.items()),
        *(
            Shape(f"scopes-{names}", _scopes(names, lambda n: b"<x:a/>" * n + b" " * (30 * n)))
            for names in (8, 56)
        ),
        *(Shape(f"scopes-deep-{names}", _scopes(names, _towers(2000))) for names in (8, 30, 56)),
        Shape("signed-references", _references),
        Shape("expressions", _expressions),
        Shape(
            "blocks",
            lambda count: (
                lambda data: data.replace(
                    b"</soap:Header>", b'<x:b xmlns:x="u:"/>' * count + b"</soap:Header>", 1
                )
            ),
        ),
        Shape("parts", _many_parts, whole=True),
        Shape("line-feeds", lambda count: parts_between(lambda: b"\r\n--=-boundar_" * count), whole=True),
    )


SHAPES: Final[tuple[Shape, ...]] = _shapes()
"""Every shape that is tried."""


def extremes(bench: Bench, shape: Shape, size: int, limits: Limits = DEFAULT_LIMITS) -> Iterator[Posted]:
    """Yield the largest message, and call, of a shape: at most `size` octets, and within the limits."""
    for face in ("ebms2",) if shape.whole else ("ebms2", "soap"):
        count = _largest(partial(_fits, bench, shape, face, size, limits))
        if count:
            yield Posted(
                f"{shape.name}{'-call' if face == 'soap' else ''} × {count}", _made(bench, shape, face, count)
            )


def _made(bench: Bench, shape: Shape, face: str, count: int) -> Post:
    change = shape.change(count)
    if shape.whole:
        return bench.message(body=change)
    return bench.call(tampered=change) if face == "soap" else bench.message(tampered=change)


def _fits(bench: Bench, shape: Shape, face: str, size: int, limits: Limits, count: int) -> bool:
    return _passes(_made(bench, shape, face, count), size, limits)


def _passes(post: Post, size: int, limits: Limits) -> bool:
    if len(post.body) > size:
        return False
    try:
        content = read_related(post.headers["Content-Type"], post.body, limits).root.content
        prescan(content, limits, envelope=True)
    except GatewayError:
        return False
    return True


def _largest(passes: Callable[[int], bool]) -> int:
    """Return the largest number that passes, found by halving; the numbers below it pass, too."""
    low, high = 0, 1
    while high < 1 << 22 and passes(high):
        low, high = high, high * 2
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
