"""Binds a process to one processor, which its threads then share.

The threads of a Python process run one at a time, because they share one interpreter. Where the system
spreads them over several processors, each change of thread wakes another processor, whose caches are cold.
That costs a quarter of the processor time of a message or a delivery (`gateway/manual/speed.md`).

The processor is the one to which the fewest processes are bound, so the processes of all gateways on a
machine spread by themselves. Other programs are not bound, and the system moves them out of the way. In a
container that shares the processors of its machine with others, nothing is bound unless the settings say so:
the processes of the other containers are not seen there, and all of them might choose alike.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Literal

__all__ = ["bind_to_processor", "choose_processor", "count_bound_processes"]

_PROCESSES: Final = "/proc"
_OWN_THREADS: Final = "/proc/self/task"
_OWN_NAMESPACE: Final = "/proc/self/ns/pid"
_SIBLINGS: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
#: The number of the first namespace of processes of a machine (Linux, PROC_PID_INIT_INO).
_FIRST_NAMESPACE: Final = 0xEFFFFFFC


def bind_to_processor(wanted: Literal["auto", "always", "never"] = "auto") -> int | None:
    """Bind this process, with all its threads, to one of the processors that it may use; return its number.

    Returns None, and changes nothing, where that is not `wanted`, where the process may use one processor
    only, or where the system cannot bind processes (it is not Linux). "auto" binds where all processes of
    the machine are seen, or where the process has a part of its processors. Processes that it starts later
    are bound in the same way.
    """
    if wanted == "never" or not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2 or (wanted == "auto" and not _has_own_processors(allowed)):
        return None
    with _wait_for_turn():
        siblings = {one: _list_siblings(one) for one in allowed}
        chosen = choose_processor(siblings, count_bound_processes())
        try:
            _bind_threads(chosen)
        except OSError:
            # A sandbox may forbid it. The process works all the same.
            return None
    return chosen


def _has_own_processors(allowed: Collection[int]) -> bool:
    """Return whether no process that is not seen here may be bound to these processors."""
    try:
        is_first = os.stat(_OWN_NAMESPACE).st_ino == _FIRST_NAMESPACE
    except OSError:
        return False
    return is_first or len(allowed) < (os.cpu_count() or 0)


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


def choose_processor(siblings: Mapping[int, Collection[int]], bound: Mapping[int, int]) -> int:
    """Return the processor with the fewest bound processes, of several one of them.

    `siblings` has, for each processor to choose from, those that share its core: of two with as many, the one
    on the less used core is better.
    """

    def weigh(processor: int) -> tuple[int, int]:
        return bound.get(processor, 0), sum(bound.get(one, 0) for one in siblings[processor])

    least = min(map(weigh, siblings))
    return secrets.choice([one for one in siblings if weigh(one) == least])


def _list_siblings(processor: int) -> Collection[int]:
    """Return the processors that share a core with one, itself included; itself where none is told."""
    try:
        with open(_SIBLINGS.format(processor), encoding="ascii") as file:
            ranges = [part.partition("-") for part in file.read().strip().split(",")]
        return {one for first, _, last in ranges for one in range(int(first), int(last or first) + 1)}
    except (OSError, ValueError):
        return {processor}


def count_bound_processes() -> Counter[int]:
    """Return how many other processes are bound to each processor alone."""
    found: Counter[int] = Counter()
    for name in os.listdir(_PROCESSES):
        if name.isdecimal() and int(name) != os.getpid():
            # The process may have ended.
            with suppress(OSError):
                processors = os.sched_getaffinity(int(name))
                if len(processors) == 1 and not _is_kernel_thread(name):
                    found.update(processors)
    return found


def _is_kernel_thread(name: str) -> bool:
    with open(f"{_PROCESSES}/{name}/cmdline", "rb") as file:
        return not file.read(1)


def _bind_threads(processor: int) -> None:
    """Bind every thread of this process; one that is started later is bound as the one that starts it."""
    for thread in os.listdir(_OWN_THREADS):
        # A thread may have ended.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {processor})
