"""The operations on events: the feed, the stream with resume, and webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Row

from gateway.hub import describe_event
from gateway.store import events, read_transaction
from gateway.web.api.api_operations import Answer, ApiAnswer, ApiCall, HeaderParameter, Operation
from gateway.web.api.case_models import Cursor
from gateway.web.api.event_stream import EventStream
from gateway.web.api.model_bases import AnswerModel, QueryModel
from gateway.web.api.page_cursors import read_cursor, write_cursor

__all__ = ["EVENT_OPERATIONS"]

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
        description="case.…, application.… with the new state; notice.received; result.made, notice.made; "
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


def _read_event(row: Row[Any]) -> Event:
    return Event(id=write_cursor(_KIND, row.sequence), **describe_event(row))


def _list_events(call: ApiCall) -> ApiAnswer:
    query: EventQuery = call.query
    after = read_cursor(_KIND, query.after, "after")
    with read_transaction(call.services.engine, promises=True) as conn:
        rows = events.list_events(conn, call.party, after or 0, query.limit)
    following = write_cursor(_KIND, rows[-1].sequence) if rows else query.after
    return ApiAnswer(EventList(events=[_read_event(row) for row in rows], next=following))


def _open_stream(call: ApiCall) -> ApiAnswer:
    query: StreamQuery = call.query
    last = call.headers.get(_LAST.lower(), query.after)
    after = read_cursor(_KIND, last, _LAST)
    engine = call.services.engine
    if after is None:
        with read_transaction(engine) as conn:
            after = events.read_last_sequence(conn)
    stream = EventStream(call, after, _write_events)
    return ApiAnswer(b"", media_type=_STREAM, headers={"Cache-Control": "no-store"}, stream=stream)


def _write_events(rows: Sequence[Row[Any]]) -> bytes:
    """Return events in the form of server-sent events."""
    parts = []
    for row in rows:
        event = _read_event(row)
        parts.append(
            f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json(exclude_none=True)}\n\n"
        )
    return "".join(parts).encode()


EVENT_OPERATIONS: Final = (
    Operation(
        id="listEvents",
        method="GET",
        path="/events",
        tag="events",
        summary="Read the feed of events, in order and without gaps",
        handle=_list_events,
        query=EventQuery,
        answers=(Answer(200, "A page of events", EventList),),
    ),
    Operation(
        id="streamEvents",
        method="GET",
        path="/events/stream",
        tag="events",
        summary="Get events as they happen (server-sent events)",
        description=(
            "A stream ends after some minutes, and when the credentials end. Connect again with "
            "Last-Event-ID: no event is lost."
        ),
        handle=_open_stream,
        query=StreamQuery,
        headers=(
            HeaderParameter(
                _LAST, "The last event that was received.", "^[A-Za-z0-9_-]{1,64}$", write_cursor(_KIND, 7)
            ),
        ),
        answers=(Answer(200, "The stream", media_type=_STREAM),),
        is_stream=True,
    ),
)
