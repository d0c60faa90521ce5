"""What an operator does with deliveries: each act moves what depends on it, and is evidence.

The functions have the shape of the store's own: connection, delivery, time, who acts.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import SETTINGS_WRONG, TRANSITION_REFUSED, GatewayError
from gateway.evidence.log import record
from gateway.hub import relay
from gateway.hub.trust.sources import AGENT, Source
from gateway.store import deliveries, fetched, requests
from gateway.store.deliveries import NewDelivery
from gateway.store.transitions import Step

__all__ = ["cancel", "fetch_now", "forget", "hold", "release", "requeue"]


def requeue(conn: Connection, delivery: int, at: datetime, actor: str) -> None:
    """Try a failed delivery again, the same octets; a request stranded by it is under way again."""
    relay.lock_case_of(conn, delivery)
    deliveries.requeue(conn, delivery, at, actor)
    row = deliveries.get(conn, delivery)
    if row is not None and row.subject_type == "request":
        request = requests.get(conn, int(row.subject_id))
        if request is not None and request.state == "STRANDED":
            requests.move(conn, request.id, Step("resend", at, actor))
    _record(conn, "requeue", delivery, at, actor)


def cancel(conn: Connection, delivery: int, at: datetime, actor: str) -> None:
    """Never make a delivery that waits, is held or has failed; a case that waited for it alone is closed."""
    case = relay.lock_case_of(conn, delivery)
    row = deliveries.get(conn, delivery)
    end = deliveries.give_up if row is not None and row.state == "FAILED" else deliveries.cancel
    end(conn, delivery, at, actor)
    _record(conn, "cancel", delivery, at, actor)
    relay.close_when_done(conn, case, at)


def hold(conn: Connection, delivery: int, at: datetime, actor: str) -> None:
    """Keep a queued delivery back until it is released."""
    deliveries.hold(conn, delivery, at, actor)
    _record(conn, "hold", delivery, at, actor)


def release(conn: Connection, delivery: int, at: datetime, actor: str) -> None:
    """Let a held delivery go at once."""
    deliveries.release(conn, delivery, at, actor)
    _record(conn, "release", delivery, at, actor)


def fetch_now(conn: Connection, source: Source, at: datetime, actor: str) -> int:
    """Fetch from a source now, beside its schedule; return the delivery."""
    new = NewDelivery(
        agent=AGENT,
        destination=source.name,
        lane=source.lane,
        subject_type="turn",
        subject_id=f"fetch:{source.name}:asked",
        dedupe_key=f"fetch:{source.name}:{at.isoformat()}",
        expires_at=at + source.settings.every,
    )
    delivery = deliveries.enqueue(conn, new, at)
    if delivery is None:
        raise GatewayError(TRANSITION_REFUSED, "it was asked for at this very moment before", source.name)
    _record(conn, "fetch", delivery, at, actor)
    return delivery


def forget(conn: Connection, name: str, at: datetime, actor: str) -> int:
    """Take what was fetched from a source out of force, from the next message on; return how much it was."""
    if fetched.source(conn, name) is None:
        raise GatewayError(SETTINGS_WRONG, f"nothing was ever fetched from {name[:40]!r}", "source")
    gone = fetched.forget(conn, name)
    record(conn, "forgotten", "source", name, None, {"words": gone, "actor": actor}, at)
    return gone


def _record(conn: Connection, what: str, delivery: int, at: datetime, actor: str) -> None:
    record(conn, "operator", "delivery", delivery, None, {"act": what, "actor": actor}, at)
