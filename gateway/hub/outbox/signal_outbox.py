"""Queues signals that the hub posts to a partner's message handler, bounded in number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.hub.hub import Hub
from gateway.message_model import AckRequest
from gateway.protocols import Parcel, ProtocolContext
from gateway.store import HttpResponse, NewDelivery, deliveries, get_database_state, payloads

#: The message is stored; any signal about it is sent by a separate POST.
EMPTY_ANSWER = HttpResponse(204, {}, b"")
#: The most refusals that wait for one destination, so that bad messages cannot flood the queue.
_MAX_WAITING_POSTS = 200


@dataclass(frozen=True, slots=True)
class SealedSignal:
    """A sealed signal as it is posted, and where."""

    endpoint: str
    answer: HttpResponse

    @classmethod
    def from_parcel(cls, endpoint: str, parcel: Parcel) -> SealedSignal:
        """Return the signal in a parcel."""
        return cls(endpoint, HttpResponse(200, dict(parcel.headers), parcel.read_octets()))


@dataclass(frozen=True, slots=True)
class OutgoingPost:
    """A POST of a signal: its endpoint and party, and the key under which it is queued once."""

    endpoint: str
    destination: str
    dedupe_key: str
    subject_id: str


def enqueue_post(conn: Connection, post: OutgoingPost, answer: HttpResponse, at: datetime) -> int | None:
    """Queue a stored answer as a POST of the hub; exactly these octets are sent."""
    return deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="msh",
            destination=post.destination,
            lane=make_posting_lane(post.destination),
            subject_type="signal",
            subject_id=post.subject_id,
            dedupe_key=post.dedupe_key,
            payload_sha256=payloads.store_payload(conn, answer.body, at),
            parameters={"endpoint": post.endpoint, "headers": dict(answer.headers)},
        ),
        at,
    )


def enqueue_post_again(conn: Connection, post: OutgoingPost, answer: HttpResponse, at: datetime) -> None:
    """Queue the answer to a message once more, unless one still waits: however often the message comes."""
    if not deliveries.is_queued(conn, make_posting_lane(post.destination), "signal", post.subject_id):
        enqueue_post(conn, replace(post, dedupe_key=f"{post.dedupe_key}:{at.isoformat()}"), answer, at)


def has_queue_room(conn: Connection, destination: str) -> bool:
    """Return whether the posts that wait for the destination are fewer than the limit."""
    return (
        deliveries.count_queued(conn, make_posting_lane(destination), _MAX_WAITING_POSTS) < _MAX_WAITING_POSTS
    )


def make_posting_lane(destination: str) -> str:
    """Return the name of the lane in which posts to a party wait."""
    return f"msh:{destination}"


def can_post_answer(hub: Hub, endpoint: str, now: datetime) -> bool:
    """Return whether an answer to an unauthenticated sender may go by a POST, which leaves rows.

    While disk space is short, the reserve is for work that was accepted before.
    """
    shortage = get_database_state(hub.engine).reserve.find_shortage()
    return shortage is None and hub.refusals.acquire_slot(endpoint, now)


def post_answer(conn: Connection, post: OutgoingPost, answer: HttpResponse, now: datetime) -> HttpResponse:
    """Queue an answer, or return it to be sent on its connection when too many wait already."""
    if not has_queue_room(conn, post.destination):
        return answer
    enqueue_post(conn, post, answer, now)
    return EMPTY_ANSWER


@dataclass(frozen=True, slots=True)
class RequestedReceipts:
    """The receipts requested from the To party's handler and from the next handler, the party `next_party`.

    Without `of_receiver` the receipt of the next handler ends the delivery.
    """

    of_receiver: AckRequest | None
    of_next: AckRequest | None
    next_party: str | None

    @property
    def is_any_requested(self) -> bool:
        """Return whether the delivery waits for a receipt at all."""
        return self.of_receiver is not None or self.of_next is not None

    @property
    def hop_parameters(self) -> dict[str, Any]:
        """Return the parameters of the delivery about the next handler; empty when it is the To party's."""
        if self.next_party is None:
            return {}
        return {"hop": {"party": self.next_party, "settles": self.of_receiver is None}}


def request_receipts(pmode: PMode, sender: str, receiver: str, context: ProtocolContext) -> RequestedReceipts:
    """Return the receipts that a message from the party `sender` to `receiver` requests.

    The P-Mode says whether the To party's handler or the next one acknowledges. A forwarding rule of the hub
    for this To party names the next handler, and may request its receipt in addition.
    """
    terms = pmode.reliability
    agreed = AckRequest(signed=terms.ack_signed != "never") if terms.ack_requested != "never" else None
    rule = context.forwarding.find_rule(pmode.receiver, pmode.service, pmode.action)
    if rule is not None and sender not in rule.senders:
        rule = None
    if terms.ack_actor == "nextMSH":
        return RequestedReceipts(None, agreed, receiver if rule is None else rule.next_party)
    if rule is None:
        return RequestedReceipts(agreed, None, None)
    hop = None if rule.acknowledgment == "never" else AckRequest(signed=rule.acknowledgment == "signed")
    return RequestedReceipts(agreed, hop, rule.next_party)


def make_pull_lane(party: str, pmode: PMode) -> str:
    """Return the lane in which messages of a P-Mode wait until a party pulls them."""
    return f"pull:{party}:{pmode.pull_channel or 'default'}"


def ensure_message_lane(conn: Connection, lane: str, pmode: PMode) -> None:
    """Insert the lane of a message that is pulled, so that no worker ever claims from it."""
    if pmode.pull is not None:
        deliveries.ensure_lanes(conn, lane, is_pulled=True)


def get_pull_end(pmode: PMode, now: datetime) -> datetime:
    """Return the end of the time in which a message waits to be pulled, as the agreement states it."""
    return now + timedelta(seconds=get_pull_seconds(pmode))


def get_pull_seconds(pmode: PMode) -> int:
    """Return the number of seconds that a message waits to be pulled."""
    terms = pmode.reliability
    return max(terms.time_to_live, terms.persist_duration)
