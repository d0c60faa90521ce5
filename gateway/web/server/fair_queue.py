"""Queues complete requests for a thread in round-robin order, so that no sender delays the others.

Requests wait in a queue by sender. A queue has a path, such as ``("party", "broker1",
"192.0.2.1")``, and the names on each level of the path are served in turn: parties, networks from
which a party has proved itself, and unproved senders; among the parties each party, among its
requests each address. A sender of a thousand requests at once delays only its own. The requests of
one sender are limited; further ones are rejected with GW807.
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
#: The first name of the path of a sender who has proved nothing; the second one is its network.
STRANGER: Final = "stranger"


@dataclass(slots=True)
class _QueuedWork:
    queue_path: QueuePath
    run_request: Callable[[], Any]
    outcome: asyncio.Future[Any]


def _do_nothing() -> None:
    """Stand for work that nobody waits for."""


class _RoundRobinNode:
    """The queues below one name; their names are served in turn."""

    def __init__(self) -> None:
        self._nodes_by_name: OrderedDict[str, _RoundRobinNode] = OrderedDict()
        self._works: deque[_QueuedWork] = deque()

    def is_empty(self) -> bool:
        return not (self._works or self._nodes_by_name)

    def put_work(self, remaining_path: QueuePath, work: _QueuedWork) -> None:
        """Append the work to the queue at `remaining_path`; make the nodes of the path that are missing."""
        if not remaining_path:
            self._works.append(work)
            return
        node = self._nodes_by_name.get(remaining_path[0])
        if node is None:
            node = self._nodes_by_name[remaining_path[0]] = _RoundRobinNode()
        node.put_work(remaining_path[1:], work)

    def take_next_work(
        self, may_run: Callable[[QueuePath], bool], path: QueuePath = ()
    ) -> _QueuedWork | None:
        """Return the next work that may run, None when there is none; a served name goes to the end."""
        if self._works:
            return self._works.popleft()
        for name, node in self._nodes_by_name.items():
            below = (*path, name)
            work = node.take_next_work(may_run, below) if may_run(below) else None
            if work is not None:
                del self._nodes_by_name[name]
                if not node.is_empty():
                    self._nodes_by_name[name] = node
                return work
        return None


class FairQueue:
    """The threads, and the order in which requests get them; for the event loop alone.

    `max_requests` limits the requests of one sender, waiting or being processed: of a party at one address,
    or of an address from which no party has proved itself. `max_running` limits those of one proven party or
    account that have a thread at the same time.
    """

    def __init__(self, threads: int, max_requests: int, max_running: int | None = None) -> None:
        self._max_requests: Final = max_requests
        self._max_running: Final = threads if max_running is None else max(1, min(max_running, threads - 1))
        self._running: Counter[QueuePath] = Counter()
        self._threads: Final = ReaderThreads(threads, "request")
        self._free_threads = threads
        self._waiting = _RoundRobinNode()
        self._request_counts: Counter[QueuePath] = Counter()

    def start_threads(self) -> None:
        """Start the threads."""
        self._threads.start_threads()

    def stop_threads(self) -> None:
        """Stop the threads when no work is left."""
        self._threads.stop_threads()

    async def run_queued(self, queue_path: QueuePath, run_request: Callable[[], Any]) -> Any:
        """Queue `run_request`, run it in a thread and return its result.

        Raises GW807 if its sender has too many requests already.
        """
        # The last name is what the request states as its sender: a stranger may state any number of them.
        sender = queue_path[:2] if queue_path[0] == STRANGER else queue_path
        if self._request_counts[sender] >= self._max_requests:
            raise GatewayError(
                TOO_MANY_REQUESTS, f"{self._max_requests} requests of this sender are dealt with now"
            )
        self._request_counts[sender] += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            work = _QueuedWork(queue_path, run_request, future)
            self._waiting.put_work(queue_path, work)
            self._start_next_work()
            return await future
        except asyncio.CancelledError:  # the client has gone: its request is kept no longer
            work.run_request = _do_nothing
            raise
        finally:
            del future  # the future refers to the exception, whose traceback refers to this frame
            self._request_counts[sender] -= 1
            if not self._request_counts[sender]:
                del self._request_counts[sender]

    def _may_run(self, path: QueuePath) -> bool:
        return self._running[path] < self._max_running

    def _start_next_work(self) -> None:
        """Start waiting work while threads are free; count the running work of proven parties."""
        while self._free_threads and (work := self._waiting.take_next_work(self._may_run)) is not None:
            if work.outcome.done():  # the client has gone
                continue
            self._free_threads -= 1
            if work.queue_path[0] == PROVEN:
                self._running[work.queue_path[:2]] += 1
            self._threads.submit_work(partial(self._run_work, work, work.run_request))

    def _run_work(self, work: _QueuedWork, run_request: Callable[[], Any]) -> None:
        """Run the work in a thread."""
        # Neither result nor exception is bound to a name here: the exception's own traceback would keep
        # it alive.
        tell = work.outcome.get_loop().call_soon_threadsafe
        try:
            tell(self._finish_work, work, run_request(), None)
        except Exception as exception:  # the waiting request gets the exception
            tell(self._finish_work, work, None, exception)

    def _finish_work(self, work: _QueuedWork, answer: Any, exception: Exception | None) -> None:
        """Free the thread of a request, start the next one, and give answer or exception to its caller.

        The running work of a proven party or account is counted by the first two names of its path.
        """
        self._free_threads += 1
        if work.queue_path[0] == PROVEN:
            self._running[work.queue_path[:2]] -= 1
            if not self._running[work.queue_path[:2]]:
                del self._running[work.queue_path[:2]]
        future = work.outcome
        self._start_next_work()
        if future.done():  # the waiting request was cancelled
            return
        if exception is None:
            future.set_result(answer)
        else:
            future.set_exception(exception)
