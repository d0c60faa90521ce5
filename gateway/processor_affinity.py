"""Binds a process to one processor, which its threads then share.

The threads of a Python process mostly run one at a time, because they share one interpreter. Where the system
spreads them over several processors, each change of thread wakes another processor, whose caches are cold. On
two processors that costs an eighth of the processor time of a message, and a quarter of that of a case
(`gateway/manual/speed.md`).

The processor is the one to which the fewest processes are bound, so the processes of all gateways on a
machine spread by themselves. Other programs are not bound, and the system moves them out of the way. In a
container nothing is bound unless the settings say so: the processes of other containers are not seen there,
and all of them might choose alike.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Literal

_PROCESSES: Final = "/proc"
_OWN_THREADS: Final = "/proc/self/task"
_OWN_NAMESPACE: Final = "/proc/self/ns/pid"
_SIBLINGS: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
#: The number of the first namespace of processes of a machine (Linux, PROC_PID_INIT_INO).
_FIRST_NAMESPACE: Final = 0xEFFFFFFC
#: Tells child processes which processors were allowed before.
_ALLOWED: Final = "GATEWAY_PROCESSORS"
#: Seconds. A process that waits longer for the lock chooses at the same time as another one.
_LONGEST_LOCK_WAIT: Final = 1.0
_POLL_SECONDS: Final = 0.01


def bind_to_processor(mode: Literal["auto", "always", "never"] = "auto") -> int | None:
    """Bind this process, with all its threads, to one of the processors that it may use; return its number.

    Returns None, and changes nothing, where `mode` does not ask for it, where the process may use only one
    processor, or where the system does not bind processes. "auto" binds outside containers. Processes that it
    starts later are bound in the same way, and find in the environment where it might run before.
    """
    if mode == "never" or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        allowed = os.sched_getaffinity(0)
        if len(allowed) < 2 or (mode == "auto" and os.stat(_OWN_NAMESPACE).st_ino != _FIRST_NAMESPACE):
            return None
        with _lock_choice():
            chosen = choose_processor(
                {processor: list_siblings(processor) for processor in allowed}, count_bound_processes()
            )
            _bind_threads({chosen}, allowed)
    except OSError:
        # A sandbox may forbid it, or show nothing of the system. The process works all the same.
        return None
    os.environ[_ALLOWED] = ",".join(map(str, sorted(allowed)))
    return chosen


def leave_processor() -> None:
    """Let this process, a child that works beside its parent, run where that might before it was bound."""
    allowed = os.environ.get(_ALLOWED, "")
    if allowed and hasattr(os, "sched_setaffinity"):
        # The processors may be others by now.
        with suppress(OSError, ValueError):
            os.sched_setaffinity(0, [int(number) for number in allowed.split(",")])


@contextmanager
def _lock_choice() -> Iterator[None]:
    """Let processes of one installation choose one after the other: together they might choose alike."""
    try:
        file = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        end = time.monotonic() + _LONGEST_LOCK_WAIT
        while not _lock_file(file) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


def _lock_file(file: int) -> bool:
    """Return whether nothing more is to be waited for: the lock is ours, or the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def choose_processor(siblings: Mapping[int, Collection[int]], bound: Mapping[int, int]) -> int:
    """Return the processor with the fewest bound processes, of several one of them.

    `siblings` has, for each processor to choose from, those that share its core: of two with as many, the one
    on the less used core is better.
    """

    def weigh(processor: int) -> tuple[int, int]:
        return bound.get(processor, 0), sum(bound.get(sibling, 0) for sibling in siblings[processor])

    least = min(map(weigh, siblings))
    return secrets.choice([processor for processor in siblings if weigh(processor) == least])


def list_siblings(processor: int, file_pattern: str = _SIBLINGS) -> Collection[int]:
    """Return the processors that share a core with one, itself included; itself where the system names none.

    `file_pattern` is the file that lists them ("0,4", "0-1"), with {} for the number.
    """
    try:
        with open(file_pattern.format(processor), encoding="ascii") as file:
            ranges = [part.partition("-") for part in file.read().strip().split(",")]
        return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}
    except (OSError, ValueError):
        return {processor}


def count_bound_processes() -> Counter[int]:
    """Return how many other processes are bound to each processor alone, as far as the system shows them."""
    counts: Counter[int] = Counter()
    for name in os.listdir(_PROCESSES):
        if name.isdecimal() and int(name) != os.getpid():
            # The process may have ended.
            with suppress(OSError):
                processors = os.sched_getaffinity(int(name))
                if len(processors) == 1 and not _is_kernel_thread(name):
                    counts.update(processors)
    return counts


def _is_kernel_thread(name: str) -> bool:
    with open(f"{_PROCESSES}/{name}/cmdline", "rb") as file:
        return not file.read(1)


def _bind_threads(chosen: Collection[int], before: Collection[int]) -> None:
    """Bind every thread of this process, or none; one that is started later is bound as its starter."""
    threads = [int(name) for name in os.listdir(_OWN_THREADS)]
    try:
        _set_processors(threads, chosen)
    except OSError:
        with suppress(OSError):
            _set_processors(threads, before)
        raise


def _set_processors(threads: Collection[int], processors: Collection[int]) -> None:
    for thread in threads:
        # A thread may have ended.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, processors)
