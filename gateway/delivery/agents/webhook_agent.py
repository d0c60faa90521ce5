"""Calls webhooks: one signed POST for each event, as the Standard Webhooks specification describes.

The call says what happened by ids and states; the receiver asks the API for the rest. It goes only
to a host that is registered for the party, over https, to the address itself, and follows no
redirect. A webhook that fails for days is switched off, with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row

from gateway.config import ApiSettings
from gateway.delivery.attempt_outcome import RetryPlan, make_lease_finisher
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.http_client import HttpClient
from gateway.errors import PARTNER_FAULT, REFUSED_FOR_GOOD, GatewayError
from gateway.hub import Hub, derive_webhook_secret, describe_event, read_webhook_key
from gateway.store import DeliveryLease, events, read_transaction, webhooks, write_transaction

__all__ = ["WebhookAgent"]

#: From five seconds to an hour, for three days: then the delivery expires.
_PLAN: Final = RetryPlan(retries=100, first=timedelta(seconds=5))
_GONE: Final = 410


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
            hook = webhooks.find_webhook(conn, lease.subject_id)
            place = int(lease.parameters["sequence"])
            found = events.list_events(conn, hook.party_id, 0, 1, only=place) if hook is not None else ()
        if hook is None or hook.state != "ACTIVE":
            raise GatewayError(REFUSED_FOR_GOOD, "the webhook is switched off or deleted", "webhook")
        if not found:
            raise GatewayError(REFUSED_FOR_GOOD, "there is no such event", "webhook")
        self._call_webhook(lease, hook, describe_event(found[0]) | {"id": place})

    def _call_webhook(self, lease: DeliveryLease, hook: Row[Any], told: dict[str, Any]) -> None:
        now = self._hub.clock()
        try:
            self._check_url(hook)
            body = json.dumps(told, ensure_ascii=False).encode()
            status = self._sender.post(hook.url, self._sign_call(hook, told["id"], body, now), body).status
            if not 200 <= status < 300:
                raise GatewayError(
                    PARTNER_FAULT, "the webhook did not take the call", "HTTP", theirs=f"HTTP status {status}"
                )
        except GatewayError as problem:
            self._record_failure(hook, problem, now)
            raise
        with write_transaction(self._hub.engine, "webhook.called") as conn:
            webhooks.record_good_call(conn, hook.name, now)
            make_lease_finisher(lease, self._hub.clock)(conn)

    def _check_url(self, hook: Row[Any]) -> None:
        """Raise for a host that the settings no longer name: they may have changed since."""
        parts = urlsplit(hook.url)
        hosts = self._settings.webhook_hosts.get(hook.party_id, ())
        if parts.scheme != "https" or parts.hostname not in hosts:
            detail = f"{(parts.hostname or '')[:80]} is not registered for webhooks of {hook.party_id[:80]}"
            raise GatewayError(REFUSED_FOR_GOOD, detail, "webhook")

    def _sign_call(self, hook: Row[Any], event: int, body: bytes, now: datetime) -> dict[str, str]:
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

    def _record_failure(self, hook: Row[Any], problem: GatewayError, now: datetime) -> None:
        """Store since when calls fail; switch the webhook off when it is gone, or fails for too long."""
        settings, since = self._settings, hook.failing_since or now
        reason = None
        if problem.theirs == f"HTTP status {_GONE}":
            reason = "it answered 410: gone"
        elif now - since >= settings.webhook_patience:
            told = problem.theirs or problem.detail
            reason = f"its calls failed since {since.isoformat(timespec='seconds')}; the last: {told[:200]}"
        with write_transaction(self._hub.engine, "webhook.failed") as conn:
            webhooks.record_failed_call(conn, hook.name, now)
            if reason is not None:
                webhooks.switch_off(conn, hook.name, reason)

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Record nothing more: the feed still has the event."""
