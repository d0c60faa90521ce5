"""Reports of ordered conversations for operators, and the acts of operators on them, with audit."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from gateway.hub import SequenceChange, release_sequence, reset_sequence
from gateway.operations.audited_changes import DatabaseChange
from gateway.protocols import make_sequence_number
from gateway.store import SentDeliveryRow, SequenceSummaryRow, message_sequences, ordered_deliveries

_ACTS: Final = {"release": release_sequence, "reset": reset_sequence}


#: The most messages of one conversation that are shown.
_MOST_MESSAGES: Final = 100


def describe_sequence(row: SequenceSummaryRow) -> dict[str, Any]:
    """Return an order as operators read it; numbers are those of the messages, not their ordinals."""
    return {
        "id": row.id,
        "direction": row.direction,
        "party": row.party,
        "conversation_id": row.conversation_id,
        "agreement_id": row.agreement_id,
        "next_number": _find_number(row, row.next_ordinal),
        "next_status": make_sequence_number(row.next_ordinal - row.base).status,
        "held": row.held,
        "first_held": None if row.first_held is None else _find_number(row, row.first_held),
        "gives_up_at": row.next_expiry,
        "changed_at": row.changed_at,
    }


def describe_sequence_messages(conn: Connection, row: SequenceSummaryRow) -> list[dict[str, Any]]:
    """Return the messages of an order with their numbers, at most `_MOST_MESSAGES`.

    They are the messages that it holds back, or, of an order that the hub sends, the last ones sent.
    """
    if row.direction == "out":
        sent = ordered_deliveries.list_sent_deliveries(conn, row.id, _MOST_MESSAGES)
        return [_describe_sent(delivery) for delivery in sent]
    held = message_sequences.list_held_messages(conn, row.id, _MOST_MESSAGES)
    return [
        {
            "number": _find_number(row, message.ordinal),
            "message": message.message,
            "message_id": message.message_id,
            "action": message.action,
            "state": message.state,
            "received_at": message.received_at,
            "gives_up_at": message.expires_at,
        }
        for message in held
    ]


def _describe_sent(row: SentDeliveryRow) -> dict[str, Any]:
    return {
        "number": make_sequence_number(row.position).number,
        "message": None,
        "message_id": row.wire_id,
        "action": row.parameters.get("action"),
        "state": row.state,
        "received_at": None,
        "gives_up_at": None,
        "delivery": row.delivery,
    }


def _find_number(row: SequenceSummaryRow, ordinal: int) -> int:
    return make_sequence_number(ordinal - row.base).number


def change_sequence(change: DatabaseChange, act: str, sequence: int) -> SequenceChange:
    """Release or reset an order, with its row of audit; raises GW705 where that is not possible."""
    sequence_change = _ACTS[act](change.conn, sequence, change.at, change.by, change.act.reason)
    moved = list(sequence_change.moved)
    change.record_change(
        f"order {sequence}",
        before={"next_number": sequence_change.number_before},
        after={"next_number": sequence_change.number_after, "messages": moved},
    )
    return sequence_change
