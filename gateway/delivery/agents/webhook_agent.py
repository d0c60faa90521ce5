"""The agents that post events to webhooks and notices of payment."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection

from gateway.cases import sign_payment_message, verify_payment_message
from gateway.config import ApiSettings, PaymentSettings
from gateway.delivery.attempt_outcome import (
    PAYMENT_ANSWERS,
    WEBHOOK_ANSWERS,
    AnswerKind,
    FailedDelivery,
    RetryPlan,
    make_lease_finisher,
)
from gateway.delivery.http_answer_reader import HttpAnswer, make_status_error
from gateway.delivery.http_client import HttpClient
from gateway.delivery.soap_client import CallSender
from gateway.errors import ANSWER_NOT_UNDERSTOOD, REFUSED_FOR_GOOD, GatewayError, raise_resource_problem
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    Hub,
    apply_order_answer,
    apply_refund_answer,
    derive_webhook_secret,
    describe_event,
    describe_order,
    describe_refund,
    read_webhook_key,
)
from gateway.store import DeliveryLease, WebhookRow, event_readers, read_transaction, write_transaction
from gateway.wire import parse_iso_instant

#: From five seconds to an hour, for three days: then the delivery expires.
_RETRY_PLAN: Final = RetryPlan(max_retries=100, first_delay=timedelta(seconds=5))


class WebhookAgent:
    """Calls the webhooks of parties."""

    def __init__(self, hub: Hub, http_client: HttpClient, settings: ApiSettings) -> None:
        self._hub = hub
        self._http_client = http_client
        self._settings = settings

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retries, the same for every webhook."""
        del lease
        return _RETRY_PLAN

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one call; raises when the webhook does not take it, or is switched off."""
        with read_transaction(self._hub.engine) as conn:
            webhook = event_readers.find_webhook(conn, lease.subject_id)
            sequence = int(lease.parameters["sequence"])
            events = (
                event_readers.list_events(conn, webhook.party_id, 0, 1, only_sequence=sequence)
                if webhook is not None
                else ()
            )
            active_webhooks = (
                event_readers.list_active_webhooks(conn, [webhook.party_id]) if webhook is not None else {}
            )
        if webhook is None or webhook.name not in active_webhooks.get(webhook.party_id, ()):
            detail = "the webhook is switched off or deleted, or its party is suspended"
            raise GatewayError(REFUSED_FOR_GOOD, detail, "webhook")
        if not events:
            raise GatewayError(REFUSED_FOR_GOOD, "there is no such event", "webhook")
        self._call_webhook(lease, webhook, describe_event(events[0]) | {"id": sequence})

    def _call_webhook(self, lease: DeliveryLease, webhook: WebhookRow, event: dict[str, Any]) -> None:
        """Post the signed `event` once; finish the delivery if the webhook accepts it.

        Raise GW602 if the webhook is gone (HTTP status 410), another GatewayError if the call failed.
        Record a failure that is not the fault of the hub.
        """
        now, answer_kind = self._hub.clock(), None
        try:
            self._check_host(webhook)
            body = json.dumps(event, ensure_ascii=False).encode()
            answer = self._http_client.post(
                webhook.url, self._sign_call(webhook, event["id"], body, now), body
            )
            answer_kind = WEBHOOK_ANSWERS.classify_answer(answer)
            if answer_kind is AnswerKind.HANDLER_ERROR:
                theirs = f"HTTP status {answer.status}"
                raise GatewayError(REFUSED_FOR_GOOD, "the webhook is gone", "HTTP", theirs=theirs)
            if answer_kind is AnswerKind.PASSING_ERROR:
                raise make_status_error(answer)
        except GatewayError as problem:
            if not problem.problem.ours:
                self._record_failure(webhook, problem, now, is_gone=answer_kind is AnswerKind.HANDLER_ERROR)
            raise
        with write_transaction(self._hub.engine, "webhook.called") as conn:
            event_readers.record_good_call(conn, webhook.name, now)
            make_lease_finisher(lease, self._hub.clock)(conn)

    def _check_host(self, hook: WebhookRow) -> None:
        """Raise for a host that the settings no longer name: they may have changed since."""
        parts = urlsplit(hook.url)
        hosts = self._settings.webhook_hosts.get(hook.party_id, ())
        if parts.scheme != "https" or parts.hostname not in hosts:
            detail = f"{(parts.hostname or '')[:80]} is not registered for webhooks of {hook.party_id[:80]}"
            raise GatewayError(REFUSED_FOR_GOOD, detail, "webhook")

    def _sign_call(self, webhook: WebhookRow, event_id: int, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers of Standard Webhooks: the id is that of the event, also in a repeated call."""
        webhook_id, timestamp = f"evt_{webhook.name}_{event_id}", str(int(now.timestamp()))
        key = read_webhook_key(self._hub.engine, self._settings.webhook_key)
        secret = derive_webhook_secret(key, webhook.name)
        signature = hmac.new(secret, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
        return {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }

    def _record_failure(
        self, webhook: WebhookRow, problem: GatewayError, now: datetime, *, is_gone: bool
    ) -> None:
        """Store since when calls fail; switch the webhook off when it is gone, or fails for too long."""
        settings, since = self._settings, webhook.failing_since or now
        reason = None
        if is_gone:
            reason = "it answered 410: gone"
        elif now - since >= settings.webhook_patience:
            cause = ", ".join(filter(None, (problem.detail, problem.theirs)))
            reason = f"its calls failed since {since.isoformat(timespec='seconds')}; the last: {cause[:200]}"
        with write_transaction(self._hub.engine, "webhook.failed") as conn:
            event_readers.record_failed_call(conn, webhook.name, now)
            if reason is not None:
                event_readers.switch_webhook_off(conn, webhook.name, reason)

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record nothing more: the feed still has the event."""


#: Applicants open it in a browser.
_URL_PATTERN: Final = re.compile(r"https?://[!-~]+", re.ASCII)
_OPERATION_PATHS: Final = {"order": "orders", "cancel": "cancellations", "refund": "refunds"}


class PaymentAgent:
    """Makes the calls about fees; the provider recognises a repeat by its key."""

    def __init__(
        self, hub: Hub, http_client: CallSender, settings: PaymentSettings, retry_plan: RetryPlan
    ) -> None:
        self._hub = hub
        self._http_client = http_client
        self._settings = settings
        self._retry_plan = retry_plan

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry plan of the settings."""
        del lease
        return self._retry_plan

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one call, and store the provider's answer."""
        operation, payment_key = str(lease.parameters["operation"]), str(lease.parameters["key"])
        fee_id = int(lease.subject_id)
        if operation == "refund":
            call_content = describe_refund(self._hub, payment_key)
        elif operation == "order":
            call_content = describe_order(self._hub, fee_id)
        else:
            call_content = {"order": payment_key}
        provider_answer = self._call_provider(operation, payment_key, call_content)
        kill_at_failpoint("payment.after_call")
        self._store_answer(lease, operation, payment_key, provider_answer)

    def _store_answer(
        self, lease: DeliveryLease, operation: str, payment_key: str, provider_answer: dict[str, Any]
    ) -> None:
        """Apply the provider's answer to the fee, and finish the delivery in the same transaction."""
        finish_lease = make_lease_finisher(lease, self._hub.clock)
        fee_id = int(lease.subject_id)
        if operation == "order":
            apply_order_answer(self._hub, fee_id, _read_address(provider_answer), finish_lease)
        elif operation == "refund":
            reference = _read_text(provider_answer, "reference")
            refunded_at = _read_instant(provider_answer, "at")
            apply_refund_answer(self._hub, fee_id, payment_key, reference, refunded_at, finish_lease)
        else:
            with write_transaction(self._hub.engine, "payment.cancelled") as conn:
                finish_lease(conn)

    def _call_provider(
        self, operation: str, payment_key: str, call_content: dict[str, Any]
    ) -> dict[str, Any]:
        """Post a signed call to the provider and return its verified answer; raise GW602 for a refusal."""
        settings = self._settings
        if settings.endpoint is None or settings.secret is None:
            raise GatewayError(REFUSED_FOR_GOOD, "there is no payment provider any more", "fees.endpoint")
        secret = settings.secret.read().strip()
        body = json.dumps(call_content, ensure_ascii=False, sort_keys=True).encode()
        now = self._hub.clock()
        headers = sign_payment_message(secret, f"{operation}:{payment_key}", now, body)
        url = f"{settings.endpoint.rstrip('/')}/{_OPERATION_PATHS[operation]}"
        answer = self._http_client.post(url, headers, body)
        answer_kind = PAYMENT_ANSWERS.classify_answer(answer)
        if answer_kind is AnswerKind.HANDLER_ERROR and self._is_signed(
            answer, secret, f"{operation}:{payment_key}"
        ):
            theirs = f"HTTP status {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
            raise GatewayError(REFUSED_FOR_GOOD, "the provider refuses the call", "HTTP", theirs=theirs)
        if answer_kind is not AnswerKind.SUCCESS:
            raise make_status_error(answer)
        return self._open_answer(answer.headers, answer.body, secret, f"{operation}:{payment_key}")

    def _is_signed(self, answer: HttpAnswer, secret: bytes, payment_id: str) -> bool:
        """Return whether the provider itself has written an answer to this call: it signs them all."""
        try:
            self._open_answer(answer.headers, answer.body, secret, payment_id)
        except GatewayError as error:
            raise_resource_problem(error)
            return False
        return True

    def _open_answer(self, headers: Any, body: bytes, secret: bytes, payment_id: str) -> dict[str, Any]:
        """Return the content of the provider's answer; raise GW603 unless it is signed for `payment_id`."""
        try:
            answer_content = verify_payment_message(
                headers, body, secret, self._hub.clock(), self._settings.tolerance
            )
        except GatewayError as error:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, error.detail, error.location) from error
        if headers.get("payment-id") != payment_id:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is of another call", "payment-id")
        return answer_content

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record that the provider did not take the call; an operator requeues it."""
        delivery = failure.delivery
        evidence_fields = {"destination": delivery.destination, "problem": failure.problem.problem.id}
        record_evidence(conn, "undeliverable", "delivery", delivery.id, None, evidence_fields, failure.at)


def _read_text(answer_content: dict[str, Any], key: str) -> str:
    text = answer_content.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= 500 or not text.isprintable():
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{key} is missing or no text", key)
    return text


def _read_address(answer_content: dict[str, Any]) -> str:
    address = _read_text(answer_content, "address")
    if not _URL_PATTERN.fullmatch(address):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the address is no http or https URL", "address")
    return address


def _read_instant(answer_content: dict[str, Any], key: str) -> datetime:
    try:
        return parse_iso_instant(_read_text(answer_content, key))
    except ValueError as error:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{key} is no instant", key) from error
