"""Ports of the loopback address for servers that start later, in processes of their own."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket

#: Below the ports that an operating system takes for connections (32768 and more on Linux, 49152 and more
#: elsewhere): no connection of another program occupies one before its server starts.
_PORTS = range(10_000, 32_768)
_TRIALS = 1_000


def reserve_free_port() -> int:
    """Return an unused TCP port of 127.0.0.1 that no other call, in any process, has returned.

    The UDP port of the same number stays bound until this process ends: that marks the port as reserved, and
    the operating system removes the mark. Raises OSError when no port is free.
    """
    for _ in range(_TRIALS):
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            # A server can take a port whose last connections have just been closed.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
                mark.bind(("127.0.0.1", port))
                mark.detach()
            return port
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
