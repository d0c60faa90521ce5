"""Converts the HTTP settings to the values that `gateway.web.server` needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.config import Settings, get_key_file
from gateway.hub import build_object_folder
from gateway.pki import TlsIdentity
from gateway.protocols import PROTOCOLS
from gateway.web.server import (
    ConnectionLimits,
    ListenerAddress,
    MinimumBodyRate,
    RequestGateLimits,
    SpoolSettings,
    TerminatorSettings,
)

__all__ = [
    "build_api_address",
    "build_api_limits",
    "build_console_address",
    "build_console_limits",
    "build_gate_limits",
    "build_listener_address",
    "build_terminator_settings",
]

#: We close a connection so many seconds later than the server should have closed it.
_GRACE: Final = 5.0
#: A message of more octets is received into a file.
_LARGEST_HELD: Final = 1024**2
#: Where the API takes submissions with their attachments.
_FILING: Final = "/api/v1/submissions"
#: How long a handshake may take when the idle time is longer, in seconds.
_HANDSHAKE: Final = 10.0


def build_listener_address(settings: Settings) -> ListenerAddress:
    """Return the address at which these settings serve."""
    http = settings.http
    return ListenerAddress(http.host, http.port, http.backlog)


def build_gate_limits(settings: Settings, bodies: Mapping[str, int]) -> RequestGateLimits:
    """Return the limits for requests; `bodies` has the octets of a body by path."""
    http = settings.http
    seconds = http.read_time_out.total_seconds()
    return RequestGateLimits(
        threads=http.threads,
        requests=http.requests_per_party,
        bodies=bodies,
        room=http.arriving,
        pace=MinimumBodyRate(seconds, int(seconds * http.slowest_body)),
        connections=ConnectionLimits(
            http.connections, http.connections_per_address, seconds + _GRACE, frozenset(http.proxies)
        ),
        tls_proxies=frozenset(http.tls_proxies),
        spool=_build_spool_settings(settings, frozenset(f"/msh/{name}" for name in PROTOCOLS)),
    )


def _build_spool_settings(settings: Settings, paths: frozenset[str]) -> SpoolSettings:
    """Return how large messages are received: into files of the folder in which they are kept."""
    folder = build_object_folder(settings)
    return SpoolSettings(folder.open_arriving_file, paths, _LARGEST_HELD, settings.payloads.arriving)


def build_console_address(settings: Settings) -> ListenerAddress:
    """Return the address at which the console is served."""
    console = settings.console
    return ListenerAddress(console.host, console.port, settings.http.backlog)


def build_console_limits(settings: Settings) -> RequestGateLimits:
    """Return the limits for requests to the console; `room` is shared by the uploads of all persons."""
    http, console = settings.http, settings.console
    seconds = http.read_time_out.total_seconds()
    return RequestGateLimits(
        threads=console.threads,
        requests=console.requests_per_address,
        bodies={},
        room=http.arriving,
        pace=MinimumBodyRate(seconds, int(seconds * http.slowest_body)),
        connections=ConnectionLimits(
            http.connections, http.connections_per_address, seconds + _GRACE, frozenset(http.proxies)
        ),
        tls_proxies=frozenset(http.tls_proxies),
        other_bodies=settings.limits.body,
    )


def build_api_address(settings: Settings) -> ListenerAddress:
    """Return the address at which the API is served."""
    return ListenerAddress(settings.api.host, settings.api.port, settings.http.backlog)


def build_api_limits(settings: Settings) -> RequestGateLimits:
    """Return the limits for requests to the API: submissions are large, everything else is small."""
    http, api = settings.http, settings.api
    seconds = http.read_time_out.total_seconds()
    return RequestGateLimits(
        threads=api.threads,
        requests=api.requests_per_party,
        bodies={_FILING: settings.limits.body},
        room=http.arriving,
        pace=MinimumBodyRate(seconds, int(seconds * http.slowest_body)),
        connections=ConnectionLimits(
            http.connections, http.connections_per_address, seconds + _GRACE, frozenset(http.proxies)
        ),
        tls_proxies=frozenset(http.tls_proxies),
        spool=_build_spool_settings(settings, frozenset({_FILING})),
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
        required=http.client_certificate == "required",
        handshake=min(_HANDSHAKE, seconds),
        flush=seconds,
        whole=http.connections * http.processes,
        shaking=http.connections,
        each=http.connections_per_address,
        exempt=frozenset(http.proxies),
    )
