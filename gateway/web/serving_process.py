"""Builds and serves the application of the settings over HTTP."""

from __future__ import annotations

import logging
import os
from typing import Final

from gateway.config import Settings, load_settings
from gateway.hub import tune_garbage_collector
from gateway.store import retry_until_stored
from gateway.web.server import (
    ExitingRequestGate,
    HttpServerSettings,
    RequestGate,
    exit_with_parent,
    serve_http,
)
from gateway.web.server_settings import build_gate_limits, build_listener_address, build_terminator_settings
from gateway.web.wsgi_application import build_application, get_body_limits

__all__ = ["load_application", "serve_application"]

_HOME: Final = "GATEWAY_SERVE_HOME"
_CONFIG: Final = "GATEWAY_SERVE_CONFIG"


def serve_application(settings: Settings, config: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    os.environ[_HOME] = str(settings.home_folder)
    os.environ[_CONFIG] = config or ""
    http = settings.http
    serve_http(
        HttpServerSettings(
            factory=f"{__name__}:{load_application.__name__}",
            address=build_listener_address(settings),
            processes=http.processes,
            connections=http.connections,
            head_seconds=http.read_time_out.total_seconds(),
            tls=build_terminator_settings(settings),
        )
    )


def load_application() -> RequestGate:
    """Return the application of the serving process's settings; called in each worker process."""
    exit_with_parent(at_once=True)
    logging.basicConfig(level=os.environ.get("GATEWAY_LOG", "WARNING"))
    settings = load_settings(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])
    # A worker that restarts while the disk is full waits, instead of dying repeatedly.
    served = ExitingRequestGate(
        retry_until_stored(lambda: build_application(settings)),
        build_gate_limits(settings, get_body_limits(settings)),
    )
    tune_garbage_collector()
    return served
