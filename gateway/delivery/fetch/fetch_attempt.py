"""Makes one attempt at one source: the HTTP client, the data of every kind of fetch, and its completion.

An exchange is bounded in time and size and goes only to the address of the settings. No redirect is
followed and no proxy of the environment is used, so that data comes only from the address that the
operator configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import make_lease_finisher
from gateway.delivery.http_answer_reader import require_identity_coding
from gateway.delivery.http_client import HttpAnswer, HttpClient, HttpLimits
from gateway.delivery.tls_connector import TlsConnector
from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, SETTINGS_WRONG, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub import FetchSource, Hub
from gateway.pki import MAX_RESPONSE_OCTETS, AcceptanceTerms, TrustStore
from gateway.store import DeliveryLease, deliveries, fetched_lists

__all__ = ["ACTOR", "FetchAttempt", "SourceClient", "cancel_earlier_failure"]

ACTOR: Final = "fetch"


@dataclass(frozen=True, slots=True)
class FetchAttempt:
    """The leased delivery, its source, the client, and a hub with a current register snapshot.

    `trust` is the trust store by which the issuer of the source is validated.
    """

    hub: Hub
    lease: DeliveryLease
    source: FetchSource
    client: SourceClient
    trust: TrustStore

    def make_expectation(self) -> AcceptanceTerms:
        """Return the terms by which fetched data is accepted now."""
        issuer = self.source.issuer
        if issuer is None:
            key = f"fetch.{self.source.name}.issuer"
            raise GatewayError(SETTINGS_WRONG, "there is no certificate of the issuer", key)
        return AcceptanceTerms(issuer, self.trust, self.hub.clock())

    def lock_source_row(self, conn: Connection) -> None:
        """Insert or update the row of the source, and lock it."""
        fetched_lists.ensure_source(conn, self.source.name, self.source.settings.kind, self.source.url)

    def complete_fetch(self, conn: Connection, now: datetime, etag: str | None = None) -> None:
        """Record that everything was accepted, and end the delivery; raises when the lease is lost."""
        fetched_lists.record_success(conn, self.source.name, now, etag)
        cancel_earlier_failure(conn, self.source.name, None, now)
        make_lease_finisher(self.lease, self.hub.clock)(conn)


def cancel_earlier_failure(conn: Connection, name: str, delivery: int | None, now: datetime) -> None:
    """Cancel the earlier FAILED delivery of a source; `delivery`, if given, FAILED now and replaces it."""
    before = fetched_lists.replace_given_up_delivery(conn, name, delivery)
    row = deliveries.find_by_id(conn, before) if before is not None and before != delivery else None
    if row is not None and row.state == "FAILED":
        deliveries.give_up_delivery(conn, row.id, now, ACTOR, "a later fetch stands for it")


_CONNECT: Final = 10.0


_LISTS: Final = "application/pkix-crl, application/octet-stream;q=0.9, */*;q=0.5"


_REQUEST: Final = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class SourceClient:
    """The HTTP client of a source, for one delivery; `most` limits an exchange in seconds in any case."""

    def __init__(self, source: FetchSource, most: float, tls: TlsConnector | None = None) -> None:
        seconds = min(source.settings.time_out.total_seconds(), most)
        octets = source.settings.most
        if source.settings.kind == "ocsp":
            octets = min(octets, MAX_RESPONSE_OCTETS)
        self._url = source.url
        self._sender = HttpClient(HttpLimits(min(_CONNECT, seconds), seconds, seconds, octets), tls)

    def __enter__(self) -> SourceClient:
        """Return this client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._sender.close()

    def fetch_list(self, etag: str | None = None) -> tuple[bytes, str | None] | None:
        """Return the current list and its entity tag; None when it still has the tag `etag`."""
        headers = {"Accept": _LISTS, "Connection": "close"}
        if etag is not None:
            headers["If-None-Match"] = etag
        answer = _pass_failpoint(self._sender.get(self._url, headers))
        if etag is not None and answer.status == 304:
            return None
        _check_response(answer)
        return answer.body, _read_entity_tag(answer)

    def query_responder(self, request: bytes) -> bytes:
        """Return the OCSP responder's answer to a request."""
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
        raise GatewayError(
            PARTNER_FAULT, "it answered with an error", "HTTP", theirs=f"HTTP status {answer.status}"
        )
    require_identity_coding(answer)


def _read_entity_tag(answer: HttpAnswer) -> str | None:
    """Return the entity tag, unless it cannot be sent in a header field."""
    found = answer.headers.get("etag", "")
    good = 2 <= len(found) <= 200 and found.isascii() and found.isprintable() and found.endswith('"')
    return found if good else None
