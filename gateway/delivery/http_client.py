"""The HTTP client of deliveries: one request and its answer, within limits of time and size."""

from __future__ import annotations

import errno
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
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from gateway import USER_AGENT
from gateway.config import mask_url
from gateway.delivery.http_answer_reader import ArrivingAnswer, HttpAnswer, read_http_answer
from gateway.delivery.tls_connectors import SingleContextConnector, TlsConnector
from gateway.errors import OUR_MISTAKE, SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.message_model import Body, JoinedBody, count_octets, iterate_octets

#: Look-ups that run at once, abandoned ones included.
_MAX_LOOKUPS: Final = 64
_lookup_slots = threading.BoundedSemaphore(_MAX_LOOKUPS)


def connect_by_deadline(
    host: str, port: int, deadline: float, is_allowed: Callable[[str], bool] | None = None
) -> socket.socket:
    """Return a connection to the first address of `host` that answers before `deadline` (`time.monotonic`).

    Each address has an equal share of the time that is left, so that an address which drops packets does
    not use up the time of the others. Raises the OSError of the last address, or TimeoutError. No connection
    is made to an address that `is_allowed` does not accept: the address itself is checked, after the look-up.
    """
    last_error: OSError = TimeoutError("timed out")
    addresses = _resolve_addresses(host, port, deadline)
    allowed_addresses = [row for row in addresses if is_allowed is None or is_allowed(row[4][0])]
    if len(allowed_addresses) < len(addresses):
        last_error = PermissionError(errno.EACCES, "the name leads to an address that is not allowed")
    for index, (family, socket_type, protocol, _, address) in enumerate(allowed_addresses):
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            break
        connection = socket.socket(family, socket_type, protocol)
        try:
            connection.settimeout(seconds_left / (len(allowed_addresses) - index))
            connection.connect(address)
        except OSError as error:
            connection.close()
            last_error = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise last_error


def _resolve_addresses(host: str, port: int, deadline: float) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name, not an address
        return _resolve_name(host, port, deadline)


def _resolve_name(host: str, port: int, deadline: float) -> list[Any]:
    """Return the addresses of a name, looked up in a thread, as `socket.getaddrinfo` has them.

    Raises TimeoutError at `deadline` (`time.monotonic`), and the error of the look-up.
    """
    outcomes: SimpleQueue[list[Any] | Exception] = SimpleQueue()
    lookup_slots = _lookup_slots

    def run_lookup() -> None:
        try:
            outcomes.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcomes.put(error)
        finally:
            lookup_slots.release()

    seconds_left = max(deadline - time.monotonic(), 0.0)
    if not lookup_slots.acquire(timeout=seconds_left):
        raise TimeoutError("too many names are being looked up")
    try:
        threading.Thread(target=run_lookup, name="look-up", daemon=True).start()
    except RuntimeError:  # the system starts no thread
        lookup_slots.release()
        raise
    try:
        outcome = outcomes.get(timeout=max(deadline - time.monotonic(), 0.0))
    except Empty:
        raise TimeoutError(f"the name {host[:80]} was not found in the time allowed") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: How long a connection is reused, in seconds: the authorities and our own certificate may change meanwhile.
