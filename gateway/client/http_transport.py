"""HTTP/1.1 of a partner: a small threaded server, and a client with persistent connections.

The standard library reads header fields as those of a mail: of a multipart one it looks for parts, by an
expression that it compiles for each boundary. Every message has a boundary of its own, so the heads of
requests and replies are read here.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
    responses,
)
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from gateway import USER_AGENT
from gateway.client.message_files import UnnamedFile
from gateway.errors import ANSWER_NOT_UNDERSTOOD, MIME_MALFORMED, MISUSE, TOO_LARGE, UNREACHABLE, GatewayError
from gateway.message_model import Body, MemoryBody
from gateway.pki import make_client_context
from gateway.wire import DEFAULT_LIMITS, read_http_head

_MAX_LINE_OCTETS: Final = 65_536
_MAX_HEAD_LINES: Final = 100
#: Proxies add fields of their own.
_HEAD_LIMITS: Final = replace(
    DEFAULT_LIMITS, part_headers=2 * _MAX_LINE_OCTETS, part_header_count=_MAX_HEAD_LINES
)
_EMPTY_LINES: Final = frozenset({b"\r\n", b"\n"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The method, the path with its query, the version, and the header fields by lower-case name."""

    method: str
    path: str
    version: str
    headers: Mapping[str, str]

    @property
    def keeps_connection(self) -> bool:
        """Return whether another request may follow on its connection (RFC 9112 §9.3)."""
        options = self.headers.get("connection", "").lower()
        return "close" not in options and (self.version == "HTTP/1.1" or "keep-alive" in options)

    @property
    def awaits_continue(self) -> bool:
        """Return whether its body is sent when it is asked for (RFC 9110 §10.1.1)."""
        return self.version == "HTTP/1.1" and self.headers.get("expect", "").lower() == "100-continue"


def read_request_head(stream: BufferedIOBase) -> RequestHead | None:
    """Return the head of the next request, None at the end of the connection; raises GW102, GW103."""
    lines = [stream.readline(_MAX_LINE_OCTETS + 1)]
    if not lines[0]:
        return None
    while lines[-1] not in _EMPTY_LINES:
        if len(lines[-1]) > _MAX_LINE_OCTETS or len(lines) > _MAX_HEAD_LINES + 1:
            raise GatewayError(TOO_LARGE, "the head of the request is too long", "HTTP")
        line = stream.readline(_MAX_LINE_OCTETS + 1)
        if not line:
            raise GatewayError(MIME_MALFORMED, "the connection ended in the head of a request", "HTTP")
        lines.append(line)
    head = read_http_head(b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in lines), _HEAD_LIMITS)
    if head.start_line.startswith("HTTP/") or not head.start_line:
        raise GatewayError(MIME_MALFORMED, "no request line begins the request", "HTTP")
    method, path, version = head.start_line.split(" ")
    # A client that is redirected to a path with two slashes would take its first segment as a host.
    path = "/" + path.lstrip("/") if path.startswith("//") else path
    return RequestHead(method, path, version, head.headers)


def format_reply_head(status: int, fields: Mapping[str, str]) -> bytes:
    """Return the head of a reply."""
    lines = [f"HTTP/1.1 {status} {responses.get(status, '')}", f"Date: {formatdate(usegmt=True)}"]
    lines += (f"{name}: {value}" for name, value in fields.items())
    return "\r\n".join((*lines, "\r\n")).encode("latin-1", "strict")


class NotConnectedError(GatewayError):
    """GW601 before any octet was sent: no connection to the destination could be made."""


_FIRST_REDIRECT: Final = 300
#: Seconds of silence in an answer that is read when its request was not taken in time.
_LATE_ANSWER_SECONDS: Final = 1.0
_MAX_BODY_OCTETS: Final = 64 * 1024 * 1024
#: Octets of an answer that are held in memory where a larger one goes into a file.
_MAX_MEMORY_OCTETS: Final = 1024 * 1024
_IDLE_SECONDS: Final = 120
#: Seconds for which the rest of a refused request is read, and dropped.
_LINGER_SECONDS: Final = 5.0
_CHUNK_SIZE_PATTERN: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
_MAX_CHUNK_LINE_OCTETS: Final = 8192
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """One POST: its path, its headers (names in lower case) and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A response; `closes_connection` ends the connection without sending anything.

    `is_early` is true if the server answered before it had the whole request: it has then stored nothing.
    """

    status: int = 200
    content_type: str = "text/xml; charset=utf-8"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    closes_connection: bool = False
    is_early: bool = False


@dataclass(frozen=True, slots=True)
class FetchedAnswer:
    """A response whose body may be a file, which is there as long as it is used."""

    status: int
    content_type: str
    body: Body


