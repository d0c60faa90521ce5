"""Sends a large answer as it is read from where it is kept, at the pace of its receiver.

An application returns `environ["wsgi.file_wrapper"](stream)`, as PEP 3333 has it; without this server, any
wrapper that reads the stream will do. The server reads a piece when the one before has been taken, so that
no answer is in memory as a whole, and no thread waits for a slow receiver.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, Final

from gateway.errors import GatewayError
from gateway.web.server.body_limits import MinimumBodyRate

__all__ = ["FILE_KEY", "SentFile", "send_file"]

_LOG: Final = logging.getLogger(__name__)
#: What wraps a stream that is to be sent (PEP 3333, Optional Platform-Specific File Handling).
FILE_KEY: Final = "wsgi.file_wrapper"
_STEP: Final = 1 << 18
#: How often it is seen whether the HTTP server has opened what it is to send, in seconds.
_PAUSE: Final = 0.005


class SentFile:
    """A stream that an application returns as its answer; it is read and closed by the server."""

    def __init__(self, stream: BinaryIO, step: int = _STEP) -> None:
        self._stream = stream
        self._step = step

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read_piece():
            yield piece

    def read_piece(self) -> bytes:
        """Return the next octets, nothing at the end; raises GW326 where the octets have changed."""
        return self._stream.read(self._step)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


async def send_file(
    protocol: Any, head: tuple[int, list[tuple[str, str]]], file: SentFile, pace: MinimumBodyRate
) -> None:
    """Send an answer of this status and these headers; a Content-Length among them says where it ends.

    Where the receiver is slower than `pace`, or the octets have changed since they were stored, the answer
    is broken off: its receiver has fewer octets than were announced.
    """
    pipe = _AnswerPipe()
    try:
        protocol.response_file(*head, pipe.path)
        await _fill_pipe(pipe, file, pace)
    except GatewayError as problem:
        _LOG.error("http: an answer was broken off: %s", problem)
    except TimeoutError:
        _LOG.warning("http: an answer was broken off: fewer than %d octets were taken in time", pace.octets)
    except OSError as ended:  # the client has gone
        _LOG.debug("http: an answer ended: %s", type(ended).__name__)
    finally:
        pipe.close()
        file.close()


async def _fill_pipe(pipe: _AnswerPipe, file: SentFile, pace: MinimumBodyRate) -> None:
    loop, taken = asyncio.get_running_loop(), 0
    async with asyncio.timeout(pace.seconds) as time:
        await pipe.wait_until_opened()
        while piece := await loop.run_in_executor(None, file.read_piece):
            await pipe.write(piece)
            taken += len(piece)
            if taken >= pace.octets:
                taken = 0
                time.reschedule(loop.time() + pace.seconds)


class _AnswerPipe:
    """A named pipe that the HTTP server reads as a file: it reads no faster than its client takes.

    What is given to the server in pieces it would keep in memory, without a limit.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="gateway-answer-")
        self.path = f"{self._folder}/answer"
        self._end: int | None = None
        os.mkfifo(self.path, 0o600)

    async def wait_until_opened(self) -> None:
        """Wait until the server reads the pipe; it has no name from then on."""
        while self._end is None:
            try:
                self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(_PAUSE)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def write(self, piece: bytes) -> None:
        """Write octets as the server takes them; raises BrokenPipeError where it takes none any more."""
        assert self._end is not None  # it was opened
        left = memoryview(piece)
        while left:
            try:
                left = left[os.write(self._end, left) :]
            except BlockingIOError:
                await _wait_until_writable(self._end)

    def close(self) -> None:
        """End the answer."""
        if self._end is None:
            # A reader that waits for us in its own open goes on, and finds nothing.
            with suppress(OSError):
                self._end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        if self._end is not None:
            os.close(self._end)
        shutil.rmtree(self._folder, ignore_errors=True)


async def _wait_until_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
