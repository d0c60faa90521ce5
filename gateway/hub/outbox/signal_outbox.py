"""Signals that go by a POST of our own: queued for a partner's message handler, bounded in number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.hub.hub import Hub
from gateway.store import HttpResponse, NewDelivery, deliveries, get_disk_reserve, payloads

__all__ = [
    "NOTHING_TO_SAY",
    "OutgoingPost",
    "can_post_answer",
    "enqueue_post",
    "has_queue_room",
    "post_answer",
]

#: Stored; whatever we have to say about it goes by a POST of our own.
NOTHING_TO_SAY = HttpResponse(204, {}, b"")
#: Refusals wait for one destination at most; a flood of bad messages must not become a queue.
_MOST_WAITING = 200


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


def can_post_answer(hub: Hub, endpoint: str, now: datetime) -> bool:
    """Tell whether what anybody may have sent may be answered by a POST: it leaves rows.

    What room there is while the disk is short is for the work that was taken.
    """
    return get_disk_reserve(hub.engine).find_shortage() is None and hub.refusals.acquire_slot(endpoint, now)


def post_answer(conn: Connection, post: OutgoingPost, answer: HttpResponse, now: datetime) -> HttpResponse:
    """Queue an answer unless too many wait already: then it goes on its connection."""
    if not has_queue_room(conn, post.destination):
        return answer
    enqueue_post(conn, post, answer, now)
    return NOTHING_TO_SAY
