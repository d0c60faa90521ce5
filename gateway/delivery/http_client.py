"""Sends one HTTP POST or GET, limited in time and size, to the given address, never redirected.

Idle connections are reused. This module never sends a request twice: a repeat is signed anew by the
caller.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gateway.delivery.http_answer_reader import HttpAnswer, read_http_answer
from gateway.delivery.tcp_connector import connect_by_deadline
from gateway.delivery.tls_connector import SingleContextConnector, TlsConnector
from gateway.errors import OUR_MISTAKE, SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.message_model import Body, JoinedBody, count_octets, iterate_octets

__all__ = ["HttpAnswer", "HttpClient", "HttpLimits"]

_PORTS: Final = {"http": 80, "https": 443}
#: How long a connection is reused, in seconds: the TLS trust may change meanwhile.
_MOST_AGE: Final = 300.0
#: Octets that a partner must take in each second, so that a large body has time in proportion to its size.
_SLOWEST: Final = 128 * 1024
#: What OpenSSL adds to its sentences.
_LIBRARY_NAMES: Final = re.compile(r"^\[[A-Z0-9_: ]+\] ?|\s*\(_ssl\.c:\d+\)$")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Time limits in seconds (to connect, of silence, in total), and octets of an answer."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0
    max_answer_octets: int = 8 * 1024 * 1024

    @classmethod
    def from_time_out(cls, time_out: timedelta) -> HttpLimits:
        """Return the limits for a partner's time-out; a call takes at most twice the time-out."""
        seconds = time_out.total_seconds()
        return cls(connect_seconds=min(10.0, seconds), read_seconds=seconds, total_seconds=2 * seconds)


