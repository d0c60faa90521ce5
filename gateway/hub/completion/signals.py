"""Answers StatusRequests; applies receipts and errors of the receiver, and of handlers on the way.

An Acknowledgment of the next handler ends the repeats of the hub to that handler, and nothing else: the
signature does not cover it. A DeliveryFailure of a handler on the way ends the delivery of the hub's message.
Signals count only if they come from the handler to which the message was sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion.case_closing import run_closing_commit
from gateway.hub.hub import Hub
from gateway.hub.outbox.sent_fragments import end_failed_fragment
from gateway.hub.register.trusted_register import RegisterSnapshot
from gateway.message_model import Body, ErrorSignal, Receipt, StatusRequest, StatusResponse
from gateway.protocols import (
    OpenedMessage,
    ProtocolContext,
    ProtocolCore,
    list_unagreed_algorithms,
    make_refusal_error,
)
from gateway.store import (
    AttemptOutcome,
    DeliveryLease,
    DeliveryRow,
    StateEvent,
    cases,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    fragment_groups,
    make_attempt_outcome,
    messages,
    ordered_deliveries,
    payloads,
    read_transaction,
    write_transaction,
)

_log = logging.getLogger(__name__)

#: The status of a stored message, as ebMS 2.0 §7.1.2 names it.
_STATUS_NAMES = {
    "RECEIVED": "Received",
    "ACCEPTED": "Received",
    "FAILED": "Received",
    "PROCESSED": "Processed",
    "REFUSED": "UnAuthorized",
}


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A receipt or an error, the message that contained it, and the context by which that was read."""

    unit: Receipt | ErrorSignal
    opened: OpenedMessage
    context: ProtocolContext

    @property
    def sender(self) -> str:
        """Return the party that sent it."""
        return self.context.get_party_name(self.unit.sender)

    def check_receipt(
        self, hub: Hub, protocol: ProtocolCore, headers: Mapping[str, str], content: bytes | Body
    ) -> None:
        """Raise GW309 for a receipt that does not match the parcel that was sent."""
        sent = protocol.read_sent_header(hub.make_parcel(headers, content), self.context.limits)
        protocol.check_answer(self.opened, sent)


def answer_status_request(
    hub: Hub, protocol: ProtocolCore, unit: StatusRequest, opened: OpenedMessage, context: ProtocolContext
) -> StatusResponse:
    """Answer the StatusRequest of an opened message; a party learns the status of its own messages only.

    Where a StatusRequest must be signed, an unsigned one is answered `UnAuthorized` for every
    MessageId. A sender who has seen or guessed a MessageId learns nothing from that. Outside of any
    agreement a party learns only the status of its messages that the hub has passed on.
    """
    if opened.verified_signature is None and (
        opened.pmode is None or opened.pmode.security.needs_signed_status
    ):
        return protocol.make_status_response(unit, "UnAuthorized", None, context)
    with read_transaction(hub.engine, acknowledges_data=True) as conn:
        row = messages.find_by_message_id(
            conn, "in", context.get_party_name(unit.sender), unit.queried_message_id
        )
    is_passing = row is not None and row.to_party != hub.party
    if row is None or not (is_passing or opened.pmode is not None):
        return protocol.make_status_response(unit, "NotRecognized", None, context)
    status_name = "Forwarded" if is_passing and row.state == "PROCESSED" else _STATUS_NAMES[row.state]
    return protocol.make_status_response(
        unit, status_name, None if status_name == "UnAuthorized" else row.received_at, context
    )


def apply_signals(hub: Hub, protocol: ProtocolCore, opened: OpenedMessage, context: ProtocolContext) -> None:
    """Apply the receipts and errors among the units to the deliveries that they refer to.

    A signal that refers to no delivery of the hub, or to one that is settled already, changes nothing and is
    not answered (ebMS 2.0 §4.2.4.3, §6.3.2.7). A receipt that does not match raises GW309.
    """
    for unit in opened.units:
        if isinstance(unit, Receipt | ErrorSignal) and _may_end_delivery(unit, opened):
            _apply_signal(hub, protocol, ReceivedSignal(unit, opened, context))


def _apply_signal(hub: Hub, protocol: ProtocolCore, signal: ReceivedSignal) -> None:
    """Apply a receipt or an error to the delivery of the hub's message that it refers to.

    It changes nothing if there is none, or if another party sent the signal. Raises GW309 for a receipt that
    does not match the message.
    """
    message_id = signal.unit.ref_to_message_id
    if message_id is None:
        return
    with read_transaction(hub.engine) as conn:
        delivery = deliveries.find_by_wire_id(conn, message_id)
        message = messages.find_by_message_id(conn, "out", hub.party, message_id)
        if delivery is None or message is None or delivery.destination != signal.sender:
            return
        headers, content = messages.open_parcel(conn, message.id)
    signal.check_receipt(hub, protocol, headers, content)
    record_delivery_outcome(
        hub, signal, delivery.id, delivery.case_id, is_split="split" in delivery.parameters
    )


