"""Stores the signed calls of the last minutes, so that all nodes together accept each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Column, Connection, Engine, Index, Table, bindparam, delete, select, text, update

from gateway.store.engine import write_transaction
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    ID_TEXT,
    NAME_TEXT,
    IndexedText,
    Instant,
    collect_values,
    make_required_column,
    metadata,
)

# Signed calls of the last minutes, so that each is accepted once by all nodes together.
seen_calls = Table(
    "seen_calls",
    metadata,
    Column("signature", IndexedText(1400), primary_key=True),
    make_required_column("party", NAME_TEXT),
    make_required_column("message_id", ID_TEXT),
    make_required_column("content"),
    make_required_column("seen_at", Instant),
    Index("ix_seen_calls_message_id", "message_id", "party"),
    Index("ix_seen_calls_seen_at", "seen_at"),
)


_INSERT: Final = InsertIfAbsent(seen_calls, ("signature",), "signature")
#: PostgreSQL: calls of one MessageID come one after another, each seeing what those before it have stored.
_INSERT_SERIALIZED: Final = text(
    "INSERT INTO seen_calls (signature, party, message_id, content, seen_at) "
    "SELECT CAST(:signature AS text), CAST(:party AS text), CAST(:message_id AS text), "
    "CAST(:content AS text), CAST(:seen_at AS timestamptz) "
    "FROM pg_advisory_xact_lock(hashtextextended(CAST(:turn AS text), 0)) "
    "ON CONFLICT (signature) DO NOTHING RETURNING signature"
)
#: Instead of the content of a call that had no effect.
NO_EFFECT: Final = ""
_GET_OTHER_CONTENT: Final = select(seen_calls.c.content).where(
    seen_calls.c.message_id == bindparam("of_message"),
    seen_calls.c.party == bindparam("of_party"),
    seen_calls.c.seen_at >= bindparam("since", type_=Instant()),
)
#: Rows of one removal; the next one goes on.
MAX_REMOVED_CALLS: Final = 1000


@dataclass(frozen=True, slots=True)
class NewSeenCall:
    """A call: digest of all signed parts, party, MessageID, digest of the request element."""

    signature: str
    party: str
    message_id: str
    content: str


class CallRecord(Protocol):
    """The record of a signed call, which is stored in the transaction of its effect: it has that once."""

    is_committed: bool

    def insert(self, conn: Connection) -> None:
        """Store the record; raises GW211 for octets seen before, GW312 for an id with other content."""


@contextmanager
def write_call_transaction(engine: Engine, name: str, record: CallRecord | None) -> Iterator[Connection]:
    """Run the block in the write transaction `name`, which begins with the record of a signed call."""
    with write_transaction(engine, name) as conn:
        if record is not None and not record.is_committed:
            record.insert(conn)
        yield conn
    if record is not None:
        record.is_committed = True


def has_other_content(conn: Connection, call: NewSeenCall, since: datetime) -> bool:
    """Return whether a call with the same MessageID and party had other content since a time."""
    parameters = {"of_message": call.message_id, "of_party": call.party, "since": since}
    contents = conn.execute(_GET_OTHER_CONTENT, parameters).scalars()
    return any(content not in (call.content, NO_EFFECT) for content in contents)


def insert_call(conn: Connection, call: NewSeenCall, at: datetime) -> bool:
    """Store a call; return False when its octets were here before.

    On PostgreSQL another call of this party and MessageID waits until this transaction has ended.
    """
    row = collect_values(call) | {"seen_at": at}
    if conn.dialect.name == "sqlite":
        return _INSERT.insert_one(conn, row) is not None
    lock_name = {"turn": f"{call.party} {call.message_id}"}
    return conn.execute(_INSERT_SERIALIZED, row | lock_name).first() is not None


def mark_call_without_effect(conn: Connection, signature: str) -> None:
    """Free the MessageID of a call that had no effect for other content; its octets stay known."""
    conn.execute(update(seen_calls).where(seen_calls.c.signature == signature).values(content=NO_EFFECT))


def remove_old_calls(conn: Connection, before: datetime) -> int:
    """Remove calls seen before a time, at most a thousand; return how many there were."""
    old = select(seen_calls.c.signature).where(seen_calls.c.seen_at < before).limit(MAX_REMOVED_CALLS)
    return conn.execute(delete(seen_calls).where(seen_calls.c.signature.in_(old))).rowcount
