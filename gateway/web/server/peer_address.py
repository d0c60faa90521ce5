"""Who is at the other end of a connection: address, port, and over TLS the certificate shown.

The HTTP server says it in one text.  Of a connection over TCP that is ``address:port``.  Where
TLS ends in a process of our own before the server, that process calls the server over a socket
in a folder that nobody else can enter, and says whom it serves by the name that its own end of
the socket has: ``address,port,certificate``.  Nothing that is sent over the connection can
change that name.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["ClientPeer", "PeerAddress", "make_peer_address", "make_tls_peer", "parse_peer_name"]

#: Address and port of the other end; of IPv6 the port comes last, too.
PeerAddress = tuple[str, int]

_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class ClientPeer:
    """The other end; `certificate` is the SHA-256 of the one it showed, None where it showed none."""

    peer: PeerAddress
    tls: bool = False
    certificate: str | None = None

    @property
    def socket_name(self) -> str:
        """Return what a socket is named that brings this visitor; it has fewer than a hundred letters."""
        digest = base64.urlsafe_b64encode(bytes.fromhex(self.certificate or "")).decode().rstrip("=")
        return f"{self.peer[0]},{self.peer[1]},{digest}"


def make_peer_address(address: str, port: int) -> PeerAddress:
    """Return the other end of that address; an interface that it may name (``fe80::1%2``) says nothing."""
    return address.strip("[]").partition("%")[0].removeprefix("::ffff:"), port


def make_tls_peer(address: str, port: int, digest: bytes | None) -> ClientPeer:
    """Return who came over TLS, with the SHA-256 of the certificate shown."""
    return ClientPeer(
        make_peer_address(address, port), tls=True, certificate=digest.hex() if digest else None
    )


@lru_cache(4096)
def parse_peer_name(text: str) -> ClientPeer:
    """Read what the server says of the other end; an IPv6 address stands in brackets."""
    parts = text.split(",")
    try:
        if len(parts) == 3:
            digest = base64.b64decode(parts[2] + "=" * (-len(parts[2]) % 4), b"-_", validate=True)
            if len(digest) not in (0, _DIGEST):
                raise ValueError(text)
            return make_tls_peer(parts[0], int(parts[1]), digest)
        address, _, port = text.rpartition(":")
        return ClientPeer(make_peer_address(address, int(port)))
    except ValueError:
        raise GatewayError(OUR_MISTAKE, "a connection without a name", "HTTP") from None
