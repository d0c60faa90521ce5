"""One attempt at one source: what every kind of fetch has in hand, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.fetching.sources import Line
from gateway.delivery.leases import finisher
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.trust.sources import Source
from gateway.pki.acceptance import Expected
from gateway.pki.trust import TrustStore
from gateway.store import deliveries, fetched
from gateway.store.claims import Lease

__all__ = ["ACTOR", "Work", "follow"]

ACTOR: Final = "fetch"


@dataclass(frozen=True, slots=True)
class Work:
    """The delivery that is held, its source, and the way there; the register in `hub` is as it is now.

    `trust` is that by which the issuer of the source is believed.
    """

    hub: Hub
    lease: Lease
    source: Source
    line: Line
    trust: TrustStore

    def expected(self) -> Expected:
        """Return what is to be held against whatever comes now."""
        issuer = self.source.issuer
        if issuer is None:
            key = f"fetch.{self.source.name}.issuer"
            raise GatewayError(SETTINGS_WRONG, "there is no certificate of the issuer", key)
        return Expected(issuer, self.trust, self.hub.clock())

    def ensure(self, conn: Connection) -> None:
        """Make the row of the source, or correct it, and lock it."""
        fetched.ensure(conn, self.source.name, self.source.settings.kind, self.source.url)

    def done(self, conn: Connection, now: datetime, etag: str | None = None) -> None:
        """Say that everything was believed, and end the delivery; undoes all when the lease is lost."""
        fetched.succeeded(conn, self.source.name, now, etag)
        follow(conn, self.source.name, None, now)
        finisher(self.lease, self.hub.clock)(conn)


def follow(conn: Connection, name: str, delivery: int | None, now: datetime) -> None:
    """Cancel the delivery of a source that FAILED before; `delivery` FAILED now and stands for it, if any."""
    before = fetched.gave_up(conn, name, delivery)
    row = deliveries.get(conn, before) if before is not None and before != delivery else None
    if row is not None and row.state == "FAILED":
        deliveries.give_up(conn, row.id, now, ACTOR, "a later fetch stands for it")
