"""Notifies agencies of paid fees (NotifyPayment) and applicants of fees; has the acts of operators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.cases import (
    FeeStep,
    NamedFee,
    Notice,
    SignedAnswer,
    StatusCode,
    make_notice_document,
)
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.fees.fee_ends import settle_request
from gateway.hub.fees.fee_records import (
    OPEN_FEE_STATES,
    cancel_fee,
    close_order,
    get_fee,
    queue_fee_notice,
    read_fee_money,
    read_movement_money,
    record_fee_step,
)
from gateway.hub.hub import Hub
from gateway.hub.outbox.applicant_messages import (
    load_case_snapshot,
    make_case_header,
    make_request_state,
    send_notice,
)
from gateway.hub.outbox.local_tasks import FinishLease, require_row
from gateway.hub.outbox.outgoing_calls import (
    WSDL_DIGEST,
    ComposedEnvelope,
    OutgoingCall,
    find_submission_delivery,
)
from gateway.store import (
    AgencyRequestRow,
    FeeMovementRow,
    FeeRow,
    NewDelivery,
    StateEvent,
    agency_requests,
    cases,
    deadlines,
    deliveries,
    fees,
    payloads,
    read_transaction,
)
from gateway.wire import format_instant

#: The operation that tells an agency of a payment.
_PAYMENT_NOTE: Final = "NotifyPayment"


def notify_agency_of_payment(hub: Hub, fee_id: int, end_lease: FinishLease) -> None:
    """Queue the call about a payment to the agency, behind its application; or only end the task."""
    with read_transaction(hub.engine) as conn:
        row, request = _get_fee_of_request(conn, fee_id)
        counted_payments = [
            movement for movement in fees.list_movements(conn, fee_id) if movement.state == "COUNTED"
        ]
    payment = require_row(next(iter(counted_payments), None), f"the payment of fee {row.number}")
    call, envelope = None, None
    if hub.composer.wants_payments(row.agency):
        call = _make_call(hub, row, request, payment)
        envelope = hub.composer.compose_call(call)
    with case_transaction(hub, "fees.told", row.case_id, end_lease) as (conn, _):
        if call is not None and envelope is not None:
            _enqueue_call(conn, row, call, envelope, hub.clock())


def _get_fee_of_request(conn: Connection, fee: int) -> tuple[FeeRow, AgencyRequestRow]:
    """Return a fee (row id) and the request that it is of."""
    row = get_fee(conn, fee)
    found_request = agency_requests.find_by_id(conn, row.request_id)
    return row, require_row(found_request, f"the application of fee {row.number}")


def _make_call(hub: Hub, fee: FeeRow, request: AgencyRequestRow, payment: FeeMovementRow) -> OutgoingCall:
    """Return the call, not yet composed, that notifies the agency of the payment of a fee."""
    assert payment.moved_at is not None, "a payment is stored with its time"
    paid_at = format_instant(payment.moved_at)
    arguments = {"ApplicationNumber": request.number, "FeeNumber": fee.number}
    if fee.payment_notice:
        arguments["PaymentNotice"] = fee.payment_notice
    arguments |= {"Amount": payment.amount, "Currency": payment.currency}
    arguments |= {"PaidAt": paid_at, "Payment": payment.reference}
    return OutgoingCall(fee.agency, _PAYMENT_NOTE, f"urn:uuid:{hub.new_uuid()}", arguments)


def _enqueue_call(
    conn: Connection, fee: FeeRow, call: OutgoingCall, envelope: ComposedEnvelope, now: datetime
) -> None:
    """Queue the call about a payment once for a fee, behind the delivery of its application."""
    sent = find_submission_delivery(deliveries.list_by_request(conn, fee.case_id, fee.request_id))
    follows = None if sent is None or sent.state == "FAILED" else int(sent.id)
    agency_requests.insert_correlation(conn, "wsa", call.message_id, fee.case_id, fee.request_id)
    new = NewDelivery(
        agent="soap",
        destination=fee.agency,
        subject_type="fee",
        subject_id=str(fee.id),
        dedupe_key=f"paid:{fee.number}",
        wire_id=call.message_id,
        payload_sha256=payloads.store_payload(conn, envelope.octets, now),
        parameters={"operation": _PAYMENT_NOTE, WSDL_DIGEST: envelope.wsdl_sha256},
        follows=follows,
    )
    deliveries.enqueue_delivery(conn, new, now)


def record_payment_notified(
    conn: Connection, fee: FeeRow, signed_answer: SignedAnswer, now: datetime
) -> None:
    """Store for a fee of a locked case that its agency knows of the payment, and how it said so."""
    fees.change_fee(conn, fee.id, told_at=now)
    digest = payloads.store_payload(conn, signed_answer.reply.envelope, now)
    data = {"agency": fee.agency, "fee": fee.number, "answer": repr(signed_answer.answer)[:300]}
    data["signer"] = str(signed_answer.reply.signer_sha256)
    record_evidence(conn, "fee", "request", fee.request_id, digest, data | {"step": "told"}, now)


_MAX_REASON_CHARACTERS: Final = 100


def waive_fee(conn: Connection, fee: int, at: datetime, actor: str, reason: str) -> None:
    """Demand a fee (row id) no more; raises GW705 for one that is not due."""
    row = _lock_open_fee(conn, fee)
    cancel_fee(conn, row, StateEvent("cancel", at, actor, reason[:_MAX_REASON_CHARACTERS]), ended_at=at)
    _record_fee_act(conn, row, "fees waive", actor, reason, FeeStep.CANCEL, at)


def settle_fee_elsewhere(conn: Connection, fee: int, at: datetime, actor: str, reason: str) -> None:
    """Record that a fee (row id) was paid elsewhere; raises GW705 for one that is not due.

    A payment that the provider had received before is counted when the provider reports it; a later one is
    given back.
    """
    row = _lock_open_fee(conn, fee)
    event = StateEvent("confirm", at, actor, reason[:_MAX_REASON_CHARACTERS])
    fees.apply_event(conn, row.id, event, ended_at=at)
    record_fee_step(conn, row, "confirmed", at, by=event.detail)
    close_order(conn, row, event)
    _record_fee_act(conn, row, "fees settle", actor, reason, FeeStep.PAY, at)


def _lock_open_fee(conn: Connection, fee: int) -> FeeRow:
    """Lock the case of a fee (row id) and return the fee; raise GW705 if it is not due any more."""
    cases.lock_case(conn, get_fee(conn, fee).case_id)
    row = get_fee(conn, fee)
    if row.state not in OPEN_FEE_STATES:
        detail = f"fee {row.number} is {row.state}: only one that is due is waived or settled"
        raise GatewayError(TRANSITION_REFUSED, detail, "fee")
    return row


def _record_fee_act(
    conn: Connection, fee: FeeRow, act_name: str, actor: str, reason: str, step: FeeStep, at: datetime
) -> None:
    """Record what an operator did about a fee, settle its request, and queue the applicant's notice.

    `act_name` is the command, `actor` the operator, `step` the step of the fee that the notice is about.
    """
    settle_request(conn, fee.request_id, at)
    deadlines.wake_fee(conn, fee.request_id, fee.number, at)
    queue_fee_notice(conn, fee, step, at)
    data = {"act": act_name, "actor": actor, "reason": reason, "fee": fee.number}
    record_evidence(conn, "operator", "request", fee.request_id, None, data, at)


_NOTICE_TEXTS: Final = {
    FeeStep.AWAIT: "The application is forwarded to the agency when this fee is paid.",
    FeeStep.LEVY: "This fee can be paid at the address.",
    FeeStep.PAY: "The fee is paid.",
    FeeStep.CANCEL: "The fee is not due any more.",
    FeeStep.REFUND: "This amount is given back.",
}


def notify_of_fee(hub: Hub, fee_id: int, step_name: str, refund_number: str, end_lease: FinishLease) -> None:
    """Send the applicant a Notice about one step of a fee.

    `refund_number` is the number of the refund that the step is about, or empty.
    """
    now = hub.clock()
    step = FeeStep(step_name)
    with read_transaction(hub.engine) as conn:
        row, request = _get_fee_of_request(conn, fee_id)
        movement = fees.find_movement(conn, "refund", refund_number) if refund_number else None
        codes = hub.load_rules_of(conn, request).status_codes
    case_snapshot = load_case_snapshot(hub, row.case_id)
    money = read_fee_money(row) if movement is None else read_movement_money(movement)
    named_fee = NamedFee(money, row.due_on, row.payment_notice, row.refundable)
    number = f"{row.number}-{step.value.upper()}" if movement is None else str(movement.reference)
    notice = Notice(number, now, _find_code(codes, step, row.kind), text=_NOTICE_TEXTS[step], fee=named_fee)
    address = (row.address or "") if step in (FeeStep.AWAIT, FeeStep.LEVY) else ""
    document = make_notice_document(
        make_case_header(case_snapshot, now), make_request_state(request), notice, address
    )
    key = f"fee:{step}:{row.number}:{refund_number}:message"
    send_notice(hub, "fees.notice", case_snapshot, document, key, now, end_lease)


def _find_code(codes: Mapping[str, StatusCode], step: FeeStep, kind: str) -> str:
    """Return the status code of a step; of a table that has none, the code of a fee that is waited for."""
    matching = [
        status_code.code
        for status_code in codes.values()
        if status_code.fee_step == step and status_code.fee_kind in ("", kind)
    ]
    return matching[0] if matching else "Y17"
