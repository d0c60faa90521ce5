"""Listens at a partner's endpoint, and ends only when every request that has begun is answered."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from gateway.conformance.partners.http_transport import (
    HttpReply,
    IncomingRequest,
    PartnerServer,
    RequestHandler,
)
from gateway.errors import MISUSE, GatewayError

__all__ = ["EndpointListener"]

_DRAIN = 20.0


class EndpointListener:
    """Serves the path of an endpoint at its host and port, or at `address`, the place behind a proxy."""

    def __init__(self, endpoint: str | None, handler: RequestHandler, address: str | None = None) -> None:
        """Listen from now on; raise GW808 where there is no endpoint, or the port is taken."""
        parts = urlsplit(endpoint or "")
        if not parts.hostname:
            raise GatewayError(MISUSE, "the agreement has no endpoint of this party", "agreement")
        self.endpoint = endpoint or ""
        self._handler = handler
        self._path = parts.path or "/"
        self._active = 0
        self._quiet = threading.Condition()
        default = 443 if parts.scheme == "https" else 80
        host, port = _parse_address(address) if address else (parts.hostname, parts.port or default)
        self._server = PartnerServer(self._serve_request, host, port)
        self.address = f"{host}:{self._server.port}"

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening, and wait until the requests that have begun are answered."""
        self._server.close()
        with self._quiet:
            self._quiet.wait_for(lambda: self._active == 0, _DRAIN)

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        if request.path.partition("?")[0] != self._path:
            return HttpReply(404, "text/plain", b"nothing is here\n")
        with self._quiet:
            self._active += 1
        try:
            return self._handler(request)
        finally:
            with self._quiet:
                self._active -= 1
                self._quiet.notify_all()


def _parse_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; raise GW808."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise GatewayError(MISUSE, "an address to listen at is HOST:PORT", text[:100])
    return host.strip("[]"), int(port)
