"""Relays octets between two connections, in both directions."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["RelaySide"]

#: Octets that are buffered in one direction of a connection before its sender has to wait.
_UNDER_WAY: Final = 64 * 1024


class RelaySide(asyncio.Protocol):
    """One side of a connection: forwards its octets to the other side, no faster than that side accepts them.

    `patience`: seconds that this side may take to accept octets or to close; None where the time is
    limited elsewhere. While it accepts nothing, nothing is read from the other side, not even that
    side's end.
    """

    def __init__(self, patience: float | None = None) -> None:
        self.transport: Any = None
        self._patience = patience
        self._over: asyncio.TimerHandle | None = None
        self.other: RelaySide | None = None
        self.ended = asyncio.get_running_loop().create_future()

    def join_sides(self, other: RelaySide) -> None:
        """Start to forward octets in both directions."""
        self.other, other.other = other, self
        for side in (self, other):
            if side.ended.done():
                self.close()
                other.close()
            else:
                side.transport.resume_reading()

    def close(self) -> None:
        """Close this side after all octets for it are sent."""
        if self.transport is not None:
            self.transport.close()
            self._start_abort_timer()

    def _start_abort_timer(self) -> None:
        if self._patience is not None and self._over is None and not self.ended.done():
            loop = asyncio.get_running_loop()
            self._over = loop.call_later(self._patience, self.transport.abort)

    def _cancel_abort_timer(self) -> None:
        if self._over is not None:
            self._over.cancel()
            self._over = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pause reading until the other side is joined."""
        self.transport = transport
        self.transport.set_write_buffer_limits(_UNDER_WAY)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Forward the octets."""
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Pause the other side's sender."""
        self._start_abort_timer()
        if self.other is not None and not self.other.ended.done():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume the other side's sender."""
        if not self.transport.is_closing():
            self._cancel_abort_timer()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side, too."""
        del exc
        self._cancel_abort_timer()
        if not self.ended.done():
            self.ended.set_result(None)
        if self.other is not None:
            self.other.close()
