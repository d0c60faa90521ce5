"""What is seen of the hub from outside, second by second: its memory, and whether it says it is ready."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.system.attacked.hub import Hub, resident

#: Seconds of a process's life that are not judged: it fills its caches.
_YOUNG = 20.0
#: Seconds that a process must have been seen beyond that, for a slope to mean anything.
_LONG = 30.0


@dataclass
class Watch:
    """Looks once a second, from `begin` to `end`; times are told since `since`."""

    hub: Hub
    since: float
    memory: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    doing: dict[int, str] = field(default_factory=dict)
    ready: list[tuple[float, int | None]] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._look, self._ask)]

    def begin(self) -> None:
        """Look from now on."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _look(self) -> None:
        while not self._over.wait(1.0):
            for pid, doing in self.hub.processes().items():
                size = resident(pid)
                if size:
                    self.doing[pid] = doing
                    self.memory[pid].append((time.monotonic() - self.since, size))
            self.load.append(os.getloadavg()[0])

    def _ask(self) -> None:
        # Several times while the disk is full, which lasts for a second or more.
        while not self._over.wait(0.1):
            self.ready.append((time.monotonic() - self.since, self.hub.ready()))

    def memory_told(self) -> list[dict[str, Any]]:
        """Return for each process: what it did, how long, MiB at first, last and most, MiB a minute."""
        told = []
        for pid, seen in self.memory.items():
            sizes = [size / 1024 for _, size in seen]
            told.append(
                {
                    "pid": pid,
                    "does": self.doing[pid],
                    "seconds": round(seen[-1][0] - seen[0][0]),
                    "first_mib": round(sizes[0], 1),
                    "last_mib": round(sizes[-1], 1),
                    "most_mib": round(max(sizes), 1),
                    "mib_per_minute": slope(seen),
                    "mib_per_minute_in_its_last_half": slope(seen[len(seen) // 2 :], young=0.0),
                    "mib_every_30_s": [round(size) for size in _each(seen, 30.0)],
                }
            )
        return told

    def ready_told(self) -> list[dict[str, Any]]:
        """Return when the hub's own word on whether it is ready changed."""
        first = self.ready[:1]
        changes = [*first, *(after for before, after in pairwise(self.ready) if before[1] != after[1])]
        return [{"at": round(at, 1), "status": status} for at, status in changes]


def _each(seen: list[tuple[float, int]], seconds: float) -> Iterator[float]:
    """Yield the size in MiB at the first look, and then after each so many seconds."""
    due = seen[0][0]
    for at, size in seen:
        if at >= due:
            yield size / 1024
            due += seconds


def slope(seen: list[tuple[float, int]], young: float = _YOUNG) -> float | None:
    """Return by how many MiB a minute a process grew once it was no longer young; None when it died young."""
    judged = [(at, size) for at, size in seen if at >= seen[0][0] + young]
    if not judged or judged[-1][0] - judged[0][0] < _LONG:
        return None
    middle_at = sum(at for at, _ in judged) / len(judged)
    middle = sum(size for _, size in judged) / len(judged)
    above = sum((at - middle_at) * (size - middle) for at, size in judged)
    below = sum((at - middle_at) ** 2 for at, _ in judged)
    return round(above / below * 60 / 1024, 2)
