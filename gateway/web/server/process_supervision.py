"""Serves an application over HTTP: processes and threads, drained on SIGTERM.

The application is named, not given: each process makes its own by calling the function of that name.
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

from gateway.web.server.listener_address import ListenerAddress
from gateway.web.server.request_gate import RequestGate
from gateway.web.server.restart_limit import WorkerRestarts
from gateway.web.server.tls_supervisor import run_tls_terminator
from gateway.web.server.tls_terminator import TerminatorSettings

__all__ = ["ExitingRequestGate", "HttpServerSettings", "serve_http"]

#: What the server reads of a head before it says 431, and of a body at once; the gate takes half as a head.
_BUFFER: Final = 64 * 1024
#: Descriptors of a process besides its connections: database, libraries, log.
_DESCRIPTORS: Final = 200


@dataclass(frozen=True, slots=True)
class HttpServerSettings:
    """Where, by how many processes and for how many connections each HTTP is served.

    `factory` is what makes the application in each process, as ``module:function``; `head_seconds`
    is how long a head may take.  Where `tls` is given, TLS ends in a process before the server.
    """

    factory: str
    address: ListenerAddress
    processes: int
    connections: int
    head_seconds: float
    tls: TerminatorSettings | None = None


class ExitingRequestGate(RequestGate):
    """The gate of a process that has nothing else to do, and ends with it."""

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the process, now that every request is answered.

        Threads of the server may still let go of what they had.  To take the interpreter apart under
        them makes them panic, and the process abort: what is to be kept is in the database anyway.
        """
        super().__rsgi_del__(loop)
        logging.shutdown()
        # The disk of the log may be full, or its reader gone: that keeps no process.
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os._exit(0)


def serve_http(settings: HttpServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    # What large messages leave behind is kept by the allocator for each arena, and threads have one each:
    # with two, a process that is attacked stays at two thirds of the memory.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    tls = settings.tls
    # The process that ends TLS has two sockets for each connection, and those of all processes.
    most = settings.connections if tls is None else 2 * (tls.whole + tls.shaking)
    _raise_descriptor_limit(most + _DESCRIPTORS)
    if tls is None:
        _PatientServer(settings, None).serve()
        return
    with run_tls_terminator(settings.address, tls) as inside:
        _PatientServer(settings, inside).serve()


class _PatientServer(Granian):  # type: ignore[misc]
    """The HTTP server at the port of the settings, or behind the process that ends TLS there."""

    def __init__(self, settings: HttpServerSettings, inside: Path | None) -> None:
        super().__init__(
            settings.factory,
            factory=True,
            interface=Interfaces.RSGI,
            address=settings.address.host,
            port=settings.address.port,
            uds=inside,
            uds_permissions=0o600,
            workers=settings.processes,
            backlog=settings.address.backlog,
            # Connections that a process accepts before it lets others wait.
            backpressure=settings.connections,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(settings.head_seconds * 1000),
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


def _raise_descriptor_limit(number: int) -> None:
    """Let this process and its children open so many files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