_MAX_CONNECTION_SECONDS: Final = 300.0
#: Octets that a partner must take in each second, so that a large body has time in proportion to its size.
_MIN_OCTETS_PER_SECOND: Final = 128 * 1024
#: Octets that are sent, or received, before the answer is read again.
_SEND_OCTETS: Final = 1 << 16
#: Seconds; the operating system takes no wait of 25 days.
_MAX_WAIT_SECONDS: Final = 86400.0
#: What OpenSSL adds to its sentences.
_LIBRARY_PREFIX_PATTERN: Final = re.compile(r"^\[[A-Z0-9_: ]+\] ?|^_ssl\.c:\d+: | ?\(_ssl\.c:\d+\)$")


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
        url_parts: SplitResult,
        limits: HttpLimits,
        tls: TlsConnector | None,
        deadline: float,
        is_allowed: Callable[[str], bool] | None = None,
    ) -> None:
        self._silence_seconds = limits.read_seconds
        self._deadline = deadline
        self._arriving_answer = ArrivingAnswer()
        self._send_error: OSError | None = None
        self._opened_at = time.monotonic()
        self._tls, self._revocations = tls, None if tls is None else tls.get_revocations()
        host, port = url_parts.hostname or "", url_parts.port or _DEFAULT_PORTS[url_parts.scheme]
        self._socket = connect_by_deadline(
            host, port, time.monotonic() + self._get_seconds_left(limits.connect_seconds), is_allowed
        )
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket.settimeout(self._get_seconds_left(limits.connect_seconds))
                self._socket = tls.wrap_connection(self._socket, host, port)
        except BaseException:
            self._socket.close()
            raise

    def set_deadline(self, silence_seconds: float, deadline: float) -> None:
        """Set the silence limit and the deadline of the next exchange on this connection."""
        self._silence_seconds, self._deadline = silence_seconds, deadline

    def _get_seconds_left(self, max_seconds: float) -> float:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("no complete answer in the time allowed")
        return min(max_seconds, seconds_left)

    def send_request(self, request: bytes | Body) -> bool:
        """Send a request; return whether the other end took it whole.

        It did not take the request whole if it refused the request before its end, or ended the connection.
        Its answer may have arrived nevertheless.
        """
        self._arriving_answer = ArrivingAnswer()
        try:
            return all(self._send_piece(piece) for piece in iterate_octets(request))
        except TimeoutError:
            if not self._arriving_answer.is_success:
                raise
            return False

    def _send_piece(self, octets: bytes) -> bool:
        """Send a piece while no answer ends the request; return whether all of it was sent."""
        unsent_octets = memoryview(octets)
        awaited_event = select.POLLOUT
        # What arrives meanwhile does not prolong it.
        silent_until = time.monotonic() + self._silence_seconds
        self._socket.setblocking(False)
        while unsent_octets:
            if self._wait_for(awaited_event, silent_until) and not self._receive_early_answer():
                return False
            try:
                unsent_octets = unsent_octets[self._socket.send(unsent_octets[:_SEND_OCTETS]) :]
            except ssl.SSLWantReadError:
                awaited_event = select.POLLIN
            except (BlockingIOError, ssl.SSLWantWriteError):
                awaited_event = select.POLLOUT
            except (ssl.SSLEOFError, ConnectionError) as problem:
                self._send_error = problem
                return False
            else:
                awaited_event = select.POLLOUT
                silent_until = time.monotonic() + self._silence_seconds
        return True

    def _wait_for(self, awaited_event: int, silent_until: float) -> bool:
        """Wait until octets can be sent or have arrived; return whether an answer is to be read."""
        # Once it is known to be a success, it is read when the request was sent.
        is_watched = not self._arriving_answer.is_success
        poll = select.poll()
        poll.register(self._socket, awaited_event | (select.POLLIN if is_watched else 0))
        seconds_left = min(self._get_seconds_left(_MAX_WAIT_SECONDS), silent_until - time.monotonic())
        events = poll.poll(seconds_left * 1000) if seconds_left > 0 else []
        if not events:
            self._get_seconds_left(_MAX_WAIT_SECONDS)  # reports the deadline instead of the silence
            raise TimeoutError("the request was not taken in the time allowed")
        return is_watched and events[0][1] != select.POLLOUT

    def _receive_early_answer(self) -> bool:
        """Receive the octets of the answer that have arrived; return whether to go on with the request."""
        try:
            octets = self._socket.recv(_SEND_OCTETS)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        self._arriving_answer.add_octets(octets)
        return bool(octets) and not self._arriving_answer.ends_request

    def receive(self, max_octets: int) -> bytes:
        """Return the octets that have arrived; empty at the end of the connection.

        They are at most `max_octets`, but for those that arrived while the request was sent.
        """
        if octets := self._arriving_answer.take_octets():
            return octets
        self._socket.settimeout(self._get_seconds_left(self._silence_seconds))
        try:
            octets = self._socket.recv(max_octets)
        except TimeoutError:
            self._get_seconds_left(self._silence_seconds)  # reports the deadline instead of the silence
            raise
        # The operating system tells only once that a connection was reset: this is not an end in order.
        if not octets and self._send_error is not None:
            raise self._send_error
        return octets

    def is_reusable(self) -> bool:
        """Return whether it is young enough and nothing has arrived unrequested, including its end.

        The server must have been verified by the revocation data that are loaded now.
        """
        if time.monotonic() - self._opened_at > _MAX_CONNECTION_SECONDS:
            return False
        if self._tls is not None and self._tls.get_revocations() is not self._revocations:
            return False
        has_pending_octets = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        return not has_pending_octets and not self._has_arrived()

    def _has_arrived(self) -> bool:
        """Return whether octets or the end of the connection wait to be read."""
        # `select` refuses descriptors above 1023, which a busy process has.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the connection."""
        # Its traceback holds this connection, and the request.
        self._send_error = None
        with suppress(OSError):
            self._socket.close()


