"""``POST /msh/…``: the HTTP binding of the message handlers (ebMS 2.0 appendix B.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from gateway.errors import MEDIA_TYPE_REFUSED, OUR_MISTAKE, GatewayError
from gateway.model import Octets
from gateway.protocols import Parcel
from gateway.store.messages import Answer
from gateway.web.bodies import CERTIFICATE, Environ, WsgiApplication, proved, read_body

__all__ = ["msh_application", "respond"]

Receive = Callable[[Parcel, Callable[[str], None]], Answer]
Refuse = Callable[[GatewayError], Answer]
StartResponse = Callable[..., Any]


def msh_application(receive: Receive, refuse: Refuse, limit: int) -> WsgiApplication:
    """Return the WSGI application of one protocol.

    `receive` takes the parcel and whom to tell who has signed it, and answers only after its
    commit; `refuse` words a problem that stood before there was a parcel.
    """

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            return respond(
                Answer(405, {"Allow": "POST", "Content-Type": "text/plain"}, b"POST only\n"), start_response
            )
        try:
            answer = receive(_parcel(environ, limit), partial(proved, environ))
        except GatewayError as error:
            answer = refuse(error)
        except Exception:
            answer = refuse(GatewayError(OUR_MISTAKE))
        return respond(answer, start_response)

    return application


def _parcel(environ: Environ, limit: int) -> Parcel:
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise GatewayError(MEDIA_TYPE_REFUSED, "the body has a content coding", "Content-Encoding")
    headers = {
        "Content-Type": str(environ.get("CONTENT_TYPE", "")),
        "SOAPAction": str(environ.get("HTTP_SOAPACTION", "")),
    }
    return Parcel(headers, Octets(read_body(environ, limit)), environ.get(CERTIFICATE))


def respond(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    """Send an answer as a WSGI response."""
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    headers: Mapping[str, str] = answer.headers
    start_response(status, [*headers.items(), ("Content-Length", str(len(answer.body)))])
    return [answer.body]
