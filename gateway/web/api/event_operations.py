"""The operations on events: the feed, the stream with resume, and webhooks."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic import Field
from sqlalchemy import Connection, Engine

from gateway.config import mask_url
from gateway.errors import NO_ROOM, NOT_ALLOWED, REQUEST_MALFORMED, TOO_MANY_REQUESTS, GatewayError
from gateway.hub import (
    derive_webhook_secret,
    describe_event,
    make_webhook_lane,
    queue_webhook_calls,
    take_webhook_key,
)
from gateway.store import (
    AuditEntry,
    PartyEventRow,
    WebhookRow,
    audit_log,
    confirm_copies,
    deliveries,
    event_readers,
    read_transaction,
    write_transaction,
)
from gateway.web.api.api_operations import (
    BASE_PATH,
    JSON,
    Answer,
    AnswerModel,
    ApiAnswer,
    ApiCall,
    HeaderParameter,
    OperationSection,
    QueryModel,
    RequestBody,
    make_not_found_error,
    read_cursor,
    read_model,
    write_cursor,
)
from gateway.web.api.case_models import Cursor

EVENTS: Final = OperationSection("events")
WEBHOOKS: Final = OperationSection("webhooks")

#: The longest time of a stream; the client then connects again, so that a process can end.
_LONGEST: Final = timedelta(minutes=5)
_HEARTBEAT: Final = timedelta(seconds=15)
_BATCH: Final = 100
_GUARD: Final = threading.Lock()
_OPEN: Final[WeakKeyDictionary[Engine, Counter[str]]] = WeakKeyDictionary()


class EventStream:
    """A stream: `read_batch` returns the new events, no octets when there are none, None at the end.

    The stream is counted while it is open, so `close` must be called.
    """

    def __init__(
        self, call: ApiCall, after: int, format_events: Callable[[Sequence[PartyEventRow]], bytes]
    ) -> None:
        self._call = call
        self._after = after
        self._format_events = format_events
        now = call.services.clock()
        self._end, self._sent_at = now + _LONGEST, now
        self._counts = _count_stream(call)
        self._has_begun = False

    def read_batch(self) -> bytes | None:
        """Return the new events; None when the caller may no longer read, or the stream has lasted long."""
        now = self._call.services.clock()
        if now >= self._end or not self._call.is_still_allowed():
            return None
        with read_transaction(self._call.services.engine) as conn:
            rows = event_readers.list_events(conn, self._call.party, self._after, _BATCH)
        if rows:
            confirm_copies(self._call.services.engine)
            self._after, self._sent_at = int(rows[-1].sequence), now  # bounded: a row of our own
            return self._format_events(rows)
        if not self._has_begun or now - self._sent_at >= _HEARTBEAT:
            # A comment line shows a proxy that the stream is in use, and us whether the client is there.
            self._has_begun, self._sent_at = True, now
            return b": nothing new\n\n"
        return b""

    def close(self) -> None:
        """Remove the stream from the count, so that the caller may open another one."""
        with _GUARD:
            self._counts[self._call.party] -= 1


def _count_stream(call: ApiCall) -> Counter[str]:
    """Count a stream of the caller; raises GW807 or GW806 when there are too many."""
    settings = call.services.settings.api
    with _GUARD:
        counts = _OPEN.setdefault(call.services.engine, Counter())
        if counts[call.party] >= settings.streams_per_party:
            detail = f"{call.party[:80]} has {settings.streams_per_party} event streams"
            raise GatewayError(TOO_MANY_REQUESTS, detail)
        if counts.total() >= settings.streams:
            raise GatewayError(NO_ROOM, "as many event streams are open as the settings allow")
        counts[call.party] += 1
    return counts


_KIND: Final = "event"
_LAST: Final = "Last-Event-ID"
_STREAM: Final = "text/event-stream"


class EventQuery(QueryModel):
    """Which events a page of the feed shows."""

    after: Cursor | None = Field(None, description="Only events after this one; `next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Number of events on a page.")


class StreamQuery(QueryModel):
    """Where a stream begins."""

    after: Cursor | None = Field(
        None, description="The event after which it begins. Without it and Last-Event-ID: with what is new."
    )


class Event(AnswerModel):
    """Something that happened: ids and states."""

    id: str = Field(description="The place of the event in the feed.")
    type: str = Field(
        description="case.…, application.… with the new state; notice.received, notice.overruled "
        "(it has no effect, because another notice of its agency counts); result.made, notice.made; "
        "requirement.joined, requirement.changed (a number of an agency that the declaration names); "
        "deadline.reminded, deadline.overdue; case.items_released and case.items_returned (a child "
        "declaration took items, or gave them back), case.items_removed (an amendment took items out).",
        examples=["case.decided"],
    )
    at: datetime
    case: str
    application: str | None = None
    agency: str | None = None
    notice: str | None = None
    requirement: str | None = None
    message_id: str | None = None
    state: str | None = None
    deadline: str | None = Field(None, description="What is due: acknowledge, decide, answer, pay, inspect.")


class EventList(AnswerModel):
    """A page of events, oldest first."""

    events: list[Event]
    next: str | None = Field(
        None, description="The last event of the page, or `after` where there is none: ask again with it."
    )


def _read_event(row: PartyEventRow) -> Event:
    return Event(id=write_cursor(_KIND, row.sequence), **describe_event(row))


@EVENTS.declare(
    "GET",
    "/events",
    "listEvents",
    "Read the feed of events, in order and without gaps",
    Answer(200, "A page of events", EventList),
    query=EventQuery,
)
def _list_events(call: ApiCall) -> ApiAnswer:
    """Answer the party's events after the cursor, at most `limit`, with the cursor of the next page.

    The answer acknowledges these events, so the rows must be on all required copies of the database.
    """
    query: EventQuery = call.query
    after = read_cursor(_KIND, query.after, "after")
    with read_transaction(call.services.engine, acknowledges_data=True) as conn:
        rows = event_readers.list_events(conn, call.party, after or 0, query.limit)
    following = write_cursor(_KIND, rows[-1].sequence) if rows else query.after
    return ApiAnswer(EventList(events=[_read_event(row) for row in rows], next=following))


@EVENTS.declare(
    "GET",
    "/events/stream",
    "streamEvents",
    "Get events as they happen (server-sent events)",
    Answer(200, "The stream", media_type=_STREAM),
    description=(
        "A stream ends after some minutes, and when the credentials end. Connect again with "
        "Last-Event-ID: no event is lost."
    ),
    query=StreamQuery,
    headers=(
        HeaderParameter(
            _LAST, "The last event that was received.", "^[A-Za-z0-9_-]{1,64}$", write_cursor(_KIND, 7)
        ),
    ),
    is_stream=True,
)
def _open_stream(call: ApiCall) -> ApiAnswer:
    """Answer a stream of the party's events after the cursor of the header or the query.

    Without a cursor, the stream begins after the latest event.
    """
    query: StreamQuery = call.query
    last_cursor = call.headers.get(_LAST.lower(), query.after)
    after = read_cursor(_KIND, last_cursor, _LAST)
    engine = call.services.engine
    if after is None:
        with read_transaction(engine) as conn:
            after = event_readers.read_last_sequence(conn)
    stream = EventStream(call, after, _write_events)
    # nginx would keep back the head and the events until its buffer is full.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return ApiAnswer(b"", media_type=_STREAM, headers=headers, stream=stream)


def _write_events(rows: Sequence[PartyEventRow]) -> bytes:
    """Return events in the form of server-sent events."""
    parts = []
    for row in rows:
        event = _read_event(row)
        parts.append(
            f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json(exclude_none=True)}\n\n"
        )
    return "".join(parts).encode()


#: The role of a party that acts by its software, in the audit.
_ROLE: Final = "party"
_OCTETS: Final = 12
#: The largest number of events that one replay sends again; the rest is read from the feed.
_MOST_REPLAYED: Final = 1000


class WebhookRequest(QueryModel):
    """The address to which events are sent."""

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
    """A webhook that was just made, with its secret, which no later answer contains."""

    secret: str = Field(
        description="Verify each call with it, as Standard Webhooks describes.", pattern="^whsec_"
    )


class WebhookList(AnswerModel):
    """The webhooks of the caller."""

    webhooks: list[Webhook]


class Replay(AnswerModel):
    """How many events are sent again."""

    queued: int


@WEBHOOKS.declare(
    "POST",
    "/webhooks",
    "createWebhook",
    "Make a webhook: each new event of the caller is told there",
    Answer(201, "The webhook", NewWebhook, headers={"Location": "Where the webhook stays."}),
    body=RequestBody("Where to call", {JSON: WebhookRequest}),
)
def _create_webhook(call: ApiCall) -> ApiAnswer:
    """Store a new webhook of the party and answer its id and its secret.

    Raises GW807 if the party has as many webhooks as the settings allow, GW803 if this node lacks the key of
    the webhooks.
    """
    webhook_request: WebhookRequest = call.model
    services, settings = call.services, call.services.settings.api
    _check_url(call, webhook_request.url)
    webhook_id = base64.urlsafe_b64encode(services.random(_OCTETS)).decode()
    with write_transaction(services.engine, "api.webhook") as conn:
        if event_readers.count_webhooks(conn, call.party) >= settings.webhooks_per_party:
            detail = f"{call.party[:80]} has {settings.webhooks_per_party} webhooks: delete one"
            raise GatewayError(TOO_MANY_REQUESTS, detail)
        key = take_webhook_key(conn, settings.webhook_key, services.random, services.clock())
        event_readers.insert_webhook(conn, webhook_id, call.party, webhook_request.url, services.clock())
        row = event_readers.find_webhook(conn, webhook_id)
        _record_change(conn, call, "webhook create", webhook_id, after={"url": mask_url(webhook_request.url)})
    secret = f"whsec_{base64.b64encode(derive_webhook_secret(key, webhook_id)).decode()}"
    location = f"{BASE_PATH}/webhooks/{webhook_id}"
    answer = read_model(NewWebhook, row, id=webhook_id, secret=secret)
    return ApiAnswer(answer, 201, headers={"Location": location})


def _check_url(call: ApiCall, url: str) -> None:
    """Raise for a host that is not registered for the party, and for a URL that is not a plain address."""
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


def _find_webhook(conn: Connection, call: ApiCall) -> WebhookRow:
    row = event_readers.find_webhook(conn, call.path["webhook"], call.party)
    if row is None:
        raise make_not_found_error("such webhook")
    return row


def _record_change(
    conn: Connection, call: ApiCall, action: str, webhook_id: str, *, before: Any = None, after: Any = None
) -> None:
    """Store in the audit log which party changed a webhook, in the transaction of the change."""
    entry = AuditEntry(call.party, _ROLE, action, f"webhook {webhook_id}", before=before, after=after)
    audit_log.record_action(conn, entry, call.services.clock())


@WEBHOOKS.declare(
    "GET",
    "/webhooks",
    "listWebhooks",
    "List the webhooks of the caller",
    Answer(200, "The webhooks", WebhookList),
)
def _list_webhooks(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        rows = event_readers.list_webhooks(conn, call.party)
    return ApiAnswer(WebhookList(webhooks=[read_model(Webhook, row, id=row.name) for row in rows]))


@WEBHOOKS.declare(
    "GET",
    "/webhooks/{webhook}",
    "getWebhook",
    "Get a webhook, and whether its calls arrive",
    Answer(200, "The webhook", Webhook),
    problems=(404,),
)
def _get_webhook(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        row = _find_webhook(conn, call)
    return ApiAnswer(read_model(Webhook, row, id=row.name))


@WEBHOOKS.declare(
    "DELETE",
    "/webhooks/{webhook}",
    "deleteWebhook",
    "Delete a webhook",
    Answer(204, "It is deleted"),
    problems=(404,),
)
def _delete_webhook(call: ApiCall) -> ApiAnswer:
    """Delete a webhook of the party, record it in the audit log and answer 204."""
    with write_transaction(call.services.engine, "api.webhook") as conn:
        row = _find_webhook(conn, call)
        event_readers.delete_webhook(conn, row.name)
        before = {"url": mask_url(row.url), "state": row.state}
        _record_change(conn, call, "webhook delete", row.name, before=before)
    return ApiAnswer(None, 204)


@WEBHOOKS.declare(
    "POST",
    "/webhooks/{webhook}/replay",
    "replayEvents",
    "Switch a webhook on, and send events again",
    Answer(202, "The calls are queued; each has the id of its event", Replay),
    body=RequestBody("From where", {JSON: ReplayRequest}),
    problems=(404,),
)
def _replay_events(call: ApiCall) -> ApiAnswer:
    """Switch the webhook on and queue calls for the events after the cursor, at most `_MOST_REPLAYED`.

    Raises GW807 while that many calls of the party's webhooks are queued.
    """
    replay_request: ReplayRequest = call.model
    services = call.services
    after = read_cursor("event", replay_request.after, "after") or 0
    now = services.clock()
    with write_transaction(services.engine, "api.webhook") as conn:
        row = _find_webhook(conn, call)
        # All calls of a party wait in one lane: the waiting ones are sent before more may be requested.
        if deliveries.count_queued(conn, make_webhook_lane(call.party), _MOST_REPLAYED) >= _MOST_REPLAYED:
            detail = f"{_MOST_REPLAYED} calls of webhooks of {call.party[:80]} wait: read the feed meanwhile"
            raise GatewayError(TOO_MANY_REQUESTS, detail, "webhook")
        event_readers.switch_webhook_on(conn, row.name)
        changes = {"before": {"state": row.state}, "after": {"state": "ACTIVE"}}
        _record_change(conn, call, "webhook replay", row.name, **changes)
        events = event_readers.list_events(conn, call.party, after, _MOST_REPLAYED)
        sequences = [int(event.sequence) for event in events]  # bounded: a row of our own
        queue_webhook_calls(conn, row.name, call.party, sequences, now, replay_id=now.isoformat())
    return ApiAnswer(Replay(queued=len(sequences)), 202)
