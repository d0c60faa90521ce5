"""The limits and addresses of a server from the settings, the start of its process, and its hub."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.config import Settings, get_key_file, load_settings
from gateway.errors import GatewayError
from gateway.hub import Hub, RejectingComposer, build_hub, build_object_folder, tune_garbage_collector
from gateway.pki import TlsIdentity
from gateway.process_log import set_up_logging
from gateway.protocols import PROTOCOLS
from gateway.stop_signals import end_own_process
from gateway.store import InsufficientStorageError, keep_database_mark, watch_for_lasting_failure
from gateway.web.server import (
    ConnectionLimits,
    ExitingRequestGate,
    GateRejection,
    HttpServerSettings,
    ListenerAddress,
    MinimumBodyRate,
    PageNeeds,
    RequestGate,
    RequestGateLimits,
    SpoolSettings,
    TerminatorSettings,
    WsgiApplication,
    exit_with_parent,
    normalize_addresses,
    report_ready,
    serve_http,
)

#: Seconds after the server should have closed a connection at which the gateway closes it.
_GRACE: Final = 5.0
#: A message of more octets is received into a file.
_LARGEST_HELD: Final = 1024**2
#: Octets of a form of the console without files.
_LARGEST_FORM: Final = 1024**2
#: Where the API takes submissions with their attachments.
_FILING: Final = "/api/v1/submissions"
#: How long a handshake may take when the idle time is longer, in seconds.
_HANDSHAKE: Final = 10.0


def build_listener_address(settings: Settings) -> ListenerAddress:
    """Return the address at which messages are received."""
    return ListenerAddress(settings.http.host, settings.http.port, settings.http.backlog)


def build_console_address(settings: Settings) -> ListenerAddress:
    """Return the address at which the console is served."""
    return ListenerAddress(settings.console.host, settings.console.port, settings.http.backlog)


def build_api_address(settings: Settings) -> ListenerAddress:
    """Return the address at which the API is served."""
    return ListenerAddress(settings.api.host, settings.api.port, settings.http.backlog)


def build_gate_limits(settings: Settings, bodies: Mapping[str, int]) -> RequestGateLimits:
    """Return the limits for requests; `bodies` has the octets of a body by path."""
    return _build_limits(
        settings,
        threads=settings.http.threads,
        requests=settings.http.requests_per_party,
        bodies=bodies,
        spool=_build_spool_settings(settings, frozenset(f"/msh/{name}" for name in PROTOCOLS)),
        status_paths=frozenset({"/status/ready", "/metrics", "/metrics/process"}),
        instant_paths=frozenset({"/status/live"}),
    )


def _build_limits(settings: Settings, **limits: Any) -> RequestGateLimits:
    """Return these limits, completed by those that are equal for every server of the gateway."""
    http = settings.http
    seconds = http.read_time_out.total_seconds()
    return RequestGateLimits(
        body_budget_octets=http.arriving,
        min_body_rate=MinimumBodyRate(seconds, int(seconds * http.slowest_body)),  # bounded: a setting
        connections=ConnectionLimits(
            http.connections,
            http.connections_per_address,
            seconds + _GRACE,
            normalize_addresses(http.proxies),
        ),
        tls_proxies=normalize_addresses(http.tls_proxies),
        **limits,
    )


def _build_spool_settings(settings: Settings, paths: frozenset[str]) -> SpoolSettings:
    """Return the settings by which large bodies are received into files of the object folder."""
    folder = build_object_folder(settings)
    return SpoolSettings(folder.open_arriving_file, paths, _LARGEST_HELD, settings.payloads.arriving)


def build_console_limits(
    settings: Settings, find_page_needs: Callable[[str, str], PageNeeds]
) -> RequestGateLimits:
    """Return the limits for requests to the console; the uploads of all persons share one memory budget.

    `find_page_needs` returns what the page of a method and a path needs.
    """
    console = settings.console
    return _build_limits(
        settings,
        threads=console.threads,
        requests=console.requests_per_address,
        bodies={},
        other_bodies=_LARGEST_FORM,
        max_upload_octets=settings.limits.body,
        find_page_needs=find_page_needs,
        running=console.requests_per_account,
        status_paths=frozenset({"/console/status"}),
    )


def build_api_limits(settings: Settings) -> RequestGateLimits:
    """Return the limits for requests to the API: submissions are large, everything else is small."""
    api = settings.api
    return _build_limits(
        settings,
        threads=api.threads,
        requests=api.requests_per_party,
        bodies={_FILING: settings.limits.body},
        spool=_build_spool_settings(settings, frozenset({_FILING})),
        running=api.running_per_party,
        status_paths=frozenset({"/api/v1/status"}),
    )


def build_terminator_settings(settings: Settings) -> TerminatorSettings | None:
    """Return how TLS is terminated by these settings; None when TLS is not configured."""
    http = settings.http
    if http.tls_certificate is None or http.tls_key is None:
        return None
    password = http.tls_password.read().rstrip(b"\r\n") if http.tls_password else None
    seconds = http.read_time_out.total_seconds()
    # The TLS terminator works in another folder.
    key = get_key_file(http.tls_key, "http.tls_key").absolute()
    return TerminatorSettings(
        identity=TlsIdentity(http.tls_certificate.absolute(), key, password),
        clients=http.client_ca.absolute() if http.client_ca else None,
        is_certificate_required=http.client_certificate == "required",
        handshake_seconds=min(_HANDSHAKE, seconds),
        flush_seconds=seconds,
        max_connections=http.connections * http.processes,
        max_handshakes=http.connections,
        max_handshakes_per_network=http.connections_per_address,
        exempt=normalize_addresses(http.proxies),
    )


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
    """Serve at `address` the application that `factory` makes, in `processes` processes.

    `factory` must be a function at module level: each process imports it. Without `requires_certificate` a
    TLS client may connect without a certificate, even if the settings require one.
    """
    os.environ[_HOME] = str(settings.home_folder)
    os.environ[_CONFIG] = config or ""
    http = settings.http
    tls = build_terminator_settings(settings)
    if tls is not None and not requires_certificate:
        tls = replace(tls, is_certificate_required=False)
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
    application: WsgiApplication,
    limits: RequestGateLimits,
    make_rejection: Callable[[GatewayError, Mapping[str, str]], GateRejection] | None = None,
) -> RequestGate:
    """Return the request gate around an application; report the process as ready."""
    gate = ExitingRequestGate(application, limits, make_rejection)
    tune_garbage_collector()
    report_ready()
    return gate


_log = logging.getLogger(__name__)
_UPKEEP_SECONDS: Final = 2.0


def build_serving_hub(settings: Settings) -> Hub:
    """Return the hub of these settings, with its register, and able to validate unknown certificates."""
    hub = build_hub(settings, RejectingComposer())
    hub.start_examiner()
    # A rejection needs the register; once loaded, the snapshot is available even without the database.
    hub.refresh_snapshot()
    start_upkeep(hub)
    return hub


def start_upkeep(hub: Hub) -> None:
    """Start the thread that regularly stores the counts of refusals and the mark of the database.

    Another thread ends this process once it alone cannot use the file of the database.
    """
    watch_for_lasting_failure(hub.engine, end_own_process)
    threading.Thread(target=_run_upkeep, args=(hub,), name="upkeep", daemon=True).start()


def _run_upkeep(hub: Hub) -> None:
    """Keep the mark of the database and run the maintenance of the tally, without end; log problems."""
    while True:
        time.sleep(_UPKEEP_SECONDS)
        try:
            keep_database_mark(hub.engine)
        except InsufficientStorageError:
            """It is logged."""
        except GatewayError as problem:
            _log.warning("the mark of the database was not kept: %s", problem)
        except Exception as mistake:  # the thread must go on
            _log.error("the mark of the database was not kept: %s", type(mistake).__name__)
        hub.tally.run_maintenance()
