"""Reports of ordered conversations for operators, and the acts of operators on them, with audit."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from gateway.hub import SequenceChange, release_sequence, reset_sequence
from gateway.operations.audited_changes import DatabaseChange
from gateway.protocols import make_sequence_number
from gateway.store import SentDeliveryRow, SequenceSummaryRow, message_sequences, ordered_deliveries

_SEQUENCE_ACTS: Final = {"release": release_sequence, "reset": reset_sequence}


#: The most messages of one conversation that are shown.
_MAX_MESSAGES: Final = 100


def describe_sequence(sequence_row: SequenceSummaryRow) -> dict[str, Any]:
    """Return an order as operators read it; numbers are those of the messages, not their ordinals."""
    return {
        "id": sequence_row.id,
        "direction": sequence_row.direction,
        "party": sequence_row.party,
        "conversation_id": sequence_row.conversation_id,
        "agreement_id": sequence_row.agreement_id,
        "next_number": _compute_message_number(sequence_row, sequence_row.next_ordinal),
        "next_status": make_sequence_number(sequence_row.next_ordinal - sequence_row.base).status,
        "held": sequence_row.held,
        "first_held": None
        if sequence_row.first_held is None
        else _compute_message_number(sequence_row, sequence_row.first_held),
        "gives_up_at": sequence_row.next_expiry,
        "changed_at": sequence_row.changed_at,
    }


def describe_sequence_messages(conn: Connection, sequence_row: SequenceSummaryRow) -> list[dict[str, Any]]:
    """Return the messages of an order with their numbers, at most `_MAX_MESSAGES`.

    They are the messages that it holds back, or, of an order that the hub sends, the last ones sent.
    """
    if sequence_row.direction == "out":
        sent_deliveries = ordered_deliveries.list_sent_deliveries(conn, sequence_row.id, _MAX_MESSAGES)
        return [_describe_sent_delivery(delivery) for delivery in sent_deliveries]
    held_messages = message_sequences.list_held_messages(conn, sequence_row.id, _MAX_MESSAGES)
    return [
        {
            "number": _compute_message_number(sequence_row, message.ordinal),
            "message": message.message,
            "message_id": message.message_id,
            "action": message.action,
            "state": message.state,
            "received_at": message.received_at,
            "gives_up_at": message.expires_at,
        }
        for message in held_messages
    ]


def _describe_sent_delivery(delivery_row: SentDeliveryRow) -> dict[str, Any]:
    """Return a delivery of a sent sequence in the form of a held message; it has no times."""
    return {
        "number": make_sequence_number(delivery_row.position).number,
        "message": None,
        "message_id": delivery_row.wire_id,
        "action": delivery_row.parameters.get("action"),
        "state": delivery_row.state,
        "received_at": None,
        "gives_up_at": None,
        "delivery": delivery_row.delivery,
    }


def _compute_message_number(sequence_row: SequenceSummaryRow, ordinal: int) -> int:
    return make_sequence_number(ordinal - sequence_row.base).number


def change_sequence(change: DatabaseChange, act: str, sequence_id: int) -> SequenceChange:
    """Release or reset an order, with its row of audit; raises GW705 where that is not possible."""
    sequence_change = _SEQUENCE_ACTS[act](
        change.conn, sequence_id, change.at, change.actor, change.act.reason
    )
    moved_messages = list(sequence_change.moved)
    change.record_change(
        f"order {sequence_id}",
        before={"next_number": sequence_change.number_before},
        after={"next_number": sequence_change.number_after, "messages": moved_messages},
    )
    return sequence_change
