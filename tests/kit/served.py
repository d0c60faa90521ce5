"""Processes that serve HTTP: wait until one is ready, and end it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

__all__ = ["end_process", "wait_until_ready"]


def wait_until_ready(
    port: int,
    process: subprocess.Popen[bytes] | None,
    *,
    connect: Callable[[], HTTPConnection] | None = None,
    seconds: float = 180,
) -> None:
    """Wait until ``/status/ready`` answers 200; AssertionError when the process ends, or is late."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None:
            assert process.poll() is None, f"the gateway ended with {process.returncode}"
        connection = HTTPConnection("127.0.0.1", port, timeout=5) if connect is None else connect()
        try:
            connection.request("GET", "/status/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError("the gateway is not ready")


def end_process(process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Ask a process to end; kill it when it has not ended in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
