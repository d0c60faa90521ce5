"""Step 1, receive: a parcel is opened, checked, stored with its receipt, and only then answered.

The input is the headers and octets of one HTTP request. The receipt is made and signed before the
transaction. When the transaction has committed, the message is in the database with its payloads,
its receipt, the evidence of origin and a task that admits it (`gateway.hub.submissions.admit`). A sender that
has a receipt has a stored message; a sender that has none gets the same receipt by repeating the
message. Without its key the gateway still stores the message, answers GW803, and makes the receipt
when the key is available. A signal settles the delivery that it refers to. A refused parcel stores
no message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from traceback import clear_frames
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.errors import KEY_UNAVAILABLE, OUR_MISTAKE, PARTY_UNKNOWN, REPEAT_TOO_LATE, GatewayError
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.completion.signals import answer_status_request, apply_hop_signal, apply_signals
from gateway.hub.hub import Hub, ReceivedMessage
from gateway.hub.intake.fragment_intake import GroupedFragment, lock_fragment_group, store_fragment
from gateway.hub.intake.message_order import (
    ConversationMessage,
    OrderedArrival,
    check_conversation_limits,
    enqueue_admission,
    release_or_hold_message,
)
from gateway.hub.intake.passing_messages import accept_passing_message, make_hop_answer
from gateway.hub.intake.pulled_messages import answer_pull_request
from gateway.hub.intake.response_watch import PendingResponse
from gateway.hub.intake.submission_intake import prepare_as_repeat
from gateway.hub.outbox.late_receipts import queue_late_receipt, record_late_receipt
from gateway.hub.outbox.response_bundle import find_response_pmodes, get_response_wait
from gateway.hub.outbox.signal_outbox import (
    EMPTY_ANSWER,
    OutgoingPost,
    can_post_answer,
    enqueue_post,
    enqueue_post_again,
    post_answer,
)
from gateway.hub.register.trusted_register import RegisterSnapshot, StaleSnapshotError
from gateway.hub.trust.message_senders import check_message_connection
from gateway.message_model import (
    ErrorSignal,
    Party,
    Ping,
    Pong,
    PullRequest,
    Receipt,
    StatusRequest,
    StatusResponse,
    UserMessage,
)
from gateway.pki import CertificateUse
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, ProtocolCore, open_message
from gateway.store import (
    HttpResponse,
    NewMessage,
    SequenceKey,
    get_database_state,
    messages,
    read_transaction,
    run_in_group_commit,
    write_transaction,
)

_ATTEMPTS = 3


def receive_parcel(
    hub: Hub, protocol: ProtocolCore, parcel: Parcel, report_signer_party: Callable[[str], None] | None = None
) -> HttpResponse:
    """Receive a parcel and return the answer for its connection; never raises for bad input.

    `report_signer_party` is called with the party that signed the parcel, as soon as the signature is
    verified.
    """
    for _ in range(_ATTEMPTS):
        register = hub.get_snapshot()
        context = hub.make_protocol_context(register)
        signer_party: str | None = None
        try:
            opened = open_message(protocol, parcel, context)
            check_message_connection(hub, opened, context, register)
            signer_party = _find_signer_party(opened, context)
            if signer_party is not None and report_signer_party is not None:
                report_signer_party(signer_party)
            return _dispatch_unit(
                ReceivedMessage(hub, protocol, opened, context, register, _recall_admission(hub, opened))
            )
        except StaleSnapshotError:
            hub.refresh_snapshot()
        except GatewayError as problem:
            # Free the tree of the refused parcel before its header is read again: one tree in memory at a
            # time.
            clear_frames(problem.__traceback__)
            if hub.register.is_snapshot_current(register):
                return reject_parcel(hub, protocol, problem, parcel, context, signer_party)
            hub.refresh_snapshot()
    return reject_parcel(
        hub, protocol, GatewayError(OUR_MISTAKE, "the register changes too fast"), parcel, context
    )


def _recall_admission(hub: Hub, opened: OpenedMessage) -> Mapping[str, Any] | None:
    """Return how the signer was admitted, from the remembered verdict; nothing is validated again."""
    if opened.verified_signature is None:
        return None
    verdict = hub.judge.recall_verdict(opened.verified_signature.certificate.sha256, CertificateUse.SIGNING)
    return verdict.admission_evidence if verdict is not None else None


def _find_signer_party(opened: OpenedMessage, context: ProtocolContext) -> str | None:
    """Return the party that has signed an opened message, if the message is signed and the party is known."""
    if opened.verified_signature is None:
        return None
    return context.find_certificate_party(opened.verified_signature.certificate.sha256)


def reject_parcel(
    hub: Hub,
    protocol: ProtocolCore,
    problem: GatewayError,
    parcel: Parcel,
    context: ProtocolContext,
    signer_party: str | None = None,
) -> HttpResponse:
    """Answer a rejected parcel on its connection, or by a POST where the P-Mode says so.

    `signer_party` is the party that has signed the parcel, if this is verified.
    """
    refusal = protocol.reject_parcel(problem, parcel, context)
    _count_refused_parcel(hub, refusal.sender, problem, context, signer_party)
    answer = HttpResponse(refusal.http_status, *_read_parcel_content(refusal.parcel))
    endpoint = refusal.pmode.reply_endpoint if refusal.pmode else None
    if refusal.error_signal is None or endpoint is None or refusal.is_synchronous:
        return answer
    post = OutgoingPost(
        endpoint, endpoint, f"error:{refusal.error_signal.message_id}", refusal.error_signal.message_id
    )
    if not can_post_answer(hub, endpoint, context.now):
        return answer
    with write_transaction(hub.engine, "receive.refused") as conn:
        return post_answer(conn, post, answer, context.now)


def _count_refused_parcel(
    hub: Hub,
    sender: Party | None,
    problem: GatewayError,
    context: ProtocolContext,
    signer_party: str | None,
) -> None:
    """Count a refusal for the party that the message names; report to the operator if it is not active."""
    name = _find_named_sender(sender, context)
    if name is None and sender is not None and problem.problem is PARTY_UNKNOWN:
        closed_out = hub.get_snapshot().inactive_parties
        for name, status in {closed_out[party_id] for party_id in sender.ids if party_id in closed_out}:
            problem = GatewayError(PARTY_UNKNOWN, f"party {name[:80]} is {status.lower()}", problem.location)
            break
    hub.tally.count_refusal(name, problem, is_signed=name is not None and name == signer_party)


def _find_named_sender(sender: Party | None, context: ProtocolContext) -> str | None:
    """Return the registered party that a refused message names as its sender, None for any other."""
    try:
        return None if sender is None else context.get_party_name(sender)
    except GatewayError:
        return None


def _read_parcel_content(parcel: Parcel | None) -> tuple[dict[str, str], bytes]:
    if parcel is None:
        return {}, b""
    return dict(parcel.headers), parcel.read_octets()


def _dispatch_unit(arrival: ReceivedMessage) -> HttpResponse:
    """Process an opened parcel by the kind of its unit, and return the answer for its connection.

    A message for another handler is passed on. The answer to receipts and errors is empty.
    """
    unit = arrival.opened.unit
    if arrival.opened.forwarding_rule is not None:
        return accept_passing_message(arrival, arrival.opened.forwarding_rule)
    if isinstance(unit, UserMessage):
        return _accept_user_message(arrival, unit)
    if isinstance(unit, PullRequest):
        return answer_pull_request(arrival, unit)
    if isinstance(unit, Ping):
        return _answer_signal(arrival, arrival.protocol.make_pong(unit, arrival.context))
    if isinstance(unit, StatusRequest):
        status = answer_status_request(arrival.hub, arrival.protocol, unit, arrival.opened, arrival.context)
        return _answer_signal(arrival, status)
    if isinstance(unit, Receipt | ErrorSignal) and arrival.opened.pmode is None:
        apply_hop_signal(arrival.hub, arrival.protocol, arrival.opened, arrival.context)
    elif isinstance(unit, Receipt | ErrorSignal):
        apply_signals(arrival.hub, arrival.protocol, arrival.opened, arrival.context)
    return EMPTY_ANSWER


def _accept_user_message(arrival: ReceivedMessage, unit: UserMessage) -> HttpResponse:
    """Store a message with its receipt, or find it as a repeat; return the answer for its connection.

    Signals beside it are applied. The error for a refused fragment, or for a receipt that cannot be signed
    now, is raised when all is stored.
    """
    _check_time_to_live(arrival, unit)
    _check_disk_reserve(arrival, unit)
    _check_stamping_current(arrival, unit)
    receipt, message = _make_receipt(arrival, unit), _make_message_row(arrival, unit)
    response = receipt if isinstance(receipt, HttpResponse) else None
    hop_answer = make_hop_answer(arrival)
    messages.put_large_octets(arrival.hub.engine, message)
    prepared = messages.prepare_message(message, response, arrival.context.now)

    def store_message(
        conn: Connection,
    ) -> tuple[messages.AcceptedMessage | None, HttpResponse | GatewayError]:
        """Store the message; return it with the answer, or with the error to raise after the commit."""
        arrival.hub.register.check_snapshot_current(conn, arrival.register_snapshot)
        grouped_fragment = (
            None if arrival.opened.fragment_header is None else lock_fragment_group(conn, arrival, unit)
        )
        if isinstance(grouped_fragment, GatewayError):
            # Its group may be refused now, and that is committed.
            return None, grouped_fragment
        accepted = messages.accept_prepared_message(conn, prepared)
        if accepted.is_new and grouped_fragment is None:
            _record_new_message(conn, arrival, unit, accepted)
        elif accepted.is_new and grouped_fragment is not None:
            _record_origin(conn, arrival, unit, accepted, _describe_fragment(grouped_fragment))
            store_fragment(conn, grouped_fragment, accepted.id, arrival.context.now)
        _check_late_repeat(arrival, accepted)
        if accepted.answer is None and response is not None:
            # The message was stored while the signing key was unavailable.
            accepted = replace(accepted, answer=_store_late_receipt(conn, arrival, accepted.id, response))
        if accepted.answer is None and isinstance(receipt, _UnsignedReceipt):
            queue_late_receipt(conn, accepted.id, receipt.receipt, arrival.context.now)
            return accepted, receipt.problem
        if _is_answered_by_post(arrival):
            _post_receipt(conn, arrival, accepted)
            return accepted, hop_answer or EMPTY_ANSWER
        # A receipt of the To party on the connection is one for the handler before it, too.
        return accepted, accepted.answer or hop_answer or EMPTY_ANSWER

    try:
        accepted, answer = run_in_group_commit(arrival.hub.engine, "receive.message", store_message)
    except GatewayError as problem:
        prepared = prepare_as_repeat(arrival, prepared, problem)
        accepted, answer = run_in_group_commit(arrival.hub.engine, "receive.message", store_message)
    if len(arrival.opened.units) > 1:
        apply_signals(arrival.hub, arrival.protocol, arrival.opened, arrival.context)
    if isinstance(answer, GatewayError):
        raise answer
    assert accepted is not None  # without one there is a problem
    return (
        answer if arrival.opened.fragment_header is not None else _offer_response(arrival, accepted, answer)
    )


def _store_late_receipt(
    conn: Connection, arrival: ReceivedMessage, message_row_id: int, receipt: HttpResponse
) -> HttpResponse:
    """Store the receipt of a message that was stored without one; return the one that was stored first."""
    first = messages.store_response(conn, message_row_id, receipt)
    if first == receipt:
        message_id, now = arrival.opened.unit.message_id, arrival.context.now
        record_late_receipt(conn, message_row_id, message_id, receipt, now)
    return first


def _describe_fragment(grouped_fragment: GroupedFragment) -> dict[str, Any]:
    return {"group": grouped_fragment.header.group, "number": grouped_fragment.header.number}


@dataclass(frozen=True, slots=True)
class JoinedMessage:
    """A message whose fragments are joined: its row, its receipt, and the facts of them for the evidence."""

    new_message: NewMessage
    receipt: HttpResponse | None
    group_evidence: Mapping[str, Any]


def prepare_joined_message(arrival: ReceivedMessage, group_evidence: Mapping[str, Any]) -> JoinedMessage:
    """Return a joined message with its receipt, which is signed before the transaction; raise GW803."""
    unit = arrival.opened.unit
    assert isinstance(unit, UserMessage)  # nothing else is split
    receipt = _make_receipt(arrival, unit)
    if isinstance(receipt, _UnsignedReceipt):
        raise receipt.problem
    row = replace(_make_message_row(arrival, unit), signer_sha256=group_evidence["signer"])
    messages.put_large_octets(arrival.hub.engine, row)
    return JoinedMessage(row, receipt, group_evidence)


def accept_joined_message(conn: Connection, arrival: ReceivedMessage, joined_message: JoinedMessage) -> int:
    """Store a joined message as one that came in one piece, and queue its receipt; return its row id.

    A message that was stored before gets the stored receipt. Raises GW312 for another one with its id.
    """
    unit = arrival.opened.unit
    assert isinstance(unit, UserMessage)  # nothing else is split
    accepted = messages.accept_message(
        conn, joined_message.new_message, joined_message.receipt, arrival.context.now
    )
    if accepted.is_new:
        _record_new_message(conn, arrival, unit, accepted, joined_message.group_evidence)
    _post_receipt(conn, arrival, accepted)
    return accepted.id


def _check_late_repeat(arrival: ReceivedMessage, accepted: messages.AcceptedMessage) -> None:
    """Raise GW321 for a repeat whose octets retention has removed, where the settings refuse such."""
    if accepted.purged_at is not None and arrival.hub.refuses_late_repeats:
        day = accepted.purged_at.isoformat(timespec="seconds")
        detail = f"the message was processed, and its octets were removed at {day}"
        raise GatewayError(REPEAT_TOO_LATE, detail, arrival.protocol.message_id_place)


def _offer_response(
    arrival: ReceivedMessage, accepted: messages.AcceptedMessage, fallback: HttpResponse
) -> HttpResponse:
    """Return the response to a repeated request, or the fallback of one that may wait for its response."""
    hub, pmode, now = arrival.hub, arrival.opened.pmode, arrival.context.now
    if pmode is None or not arrival.is_connected:
        return fallback
    response_pmodes = find_response_pmodes(arrival.register_snapshot.book, pmode, now)
    if not response_pmodes:
        return fallback
    pending = PendingResponse(
        fallback.status,
        fallback.headers,
        fallback.body,
        request=accepted.id,
        party=arrival.context.get_party_name(arrival.opened.unit.sender),
        pmode_ids=frozenset(response_pmode.id for response_pmode in response_pmodes),
        waits_until=now + get_response_wait(hub, pmode),
    )
    stored_response = None if accepted.is_new else hub.responses.find_response(pending)
    return stored_response or pending


def receive_response(
    hub: Hub, protocol: ProtocolCore, opened: OpenedMessage, register: RegisterSnapshot
) -> None:
    """Store the business message that came in the HTTP answer to a message of the hub, like a posted one.

    Its own receipt, if it asks for one, is sent by a POST where its P-Mode has a reply endpoint. Raises GW901
    when the register has changed since it was opened: the hub's message is then sent again.
    """
    if not isinstance(opened.unit, UserMessage):
        return
    context = hub.make_protocol_context(register)
    alone = replace(opened, units=(opened.unit,))
    admission = _recall_admission(hub, opened)
    arrival = ReceivedMessage(hub, protocol, alone, context, register, admission, is_connected=False)
    try:
        _accept_user_message(arrival, opened.unit)
    except StaleSnapshotError:
        raise GatewayError(OUR_MISTAKE, "the register has just changed") from None


def _check_time_to_live(arrival: ReceivedMessage, unit: UserMessage) -> None:
    """Raise for an expired message, unless it is a duplicate: a late repeat gets its receipt again."""
    if unit.expires_at is None or unit.expires_at > arrival.context.now:
        return
    if not _is_duplicate_message(arrival, unit):
        arrival.protocol.check_time_to_live(unit, arrival.context.now)


def _check_disk_reserve(arrival: ReceivedMessage, unit: UserMessage) -> None:
    """Raise for a new message while disk space is short; a duplicate gets its receipt and needs no space."""
    reserve, octets = get_database_state(arrival.hub.engine).reserve, arrival.opened.parcel.body.octet_count
    if reserve.find_shortage(octets) is not None and not _is_duplicate_message(arrival, unit):
        reserve.require_octets(octets)


def _is_duplicate_message(arrival: ReceivedMessage, unit: UserMessage) -> bool:
    with read_transaction(arrival.hub.engine) as conn:
        earlier = messages.find_by_message_id(
            conn, "in", arrival.context.get_party_name(unit.sender), unit.message_id
        )
    return earlier is not None


def _check_stamping_current(arrival: ReceivedMessage, unit: UserMessage) -> None:
    """Raise GW804 for a new message while time-stamping is stale, where the settings say so."""
    stamping = arrival.hub.stamping
    problem = None if stamping is None else stamping.find_refusal_problem(arrival.context.now)
    if problem is not None and not _is_duplicate_message(arrival, unit):
        raise problem


@dataclass(frozen=True, slots=True)
class _UnsignedReceipt:
    """A receipt that cannot be signed now, and the problem."""

    receipt: Receipt
    problem: GatewayError


def _make_receipt(arrival: ReceivedMessage, unit: UserMessage) -> HttpResponse | _UnsignedReceipt | None:
    """Return the receipt, the unsigned one when the key does not sign, None where none is requested."""
    if unit.ack_requested is None:
        return None
    receipt = arrival.protocol.make_receipt(arrival.opened, arrival.context)
    try:
        sealed = arrival.protocol.seal((receipt,), arrival.opened.pmode, arrival.context)
    except GatewayError as problem:
        if problem.problem is KEY_UNAVAILABLE:
            return _UnsignedReceipt(receipt, problem)
        raise
    return HttpResponse(200, *_read_parcel_content(sealed))


def _make_message_row(arrival: ReceivedMessage, unit: UserMessage) -> NewMessage:
    """Return the row of a received message or fragment: its parcel, payloads, agreement and signer."""
    opened, context = arrival.opened, arrival.context
    return NewMessage(
        message_id=unit.message_id,
        protocol=arrival.protocol.name,
        kind="UserMessage" if opened.fragment_header is None else "Fragment",
        conversation_id=unit.conversation_id,
        from_party=context.get_party_name(unit.sender),
        to_party=context.get_party_name(unit.receiver),
        service=unit.service,
        action=unit.action,
        identity_sha256=opened.identity,
        parcel_headers=dict(opened.parcel.headers),
        parcel=opened.parcel.get_octets(),
        payloads=unit.payloads,
        ref_to_message_id=unit.ref_to_message_id,
        agreement_id=opened.pmode.agreement if opened.pmode else None,
        pmode_id=opened.pmode.id if opened.pmode else None,
        signer_sha256=opened.verified_signature.certificate.sha256 if opened.verified_signature else None,
        expires_at=unit.expires_at,
        payload_digests=opened.payload_digests,
        id_place=arrival.protocol.message_id_place,
    )


def _record_new_message(
    conn: Connection,
    arrival: ReceivedMessage,
    unit: UserMessage,
    accepted: messages.AcceptedMessage,
    fragment_evidence: Mapping[str, Any] | None = None,
) -> None:
    """Record the evidence of origin, and queue the task that admits the message."""
    _record_origin(conn, arrival, unit, accepted, fragment_evidence)
    if arrival.opened.pmode is not None:
        _queue_admission(conn, arrival, unit, accepted.id, arrival.opened.pmode)


def _record_origin(
    conn: Connection,
    arrival: ReceivedMessage,
    unit: UserMessage,
    accepted: messages.AcceptedMessage,
    fragment_evidence: Mapping[str, Any] | None,
) -> None:
    """Record the evidence of origin; `fragment_evidence` are its facts about fragments, None without any."""
    opened, now = arrival.opened, arrival.context.now
    signer = opened.verified_signature.certificate.sha256 if opened.verified_signature else None
    evidence: dict[str, Any] = {
        "message_id": unit.message_id,
        "signer": signer,
        "verdict": arrival.hub.verdicts.find_verdict_digest(signer) if signer else None,
        "epoch": arrival.register_snapshot.epoch,
        "admitted": arrival.admission,
        STORED: describe_stored_message(accepted),
    }
    if unit.properties:
        # Who is behind the two handlers (four corners) is kept for as long as the evidence is.
        evidence["properties"] = [
            [message_property.name, message_property.value, message_property.type]
            for message_property in unit.properties
        ]
    if opened.unwrapped_parts:
        evidence["unwrapped"] = [unwrapped._asdict() for unwrapped in opened.unwrapped_parts]
    record_evidence(
        conn, "NRO", "message", accepted.id, opened.identity, evidence | dict(fragment_evidence or {}), now
    )


def _queue_admission(
    conn: Connection, arrival: ReceivedMessage, unit: UserMessage, message: int, pmode: PMode
) -> None:
    """Queue the task that admits a new message (row id), at once or when those before it are admitted."""
    now, is_for_case = arrival.context.now, pmode.deliver_to == "case"
    conversation_message = ConversationMessage(pmode.agreement, unit.conversation_id, message, is_for_case)
    check_conversation_limits(conn, pmode.conversations, conversation_message, now)
    if unit.sequence is None:
        if is_for_case:
            enqueue_admission(conn, message, None, now)
        return
    sender = arrival.context.get_party_name(unit.sender)
    expires_at = unit.expires_at or now + timedelta(seconds=pmode.reliability.persist_duration)
    ordered_arrival = OrderedArrival(
        message, unit.sequence, expires_at, is_for_case, arrival.hub.max_held_messages
    )
    release_or_hold_message(
        conn, SequenceKey("in", sender, pmode.agreement, unit.conversation_id), ordered_arrival, now
    )


def _is_answered_by_post(arrival: ReceivedMessage) -> bool:
    pmode = arrival.opened.pmode
    if pmode is None or pmode.reply_endpoint is None:
        return False
    return not arrival.is_connected or not arrival.protocol.has_synchronous_answer(arrival.opened.unit, pmode)


def _post_receipt(conn: Connection, arrival: ReceivedMessage, accepted: messages.AcceptedMessage) -> None:
    """Queue the stored receipt of a message for the reply endpoint of its P-Mode, if it has one."""
    pmode, now = arrival.opened.pmode, arrival.context.now
    if accepted.answer is None or pmode is None or pmode.reply_endpoint is None:
        return
    sender = arrival.context.get_party_name(arrival.opened.unit.sender)
    post = OutgoingPost(pmode.reply_endpoint, sender, f"receipt:{accepted.id}", str(accepted.id))
    # A sender that repeats a message has not had its receipt: the same octets are sent again.
    enqueue = enqueue_post if accepted.is_new else enqueue_post_again
    enqueue(conn, post, accepted.answer, now)


def _answer_signal(arrival: ReceivedMessage, unit: Pong | StatusResponse) -> HttpResponse:
    """Answer a Ping or StatusRequest; nothing of it is stored, because it can be sent again.

    By a POST the answer goes as refusals do: these requests need no signature, and each POST leaves
    rows.
    """
    answer = HttpResponse(
        200, *_read_parcel_content(arrival.protocol.seal((unit,), arrival.opened.pmode, arrival.context))
    )
    pmode = arrival.opened.pmode
    if not _is_answered_by_post(arrival) or pmode is None or pmode.reply_endpoint is None:
        return answer
    sender = arrival.context.get_party_name(unit.receiver)
    post = OutgoingPost(pmode.reply_endpoint, sender, f"reply:{unit.message_id}", unit.message_id)
    if not can_post_answer(arrival.hub, post.endpoint, arrival.context.now):
        return answer
    with write_transaction(arrival.hub.engine, "receive.signal") as conn:
        return post_answer(conn, post, answer, arrival.context.now)
