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

from gateway.cases import open_payment_message, sign_payment_message
from gateway.config import ApiSettings, PaymentSettings
from gateway.delivery.attempt_outcome import (
    PAYMENTS,
    WEBHOOKS,
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
_PLAN: Final = RetryPlan(retries=100, first=timedelta(seconds=5))


class WebhookAgent:
    """Calls the webhooks of parties."""

    def __init__(self, hub: Hub, sender: HttpClient, settings: ApiSettings) -> None:
        self._hub = hub
        self._sender = sender
        self._settings = settings

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retries, the same for every webhook."""
        del lease
        return _PLAN

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one call; raises when the webhook does not take it, or is switched off."""
        with read_transaction(self._hub.engine) as conn:
            hook = event_readers.find_webhook(conn, lease.subject_id)
            sequence = int(lease.parameters["sequence"])
            events = (
                event_readers.list_events(conn, hook.party_id, 0, 1, only=sequence)
                if hook is not None
                else ()
            )
            active = event_readers.list_active_webhooks(conn, [hook.party_id]) if hook is not None else {}
        if hook is None or hook.name not in active.get(hook.party_id, ()):
            detail = "the webhook is switched off or deleted, or its party is suspended"
            raise GatewayError(REFUSED_FOR_GOOD, detail, "webhook")
        if not events:
            raise GatewayError(REFUSED_FOR_GOOD, "there is no such event", "webhook")
        self._call_webhook(lease, hook, describe_event(events[0]) | {"id": sequence})

    def _call_webhook(self, lease: DeliveryLease, hook: WebhookRow, event: dict[str, Any]) -> None:
        now, kind = self._hub.clock(), None
        try:
            self._check_url(hook)
            body = json.dumps(event, ensure_ascii=False).encode()
            answer = self._sender.post(hook.url, self._sign_call(hook, event["id"], body, now), body)
            kind = WEBHOOKS.classify_answer(answer)
            if kind is AnswerKind.HANDLER_ERROR:
                theirs = f"HTTP status {answer.status}"
                raise GatewayError(REFUSED_FOR_GOOD, "the webhook is gone", "HTTP", theirs=theirs)
            if kind is AnswerKind.PASSING_ERROR:
                raise make_status_error(answer)
        except GatewayError as problem:
            if not problem.problem.ours:
                self._record_failure(hook, problem, now, is_gone=kind is AnswerKind.HANDLER_ERROR)
            raise
        with write_transaction(self._hub.engine, "webhook.called") as conn:
            event_readers.record_good_call(conn, hook.name, now)
            make_lease_finisher(lease, self._hub.clock)(conn)

    def _check_url(self, hook: WebhookRow) -> None:
        """Raise for a host that the settings no longer name: they may have changed since."""
        parts = urlsplit(hook.url)
        hosts = self._settings.webhook_hosts.get(hook.party_id, ())
        if parts.scheme != "https" or parts.hostname not in hosts:
            detail = f"{(parts.hostname or '')[:80]} is not registered for webhooks of {hook.party_id[:80]}"
            raise GatewayError(REFUSED_FOR_GOOD, detail, "webhook")

    def _sign_call(self, hook: WebhookRow, event: int, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers of Standard Webhooks: the id is that of the event, also in a repeated call."""
        number, moment = f"evt_{hook.name}_{event}", str(int(now.timestamp()))
        secret = derive_webhook_secret(read_webhook_key(self._settings.webhook_key), hook.name)
        signed = hmac.new(secret, f"{number}.{moment}.".encode() + body, hashlib.sha256).digest()
        return {
            "Content-Type": "application/json",
            "webhook-id": number,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }

    def _record_failure(
        self, hook: WebhookRow, problem: GatewayError, now: datetime, *, is_gone: bool
    ) -> None:
        """Store since when calls fail; switch the webhook off when it is gone, or fails for too long."""
        settings, since = self._settings, hook.failing_since or now
        reason = None
        if is_gone:
            reason = "it answered 410: gone"
        elif now - since >= settings.webhook_patience:
            cause = ", ".join(filter(None, (problem.detail, problem.theirs)))
            reason = f"its calls failed since {since.isoformat(timespec='seconds')}; the last: {cause[:200]}"
        with write_transaction(self._hub.engine, "webhook.failed") as conn:
            event_readers.record_failed_call(conn, hook.name, now)
            if reason is not None:
                event_readers.switch_webhook_off(conn, hook.name, reason)

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record nothing more: the feed still has the event."""


#: Applicants open it in a browser.
_ADDRESS: Final = re.compile(r"https?://[!-~]+", re.ASCII)
_PATHS: Final = {"order": "orders", "cancel": "cancellations", "refund": "refunds"}


class PaymentAgent:
    """Makes the calls about fees; the provider recognises a repeat by its key."""

    def __init__(self, hub: Hub, sender: CallSender, settings: PaymentSettings, plan: RetryPlan) -> None:
        self._hub = hub
        self._sender = sender
        self._settings = settings
        self._plan = plan

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry plan of the settings."""
        del lease
        return self._plan

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one call, and store the provider's answer."""
        operation, key = str(lease.parameters["operation"]), str(lease.parameters["key"])
        fee = int(lease.subject_id)
        if operation == "refund":
            content = describe_refund(self._hub, key)
        elif operation == "order":
            content = describe_order(self._hub, fee)
        else:
            content = {"order": key}
        provider_answer = self._call(operation, key, content)
        kill_at_failpoint("payment.after_call")
        self._store_answer(lease, operation, key, provider_answer)

    def _store_answer(
        self, lease: DeliveryLease, operation: str, key: str, provider_answer: dict[str, Any]
    ) -> None:
        finish = make_lease_finisher(lease, self._hub.clock)
        fee = int(lease.subject_id)
        if operation == "order":
            apply_order_answer(self._hub, fee, _read_address(provider_answer), finish)
        elif operation == "refund":
            reference = _read_text(provider_answer, "reference")
            refunded_at = _read_instant(provider_answer, "at")
            apply_refund_answer(self._hub, fee, key, reference, refunded_at, finish)
        else:
            with write_transaction(self._hub.engine, "payment.cancelled") as conn:
                finish(conn)

    def _call(self, operation: str, key: str, content: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        if settings.endpoint is None or settings.secret is None:
            raise GatewayError(REFUSED_FOR_GOOD, "there is no payment provider any more", "fees.endpoint")
        secret = settings.secret.read().strip()
        body = json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
        now = self._hub.clock()
        headers = sign_payment_message(secret, f"{operation}:{key}", now, body)
        url = f"{settings.endpoint.rstrip('/')}/{_PATHS[operation]}"
        answer = self._sender.post(url, headers, body)
        kind = PAYMENTS.classify_answer(answer)
        if kind is AnswerKind.HANDLER_ERROR and self._is_signed(answer, secret, f"{operation}:{key}"):
            theirs = f"HTTP status {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
            raise GatewayError(REFUSED_FOR_GOOD, "the provider refuses the call", "HTTP", theirs=theirs)
        if kind is not AnswerKind.SUCCESS:
            raise make_status_error(answer)
        return self._open_answer(answer.headers, answer.body, secret, f"{operation}:{key}")

    def _is_signed(self, answer: HttpAnswer, secret: bytes, key: str) -> bool:
        """Return whether the provider itself has written an answer to this call: it signs them all."""
        try:
            self._open_answer(answer.headers, answer.body, secret, key)
        except GatewayError as error:
            raise_resource_problem(error)
            return False
        return True

    def _open_answer(self, headers: Any, body: bytes, secret: bytes, key: str) -> dict[str, Any]:
        try:
            content = open_payment_message(headers, body, secret, self._hub.clock(), self._settings.tolerance)
        except GatewayError as error:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, error.detail, error.location) from error
        if headers.get("payment-id") != key:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is of another call", "payment-id")
        return content

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record that the provider did not take the call; an operator requeues it."""
        delivery = failure.delivery
        data = {"destination": delivery.destination, "problem": failure.problem.problem.id}
        record_evidence(conn, "undeliverable", "delivery", delivery.id, None, data, failure.at)


def _read_text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 500 or not value.isprintable():
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{name} is missing or no text", name)
    return value


def _read_address(content: dict[str, Any]) -> str:
    address = _read_text(content, "address")
    if not _ADDRESS.fullmatch(address):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the address is no http or https URL", "address")
    return address


def _read_instant(content: dict[str, Any], name: str) -> datetime:
    try:
        return parse_iso_instant(_read_text(content, name))
    except ValueError as error:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{name} is no instant", name) from error