#: Answers one POST; an exception is answered with status 500.
RequestHandler = Callable[[IncomingRequest], HttpReply]


class _ThreadedListener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True
    application: RequestHandler

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _PostHandler)
        self._open_connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._has_ended = False

    def accept_connections(self) -> None:
        """Accept connections until `end_accepting` is called, which also ends the wait for the next one."""
        while not self._has_ended:
            self.handle_request()

    def end_accepting(self) -> None:
        """Take no further connections."""
        self._has_ended = True
        # This wakes the thread that waits for a connection.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of one connection until it ends."""
        with self._lock:
            self._open_connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open_connections.discard(request)

    def end_connections(self) -> None:
        """Take no further request on open connections; those that have begun are answered."""
        with self._lock:
            for connection in self._open_connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing about connections that the other end has closed."""


class _PostHandler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = -1  # one write for head and body
    timeout = _IDLE_SECONDS
    server: _ThreadedListener

    def handle_one_request(self) -> None:
        """Answer the next request of a connection."""
        self.close_connection = True
        with suppress(TimeoutError):
            self.close_connection = not self._answer_request()

    def _answer_request(self) -> bool:
        """Answer one request; return whether another one may follow on this connection."""
        try:
            head = read_request_head(self.rfile)
        except GatewayError as problem:
            return self._refuse_request(400, str(problem))
        if head is None:
            return False
        if head.method == "GET":
            # A GET only asks if this server runs.
            return self._send_reply(HttpReply(200, "text/plain", b"alive\n")) and head.keeps_connection
        if head.method != "POST":
            return self._refuse_request(501, "only GET and POST are served")
        if head.awaits_continue:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        try:
            body = self._read_body(head.headers)
        except GatewayError as problem:
            return self._refuse_request(413 if problem.problem is TOO_LARGE else 400, str(problem))
        return self._send_reply(self._make_reply(head, body)) and head.keeps_connection

    def _make_reply(self, head: RequestHead, body: bytes) -> HttpReply:
        """Pass the request to the application and return its reply."""
        try:
            return self.server.application(IncomingRequest(head.path, head.headers, body))
        except Exception as error:  # reported to the caller; the process continues
            description = f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace")
            return HttpReply(500, "text/plain; charset=utf-8", description)

    def _refuse_request(self, status: int, reason: str) -> bool:
        """Refuse a request and end its connection; return False, as no other one may follow.

        The rest of the request is read for a while: otherwise its sender may lose the reply (RFC 9112 §9.6).
        """
        body = f"{reason}\n".encode()
        self._send_reply(HttpReply(status, "text/plain; charset=utf-8", body, {"Connection": "close"}))
        deadline = time.monotonic() + _LINGER_SECONDS
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while self.connection.recv(65_536) and time.monotonic() < deadline:
                pass
        return False

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        """Return the body of a request; raises GW102 for a large one, GW103 for one without valid length."""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        content_length = headers.get("content-length", "0")
        if not (content_length.isascii() and content_length.isdigit()):
            raise GatewayError(
                MIME_MALFORMED, f"Content-Length is no number: {content_length[:40]!r}", "HTTP"
            )
        if len(content_length) > len(str(_MAX_BODY_OCTETS)) or int(content_length) > _MAX_BODY_OCTETS:
            raise GatewayError(TOO_LARGE, f"a body may have at most {_MAX_BODY_OCTETS} octets", "HTTP")
        return self._read_octets(int(content_length))

    def _read_chunks(self) -> bytes:
        """Return the content of all chunks (RFC 9112 §7.1)."""
        body = bytearray()
        while chunk_octets := self._read_chunk_size():
            if len(body) + chunk_octets > _MAX_BODY_OCTETS:
                raise GatewayError(TOO_LARGE, f"a body may have at most {_MAX_BODY_OCTETS} octets", "HTTP")
            body += self._read_octets(chunk_octets)
            if self._read_octets(2) != b"\r\n":
                raise GatewayError(MIME_MALFORMED, "a chunk is longer than its size", "HTTP")
        for _ in range(_MAX_HEAD_LINES):
            if not self.rfile.readline(_MAX_LINE_OCTETS).strip():
                break
        return bytes(body)

    def _read_chunk_size(self) -> int:
        digits = self.rfile.readline(_MAX_CHUNK_LINE_OCTETS).partition(b";")[0].strip()
        if _CHUNK_SIZE_PATTERN.fullmatch(digits) is None:
            raise GatewayError(MIME_MALFORMED, "a chunk begins without its size", "HTTP")
        return int(digits, 16)

    def _read_octets(self, octet_count: int) -> bytes:
        """Return the next octets; raises GW103 where the connection ends before."""
        octets = self.rfile.read(octet_count)
        if len(octets) < octet_count:
            raise GatewayError(MIME_MALFORMED, "the connection ended in the body of a request", "HTTP")
        return octets

    def _send_reply(self, reply: HttpReply) -> bool:
        """Send a reply; return whether its connection is kept."""
        if reply.closes_connection:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return False
        header_fields = dict(reply.headers)
        if reply.body or reply.status != 204:
            header_fields |= {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
        self.wfile.write(format_reply_head(reply.status, header_fields) + reply.body)
        self.wfile.flush()
        return not any(
            name.lower() == "connection" and value == "close" for name, value in header_fields.items()
        )


class PartnerServer:
    """Listens from its creation; answers from `start` until `close`."""

    def __init__(self, application: RequestHandler, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._listener = _ThreadedListener(host, port)
        except OSError as error:
            detail = f"cannot listen on {host}:{port}: {error.strerror or error}"
            raise GatewayError(MISUSE, detail, f"{host}:{port}") from None
        self._listener.application = application
        self._thread: threading.Thread | None = None
        self.port = int(self._listener.server_address[1])

    def start(self) -> None:
        """Start to answer."""
        self._thread = threading.Thread(target=self._listener.accept_connections, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and end the connections that clients keep open for further requests."""
        if self._thread is not None:
            self._listener.end_accepting()
            self._thread.join()
        self._listener.server_close()
        self._listener.end_connections()


