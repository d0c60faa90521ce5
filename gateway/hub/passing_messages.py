"""Passes messages between other parties on to the next handler (ebMS 2.0 chapter 10).

A message for another handler is stored with its Acknowledgment as the next handler, and queued in
the same transaction. Only then is it acknowledged. What is queued has every octet that the signature
covers. A repeat gets the first Acknowledgment and is not queued again. Answers go back in the same
way: each is a message to the party that sent the first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.errors import FORWARDING_LOOP, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import NOTHING_TO_SAY, OutgoingPost, enqueue_post
from gateway.hub.received_message import ReceivedMessage
from gateway.message_model import UserMessage
from gateway.protocols import Parcel
from gateway.store import (
    HttpResponse,
    NewDelivery,
    NewMessage,
    deliveries,
    get_disk_reserve,
    messages,
    payloads,
    read_transaction,
    run_in_group_commit,
)

__all__ = ["PreparedPassage", "accept_passing_message", "make_hop_answer", "prepare_passage", "store_passage"]

_FROM_HANDLER = "//eb:MessageHeader/eb:MessageData/eb:MessageId"


@dataclass(frozen=True, slots=True)
class PreparedPassage:
    """A message that goes on: its row, the octets for the next handler, and the rule."""

    message: NewMessage
    onward: Parcel
    rule: ForwardingRule
    signer: str | None

    @property
    def wants_receipt(self) -> bool:
        """Return whether the next handler is asked for an Acknowledgment of its own."""
        return self.rule.acknowledgment != "never" and self.message.kind == "UserMessage"


def accept_passing_message(arrival: ReceivedMessage, rule: ForwardingRule) -> HttpResponse:
    """Store a message for another handler, queue it, and return what its sender is told.

    Raises GW306 for an expired one and GW318 for one that came back from the way; a repeat is neither
    stored nor queued again.
    """
    known = _check_repeat(arrival)
    if not known:
        get_disk_reserve(arrival.hub.engine).require_octets(arrival.opened.parcel.body.octet_count)
        arrival.protocol.check_time_to_live(arrival.opened.unit, arrival.context.now)
    passage, answer = prepare_passage(arrival, rule), make_hop_answer(arrival)

    messages.put_large_octets(arrival.hub.engine, passage.message)
    payloads.put_large_octets(arrival.hub.engine, passage.onward.get_octets())

    def store_message(conn: Connection) -> HttpResponse:
        arrival.hub.check_snapshot_current(conn, arrival.knowledge)
        accepted = store_passage(conn, arrival.hub, passage, answer, arrival.context.now)
        if accepted.answer is None or _is_answered_at_once(arrival):
            return accepted.answer or NOTHING_TO_SAY
        _post_answer(conn, arrival, accepted)
        return NOTHING_TO_SAY

    return run_in_group_commit(arrival.hub.engine, "passing.message", store_message)


def _check_repeat(arrival: ReceivedMessage) -> bool:
    """Return whether the message is known; raise GW318 for one that another handler sent back.

    A repeat of the sender has the same header blocks for us as the first. A message that comes
    back from another handler has the blocks of that handler.
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
        asked = [(one.sync_reply, one.hop_ack_requested) for one in (before, unit)]
        if asked[0] != asked[1]:
            detail = f"message {unit.message_id[:80]} was forwarded before and came back"
            raise GatewayError(FORWARDING_LOOP, detail, _FROM_HANDLER)
    return True


def prepare_passage(arrival: ReceivedMessage, rule: ForwardingRule) -> PreparedPassage:
    """Return what is stored and queued of a message for another handler; slow, outside a transaction."""
    opened, context, unit = arrival.opened, arrival.context, arrival.opened.unit
    onward = arrival.protocol.write_onward_parcel(opened.parcel, rule, arrival.hub.limits)
    business = unit if isinstance(unit, UserMessage) else None
    signer = opened.signed.certificate.sha256 if opened.signed else None
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
    if accepted.new:
        data = {
            "message_id": passage.message.message_id,
            "signer": passage.signer,
            "verdict": hub.verdicts.find_verdict_digest(passage.signer) if passage.signer else None,
            "to": passage.message.to_party,
            "next": passage.rule.next_party,
        }
        record_evidence(conn, "passing", "message", accepted.id, passage.message.identity_sha256, data, now)
        _enqueue_onward(conn, accepted.id, passage, now)
    return accepted


def _enqueue_onward(conn: Connection, message: int, passage: PreparedPassage, now: datetime) -> None:
    rule, onward = passage.rule, passage.onward
    deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="hop",
            destination=rule.next_party,
            lane=f"msh:{rule.next_party}",
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
    """Return our sealed Acknowledgment as the next handler, None where nobody asked for one."""
    unit = arrival.opened.unit
    receipt = arrival.protocol.make_hop_receipt(arrival.opened, arrival.context)
    if receipt is None or not isinstance(unit, UserMessage) or unit.hop_ack_requested is None:
        return None
    sealed = arrival.protocol.seal_hop_signal(receipt, arrival.context, signed=unit.hop_ack_requested.signed)
    return HttpResponse(200, dict(sealed.headers), sealed.read_octets())


def _is_answered_at_once(arrival: ReceivedMessage) -> bool:
    """Return whether the answer goes on the connection: SyncReply asks for it, or there is no way back."""
    unit = arrival.opened.unit
    return bool(getattr(unit, "sync_reply", False)) or _find_way_back(arrival) is None


def _find_way_back(arrival: ReceivedMessage) -> ForwardingRule | None:
    unit = arrival.opened.unit
    return arrival.context.forwarding.find_rule(unit.sender, "", "")


def _post_answer(conn: Connection, arrival: ReceivedMessage, accepted: messages.AcceptedMessage) -> None:
    """Queue our Acknowledgment for the handler before us; again for a sender that repeats the message."""
    back, now = _find_way_back(arrival), arrival.context.now
    if back is None or accepted.answer is None:
        return
    key = f"hop-receipt:{accepted.id}" if accepted.new else f"hop-receipt:{accepted.id}:{now.isoformat()}"
    post = OutgoingPost(back.endpoint, back.next_party, key, str(accepted.id))
    enqueue_post(conn, post, accepted.answer, now)
