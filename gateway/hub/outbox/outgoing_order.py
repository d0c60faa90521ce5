"""Numbers the hub's messages to a partner where an order is agreed (ebMS 2.0 chapter 9).

A message is sealed with the number that it will probably have, and gets its number in the transaction that
queues it. One message of a conversation is under way at a time. When it is given up, those that wait after it
get new numbers, from 0 with Reset, and are sealed again before they are first sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.errors import PMODE_UNKNOWN, GatewayError
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.hub import Hub
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, Parcel, make_sequence_number
from gateway.store import (
    DeliveryLease,
    MessageRow,
    SequenceKey,
    deliveries,
    delivery_leases,
    messages,
    ordered_deliveries,
    payloads,
    read_transaction,
    write_transaction,
)


def make_outgoing_key(pmode: PMode, party: str, conversation: str) -> SequenceKey | None:
    """Return the sequence of the hub's messages of a conversation; None where no order is agreed."""
    if not pmode.reliability.message_order:
        return None
    return SequenceKey("out", party, pmode.agreement, conversation)


def assign_probable_number(hub: Hub, unit: UserMessage, key: SequenceKey) -> tuple[UserMessage, int]:
    """Return a message with the number that it will probably have, and its position."""
    with read_transaction(hub.engine) as conn:
        position = ordered_deliveries.find_sealed_position(conn, key)
    return replace(unit, sequence=make_sequence_number(position)), position


@dataclass(frozen=True, slots=True)
class _ResealedMessage:
    """A message that was sealed again with another number."""

    parcel: Parcel
    content: bytes
    signer: str
    position: int


def renew_sequence_number(hub: Hub, lease: DeliveryLease) -> DeliveryLease | None:
    """Return the lease with the octets to send: sealed again if the number of its message has changed.

    A message is sealed again only before its first attempt. Return None when the lease is lost.
    """
    with read_transaction(hub.engine) as conn:
        ordered_delivery = ordered_deliveries.find_ordered_delivery(conn, lease.id)
        message = messages.find_by_message_id(conn, "out", hub.party, lease.wire_id or "")
    if ordered_delivery is None or message is None or ordered_delivery.ordinal < ordered_delivery.base:
        return lease
    if ordered_delivery.ordinal - ordered_delivery.base == ordered_delivery.position:
        return lease
    sealed = _seal_again(hub, message, ordered_delivery.ordinal - ordered_delivery.base)
    now = hub.clock()
    with write_transaction(hub.engine, "msh.renumbered") as conn:
        if not delivery_leases.lock_active_lease(conn, lease):
            return None
        return _store_sealed(conn, lease, message, sealed, now)


def _seal_again(hub: Hub, message: MessageRow, position: int) -> _ResealedMessage:
    """Seal a stored, sent message anew with the number of another position; slow, outside a transaction."""
    register, protocol = hub.refresh_snapshot(), PROTOCOLS[message.protocol]
    context = hub.make_protocol_context(register)
    pmode = register.book.find_by_id(message.agreement_id, message.pmode_id or "", context.now)
    with read_transaction(hub.engine) as conn:
        parcel = hub.make_parcel(*messages.open_parcel(conn, message.id))
        parts = messages.load_payloads(conn, message.id)
    unit = protocol.read_sent_header(parcel, context.limits).unit
    if pmode is None or not isinstance(unit, UserMessage):
        raise GatewayError(PMODE_UNKNOWN, f"the P-Mode of message {message.message_id[:80]} is gone", "pmode")
    unit = replace(unit, payloads=parts, sequence=make_sequence_number(position))
    sealed = protocol.seal((unit,), pmode, context)
    return _ResealedMessage(
        sealed, sealed.read_octets(), context.signers[hub.party].certificate.sha256, position
    )


def _store_sealed(
    conn: Connection, lease: DeliveryLease, message: MessageRow, sealed: _ResealedMessage, now: datetime
) -> DeliveryLease:
    """Store the octets of a message that was sealed with a new number, in place of those of its delivery.

    Return the lease with the new octets and headers.
    """
    headers, digest = dict(sealed.parcel.headers), payloads.store_payload(conn, sealed.content, now)
    parameters = {**lease.parameters, "headers": headers}
    deliveries.replace_content(conn, lease.id, digest, parameters)
    identity = sealed.parcel.body.sha256_hex
    messages.replace_parcel(conn, message.id, headers, digest, identity, sealed.signer)
    ordered_deliveries.set_sealed_position(conn, lease.id, sealed.position)
    resealed = messages.find_by_id(conn, message.id)
    assert resealed is not None, "its row is locked by the order of its conversation"
    data = {"message_id": message.message_id, STORED: {"messages": digest_rows("messages", [resealed])}}
    assert message.case_id is not None, "the hub orders the messages about cases"
    record_evidence(conn, "NRS", "case", message.case_id, identity, data, now)
    return replace(lease, payload_sha256=digest, parameters=parameters)
