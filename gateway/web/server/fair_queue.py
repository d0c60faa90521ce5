"""Queues complete requests for a thread in round-robin order, so that no sender delays the others.

Requests wait in a queue by sender. A queue has a path, such as ``("party", "broker1",
"192.0.2.1")``, and the names on each level of the path are served in turn: parties and unproved
senders, among the parties each party, among its requests each address. A sender of a thousand
requests at once delays only its own. The length of one queue is limited; further requests are
rejected with GW807.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gateway.errors import TOO_MANY_REQUESTS, GatewayError
from gateway.wire import ReaderThreads

#: The path of a queue, from the largest group to the smallest.
QueuePath = tuple[str, ...]
#: The first name of the path of a party or account that has proved who it is; the second one is its own.
PROVEN: Final = "party"


@dataclass(frozen=True, slots=True)
class _QueuedWork:
    line: QueuePath
    do: Callable[[], Any]
    outcome: asyncio.Future[Any]


class _RoundRobinNode:
    """The queues below one name; their names are served in turn."""

    def __init__(self) -> None:
        self._below: OrderedDict[str, _RoundRobinNode] = OrderedDict()
        self._works: deque[_QueuedWork] = deque()

    def is_empty(self) -> bool:
        return not (self._works or self._below)

    def put_work(self, line: QueuePath, work: _QueuedWork) -> None:
        if not line:
            self._works.append(work)
            return
        ring = self._below.get(line[0])
        if ring is None:
            ring = self._below[line[0]] = _RoundRobinNode()
        ring.put_work(line[1:], work)

    def take_next(self, may_run: Callable[[QueuePath], bool], path: QueuePath = ()) -> _QueuedWork | None:
        """Return the next work that may run, None when there is none; a served name goes to the end."""
        if self._works:
            return self._works.popleft()
        for name, ring in self._below.items():
            below = (*path, name)
            work = ring.take_next(may_run, below) if may_run(below) else None
            if work is not None:
                del self._below[name]
                if not ring.is_empty():
                    self._below[name] = ring
                return work
        return None


class FairQueue:
    """The threads, and the order in which requests get them; for the event loop alone.

    `most` limits the requests of one path, waiting or being processed; `running` those of one proven party
    or account that have a thread at the same time.
    """

    def __init__(self, threads: int, most: int, running: int | None = None) -> None:
        self._most: Final = most
        self._most_running: Final = threads if running is None else max(1, min(running, threads - 1))
        self._running: Counter[QueuePath] = Counter()
        self._threads: Final = ReaderThreads(threads, "request")
        self._free = threads
        self._waiting = _RoundRobinNode()
        self._held: Counter[QueuePath] = Counter()

    def start_threads(self) -> None:
        """Start the threads."""
        self._threads.start_threads()

    def stop_threads(self) -> None:
        """Stop the threads when no work is left."""
        self._threads.stop_threads()

    async def run_queued(self, line: QueuePath, do: Callable[[], Any]) -> Any:
        """Queue `do`, run it in a thread and return its result; raises GW807 when `line` is too long."""
        if self._held[line] >= self._most:
            raise GatewayError(TOO_MANY_REQUESTS, f"{self._most} requests of this sender are dealt with now")
        self._held[line] += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_work(line, _QueuedWork(line, do, future))
            self._start_next_work()
            return await future
        finally:
            del future  # the future refers to the exception, whose traceback refers to this frame
            self._held[line] -= 1
            if not self._held[line]:
                del self._held[line]

    def _may_run(self, path: QueuePath) -> bool:
        return self._running[path] < self._most_running

    def _start_next_work(self) -> None:
        while self._free and (work := self._waiting.take_next(self._may_run)) is not None:
            self._free -= 1
            if work.line[0] == PROVEN:
                self._running[work.line[:2]] += 1
            self._threads.submit_work(partial(self._run_work, work))

    def _run_work(self, work: _QueuedWork) -> None:
        """Run the work in a thread."""
        # Neither result nor exception is bound to a name here: the exception's own traceback would keep
        # it alive.
        tell = work.outcome.get_loop().call_soon_threadsafe
        try:
            tell(self._finish_work, work, work.do(), None)
        except Exception as mistake:  # the waiting request gets the exception
            tell(self._finish_work, work, None, mistake)

    def _finish_work(self, work: _QueuedWork, answer: Any, mistake: Exception | None) -> None:
        self._free += 1
        if work.line[0] == PROVEN:
            self._running[work.line[:2]] -= 1
            if not self._running[work.line[:2]]:
                del self._running[work.line[:2]]
        future = work.outcome
        self._start_next_work()
        if future.done():  # the waiting request was cancelled
            return
        if mistake is None:
            future.set_result(answer)
        else:
            future.set_exception(mistake)
