"""Tells the From party that an acknowledged message did not reach its destination (ebMS 2.0 §6.5.7).

The transaction that gives a message up queues a task. The task composes and signs the
DeliveryFailure outside of any transaction, and stores it with its POST. A message has one
such task at most, so its sender is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.agreements import PMode
from gateway.errors import PROBLEMS, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox.kept_documents import is_filed_without_ebxml
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import OutgoingPost, enqueue_post
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext
from gateway.store import DeliveryLease, HttpResponse, messages, read_transaction, write_transaction

__all__ = ["issue_delivery_failure", "queue_delivery_failure", "record_delivery_failure"]


@dataclass(frozen=True, slots=True)
class _SealedFailure:
    """A sealed DeliveryFailure and where it is posted."""

    endpoint: str
    answer: HttpResponse
    digest: str


def queue_delivery_failure(
    conn: Connection, message: int, problem: GatewayError, at: datetime, *, certain: bool = True
) -> bool:
    """Queue a DeliveryFailure about a stored message, in the transaction that gives the message up.

    `certain` says that the message was not delivered and will not be; otherwise it may have been.
    Return False when there is nothing to tell: the message is ours, a signal or was filed without
    ebXML, or its sender was told before.
    """
    row = messages.find_by_id(conn, message)
    if row is None or (row.direction, row.kind) != ("in", "UserMessage") or is_filed_without_ebxml(row):
        return False
    said = {
        "problem": problem.problem.id,
        "detail": problem.detail[:500],
        "location": problem.location[:500],
        "certain": certain,
    }
    return enqueue_task(conn, "failure", ("message", message), f"failure:{message}", at, said=said)


def issue_delivery_failure(hub: Hub, message: int, said: Mapping[str, Any], finish: FinishLease) -> None:
    """Sign the DeliveryFailure of a message and queue its POST; evidence says what was told.

    A sender that asked for no acknowledgment is told nothing. Where the agreement has no address
    for signals, nothing is sent, and the evidence says so.
    """
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_id(conn, message)
        parcel = hub.make_parcel(*messages.open_parcel(conn, message))
    made = None if row is None else _seal_failure(hub, row, parcel, said)
    now = hub.clock()
    with write_transaction(hub.engine, "failures.told") as conn:
        if row is not None:
            if made is not None:
                post = OutgoingPost(made.endpoint, row.from_party, f"failure-post:{message}", str(message))
                enqueue_post(conn, post, made.answer, now)
            data = {
                "message_id": row.message_id,
                "problem": said["problem"],
                "severity": "Error" if said["certain"] else "Warning",
                "told": made is not None,
            }
            digest = None if made is None else made.digest
            record_evidence(conn, "DeliveryFailure", "message", message, digest, data, now)
        finish(conn)


def _seal_failure(hub: Hub, row: Row[Any], parcel: Parcel, said: Mapping[str, Any]) -> _SealedFailure | None:
    """Return the sealed DeliveryFailure, None when there is none to send."""
    knowledge, protocol = hub.refresh_snapshot(), PROTOCOLS[row.protocol]
    unit = protocol.read_sent_header(parcel, hub.limits).unit
    if not isinstance(unit, UserMessage) or not (unit.ack_requested or unit.hop_ack_requested):
        return None
    context = hub.make_protocol_context(knowledge)
    passed_on = row.to_party != hub.party
    pmode = knowledge.book.find_by_id(row.agreement_id, row.pmode_id or "", context.now)
    endpoint = _find_way_back(unit, context) if passed_on else _find_agreed_endpoint(pmode, context)
    if endpoint is None:
        return None
    problem = GatewayError(PROBLEMS[said["problem"]], said["detail"], said["location"])
    signal = protocol.make_delivery_failure(
        unit,
        problem,
        context,
        certain=said["certain"],
        reporter=context.own_party if passed_on else None,
    )
    if passed_on:
        sealed = protocol.seal_hop_signal(signal, context, signed=True)
    else:
        sealed = protocol.seal((signal,), pmode, context)
    answer = HttpResponse(200, dict(sealed.headers), sealed.read_octets())
    return _SealedFailure(endpoint, answer, sealed.body.sha256_hex)


def _find_agreed_endpoint(pmode: PMode | None, context: ProtocolContext) -> str | None:
    """Return where the sender of a message to us takes signals."""
    return None if pmode is None else context.agreements.find_signal_endpoint(pmode, context.now)


def _find_way_back(unit: UserMessage, context: ProtocolContext) -> str | None:
    """Return where messages to the sender of a message go that we were to pass on."""
    rule = context.forwarding.find_rule(unit.sender, "", "")
    return None if rule is None else rule.endpoint


def record_delivery_failure(
    conn: Connection, delivery: DeliveryLease | Row[Any], problem: str, at: datetime, **more: Any
) -> None:
    """Record for case and operator that a message of ours was given up, and by which problem (its id)."""
    data = {"message_id": delivery.wire_id or "", "error": "DeliveryFailure", "problem": problem, **more}
    record_evidence(conn, "DeliveryFailure", "delivery", delivery.id, delivery.payload_sha256, data, at)
