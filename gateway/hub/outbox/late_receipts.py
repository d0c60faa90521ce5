"""Makes and sends the receipts of messages that were stored while the signing key was unavailable.

The content of a receipt is stored with its task; the receipt is signed when the key is available. A
key may be unavailable for days while many messages wait. All their tasks follow one task, and only
that task tries the key.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import PMODE_UNKNOWN, GatewayError
from gateway.evidence import STORED, describe_stored_answer, record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import signal_outbox
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import OutgoingPost
from gateway.hub.readiness_checks import find_key_problem
from gateway.message_model import DigestReference, Party, PartyId, Receipt
from gateway.protocols import PROTOCOLS
from gateway.store import HttpResponse, MessageRow, deliveries, messages, read_transaction, write_transaction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: One task tries the key for all messages that were stored within the same hour.
_HOUR: Final = timedelta(hours=1)


def queue_late_receipt(conn: Connection, message_row_id: int, receipt: Receipt, at: datetime) -> None:
    """Queue the receipt of a stored message once, to be signed when the key is available again."""
    hour = (at - _EPOCH) // _HOUR
    key = f"key:{hour}"
    enqueue_task(conn, "key", "key", hour, key, at)
    first = deliveries.find_by_dedupe_key(conn, key)
    enqueue_task(
        conn,
        "receipt",
        "message",
        message_row_id,
        f"late-receipt:{message_row_id}",
        at,
        follows=first.id if first else None,
        said=_receipt_to_json(receipt),
    )


def probe_signing_key(hub: Hub, end_lease: FinishLease) -> None:
    """Finish the task when the key signs; raises GW803 while it does not."""
    problem = find_key_problem(hub)
    if problem is not None:
        raise problem
    with write_transaction(hub.engine, "receipts.key") as conn:
        end_lease(conn)


def issue_late_receipt(
    hub: Hub, message_row_id: int, receipt_values: dict[str, Any], end_lease: FinishLease
) -> None:
    """Sign and store the receipt of a stored message, and post it where the P-Mode has a reply endpoint.

    The receipt is not made again when the sender has got it meanwhile by repeating the message.
    """
    with read_transaction(hub.engine) as conn:
        row, answered = (
            messages.find_by_id(conn, message_row_id),
            messages.find_response(conn, message_row_id),
        )
    receipt = None if row is None or answered is not None else _seal_receipt(hub, row, receipt_values)
    now = hub.clock()
    with write_transaction(hub.engine, "receipts.late") as conn:
        if (
            row is not None
            and receipt is not None
            and messages.store_response(conn, message_row_id, receipt) == receipt
        ):
            _enqueue_receipt_post(conn, hub, row, receipt, now)
            record_late_receipt(conn, message_row_id, row.message_id, receipt, now)
        end_lease(conn)


def record_late_receipt(
    conn: Connection, message_row_id: int, message_id: str, receipt: HttpResponse, at: datetime
) -> None:
    """Record the evidence of a receipt that was stored later than its message."""
    stored = describe_stored_answer(receipt)
    digest = hashlib.sha256(receipt.body).hexdigest()
    data = {"message_id": message_id, STORED: stored}
    record_evidence(conn, "receipted", "message", message_row_id, digest, data, at)


def _seal_receipt(hub: Hub, row: MessageRow, receipt_values: dict[str, Any]) -> HttpResponse:
    """Return the receipt for a stored message as an HTTP response, signed now if its P-Mode says so.

    `receipt_values` is its content, as stored with the task. Raises GW303 if the P-Mode is gone.
    """
    register = hub.refresh_snapshot()
    pmode = register.book.find_by_id(row.agreement_id, row.pmode_id or "", hub.clock())
    if pmode is None:
        # Only the P-Mode says whether the receipt must be signed.
        raise GatewayError(PMODE_UNKNOWN, f"the P-Mode of message {row.message_id[:80]} is gone", "pmode")
    context = hub.make_protocol_context(register)
    receipt = replace(_receipt_from_json(receipt_values), timestamp=context.now)
    parcel = PROTOCOLS[row.protocol].seal((receipt,), pmode, context)
    return HttpResponse(200, dict(parcel.headers), parcel.read_octets())


def _enqueue_receipt_post(
    conn: Connection, hub: Hub, row: MessageRow, receipt: HttpResponse, now: datetime
) -> None:
    """Queue a late receipt for the reply endpoint of the message's P-Mode, if it has one."""
    pmode = hub.get_snapshot().book.find_by_id(row.agreement_id, row.pmode_id or "", now)
    if pmode is not None and pmode.reply_endpoint is not None:
        post = OutgoingPost(pmode.reply_endpoint, row.from_party, f"receipt:{row.id}", str(row.id))
        signal_outbox.enqueue_post(conn, post, receipt, now)


def _receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    """Return the content of a receipt as JSON values."""
    return {
        "message_id": receipt.message_id,
        "conversation_id": receipt.conversation_id,
        "sender": _party_to_json(receipt.sender),
        "receiver": _party_to_json(receipt.receiver),
        "agreement": receipt.agreement,
        "about": receipt.ref_to_message_id,
        "received_at": receipt.received_at.isoformat(),
        "references": [
            [
                reference.uri,
                reference.digest_algorithm,
                reference.digest.hex(),
                [list(steps) for steps in reference.transforms],
            ]
            for reference in receipt.references
        ],
        "signed": receipt.signature_requested,
    }


def _receipt_from_json(values: dict[str, Any]) -> Receipt:
    """Return the unsigned receipt from the values that `_receipt_to_json` has returned."""
    received_at = datetime.fromisoformat(values["received_at"])
    references = (
        DigestReference(uri, algorithm, bytes.fromhex(digest), tuple(tuple(steps) for steps in transforms))
        for uri, algorithm, digest, transforms in values["references"]
    )
    return Receipt(
        values["message_id"],
        values["conversation_id"],
        _party_from_json(values["sender"]),
        _party_from_json(values["receiver"]),
        values["agreement"],
        received_at,
        ref_to_message_id=values["about"],
        received_at=received_at,
        references=tuple(references),
        signature_requested=values["signed"],
    )


def _party_to_json(party: Party) -> list[Any]:
    return [party.role, [[party_id.value, party_id.type] for party_id in party.ids]]


def _party_from_json(written: list[Any]) -> Party:
    role, ids = written
    return Party(tuple(PartyId(value, kind) for value, kind in ids), role)