@dataclass(frozen=True, slots=True)
class _HostKey:
    """The key of kept idle connections: the scheme, and the host with its port if one is given."""

    scheme: str
    host: str


class HttpClient:
    """Sends requests and keeps a few idle connections for each destination; safe for threads.

    `tls` determines which servers are trusted; without it the operating system's anchors apply. With
    `is_allowed` only addresses that it accepts are connected to. `find_authorization` returns the value of
    the header Authorization for a host and port, None where the hub has no login; it is sent over TLS only.
    """

    def __init__(
        self,
        limits: HttpLimits | None = None,
        tls: TlsConnector | ssl.SSLContext | None = None,
        max_idle: int = 8,
        is_allowed: Callable[[str], bool] | None = None,
        find_authorization: Callable[[str, int], str | None] = lambda _host, _port: None,
    ) -> None:
        self._find_authorization = find_authorization
        self._limits = limits or HttpLimits()
        self._tls = SingleContextConnector(tls) if tls is None or isinstance(tls, ssl.SSLContext) else tls
        self._max_idle = max_idle
        self._is_allowed = is_allowed
        self._idle_connections: dict[_HostKey, list[_ClientConnection]] = {}
        self._lock = threading.Lock()

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes | Body, limits: HttpLimits | None = None
    ) -> HttpAnswer:
        """POST `body`; raises GW601 when no answer arrives in time, GW603 for a malformed or too large one.

        An answer before the end of the request is the answer to it, but a success is then GW603: it does not
        prove that the server has the request. An error that does not arrive whole is GW608 with its status.
        `limits` are the limits of this destination, if it has its own. A large body is read in pieces while
        it is sent, and has more time.
        """
        url_parts = _parse_address(url)
        fields = {
            **headers,
            **self._make_authorization_header(url_parts),
            "Content-Length": str(count_octets(body)),
        }
        head = _write_request_head("POST", url_parts, fields)
        request = head + body if isinstance(body, bytes) else JoinedBody((head, body))
        return self._exchange_request(url_parts, request, limits or self._limits)

    def get(self, url: str, headers: Mapping[str, str]) -> HttpAnswer:
        """GET the current content of an address; raises as `post` does."""
        url_parts = _parse_address(url)
        return self._exchange_request(url_parts, _write_request_head("GET", url_parts, headers), self._limits)

    def _make_authorization_header(self, url_parts: SplitResult) -> dict[str, str]:
        """Return the header field of the hub's login at a host; a password never travels without TLS."""
        if url_parts.scheme != "https":
            return {}
        authorization = self._find_authorization(
            url_parts.hostname or "", url_parts.port or _DEFAULT_PORTS["https"]
        )
        return {} if authorization is None else {"Authorization": authorization}

    def _exchange_request(
        self, url_parts: SplitResult, request: bytes | Body, limits: HttpLimits
    ) -> HttpAnswer:
        """Send the request on an idle or a new connection; return the answer.

        The connection is used again only if the request was sent whole and the server keeps it open. Raise
        GatewayError if the server cannot be reached.
        """
        host_key = _HostKey(url_parts.scheme, url_parts.netloc)
        deadline = time.monotonic() + limits.total_seconds + count_octets(request) / _MIN_OCTETS_PER_SECOND
        connection: _ClientConnection | None = None
        try:
            connection = self._take_idle_connection(host_key, limits, deadline) or self._open_connection(
                url_parts, limits, deadline
            )
            is_whole = connection.send_request(request)
            answer, is_persistent = read_http_answer(
                connection.receive, limits.max_answer_octets, is_request_whole=is_whole
            )
        except BaseException as problem:
            if connection is not None:
                connection.close()
            if isinstance(problem, OSError | UnicodeError):  # UnicodeError: no host can have that name
                raise _make_unreachable_error(problem, url_parts) from problem
            raise
        if is_persistent and is_whole:
            self._return_idle_connection(host_key, connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connection in (
                idle for connections in self._idle_connections.values() for idle in connections
            ):
                connection.close()
            self._idle_connections.clear()

    def _open_connection(
        self, url_parts: SplitResult, limits: HttpLimits, deadline: float
    ) -> _ClientConnection:
        return _ClientConnection(
            url_parts, limits, self._tls if url_parts.scheme == "https" else None, deadline, self._is_allowed
        )

    def _take_idle_connection(
        self, host_key: _HostKey, limits: HttpLimits, deadline: float
    ) -> _ClientConnection | None:
        """Return an idle connection that is not old and on which nothing has arrived since."""
        while True:
            with self._lock:
                idle_connections = self._idle_connections.get(host_key)
                if not idle_connections:
                    return None
                connection = idle_connections.pop()
            if connection.is_reusable():
                connection.set_deadline(limits.read_seconds, deadline)
                return connection
            connection.close()

    def _return_idle_connection(self, host_key: _HostKey, connection: _ClientConnection) -> None:
        """Keep the connection for the next request; close it if the destination has enough idle ones."""
        with self._lock:
            idle_connections = self._idle_connections.setdefault(host_key, [])
            if len(idle_connections) < self._max_idle:
                idle_connections.append(connection)
                return
        connection.close()


def _write_request_head(method: str, url_parts: SplitResult, headers: Mapping[str, str]) -> bytes:
    """Return the request line and the header fields."""
    request_target = (url_parts.path or "/") + (f"?{url_parts.query}" if url_parts.query else "")
    fields = {"Host": url_parts.netloc, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    lines = [f"{method} {request_target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
    head_text = "".join(lines)
    if not head_text.isascii() or not head_text.isprintable():
        raise GatewayError(
            OUR_MISTAKE, "a header field of the request contains a forbidden character", "HTTP"
        )
    return "\r\n".join((*lines, "", "")).encode("ascii")


# few addresses are called, again and again
@lru_cache(maxsize=256)
def _parse_address(url: str) -> SplitResult:
    """Return the parts of an http(s) URL; raise GW801 for another text, or one with a user name."""
    try:
        url_parts = urlsplit(url)
        is_valid = url_parts.scheme in ("http", "https") and bool(url_parts.hostname) and url_parts.port != 0
    except ValueError:
        is_valid = False
    if (
        not is_valid
        or url_parts.username is not None
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        detail = "the address of a destination must be http(s)://host[:port]/path"
        raise GatewayError(SETTINGS_WRONG, detail, mask_url(url)[:200])
    return url_parts


def _make_unreachable_error(problem: Exception, url_parts: SplitResult) -> GatewayError:
    url_text = f"{url_parts.scheme}://{url_parts.netloc}{url_parts.path}"[:200]
    return GatewayError(UNREACHABLE, _describe_failure(problem), url_text)


def _describe_failure(problem: Exception) -> str:
    """Return the sentence of a failed connection, without numbers and names of the library."""
    if isinstance(problem, UnicodeError):
        return "no host can have this name"
    error_text = (problem.strerror if isinstance(problem, OSError) else "") or str(problem)
    return _LIBRARY_PREFIX_PATTERN.sub("", error_text).strip()[:200] or type(problem).__name__
