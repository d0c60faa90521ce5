"""Times, taken on the wall and on the processor, and what the machine was."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Laps:
    """The times of one thing done again and again, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object]) -> object:
        """Do the work once more and keep how long it took."""
        cpu, wall = time.thread_time(), time.perf_counter()
        done = work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.thread_time() - cpu)
        return done

    @property
    def wall_ms(self) -> float:
        """The median on the wall, in milliseconds."""
        return statistics.median(self.wall) * 1000

    @property
    def cpu_ms(self) -> float:
        """The median on the processor, in milliseconds."""
        return statistics.median(self.cpu) * 1000


def by_turns(number: int, *works: Callable[[], object]) -> None:
    """Do the works one after the other, the other way round every second time: noise hits all alike."""
    for work in works if number % 2 else reversed(works):
        work()


def percentile(values: list[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def say(words: str) -> None:
    """Tell how far things are."""
    print(words, file=sys.stderr, flush=True)


def own_cpu() -> float:
    """Return the processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tree_cpu(pid: int) -> float:
    """Return the processor time of a process and of its living children, in seconds; 0 where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(tree_cpu(int(child)) for child in children)


def machine(disk: Path) -> dict[str, object]:
    """Return what the numbers were measured on."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(disk),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _file_system(disk: Path) -> str:
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(place, kind) for place, kind in mounts if disk.resolve().is_relative_to(place)]
    return max(holding, key=lambda one: len(one[0]), default=("", ""))[1]
