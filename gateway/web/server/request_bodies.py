"""The body of a request: its reading, within limits; and files sent as an answer."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO, Final

from gateway.errors import MIME_MALFORMED, REQUEST_MALFORMED, TOO_LARGE, TOO_SLOW, GatewayError
from gateway.web.server.body_budget import MinimumBodyRate, make_full_rejection
from gateway.web.server.body_collector import BodyCollector, SpooledBody
from gateway.web.server.request_head import RequestRejectedError

#: Chunks that any body may have, and octets that a further chunk must have on average. Each chunk costs
#: as much as a hundred octets of XML, so a body sent octet by octet is the most expensive input.
_CHUNKS: Final = 64
_MEAN_CHUNK: Final = 64


async def read_whole_body(
    pieces: AsyncIterator[bytes],
    length: int | None,
    max_octets: int,
    min_rate: MinimumBodyRate,
    collector: BodyCollector,
    *,
    may_have_trailers: bool = False,
) -> bytes | SpooledBody:
    """Return the whole body; raises RequestRejectedError when it is incomplete, too large or too slow.

    A body whose room others need more is rejected with status 503, also while it waits for a piece.

    `length` None: the body arrives in chunks, and ends with the last one. `may_have_trailers`: trailer
    fields may follow it; they are dropped (RFC 9112 §7.1.2). The parser of the content must then check that
    the body is complete.
    """
    if length == 0:
        return b""
    try:
        async with asyncio.timeout(min_rate.seconds) as time:
            deadline = _RateDeadline(min_rate, time)
            with collector.let_end(deadline.pass_now):
                return await _read_pieces(
                    pieces, length, max_octets, deadline, collector, 2 if may_have_trailers else 1
                )
    except TimeoutError:
        if collector.is_given_up:
            raise make_full_rejection() from None
        detail = f"fewer than {min_rate.octets} octets came in {min_rate.seconds:g} seconds"
        raise RequestRejectedError(TOO_SLOW, detail, "body", HTTPStatus.REQUEST_TIMEOUT) from None


@dataclass(slots=True)
class _RateDeadline:
    """Extends the deadline whenever enough octets have arrived."""

    min_rate: MinimumBodyRate
    time: asyncio.Timeout
    octets_since: int = 0
    is_over: bool = False

    def pass_now(self) -> None:
        """End the time at once."""
        self.is_over = True
        if not self.time.expired():
            self.time.reschedule(0)

    def record_octets(self, octets: int) -> None:
        """Count octets that have arrived; extend the time limit after each `min_rate.octets` of them."""
        self.octets_since += octets
        if self.octets_since >= self.min_rate.octets and not self.is_over:
            self.octets_since = 0
            self.time.reschedule(asyncio.get_running_loop().time() + self.min_rate.seconds)


async def _read_pieces(
    pieces: AsyncIterator[bytes],
    length: int | None,
    max_octets: int,
    rate_deadline: _RateDeadline,
    collector: BodyCollector,
    max_ends: int,
) -> bytes | SpooledBody:
    """Return the whole body; raises RequestRejectedError when it is too large or incomplete.

    A body of unknown `length` (None) ends with an empty piece; at most `max_ends` empty pieces may come.
    """
    size, ends = 0, 0
    async for piece in pieces:
        if not piece:
            ends += 1
            continue
        size += len(piece)
        if size > (max_octets if length is None else length):
            detail = f"the body has more than {max_octets} octets"
            raise RequestRejectedError(TOO_LARGE, detail, "body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        await collector.add_piece(piece)
        if collector.piece_count > _CHUNKS + size // _MEAN_CHUNK:
            raise RequestRejectedError(
                REQUEST_MALFORMED, "the chunks are too small", "body", HTTPStatus.BAD_REQUEST
            )
        if size == length:
            return await collector.finish_body()
        rate_deadline.record_octets(len(piece))
    # The server ends the pieces with one empty piece. An error (a malformed chunk, an end before the last
    # chunk) and trailers cause another one, and nothing distinguishes them (granian 2.8.9): the body may be
    # incomplete.
    if length is not None or not 1 <= ends <= max_ends:
        detail = f"the body ends after {size} octets"
        if length is None:
            detail += (
                " without its last chunk, or trailers follow it, which are taken for XML, JSON and multipart"
                " where the field Trailer announces them"
            )
        raise RequestRejectedError(REQUEST_MALFORMED, detail, "body", HTTPStatus.BAD_REQUEST)
    return await collector.finish_body()


Environ = dict[str, Any]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Here the server leaves a body that is in a file, whole; the input is empty then.
BODY_KEY: Final = "gateway.body"
#: Here the server may leave a callback for the party that a request is proved to come from.
PARTY_CALLBACK_KEY: Final = "gateway.proved"
#: Here the server leaves the SHA-256 of the TLS client certificate, or None.
CERTIFICATE_KEY: Final = "gateway.certificate"
#: Where the application puts the stream of its answer: an object with `read_batch` and `close`.
STREAM_KEY: Final = "gateway.stream"
#: Where the application puts a request whose better answer may still come: it has `read_response`,
#: `is_over`, `mark_response_given` and `close`. The answer of the application is the one without it.
WAITING_KEY: Final = "gateway.waiting"

_STEP = 1 << 16


def make_wsgi_environ(
    method: str, path: str, body: bytes, *, query: str = "", host: str = "localhost"
) -> Environ:
    """Return the WSGI environment (PEP 3333) of a request whose body is complete, and so has a length.

    Path and query are encoded in UTF-8; the environment has a character of ISO 8859-1 for each octet.
    """
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query.encode().decode("latin-1"),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": host,
        "SERVER_PORT": "0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def read_request_body(environ: Environ, limit: int) -> bytes:
    """Return the octets of the request; raises GW102 above `limit`, GW103 when incomplete.

    A declared length above the limit is rejected before an octet is read.
    """
    declared = _read_declared_length(environ)
    if declared is not None and declared > limit:
        raise GatewayError(
            TOO_LARGE, f"the body has {declared} octets, the limit is {limit}", "Content-Length"
        )
    if "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower():
        body = _read_stream(environ, limit + 1)
        if len(body) > limit:
            raise GatewayError(TOO_LARGE, f"the body has more than {limit} octets", "body")
        return body
    # A server need not end the stream where the body ends (PEP 3333), so no further octet is requested.
    body = _read_stream(environ, declared or 0)
    if len(body) != (declared or 0):
        raise GatewayError(MIME_MALFORMED, f"{len(body)} of {declared} octets arrived", "Content-Length")
    return body


def report_proven_party(environ: Environ, party: str) -> None:
    """Report to the server which party signed the request."""
    tell = environ.get(PARTY_CALLBACK_KEY)
    if tell is not None:
        tell(party)


def _read_declared_length(environ: Environ) -> int | None:
    """Return the Content-Length of the request, None if it is missing; raise GatewayError for other text."""
    text = str(environ.get("CONTENT_LENGTH") or "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise GatewayError(MIME_MALFORMED, "Content-Length is not a number", "Content-Length")
    return int(text)  # bounded: at most 18 ASCII digits


def _read_stream(environ: Environ, max_octets: int) -> bytes:
    """Return at most `max_octets` octets of the stream, fewer when it ends earlier."""
    stream = environ["wsgi.input"]
    pieces: list[bytes] = []
    while max_octets > 0:
        piece = stream.read(min(_STEP, max_octets))
        if not piece:
            break
        pieces.append(piece)
        max_octets -= len(piece)
    return b"".join(pieces)


_LOG: Final = logging.getLogger(__name__)
#: What wraps a stream that is to be sent (PEP 3333, Optional Platform-Specific File Handling).
FILE_KEY: Final = "wsgi.file_wrapper"
_FILE_STEP: Final = 1 << 18
#: Seconds between two checks whether the HTTP server has opened the pipe.
_PAUSE: Final = 0.005


class SentFile:
    """A stream that an application returns as its answer; it is read and closed by the server."""

    def __init__(self, stream: BinaryIO, step: int = _FILE_STEP) -> None:
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
    protocol: Any, status: int, headers: list[tuple[str, str]], file: SentFile, min_rate: MinimumBodyRate
) -> None:
    """Send an answer of this status and these headers; a Content-Length among them says where it ends.

    Where the receiver is slower than `min_rate`, or the octets have changed since they were stored, the
    answer is broken off: its receiver has fewer octets than were announced.
    """
    pipe = _AnswerPipe()
    try:
        protocol.response_file(status, headers, pipe.path)
        await _fill_pipe(pipe, file, min_rate)
    except GatewayError as problem:
        _LOG.error("http: an answer was broken off: %s", problem)
    except TimeoutError:
        _LOG.warning(
            "http: an answer was broken off: fewer than %d octets were taken in time", min_rate.octets
        )
    except OSError as ended:  # the client has gone
        _LOG.debug("http: an answer ended: %s", type(ended).__name__)
    finally:
        pipe.close()
        file.close()


async def _fill_pipe(pipe: _AnswerPipe, file: SentFile, min_rate: MinimumBodyRate) -> None:
    """Write the file to the pipe; raise TimeoutError if the reader is slower than `min_rate`."""
    loop, sent = asyncio.get_running_loop(), 0
    async with asyncio.timeout(min_rate.seconds) as time:
        await pipe.wait_until_opened()
        while piece := await loop.run_in_executor(None, file.read_piece):
            await pipe.write(piece)
            sent += len(piece)
            if sent >= min_rate.octets:
                sent = 0
                time.reschedule(loop.time() + min_rate.seconds)


class _AnswerPipe:
    """A named pipe that the HTTP server reads as a file, no faster than its client reads the answer.

    The server would keep an answer in pieces in memory, without a limit.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="gateway-answer-")
        self.path = f"{self._folder}/answer"
        self._write_descriptor: int | None = None
        os.mkfifo(self.path, 0o600)

    async def wait_until_opened(self) -> None:
        """Wait until the server reads the pipe; it has no name from then on."""
        while self._write_descriptor is None:
            try:
                self._write_descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(_PAUSE)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def write(self, piece: bytes) -> None:
        """Write octets as the server takes them; raises BrokenPipeError where it takes none any more."""
        assert self._write_descriptor is not None  # it was opened
        remaining = memoryview(piece)
        while remaining:
            try:
                remaining = remaining[os.write(self._write_descriptor, remaining) :]
            except BlockingIOError:
                await _wait_until_writable(self._write_descriptor)

    def close(self) -> None:
        """End the answer."""
        if self._write_descriptor is None:
            # A reader that blocks in its own open() continues then, and reads no octets.
            with suppress(OSError):
                self._write_descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        if self._write_descriptor is not None:
            os.close(self._write_descriptor)
        shutil.rmtree(self._folder, ignore_errors=True)


async def _wait_until_writable(descriptor: int) -> None:
    """Wait until the file descriptor can be written without blocking."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
