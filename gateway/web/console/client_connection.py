"""The connection of a request: the network it comes from, and the client certificate it shows.

Both come from the server, never from a field of the request; behind our own proxy the network is what
that proxy says. A proxy that ends TLS hides the certificates of browsers: then there is none.
"""

from __future__ import annotations

from collections.abc import Collection

from flask import Request

from gateway.web.server import CERTIFICATE_KEY, get_client_network

__all__ = ["find_client_certificate", "find_client_network"]


def find_client_network(request: Request, proxies: Collection[str]) -> str:
    """Return the network that attempts to sign in are counted for: an address, for IPv6 its /64."""
    address = request.remote_addr or ""
    if address in proxies:
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    return get_client_network(address)


def find_client_certificate(request: Request) -> str | None:
    """Return the SHA-256 of the certificate that the browser has shown in the TLS handshake."""
    shown = request.environ.get(CERTIFICATE_KEY)
    return str(shown) if shown else None
