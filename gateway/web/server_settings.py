"""What the settings say of HTTP, as the values that `gateway.web.server` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.config import Settings, get_key_file
from gateway.pki import TlsIdentity
from gateway.web.server import (
    ConnectionLimits,
    ListenerAddress,
    MinimumBodyRate,
    RequestGateLimits,
    TerminatorSettings,
)

__all__ = ["build_gate_limits", "build_listener_address", "build_terminator_settings"]

#: How much longer than the server may, we wait before we close a connection ourselves, in seconds.
_GRACE: Final = 5.0
#: How long a client may take to shake hands when it may be idle longer, in seconds.
_HANDSHAKE: Final = 10.0


def build_listener_address(settings: Settings) -> ListenerAddress:
    """Return where these settings serve."""
    http = settings.http
    return ListenerAddress(http.host, http.port, http.backlog)


def build_gate_limits(settings: Settings, bodies: Mapping[str, int]) -> RequestGateLimits:
    """Return what requests are held to; `bodies` has the octets of a body by path."""
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
    )


def build_terminator_settings(settings: Settings) -> TerminatorSettings | None:
    """Return how TLS is ended by these settings; None when it is not spoken here."""
    http = settings.http
    if http.tls_certificate is None or http.tls_key is None:
        return None
    password = http.tls_password.read().rstrip(b"\r\n") if http.tls_password else None
    seconds = http.read_time_out.total_seconds()
    # The process that ends TLS works in another folder.
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
