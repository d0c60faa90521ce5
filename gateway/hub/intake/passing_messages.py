"""Passes messages between other parties on to the next handler (ebMS 2.0 chapter 10).

A message for another handler is stored with its Acknowledgment as the next handler, and queued in the same
transaction. Only then is it acknowledged. The queued message has every octet that the signature covers. A
repeat gets the first Acknowledgment and is not queued again. Answers go back in the same way: each is a
message to the party that sent the first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.errors import FORWARDING_LOOP, GatewayError
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.outbox.signal_outbox import (
    EMPTY_ANSWER,
    OutgoingPost,
    enqueue_post,
    enqueue_post_again,
    make_posting_lane,
)
from gateway.message_model import UserMessage
from gateway.protocols import Parcel
from gateway.store import (
    HttpResponse,
    NewDelivery,
    NewMessage,
    deliveries,
    get_database_state,
    messages,
    payloads,
    read_transaction,
    run_in_group_commit,
)

_FROM_HANDLER = "//eb:MessageHeader/eb:MessageData/eb:MessageId"


@dataclass(frozen=True, slots=True)
class PreparedPassage:
    """A message to pass on: its row, the octets for the next handler, and the forwarding rule."""

    message: NewMessage
    onward_parcel: Parcel
    forwarding_rule: ForwardingRule
    signer: str | None

    @property
    def wants_receipt(self) -> bool:
        """Return whether the next handler is asked for an Acknowledgment of its own."""
        return self.forwarding_rule.acknowledgment != "never" and self.message.kind == "UserMessage"


def accept_passing_message(arrival: ReceivedMessage, rule: ForwardingRule) -> HttpResponse:
    """Store a message for another handler, queue it, and return the HTTP response to its sender.

    Raises GW306 for an expired one and GW318 for one that came back from the way; a repeat is neither stored
    nor queued again.
    """
    is_repeat = _check_repeat(arrival)
    if not is_repeat:
        get_database_state(arrival.hub.engine).reserve.require_octets(arrival.opened.parcel.body.octet_count)
        arrival.protocol.check_time_to_live(arrival.opened.unit, arrival.context.now)
    passage, answer = prepare_passage(arrival, rule), make_hop_answer(arrival)
    return_rule = _find_return_rule(arrival)

    messages.put_large_octets(arrival.hub.engine, passage.message)
    payloads.put_large_octets(arrival.hub.engine, passage.onward_parcel.get_octets())

    def store_message(conn: Connection) -> HttpResponse:
        """Store and queue the message; return its answer, or an empty one if the answer is posted."""
        arrival.hub.register.check_snapshot_current(conn, arrival.register_snapshot)
        accepted = store_passage(conn, arrival.hub, passage, answer, arrival.context.now)
        if accepted.answer is None or return_rule is None:
            return accepted.answer or EMPTY_ANSWER
        _post_answer(
            conn,
            return_rule,
            accepted.id,
            accepted.answer,
            arrival.context.now,
            is_repeat=not accepted.is_new,
        )
        return EMPTY_ANSWER

    return run_in_group_commit(arrival.hub.engine, "passing.message", store_message)


def _check_repeat(arrival: ReceivedMessage) -> bool:
    """Return whether the message is known; raise GW318 for one that another handler sent back.

    A repeat of the sender has the same header blocks for this hub as the first. A message that comes back
    from another handler has the blocks of that handler.
    """
    hub, unit = arrival.hub, arrival.opened.unit
    with read_transaction(hub.engine) as conn:
        sender = arrival.context.get_party_name(unit.sender)
        row = messages.find_by_message_id(conn, "in", sender, unit.message_id)
        first = None if row is None else hub.make_parcel(*messages.open_parcel(conn, row.id))
    if first is None:
        return False
    before = arrival.protocol.read_sent_header(first, hub.limits).unit
    if isinstance(unit, UserMessage) and isinstance(before, UserMessage):
        hop_options = [
            (user_message.sync_reply, user_message.hop_ack_requested) for user_message in (before, unit)
        ]
        if hop_options[0] != hop_options[1]:
            detail = f"message {unit.message_id[:80]} was forwarded before and came back"
            raise GatewayError(FORWARDING_LOOP, detail, _FROM_HANDLER)
    return True


def prepare_passage(arrival: ReceivedMessage, rule: ForwardingRule) -> PreparedPassage:
    """Return the rows to store and queue for a message to another handler; slow, outside a transaction."""
    opened, context, unit = arrival.opened, arrival.context, arrival.opened.unit
    onward = arrival.protocol.rewrite_for_next_hop(opened.parcel, rule, arrival.hub.limits)
    business = unit if isinstance(unit, UserMessage) else None
    signer = opened.verified_signature.certificate.sha256 if opened.verified_signature else None
    message = NewMessage(
        message_id=unit.message_id,
        protocol=arrival.protocol.name,
        kind=type(unit).__name__,
        conversation_id=unit.conversation_id,
        from_party=context.get_party_name(unit.sender),
        to_party=context.find_party_name(unit.receiver.ids[0]) or unit.receiver.ids[0].value[:200],
        service=business.service if business else "",
        action=business.action if business else type(unit).__name__,
        identity_sha256=opened.identity,
        parcel_headers={name: opened.parcel.get_header(name) for name in ("Content-Type", "SOAPAction")},
        parcel=opened.parcel.get_octets(),
        ref_to_message_id=getattr(unit, "ref_to_message_id", None),
        agreement_id=unit.agreement,
        signer_sha256=signer,
        expires_at=business.expires_at if business else None,
        id_place=arrival.protocol.message_id_place,
    )
    return PreparedPassage(message, onward, rule, signer)


def store_passage(
    conn: Connection, hub: Hub, passage: PreparedPassage, answer: HttpResponse | None, now: datetime
) -> messages.AcceptedMessage:
    """Store a message for another handler with its answer, and queue it once."""
    accepted = messages.accept_message(conn, passage.message, answer, now, "passing")
    if accepted.is_new:
        data = {
            "message_id": passage.message.message_id,
            "signer": passage.signer,
            "verdict": hub.verdicts.find_verdict_digest(passage.signer) if passage.signer else None,
            "to": passage.message.to_party,
            "next": passage.forwarding_rule.next_party,
            STORED: describe_stored_message(accepted),
        }
        record_evidence(conn, "passing", "message", accepted.id, passage.message.identity_sha256, data, now)
        _enqueue_onward(conn, accepted.id, passage, now)
    return accepted


def _enqueue_onward(conn: Connection, message: int, passage: PreparedPassage, now: datetime) -> None:
    """Queue a stored message (row id) of another party for the next handler of its forwarding rule."""
    rule, onward = passage.forwarding_rule, passage.onward_parcel
    deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="hop",
            destination=rule.next_party,
            lane=make_posting_lane(rule.next_party),
            subject_type="message",
            subject_id=str(message),
            dedupe_key=f"onward:{message}",
            payload_sha256=payloads.store_payload(conn, onward.get_octets(), now),
            parameters={
                "endpoint": rule.endpoint,
                "headers": dict(onward.headers),
                "action": passage.message.action,
                "protocol": passage.message.protocol,
                "retries": rule.retries,
                "retry_interval": rule.retry_interval,
                "receipt": passage.wants_receipt,
            },
            expires_at=passage.message.expires_at,
        ),
        now,
    )


def make_hop_answer(arrival: ReceivedMessage) -> HttpResponse | None:
    """Return the hub's sealed Acknowledgment as the next handler; None if none was requested."""
    unit = arrival.opened.unit
    receipt = arrival.protocol.make_hop_receipt(arrival.opened, arrival.context)
    if receipt is None or not isinstance(unit, UserMessage) or unit.hop_ack_requested is None:
        return None
    sealed = arrival.protocol.seal_hop_signal(
        receipt, arrival.context, is_signed=unit.hop_ack_requested.signed
    )
    return HttpResponse(200, dict(sealed.headers), sealed.read_octets())


def _find_return_rule(arrival: ReceivedMessage) -> ForwardingRule | None:
    """Return the rule by which an answer is posted; None if it is sent on the connection.

    It is sent on the connection if SyncReply requests this, or if no rule leads back to the sender.
    """
    unit = arrival.opened.unit
    if getattr(unit, "sync_reply", False):
        return None
    return arrival.context.forwarding.find_rule(unit.sender, "", "")


def _post_answer(
    conn: Connection,
    return_rule: ForwardingRule,
    message: int,
    answer: HttpResponse,
    now: datetime,
    *,
    is_repeat: bool,
) -> None:
    """Queue the hub's Acknowledgment for the handler that sent the message; again with `is_repeat`."""
    key = f"hop-receipt:{message}"
    post = OutgoingPost(return_rule.endpoint, return_rule.next_party, key, str(message))
    enqueue = enqueue_post_again if is_repeat else enqueue_post
    enqueue(conn, post, answer, now)
