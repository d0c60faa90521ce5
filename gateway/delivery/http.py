"""One HTTP POST: bounded in time and size, to the address given, never redirected.

Idle connections are kept and used again.  A request is never sent twice by this file: a
repeat is signed anew, and that is for the caller to do.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gateway.errors import ANSWER_NOT_UNDERSTOOD, SETTINGS_WRONG, UNREACHABLE, GatewayError

__all__ = ["HttpAnswer", "HttpBounds", "HttpSender"]

_STEP: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """How long and how much: seconds to connect, of silence, altogether; octets of an answer."""

    connect: float = 10.0
    silence: float = 30.0
    total: float = 60.0
    answer: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in lower case, repeated ones joined) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpSender:
    """Sends requests and keeps idle connections, a few for each destination; safe for threads."""

    def __init__(
        self, bounds: HttpBounds | None = None, tls: ssl.SSLContext | None = None, idle: int = 8
    ) -> None:
        self._bounds = bounds or HttpBounds()
        self._tls = tls
        self._most_idle = idle
        self._idle: dict[tuple[str, str], list[HTTPConnection]] = {}
        self._lock = threading.Lock()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """POST `body`; raises GW601 when no answer comes in time, GW603 when it is too large."""
        parts = _address(url)
        key = (parts.scheme, parts.netloc)
        connection = self._take(key) or self._open(parts)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with _deadline(connection, self._bounds.total):
                self._connect(connection)
                connection.request("POST", path, body, {"Accept-Encoding": "identity", **headers})
                response = connection.getresponse()
                content = self._read(response)
        except GatewayError:
            connection.close()
            raise
        except (OSError, HTTPException) as problem:
            connection.close()
            reason = str(problem)[:200] or type(problem).__name__
            raise GatewayError(UNREACHABLE, f"{type(problem).__name__}: {reason}", _shown(parts)) from problem
        self._give_back(key, connection, response)
        return HttpAnswer(response.status, _headers(response), content)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connection in (one for kept in self._idle.values() for one in kept):
                connection.close()
            self._idle.clear()

    def _open(self, parts: SplitResult) -> HTTPConnection:
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            context = self._tls or ssl.create_default_context()
            return HTTPSConnection(host, port, timeout=self._bounds.connect, context=context)
        return HTTPConnection(host, port, timeout=self._bounds.connect)

    def _connect(self, connection: HTTPConnection) -> None:
        if connection.sock is None:
            connection.connect()
        sock: socket.socket = connection.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._bounds.silence)

    def _take(self, key: tuple[str, str]) -> HTTPConnection | None:
        """Return an idle connection that its other end has not closed meanwhile."""
        while True:
            with self._lock:
                kept = self._idle.get(key)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()

    def _give_back(self, key: tuple[str, str], connection: HTTPConnection, response: HTTPResponse) -> None:
        if response.will_close:
            connection.close()
            return
        with self._lock:
            kept = self._idle.setdefault(key, [])
            if len(kept) < self._most_idle:
                kept.append(connection)
                return
        connection.close()

    def _read(self, response: HTTPResponse) -> bytes:
        content = bytearray()
        while piece := response.read(_STEP):
            content += piece
            if len(content) > self._bounds.answer:
                detail = f"the answer has more than {self._bounds.answer} octets"
                raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail)
        return bytes(content)


@contextmanager
def _deadline(connection: HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut the connection when the block takes too long; a trickle of octets meets no socket time-out."""
    passed = threading.Event()

    def cut() -> None:
        passed.set()
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
        if passed.is_set():
            raise TimeoutError(f"no complete answer within {seconds:g} s")
    except (OSError, HTTPException) as problem:
        if passed.is_set():
            raise TimeoutError(f"no complete answer within {seconds:g} s") from problem
        raise
    finally:
        timer.cancel()


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None:
        detail = "the address of a destination must be http(s)://host[:port]/path"
        raise GatewayError(SETTINGS_WRONG, detail, url[:200])
    return parts


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:200]


def _headers(response: HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
