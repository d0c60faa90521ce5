"""Threads that read XML, each replaced when it has parsed a given amount, and the memory that they leave.

libxml2 stores every name that it has ever parsed in a dictionary of the thread for as long as
the thread lives. A sender of new names in each message could fill the memory, even with
messages that are refused.
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

#: glibc keeps freed memory between blocks in use until malloc_trim is called; other C libraries have no such
#: call.
_malloc_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory() -> None:
    """Return free memory to the operating system: memory of freed trees, which the C library keeps."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def release_objects() -> None:
    """Return free memory to the operating system, with the memory of very many freed small objects.

    Python keeps thousands of freed objects for new objects of their kind until all generations are collected,
    and a block of a megabyte stays while one of them lies in it.
    """
    gc.collect()
    release_memory()


#: Octets of XML that one thread parses; its dictionary then takes at most about twice as many octets.
_MAX_PARSED_OCTETS: Final = 4 * 1024 * 1024


class ReaderThreads:
    """A fixed number of threads that perform submitted work in its order.

    As a context manager, the object starts the threads, and the block ends when all submitted
    work is done.
    """

    def __init__(self, thread_count: int, thread_name: str) -> None:
        self._thread_count: Final = thread_count
        self._thread_name: Final = thread_name
        self._work_queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ended_threads = threading.Semaphore(0)

    def start_threads(self) -> None:
        """Start the threads."""
        for _ in range(self._thread_count):
            self._start_thread()

    def submit_work(self, work: Callable[[], None]) -> None:
        """Have `work` performed by the next free thread."""
        self._work_queue.put(work)

    def stop_threads(self) -> None:
        """End the threads when no work is left."""
        for _ in range(self._thread_count):
            self._work_queue.put(None)

    def __enter__(self) -> ReaderThreads:
        """Start the threads."""
        self.start_threads()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all submitted work is done."""
        self.stop_threads()
        for _number in range(self._thread_count):
            self._ended_threads.acquire()

    def _start_thread(self) -> None:
        threading.Thread(target=self._run_thread, name=self._thread_name, daemon=True).start()

    def _run_thread(self) -> None:
        """Perform work until none is left; after many parsed octets, free memory and change threads."""
        octet_limit = _MAX_PARSED_OCTETS
        while self._run_next_work():
            if count_parsed_octets() >= octet_limit:
                gc.collect(1)
                release_memory()
                if self._replace_thread():
                    return
                octet_limit = count_parsed_octets() + _MAX_PARSED_OCTETS
        self._ended_threads.release()

    def _run_next_work(self) -> bool:
        """Perform the next work and drop every reference to it; return false when no work is left."""
        work = self._work_queue.get()
        if work is None:
            return False
        try:
            work()
        except BaseException:
            # An exception is reported and does not end the thread: the number of threads stays constant.
            hook_arguments = (*sys.exc_info(), threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(hook_arguments))
        return True

    def _replace_thread(self) -> bool:
        """Start another thread in place of this one; return false when the system allows none now.

        An overloaded machine must not reduce the number of threads.
        """
        try:
            self._start_thread()
        except RuntimeError:
            return False
        return True
