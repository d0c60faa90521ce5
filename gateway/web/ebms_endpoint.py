"""Serves ``POST /msh/…``: the HTTP binding of the message handlers (ebMS 2.0 appendix B.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from gateway.errors import MEDIA_TYPE_REFUSED, OUR_MISTAKE, GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import Parcel
from gateway.store import HttpResponse, LargeResponse
from gateway.web.server import (
    BODY_KEY,
    CERTIFICATE_KEY,
    FILE_KEY,
    WAITING_KEY,
    Environ,
    SentFile,
    WsgiApplication,
    read_request_body,
    report_proven_party,
)
from gateway.wire import is_identity_coding

__all__ = ["build_ebms_endpoint", "send_response"]

Receive = Callable[[Parcel, Callable[[str], None]], HttpResponse]
Refuse = Callable[[GatewayError], HttpResponse]
Wait = Callable[[HttpResponse], Any]
StartResponse = Callable[..., Any]


def build_ebms_endpoint(
    receive: Receive, refuse: Refuse, limit: int, wait: Wait = lambda _: None
) -> WsgiApplication:
    """Return the WSGI application of one protocol.

    `receive` gets the parcel and a callback for the party that signed it, and answers only after
    its commit. `refuse` makes the answer for a problem found before there was a parcel. `wait` returns
    what the server asks for a better answer than the given one, None where there is none to come.
    """

    def answer_request(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            refused = HttpResponse(405, {"Allow": "POST", "Content-Type": "text/plain"}, b"POST only\n")
            return send_response(refused, start_response)
        try:
            answer = receive(_read_parcel(environ, limit), partial(report_proven_party, environ))
            environ[WAITING_KEY] = wait(answer)
        except GatewayError as error:
            answer = refuse(error)
        except Exception:
            answer = refuse(GatewayError(OUR_MISTAKE))
        if isinstance(answer, LargeResponse):
            return _send_large_response(answer, environ, start_response)
        return send_response(answer, start_response)

    return answer_request


def _read_parcel(environ: Environ, limit: int) -> Parcel:
    if not is_identity_coding(environ.get("HTTP_CONTENT_ENCODING", "identity")):
        raise GatewayError(MEDIA_TYPE_REFUSED, "the body has a content coding", "Content-Encoding")
    headers = {
        "Content-Type": str(environ.get("CONTENT_TYPE", "")),
        "SOAPAction": str(environ.get("HTTP_SOAPACTION", "")),
    }
    body = environ.get(BODY_KEY)
    if body is None:
        body = MemoryBody(read_request_body(environ, limit))
    return Parcel(headers, body, environ.get(CERTIFICATE_KEY))


def send_response(answer: HttpResponse, start_response: StartResponse) -> Iterable[bytes]:
    """Send an answer as a WSGI response."""
    _send_head(answer, len(answer.body), start_response)
    return [answer.body]


def _send_large_response(
    answer: LargeResponse, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    wrap: type[SentFile] = environ.get(FILE_KEY, SentFile)
    file = wrap(answer.content.open_stream())
    _send_head(answer, answer.content.octet_count, start_response)
    return file


def _send_head(answer: HttpResponse, octets: int, start_response: StartResponse) -> None:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    headers: Mapping[str, str] = answer.headers
    start_response(status, [*headers.items(), ("Content-Length", str(octets))])
