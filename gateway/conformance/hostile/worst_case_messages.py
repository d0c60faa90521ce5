"""Worst-case messages: they keep every limit and cost as much as possible.

For each shape and size the largest number that the pre-scan accepts is searched. So the limits
are tested, not chosen numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.octet_mutations import (
    OctetMutation,
    build_attribute_element,
    build_reference,
    build_xpath_transform,
    insert_before,
    insert_in_body,
    insert_in_header,
    insert_in_signature,
    insert_parts,
    nest_elements,
    repeat_piece,
)
from gateway.conformance.hostile.request_cost import CaseRequest
from gateway.errors import GatewayError
from gateway.wire import DEFAULT_LIMITS, PREFIXES, WireLimits, prescan_xml, read_multipart_related

#: The sizes of the messages, in octets.
SIZES: Final = (6 * 1024, 24 * 1024, 96 * 1024, 400 * 1024, 1_600_000, 4_150_000)
_SOAP: Final = PREFIXES["soap"].encode()
_EB: Final = PREFIXES["eb"].encode()


@dataclass(frozen=True, slots=True)
class WorstCaseShape:
    """A shape of an expensive message: a change of a signed envelope (or `whole` body) by a count."""

    name: str
    change: Callable[[int], OctetMutation]
    whole: bool = False


def _repeat_spaced(piece: bytes, spaces: int) -> Callable[[int], Callable[[], bytes]]:
    """Return the function that repeats a piece with the least white space that the limits require."""
    return lambda count: lambda: repeat_piece(piece, count)() + b" " * (spaces * count)


def _nest_in_scopes(names: int, inner: Callable[[int], bytes]) -> Callable[[int], OctetMutation]:
    declared = b"".join(b' xmlns:p%d="u:"' % number for number in range(names))
    return lambda count: insert_in_header(lambda: b"<x:d" + declared + b">" + inner(count) + b"</x:d>")


def _stack_towers(spaces: int) -> Callable[[int], bytes]:
    return lambda count: (nest_elements(90)() + b" " * spaces) * count


def _insert_references(count: int) -> OctetMutation:
    one = build_reference(uri=b"cid:x")
    return insert_in_signature(lambda: one * min(count, DEFAULT_LIMITS.references - 3))


def _insert_expressions(count: int) -> OctetMutation:
    """Return the change that adds references with different expressions, so that no cache helps."""

    def build_references() -> bytes:
        return b"".join(
            build_reference(
                b"".join(build_xpath_transform(b"(" * 900 + b"a%d" % (4 * number + k)) for k in range(4)),
                b"cid:x",
            )
            for number in range(min(count, DEFAULT_LIMITS.references - 3))
        )

    return insert_in_signature(build_references)


def _insert_many_parts(count: int) -> OctetMutation:
    part = b"\r\n--=-boundary\r\nContent-ID: <n%d@x>\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(30))
    return insert_parts(lambda: b"".join(part % number + b"\r\nx" for number in range(min(count, 97))))


def _place_content(
    where: Callable[[Callable[[], bytes]], OctetMutation], make: Callable[[int], Callable[[], bytes]]
) -> Callable[[int], OctetMutation]:
    return lambda count: where(make(count))


def _nest_spread(count: int) -> OctetMutation:
    return insert_in_header(lambda: _stack_towers(200)(count))


def _spread_attributes(count: int) -> OctetMutation:
    return insert_in_header(lambda: (build_attribute_element(60)() + b" " * 600) * count)


def _repeat_identifiers(count: int) -> OctetMutation:
    pairs = b'<x:a xml:id="i"/><x:a e:id="i"/>' * count
    return insert_in_header(lambda: b'<x:i xmlns:e="%s">' % _EB + pairs + b" " * (60 * count) + b"</x:i>")


def _insert_blocks(count: int) -> OctetMutation:
    return insert_before("</soap:Header>", '<x:b xmlns:x="u:"/>' * count)


def _spread_elements(count: int) -> bytes:
    return b"<x:a/>" * count + b" " * (30 * count)


def _repeat_in_header(piece: bytes, spaces: int) -> Callable[[int], OctetMutation]:
    return _place_content(insert_in_header, _repeat_spaced(piece, spaces))


# fmt: off
SHAPES: Final[tuple[WorstCaseShape, ...]] = (
    WorstCaseShape("elements", _repeat_in_header(b"<x:a/>", 0)),
    WorstCaseShape("elements-spread", _repeat_in_header(b"<x:a/>", 12)),
    WorstCaseShape("names", _repeat_in_header(b"<x:a%d/>", 32)),
    WorstCaseShape("attribute-names", _repeat_in_header(b'<x:a b%d=""/>', 60)),
    WorstCaseShape("attributes", _spread_attributes),
    WorstCaseShape("texts", _repeat_in_header(b"<x:a/>t", 10)),
    WorstCaseShape("comments", _repeat_in_header(b"<!---->", 6)),
    WorstCaseShape("references", _repeat_in_header(b"&#38;&lt;", 0)),
    WorstCaseShape("actors", _repeat_in_header(b'<x:a xmlns:s="%s" s:actor="a"/>' % _SOAP, 0)),
    WorstCaseShape("towers", _nest_spread),
    WorstCaseShape("ids", _repeat_identifiers),
    WorstCaseShape("in-body", _place_content(insert_in_body, _repeat_spaced(b"<x/>", 12))),
    *(WorstCaseShape(f"scopes-{names}", _nest_in_scopes(names, _spread_elements)) for names in (8, 56)),
    *(WorstCaseShape(f"scopes-deep-{names}", _nest_in_scopes(names, _stack_towers(2000)))
      for names in (8, 30, 56)),
    WorstCaseShape("signed-references", _insert_references),
    WorstCaseShape("expressions", _insert_expressions),
    WorstCaseShape("blocks", _insert_blocks),
    WorstCaseShape("parts", _insert_many_parts, whole=True),
    WorstCaseShape("line-feeds", lambda count: insert_parts(lambda: b"\r\n--=-boundar_" * count), whole=True),
)
# fmt: on
"""Every shape that is tried."""


def find_worst_cases(
    kit: AttackerKit, shape: WorstCaseShape, size: int, limits: WireLimits = DEFAULT_LIMITS
) -> Iterator[CaseRequest]:
    """Yield the largest message, and call, of a shape: at most `size` octets, and within the limits."""
    for face in ("ebms2",) if shape.whole else ("ebms2", "soap"):
        count = _find_largest_count(partial(_fits_limits, kit, shape, face, size, limits))
        if count:
            yield CaseRequest(
                f"{shape.name}{'-call' if face == 'soap' else ''} × {count}",
                _build_request(kit, shape, face, count),
            )


def _build_request(kit: AttackerKit, shape: WorstCaseShape, face: str, count: int) -> HttpRequest:
    change = shape.change(count)
    if shape.whole:
        return kit.build_message(body=change)
    return kit.build_call(tampered=change) if face == "soap" else kit.build_message(tampered=change)


def _fits_limits(
    kit: AttackerKit, shape: WorstCaseShape, face: str, size: int, limits: WireLimits, count: int
) -> bool:
    return _passes_prescan(_build_request(kit, shape, face, count), size, limits)


def _passes_prescan(post: HttpRequest, size: int, limits: WireLimits) -> bool:
    if len(post.body) > size:
        return False
    try:
        content = read_multipart_related(post.headers["Content-Type"], post.body, limits).root.content
        prescan_xml(content, limits, envelope=True)
    except GatewayError:
        return False
    return True


def _find_largest_count(passes: Callable[[int], bool]) -> int:
    """Return the largest number that passes, found by bisection; all smaller numbers pass, too."""
    low, high = 0, 1
    while high < 1 << 22 and passes(high):
        low, high = high, high * 2
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
