"""Where a play is played: a gateway behind a URL, or a WSGI application in this process."""

from __future__ import annotations

import contextlib
import http.client
import io
import ssl
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from gateway.conformance.hostile.exchange import (
    Answer,
    FaceAddress,
    HttpRequest,
    NotOfferedError,
    RawScript,
    Step,
)
from gateway.conformance.hostile.raw_connections import WireAddress, run_script
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki.tls_contexts import make_client_context

__all__ = ["Target", "UrlTarget", "WsgiTarget"]

#: No answer to an attack is long; what is longer is cut.
_LONGEST_ANSWER: Final = 4 * 1024 * 1024
_TIME_OUT: Final = 30.0


class Target(Protocol):
    """A gateway that can be sent steps."""

    @property
    def name(self) -> str:
        """Return what a report calls it."""

    def send(self, step: Step) -> Answer:
        """Return the answer to one step; raises `NotOfferedError` for one that cannot be played here."""


class UrlTarget:
    """A gateway somewhere; `url` is its base URL, or that of its ebMS endpoint.

    `tls` says whom to believe over TLS and what to show; without it those the operating system believes.
    """

    def __init__(
        self,
        url: str,
        faces: Mapping[str, FaceAddress],
        time_out: float = _TIME_OUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        base = url.rstrip("/").removesuffix(faces["ebms2"].path.rstrip("/"))
        self._urls = {name: _parse_target_url(face.url or base + face.path) for name, face in faces.items()}
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
                self._tls if url.scheme == "https" else None,
                _get_path(url),
            )
            return run_script(step, wire)
        return self._send_request(step, url)

    def _send_request(self, step: HttpRequest, url: SplitResult) -> Answer:
        started = time.monotonic()
        connection = self._open_connection(url)
        try:
            # Who refuses early closes while we still send: the answer lies there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(step.method, _get_path(url), step.body, dict(step.headers))
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            body = response.read(_LONGEST_ANSWER)
            return Answer(response.status, headers, body, time.monotonic() - started)
        except TimeoutError:
            return Answer(None, {}, b"", time.monotonic() - started, timed_out=True)
        except (OSError, http.client.HTTPException):
            return Answer(None, {}, b"", time.monotonic() - started)
        finally:
            connection.close()

    def _open_connection(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        if url.scheme == "https":
            return http.client.HTTPSConnection(host, url.port, timeout=self._time_out, context=self._tls)
        return http.client.HTTPConnection(host, url.port, timeout=self._time_out)


def _parse_target_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and _get_port(parts) > 0
    except ValueError:
        # Brackets that are no address, a port that is none.
        known = False
    if not known:
        raise GatewayError(SETTINGS_WRONG, "an address is http(s)://host[:port]/path", url[:200])
    return parts


def _get_port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _get_path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@dataclass(frozen=True)
class WsgiTarget:
    """A WSGI application in this process; attacks on HTTP itself need a URL."""

    application: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
    faces: Mapping[str, FaceAddress]
    name: str = "in process"

    def send(self, step: Step) -> Answer:
        """Return the answer to one step; an exception out of the application is a status 500."""
        if isinstance(step, RawScript):
            raise NotOfferedError("an attack on HTTP itself needs a URL")
        started = time.monotonic()
        told: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            told.update(status=int(status.split()[0]), headers={one.lower(): two for one, two in headers})

        try:
            answered = self.application(_build_environ(step, self.faces[step.face].path), start_response)
            try:
                body = b"".join(answered)
            finally:
                getattr(answered, "close", lambda: None)()
        except Exception:
            told = {"status": 500, "headers": {}}
            body = traceback.format_exc().encode()
        return Answer(told["status"], told["headers"], body[:_LONGEST_ANSWER], time.monotonic() - started)


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
