"""The operations on webhooks: where a party is told of its events."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field
from sqlalchemy import Connection, Row

from gateway.errors import NOT_ALLOWED, REQUEST_MALFORMED, TOO_MANY_REQUESTS, GatewayError
from gateway.hub import derive_webhook_secret, queue_webhook_calls, read_webhook_key
from gateway.store import AuditEntry, audit_log, events, read_transaction, webhooks, write_transaction
from gateway.web.api.api_operations import (
    JSON,
    Answer,
    ApiAnswer,
    ApiCall,
    Operation,
    RequestBody,
    make_not_found_error,
)
from gateway.web.api.api_services import BASE_PATH
from gateway.web.api.case_models import Cursor
from gateway.web.api.model_bases import AnswerModel, QueryModel
from gateway.web.api.page_cursors import read_cursor

__all__ = ["WEBHOOK_OPERATIONS"]

#: The role of a party that acts by its software, in the audit.
_ROLE: Final = "party"
_OCTETS: Final = 12
#: So many events are sent again at once; the rest is read from the feed.
_MOST_REPLAYED: Final = 1000


class WebhookRequest(QueryModel):
    """Where events are to be told."""

    url: str = Field(
        max_length=500,
        pattern=r"^https://[!-~]+$",
        description="An https address at a host that the operator has registered for the party.",
        examples=["https://hooks.broker.example/events"],
    )


class ReplayRequest(QueryModel):
    """From where events are to be sent again."""

    after: Cursor | None = Field(None, description="Only events after this one; without it: from the first.")


class Webhook(AnswerModel):
    """One webhook."""

    id: str
    url: str
    state: str = Field(json_schema_extra={"enum": ["ACTIVE", "OFF"]})
    reason: str | None = Field(None, description="Why it was switched off.")
    created_at: datetime
    last_good_at: datetime | None = None
    failing_since: datetime | None = None


class NewWebhook(Webhook):
    """A webhook that was just made, with its secret, which is told only now."""

    secret: str = Field(
        description="Verify each call with it, as Standard Webhooks describes.", pattern="^whsec_"
    )


class WebhookList(AnswerModel):
    """The webhooks of the caller."""

    webhooks: list[Webhook]


class Replay(AnswerModel):
    """How many events are sent again."""

    queued: int


def _read_webhook(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.name,
        "url": row.url,
        "state": row.state,
        "reason": row.reason,
        "created_at": row.created_at,
        "last_good_at": row.last_good_at,
        "failing_since": row.failing_since,
    }


def _create_webhook(call: ApiCall) -> ApiAnswer:
    asked: WebhookRequest = call.model
    services, settings = call.services, call.services.settings.api
    _check_url(call, asked.url)
    key = read_webhook_key(settings.webhook_key, services.random)
    name = base64.urlsafe_b64encode(services.random(_OCTETS)).decode()
    with write_transaction(services.engine, "api.webhook") as conn:
        if len(webhooks.list_webhooks(conn, call.party)) >= settings.webhooks_per_party:
            detail = f"{call.party[:80]} has {settings.webhooks_per_party} webhooks: delete one"
            raise GatewayError(TOO_MANY_REQUESTS, detail)
        webhooks.insert_webhook(conn, name, call.party, asked.url, services.clock())
        row = webhooks.find_webhook(conn, name)
        _record_change(conn, call, "webhook create", name, after={"url": asked.url})
    secret = f"whsec_{base64.b64encode(derive_webhook_secret(key, name)).decode()}"
    place = f"{BASE_PATH}/webhooks/{name}"
    answer = NewWebhook(**_read_webhook(row), secret=secret)  # type: ignore[arg-type]
    return ApiAnswer(answer, 201, headers={"Location": place})


def _check_url(call: ApiCall, url: str) -> None:
    """Raise for a host that is not registered for the party, and for what is no plain address."""
    try:
        parts = urlsplit(url)
        plain = parts.username is None and parts.password is None and not parts.fragment and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not parts.hostname:
        raise GatewayError(REQUEST_MALFORMED, "this is no https address", "url")
    if parts.hostname not in call.services.settings.api.webhook_hosts.get(call.party, ()):
        detail = f"{parts.hostname[:80]} is not registered for webhooks of {call.party[:80]}"
        raise GatewayError(NOT_ALLOWED, detail, "url")


def _find_webhook(conn: Connection, call: ApiCall) -> Row[Any]:
    row = webhooks.find_webhook(conn, call.path["webhook"], call.party)
    if row is None:
        raise make_not_found_error("such webhook")
    return row


def _record_change(
    conn: Connection, call: ApiCall, action: str, name: str, *, before: Any = None, after: Any = None
) -> None:
    """Store who changed where events are told, in the transaction of the change."""
    entry = AuditEntry(call.party, _ROLE, action, f"webhook {name}", before=before, after=after)
    audit_log.record_action(conn, entry, call.services.clock())


def _list_webhooks(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        rows = webhooks.list_webhooks(conn, call.party)
    return ApiAnswer(WebhookList(webhooks=[Webhook(**_read_webhook(row)) for row in rows]))


def _get_webhook(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        return ApiAnswer(Webhook(**_read_webhook(_find_webhook(conn, call))))


def _delete_webhook(call: ApiCall) -> ApiAnswer:
    with write_transaction(call.services.engine, "api.webhook") as conn:
        row = _find_webhook(conn, call)
        webhooks.delete_webhook(conn, row.name)
        before = {"url": row.url, "state": row.state}
        _record_change(conn, call, "webhook delete", row.name, before=before)
    return ApiAnswer(None, 204)


def _replay_events(call: ApiCall) -> ApiAnswer:
    asked: ReplayRequest = call.model
    services = call.services
    after = read_cursor("event", asked.after, "after") or 0
    now = services.clock()
    with write_transaction(services.engine, "api.webhook") as conn:
        row = _find_webhook(conn, call)
        webhooks.switch_on(conn, row.name)
        told = {"before": {"state": row.state}, "after": {"state": "ACTIVE"}}
        _record_change(conn, call, "webhook replay", row.name, **told)
        found = events.list_events(conn, call.party, after, _MOST_REPLAYED)
        places = [int(one.sequence) for one in found]
        queue_webhook_calls(conn, row.name, call.party, places, now, again=now.isoformat())
    return ApiAnswer(Replay(queued=len(places)), 202)


WEBHOOK_OPERATIONS: Final = (
    Operation(
        id="createWebhook",
        method="POST",
        path="/webhooks",
        tag="webhooks",
        summary="Make a webhook: each new event of the caller is told there",
        handle=_create_webhook,
        body=RequestBody("Where to call", {JSON: WebhookRequest}),
        answers=(Answer(201, "The webhook", NewWebhook, headers={"Location": "Where the webhook stays."}),),
    ),
    Operation(
        id="listWebhooks",
        method="GET",
        path="/webhooks",
        tag="webhooks",
        summary="List the webhooks of the caller",
        handle=_list_webhooks,
        answers=(Answer(200, "The webhooks", WebhookList),),
    ),
    Operation(
        id="getWebhook",
        method="GET",
        path="/webhooks/{webhook}",
        tag="webhooks",
        summary="Get a webhook, and whether its calls arrive",
        handle=_get_webhook,
        answers=(Answer(200, "The webhook", Webhook),),
        problems=(404,),
    ),
    Operation(
        id="deleteWebhook",
        method="DELETE",
        path="/webhooks/{webhook}",
        tag="webhooks",
        summary="Delete a webhook",
        handle=_delete_webhook,
        answers=(Answer(204, "It is deleted"),),
        problems=(404,),
    ),
    Operation(
        id="replayEvents",
        method="POST",
        path="/webhooks/{webhook}/replay",
        tag="webhooks",
        summary="Switch a webhook on, and send events again",
        handle=_replay_events,
        body=RequestBody("From where", {JSON: ReplayRequest}),
        answers=(Answer(202, "The calls are queued; each has the id of its event", Replay),),
        problems=(404,),
    ),
)
