"""Stores the conversations under agreements that limit them, and counts those that have begun.

The row of the agreement is locked first, so that two messages do not both take the last place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.state_machines import CASE
from gateway.store.cases import cases
from gateway.store.messages import messages
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    ID_TEXT,
    Instant,
    PartialIndex,
    make_identity_column,
    make_required_column,
    metadata,
)

# How many conversations have begun under an agreement that limits them; its row is locked by each message.
conversation_counts = Table(
    "conversation_counts",
    metadata,
    Column("agreement_id", ID_TEXT, primary_key=True),
    make_required_column("begun", BigInteger),
)

conversations = Table(
    "conversations",
    metadata,
    make_identity_column(),
    make_required_column("agreement_id", ID_TEXT),
    make_required_column("conversation_id", ID_TEXT),
    make_required_column("begun_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("agreement_id", "conversation_id"),
    PartialIndex("ix_conversations_open", "agreement_id", "id", where="ended_at IS NULL"),
)


class ConversationRow(Protocol):
    """A row of the table `conversations`."""

    id: int
    agreement_id: str
    conversation_id: str
    begun_at: datetime
    ended_at: datetime | None


# The messages that keep a conversation open until their cases are closed.
conversation_messages = Table(
    "conversation_messages",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("conversation", BigInteger, ForeignKey("conversations.id")),
    Index("ix_conversation_messages_conversation", "conversation", "message"),
)


_INSERT_COUNT = InsertIfAbsent(conversation_counts, ("agreement_id",))
_n, _c, _m = conversation_counts.c, conversations.c, conversation_messages.c
_COUNT: Final = select(_n.begun)


def lock_begun_count(conn: Connection, agreement: str) -> int:
    """Lock the count of an agreement until the transaction ends; return how many conversations have begun."""
    query = _COUNT.where(_n.agreement_id == agreement).with_for_update()
    count = conn.execute(query).scalar_one_or_none()
    if count is None:
        _INSERT_COUNT.insert_many(conn, [{"agreement_id": agreement, "begun": 0}])
        count = conn.execute(query).scalar_one()
    return int(count)


def find_conversation(conn: Connection, agreement: str, conversation: str) -> ConversationRow | None:
    """Return a conversation under an agreement, None before its first message."""
    conditions = (_c.agreement_id == agreement, _c.conversation_id == conversation)
    return conn.execute(select(conversations).where(*conditions)).first()


def count_open(conn: Connection, agreement: str) -> int:
    """Return how many conversations of an agreement have not ended."""
    still_open = (_c.agreement_id == agreement, _c.ended_at.is_(None))
    return conn.execute(select(func.count()).select_from(conversations).where(*still_open)).scalar_one()


def begin_conversation(conn: Connection, agreement: str, conversation: str, at: datetime) -> int:
    """Store a new conversation and count it; return its row id. The count is locked."""
    row = {"agreement_id": agreement, "conversation_id": conversation, "begun_at": at, "ended_at": None}
    conversation_id = conn.execute(insert(conversations).returning(_c.id), row).scalar_one()
    counted = update(conversation_counts).where(_n.agreement_id == agreement)
    conn.execute(counted.values(begun=_n.begun + 1))
    return int(conversation_id)


def reopen_conversation(conn: Connection, conversation: int) -> None:
    """Let a conversation that has ended go on. The count is locked."""
    conn.execute(update(conversations).where(_c.id == conversation).values(ended_at=None))


def keep_conversation_open(conn: Connection, conversation: int, message: int) -> None:
    """Store that a conversation is open until the case of a message is closed."""
    conn.execute(insert(conversation_messages), {"message": message, "conversation": conversation})


def end_closed_conversations(conn: Connection, agreement: str, at: datetime) -> int:
    """End the conversations none of whose messages waits or has an open case; return how many.

    The count is locked, so that no message joins a conversation meanwhile.
    """
    # Few are open: as many as the agreement allows at most.
    waiting = messages.c.case_id.is_(None) & messages.c.state.in_(("RECEIVED", "ACCEPTED"))
    unfinished = exists().where(cases.c.id == messages.c.case_id, cases.c.state.not_in(CASE.final_states))
    has_open_message = exists().where(
        _m.conversation == _c.id, messages.c.id == _m.message, or_(waiting, unfinished)
    )
    still_open = (_c.agreement_id == agreement, _c.ended_at.is_(None))
    return conn.execute(
        update(conversations).where(*still_open, ~has_open_message).values(ended_at=at)
    ).rowcount
