"""Asks one source: bounded in time and size, at the address of the settings and at no other.

No redirect is followed and no proxy of the environment is used: what is fetched comes from where
the operator said, or it does not come.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from gateway.delivery.http_client import HttpAnswer, HttpClient, HttpLimits
from gateway.delivery.tls_connector import TlsConnector
from gateway.errors import ANSWER_NOT_UNDERSTOOD, UNREACHABLE, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub.trust.fetch_sources import FetchSource
from gateway.pki.ocsp import MAX_RESPONSE_OCTETS

__all__ = ["SourceClient"]

_CONNECT: Final = 10.0
_LISTS: Final = "application/pkix-crl, application/octet-stream;q=0.9, */*;q=0.5"
_REQUEST: Final = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class SourceClient:
    """The way to a source, for one delivery; `most` bounds an exchange in seconds, whatever is set."""

    def __init__(self, source: FetchSource, most: float, tls: TlsConnector | None = None) -> None:
        seconds = min(source.settings.time_out.total_seconds(), most)
        octets = source.settings.most
        if source.settings.kind == "ocsp":
            octets = min(octets, MAX_RESPONSE_OCTETS)
        self._url = source.url
        self._sender = HttpClient(HttpLimits(min(_CONNECT, seconds), seconds, seconds, octets), tls)

    def __enter__(self) -> SourceClient:
        """Return the line."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._sender.close()

    def fetch_list(self, etag: str | None = None) -> tuple[bytes, str | None] | None:
        """Return the list that is there now and its entity tag; None: it is the one of the tag `etag`."""
        headers = {"Accept": _LISTS, "Connection": "close"}
        if etag is not None:
            headers["If-None-Match"] = etag
        answer = _pass_failpoint(self._sender.get(self._url, headers))
        if etag is not None and answer.status == 304:
            return None
        _check_response(answer)
        return answer.body, _read_entity_tag(answer)

    def query_responder(self, request: bytes) -> bytes:
        """Return what a responder answers to a request."""
        answer = _pass_failpoint(self._sender.post(self._url, _REQUEST, request))
        _check_response(answer)
        return answer.body


def _pass_failpoint(answer: HttpAnswer) -> HttpAnswer:
    kill_at_failpoint("fetch.after_exchange")
    return answer


def _check_response(answer: HttpAnswer) -> None:
    if 300 <= answer.status < 400:
        words = ": redirects are not followed" if "location" in answer.headers else ", which nobody asked for"
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"HTTP status {answer.status}{words}", "HTTP")
    if answer.status != 200:
        raise GatewayError(UNREACHABLE, f"HTTP status {answer.status}", "HTTP")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is in a content coding", "Content-Encoding")


def _read_entity_tag(answer: HttpAnswer) -> str | None:
    """Return the entity tag, unless it is one that a header field of ours could not hold."""
    found = answer.headers.get("etag", "")
    good = 2 <= len(found) <= 200 and found.isascii() and found.isprintable() and found.endswith('"')
    return found if good else None
