"""What every serving process does until it serves, and how the server is told what to serve."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.config import Settings, load_settings
from gateway.errors import GatewayError
from gateway.hub import tune_garbage_collector
from gateway.process_log import set_up_logging
from gateway.store import retry_until_stored
from gateway.web.server import (
    ExitingRequestGate,
    HttpServerSettings,
    ListenerAddress,
    RequestGate,
    RequestGateLimits,
    WsgiApplication,
    exit_with_parent,
    report_ready,
    serve_http,
)
from gateway.web.server_settings import build_terminator_settings

__all__ = ["begin_process", "build_gate", "serve_factory"]

_HOME: Final = "GATEWAY_SERVE_HOME"
_CONFIG: Final = "GATEWAY_SERVE_CONFIG"


def serve_factory(
    settings: Settings,
    config: str | None,
    factory: Callable[[], RequestGate],
    address: ListenerAddress,
    *,
    processes: int = 1,
    requires_certificate: bool = True,
) -> None:
    """Serve what `factory`, a function of a module, makes in each of so many processes.

    Without `requires_certificate` a client of TLS may enter without one, whatever the settings say.
    """
    os.environ[_HOME] = str(settings.home_folder)
    os.environ[_CONFIG] = config or ""
    http = settings.http
    tls = build_terminator_settings(settings)
    if tls is not None and not requires_certificate:
        tls = replace(tls, required=False)
    serve_http(
        HttpServerSettings(
            factory=f"{factory.__module__}:{factory.__name__}",
            address=address,
            processes=processes,
            connections=http.connections,
            head_seconds=http.read_time_out.total_seconds(),
            tls=tls,
        )
    )


def begin_process() -> Settings:
    """Prepare a serving process, and read its settings."""
    exit_with_parent(at_once=True)
    set_up_logging()
    return load_settings(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])


def build_gate(
    build: Callable[[], WsgiApplication],
    bounds: RequestGateLimits,
    make_rejection: Callable[[GatewayError], tuple[int, str, bytes]] | None = None,
) -> RequestGate:
    """Return the gate around what `build` makes, and report that the process is ready.

    A process that restarts while the disk is full waits, instead of dying repeatedly.
    """
    gate = ExitingRequestGate(retry_until_stored(build), bounds, make_rejection)
    tune_garbage_collector()
    report_ready()
    return gate
