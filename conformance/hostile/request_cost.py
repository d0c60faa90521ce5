"""Measures the CPU time and peak memory of hostile messages before their sender is known, and the worst case.

Each message is made in one process and served in another one, so that only the serving is measured. CPU time
is that of the process, the minimum of a few runs. Memory is the growth of the resident size as the kernel
counts it, because Python does not count the trees of libxml2.

Worst-case messages keep every limit and cost as much as possible: for each shape and size the largest number
that the pre-scan accepts is searched. So the limits are tested, not chosen numbers.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.wire import DEFAULT_LIMITS, PREFIXES, WireLimits, prescan_xml, read_multipart_related
from gateway_conformance.hostile.attack_cases import AttackCase
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
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
from gateway_conformance.hostile.exchange import Answer, HttpRequest, NotOfferedError, WrongAnswerError

_KILOBYTE: Final = 1024
_RUNS: Final = 3
#: One process serves small messages in order until they have this number of octets.
_MAX_GROUP_OCTETS: Final = 256 * _KILOBYTE
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")

#: Answers a request.
ServeRequest = Callable[[HttpRequest], Answer]


@dataclass(frozen=True, slots=True)
class CaseRequest:
    """One hostile request with the id of its case."""

    id: str
    request: HttpRequest


@dataclass(frozen=True, slots=True)
class RequestCost:
    """The cost of one request: its octets, milliseconds of CPU, octets of peak memory."""

    id: str
    octets: int
    cpu_ms: float
    memory: int

    @property
    def size_kilobytes(self) -> float:
        """Return its size; every request counts as one kilobyte at least, for its headers."""
        return max(1.0, self.octets / _KILOBYTE)

    @property
    def cpu_ms_per_kb(self) -> float:
        """Return milliseconds of CPU for each kilobyte."""
        return self.cpu_ms / self.size_kilobytes


@dataclass(frozen=True, slots=True)
class CostLimit:
    """The limit for every request: CPU for each kilobyte, memory for the request and for each octet."""

    cpu_ms_per_kb: float = 2.0
    memory: int = 4 * 1024 * 1024
    memory_times: int = 20

    def allows_cost(self, cost: RequestCost) -> bool:
        """Return whether a cost stays within the limit."""
        return self.compute_cpu_share(cost) <= 1 and self.compute_memory_share(cost) <= 1

    def compute_cpu_share(self, cost: RequestCost) -> float:
        """Return the used share of the allowed CPU time."""
        return cost.cpu_ms_per_kb / self.cpu_ms_per_kb

    def compute_memory_share(self, cost: RequestCost) -> float:
        """Return the used share of the allowed memory."""
        return cost.memory / (self.memory + self.memory_times * cost.size_kilobytes * _KILOBYTE)


def collect_hostile_requests(case: AttackCase, kit: AttackerKit, serve: ServeRequest) -> list[CaseRequest]:
    """Run a case and return its requests that must be refused, without attacks on HTTP itself."""
    requests: list[CaseRequest] = []
    answer: Answer | None = None
    scenario = case.scenario(kit)
    try:
        while True:
            exchange = next(scenario) if answer is None else scenario.send(answer)
            step = exchange.step
            if not isinstance(step, HttpRequest):
                return []
            if not exchange.expected.is_acceptance:
                requests.append(CaseRequest(case.id, step))
            answer = serve(step)
    except (StopIteration, NotOfferedError, WrongAnswerError):
        return requests


def measure_costs(
    makers: Iterable[Callable[[], list[CaseRequest]]],
    start_server: Callable[[], tuple[ServeRequest, list[HttpRequest]]],
) -> Iterator[RequestCost]:
    """Yield the cost of every request of `makers`, each in its own process.

    `start_server` returns the server function, and honest and refused requests for warming up.
    """
    for collect_requests in makers:
        requests: list[CaseRequest] = _run_in_process(collect_requests)
        for group in _group_requests(requests):
            yield from _run_in_process(partial(_measure_group, start_server, group))


def _group_requests(requests: list[CaseRequest]) -> Iterator[list[CaseRequest]]:
    """Yield groups of at most `_MAX_GROUP_OCTETS` octets; a larger request is a group of its own."""
    group: list[CaseRequest] = []
    octets = 0
    for request in requests:
        if group and octets + len(request.request.body) > _MAX_GROUP_OCTETS:
            yield group
            group, octets = [], 0
        group.append(request)
        octets += len(request.request.body)
    if group:
        yield group


def _measure_group(
    start_server: Callable[[], tuple[ServeRequest, list[HttpRequest]]], posts: list[CaseRequest]
) -> list[RequestCost]:
    serve, honest = start_server()
    for post in honest:
        serve(post)
    gc.collect()
    gc.freeze()
    return [_measure_request(serve, post) for post in posts]


def _measure_request(serve: ServeRequest, case_request: CaseRequest) -> RequestCost:
    """Return the peak memory of one run of a request, and the least CPU time of further runs."""
    _trim_heap()
    _CLEAR.write_text("5")  # resets the peak size
    before = _read_resident_size("VmRSS")
    serve(case_request.request)
    memory = max(0, _read_resident_size("VmHWM") - before)
    spent: list[float] = []
    for _ in range(_RUNS):
        began = time.process_time()
        serve(case_request.request)
        spent.append(time.process_time() - began)
    return RequestCost(case_request.id, len(case_request.request.body), min(spent) * 1000, memory)


def _read_resident_size(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KILOBYTE
    raise GatewayError(OUR_MISTAKE, f"{_STATUS} has no {name}")


def _trim_heap() -> None:
    """Return free memory to the system, so that the next allocation is measured."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _run_in_process(make_results: Callable[[], list[Any]]) -> list[Any]:
    """Run a function in its own process and return its result."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(make_results, sender))
    process.start()
    sender.close()
    try:
        results: list[Any] = receiver.recv()
    except EOFError:
        raise GatewayError(OUR_MISTAKE, "the process that measures ended") from None
    finally:
        process.join()
        receiver.close()
    return results


def _send_result(make_results: Callable[[], list[Any]], sender: Any) -> None:
    sender.send(make_results())
    sender.close()


#: The sizes of the messages, in octets.
SIZES: Final = (6 * 1024, 24 * 1024, 96 * 1024, 400 * 1024, 1_600_000, 4_150_000)
_SOAP: Final = PREFIXES["soap"].encode()
_EB: Final = PREFIXES["eb"].encode()


@dataclass(frozen=True, slots=True)
class WorstCaseShape:
    """A shape of an expensive message: a change of a signed envelope (or `whole` body) by a count."""

    name: str
    make_change: Callable[[int], OctetMutation]
    whole: bool = False


def _repeat_spaced(piece: bytes, spaces: int) -> Callable[[int], Callable[[], bytes]]:
    """Return the function that repeats a piece, with `spaces` octets of white space for each repetition."""
    return lambda count: lambda: repeat_piece(piece, count)() + b" " * (spaces * count)


def _nest_in_scopes(
    namespace_count: int, make_inner: Callable[[int], bytes]
) -> Callable[[int], OctetMutation]:
    declared = b"".join(b' xmlns:p%d="u:"' % number for number in range(namespace_count))
    return lambda count: insert_in_header(lambda: b"<x:d" + declared + b">" + make_inner(count) + b"</x:d>")


def _build_nested_towers(spaces: int) -> Callable[[int], bytes]:
    return lambda count: (nest_elements(90)() + b" " * spaces) * count


def _insert_references(count: int) -> OctetMutation:
    reference = build_reference(uri=b"cid:x")
    return insert_in_signature(lambda: reference * min(count, DEFAULT_LIMITS.references - 3))


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


def _insert_content(
    insert: Callable[[Callable[[], bytes]], OctetMutation], make_content: Callable[[int], Callable[[], bytes]]
) -> Callable[[int], OctetMutation]:
    return lambda count: insert(make_content(count))


def _insert_spread_nesting(count: int) -> OctetMutation:
    return insert_in_header(lambda: _build_nested_towers(200)(count))


def _insert_spread_attributes(count: int) -> OctetMutation:
    return insert_in_header(lambda: (build_attribute_element(60)() + b" " * 600) * count)


def _insert_repeated_ids(count: int) -> OctetMutation:
    pairs = b'<x:a xml:id="i"/><x:a e:id="i"/>' * count
    return insert_in_header(lambda: b'<x:i xmlns:e="%s">' % _EB + pairs + b" " * (60 * count) + b"</x:i>")


def _insert_blocks(count: int) -> OctetMutation:
    return insert_before("</soap:Header>", '<x:b xmlns:x="u:"/>' * count)


def _spread_elements(count: int) -> bytes:
    return b"<x:a/>" * count + b" " * (30 * count)


def _repeat_in_header(piece: bytes, spaces: int) -> Callable[[int], OctetMutation]:
    return _insert_content(insert_in_header, _repeat_spaced(piece, spaces))


# fmt: off
SHAPES: Final[tuple[WorstCaseShape, ...]] = (
    WorstCaseShape("elements", _repeat_in_header(b"<x:a/>", 0)),
    WorstCaseShape("elements-spread", _repeat_in_header(b"<x:a/>", 12)),
    WorstCaseShape("names", _repeat_in_header(b"<x:a%d/>", 32)),
    WorstCaseShape("attribute-names", _repeat_in_header(b'<x:a b%d=""/>', 60)),
    WorstCaseShape("attributes", _insert_spread_attributes),
    WorstCaseShape("texts", _repeat_in_header(b"<x:a/>t", 10)),
    WorstCaseShape("comments", _repeat_in_header(b"<!---->", 6)),
    WorstCaseShape("references", _repeat_in_header(b"&#38;&lt;", 0)),
    WorstCaseShape("actors", _repeat_in_header(b'<x:a xmlns:s="%s" s:actor="a"/>' % _SOAP, 0)),
    WorstCaseShape("towers", _insert_spread_nesting),
    WorstCaseShape("ids", _insert_repeated_ids),
    WorstCaseShape("in-body", _insert_content(insert_in_body, _repeat_spaced(b"<x/>", 12))),
    *(WorstCaseShape(f"scopes-{names}", _nest_in_scopes(names, _spread_elements)) for names in (8, 56)),
    *(WorstCaseShape(f"scopes-deep-{names}", _nest_in_scopes(names, _build_nested_towers(2000)))
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
    kit: AttackerKit, shape: WorstCaseShape, max_octets: int, limits: WireLimits = DEFAULT_LIMITS
) -> Iterator[CaseRequest]:
    """Yield the largest message, and call, of a shape: at most `max_octets` octets, and within the limits."""
    for face in ("ebms2",) if shape.whole else ("ebms2", "soap"):
        count = _find_max_count(partial(_fits_limits, kit, shape, face, max_octets, limits))
        if count:
            yield CaseRequest(
                f"{shape.name}{'-call' if face == 'soap' else ''} × {count}",
                _build_request(kit, shape, face, count),
            )


def _build_request(kit: AttackerKit, shape: WorstCaseShape, face: str, count: int) -> HttpRequest:
    change = shape.make_change(count)
    if shape.whole:
        return kit.build_message(body=change)
    return kit.build_call(tampered=change) if face == "soap" else kit.build_message(tampered=change)


def _fits_limits(
    kit: AttackerKit, shape: WorstCaseShape, face: str, max_octets: int, limits: WireLimits, count: int
) -> bool:
    return _passes_prescan(_build_request(kit, shape, face, count), max_octets, limits)


def _passes_prescan(post: HttpRequest, max_octets: int, limits: WireLimits) -> bool:
    if len(post.body) > max_octets:
        return False
    try:
        content = read_multipart_related(post.headers["Content-Type"], post.body, limits).root.content
        prescan_xml(content, limits, is_envelope=True)
    except GatewayError:
        return False
    return True


def _find_max_count(fits: Callable[[int], bool]) -> int:
    """Return the largest number that passes, found by bisection and up to 2 % too small."""
    low, high = 0, 1
    while high < 1 << 22 and fits(high):
        low, high = high, high * 2
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
