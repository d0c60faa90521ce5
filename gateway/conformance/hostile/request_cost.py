"""Measures the cost of a hostile message before its sender is known: CPU time and peak memory.

Each message is made in one process and served in another one, so that only the serving is
measured. CPU time is that of the process, the minimum of a few runs. Memory is the growth of
the resident size as the kernel counts it, because Python does not count the trees of libxml2.
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

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Answer, HttpRequest, NotOfferedError, WrongAnswerError
from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = [
    "CaseRequest",
    "CostLimit",
    "RequestCost",
    "ServeRequest",
    "collect_hostile_requests",
    "measure_costs",
]

_KILOBYTE: Final = 1024
_RUNS: Final = 3
#: One process serves small messages in order until they have this number of octets.
_TOGETHER: Final = 256 * _KILOBYTE
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")

#: Answers a request.
ServeRequest = Callable[[HttpRequest], Answer]


@dataclass(frozen=True, slots=True)
class CaseRequest:
    """One hostile request with the id of its case."""

    id: str
    post: HttpRequest


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
    found: list[CaseRequest] = []
    answer: Answer | None = None
    scenario = case.scenario(kit)
    try:
        while True:
            exchange = next(scenario) if answer is None else scenario.send(answer)
            step = exchange.step
            if not isinstance(step, HttpRequest):
                return []
            if not exchange.expected.accepted:
                found.append(CaseRequest(case.id, step))
            answer = serve(step)
    except (StopIteration, NotOfferedError, WrongAnswerError):
        return found


def measure_costs(
    makers: Iterable[Callable[[], list[CaseRequest]]],
    start: Callable[[], tuple[ServeRequest, list[HttpRequest]]],
) -> Iterator[RequestCost]:
    """Yield the cost of every request of `makers`, each in its own process.

    `start` returns the server function, and honest and refused requests for warming up.
    """
    for maker in makers:
        made: list[CaseRequest] = _run_in_process(maker)
        for group in _group_requests(made):
            yield from _run_in_process(partial(_measure_group, start, group))


def _group_requests(made: list[CaseRequest]) -> Iterator[list[CaseRequest]]:
    group: list[CaseRequest] = []
    octets = 0
    for one in made:
        if group and octets + len(one.post.body) > _TOGETHER:
            yield group
            group, octets = [], 0
        group.append(one)
        octets += len(one.post.body)
    if group:
        yield group


def _measure_group(
    start: Callable[[], tuple[ServeRequest, list[HttpRequest]]], posts: list[CaseRequest]
) -> list[RequestCost]:
    serve, honest = start()
    for post in honest:
        serve(post)
    gc.collect()
    gc.freeze()
    return [_measure_request(serve, one) for one in posts]


def _measure_request(serve: ServeRequest, posted: CaseRequest) -> RequestCost:
    _trim_heap()
    _CLEAR.write_text("5")  # resets the peak size
    before = _read_resident_size("VmRSS")
    serve(posted.post)
    memory = max(0, _read_resident_size("VmHWM") - before)
    spent: list[float] = []
    for _ in range(_RUNS):
        began = time.process_time()
        serve(posted.post)
        spent.append(time.process_time() - began)
    return RequestCost(posted.id, len(posted.post.body), min(spent) * 1000, memory)


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


def _run_in_process(work: Callable[[], list[Any]]) -> list[Any]:
    """Run a function in its own process and return its result."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        found: list[Any] = ours.recv()
    except EOFError:
        raise GatewayError(OUR_MISTAKE, "the process that measures ended") from None
    finally:
        process.join()
        ours.close()
    return found


def _send_result(work: Callable[[], list[Any]], theirs: Any) -> None:
    theirs.send(work())
    theirs.close()
