"""One attempt at one source: what every kind of fetch has in hand, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.fetch.source_client import SourceClient
from gateway.delivery.lease_completion import make_lease_finisher
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.trust.fetch_sources import FetchSource
from gateway.pki.fetched_data_acceptance import AcceptanceTerms
from gateway.pki.trust_store import TrustStore
from gateway.store import deliveries, fetched_lists
from gateway.store.delivery_leases import DeliveryLease

__all__ = ["ACTOR", "FetchAttempt", "cancel_earlier_failure"]

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
