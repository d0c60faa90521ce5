"""Builds and serves the API: it is loaded where an API is served, and nowhere else."""

from __future__ import annotations

import threading
import time
from typing import Final

from gateway.config import Settings
from gateway.hub import Hub, RejectingComposer, build_hub, tune_garbage_collector
from gateway.store import retry_until_stored
from gateway.web.api import build_api, build_api_services, make_gate_rejection
from gateway.web.process_start import begin_process, serve_factory
from gateway.web.server import ExitingRequestGate, RequestGate, WsgiApplication, report_ready
from gateway.web.server_settings import build_api_address, build_api_limits

__all__ = ["load_api", "serve_api"]

_TALLY_SECONDS: Final = 2.0


def serve_api(settings: Settings, config: str | None = None) -> None:
    """Serve the API until SIGTERM or SIGINT, with a process and limits of its own."""
    serve_factory(settings, config, load_api, build_api_address(settings))


def load_api() -> RequestGate:
    """Return the API of the serving process's settings; called in each worker process."""
    settings = begin_process()

    def build() -> WsgiApplication:
        hub = build_hub(settings, RejectingComposer())
        hub.refresh_snapshot()
        hub.start_examiner()
        threading.Thread(target=_store_refusals, args=(hub,), name="refusals", daemon=True).start()
        return build_api(build_api_services(hub, settings))

    served = ExitingRequestGate(
        retry_until_stored(build), build_api_limits(settings), make_rejection=make_gate_rejection
    )
    tune_garbage_collector()
    report_ready()
    return served


def _store_refusals(hub: Hub) -> None:
    """Store and tell what the API refused every few seconds, so that the last ones are stored, too."""
    while True:
        time.sleep(_TALLY_SECONDS)
        hub.tally.run_maintenance()
