"""Whose turn it is: requests that are whole wait here for a thread, and nobody waits behind a crowd.

Requests wait in line by sender.  A line has a path, such as ``("party", "broker1",
"192.0.2.1")``, and the names on each level of the path take turns: parties and strangers,
among the parties each party, among its requests each address they come from.  Whoever
sends a thousand at once waits for its own.  How long one line may be is bounded; what is
beyond is told to come again.
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

__all__ = ["FairQueue", "QueuePath"]

#: For whom a request waits, from the largest group to the smallest.
QueuePath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _QueuedWork:
    do: Callable[[], Any]
    done: asyncio.Future[Any]


class _RoundRobinNode:
    """What waits below one name; the names take turns."""

    def __init__(self) -> None:
        self._below: OrderedDict[str, _RoundRobinNode] = OrderedDict()
        self._here: deque[_QueuedWork] = deque()

    def put_work(self, line: QueuePath, work: _QueuedWork) -> None:
        if not line:
            self._here.append(work)
            return
        ring = self._below.get(line[0])
        if ring is None:
            ring = self._below[line[0]] = _RoundRobinNode()
        ring.put_work(line[1:], work)

    def take_next(self) -> _QueuedWork | None:
        """Return the next work, None when there is none; a name that had its turn goes to the end."""
        if self._here:
            return self._here.popleft()
        if not self._below:
            return None
        name, ring = self._below.popitem(last=False)
        work = ring.take_next()
        if ring._here or ring._below:
            self._below[name] = ring
        return work


class FairQueue:
    """Threads, and the order in which requests get them; for the event loop alone.

    `most` bounds what one line has in the house: waiting, or being worked on.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._most: Final = most
        self._threads: Final = ReaderThreads(threads, "request")
        self._free = threads
        self._waiting = _RoundRobinNode()
        self._held: Counter[QueuePath] = Counter()

    def start_threads(self) -> None:
        """Start the threads."""
        self._threads.start_threads()

    def stop_threads(self) -> None:
        """Let the threads end when nothing is left to do."""
        self._threads.stop_threads()

    async def run_in_turn(self, line: QueuePath, do: Callable[[], Any]) -> Any:
        """Wait for a thread to `do` it and return what it brought; GW807 when `line` is too long."""
        if self._held[line] >= self._most:
            raise GatewayError(TOO_MANY_REQUESTS, f"{self._most} requests of this sender are dealt with now")
        self._held[line] += 1
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_work(line, _QueuedWork(do, done))
            self._start_next_work()
            return await done
        finally:
            del done  # it holds the mistake, whose traceback holds this
            self._held[line] -= 1
            if not self._held[line]:
                del self._held[line]

    def _start_next_work(self) -> None:
        while self._free and (work := self._waiting.take_next()) is not None:
            self._free -= 1
            self._threads.submit_work(partial(self._run_work, work))

    def _run_work(self, work: _QueuedWork) -> None:
        """Do it, in a thread."""
        # Neither answer nor mistake is given a name here: a mistake that its own traceback holds stays.
        tell = work.done.get_loop().call_soon_threadsafe
        try:
            tell(self._finish_work, work.done, work.do(), None)
        except Exception as mistake:  # whoever waits for the answer sees it
            tell(self._finish_work, work.done, None, mistake)

    def _finish_work(self, done: asyncio.Future[Any], answer: Any, mistake: Exception | None) -> None:
        self._free += 1
        self._start_next_work()
        if done.done():  # nobody waits any more
            return
        if mistake is None:
            done.set_result(answer)
        else:
            done.set_exception(mistake)
