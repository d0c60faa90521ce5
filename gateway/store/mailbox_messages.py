"""Reads the messages in the mailbox, which are stored with their receipts and not processed.

Such a message belongs to no case, waits for no earlier message of its conversation, and no task admits or
forwards it. It leaves the mailbox when retention removes its octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    cast,
    exists,
    func,
    literal,
    select,
)

from gateway.store.deliveries import deliveries
from gateway.store.message_sequences import ordered_messages
from gateway.store.messages import messages
from gateway.store.prepared_statements import build_state_condition

#: The largest number of messages without a case that are read, the latest first: a mailbox may be long.
_MOST: Final = 100_000
_m = messages.c


def build_rest_condition() -> ColumnElement[bool]:
    """Return the condition that a message rests in the mailbox."""
    number = cast(_m.id, Text)
    keys = (literal("admit:") + number, literal("onward:") + number)
    held = (ordered_messages.c.message == _m.id, build_state_condition(ordered_messages, "HELD"))
    return and_(
        # No literal `in`: the index of messages without a case is far shorter than that of all received.
        _m.purged_at.is_(None),
        _m.case_id.is_(None),
        _m.direction == "in",
        _m.kind == "UserMessage",
        build_state_condition(messages, "ACCEPTED"),
        ~exists().where(deliveries.c.dedupe_key.in_(keys)).correlate(messages),
        ~exists().where(*held).correlate(messages),
    )


class RestingMessagesRow(Protocol):
    """The messages of one exchange that rest: their number, the oldest, and its time."""

    agreement_id: str | None
    service: str
    action: str
    number: int
    oldest: int
    since: datetime


def summarize_resting(conn: Connection) -> Sequence[RestingMessagesRow]:
    """Return how many messages rest, by agreement, service and action, with the `oldest` and its time."""
    latest = select(_m.id).where(_m.purged_at.is_(None), _m.case_id.is_(None))
    latest = latest.order_by(_m.received_at.desc(), _m.id.desc()).limit(_MOST)
    group_columns = (_m.agreement_id, _m.service, _m.action)
    oldest = (func.min(_m.id).label("oldest"), func.min(_m.received_at).label("since"))
    summary_query = select(*group_columns, func.count().label("number"), *oldest).where(
        _m.id.in_(latest), build_rest_condition()
    )
    return conn.execute(summary_query.group_by(*group_columns).order_by(*group_columns)).all()


def count_by_action(conn: Connection) -> dict[str, int]:
    """Return how many messages rest, by their action."""
    counted: dict[str, int] = {}
    for row in summarize_resting(conn):
        counted[row.action] = counted.get(row.action, 0) + row.number
    return counted


def is_resting(conn: Connection, message: int) -> bool:
    """Return whether a message rests in the mailbox."""
    return conn.execute(select(_m.id).where(_m.id == message, build_rest_condition())).first() is not None


class RestingMessageRow(Protocol):
    """The exchange and the conversation of a message in the mailbox."""

    agreement_id: str | None
    pmode_id: str | None
    service: str
    action: str
    conversation_id: str


def lock_resting_message(conn: Connection, message: int) -> RestingMessageRow | None:
    """Lock a message until the transaction ends; return it if it is in the mailbox, else None."""
    conn.execute(select(_m.id).where(_m.id == message).with_for_update())
    exchange_columns: list[ColumnElement[Any]] = [_m.agreement_id, _m.pmode_id, _m.service, _m.action]
    columns = [*exchange_columns, _m.conversation_id]
    return conn.execute(select(*columns).where(_m.id == message, build_rest_condition())).first()
