"""Builds and serves the applications of the settings over HTTP: for messages, the console, and the API."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.config import Settings, load_settings
from gateway.hub import Hub, RejectingComposer, build_hub, tune_garbage_collector
from gateway.process_log import set_up_logging
from gateway.processor_affinity import bind_to_processor
from gateway.store import retry_until_stored
from gateway.web.api import build_api, build_api_services, make_gate_rejection
from gateway.web.console import build_console, build_console_services, get_console_url
from gateway.web.officers import build_officer_desk, keep_resuming_acts
from gateway.web.server import (
    ExitingRequestGate,
    HttpServerSettings,
    ListenerAddress,
    RequestGate,
    WsgiApplication,
    exit_with_parent,
    report_ready,
    serve_http,
)
from gateway.web.server_settings import (
    build_api_address,
    build_api_limits,
    build_console_address,
    build_console_limits,
    build_gate_limits,
    build_listener_address,
    build_terminator_settings,
)
from gateway.web.wsgi_application import build_application, get_body_limits

__all__ = ["load_api", "load_application", "load_console", "serve_api", "serve_application", "serve_console"]

_HOME: Final = "GATEWAY_SERVE_HOME"
_CONFIG: Final = "GATEWAY_SERVE_CONFIG"
#: By so much the priority of the console is lower than that of messages (nice(2)).
_GIVE_WAY: Final = 10
_TALLY_SECONDS: Final = 2.0


def serve_application(settings: Settings, config: str | None = None) -> None:
    """Serve messages until SIGTERM or SIGINT; requests that have begun are answered first."""
    _serve_factory(settings, config, load_application, build_listener_address(settings))


def serve_console(settings: Settings, config: str | None = None) -> None:
    """Serve the console until SIGTERM or SIGINT, with processes and limits of its own."""
    _serve_factory(settings, config, load_console, build_console_address(settings))


def serve_api(settings: Settings, config: str | None = None) -> None:
    """Serve the API until SIGTERM or SIGINT, with a process and limits of its own."""
    _serve_factory(settings, config, load_api, build_api_address(settings))


def _serve_factory(
    settings: Settings, config: str | None, factory: Callable[[], RequestGate], address: ListenerAddress
) -> None:
    os.environ[_HOME] = str(settings.home_folder)
    os.environ[_CONFIG] = config or ""
    http = settings.http
    tls = build_terminator_settings(settings)
    if tls is not None and factory is load_console:
        # People have other ways to sign in, and the public status is for everybody.
        tls = replace(tls, required=False)
    serve_http(
        HttpServerSettings(
            factory=f"{__name__}:{factory.__name__}",
            address=address,
            processes=http.processes if factory is load_application else 1,
            connections=http.connections,
            head_seconds=http.read_time_out.total_seconds(),
            tls=tls,
        )
    )


def load_application() -> RequestGate:
    """Return the application of the serving process's settings; called in each worker process."""
    settings = _begin_process()
    if settings.http.cpu_affinity:
        bind_to_processor()
    # A worker that restarts while the disk is full waits, instead of dying repeatedly.
    served = ExitingRequestGate(
        retry_until_stored(lambda: build_application(settings)),
        build_gate_limits(settings, get_body_limits(settings)),
    )
    tune_garbage_collector()
    report_ready()
    return served


def load_console() -> RequestGate:
    """Return the console of the serving process's settings; called in each worker process."""
    # Where both run on one machine that is busy, messages come before pages.
    os.nice(_GIVE_WAY)
    settings = _begin_process()

    def build() -> WsgiApplication:
        hub = build_hub(settings, RejectingComposer())
        hub.refresh_snapshot()
        desk = build_officer_desk(hub, settings, get_console_url(settings))
        keep_resuming_acts(desk)
        return build_console(build_console_services(hub, settings, desk))

    served = ExitingRequestGate(retry_until_stored(build), build_console_limits(settings))
    tune_garbage_collector()
    report_ready()
    return served


def load_api() -> RequestGate:
    """Return the API of the serving process's settings; called in each worker process."""
    settings = _begin_process()

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


def _begin_process() -> Settings:
    """Prepare a serving process, and read its settings."""
    exit_with_parent(at_once=True)
    set_up_logging()
    return load_settings(os.environ.get(_CONFIG) or None, home=os.environ[_HOME])
