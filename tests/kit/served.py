"""Processes that serve HTTP: wait until one is ready, see whether it runs, end it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.kit.waiting import until

__all__ = ["end_process", "is_running", "read_process_file", "wait_until_ready"]


def wait_until_ready(
    port: int,
    process: subprocess.Popen[bytes] | None,
    *,
    connect: Callable[[], HTTPConnection] | None = None,
    seconds: float = 180,
) -> None:
    """Wait until ``/status/ready`` answers 200; AssertionError when the process ends, or is late."""

    def is_ready() -> bool:
        if process is not None:
            assert process.poll() is None, f"the gateway ended with {process.returncode}"
        connection = HTTPConnection("127.0.0.1", port, timeout=5) if connect is None else connect()
        try:
            connection.request("GET", "/status/ready")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    until(is_ready, seconds, not_yet=(OSError, HTTPException), problem=lambda: "the gateway is not ready")


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    status = read_process_file(pid, "stat").rpartition(b")")[2].split()
    return bool(status) and status[0] != b"Z"


def read_process_file(pid: int, name: str) -> bytes:
    """Return what a file below `/proc` says of a process; nothing once it has ended, also meanwhile."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def end_process(process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Ask a process to end; kill it when it has not ended in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
