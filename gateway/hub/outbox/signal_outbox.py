"""Puts octets of ours in the queue for a partner's message handler."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from gateway.store import deliveries, payloads
from gateway.store.deliveries import NewDelivery
from gateway.store.messages import HttpResponse

__all__ = ["OutgoingPost", "RefusalQuota", "enqueue_post", "has_queue_room"]

#: Refusals wait for one destination at most; a flood of bad messages must not become a queue.
_MOST_WAITING = 200
#: And so many are made for it in an hour: each leaves rows, and anybody can send what is refused.
_MOST_AN_HOUR = 200
_HOUR = timedelta(hours=1)


class RefusalQuota:
    """How many refusals one process posts to each endpoint within an hour; safe for many threads.

    Endpoints are those of agreements, so that what is kept here is bounded.
    """

    def __init__(self) -> None:
        self._made: dict[str, deque[datetime]] = {}
        self._guard = threading.Lock()

    def acquire_slot(self, endpoint: str, now: datetime) -> bool:
        """Count one more, unless it is one too many."""
        with self._guard:
            made = self._made.setdefault(endpoint, deque())
            while made and made[0] <= now - _HOUR:
                made.popleft()
            if len(made) >= _MOST_AN_HOUR:
                return False
            made.append(now)
            return True


@dataclass(frozen=True, slots=True)
class OutgoingPost:
    """Where a signal goes, for whom, and the key under which it is queued once."""

    endpoint: str
    destination: str
    dedupe_key: str
    subject_id: str


def enqueue_post(conn: Connection, post: OutgoingPost, answer: HttpResponse, at: datetime) -> int | None:
    """Queue a stored answer as a POST of our own; it is sent as it is, octet for octet."""
    return deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="msh",
            destination=post.destination,
            lane=_make_lane_name(post.destination),
            subject_type="signal",
            subject_id=post.subject_id,
            dedupe_key=post.dedupe_key,
            payload_sha256=payloads.store_payload(conn, answer.body, at),
            parameters={"endpoint": post.endpoint, "headers": dict(answer.headers)},
        ),
        at,
    )


def has_queue_room(conn: Connection, destination: str) -> bool:
    """Tell whether so few posts wait for the destination that one more may."""
    return deliveries.count_queued(conn, _make_lane_name(destination), _MOST_WAITING) < _MOST_WAITING


def _make_lane_name(destination: str) -> str:
    return f"msh:{destination}"
