"""Ports for servers that a test starts in a process of their own."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["find_free_port"]

#: Below what Linux gives to connections (32768 and more): no call of another test takes one meanwhile.
_FIRST, _COUNT = 10_000, 20_000
_offsets = itertools.count(os.getpid() * 61)


def find_free_port() -> int:
    """Return a port that nobody listens on, and that this process has not been given before."""
    for offset in itertools.islice(_offsets, _COUNT):
        port = _FIRST + offset % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no port is free")
