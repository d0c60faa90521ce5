"""An agency is told that a fee was paid, where the settings say that it wants to hear it (NotifyPayment)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import AgencyAnswer, SignedReply
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.fees.fee_records import get_fee
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease, OutgoingCall
from gateway.hub.sent_applications import find_submission
from gateway.store import (
    NewDelivery,
    agency_requests,
    cases,
    correlations,
    deliveries,
    fees,
    payloads,
    read_transaction,
    write_transaction,
)

__all__ = ["record_told_payment", "tell_agency_of_payment"]

#: The operation that tells an agency of a payment.
_PAYMENT_NOTE: Final = "NotifyPayment"


def tell_agency_of_payment(hub: Hub, fee: int, finish: FinishLease) -> None:
    """Queue the call that tells the agency of a payment, behind its application; or end the task alone."""
    with read_transaction(hub.engine) as conn:
        row = get_fee(conn, fee)
        request = agency_requests.find_by_id(conn, row.request_id)
        moved = [one for one in fees.list_movements(conn, fee) if one.state == "COUNTED"]
    if request is None or not moved:
        raise GatewayError(OUR_MISTAKE, f"fee {row.number} has no application or no payment")
    call, envelope = None, b""
    if hub.composer.wants_payments(row.agency):
        call = _make_call(hub, row, request, moved[0])
        envelope = hub.composer.compose_call(call)
    with write_transaction(hub.engine, "fees.told") as conn:
        if call is not None:
            cases.lock_case(conn, row.case_id)
            _enqueue_call(conn, hub, (row, request), (call, envelope))
        finish(conn)


def _make_call(hub: Hub, fee: Row[Any], request: Row[Any], payment: Row[Any]) -> OutgoingCall:
    paid_at = payment.moved_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    arguments = {"ApplicationNumber": request.number, "FeeNumber": fee.number}
    if fee.payment_notice:
        arguments["PaymentNotice"] = fee.payment_notice
    arguments |= {"Amount": payment.amount, "Currency": payment.currency}
    arguments |= {"PaidAt": paid_at, "Payment": payment.reference}
    return OutgoingCall(fee.agency, _PAYMENT_NOTE, f"urn:uuid:{hub.new_uuid()}", arguments)


def _enqueue_call(
    conn: Connection, hub: Hub, about: tuple[Row[Any], Row[Any]], made: tuple[OutgoingCall, bytes]
) -> None:
    (fee, request), (call, envelope) = about, made
    now = hub.clock()
    sent = find_submission(deliveries.list_by_request(conn, request.case_id, request.id))
    follows = None if sent is None or sent.state == "FAILED" else int(sent.id)
    correlations.insert_correlation(conn, "wsa", call.message_id, fee.case_id, request.id)
    new = NewDelivery(
        agent="soap",
        destination=fee.agency,
        subject_type="fee",
        subject_id=str(fee.id),
        dedupe_key=f"paid:{fee.number}",
        wire_id=call.message_id,
        payload_sha256=payloads.store_payload(conn, envelope, now),
        parameters={"operation": _PAYMENT_NOTE},
        follows=follows,
    )
    deliveries.enqueue_delivery(conn, new, now)


def record_told_payment(
    conn: Connection, fee: Row[Any], heard: tuple[AgencyAnswer, SignedReply], now: datetime
) -> None:
    """Store for a fee of a locked case that its agency knows of the payment, and how it said so."""
    answer, spoken = heard
    fees.change_fee(conn, fee.id, told_at=now)
    digest = payloads.store_payload(conn, spoken.envelope, now)
    data = {"agency": fee.agency, "fee": fee.number, "answer": repr(answer)[:300]}
    data["signer"] = str(spoken.signer)
    record_evidence(conn, "fee", "request", fee.request_id, digest, data | {"step": "told"}, now)
