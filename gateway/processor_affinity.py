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

_PROCESS_FOLDER: Final = "/proc"
_THREAD_FOLDER: Final = "/proc/self/task"
_NAMESPACE_FILE: Final = "/proc/self/ns/pid"
_SIBLINGS_FILE: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
#: The number of the first namespace of processes of a machine (Linux, PROC_PID_INIT_INO).
_INITIAL_NAMESPACE: Final = 0xEFFFFFFC
#: Tells child processes which processors were allowed before.
_PROCESSORS_VARIABLE: Final = "GATEWAY_PROCESSORS"
#: Seconds. A process that waits longer for the lock chooses at the same time as another one.
_MAX_LOCK_WAIT: Final = 1.0
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
        allowed_processors = os.sched_getaffinity(0)
        if len(allowed_processors) < 2 or (
            mode == "auto" and os.stat(_NAMESPACE_FILE).st_ino != _INITIAL_NAMESPACE
        ):
            return None
        with _lock_processor_choice():
            chosen_processor = choose_processor(
                {processor: list_siblings(processor) for processor in allowed_processors},
                count_bound_processes(),
            )
            _bind_threads({chosen_processor}, allowed_processors)
    except OSError:
        # A sandbox may forbid it, or show nothing of the system. The process works all the same.
        return None
    os.environ[_PROCESSORS_VARIABLE] = ",".join(map(str, sorted(allowed_processors)))
    return chosen_processor


def restore_processors() -> None:
    """Let this child process use all processors that its parent could use before the parent was bound."""
    allowed_processors = os.environ.get(_PROCESSORS_VARIABLE, "")
    if allowed_processors and hasattr(os, "sched_setaffinity"):
        # The processors may be others by now.
        with suppress(OSError, ValueError):
            os.sched_setaffinity(0, [int(number) for number in allowed_processors.split(",")])


@contextmanager
def _lock_processor_choice() -> Iterator[None]:
    """Hold a lock of this installation inside the block, so that two processes do not choose at one time.

    Enters the block without the lock after a second, or if the file system has no locks.
    """
    try:
        descriptor = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + _MAX_LOCK_WAIT
        while not _try_lock(descriptor) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Return False if another process has the lock; True if it is ours, or the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def choose_processor(siblings: Mapping[int, Collection[int]], process_counts: Mapping[int, int]) -> int:
    """Return the processor with the fewest bound processes; of equal ones the one on the less used core.

    `siblings` has, for each processor to choose from, the processors that share its core, itself included.
    `process_counts` is the number of bound processes by processor. A choice between equal processors is
    random.
    """

    def compute_load(processor: int) -> tuple[int, int]:
        return process_counts.get(processor, 0), sum(
            process_counts.get(sibling, 0) for sibling in siblings[processor]
        )

    min_load = min(map(compute_load, siblings))
    return secrets.choice([processor for processor in siblings if compute_load(processor) == min_load])


def list_siblings(processor: int, file_pattern: str = _SIBLINGS_FILE) -> Collection[int]:
    """Return the processors on the core of `processor`, itself included; only itself if none can be read.

    `file_pattern` is the file that lists them ("0,4", "0-1"), with {} for the number.
    """
    try:
        with open(file_pattern.format(processor), encoding="ascii") as file:
            ranges = [range_text.partition("-") for range_text in file.read().strip().split(",")]
        return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}
    except (OSError, ValueError):
        return {processor}


def count_bound_processes() -> Counter[int]:
    """Return how many other processes are bound to each processor alone, as far as the system shows them."""
    counts: Counter[int] = Counter()
    for process_id in os.listdir(_PROCESS_FOLDER):
        if process_id.isdecimal() and int(process_id) != os.getpid():
            # The process may have ended.
            with suppress(OSError):
                processors = os.sched_getaffinity(int(process_id))
                if len(processors) == 1 and not _is_kernel_thread(process_id):
                    counts.update(processors)
    return counts


def _is_kernel_thread(process_id: str) -> bool:
    with open(f"{_PROCESS_FOLDER}/{process_id}/cmdline", "rb") as file:
        return not file.read(1)


def _bind_threads(processors: Collection[int], former_processors: Collection[int]) -> None:
    """Bind every thread of this process to the processors `processors`; new threads inherit the binding.

    Raises OSError where the system refuses it, after all threads were bound to `former_processors` again.
    """
    thread_ids = [int(name) for name in os.listdir(_THREAD_FOLDER)]
    try:
        _set_processors(thread_ids, processors)
    except OSError:
        with suppress(OSError):
            _set_processors(thread_ids, former_processors)
        raise


def _set_processors(thread_ids: Collection[int], processors: Collection[int]) -> None:
    for thread_id in thread_ids:
        # A thread may have ended.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread_id, processors)
