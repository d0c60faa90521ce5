"""Builds and serves the application for messages, and what every serving process does first."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.config import Settings, load_settings
from gateway.hub import tune_garbage_collector
from gateway.process_log import set_up_logging
from gateway.processor_affinity import bind_to_processor
from gateway.store import retry_until_stored
from gateway.web.server import (
    ExitingRequestGate,
    HttpServerSettings,
    ListenerAddress,
    RequestGate,
    exit_with_parent,
    report_ready,
    serve_http,
)
from gateway.web.server_settings import (
    build_gate_limits,
    build_listener_address,
    build_terminator_settings,
)
from gateway.web.wsgi_application import build_application, get_body_limits

__all__ = ["begin_process", "load_application", "serve_application", "serve_factory"]

_HOME: Final = "GATEWAY_SERVE_HOME"
_CONFIG: Final = "GATEWAY_SERVE_CONFIG"


def serve_application(settings: Settings, config: str | None = None) -> None:
    """Serve messages until SIGTERM or SIGINT; requests that have begun are answered first."""
    address = build_listener_address(settings)
    serve_factory(settings, config, load_application, address, processes=settings.http.processes)


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


def load_application() -> RequestGate:
    """Return the application of the serving process's settings; called in each worker process."""
    settings = begin_process()
    bind_to_processor(settings.http.cpu_affinity)
    # A worker that restarts while the disk is full waits, instead of dying repeatedly.
    served = ExitingRequestGate(
        retry_until_stored(lambda: build_application(settings)),
        build_gate_limits(settings, get_body_limits(settings)),
    )
    tune_garbage_collector()
    report_ready()
    return served


def begin_process() -> Settings:
    """Prepare a serving process, and read its settings."""
    exit_with_parent(at_once=True)
    set_up_logging()
    return load_settings(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])
