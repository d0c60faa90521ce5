"""The hub that is attacked: ``gateway run`` as it is installed, looked at and killed from outside."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.kit.paths import ROOT

_SERVING, _WORKING = "serving", "working"


class Hub:
    """The processes of one ``gateway run``."""

    def __init__(self, home: Path, port: int) -> None:
        self.port = port
        self.log = home / "run.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "--home", str(home)],
                cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip

    def ready(self, seconds: float = 5.0) -> int | None:
        """Return the status of ``/status/ready``; None when there was no answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", "/status/ready")
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Return when a message can be taken."""
        end = time.monotonic() + seconds
        while self.ready() != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the hub does not begin: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """Return every living process by its id, with what it does."""
        found = {self.process.pid: "keeping"}
        for child in _children(self.process.pid):
            inner = _children(child)
            found[child] = "accepting" if inner else _WORKING
            found |= dict.fromkeys(inner, _SERVING)
        return found

    def kill(self, what: str) -> bool:
        """Kill the youngest process that does `what`, as the machine would; say whether there was one."""
        pids = [pid for pid, doing in self.processes().items() if doing == what]
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(max(pids, key=_born), signal.SIGKILL)
        return True

    def limit_files(self, octets: int) -> None:
        """Let no process of the hub write a file beyond so many octets (-1: as it likes)."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))

    def end(self) -> int:
        """Ask it to end, and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                for pid in self.processes():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait(60)
        return self.process.returncode


@contextmanager
def running(home: Path, port: int) -> Iterator[Hub]:
    """Give a hub that takes messages; it is ended with the block."""
    hub = Hub(home, port)
    try:
        hub.wait_until_ready(90)
        yield hub
    finally:
        hub.end()


def resident(pid: int) -> int | None:
    """Return the resident memory of a process in KiB; None when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * resource.getpagesize() // 1024


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(one) for one in (task / "children").read_text().split()]
    return [one for one in found if b"resource_tracker" not in _command(one)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _born(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0
