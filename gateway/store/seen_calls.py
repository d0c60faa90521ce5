"""Stores the signed calls of the last minutes, so that all nodes together accept each once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, text, update

from gateway.store.column_types import Instant
from gateway.store.node_tables import seen_calls
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.row_values import collect_values

__all__ = [
    "NO_EFFECT",
    "NewSeenCall",
    "find_other_content",
    "insert_call",
    "release_call",
    "remove_old_calls",
]

_INSERT: Final = InsertIfAbsent(seen_calls, ("signature",), "signature")
#: PostgreSQL: calls of one MessageID come one after another, each seeing what those before it have stored.
_INSERT_IN_TURN: Final = text(
    "INSERT INTO seen_calls (signature, party, message_id, content, seen_at) "
    "SELECT CAST(:signature AS text), CAST(:party AS text), CAST(:message_id AS text), "
    "CAST(:content AS text), CAST(:seen_at AS timestamptz) "
    "FROM pg_advisory_xact_lock(hashtextextended(CAST(:turn AS text), 0)) "
    "ON CONFLICT (signature) DO NOTHING RETURNING signature"
)
#: Instead of the content of a call that had no effect.
NO_EFFECT: Final = ""
_OTHER: Final = select(seen_calls.c.content).where(
    seen_calls.c.message_id == bindparam("of_message"),
    seen_calls.c.party == bindparam("of_party"),
    seen_calls.c.seen_at >= bindparam("since", type_=Instant()),
)
#: Rows of one removal; the next one goes on.
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class NewSeenCall:
    """A call: digest of all signed parts, party, MessageID, digest of the request element."""

    signature: str
    party: str
    message_id: str
    content: str


def find_other_content(conn: Connection, call: NewSeenCall, since: datetime) -> bool:
    """Return whether the id of a call stood for other content since a time."""
    named = {"of_message": call.message_id, "of_party": call.party, "since": since}
    known = conn.execute(_OTHER, named).scalars()
    return any(content not in (call.content, NO_EFFECT) for content in known)


def insert_call(conn: Connection, call: NewSeenCall, at: datetime) -> bool:
    """Store a call; return False when its octets were here before.

    On PostgreSQL another call of this party and MessageID waits until this transaction has ended.
    """
    row = collect_values(call) | {"seen_at": at}
    if conn.dialect.name == "sqlite":
        return _INSERT.insert_one(conn, row) is not None
    turn = {"turn": f"{call.party} {call.message_id}"}
    return conn.execute(_INSERT_IN_TURN, row | turn).first() is not None


def release_call(conn: Connection, signature: str) -> None:
    """Let the id of a call that had no effect stand for no content; its octets stay known."""
    conn.execute(update(seen_calls).where(seen_calls.c.signature == signature).values(content=NO_EFFECT))


def remove_old_calls(conn: Connection, before: datetime) -> int:
    """Remove calls seen before a time, at most a thousand; return how many there were."""
    old = select(seen_calls.c.signature).where(seen_calls.c.seen_at < before).limit(_MOST)
    return conn.execute(delete(seen_calls).where(seen_calls.c.signature.in_(old))).rowcount
