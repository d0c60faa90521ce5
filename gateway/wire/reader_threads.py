"""Threads that read XML, each of which makes way for a new one when it has read much.

libxml2 keeps every name that it ever met in a dictionary of the thread, for as long as the
thread lives.  Who sends other names with each message would fill the memory, refused or not.
"""

from __future__ import annotations

import ctypes
import gc
import queue
import sys
import threading
from collections.abc import Callable
from typing import Final

from gateway.wire.xml import count_parsed_octets

__all__ = ["ReaderThreads"]

#: Octets of XML that one thread parses; its dictionary then has some twice as many at most.
_MOST: Final = 4 * 1024 * 1024
#: glibc keeps what was freed between things in use until it is asked for it; others have no such call.
_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


class ReaderThreads:
    """So many threads, which do what is handed to them, in its order.

    With a block they start with it, and it ends when all that was handed over is done.
    """

    def __init__(self, number: int, name: str) -> None:
        self._number: Final = number
        self._name: Final = name
        self._handed: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ended = threading.Semaphore(0)

    def start_threads(self) -> None:
        """Start the threads."""
        for _ in range(self._number):
            self._start_thread()

    def submit_work(self, work: Callable[[], None]) -> None:
        """Have `work` done by the next thread that is free."""
        self._handed.put(work)

    def stop_threads(self) -> None:
        """Let the threads end when nothing is left to do."""
        for _ in range(self._number):
            self._handed.put(None)

    def __enter__(self) -> ReaderThreads:
        """Start the threads."""
        self.start_threads()
        return self

    def __exit__(self, *_: object) -> None:
        """Come back when all that was handed over is done."""
        self.stop_threads()
        for _number in range(self._number):
            self._ended.acquire()

    def _start_thread(self) -> None:
        threading.Thread(target=self._run_thread, name=self._name, daemon=True).start()

    def _run_thread(self) -> None:
        enough = _MOST
        while self._run_next_work():
            if count_parsed_octets() >= enough:
                _release_memory()
                if self._replace_thread():
                    return
                enough = count_parsed_octets() + _MOST
        self._ended.release()

    def _run_next_work(self) -> bool:
        """Do the next work, of which nothing is kept; return false when there is none any more."""
        work = self._handed.get()
        if work is None:
            return False
        try:
            work()
        except BaseException:
            # A mistake is told and ends no thread: there are always as many as were asked for.
            args = (*sys.exc_info(), threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(args))
        return True

    def _replace_thread(self) -> bool:
        """Start another thread in the place of this one; return false when the system allows none now.

        Whoever crowds the machine must not take our threads from us one after the other.
        """
        try:
            self._start_thread()
        except RuntimeError:
            return False
        return True


def _release_memory() -> None:
    """Give back what work has left: in cycles, without a look at what is old, and in the allocator."""
    gc.collect(1)
    if _trim is not None:
        _trim(0)
