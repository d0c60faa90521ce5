"""Makes the environment of a WSGI request, and reads its body within a limit, with a length or in chunks."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.errors import MIME_MALFORMED, TOO_LARGE, GatewayError

__all__ = [
    "BODY_KEY",
    "CERTIFICATE_KEY",
    "PARTY_CALLBACK_KEY",
    "STREAM_KEY",
    "WAITING_KEY",
    "Environ",
    "WsgiApplication",
    "make_wsgi_environ",
    "read_request_body",
    "report_proven_party",
]

Environ = dict[str, Any]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Here the server leaves a body that is in a file, whole; the input is empty then.
BODY_KEY: Final = "gateway.body"
#: Here the server may leave a callback for the party that a request is proved to come from.
PARTY_CALLBACK_KEY: Final = "gateway.proved"
#: Here the server leaves the SHA-256 of the TLS client certificate, or None.
CERTIFICATE_KEY: Final = "gateway.certificate"
#: Where the application puts what it goes on to send: an object with `read_batch` and `close`.
STREAM_KEY: Final = "gateway.stream"
#: Where the application puts a request whose better answer may still come: it has `read_response`,
#: `is_over`, `mark_given` and `close`. The answer of the application is the one without it.
WAITING_KEY: Final = "gateway.waiting"

_STEP = 1 << 16


def make_wsgi_environ(
    method: str, path: str, body: bytes, *, query: str = "", host: str = "localhost"
) -> Environ:
    """Return the WSGI environment (PEP 3333) of a request whose body is complete, and so has a length."""
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
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
    text = str(environ.get("CONTENT_LENGTH") or "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise GatewayError(MIME_MALFORMED, "Content-Length is not a number", "Content-Length")
    return int(text)


def _read_stream(environ: Environ, most: int) -> bytes:
    """Return at most `most` octets of the stream, fewer when it ends earlier."""
    stream = environ["wsgi.input"]
    pieces: list[bytes] = []
    while most > 0:
        piece = stream.read(min(_STEP, most))
        if not piece:
            break
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
