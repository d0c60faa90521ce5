"""Notifies the From party that an acknowledged message did not reach its destination (ebMS 2.0 §6.5.7).

The transaction that gives a message up queues a task. The task composes and signs the DeliveryFailure outside
of any transaction, and stores it with its POST. A message has at most one such task, so its sender gets one
DeliveryFailure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.errors import PROBLEMS, GatewayError
from gateway.evidence import STORED, describe_stored_message, record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import OutgoingPost, SealedSignal, enqueue_post
from gateway.message_model import Payload, UserMessage
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext
from gateway.store import (
    CaseRow,
    MessageRow,
    NewMessage,
    messages,
    payloads,
    read_transaction,
    write_transaction,
)


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A signed document of an action, and the certificate (SHA-256) that signed it."""

    action: str
    content: bytes = field(repr=False)
    signer: str


def is_filed_without_ebxml(message: MessageRow) -> bool:
    """Return whether a submission came through the API or the console."""
    return message.protocol not in PROTOCOLS


def store_kept_document(
    conn: Connection,
    hub: Hub,
    case: CaseRow,
    message: MessageRow,
    document: KeptDocument,
    key: str,
    now: datetime,
) -> None:
    """Store a signed document for an applicant that filed without ebXML, as a message; once for a `key`.

    `message` is the submission of the case; nothing is sent.
    """
    message_id = f"{key}@{hub.host}"
    if messages.find_by_message_id(conn, "out", hub.party, message_id) is not None:
        return
    digest = hashlib.sha256(document.content).hexdigest()
    new = NewMessage(
        message_id=message_id,
        protocol=message.protocol,
        kind="UserMessage",
        conversation_id=message.conversation_id,
        from_party=hub.party,
        to_party=case.applicant,
        service=message.service,
        action=document.action,
        identity_sha256=digest,
        parcel_headers={"Content-Type": "application/xml"},
        parcel=document.content,
        payloads=(Payload("document", "application/xml", document.content),),
        direction="out",
        ref_to_message_id=message.message_id,
        signer_sha256=document.signer,
        case_id=case.id,
    )
    payloads.store_digested_payloads(conn, [(digest, document.content)], now)
    stored = messages.insert_own_message(conn, new, now, "conclude")
    data = {"message_id": message_id, STORED: describe_stored_message(stored)}
    record_evidence(conn, "NRS", "case", case.id, digest, data, now)


def queue_delivery_failure(
    conn: Connection, message_row_id: int, problem: GatewayError, at: datetime, *, is_certain: bool = True
) -> bool:
    """Queue a DeliveryFailure about a stored message, in the transaction that gives the message up.

    `is_certain` says that the message was not delivered and will not be; otherwise it may have been. Return
    False when none is due: the message is the hub's own, is a signal or was filed without ebXML, or its
    sender got a DeliveryFailure before.
    """
    row = messages.find_by_id(conn, message_row_id)
    if row is None or (row.direction, row.kind) != ("in", "UserMessage") or is_filed_without_ebxml(row):
        return False
    failure = {
        "problem": problem.problem.id,
        "detail": problem.detail[:500],
        "location": problem.location[:500],
        "certain": is_certain,
    }
    return enqueue_task(
        conn, "failure", "message", message_row_id, f"failure:{message_row_id}", at, said=failure
    )


def issue_delivery_failure(
    hub: Hub, message_row_id: int, failure: Mapping[str, Any], end_lease: FinishLease
) -> None:
    """Sign the DeliveryFailure of a message and queue its POST; record evidence of it.

    A sender that asked for no acknowledgment gets no DeliveryFailure. If the agreement has no address for
    signals, nothing is sent, and the evidence says so.
    """
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_id(conn, message_row_id)
        parcel = hub.make_parcel(*messages.open_parcel(conn, message_row_id))
    sealed_failure = None if row is None else _seal_failure(hub, row, parcel, failure)
    now = hub.clock()
    with write_transaction(hub.engine, "failures.told") as conn:
        if row is not None:
            if sealed_failure is not None:
                post = OutgoingPost(
                    sealed_failure.endpoint,
                    row.from_party,
                    f"failure-post:{message_row_id}",
                    str(message_row_id),
                )
                enqueue_post(conn, post, sealed_failure.answer, now)
            data = {
                "message_id": row.message_id,
                "problem": failure["problem"],
                "severity": "Error" if failure["certain"] else "Warning",
                "told": sealed_failure is not None,
            }
            digest = (
                None if sealed_failure is None else hashlib.sha256(sealed_failure.answer.body).hexdigest()
            )
            record_evidence(conn, "DeliveryFailure", "message", message_row_id, digest, data, now)
        end_lease(conn)


def _seal_failure(
    hub: Hub, row: MessageRow, parcel: Parcel, failure: Mapping[str, Any]
) -> SealedSignal | None:
    """Return the sealed DeliveryFailure, None when there is none to send."""
    register, protocol = hub.refresh_snapshot(), PROTOCOLS[row.protocol]
    unit = protocol.read_sent_header(parcel, hub.limits).unit
    if not isinstance(unit, UserMessage) or not (unit.ack_requested or unit.hop_ack_requested):
        return None
    context = hub.make_protocol_context(register)
    is_passed_on = row.to_party != hub.party
    pmode = register.book.find_by_id(row.agreement_id, row.pmode_id or "", context.now)
    endpoint = (
        _find_forwarding_endpoint(unit, context) if is_passed_on else _find_agreed_endpoint(pmode, context)
    )
    if endpoint is None:
        return None
    problem = GatewayError(PROBLEMS[failure["problem"]], failure["detail"], failure["location"])
    signal = protocol.make_delivery_failure(
        unit,
        problem,
        context,
        is_certain=failure["certain"],
        reporter=context.own_party if is_passed_on else None,
    )
    if is_passed_on:
        sealed = protocol.seal_hop_signal(signal, context, is_signed=True)
    else:
        sealed = protocol.seal((signal,), pmode, context)
    return SealedSignal.from_parcel(endpoint, sealed)


def _find_agreed_endpoint(pmode: PMode | None, context: ProtocolContext) -> str | None:
    """Return the URL at which the sender of a message to the hub takes signals; None if there is none."""
    return None if pmode is None else context.agreements.find_signal_endpoint(pmode, context.now)


def _find_forwarding_endpoint(unit: UserMessage, context: ProtocolContext) -> str | None:
    """Return the URL for messages to the sender of a message that the hub had to pass on; None if none."""
    rule = context.forwarding.find_rule(unit.sender, "", "")
    return None if rule is None else rule.endpoint
