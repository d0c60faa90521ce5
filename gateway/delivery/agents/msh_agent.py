"""Sends sealed messages to a partner's message handler, the same octets on every attempt.

A business message is delivered when its Acknowledgment has arrived, in the HTTP answer or by a POST
of the partner's own. A signal is delivered when the partner has accepted it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.delivery.attempt_outcome import (
    FailedDelivery,
    LeaseLostError,
    RetryPlan,
    make_lease_finisher,
    run_with_current_register,
)
from gateway.delivery.http_answer_reader import make_status_error, require_identity_coding
from gateway.delivery.http_client import HttpClient
from gateway.delivery.stored_calls import (
    PostedMessage,
    check_answer_status,
    has_refusal,
    make_unsigned_error,
    open_answer,
    post_stored_message,
)
from gateway.errors import ANSWER_NOT_UNDERSTOOD, RECEIPT_MISSING, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    Hub,
    ReceivedSignal,
    RegisterSnapshot,
    drop_unwanted_fragment,
    end_failed_fragment,
    is_from_next_handler,
    queue_fragments,
    receive_response,
    record_delivery_failure,
    record_delivery_outcome,
    record_hop_receipt,
    renew_sequence_number,
    run_closing_commit,
)
from gateway.message_model import NEXT_MSH, ErrorSignal, Receipt
from gateway.protocols import PROTOCOLS, OpenedMessage, ProtocolContext, make_refusal_error
from gateway.store import (
    DeliveryLease,
    deliveries,
    delivery_leases,
    fragment_groups,
    ordered_deliveries,
    read_transaction,
    write_transaction,
)

_SIGNAL_PLAN: Final = RetryPlan(max_retries=5, first_delay=timedelta(seconds=5))


class MshAgent:
    """Posts parcels to message handlers."""

    def __init__(self, hub: Hub, http_client: HttpClient) -> None:
        self._hub = hub
        self._http_client = http_client

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retries that the P-Mode agreed; signals have a plan of their own."""
        if lease.subject_type == "signal":
            return _SIGNAL_PLAN
        interval = timedelta(seconds=int(lease.parameters["retry_interval"]))
        return RetryPlan(max_retries=int(lease.parameters["retries"]), first_delay=interval, is_constant=True)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Post the stored octets once and store the answer."""
        if "split" in lease.parameters:
            queue_fragments(self._hub, lease)
            return
        if "fragment" in lease.parameters and drop_unwanted_fragment(self._hub, lease):
            return
        # Under an agreement that this version does not read nothing is posted: the answer could not be
        # verified, and each repeat would reach the partner once more.
        _find_pmode(self._hub.refresh_snapshot(), lease, self._hub.clock())
        is_receipt_expected = bool(lease.parameters.get("receipt"))
        if is_receipt_expected and lease.tries > self.get_retry_plan(lease).max_retries + 1:
            raise GatewayError(
                RECEIPT_MISSING, f"no receipt after {lease.tries - 1} tries", "eb:Acknowledgment"
            )
        lease = self._renew_sequence_number(lease) if lease.parameters.get("ordered") else lease
        posted_message = post_stored_message(self._hub, self._http_client, lease)
        kill_at_failpoint("msh.after_post")
        check_answer_status(posted_message.answer)
        if not is_receipt_expected:
            self._check_refusal(lease, posted_message)
            self._store_response(lease, posted_message)
            self._complete_delivery(lease)
        elif posted_message.answer.body.strip():
            self._process_answer(lease, posted_message)
        else:
            self._mark_awaiting_receipt(lease)

    def _renew_sequence_number(self, lease: DeliveryLease) -> DeliveryLease:
        """Return the lease of an ordered message with the octets that have its present number."""
        renewed_lease = renew_sequence_number(self._hub, lease)
        if renewed_lease is None:
            raise LeaseLostError
        return renewed_lease

    def _complete_delivery(self, lease: DeliveryLease) -> None:
        finish_lease, now = make_lease_finisher(lease, self._hub.clock), self._hub.clock()
        run_closing_commit(
            self._hub.engine, "msh.delivered", lease.id, now, finish_lease, case_id=lease.case_id
        )

    def _mark_awaiting_receipt(self, lease: DeliveryLease) -> None:
        """Store that the message was posted and its receipt is due after the retry interval."""
        now, retry_plan = self._hub.clock(), self.get_retry_plan(lease)
        with write_transaction(self._hub.engine, "msh.awaiting") as conn:
            # A receipt may have arrived before this answer; then the lease has ended already.
            delivery_leases.mark_sent(
                conn,
                lease,
                now,
                now + retry_plan.first_delay,
                is_last_attempt=lease.tries > retry_plan.max_retries,
            )

    def _process_answer(self, lease: DeliveryLease, posted_message: PostedMessage) -> None:
        """Check the answer on the connection against the message sent, and apply its signal."""
        require_identity_coding(posted_message.answer)
        run_with_current_register(
            self._hub,
            posted_message.snapshot,
            lambda snapshot: self._apply_answer(lease, posted_message, snapshot),
        )

    def _apply_answer(
        self, lease: DeliveryLease, posted_message: PostedMessage, snapshot: RegisterSnapshot
    ) -> None:
        """Verify the answer by `snapshot`, and apply the receipt or error in it.

        Without one, or with a mere warning, wait for the receipt. Raise GW603 for an unsigned error where a
        signature is agreed.
        """
        context = self._hub.make_protocol_context(snapshot)
        opened_message = self._open_answer(lease, posted_message, snapshot, context)
        unit = next((each for each in opened_message.units if isinstance(each, Receipt | ErrorSignal)), None)
        if unit is None:
            self._mark_awaiting_receipt(lease)
            return
        if isinstance(unit, ErrorSignal) and unit.highest_severity != "Error":
            self._mark_awaiting_receipt(lease)
            return
        if (
            isinstance(unit, ErrorSignal)
            and opened_message.verified_signature is None
            and self._is_signature_required(lease)
        ):
            raise make_unsigned_error(unit)
        signal = ReceivedSignal(unit, opened_message, context)
        if isinstance(unit, Receipt) and unit.actor == NEXT_MSH:
            self._process_hop_receipt(lease, signal, snapshot)
        else:
            self._settle_signal(lease, signal, snapshot)

    def _settle_signal(
        self, lease: DeliveryLease, signal: ReceivedSignal, snapshot: RegisterSnapshot
    ) -> None:
        record_delivery_outcome(
            self._hub, signal, lease.id, lease.case_id, register_snapshot=snapshot, lease=lease
        )

    def _process_hop_receipt(
        self, lease: DeliveryLease, signal: ReceivedSignal, snapshot: RegisterSnapshot
    ) -> None:
        """Apply the receipt of the next handler: it ends the repeats, and the delivery if so agreed."""
        with read_transaction(self._hub.engine) as conn:
            delivery_row = deliveries.find_by_id(conn, lease.id)
        if delivery_row is None or not is_from_next_handler(delivery_row, signal):
            detail = "the receipt is not of the handler to which the message went"
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "eb:MessageHeader/eb:From")
        if delivery_row.parameters["hop"]["settles"]:
            self._settle_signal(lease, signal, snapshot)
        else:
            record_hop_receipt(self._hub, signal, delivery_row, register_snapshot=snapshot)

    def _check_refusal(self, lease: DeliveryLease, posted_message: PostedMessage) -> None:
        """Raise if the answer is an error of the handler: its ErrorList or Fault, or its HTTP status.

        The delivery is a signal, or a message that has no receipt. For a signal only the status of HTTP
        counts: an error about a signal ends nothing, because no agreement says by which rules it is read.
        """
        is_http_error = posted_message.answer.status >= 400
        if lease.subject_type == "signal":
            if is_http_error:
                raise make_status_error(posted_message.answer)
            return
        snapshot = self._hub.get_snapshot()
        context = self._hub.make_protocol_context(snapshot)
        pmode = _find_pmode(snapshot, lease, context.now)
        protocol = PROTOCOLS[pmode.protocol if pmode else "ebms2"]
        if not is_http_error and not has_refusal(posted_message.answer, protocol, self._hub, context):
            return
        require_identity_coding(posted_message.answer)
        opened_message = self._open_answer(lease, posted_message, snapshot, context)
        error_signals = [
            unit
            for unit in opened_message.units
            if isinstance(unit, ErrorSignal) and (is_http_error or unit.highest_severity == "Error")
        ]
        problem = make_refusal_error(error_signals[0]) if error_signals else None
        if (
            problem is not None
            and opened_message.verified_signature is None
            and self._is_signature_required(lease)
        ):
            raise make_unsigned_error(error_signals[0])
        if problem is not None:
            raise problem
        if is_http_error:
            raise make_status_error(posted_message.answer)

    def _store_response(self, lease: DeliveryLease, posted_message: PostedMessage) -> None:
        """Open the answer to a message without receipt, where a response in it is agreed."""
        pmode = _find_pmode(self._hub.refresh_snapshot(), lease, self._hub.clock())
        if pmode is not None and pmode.has_response_in_answer and posted_message.answer.body.strip():
            require_identity_coding(posted_message.answer)
            snapshot = self._hub.get_snapshot()
            self._open_answer(lease, posted_message, snapshot, self._hub.make_protocol_context(snapshot))

    def _is_signature_required(self, lease: DeliveryLease) -> bool:
        """Return whether the P-Mode of a message requires signatures; True when the P-Mode is gone."""
        pmode = _find_pmode(self._hub.refresh_snapshot(), lease, self._hub.clock())
        return pmode is None or pmode.security.sign

    def _open_answer(
        self,
        lease: DeliveryLease,
        posted_message: PostedMessage,
        snapshot: RegisterSnapshot,
        context: ProtocolContext,
    ) -> OpenedMessage:
        """Return the verified content of an answer; a business message in it is stored."""
        pmode = _find_pmode(snapshot, lease, context.now)
        protocol = PROTOCOLS[pmode.protocol if pmode else "ebms2"]
        is_signing_agreed = pmode is None or pmode.security.sign
        opened_message = open_answer(
            self._hub, lease, posted_message, protocol, context, is_signing_agreed=is_signing_agreed
        )
        # The response is stored before anything is done about our own message.
        receive_response(self._hub, protocol, opened_message, snapshot)
        return opened_message

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record the DeliveryFailure (ebMS 2.0 §6.5.7) for case and operator; nothing is sent.

        Where an order is agreed, the next message of the conversation begins a new sequence.
        """
        delivery = failure.delivery
        if "fragment" in delivery.parameters:
            end_failed_fragment(conn, delivery, failure.problem, failure.at)
        if "split" in delivery.parameters:
            fragment_groups.end_sent_group(conn, delivery.id, failure.at, has_receipt=False)
        if delivery.parameters.get("ordered"):
            ordered_deliveries.give_up_position(conn, delivery.id, failure.at)
        record_delivery_failure(conn, delivery, failure.problem.problem.id, failure.at)


def _find_pmode(snapshot: RegisterSnapshot, lease: DeliveryLease, at: datetime) -> PMode | None:
    """Return the P-Mode of a queued message, None when it is gone; raise GW906 where it is not read."""
    pmode_id = str(lease.parameters.get("pmode"))
    return snapshot.book.find_by_id(lease.parameters.get("agreement"), pmode_id, at)
