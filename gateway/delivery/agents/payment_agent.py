"""Calls the payment provider: orders, cancelled orders, refunds; a repeat has the same key and body."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import open_payment_message, sign_payment_message
from gateway.config import PaymentSettings
from gateway.delivery.attempt_outcome import RetryPlan, make_lease_finisher
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.soap_caller import CallSender
from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, REFUSED_FOR_GOOD, GatewayError
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    Hub,
    apply_order_answer,
    apply_refund_answer,
    describe_order,
    describe_refund,
)
from gateway.store import DeliveryLease, write_transaction
from gateway.wire import parse_instant

__all__ = ["PaymentAgent"]

#: The provider will answer the same call in the same way again.
_FOR_GOOD: Final = frozenset({400, 404, 409, 422})
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
        """Make one call, and store what the provider answered."""
        operation, key = str(lease.parameters["operation"]), str(lease.parameters["key"])
        fee = int(lease.subject_id)
        if operation == "refund":
            content = describe_refund(self._hub, key)
        elif operation == "order":
            content = describe_order(self._hub, fee)
        else:
            content = {"order": key}
        said = self._call(operation, key, content)
        kill_at_failpoint("payment.after_call")
        self._store_answer(lease, (operation, key), said)

    def _store_answer(self, lease: DeliveryLease, asked: tuple[str, str], said: dict[str, Any]) -> None:
        finish = make_lease_finisher(lease, self._hub.clock)
        operation, key = asked
        fee = int(lease.subject_id)
        if operation == "order":
            apply_order_answer(self._hub, fee, _read_address(said), finish)
        elif operation == "refund":
            told = (_read_text(said, "reference"), _read_instant(said, "at"))
            apply_refund_answer(self._hub, fee, key, told, finish)
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
        if answer.status in _FOR_GOOD:
            theirs = f"HTTP status {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
            raise GatewayError(REFUSED_FOR_GOOD, "the provider refuses the call", "HTTP", theirs=theirs)
        if answer.status != 200:
            theirs = f"HTTP status {answer.status}"
            raise GatewayError(PARTNER_FAULT, "the provider did not take the call", "HTTP", theirs=theirs)
        return self._open_answer(answer.headers, answer.body, secret, f"{operation}:{key}")

    def _open_answer(self, headers: Any, body: bytes, secret: bytes, key: str) -> dict[str, Any]:
        try:
            said = open_payment_message(headers, body, secret, self._hub.clock(), self._settings.tolerance)
        except GatewayError as error:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, error.detail, error.location) from error
        if headers.get("payment-id") != key:
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is of another call", "payment-id")
        return said

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Record that the provider did not take the call; an operator requeues it."""
        delivery = what.delivery
        data = {"destination": delivery.destination, "problem": what.problem.problem.id}
        record_evidence(conn, "undeliverable", "delivery", delivery.id, None, data, what.at)


def _read_text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 500 or not value.isprintable():
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{name} is missing or no text", name)
    return value


def _read_address(said: dict[str, Any]) -> str:
    address = _read_text(said, "address")
    if not _ADDRESS.fullmatch(address):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the address is no http or https URL", "address")
    return address


def _read_instant(said: dict[str, Any], name: str) -> datetime:
    try:
        return parse_instant(_read_text(said, name))
    except (ValueError, OverflowError) as error:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"{name} is no instant", name) from error
