"""Renews the lease of a delivery while its octets are sent: a large body takes longer than a lease."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from gateway.delivery.attempt_outcome import LeaseLostError
from gateway.hub import Hub
from gateway.message_model import Body
from gateway.store import DeliveryLease, delivery_leases, write_transaction

__all__ = ["renew_while_read"]


def renew_while_read(hub: Hub, lease: DeliveryLease, octets: bytes | Body) -> bytes | Body:
    """Return the octets to be sent; a body renews the lease whenever half of it has passed.

    Its reader gets LeaseLostError where another worker has the delivery now.
    """
    if isinstance(octets, bytes):
        return octets
    length = lease.lease_until - hub.clock()
    until = lease.lease_until

    def renew_when_due() -> None:
        nonlocal until
        now = hub.clock()
        if until - now > length / 2:
            return
        until = now + length
        with write_transaction(hub.engine, "delivery.renewed") as conn:
            if not delivery_leases.renew_lease(conn, lease, until):
                raise LeaseLostError

    return _WatchedBody(octets, renew_when_due)


class _WatchedBody:
    """A body that calls a function with each piece that is read."""

    def __init__(self, body: Body, watch: Callable[[], None]) -> None:
        self.octet_count = body.octet_count
        self._body = body
        self._watch = watch

    @property
    def sha256_hex(self) -> str:
        """Return the SHA-256 of the octets in lower-case hexadecimal."""
        return self._body.sha256_hex

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _WatchedStream(self._body.open_stream(), self._watch))


class _WatchedStream(io.RawIOBase):
    def __init__(self, stream: BinaryIO, watch: Callable[[], None]) -> None:
        self._stream = stream
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._watch()
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()
