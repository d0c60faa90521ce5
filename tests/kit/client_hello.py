"""The first message of a TLS handshake, with any octets as the name of the server."""

from __future__ import annotations

import ssl
from contextlib import suppress

__all__ = ["make_hello"]


def make_hello(name: bytes) -> bytes:
    """Return a ClientHello with these octets as the name of the server."""
    hello, context = ssl.MemoryBIO(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    placeholder = "x" * len(name)
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=placeholder).do_handshake()
    return hello.read().replace(placeholder.encode(), name)