def make_http_connection(
    url: SplitResult, time_out: float, tls: ssl.SSLContext | None = None
) -> HTTPConnection:
    """Return an unopened connection to the host of a URL; over TLS if there is a context."""
    host = url.hostname or ""
    if tls is not None:
        return HTTPSConnection(host, url.port, timeout=time_out, context=tls)
    return HTTPConnection(host, url.port, timeout=time_out)


def is_readable(connection: socket.socket, seconds: float) -> bool:
    """Return whether octets or the end of a connection arrive within `seconds`."""
    # `select` refuses descriptors above 1023.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def get_request_path(url: SplitResult) -> str:
    """Return the path and query of a URL for the request line."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


class _CutAnswerError(Exception):
    """An error or a redirect whose body did not arrive completely."""

    def __init__(self, status: int, *, is_early: bool) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.is_early = is_early


class HttpPoster:
    """Posts to one URL over persistent connections; safe for threads.

    `tls` has the trust anchors and the client certificate; by default the operating system's
    anchors are used.
    """

    def __init__(self, url: str, time_out: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        url_parts = urlsplit(url)
        if url_parts.scheme not in ("http", "https") or not url_parts.hostname:
            raise GatewayError(MISUSE, "an address must be http(s)://host[:port]/path", url[:200])
        self.url = url
        self._url_parts = url_parts
        self._time_out = time_out
        self._tls = (tls or make_client_context()) if url_parts.scheme == "https" else None
        self._path = get_request_path(url_parts)
        self._idle_connections: list[HTTPConnection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def post(self, headers: Mapping[str, str], body: bytes) -> HttpReply:
        """POST once; raise GW601 when there is no answer, as `NotConnectedError` if nothing was sent.

        An error before the end of the request is its answer. If the text of an error does not arrive whole,
        the reply has no text.
        Raises GW603 for an answer of more than 64 MiB.
        """
        try:
            return self._exchange_post(headers, body, _read_reply)
        except _CutAnswerError as cut_answer:
            return HttpReply(cut_answer.status, "", is_early=cut_answer.is_early)

    @contextmanager
    def fetch(
        self, headers: Mapping[str, str], body: bytes, folder: Path, max_octets: int
    ) -> Iterator[FetchedAnswer]:
        """POST `body` once and yield the answer; a large one is in a file of `folder` until the context ends.

        Raises the errors of `post`, GW603 for an answer of more than `max_octets` octets, and GW806 if the
        disk cannot store it.
        """
        with ExitStack() as stack:
            try:
                fetched_answer = self._exchange_post(
                    headers, body, lambda answer, _: _fetch_answer(answer, folder, max_octets, stack)
                )
            except _CutAnswerError as cut_answer:
                fetched_answer = FetchedAnswer(cut_answer.status, "", MemoryBody(b""))
            yield fetched_answer

    def _exchange_post(
        self, headers: Mapping[str, str], body: bytes, read_answer: Callable[[HTTPResponse, bool], _Answer]
    ) -> _Answer:
        """Return the result of `read_answer`; the connection is kept if the answer is complete."""
        connection = self._take_connection()
        if connection.sock is None:
            self._open_connection(connection)
        try:
            is_whole = self._send_request(connection, headers, body)
            answer = self._read_response(connection.getresponse(), read_answer, is_whole=is_whole)
        except (OSError, HTTPException) as problem:
            connection.close()
            raise GatewayError(UNREACHABLE, _describe_failure(problem), self.url[:200]) from problem
        except (GatewayError, _CutAnswerError):
            connection.close()
            raise
        with self._lock:
            if is_whole and not self._is_closed:
                self._idle_connections.append(connection)
                return answer
        connection.close()
        return answer

    def _send_request(self, connection: HTTPConnection, headers: Mapping[str, str], body: bytes) -> bool:
        """Send a POST; return whether all of it was sent; raise OSError if it was not and no answer arrived.

        A server may answer before the end of a request, and close the connection (RFC 9112 §9.5).
        """
        try:
            connection.request("POST", self._path, body, {"User-Agent": USER_AGENT, **headers})
        except OSError as problem:
            if connection.sock is None or not is_readable(connection.sock, 0):
                raise
            if isinstance(problem, TimeoutError):
                # Octets have arrived (an early answer) or the connection has ended: a short wait is enough.
                connection.sock.settimeout(min(self._time_out, _LATE_ANSWER_SECONDS))
            return False
        return True

    def _read_response(
        self, response: HTTPResponse, read_answer: Callable[[HTTPResponse, bool], _Answer], *, is_whole: bool
    ) -> _Answer:
        """Return the result of `read_answer`; raise GW601 for a success before the whole request was sent."""
        is_success = response.status < _FIRST_REDIRECT
        if is_success and not is_whole:
            detail = f"HTTP status {response.status} before it had the whole request"
            raise GatewayError(UNREACHABLE, detail, self.url[:200])
        try:
            return read_answer(response, not is_whole)
        except (OSError, HTTPException) as problem:
            if is_success:
                raise
            raise _CutAnswerError(response.status, is_early=not is_whole) from problem

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            self._is_closed = True
            for connection in self._idle_connections:
                connection.close()
            self._idle_connections.clear()

    def _take_connection(self) -> HTTPConnection:
        """Return an idle connection that is still open, else a new one, which is not connected yet."""
        while True:
            with self._lock:
                connection = self._idle_connections.pop() if self._idle_connections else None
            if connection is None:
                return make_http_connection(self._url_parts, self._time_out, self._tls)
            # An idle connection with data to read was closed by its other end.
            if connection.sock is not None and not is_readable(connection.sock, 0):
                return connection
            connection.close()

    def _open_connection(self, connection: HTTPConnection) -> None:
        """Connect, with TCP_NODELAY; close and raise NotConnectedError (GW601) if that fails."""
        try:
            connection.connect()
            opened_socket: Any = connection.sock
            opened_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, HTTPException) as problem:
            connection.close()
            raise NotConnectedError(UNREACHABLE, _describe_failure(problem), self.url[:200]) from problem


def _read_reply(answer: HTTPResponse, is_early: bool) -> HttpReply:
    """Return a complete answer; raise GW603 if its body is too large and IncompleteRead if it is cut off."""
    body = answer.read(_MAX_BODY_OCTETS + 1)
    if len(body) > _MAX_BODY_OCTETS:
        raise _make_size_error(_MAX_BODY_OCTETS)
    _check_answer_complete(answer)
    headers = {name.lower(): value for name, value in answer.getheaders()}
    content_type = headers.get("content-type", "")
    return HttpReply(answer.status, content_type, body, headers, is_early=is_early)


def _fetch_answer(
    answer: HTTPResponse, folder: Path, max_octets: int, exit_stack: ExitStack
) -> FetchedAnswer:
    """Return an answer; `exit_stack` closes the file that it may have."""
    piece = answer.read(_MAX_MEMORY_OCTETS + 1)
    body: Body = MemoryBody(piece)
    if len(piece) > _MAX_MEMORY_OCTETS:
        body = file = exit_stack.enter_context(closing(UnnamedFile(folder)))
        while piece:
            if file.octet_count + len(piece) > max_octets:
                raise _make_size_error(max_octets)
            file.write(piece)
            piece = answer.read(_MAX_MEMORY_OCTETS)
    _check_answer_complete(answer)
    return FetchedAnswer(answer.status, answer.getheader("Content-Type", ""), body)


def _check_answer_complete(answer: HTTPResponse) -> None:
    """Raise IncompleteRead if the connection ended before all octets of the Content-Length came.

    The library's `read` of a number of octets returns fewer without an error.
    """
    if answer.length:
        raise IncompleteRead(b"", answer.length)


def _make_size_error(max_octets: int) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, f"the answer has more than {max_octets} octets", "HTTP")


def _describe_failure(problem: Exception) -> str:
    """Return why an exchange failed, in words without numbers of the operating system."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, IncompleteRead):
        return "the connection ended within the answer"
    if isinstance(problem, BadStatusLine) and not isinstance(problem, RemoteDisconnected):
        return "the answer does not begin as HTTP/1.1 does"
    reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return str(reason)[:200]
