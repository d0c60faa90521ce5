"""One attempt at one source: the way there, what every kind of fetch has in hand, and how it ends.

An exchange is bounded in time and size and goes to the address of the settings, to no other.  No
redirect is followed and no proxy of the environment is used: what is fetched comes from where the
operator said, or it does not come.
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
from gateway.errors import ANSWER_NOT_UNDERSTOOD, SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub import FetchSource, Hub
from gateway.pki import MAX_RESPONSE_OCTETS, AcceptanceTerms, TrustStore
from gateway.store import DeliveryLease, deliveries, fetched_lists

__all__ = ["ACTOR", "FetchAttempt", "SourceClient", "cancel_earlier_failure"]

ACTOR: Final = "fetch"


@dataclass(frozen=True, slots=True)
class FetchAttempt:
    """The delivery that is held, its source, and the way there; the register in `hub` is as it is now.

    `trust` is that by which the issuer of the source is believed.
    """

    hub: Hub
    lease: DeliveryLease
    source: FetchSource
    client: SourceClient
    trust: TrustStore

    def make_expectation(self) -> AcceptanceTerms:
        """Return what is to be held against whatever comes now."""
        issuer = self.source.issuer
        if issuer is None:
            key = f"fetch.{self.source.name}.issuer"
            raise GatewayError(SETTINGS_WRONG, "there is no certificate of the issuer", key)
        return AcceptanceTerms(issuer, self.trust, self.hub.clock())

    def lock_source_row(self, conn: Connection) -> None:
        """Make the row of the source, or correct it, and lock it."""
        fetched_lists.ensure_source(conn, self.source.name, self.source.settings.kind, self.source.url)

    def complete_fetch(self, conn: Connection, now: datetime, etag: str | None = None) -> None:
        """Say that everything was believed, and end the delivery; undoes all when the lease is lost."""
        fetched_lists.record_success(conn, self.source.name, now, etag)
        cancel_earlier_failure(conn, self.source.name, None, now)
        make_lease_finisher(self.lease, self.hub.clock)(conn)


def cancel_earlier_failure(conn: Connection, name: str, delivery: int | None, now: datetime) -> None:
    """Cancel the delivery of a source that FAILED before; `delivery` FAILED now and stands for it, if any."""
    before = fetched_lists.replace_given_up_delivery(conn, name, delivery)
    row = deliveries.find_by_id(conn, before) if before is not None and before != delivery else None
    if row is not None and row.state == "FAILED":
        deliveries.give_up_delivery(conn, row.id, now, ACTOR, "a later fetch stands for it")


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
    require_identity_coding(answer)


def _read_entity_tag(answer: HttpAnswer) -> str | None:
    """Return the entity tag, unless it is one that a header field of ours could not hold."""
    found = answer.headers.get("etag", "")
    good = 2 <= len(found) <= 200 and found.isascii() and found.isprintable() and found.endswith('"')
    return found if good else None
