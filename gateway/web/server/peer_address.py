"""Reads the peer of a connection: address, port, and over TLS the client certificate.

The HTTP server gives all of it in one text. For a TCP connection that is ``address:port``. Where
our TLS terminator is in front of the server, it connects to the server over a socket in a private
folder, and names the peer in the name of its own end of the socket: ``address,port,certificate``.
No data sent over the connection can change that name.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["ClientPeer", "PeerAddress", "make_peer_address", "make_tls_peer", "parse_peer_name"]

#: Address and port of the peer; the port is last for IPv6, too.
PeerAddress = tuple[str, int]

_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class ClientPeer:
    """The peer; `certificate` is the SHA-256 of its client certificate, None where it showed none."""

    peer: PeerAddress
    tls: bool = False
    certificate: str | None = None

    @property
    def socket_name(self) -> str:
        """Return the socket name for this peer; it has fewer than a hundred characters."""
        digest = base64.urlsafe_b64encode(bytes.fromhex(self.certificate or "")).decode().rstrip("=")
        return f"{self.peer[0]},{self.peer[1]},{digest}"


def make_peer_address(address: str, port: int) -> PeerAddress:
    """Return the peer of an address; a zone id (``fe80::1%2``) is dropped."""
    return address.strip("[]").partition("%")[0].removeprefix("::ffff:"), port


def make_tls_peer(address: str, port: int, digest: bytes | None) -> ClientPeer:
    """Return a peer that connected over TLS, with the SHA-256 of its client certificate."""
    return ClientPeer(
        make_peer_address(address, port), tls=True, certificate=digest.hex() if digest else None
    )


@lru_cache(4096)
def parse_peer_name(text: str) -> ClientPeer:
    """Read the server's text about the peer; an IPv6 address is in brackets."""
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
