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
from gateway.wire.threads import ReadingThreads

__all__ = ["Line", "Turns"]

#: For whom a request waits, from the largest group to the smallest.
Line = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    do: Callable[[], Any]
    done: asyncio.Future[Any]


class _Ring:
    """What waits below one name; the names take turns."""

    def __init__(self) -> None:
        self._below: OrderedDict[str, _Ring] = OrderedDict()
        self._here: deque[_Work] = deque()

    def put(self, line: Line, work: _Work) -> None:
        if not line:
            self._here.append(work)
            return
        ring = self._below.get(line[0])
        if ring is None:
            ring = self._below[line[0]] = _Ring()
        ring.put(line[1:], work)

    def next(self) -> _Work | None:
        """Return the next work, None when there is none; a name that had its turn goes to the end."""
        if self._here:
            return self._here.popleft()
        if not self._below:
            return None
        name, ring = self._below.popitem(last=False)
        work = ring.next()
        if ring._here or ring._below:
            self._below[name] = ring
        return work


class Turns:
    """Threads, and the order in which requests get them; for the event loop alone.

    `most` bounds what one line has in the house: waiting, or being worked on.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._most: Final = most
        self._threads: Final = ReadingThreads(threads, "request")
        self._free = threads
        self._waiting = _Ring()
        self._held: Counter[Line] = Counter()

    def start(self) -> None:
        """Start the threads."""
        self._threads.start()

    def stop(self) -> None:
        """Let the threads end when nothing is left to do."""
        self._threads.stop()

    async def take(self, line: Line, do: Callable[[], Any]) -> Any:
        """Wait for a thread to `do` it and return what it brought; GW807 when `line` is too long."""
        if self._held[line] >= self._most:
            raise GatewayError(TOO_MANY_REQUESTS, f"{self._most} requests of this sender are dealt with now")
        self._held[line] += 1
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put(line, _Work(do, done))
            self._hand_out()
            return await done
        finally:
            del done  # it holds the mistake, whose traceback holds this
            self._held[line] -= 1
            if not self._held[line]:
                del self._held[line]

    def _hand_out(self) -> None:
        while self._free and (work := self._waiting.next()) is not None:
            self._free -= 1
            self._threads.hand(partial(self._work, work))

    def _work(self, work: _Work) -> None:
        """Do it, in a thread."""
        # Neither answer nor mistake is given a name here: a mistake that its own traceback holds stays.
        tell = work.done.get_loop().call_soon_threadsafe
        try:
            tell(self._finish, work.done, work.do(), None)
        except Exception as mistake:  # whoever waits for the answer sees it
            tell(self._finish, work.done, None, mistake)

    def _finish(self, done: asyncio.Future[Any], answer: Any, mistake: Exception | None) -> None:
        self._free += 1
        self._hand_out()
        if done.done():  # nobody waits any more
            return
        if mistake is None:
            done.set_result(answer)
        else:
            done.set_exception(mistake)
