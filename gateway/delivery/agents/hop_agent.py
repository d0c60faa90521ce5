"""Sends messages of other parties on to the next handler (ebMS 2.0 chapter 10).

A message is forwarded when the next handler has acknowledged it, where the forwarding rule asks for
that, and otherwise when it has accepted it. An answer on the connection goes back to the party that
sent the message: it is stored and queued in the transaction that ends the delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import FailedDelivery, LeaseLostError, RetryPlan, make_lease_finisher
from gateway.delivery.http_answer_reader import require_identity_coding
from gateway.delivery.http_client import HttpClient
from gateway.delivery.stored_calls import (
    PostedMessage,
    check_answer_status,
    make_unsigned_error,
    open_answer,
    post_stored_message,
)
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    ATTEMPTS_USED_UP,
    RECEIPT_MISSING,
    REFUSED_FOR_GOOD,
    TIME_TO_LIVE_EXPIRED,
    UNREACHABLE,
    GatewayError,
)
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    Hub,
    ReceivedMessage,
    prepare_passage,
    queue_delivery_failure,
    record_passage_end,
    store_passage,
)
from gateway.message_model import NEXT_MSH, ErrorSignal, Receipt
from gateway.protocols import PROTOCOLS
from gateway.store import (
    DeliveryAttemptRow,
    DeliveryLease,
    StateEvent,
    delivery_leases,
    messages,
    write_transaction,
)

#: Error texts of the operating system for a connection on which nothing was sent.
_NOT_SENT_PHRASES: Final = (
    "connection refused",
    "name or service not known",
    "no address associated",
    "temporary failure in name resolution",
    "no route to host",
    "network is unreachable",
    "no host can have this name",
)


class HopAgent:
    """Posts messages of other parties to the next handler, the same octets on every attempt."""

    def __init__(self, hub: Hub, http_client: HttpClient) -> None:
        self._hub = hub
        self._http_client = http_client

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retries of the forwarding rule."""
        interval = timedelta(seconds=int(lease.parameters["retry_interval"]))
        return RetryPlan(max_retries=int(lease.parameters["retries"]), first_delay=interval, is_constant=True)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Post the message once and store the result of that."""
        self._check_time_and_tries(lease)
        posted_message = post_stored_message(self._hub, self._http_client, lease)
        kill_at_failpoint("hop.after_post")
        check_answer_status(posted_message.answer)
        if posted_message.answer.body.strip():
            self._process_answer(lease, posted_message)
        elif lease.parameters.get("receipt"):
            self._mark_awaiting_receipt(lease)
        else:
            self._finish_forwarding(lease)

    def _check_time_and_tries(self, lease: DeliveryLease) -> None:
        """Raise for a message whose time is over, or that the next handler never acknowledged."""
        if lease.expires_at is not None and lease.expires_at <= self._hub.clock():
            raise GatewayError(TIME_TO_LIVE_EXPIRED, "its time was over before it was forwarded")
        if lease.tries > self.get_retry_plan(lease).max_retries + 1:
            raise GatewayError(
                RECEIPT_MISSING, f"no receipt after {lease.tries - 1} tries", "eb:Acknowledgment"
            )

    def _mark_awaiting_receipt(self, lease: DeliveryLease) -> None:
        now = self._hub.clock()
        with write_transaction(self._hub.engine, "passing.awaiting") as conn:
            # A receipt may have arrived before this answer; then the lease has ended already.
            delivery_leases.mark_sent(conn, lease, now, now + self.get_retry_plan(lease).first_delay)

    def _finish_forwarding(self, lease: DeliveryLease, receipt_id: str = "") -> None:
        now = self._hub.clock()
        with write_transaction(self._hub.engine, "passing.forwarded") as conn:
            make_lease_finisher(lease, self._hub.clock)(conn)
            record_passage_end(conn, lease, now, receipt_id)

    def _process_answer(self, lease: DeliveryLease, posted_message: PostedMessage) -> None:
        """Apply a receipt of the next handler, or send an answer of the To party back."""
        require_identity_coding(posted_message.answer)
        received_message = self._open_answer(lease, posted_message)
        unit = received_message.opened.unit
        if (
            isinstance(unit, ErrorSignal)
            and unit.highest_severity == "Error"
            and received_message.opened.verified_signature is None
        ):
            raise make_unsigned_error(unit)
        if isinstance(unit, Receipt) and unit.actor == NEXT_MSH:
            if received_message.context.get_party_name(unit.sender) != lease.destination:
                detail = "the receipt is not of the handler to which the message went"
                raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "eb:MessageHeader/eb:From")
            self._finish_forwarding(lease, unit.message_id)
        elif received_message.opened.forwarding_rule is None:
            detail = "the answer is neither for this handler nor for the sender of the message"
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "eb:MessageHeader/eb:To")
        else:
            self._pass_answer_back(lease, received_message)

    def _open_answer(self, lease: DeliveryLease, posted_message: PostedMessage) -> ReceivedMessage:
        """Return the answer of the next handler, opened and verified by the current register."""
        snapshot = self._hub.refresh_snapshot()
        context = self._hub.make_protocol_context(snapshot)
        protocol = PROTOCOLS[str(lease.parameters["protocol"])]
        # The sender signs each message that is passed on. A Fault is unsigned: an intermediary may send it.
        opened_message = open_answer(
            self._hub, lease, posted_message, protocol, context, is_signing_agreed=True
        )
        return ReceivedMessage(self._hub, protocol, opened_message, context, snapshot)

    def _pass_answer_back(self, lease: DeliveryLease, received_message: ReceivedMessage) -> None:
        """Finish the delivery, and store and queue the answer for the sender of the message.

        Raise LeaseLostError if the answer has no forwarding rule, or the lease is lost.
        """
        forwarding_rule = received_message.opened.forwarding_rule
        if forwarding_rule is None:
            raise LeaseLostError
        passage = prepare_passage(received_message, forwarding_rule)
        now = self._hub.clock()
        with write_transaction(self._hub.engine, "passing.answered") as conn:
            make_lease_finisher(lease, self._hub.clock)(conn)
            record_passage_end(conn, lease, now, received_message.opened.unit.message_id)
            store_passage(conn, self._hub, passage, None, now)

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Store that a message was not forwarded, and report this to its sender (ebMS 2.0 §6.5.7)."""
        message_id = int(failure.delivery.subject_id)
        message_row, problem = messages.find_by_id(conn, message_id), failure.problem.problem.id
        if message_row is not None and message_row.state == "ACCEPTED":
            messages.apply_event(
                conn, message_id, StateEvent("fail", failure.at, "passing", problem), problem
            )
        sender_problem = GatewayError(failure.problem.problem, "the next handler did not take the message")
        is_certain = is_certainly_undelivered(
            failure.problem, delivery_leases.list_attempts(conn, failure.delivery.id)
        )
        queue_delivery_failure(conn, message_id, sender_problem, failure.at, is_certain=is_certain)


def is_certainly_undelivered(problem: GatewayError, attempts: Sequence[DeliveryAttemptRow]) -> bool:
    """Return whether the next handler certainly does not have a message: it refused it, or never got it.

    After an attempt that may have sent octets, the message may have been delivered.
    """
    if problem.problem is REFUSED_FOR_GOOD:
        return True
    return all(_is_certainly_unsent(attempt) for attempt in attempts)


def _is_certainly_unsent(attempt: DeliveryAttemptRow) -> bool:
    if attempt.problem not in (UNREACHABLE.id, ATTEMPTS_USED_UP.id):
        return False
    error_text = (attempt.sentence or "").lower()
    return any(phrase in error_text for phrase in _NOT_SENT_PHRASES)
