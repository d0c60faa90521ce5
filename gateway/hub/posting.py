"""Puts octets of ours in the queue for a partner's message handler."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.store import deliveries, payloads
from gateway.store.deliveries import NewDelivery
from gateway.store.messages import Answer

__all__ = ["Post", "enqueue", "has_room"]

#: Refusals wait for one destination at most; a flood of bad messages must not become a queue.
_MOST_WAITING = 200


@dataclass(frozen=True, slots=True)
class Post:
    """Where a signal goes, for whom, and the key under which it is queued once."""

    endpoint: str
    destination: str
    dedupe_key: str
    subject_id: str


def enqueue(conn: Connection, post: Post, answer: Answer, at: datetime) -> int | None:
    """Queue a stored answer as a POST of our own; it is sent as it is, octet for octet."""
    return deliveries.enqueue(
        conn,
        NewDelivery(
            agent="msh",
            destination=post.destination,
            lane=f"msh:{post.destination}",
            subject_type="signal",
            subject_id=post.subject_id,
            dedupe_key=post.dedupe_key,
            payload_sha256=payloads.put(conn, answer.body, at),
            parameters={"endpoint": post.endpoint, "headers": dict(answer.headers)},
        ),
        at,
    )


def has_room(conn: Connection, destination: str) -> bool:
    """Tell whether so few posts wait for the destination that one more may."""
    waiting = deliveries.search(
        conn, limit=_MOST_WAITING, destination=destination, state="QUEUED", agent="msh"
    )
    return len(waiting) < _MOST_WAITING
