"""Tells the process that was started first when every process serves or delivers.

A process that is ready leaves a file with its number in a private folder, which it knows from its
environment, and keeps it locked. The first process counts the locked files: the lock of a process that
ended is gone, so a process that takes its place is not counted twice.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.web.server.listener_address import ListenerAddress

__all__ = ["announce_readiness", "is_listening", "report_ready"]

_FOLDER: Final = "GATEWAY_READY_FOLDER"
_PAUSE: Final = 0.1
#: The locked files of this process, which stay open until it ends.
_reported: Final[dict[Path, int]] = {}


@contextmanager
def announce_readiness(
    processes: int, announce: Callable[[], None], is_reachable: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Call `announce` once, when so many processes are ready at the same time and the address is reachable.

    In a process whose parent watches already, nothing is announced.
    """
    if _FOLDER in os.environ:
        yield
        return
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gateway-ready-", ignore_cleanup_errors=True) as folder:
        os.environ[_FOLDER] = folder

        def await_processes() -> None:
            while not stop.wait(_PAUSE):
                if _count_ready(Path(folder)) >= processes and is_reachable():
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
    # The disk may be full: readiness is only told, nothing depends on it.
    with suppress(OSError):
        if path not in _reported:
            _reported[path] = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(_reported[path], fcntl.LOCK_EX)


def _count_ready(folder: Path) -> int:
    """Return how many files are locked, each by a process that is ready and lives."""
    return sum(_is_locked(path) for path in folder.iterdir())


def _is_locked(path: Path) -> bool:
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
