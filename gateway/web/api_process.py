"""Builds and serves the API: it is loaded where an API is served, and nowhere else."""

from __future__ import annotations

from gateway.config import Settings
from gateway.store import retry_until_stored
from gateway.web.api import build_api, build_api_services, make_gate_rejection
from gateway.web.server import RequestGate
from gateway.web.server_settings import (
    begin_process,
    build_api_address,
    build_api_limits,
    build_gate,
    build_serving_hub,
    serve_factory,
)


def serve_api(settings: Settings, config: str | None = None) -> None:
    """Serve the API until SIGTERM or SIGINT, with a process and limits of its own."""
    serve_factory(settings, config, load_api, build_api_address(settings))


def load_api() -> RequestGate:
    """Return the API of the serving process's settings; called in each worker process."""
    settings = begin_process()
    application = retry_until_stored(
        lambda: build_api(build_api_services(build_serving_hub(settings), settings))
    )
    return build_gate(application, build_api_limits(settings), make_gate_rejection)
