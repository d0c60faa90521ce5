"""Serves the application over HTTP: processes and threads, drained on SIGTERM."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from gateway.config import Settings, load
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.warming import calm_collector
from gateway.web.app import WsgiApplication, application

__all__ = ["check_port", "load_application", "serve"]

_HOME = "GATEWAY_SERVE_HOME"
_CONFIG = "GATEWAY_SERVE_CONFIG"
#: A header block larger than this is nobody's message (nginx: 32 KiB, Apache: 8 KiB a line).
_HEADER_BUFFER = 64 * 1024


def serve(settings: Settings, config: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    os.environ[_HOME] = str(settings.home)
    os.environ[_CONFIG] = config or ""
    http = settings.http
    server = Granian(
        "gateway.web.server:load_application",
        factory=True,
        interface=Interfaces.WSGI,
        address=http.host,
        port=http.port,
        workers=http.processes,
        blocking_threads=http.threads,
        backlog=http.backlog,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(http.read_time_out.total_seconds() * 1000),
            max_buffer_size=max(_HEADER_BUFFER, 417_792),
        ),
        websockets=False,
        # A worker that dies (a crash in a C library, the kernel's out-of-memory killer) is replaced.
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=30,
        log_enabled=False,
        **_tls(settings),
        process_name=None,
    )
    server.serve()


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


def _tls(settings: Settings) -> dict[str, Any]:
    """Return how the server speaks TLS; with `client_ca`, to clients with a certificate only."""
    http = settings.http
    if http.tls_certificate is None or http.tls_key is None:
        return {}
    if http.tls_key.file is None:
        raise GatewayError(SETTINGS_WRONG, "the key of TLS is read from a file only", "http.tls_key")
    return {
        "ssl_cert": http.tls_certificate,
        "ssl_key": http.tls_key.file,
        "ssl_ca": http.client_ca,
        "ssl_client_verify": http.client_ca is not None,
    }


def load_application() -> WsgiApplication:
    """Return the application of the serving process's settings; called in each worker process."""
    logging.basicConfig(level=os.environ.get("GATEWAY_LOG", "WARNING"))
    settings = load(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])
    served = application(settings)
    calm_collector()
    return served