class _ClientConnection:
    """One connection, with a deadline for every step: a socket time-out does not stop a slow trickle."""

    def __init__(
        self,
        parts: SplitResult,
        bounds: HttpLimits,
        tls: TlsConnector | None,
        end: float,
        is_allowed: Callable[[str], bool] | None = None,
    ) -> None:
        self._silence = bounds.read_seconds
        self._end = end
        self._opened = time.monotonic()
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._socket = connect_by_deadline(
            host, port, time.monotonic() + self._get_seconds_left(bounds.connect_seconds), is_allowed
        )
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket.settimeout(self._get_seconds_left(bounds.connect_seconds))
                self._socket = tls.wrap_connection(self._socket, host, port)
        except BaseException:
            self._socket.close()
            raise

    def set_deadline(self, silence: float, end: float) -> None:
        """Set the silence limit and the deadline of the next exchange on this connection."""
        self._silence, self._end = silence, end

    def _get_seconds_left(self, most: float) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no complete answer in the time allowed")
        return min(most, left)

    def send(self, octets: bytes) -> None:
        """Send all octets."""
        view = memoryview(octets)
        try:
            while view:
                self._socket.settimeout(self._get_seconds_left(self._silence))
                view = view[self._socket.send(view) :]
        except (ssl.SSLEOFError, ConnectionError):
            self._raise_tls_alert()
            raise

    def _raise_tls_alert(self) -> None:
        """Raise the TLS alert that the other end may have sent before it closed."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(ConnectionError, TimeoutError, ssl.SSLEOFError):
                self._socket.recv(1)

    def receive(self, most: int) -> bytes:
        """Return what arrived, at most `most` octets; nothing at the end."""
        self._socket.settimeout(self._get_seconds_left(self._silence))
        try:
            return self._socket.recv(most)
        except TimeoutError:
            self._get_seconds_left(self._silence)  # reports the deadline instead of the silence
            raise

    def is_reusable(self) -> bool:
        """Return whether it is young enough and nothing has arrived unrequested, including its end."""
        if time.monotonic() - self._opened > _MOST_AGE:
            return False
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        return not pending and not self._has_arrived()

    def _has_arrived(self) -> bool:
        """Return whether octets or the end of the connection wait to be read."""
        # `select` refuses descriptors above 1023, which a busy process has.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.close()


class HttpClient:
    """Sends requests and keeps a few idle connections for each destination; safe for threads.

    `tls` determines which servers are trusted; without it the operating system's anchors apply. With
    `is_allowed` only addresses that it accepts are connected to. `find_authorization` gives the login for
    a host and port, where we have one; it is sent over TLS only.
    """

    def __init__(
        self,
        bounds: HttpLimits | None = None,
        tls: TlsConnector | ssl.SSLContext | None = None,
        idle: int = 8,
        is_allowed: Callable[[str], bool] | None = None,
        find_authorization: Callable[[str, int], str | None] = lambda _host, _port: None,
    ) -> None:
        self._find_authorization = find_authorization
        self._bounds = bounds or HttpLimits()
        self._tls = SingleContextConnector(tls) if tls is None or isinstance(tls, ssl.SSLContext) else tls
        self._most_idle = idle
        self._is_allowed = is_allowed
        self._idle: dict[tuple[str, str], list[_ClientConnection]] = {}
        self._lock = threading.Lock()

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes | Body, bounds: HttpLimits | None = None
    ) -> HttpAnswer:
        """POST `body`; raises GW601 when no answer arrives in time, GW603 for a malformed or too large one.

        `bounds` are those of this destination, where it has its own. A large body is read in pieces while it
        is sent, and has more time.
        """
        parts = _parse_address(url)
        fields = {**headers, **self._make_login(parts), "Content-Length": str(count_octets(body))}
        head = _write_request_head("POST", parts, fields)
        request = head + body if isinstance(body, bytes) else JoinedBody((head, body))
        return self._exchange_request(parts, request, bounds or self._bounds)

    def get(self, url: str, headers: Mapping[str, str]) -> HttpAnswer:
        """GET the current content of an address; raises as `post` does."""
        parts = _parse_address(url)
        return self._exchange_request(parts, _write_request_head("GET", parts, headers), self._bounds)

    def _make_login(self, parts: SplitResult) -> dict[str, str]:
        """Return the header field of our login at a host; a password never travels without TLS."""
        if parts.scheme != "https":
            return {}
        found = self._find_authorization(parts.hostname or "", parts.port or _PORTS["https"])
        return {} if found is None else {"Authorization": found}

    def _exchange_request(self, parts: SplitResult, request: bytes | Body, bounds: HttpLimits) -> HttpAnswer:
        key = (parts.scheme, parts.netloc)
        end = time.monotonic() + bounds.total_seconds + count_octets(request) / _SLOWEST
        connection: _ClientConnection | None = None
        try:
            connection = self._take_idle_connection(key, bounds, end) or self._open_connection(
                parts, bounds, end
            )
            for piece in iterate_octets(request):
                connection.send(piece)
            answer, again = read_http_answer(connection.receive, bounds.max_answer_octets)
        except BaseException as problem:
            if connection is not None:
                connection.close()
            if isinstance(problem, OSError | UnicodeError):  # UnicodeError: no host can have that name
                raise _make_unreachable_error(problem, parts) from problem
            raise
        if again:
            self._return_idle_connection(key, connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connection in (one for kept in self._idle.values() for one in kept):
                connection.close()
            self._idle.clear()

    def _open_connection(self, parts: SplitResult, bounds: HttpLimits, end: float) -> _ClientConnection:
        return _ClientConnection(
            parts, bounds, self._tls if parts.scheme == "https" else None, end, self._is_allowed
        )

    def _take_idle_connection(
        self, key: tuple[str, str], bounds: HttpLimits, end: float
    ) -> _ClientConnection | None:
        """Return an idle connection that is not old and on which nothing has arrived since."""
        while True:
            with self._lock:
                kept = self._idle.get(key)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.is_reusable():
                connection.set_deadline(bounds.read_seconds, end)
                return connection
            connection.close()

    def _return_idle_connection(self, key: tuple[str, str], connection: _ClientConnection) -> None:
        with self._lock:
            kept = self._idle.setdefault(key, [])
            if len(kept) < self._most_idle:
                kept.append(connection)
                return
        connection.close()


def _write_request_head(method: str, parts: SplitResult, headers: Mapping[str, str]) -> bytes:
    """Return the request line and the header fields."""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": parts.netloc, "Accept-Encoding": "identity", **headers}
    lines = [f"{method} {path} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
    together = "".join(lines)
    if not together.isascii() or not together.isprintable():
        raise GatewayError(
            OUR_MISTAKE, "a header field of the request contains a forbidden character", "HTTP"
        )
    return "\r\n".join((*lines, "", "")).encode("ascii")


# few addresses are called, again and again
@lru_cache(maxsize=256)
def _parse_address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        detail = "the address of a destination must be http(s)://host[:port]/path"
        raise GatewayError(SETTINGS_WRONG, detail, url[:200])
    return parts


def _make_unreachable_error(problem: Exception, parts: SplitResult) -> GatewayError:
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"[:200]
    return GatewayError(UNREACHABLE, _describe_failure(problem), shown)


def _describe_failure(problem: Exception) -> str:
    """Return the sentence of a failed connection, without numbers and names of the library."""
    if isinstance(problem, UnicodeError):
        return "no host can have this name"
    words = (problem.strerror if isinstance(problem, OSError) else "") or str(problem)
    return _LIBRARY_NAMES.sub("", words).strip()[:200] or type(problem).__name__
