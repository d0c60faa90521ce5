"""The targets of a case: a gateway at a URL, raw connections, or a WSGI application in this process."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from gateway import USER_AGENT
from gateway.client import get_request_path, is_readable, make_http_connection
from gateway.errors import MISUSE, GatewayError
from gateway.pki import make_client_context
from gateway_conformance.hostile.exchange import (
    Answer,
    FaceAddress,
    HttpRequest,
    NotOfferedError,
    RawScript,
    Step,
)

_CONNECT_SECONDS: Final = 10.0
#: How long to wait for a second answer on the same connection.
_SECOND_ANSWER_SECONDS: Final = 0.4
_CHUNK: Final = 65536
_REACH_SECONDS: Final = 2.0
#: Longer answers are truncated.
_MAX_ANSWER_OCTETS: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WireAddress:
    """The address of connections, an optional TLS context, and the host and path in the octets."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str

    def open_connection(self) -> socket.socket:
        """Return a new connection."""
        plain = socket.create_connection((self.host, self.port), _CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return plain
        return self.tls.wrap_socket(plain, server_hostname=self.host)

    def fill_placeholders(self, octets: bytes) -> bytes:
        """Return `octets` with path and host put in."""
        authority = _format_authority(self.host, self.port).encode()
        return octets.replace(b"{path}", self.path.encode()).replace(b"{host}", authority)


def run_script(step: RawScript, wire: WireAddress) -> Answer:
    """Run a script on all its connections at once; return the answer that is worst for the gateway."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_run_on_connection(step, wire)), daemon=True)
        for _ in range(step.connections - 1)
    ]
    for thread in threads:
        thread.start()
    answers.append(_run_on_connection(step, wire))
    for thread in threads:
        thread.join()
    return max(answers, key=_rank_answer)


def _rank_answer(answer: Answer) -> tuple[int, float]:
    """Return a number that is higher for an answer that is worse for the gateway, and its seconds."""
    if answer.timed_out:
        return 4, answer.seconds
    if answer.status is None:
        return 0, answer.seconds
    if answer.status >= 500:
        return 2, answer.seconds
    return (3 if answer.status < 400 else 1), answer.seconds


def _run_on_connection(step: RawScript, wire: WireAddress) -> Answer:
    started = time.monotonic()
    try:
        connection = wire.open_connection()
    except OSError:  # the connection was not accepted
        return Answer(None, {}, b"", time.monotonic() - started)
    with connection:
        _send_script(connection, step, wire)
        return _receive_answer(connection, started, step.wait)


def _send_script(connection: socket.socket, step: RawScript, wire: WireAddress) -> None:
    """Send the pieces in order; stop when the peer has answered or has closed the connection."""
    with suppress(OSError):
        connection.settimeout(step.wait)
        for octets, pause in step.script:
            connection.sendall(wire.fill_placeholders(octets))
            if pause and is_readable(connection, pause):
                return
        if step.half_close:
            connection.shutdown(socket.SHUT_WR)


def _receive_answer(connection: socket.socket, started: float, max_seconds: float) -> Answer:
    """Return one answer with the octets that follow it shortly afterwards."""
    octets, is_closed = bytearray(), False
    end = time.monotonic() + max_seconds
    answer: Answer | None = None
    while not is_closed and len(octets) < _MAX_ANSWER_OCTETS:
        remaining = _SECOND_ANSWER_SECONDS if answer is not None else end - time.monotonic()
        if remaining <= 0 or not is_readable(connection, remaining):
            break
        try:
            piece = connection.recv(_CHUNK)
        except OSError:
            piece = b""
        is_closed = not piece
        octets += piece
        answer = _parse_answer(bytes(octets), is_closed)
    seconds = time.monotonic() - started
    if answer is None:
        return Answer(None, {}, bytes(octets), seconds, timed_out=not is_closed)
    return Answer(answer.status, answer.headers, answer.body, seconds, trailing_octets=answer.trailing_octets)


class _ReceivedOctets(io.BytesIO):
    """Received octets as a file for `http.client`; it stays open, so that further octets can be read."""

    def makefile(self, *_: Any) -> _ReceivedOctets:
        """Return itself, because there is no socket."""
        return self

    def close(self) -> None:
        """Stay open."""


def _parse_answer(octets: bytes, is_closed: bool) -> Answer | None:
    """Return the answer at the start of `octets`, None while it is incomplete."""
    if b"\n\r\n" not in octets and b"\n\n" not in octets:
        return None
    source = _ReceivedOctets(octets)
    response = http.client.HTTPResponse(source, method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        if response.length is None and not response.chunked and not is_closed:
            return None
        body = response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, trailing_octets=source.read())


_TIME_OUT: Final = 30.0


class Target(Protocol):
    """A gateway that receives steps."""

    @property
    def name(self) -> str:
        """Return the name for reports."""

    def send(self, step: Step) -> Answer:
        """Return the answer to one step; raises `NotOfferedError` for a step that is impossible here."""


class UrlTarget:
    """A gateway at a URL; `url` is its base URL, or that of its ebMS endpoint.

    `tls` has the trust anchors and the client certificate. Without it the anchors of the system count.
    """

    def __init__(
        self,
        url: str,
        faces: Mapping[str, FaceAddress],
        time_out: float = _TIME_OUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._urls = {name: _parse_target_url(face.url) for name, face in locate_faces(url, faces).items()}
        self._time_out = time_out
        self._tls = tls or make_client_context()
        self.name = url

    def send(self, step: Step) -> Answer:
        """Return the answer to one step."""
        url = self._urls[step.face]
        if isinstance(step, RawScript):
            wire = WireAddress(
                url.hostname or "",
                _get_port(url),
                self._choose_tls_context(url),
                get_request_path(url),
            )
            return run_script(step, wire)
        return self._send_request(step, url)

    def can_be_reached(self, face: str = "ebms2") -> bool:
        """Return whether a server accepts a connection at the address of a face."""
        url = self._urls[face]
        try:
            socket.create_connection((url.hostname or "", _get_port(url)), _REACH_SECONDS).close()
        except OSError:
            return False
        return True

    def _choose_tls_context(self, url: SplitResult) -> ssl.SSLContext | None:
        return self._tls if url.scheme == "https" else None

    def _send_request(self, step: HttpRequest, url: SplitResult) -> Answer:
        started = time.monotonic()
        connection = make_http_connection(url, self._time_out, self._choose_tls_context(url))
        try:
            if trouble := _connect_or_explain(connection, url):
                return Answer(None, {}, b"", time.monotonic() - started, connect_problem=trouble)
            # A peer that refuses early closes while we are sending: its answer can still be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    step.method, get_request_path(url), step.body, {"User-Agent": USER_AGENT, **step.headers}
                )
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            body = response.read(_MAX_ANSWER_OCTETS)
            return Answer(response.status, headers, body, time.monotonic() - started)
        except TimeoutError:
            return Answer(None, {}, b"", time.monotonic() - started, timed_out=True)
        except (OSError, http.client.HTTPException):
            return Answer(None, {}, b"", time.monotonic() - started)
        finally:
            connection.close()


def locate_faces(url: str, faces: Mapping[str, FaceAddress]) -> dict[str, FaceAddress]:
    """Return the faces with the URL of each; `url` is the base URL of the gateway, or its ebMS endpoint.

    Raises MISUSE for an invalid URL, and for one with a query or a fragment where the path of a face would
    have to stand behind it.
    """
    parts = _parse_target_url(url)
    if (parts.query or parts.fragment) and not all(face.url for face in faces.values()):
        raise GatewayError(MISUSE, "the address of a gateway has no query and no fragment", url[:200])
    base = url.rstrip("/").removesuffix(faces["ebms2"].path.rstrip("/"))
    return {name: FaceAddress(face.path, face.url or base + face.path) for name, face in faces.items()}


def make_endpoint_target(url: str, tls: ssl.SSLContext | None = None) -> UrlTarget:
    """Return the gateway whose ebMS endpoint is at `url`; without a path it is that of this product."""
    path = _parse_target_url(url).path.rstrip("/")
    face = FaceAddress("/", url) if path else FaceAddress("/msh/ebms2")
    return UrlTarget(url, {"ebms2": face}, tls=tls)


def _connect_or_explain(connection: http.client.HTTPConnection, url: SplitResult) -> str:
    """Connect; return why the server cannot be reached, or an empty text once connected."""
    address = _format_authority(url.hostname or "", _get_port(url))
    try:
        connection.connect()
    except ConnectionRefusedError:
        return f"nothing listens at {address}: the connection is refused"
    except socket.gaierror:
        return f"the name {str(url.hostname)[:200]} has no address"
    except ssl.SSLCertVerificationError as wrong:
        return f"the TLS certificate of {address} is not accepted: {wrong.verify_message}"
    return ""


def _parse_target_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and _get_port(parts) > 0
    except ValueError:
        # Brackets without a valid address, or an invalid port.
        is_valid = False
    if not is_valid:
        raise GatewayError(MISUSE, "an address must be http(s)://host[:port]/path", url[:200])
    return parts


def _format_authority(host: str, port: int) -> str:
    """Return host and port as a Host field has them: an IPv6 address stands in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _get_port(url: SplitResult) -> int:
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80


@dataclass(frozen=True)
class WsgiTarget:
    """A WSGI application in this process; attacks on HTTP itself need a URL."""

    application: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
    faces: Mapping[str, FaceAddress]
    name: str = "in process"

    def send(self, step: Step) -> Answer:
        """Return the answer to one step; an exception of the application counts as status 500."""
        if isinstance(step, RawScript):
            raise NotOfferedError("an attack on HTTP itself needs a URL")
        started = time.monotonic()
        response: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            response.update(
                status=int(status.split()[0]), headers={name.lower(): value for name, value in headers}
            )

        try:
            answered = self.application(_build_environ(step, self.faces[step.face].path), start_response)
            try:
                body = b"".join(answered)
            finally:
                getattr(answered, "close", lambda: None)()
        except Exception:
            response = {"status": 500, "headers": {}}
            body = traceback.format_exc().encode()
        return Answer(
            response["status"], response["headers"], body[:_MAX_ANSWER_OCTETS], time.monotonic() - started
        )


def _build_environ(step: HttpRequest, path: str) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": step.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "suite.invalid",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(step.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(step.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in step.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ
