"""Serving processes and their parent: address, readiness, restarts, and the end with the parent."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.errors import MISUSE, GatewayError
from gateway.stop_signals import end_own_process


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Host and port, and how many connections may wait to be accepted."""

    host: str
    port: int
    backlog: int

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of the host."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def make_port_error(self, error: OSError) -> GatewayError:
        """Return GW808 for an address at which no listener can be opened."""
        detail = f"http.port: nothing can be served on {self.host}:{self.port}: {error.strerror}"
        return GatewayError(MISUSE, detail, "http.port")


def check_port(address: ListenerAddress) -> None:
    """Raise GW808 for a port in use: a second server would share it, and each get half of the messages."""
    with socket.socket(address.family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise address.make_port_error(error) from None


def open_listener(address: ListenerAddress) -> socket.socket:
    """Return a socket that listens there; raises GW808 when it cannot be opened."""
    try:
        return socket.create_server(
            (address.host, address.port), family=address.family, backlog=address.backlog
        )
    except OSError as error:
        raise address.make_port_error(error) from None


#: `MOST_RESTARTS` deaths within `_WINDOW` seconds are not accidental: the operator must act.
MOST_RESTARTS: Final = 20
_WINDOW: Final = 60.0


class RestartLimit:
    """Counts restarts: `max_restarts` of them within `window` seconds exceed the limit."""

    def __init__(self, max_restarts: int = MOST_RESTARTS, window: float = _WINDOW) -> None:
        self._window = window
        self._restart_times: deque[float] = deque(maxlen=max_restarts)

    def record_restart(self, at: float | None = None) -> None:
        """Count one restart, at the time `at` (`time.monotonic`) or now."""
        self._restart_times.append(time.monotonic() if at is None else at)

    def is_exceeded(self) -> bool:
        """Return whether the number of restarts in the last window of seconds has reached the limit."""
        return (
            len(self._restart_times) == self._restart_times.maxlen
            and self._restart_times[0] > time.monotonic() - self._window
        )


class WorkerRestarts(dict[int, float]):
    """The restart time of each worker by its number, as the HTTP server records it.

    The server takes the second death of a worker within 5.5 seconds for a loop and ends with all
    its workers. Two messages that crash a process would then stop the whole gateway. So this class
    reports a time long ago when the server reads a restart time, until there were too many
    restarts. An installation that exceeds that limit is broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limit = RestartLimit()

    def __setitem__(self, worker: int, at: float) -> None:
        self.limit.record_restart(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: Any = None) -> float:
        """Return a time long ago, or the current time when the restart limit is exceeded."""
        del worker, default
        return time.monotonic() if self.limit.is_exceeded() else float("-inf")


_POLL_SECONDS: Final = 0.5


def exit_with_parent(*, at_once: bool = False) -> None:
    """Send SIGTERM to this process when its parent is gone, and SIGKILL after a time.

    `at_once`: send SIGKILL only. A serving process would block the port meanwhile. A request
    without an answer is sent again, and the effect of an answered request is in the database.
    """
    parent = os.getppid()

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        if not at_once:
            end_own_process()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch_parent, name="orphan", daemon=True).start()


_FOLDER: Final = "GATEWAY_READY_FOLDER"
_PAUSE: Final = 0.1
#: The locked files of this process, which stay open until it ends.
_reported: Final[dict[Path, int]] = {}


@contextmanager
def announce_readiness(
    processes: int, announce: Callable[[], None], is_reachable: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Call `announce` once, when `processes` processes are ready at the same time and `is_reachable` is true.

    A thread waits for that until the block ends. If the parent process waits already, nothing is announced.
    """
    if _FOLDER in os.environ:
        yield
        return
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gateway-ready-", ignore_cleanup_errors=True) as folder:
        os.environ[_FOLDER] = folder

        def await_processes() -> None:
            while not stop.wait(_PAUSE):
                if _count_ready_processes(Path(folder)) >= processes and is_reachable():
                    announce()
                    return

        threading.Thread(target=await_processes, name="ready", daemon=True).start()
        try:
            yield
        finally:
            stop.set()
            del os.environ[_FOLDER]


def report_ready() -> None:
    """Report that this process is ready; the first report counts."""
    folder = os.environ.get(_FOLDER)
    if not folder:
        return
    path = Path(folder, str(os.getpid()))
    # The disk may be full: readiness is only reported, nothing depends on it.
    with suppress(OSError):
        if path not in _reported:
            _reported[path] = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(_reported[path], fcntl.LOCK_EX)


def _count_ready_processes(folder: Path) -> int:
    """Return how many files are locked, each by a process that is ready and lives."""
    return sum(_is_locked(path) for path in folder.iterdir())


def _is_locked(path: Path) -> bool:
    """Return whether another process holds an exclusive lock (flock) on the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_listening(address: ListenerAddress) -> bool:
    """Return whether a connection to the address is accepted."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    try:
        socket.create_connection((host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


#: Seconds for which a folder may exist without a lock: its gateway is about to lock it.
_YOUNG: Final = 60.0


@contextmanager
def open_private_folder(prefix: str) -> Iterator[str]:
    """Yield a new folder that only the user of this process can enter, after deleting abandoned ones.

    `prefix` begins the names of both.
    """
    _remove_stale_folders(Path(tempfile.gettempdir()), prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        lock_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock_descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock_descriptor)


def _remove_stale_folders(directory: Path, prefix: str) -> None:
    for folder in directory.glob(f"{prefix}*"):
        with suppress(OSError):  # of another user, or deleted meanwhile
            _remove_stale_folder(folder)


def _remove_stale_folder(folder: Path) -> None:
    """Remove a private folder of this user that is not new; raise OSError while its owner holds the lock."""
    lock_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        folder_status = os.fstat(lock_descriptor)
        private = folder_status.st_uid == os.geteuid() and stat.S_IMODE(folder_status.st_mode) == 0o700
        if private and time.time() - folder_status.st_ctime > _YOUNG:
            fcntl.flock(lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock_descriptor)
