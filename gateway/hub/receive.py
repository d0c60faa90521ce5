"""A parcel comes in: judged, sealed, stored in one transaction, only then answered.

The receipt is made and signed before the transaction begins, and committed with the
message it is about.  So whatever kills the process, a sender who holds a receipt has a
message that is stored, and one who has none gets the same receipt when asking again.

Without its key the gateway still takes messages in and goes on with them; but it says GW803
instead of a receipt, and makes the receipt when the key is back, or when the sender asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from traceback import clear_frames
from typing import Any

from sqlalchemy import Connection

from gateway.errors import KEY_UNAVAILABLE, OUR_MISTAKE, GatewayError
from gateway.evidence.log import record
from gateway.hub import late_receipts, posting, signals
from gateway.hub.hub import Hub, StaleKnowledgeError
from gateway.hub.knowledge import Knowledge
from gateway.hub.posting import Post
from gateway.hub.trust.clients import check_message
from gateway.model import ErrorSignal, Ping, Pong, Receipt, StatusRequest, StatusResponse, UserMessage
from gateway.pki.trust import Use
from gateway.protocols import Context, Opened, Parcel, Protocol
from gateway.store import deliveries, lanes, messages
from gateway.store.deliveries import NewDelivery
from gateway.store.engine import reading, transaction
from gateway.store.messages import Answer, NewMessage
from gateway.store.room import room_of
from gateway.store.together import together

__all__ = ["NOTHING_TO_SAY", "Arrival", "receive"]

#: Stored; whatever we have to say about it goes by a POST of our own.
NOTHING_TO_SAY = Answer(204, {}, b"")
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """A parcel that was opened, with what it was judged by; `way` is how its signer was admitted."""

    hub: Hub
    protocol: Protocol
    opened: Opened
    context: Context
    knowledge: Knowledge
    way: Mapping[str, Any] | None = None


def receive(
    hub: Hub, protocol: Protocol, parcel: Parcel, proved: Callable[[str], None] | None = None
) -> Answer:
    """Take a parcel in and return what goes back on its connection; never raises for bad input.

    `proved` is told the party that signed it, as soon as that is sure.
    """
    for _ in range(_ATTEMPTS):
        knowledge = hub.knowledge()
        context = hub.context(knowledge)
        try:
            opened = protocol.open(parcel, context)
            check_message(hub, opened, context, knowledge)
            _tell(proved, opened, context)
            return _judge(Arrival(hub, protocol, opened, context, knowledge, _way(hub, opened)))
        except StaleKnowledgeError:
            hub.refresh()
        except GatewayError as problem:
            # The tree that was refused goes before the header is read again: one of them at a time.
            clear_frames(problem.__traceback__)
            if hub.is_fresh(knowledge):
                return refuse(hub, protocol, problem, parcel, context)
            hub.refresh()
    return refuse(hub, protocol, GatewayError(OUR_MISTAKE, "the register changes too fast"), parcel, context)


def _way(hub: Hub, opened: Opened) -> Mapping[str, Any] | None:
    """Return by which way the signer was admitted a moment ago: nothing is judged again."""
    if opened.signed is None:
        return None
    verdict = hub.judge.recall(opened.signed.certificate.sha256, Use.SIGNING)
    return verdict.way if verdict is not None else None


def _tell(proved: Callable[[str], None] | None, opened: Opened, context: Context) -> None:
    if proved is None or opened.signed is None:
        return
    party = context.party_of(opened.signed.certificate.sha256)
    if party is not None:
        proved(party)


def refuse(hub: Hub, protocol: Protocol, problem: GatewayError, parcel: Parcel, context: Context) -> Answer:
    """Answer a parcel that is not taken: on its connection, or by a POST where that is agreed."""
    refusal = protocol.refuse(problem, parcel, context)
    answer = Answer(refusal.status, *_content(refusal.parcel))
    endpoint = refusal.pmode.reply_endpoint if refusal.pmode else None
    if refusal.unit is None or endpoint is None or refusal.at_once:
        return answer
    post = Post(endpoint, endpoint, f"error:{refusal.unit.message_id}", refusal.unit.message_id)
    if not _may_post(hub, endpoint, context.now):
        return answer
    with transaction(hub.engine, "receive.refused") as conn:
        return _posted(conn, post, answer, context.now)


def _may_post(hub: Hub, endpoint: str, now: datetime) -> bool:
    """Tell whether what anybody may have sent may be answered by a POST: it leaves rows.

    What room there is while the disk is short is for the work that was taken.
    """
    return room_of(hub.engine).shortage() is None and hub.refusals.take(endpoint, now)


def _posted(conn: Connection, post: Post, answer: Answer, now: datetime) -> Answer:
    """Queue an answer unless too many wait already: then it goes on its connection."""
    if not posting.has_room(conn, post.destination):
        return answer
    posting.enqueue(conn, post, answer, now)
    return NOTHING_TO_SAY


def _content(parcel: Parcel | None) -> tuple[dict[str, str], bytes]:
    if parcel is None:
        return {}, b""
    with parcel.body.open() as stream:
        return dict(parcel.headers), stream.read()


def _judge(arrival: Arrival) -> Answer:
    unit = arrival.opened.unit
    if isinstance(unit, UserMessage):
        return _user_message(arrival, unit)
    if isinstance(unit, Ping):
        return _reply(arrival, arrival.protocol.pong(unit, arrival.context))
    if isinstance(unit, StatusRequest):
        status = signals.status(arrival.hub, arrival.protocol, unit, (arrival.opened, arrival.context))
        return _reply(arrival, status)
    if isinstance(unit, Receipt | ErrorSignal):
        signals.settle(arrival.hub, arrival.protocol, arrival.opened, arrival.context)
    return NOTHING_TO_SAY


def _user_message(arrival: Arrival, unit: UserMessage) -> Answer:
    _check_alive(arrival, unit)
    _check_room(arrival, unit)
    _check_stamped(arrival, unit)
    receipt, message = _receipt(arrival, unit), _new_message(arrival, unit)
    made = receipt if isinstance(receipt, Answer) else None

    def store(conn: Connection) -> Answer | GatewayError:
        arrival.hub.check_fresh(conn, arrival.knowledge)
        accepted = messages.accept(conn, message, made, arrival.context.now)
        if accepted.new:
            _follow_up(conn, arrival, unit, accepted.id)
        if accepted.answer is None and made is not None:
            # It was stored while there was no key.
            accepted = replace(accepted, answer=messages.set_answer(conn, accepted.id, made))
        if accepted.answer is None and isinstance(receipt, _Owed):
            late_receipts.owe(conn, accepted.id, receipt.receipt, arrival.context.now)
            return receipt.problem
        if _goes_by_post(arrival):
            _post_receipt(conn, arrival, accepted)
            return NOTHING_TO_SAY
        return accepted.answer or NOTHING_TO_SAY

    answer = together(arrival.hub.engine, "receive.message", store)
    if len(arrival.opened.units) > 1:
        signals.settle(arrival.hub, arrival.protocol, arrival.opened, arrival.context)
    if isinstance(answer, GatewayError):
        raise answer
    return answer


def _check_alive(arrival: Arrival, unit: UserMessage) -> None:
    """Refuse what came too late, unless it came before: a late repeat gets its receipt again."""
    if unit.expires_at is None or unit.expires_at > arrival.context.now:
        return
    if not _came_before(arrival, unit):
        arrival.protocol.check_time_to_live(unit, arrival.context.now)


def _check_room(arrival: Arrival, unit: UserMessage) -> None:
    """Refuse what is new while the disk is short: a repeat gets its receipt again, which takes no room."""
    room, octets = room_of(arrival.hub.engine), arrival.opened.parcel.body.size
    if room.shortage(octets) is not None and not _came_before(arrival, unit):
        room.demand(octets)


def _came_before(arrival: Arrival, unit: UserMessage) -> bool:
    with reading(arrival.hub.engine) as conn:
        found = messages.find(conn, "in", arrival.context.party(unit.sender), unit.message_id)
    return found is not None


def _check_stamped(arrival: Arrival, unit: UserMessage) -> None:
    """Refuse what is new while time-stamping is stale, where the settings say so."""
    stamping = arrival.hub.stamping
    problem = None if stamping is None else stamping.refusal(arrival.context.now)
    if problem is not None and not _came_before(arrival, unit):
        raise problem


@dataclass(frozen=True, slots=True)
class _Owed:
    """A receipt that cannot be signed now, and why."""

    receipt: Receipt
    problem: GatewayError


def _receipt(arrival: Arrival, unit: UserMessage) -> Answer | _Owed | None:
    """Return the receipt, what is owed where it cannot be signed now, None where none is asked for."""
    if unit.ack_requested is None:
        return None
    receipt = arrival.protocol.receipt(arrival.opened, arrival.context)
    try:
        sealed = arrival.protocol.seal((receipt,), arrival.opened.pmode, arrival.context)
    except GatewayError as problem:
        if problem.problem is KEY_UNAVAILABLE:
            return _Owed(receipt, problem)
        raise
    return Answer(200, *_content(sealed))


def _new_message(arrival: Arrival, unit: UserMessage) -> NewMessage:
    opened, context = arrival.opened, arrival.context
    headers, content = _content(opened.parcel)
    return NewMessage(
        message_id=unit.message_id,
        protocol=arrival.protocol.name,
        kind="UserMessage",
        conversation_id=unit.conversation_id,
        from_party=context.party(unit.sender),
        to_party=context.party(unit.receiver),
        service=unit.service,
        action=unit.action,
        identity_sha256=opened.identity,
        parcel_headers=headers,
        parcel=content,
        payloads=unit.payloads,
        ref_to_message_id=unit.ref_to_message_id,
        pmode_id=opened.pmode.id if opened.pmode else None,
        signer_sha256=opened.signed.certificate.sha256 if opened.signed else None,
        expires_at=unit.expires_at,
        payload_digests=arrival.protocol.payload_digests(opened),
    )


def _follow_up(conn: Connection, arrival: Arrival, unit: UserMessage, message: int) -> None:
    """Write the evidence of origin, and put the message on its way to the application."""
    opened, now = arrival.opened, arrival.context.now
    signer = opened.signed.certificate.sha256 if opened.signed else None
    evidence = {
        "message_id": unit.message_id,
        "signer": signer,
        "verdict": arrival.hub.verdicts.name(signer) if signer else None,
        "epoch": arrival.knowledge.epoch,
        "admitted": arrival.way,
    }
    record(conn, "NRO", "message", message, opened.identity, evidence, now)
    if opened.pmode is not None and opened.pmode.deliver_to == "case":
        admit = NewDelivery(
            agent="local",
            destination=lanes.LOCAL,
            subject_type="message",
            subject_id=str(message),
            dedupe_key=f"admit:{message}",
            parameters={"task": "admit"},
        )
        deliveries.enqueue(conn, admit, now)


def _goes_by_post(arrival: Arrival) -> bool:
    pmode = arrival.opened.pmode
    if pmode is None or pmode.reply_endpoint is None:
        return False
    return not arrival.protocol.answers_at_once(arrival.opened.unit, pmode)


def _post_receipt(conn: Connection, arrival: Arrival, accepted: messages.Accepted) -> None:
    pmode, now = arrival.opened.pmode, arrival.context.now
    if accepted.answer is None or pmode is None or pmode.reply_endpoint is None:
        return
    # Whoever repeats a message has not had its receipt: it is sent again, the same octets.
    key = f"receipt:{accepted.id}" if accepted.new else f"receipt:{accepted.id}:{now.isoformat()}"
    sender = arrival.context.party(arrival.opened.unit.sender)
    posting.enqueue(conn, Post(pmode.reply_endpoint, sender, key, str(accepted.id)), accepted.answer, now)


def _reply(arrival: Arrival, unit: Pong | StatusResponse) -> Answer:
    """Answer a question between handlers; nothing of it is stored, it can be asked again.

    By a POST it goes as refusals do: questions need no signature, and each POST leaves rows.
    """
    answer = Answer(200, *_content(arrival.protocol.seal((unit,), arrival.opened.pmode, arrival.context)))
    pmode = arrival.opened.pmode
    if not _goes_by_post(arrival) or pmode is None or pmode.reply_endpoint is None:
        return answer
    sender = arrival.context.party(unit.receiver)
    post = Post(pmode.reply_endpoint, sender, f"reply:{unit.message_id}", unit.message_id)
    if not _may_post(arrival.hub, post.endpoint, arrival.context.now):
        return answer
    with transaction(arrival.hub.engine, "receive.signal") as conn:
        return _posted(conn, post, answer, arrival.context.now)
