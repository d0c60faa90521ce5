"""Opens a TCP connection by a deadline that covers the name look-up and all addresses of the name.

The resolver library has no deadline of its own, and a connect time-out counts for each address
anew. So each look-up runs in a thread of its own, which is abandoned when the time is over. The
number of these threads is limited.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

__all__ = ["connect_by_deadline"]

#: Look-ups that run at once, abandoned ones included.
_MOST: Final = 64
_under_way = threading.BoundedSemaphore(_MOST)


def connect_by_deadline(
    host: str, port: int, end: float, is_allowed: Callable[[str], bool] | None = None
) -> socket.socket:
    """Return a connection to the first address of `host` that answers before `end` (`time.monotonic`).

    Raises the OSError of the last address, or TimeoutError. An address that `is_allowed` does not
    accept is not connected to: what is checked is the address itself, after the look-up.
    """
    problem: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in _resolve_addresses(host, port, end):
        left = end - time.monotonic()
        if left <= 0:
            break
        if is_allowed is not None and not is_allowed(address[0]):
            problem = PermissionError(errno.EACCES, "the name leads to an address that is not allowed")
            continue
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(left)
            found.connect(address)
        except OSError as error:
            found.close()
            problem = error
        except BaseException:
            found.close()
            raise
        else:
            return found
    raise problem


def _resolve_addresses(host: str, port: int, end: float) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name, not an address
        return _look_up_name(host, port, end)


def _look_up_name(host: str, port: int, end: float) -> list[Any]:
    told: SimpleQueue[list[Any] | Exception] = SimpleQueue()
    room = _under_way

    def run_lookup() -> None:
        try:
            told.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            told.put(error)
        finally:
            room.release()

    left = max(end - time.monotonic(), 0.0)
    if not room.acquire(timeout=left):
        raise TimeoutError("too many names are being looked up")
    threading.Thread(target=run_lookup, name="look-up", daemon=True).start()
    try:
        found = told.get(timeout=max(end - time.monotonic(), 0.0))
    except Empty:
        raise TimeoutError(f"the name {host[:80]} was not found in the time allowed") from None
    if isinstance(found, Exception):
        raise found
    return found
