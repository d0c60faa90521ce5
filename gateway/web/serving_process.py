"""Builds and serves the application for messages and for the services of agencies and customs."""

from __future__ import annotations

from gateway.config import Settings
from gateway.processor_affinity import bind_to_processor
from gateway.store import retry_until_stored
from gateway.web.server import RequestGate
from gateway.web.server_settings import (
    begin_process,
    build_gate,
    build_gate_limits,
    build_listener_address,
    serve_factory,
)
from gateway.web.wsgi_application import build_application, get_body_limits


def serve_application(settings: Settings, config: str | None = None) -> None:
    """Serve messages until SIGTERM or SIGINT; requests that have begun are answered first."""
    address = build_listener_address(settings)
    serve_factory(settings, config, load_application, address, processes=settings.http.processes)


def load_application() -> RequestGate:
    """Return the application of the serving process's settings; called in each worker process."""
    settings = begin_process()
    bind_to_processor(settings.http.cpu_affinity)
    application = retry_until_stored(lambda: build_application(settings))
    return build_gate(application, build_gate_limits(settings, get_body_limits(settings)))
