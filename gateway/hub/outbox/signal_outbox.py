"""Queues signals that are sent to a partner's message handler by a POST of our own, bounded in number."""

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

#: The message is stored; any signal about it is sent by a separate POST.
NOTHING_TO_SAY = HttpResponse(204, {}, b"")
#: At most so many refusals wait for one destination, so that bad messages cannot flood the queue.
_MOST_WAITING = 200


@dataclass(frozen=True, slots=True)
class OutgoingPost:
    """A POST of a signal: its endpoint and party, and the key under which it is queued once."""

    endpoint: str
    destination: str
    dedupe_key: str
    subject_id: str


def enqueue_post(conn: Connection, post: OutgoingPost, answer: HttpResponse, at: datetime) -> int | None:
    """Queue a stored answer as a POST of our own; exactly these octets are sent."""
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
    """Return whether the posts that wait for the destination are fewer than the limit."""
    return deliveries.count_queued(conn, _make_lane_name(destination), _MOST_WAITING) < _MOST_WAITING


def _make_lane_name(destination: str) -> str:
    return f"msh:{destination}"


def can_post_answer(hub: Hub, endpoint: str, now: datetime) -> bool:
    """Return whether an answer to an unauthenticated sender may go by a POST, which leaves rows.

    While disk space is short, the reserve is for work that was accepted before.
    """
    return get_disk_reserve(hub.engine).find_shortage() is None and hub.refusals.acquire_slot(endpoint, now)


def post_answer(conn: Connection, post: OutgoingPost, answer: HttpResponse, now: datetime) -> HttpResponse:
    """Queue an answer, or return it to be sent on its connection when too many wait already."""
    if not has_queue_room(conn, post.destination):
        return answer
    enqueue_post(conn, post, answer, now)
    return NOTHING_TO_SAY