def record_delivery_outcome(
    hub: Hub,
    signal: ReceivedSignal,
    delivery: int,
    case_id: int | None,
    *,
    register_snapshot: RegisterSnapshot | None = None,
    lease: DeliveryLease | None = None,
    is_split: bool = False,
) -> None:
    """Store that the other handler acknowledged or refused a delivery (row id), which may be of a case.

    Raises StaleSnapshotError when the register is not that of `register_snapshot`, by which the signal was
    opened. `lease` is held by the attempt that the signal answers. `is_split` says that the message went in
    fragments.
    """
    unit, opened, now = signal.unit, signal.opened, signal.context.now
    problem = make_refusal_error(unit)

    def settle(conn: Connection) -> DeliveryRow | None:
        """End the delivery, and record the receipt or the refusal as evidence; return the refused delivery.

        None for a receipt, and for a delivery that has ended before.
        """
        if not _end_receipted_lease(conn, lease, problem, now, register_snapshot):
            if register_snapshot is not None:
                hub.register.check_snapshot_current(conn, register_snapshot)
            outcome = _make_refusal_outcome(problem)
            if not delivery_maintenance.apply_receipt_or_error(conn, delivery, now, "receive", outcome):
                return None
        evidence_kind = "NRR" if problem is None else "refusal"
        data = {
            "message_id": unit.message_id,
            "about": unit.ref_to_message_id or "",
            "detail": problem.detail if problem else "",
        }
        if opened.verified_signature is not None and opened.pmode is not None:
            # Algorithms that are not agreed are accepted in this version, and `gateway check` reports them.
            others = list_unagreed_algorithms(opened.verified_signature, opened.pmode)
            data |= {"algorithms": " ".join(others)} if others else {}
        record_evidence(conn, evidence_kind, "delivery", delivery, opened.identity, data, now)
        if is_split:
            fragment_groups.end_sent_group(conn, delivery, now, has_receipt=problem is None)
        if problem is None:
            return None
        row = deliveries.find_by_id(conn, delivery)
        if row is not None and "fragment" in row.parameters:
            end_failed_fragment(conn, row, problem, now)
        if row is not None and row.parameters.get("ordered"):
            ordered_deliveries.give_up_position(conn, delivery, now)
        return row

    refused = run_closing_commit(hub.engine, "signals.settled", delivery, now, settle, case_id=case_id)
    if refused is not None and problem is not None:
        _log_refusal(hub, refused, problem)


def _log_refusal(hub: Hub, row: DeliveryRow, problem: GatewayError) -> None:
    """Log an error: the receiver has refused the message of the delivery `row`, with the reason it gave."""
    case = None
    if row.case_id is not None:
        with read_transaction(hub.engine) as conn:
            case = cases.find_by_id(conn, row.case_id)
    reason = make_attempt_outcome(problem).theirs or problem.problem.title
    _log.error(
        "the delivery has FAILED: %s it refused the message; they said: %s",
        *(problem.problem.id, reason),
        extra={
            "partner": row.destination,
            "case": case and case.number,
            "delivery": row.id,
            "problem": problem.problem.id,
        },
    )


def _end_receipted_lease(
    conn: Connection,
    lease: DeliveryLease | None,
    problem: GatewayError | None,
    now: datetime,
    register: RegisterSnapshot | None,
) -> bool:
    """End the lease of a receipted attempt in one statement; return False if the lease has changed."""
    if lease is None or problem is not None or register is None:
        return False
    return delivery_leases.mark_receipted(conn, lease, now, "receive", register_version=register.epoch)


def _make_refusal_outcome(problem: GatewayError | None) -> AttemptOutcome | None:
    """Return the refusal as an outcome, with the partner's words apart; None for a receipt."""
    if problem is None:
        return None
    ours = GatewayError(problem.problem, "it refused the message", theirs=problem.theirs)
    return make_attempt_outcome(ours)


def _may_end_delivery(unit: Receipt | ErrorSignal, opened: OpenedMessage) -> bool:
    """Return whether a signal that arrived in a message of its own may end a delivery.

    A warning ends no delivery. An unsigned error ends none either, because anyone may have sent it;
    the delivery is then repeated as often as its P-Mode allows.
    """
    return isinstance(unit, Receipt) or (
        opened.verified_signature is not None and unit.highest_severity == "Error"
    )


