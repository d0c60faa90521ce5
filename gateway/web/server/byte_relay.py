"""Two connections made one: what comes to one side is given to the other, octet by octet."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["RelaySide"]

#: Octets on their way in one direction of a connection before its sender has to wait.
_UNDER_WAY: Final = 64 * 1024


class RelaySide(asyncio.Protocol):
    """One side of a connection: gives what comes to the other side, and no faster than that one takes it.

    `patience`: seconds that this side may take to make room, or to end; None where others bound that.
    While it takes nothing, nothing is read from the other side, not even that side's end.
    """

    def __init__(self, patience: float | None = None) -> None:
        self.transport: Any = None
        self._patience = patience
        self._over: asyncio.TimerHandle | None = None
        self.other: RelaySide | None = None
        self.ended = asyncio.get_running_loop().create_future()

    def join_sides(self, other: RelaySide) -> None:
        """Begin to give what comes to each other."""
        self.other, other.other = other, self
        for side in (self, other):
            if side.ended.done():
                self.close()
                other.close()
            else:
                side.transport.resume_reading()

    def close(self) -> None:
        """End this side when all is taken that is for it."""
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
        """Read nothing before there is another side."""
        self.transport = transport
        self.transport.set_write_buffer_limits(_UNDER_WAY)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Hand on."""
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Let the other side's sender wait."""
        self._start_abort_timer()
        if self.other is not None and not self.other.ended.done():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let it go on."""
        if not self.transport.is_closing():
            self._cancel_abort_timer()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side, too."""
        del exc
        self._cancel_abort_timer()
        if not self.ended.done():
            self.ended.set_result(None)
        if self.other is not None:
            self.other.close()
