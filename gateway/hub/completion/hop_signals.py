"""Applies what other handlers on the way say about messages that we sent or passed on.

An Acknowledgment of the next handler ends our repeats to that handler, and nothing else: the
signature does not cover it. A DeliveryFailure of a handler on the way ends the delivery of a
message of ours. Only the handler to which the message went is heard.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.evidence import record_evidence
from gateway.hub.completion import signals
from gateway.hub.hub import Hub
from gateway.hub.register import RegisterSnapshot
from gateway.message_model import ErrorSignal, Receipt
from gateway.protocols import OpenedMessage, ProtocolContext, ProtocolCore
from gateway.store import (
    StateEvent,
    deliveries,
    delivery_maintenance,
    messages,
    payloads,
    read_transaction,
    write_transaction,
)

__all__ = ["finish_passage", "is_from_next_handler", "note_hop_receipt", "settle_hop_signal"]

_Heard = tuple[OpenedMessage, ProtocolContext]


def settle_hop_signal(
    hub: Hub, protocol: ProtocolCore, opened: OpenedMessage, context: ProtocolContext
) -> None:
    """Apply a signal of another handler, which came in a message of its own.

    A signal about a message that did not go to its sender changes nothing and is not answered.
    Raises GW309 for a receipt that does not match what was sent.
    """
    unit = opened.unit
    if not isinstance(unit, Receipt | ErrorSignal) or unit.ref_to_message_id is None:
        return
    if context.find_party_name(unit.receiver.ids[0]) == hub.party:
        _settle_own_message(hub, protocol, unit, (opened, context))
    elif isinstance(unit, Receipt):
        _settle_passage(hub, protocol, unit, (opened, context))


def _settle_own_message(hub: Hub, protocol: ProtocolCore, unit: Receipt | ErrorSignal, heard: _Heard) -> None:
    opened, context = heard
    about = unit.ref_to_message_id or ""
    with read_transaction(hub.engine) as conn:
        delivery = deliveries.find_by_wire_id(conn, about)
        message = messages.find_by_message_id(conn, "out", hub.party, about)
        if delivery is None or message is None or message.agreement_id != unit.agreement:
            return
        if not is_from_next_handler(delivery, unit, context):
            return
        parcel = hub.make_parcel(*messages.open_parcel(conn, message.id))
    if isinstance(unit, ErrorSignal):
        if unit.highest_severity == "Error":
            signals.settle_delivery(hub, (delivery.id, delivery.case_id), unit, heard)
        return
    protocol.check_answer(opened, protocol.read_sent_header(parcel, context.limits))
    if delivery.parameters["hop"]["settles"]:
        signals.settle_delivery(hub, (delivery.id, delivery.case_id), unit, heard)
    else:
        note_hop_receipt(hub, delivery, unit, heard)


def _settle_passage(hub: Hub, protocol: ProtocolCore, unit: Receipt, heard: _Heard) -> None:
    opened, context = heard
    with read_transaction(hub.engine) as conn:
        sender = context.find_party_name(unit.receiver.ids[0]) or ""
        message = messages.find_by_message_id(conn, "in", sender, unit.ref_to_message_id)
        if message is None:
            return
        delivery = deliveries.find_by_dedupe_key(conn, f"onward:{message.id}")
        if delivery is None or delivery.destination != context.get_party_name(unit.sender):
            return
        content = payloads.open_payload(conn, delivery.payload_sha256)
    onward = hub.make_parcel(delivery.parameters["headers"], content)
    protocol.check_answer(opened, protocol.read_sent_header(onward, context.limits))
    with write_transaction(hub.engine, "passing.settled") as conn:
        if delivery_maintenance.settle_receipt(conn, delivery.id, context.now, "receive"):
            finish_passage(conn, delivery, context.now, unit.message_id)


def is_from_next_handler(delivery: Row[Any], unit: Receipt | ErrorSignal, context: ProtocolContext) -> bool:
    """Return whether the handler to which a message of ours went has sent a signal."""
    hop = delivery.parameters.get("hop")
    return hop is not None and hop["party"] == context.get_party_name(unit.sender)


def note_hop_receipt(
    hub: Hub,
    delivery: Row[Any],
    unit: Receipt,
    heard: _Heard,
    *,
    knowledge: RegisterSnapshot | None = None,
) -> None:
    """Store that the next handler has a message of ours: it is not sent again to that handler.

    The receipt of the To party is awaited until the time of the message is over. Raises
    StaleSnapshotError when the register is not that of `knowledge`, by which the receipt was opened.
    """
    opened, context = heard
    with write_transaction(hub.engine, "signals.hop") as conn:
        if knowledge is not None:
            hub.check_snapshot_current(conn, knowledge)
        until = delivery.expires_at or context.now
        if delivery_maintenance.await_final_receipt(conn, delivery.id, context.now, until):
            data = {"message_id": unit.message_id, "about": unit.ref_to_message_id or ""}
            record_evidence(conn, "hop_receipt", "delivery", delivery.id, opened.identity, data, context.now)


def finish_passage(conn: Connection, delivery: Any, at: datetime, told_by: str = "") -> None:
    """Store that the next handler has a message that we passed on; `told_by` is the id of its answer."""
    message = int(delivery.subject_id)
    row = messages.find_by_id(conn, message)
    if row is not None and row.state in ("ACCEPTED", "FAILED"):
        if row.state == "FAILED":
            messages.apply_event(conn, message, StateEvent("retry", at, "passing"))
        messages.apply_event(conn, message, StateEvent("process", at, "passing"))
    data = {"next": delivery.destination, "answer": told_by}
    record_evidence(conn, "forwarded", "message", message, delivery.payload_sha256, data, at)
