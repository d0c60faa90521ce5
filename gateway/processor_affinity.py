"""Binds a process to one processor, which its threads then share.

The threads of a Python process run one at a time, because they share one interpreter. Where the system
spreads them over several processors, each change of thread wakes another processor, whose caches are cold.
That costs a quarter of the processor time of a message or a delivery (`gateway/manual/speed.md`).

The processor is the one to which the fewest processes are bound. So the processes of all gateways on a
machine spread by themselves. Other programs are not bound, and the system moves them out of the way.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["bind_to_processor", "choose_processor", "count_bound_processes"]

_PROCESSES: Final = "/proc"
_OWN_THREADS: Final = "/proc/self/task"


def bind_to_processor() -> int | None:
    """Bind this process, with all its threads, to one of the processors that it may use; return its number.

    Returns None, and changes nothing, where the process may use one processor only, or where the system
    cannot bind processes (it is not Linux). Processes that it starts later are bound in the same way.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        return None
    with _wait_for_turn():
        chosen = choose_processor(allowed, count_bound_processes())
        try:
            _bind_threads(chosen)
        except OSError:
            # A sandbox may forbid it. The process works all the same.
            return None
    return chosen


@contextmanager
def _wait_for_turn() -> Iterator[None]:
    """Let one process after the other choose: several that start together would choose the same processor."""
    try:
        file = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        # Some file systems lock nothing.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def choose_processor(allowed: Collection[int], bound: Mapping[int, int]) -> int:
    """Return the allowed processor with the fewest bound processes; of several the first one."""
    return min(sorted(allowed), key=lambda processor: bound.get(processor, 0))


def count_bound_processes() -> Counter[int]:
    """Return how many other processes are bound to each processor alone, as far as this user sees them."""
    found: Counter[int] = Counter()
    for name in os.listdir(_PROCESSES):
        if name.isdecimal() and int(name) != os.getpid():
            # The process may have ended. Of other users, and of threads of the kernel, nothing is told.
            with suppress(OSError):
                os.readlink(f"{_PROCESSES}/{name}/exe")
                processors = os.sched_getaffinity(int(name))
                if len(processors) == 1:
                    found.update(processors)
    return found


def _bind_threads(processor: int) -> None:
    """Bind every thread of this process; one that is started later is bound as the one that starts it."""
    for thread in os.listdir(_OWN_THREADS):
        # A thread may have ended.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {processor})
