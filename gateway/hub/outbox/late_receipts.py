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
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import signal_outbox
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.outbox.signal_outbox import OutgoingPost
from gateway.hub.readiness import find_key_problem
from gateway.message_model import DigestReference, Party, PartyId, Receipt
from gateway.protocols import PROTOCOLS
from gateway.store import HttpResponse, deliveries, messages, read_transaction, write_transaction

__all__ = ["issue_late_receipt", "probe_signing_key", "queue_late_receipt"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: One task tries the key for all messages that were stored within the same hour.
_HOUR: Final = timedelta(hours=1)


def queue_late_receipt(conn: Connection, message: int, receipt: Receipt, at: datetime) -> None:
    """Queue the receipt of a stored message once, to be signed when the key is available again."""
    hour = (at - _EPOCH) // _HOUR
    key = f"key:{hour}"
    enqueue_task(conn, "key", ("key", hour), key, at)
    first = deliveries.find_by_dedupe_key(conn, key)
    enqueue_task(
        conn,
        "receipt",
        ("message", message),
        f"late-receipt:{message}",
        at,
        follows=first.id if first else None,
        said=_receipt_to_json(receipt),
    )


def probe_signing_key(hub: Hub, finish: FinishLease) -> None:
    """Finish the task when the key signs; raises GW803 while it does not."""
    problem = find_key_problem(hub)
    if problem is not None:
        raise problem
    with write_transaction(hub.engine, "receipts.key") as conn:
        finish(conn)


def issue_late_receipt(hub: Hub, message: int, said: dict[str, Any], finish: FinishLease) -> None:
    """Sign and store the receipt of a stored message, and post it where the P-Mode has a reply endpoint.

    The receipt is not made again when the sender has got it meanwhile by repeating the message.
    """
    with read_transaction(hub.engine) as conn:
        row, answered = messages.find_by_id(conn, message), messages.find_response(conn, message)
    made = None if row is None or answered is not None else _seal_receipt(hub, row, said)
    now = hub.clock()
    with write_transaction(hub.engine, "receipts.late") as conn:
        if row is not None and made is not None and messages.store_response(conn, message, made) == made:
            _enqueue_receipt_post(conn, hub, row, made, now)
            digest = hashlib.sha256(made.body).hexdigest()
            record_evidence(
                conn, "receipted", "message", message, digest, {"message_id": row.message_id}, now
            )
        finish(conn)


def _seal_receipt(hub: Hub, row: Any, said: dict[str, Any]) -> HttpResponse:
    knowledge = hub.refresh_snapshot()
    pmode = knowledge.book.find_by_id(row.agreement_id, row.pmode_id or "", hub.clock())
    if pmode is None:
        # Only the P-Mode says whether the receipt must be signed.
        raise GatewayError(PMODE_UNKNOWN, f"the P-Mode of message {row.message_id[:80]} is gone", "pmode")
    context = hub.make_protocol_context(knowledge)
    receipt = replace(_receipt_from_json(said), timestamp=context.now)
    parcel = PROTOCOLS[row.protocol].seal((receipt,), pmode, context)
    return HttpResponse(200, dict(parcel.headers), parcel.read_octets())


def _enqueue_receipt_post(conn: Connection, hub: Hub, row: Any, made: HttpResponse, now: datetime) -> None:
    pmode = hub.get_snapshot().book.find_by_id(row.agreement_id, row.pmode_id or "", now)
    if pmode is not None and pmode.reply_endpoint is not None:
        post = OutgoingPost(pmode.reply_endpoint, row.from_party, f"receipt:{row.id}", str(row.id))
        signal_outbox.enqueue_post(conn, post, made, now)


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
            [one.uri, one.digest_algorithm, one.digest.hex(), [list(steps) for steps in one.transforms]]
            for one in receipt.references
        ],
        "signed": receipt.signature_asked,
    }


def _receipt_from_json(said: dict[str, Any]) -> Receipt:
    received_at = datetime.fromisoformat(said["received_at"])
    references = (
        DigestReference(uri, algorithm, bytes.fromhex(digest), tuple(tuple(steps) for steps in transforms))
        for uri, algorithm, digest, transforms in said["references"]
    )
    return Receipt(
        said["message_id"],
        said["conversation_id"],
        _party_from_json(said["sender"]),
        _party_from_json(said["receiver"]),
        said["agreement"],
        received_at,
        ref_to_message_id=said["about"],
        received_at=received_at,
        references=tuple(references),
        # A receipt that was queued by an older version has no such value.
        signature_asked=bool(said.get("signed", False)),
    )


def _party_to_json(party: Party) -> list[Any]:
    return [party.role, [[one.value, one.type] for one in party.ids]]


def _party_from_json(written: list[Any]) -> Party:
    role, ids = written
    return Party(tuple(PartyId(value, kind) for value, kind in ids), role)
