"""Serves the application over HTTP: processes and threads, drained on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from gateway.config import Settings, load_settings
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.readiness.warm_up import tune_garbage_collector
from gateway.store.disk_reserve import retry_until_stored
from gateway.web.server.body_limits import MinimumBodyRate
from gateway.web.server.connection_limits import ConnectionLimits
from gateway.web.server.parent_death import exit_with_parent
from gateway.web.server.request_gate import RequestGate, RequestGateLimits
from gateway.web.server.restart_limit import RestartLimit
from gateway.web.server.tls_supervisor import build_terminator_settings, run_tls_terminator
from gateway.web.wsgi_application import build_application, get_body_limits

__all__ = ["check_port", "load_application", "serve_http"]

_HOME = "GATEWAY_SERVE_HOME"
_CONFIG = "GATEWAY_SERVE_CONFIG"
#: What the server reads of a head before it says 431, and of a body at once; the door takes half as a head.
_BUFFER = 64 * 1024
#: How much longer than the server may, we wait before we close a connection ourselves, in seconds.
_GRACE = 5.0
#: Descriptors of a process besides its connections: database, libraries, log.
_DESCRIPTORS = 200


def serve_http(settings: Settings, config: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    os.environ[_HOME] = str(settings.home_folder)
    os.environ[_CONFIG] = config or ""
    # What large messages leave behind is kept by the allocator for each arena, and threads have one each:
    # with two, a process that is attacked stays at two thirds of the memory.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    http = settings.http
    terms = build_terminator_settings(settings)
    # The process that ends TLS has two sockets for each connection, and those of all processes.
    most = http.connections if terms is None else 2 * (terms.whole + terms.shaking)
    _raise_descriptor_limit(most + _DESCRIPTORS)
    if terms is None:
        _run_granian(settings, None)
        return
    with run_tls_terminator(settings, terms) as inside:
        _run_granian(settings, inside)


def _run_granian(settings: Settings, inside: Path | None) -> None:
    """Serve at the port of the settings, or behind the process that ends TLS there."""
    http = settings.http
    server = Granian(
        "gateway.web.server.process_supervision:load_application",
        factory=True,
        interface=Interfaces.RSGI,
        address=http.host,
        port=http.port,
        uds=inside,
        uds_permissions=0o600,
        workers=http.processes,
        backlog=http.backlog,
        # Connections that a process accepts before it lets others wait.
        backpressure=http.connections,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(http.read_time_out.total_seconds() * 1000),
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
    server.respawned_wrks = RestartLimit()
    server.serve()


def _raise_descriptor_limit(number: int) -> None:
    """Let this process and its children open so many files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_port(settings: Settings) -> None:
    """Refuse a port that somebody listens on: the server would share it, and each get half the messages."""
    http = settings.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
        except OSError as error:
            detail = f"nothing can be served at {http.host}:{http.port}: {error.strerror}"
            raise GatewayError(SETTINGS_WRONG, detail, "http.port") from None


class _ExitingRequestGate(RequestGate):
    """The door of a process that has nothing else to do, and ends with it."""

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


def load_application() -> RequestGate:
    """Return the application of the serving process's settings; called in each worker process."""
    exit_with_parent(at_once=True)
    logging.basicConfig(level=os.environ.get("GATEWAY_LOG", "WARNING"))
    settings = load_settings(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])
    # One that is started again while the disk is full waits, instead of dying again and again.
    served = _ExitingRequestGate(
        retry_until_stored(lambda: build_application(settings)), _build_gate_limits(settings)
    )
    tune_garbage_collector()
    return served


def _build_gate_limits(settings: Settings) -> RequestGateLimits:
    http = settings.http
    seconds = http.read_time_out.total_seconds()
    return RequestGateLimits(
        threads=http.threads,
        requests=http.requests_per_party,
        bodies=get_body_limits(settings),
        room=http.arriving,
        pace=MinimumBodyRate(seconds, int(seconds * http.slowest_body)),
        connections=ConnectionLimits(
            http.connections, http.connections_per_address, seconds + _GRACE, frozenset(http.proxies)
        ),
    )
