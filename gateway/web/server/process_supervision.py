"""Serves an application over HTTP with processes and threads, drained on SIGTERM.

The application is given by name: each process makes its own by calling the function of that name.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from gateway.web.server.child_process import ListenerAddress, WorkerRestarts
from gateway.web.server.request_gate import RequestGate
from gateway.web.server.tls_terminator import TerminatorSettings, run_tls_terminator

#: Octets of a head before the server answers 431, and of a body read at once; the gate allows half for a
#: head.
_BUFFER: Final = 64 * 1024
#: Descriptors of a process besides its connections: database, libraries, log.
_DESCRIPTORS: Final = 200


@dataclass(frozen=True, slots=True)
class HttpServerSettings:
    """The address, the processes and the connections of each for serving HTTP.

    `factory` makes the application in each process, as ``module:function``; `head_seconds` is how
    long a head may take. Where `tls` is given, a TLS terminator runs before the server.
    """

    factory: str
    address: ListenerAddress
    processes: int
    connections: int
    head_seconds: float
    tls: TerminatorSettings | None = None


class ExitingRequestGate(RequestGate):
    """The gate of a process that does nothing else, and ends with it."""

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the process after every request is answered.

        Threads of the server may still release objects. Shutting down the interpreter at the same
        time makes them panic and the process abort. All lasting data is in the database anyway.
        """
        super().__rsgi_del__(loop)
        logging.shutdown()
        # The disk of the log may be full, or its reader gone: neither may stop the exit.
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os._exit(0)


def serve_http(settings: HttpServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    # The allocator keeps the memory of large messages for each arena, and each thread has an arena: with
    # two arenas, a process under attack uses two thirds of the memory.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    tls = settings.tls
    # The TLS terminator has two sockets for each connection, of all processes together.
    most = settings.connections if tls is None else 2 * (tls.max_connections + tls.max_handshakes)
    _raise_descriptor_limit(most + _DESCRIPTORS)
    if tls is None:
        _PatientServer(settings, None).serve()
        return
    with run_tls_terminator(settings.address, tls) as socket_path:
        _PatientServer(settings, socket_path).serve()


class _PatientServer(Granian):  # type: ignore[misc]
    """The HTTP server at the port of the settings, or behind the TLS terminator."""

    def __init__(self, settings: HttpServerSettings, socket_path: Path | None) -> None:
        super().__init__(
            settings.factory,
            factory=True,
            interface=Interfaces.RSGI,
            address=settings.address.host,
            port=settings.address.port,
            uds=socket_path,
            uds_permissions=0o600,
            workers=settings.processes,
            backlog=settings.address.backlog,
            # Connections that a process accepts before others have to wait.
            backpressure=settings.connections,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(settings.head_seconds * 1000),  # bounded: a setting
                max_buffer_size=_BUFFER,
            ),
            websockets=False,
            # A worker that dies (a crash in a C library, the kernel's out-of-memory killer) is replaced.
            respawn_failed_workers=True,
            respawn_interval=0.1,
            workers_kill_timeout=30,
            log_enabled=False,
            process_name=None,
        )
        self.respawned_wrks: Any = WorkerRestarts()


def _raise_descriptor_limit(descriptor_count: int) -> None:
    """Raise the limit of open files of this process and its children, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    new_limit = descriptor_count if hard == resource.RLIM_INFINITY else min(descriptor_count, hard)
    if soft != resource.RLIM_INFINITY and soft < new_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new_limit, hard))