def apply_hop_signal(
    hub: Hub, protocol: ProtocolCore, opened: OpenedMessage, context: ProtocolContext
) -> None:
    """Apply a signal of another handler, which came in a message of its own.

    A signal about a message that was not sent to the signal's sender changes nothing and is not answered.
    Raises GW309 for a receipt that does not match the message sent.
    """
    unit = opened.unit
    if not isinstance(unit, Receipt | ErrorSignal) or unit.ref_to_message_id is None:
        return
    signal = ReceivedSignal(unit, opened, context)
    if context.find_party_name(unit.receiver.ids[0]) == hub.party:
        _apply_signal_to_own_message(hub, protocol, signal)
    elif isinstance(unit, Receipt):
        _apply_receipt_of_passage(hub, protocol, signal)


def _apply_signal_to_own_message(hub: Hub, protocol: ProtocolCore, signal: ReceivedSignal) -> None:
    """Apply a signal of the next handler to the delivery of a message of the hub that it refers to.

    An error ends the delivery. A receipt ends it where it is the only receipt requested; otherwise that of
    the receiver is awaited. Raises GW309 for a receipt that does not match the message.
    """
    unit = signal.unit
    message_id = unit.ref_to_message_id or ""
    with read_transaction(hub.engine) as conn:
        delivery = deliveries.find_by_wire_id(conn, message_id)
        message = messages.find_by_message_id(conn, "out", hub.party, message_id)
        if delivery is None or message is None or message.agreement_id != unit.agreement:
            return
        if not is_from_next_handler(delivery, signal):
            return
        headers, content = messages.open_parcel(conn, message.id)
    if isinstance(unit, ErrorSignal):
        if unit.highest_severity == "Error":
            record_delivery_outcome(hub, signal, delivery.id, delivery.case_id)
        return
    signal.check_receipt(hub, protocol, headers, content)
    if delivery.parameters["hop"]["settles"]:
        record_delivery_outcome(hub, signal, delivery.id, delivery.case_id)
    else:
        record_hop_receipt(hub, signal, delivery)


def _apply_receipt_of_passage(hub: Hub, protocol: ProtocolCore, signal: ReceivedSignal) -> None:
    """Apply a receipt of the next handler to a message of another party that the hub has passed on to it.

    Raises GW309 for a receipt that does not match the message.
    """
    unit, context = signal.unit, signal.context
    with read_transaction(hub.engine) as conn:
        sender = context.find_party_name(unit.receiver.ids[0]) or ""
        message = messages.find_by_message_id(conn, "in", sender, unit.ref_to_message_id or "")
        if message is None:
            return
        delivery = deliveries.find_by_dedupe_key(conn, f"onward:{message.id}")
        if delivery is None or delivery.destination != signal.sender:
            return
        content = payloads.open_payload(conn, delivery.payload_sha256 or "")
    signal.check_receipt(hub, protocol, delivery.parameters["headers"], content)
    with write_transaction(hub.engine, "passing.settled") as conn:
        if delivery_maintenance.apply_receipt_or_error(conn, delivery.id, context.now, "receive"):
            record_passage_end(conn, delivery, context.now, unit.message_id)


def is_from_next_handler(delivery: DeliveryRow, signal: ReceivedSignal) -> bool:
    """Return whether a signal was sent by the next handler, to which the delivery was posted."""
    hop = delivery.parameters.get("hop")
    return hop is not None and hop["party"] == signal.sender


def record_hop_receipt(
    hub: Hub,
    signal: ReceivedSignal,
    delivery: DeliveryRow,
    *,
    register_snapshot: RegisterSnapshot | None = None,
) -> None:
    """Store that the next handler has received the hub's message: it is not sent to that handler again.

    The receipt of the To party is awaited until the time of the message is over. Raises StaleSnapshotError
    when the register is not that of `register_snapshot`, by which the receipt was opened.
    """
    unit, now = signal.unit, signal.context.now
    with write_transaction(hub.engine, "signals.hop") as conn:
        if register_snapshot is not None:
            hub.register.check_snapshot_current(conn, register_snapshot)
        if delivery_maintenance.await_final_receipt(conn, delivery.id, now, delivery.expires_at or now):
            data = {"message_id": unit.message_id, "about": unit.ref_to_message_id or ""}
            identity = signal.opened.identity
            record_evidence(conn, "hop_receipt", "delivery", delivery.id, identity, data, now)


def record_passage_end(
    conn: Connection, delivery: DeliveryRow | DeliveryLease, at: datetime, answer_id: str = ""
) -> None:
    """Store that the next handler has a message that the hub passed on; `answer_id` is its answer's id."""
    message = int(delivery.subject_id)
    row = messages.find_by_id(conn, message)
    if row is not None and row.state in ("ACCEPTED", "FAILED"):
        if row.state == "FAILED":
            messages.apply_event(conn, message, StateEvent("retry", at, "passing"))
        messages.apply_event(conn, message, StateEvent("process", at, "passing"))
    data = {"next": delivery.destination, "answer": answer_id}
    record_evidence(conn, "forwarded", "message", message, delivery.payload_sha256, data, at)
