"""Stores which messages are fragments of one larger message, and what became of the whole.

Whoever changes a group locks its row first, so that its fragments are judged one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final

from sqlalchemy import Connection, Engine, Row, bindparam, func, insert, select, update

from gateway.errors import GatewayError
from gateway.message_model import Body, as_body
from gateway.store import messages
from gateway.store.engine import read_transaction
from gateway.store.fragment_tables import fragment_groups, fragments
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.row_values import collect_values
from gateway.store.tables import message_payloads

__all__ = [
    "NewGroup",
    "count_by_state",
    "count_open_groups",
    "find_by_id",
    "find_by_message",
    "has_number",
    "insert_fragment",
    "list_messages",
    "list_pieces",
    "lock_by_id",
    "lock_by_name",
    "open_group",
    "set_joined",
    "set_refused",
    "set_tally",
]

_INSERT = InsertIfAbsent(fragment_groups, ("from_party", "group_id"), "id")
_g, _f = fragment_groups.c, fragments.c
_BY_ID: Final = select(fragment_groups).where(_g.id == bindparam("wanted"))
_BY_NAME: Final = select(fragment_groups).where(
    _g.from_party == bindparam("sender"), _g.group_id == bindparam("name")
)


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group whose first fragment has come."""

    group_id: str
    from_party: str
    protocol: str
    agreement_id: str
    pmode_id: str
    expires_at: datetime


class _FragmentBody:
    """The piece of a source message in one fragment; it is read from the database whenever it is opened."""

    def __init__(self, engine: Engine, row: Any) -> None:
        self._engine = engine
        self._message = int(row.message)
        self.octet_count = int(row.size)
        self.sha256_hex = str(row.sha256)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet; raises GW320 where the octets were removed."""
        with read_transaction(self._engine) as conn:
            part = messages.load_part(conn, self._message, 1)
        assert part is not None  # a fragment has one part
        return as_body(part.octets).open_stream()


def lock_by_name(conn: Connection, from_party: str, group_id: str) -> Row[Any] | None:
    """Lock and return the group that a party names so, None where there is none."""
    values = {"sender": from_party, "name": group_id}
    return conn.execute(_BY_NAME.with_for_update(), values).first()


def open_group(conn: Connection, group: NewGroup, at: datetime) -> Row[Any]:
    """Open a group, or lock the one that another fragment has opened meanwhile; return it."""
    _INSERT.insert_one(conn, collect_values(group) | {"state": "OPEN", "opened_at": at})
    found = lock_by_name(conn, group.from_party, group.group_id)
    assert found is not None  # it was inserted here, or before
    return found


def lock_by_id(conn: Connection, group: int) -> Row[Any] | None:
    """Lock and return a group."""
    return conn.execute(_BY_ID.with_for_update(), {"wanted": group}).first()


def find_by_id(conn: Connection, group: int) -> Row[Any] | None:
    """Return a group."""
    return conn.execute(_BY_ID, {"wanted": group}).first()


def find_by_message(conn: Connection, message: int) -> tuple[Row[Any], int | None] | None:
    """Return the group of a message and its number there, None for the joined message; None without group."""
    number = conn.execute(select(_f.group, _f.number).where(_f.message == message)).first()
    if number is not None:
        group = find_by_id(conn, number.group)
        assert group is not None  # it is referred to
        return group, int(number.number)
    joined = conn.execute(select(fragment_groups).where(_g.message == message)).first()
    return None if joined is None else (joined, None)


def count_open_groups(conn: Connection, from_party: str) -> int:
    """Return how many messages of a party are incomplete, or not joined yet."""
    found = select(func.count()).select_from(fragment_groups)
    return int(conn.execute(found.where(_g.ended_at.is_(None), _g.from_party == from_party)).scalar_one())


def count_by_state(conn: Connection) -> Mapping[str, int]:
    """Return how many groups are open or complete."""
    found = select(_g.state, func.count()).where(_g.ended_at.is_(None)).group_by(_g.state)
    return {state: int(number) for state, number in conn.execute(found)}


def has_number(conn: Connection, group: int, number: int) -> bool:
    """Return whether a fragment of this number has come."""
    found = select(_f.message).where(_f.group == group, _f.number == number)
    return conn.execute(found).first() is not None


def insert_fragment(conn: Connection, group: int, number: int, message: int) -> None:
    """Store that a message is a fragment."""
    conn.execute(insert(fragments).values(message=message, group=group, number=number))


def set_tally(conn: Connection, group: int, tally: Mapping[str, Any], *, complete: bool) -> None:
    """Store what is known of an open group, whose last fragment has come where it is `complete`."""
    state = "COMPLETE" if complete else "OPEN"
    conn.execute(update(fragment_groups).where(_g.id == group).values(tally=dict(tally), state=state))


def set_joined(conn: Connection, group: int, message: int, at: datetime) -> None:
    """Store what a group was joined to."""
    values = {"state": "JOINED", "message": message, "ended_at": at}
    conn.execute(update(fragment_groups).where(_g.id == group).values(values))


def set_refused(conn: Connection, group: int, problem: GatewayError, at: datetime) -> None:
    """Store why a group was refused; every further fragment of it is refused, too."""
    told = {"problem": problem.problem.id, "code": problem.code, "detail": problem.detail[:500]}
    values = {"state": "REFUSED", "ended_at": at, **told}
    conn.execute(update(fragment_groups).where(_g.id == group).values(values))


def list_messages(conn: Connection, group: int) -> Sequence[int]:
    """Return the messages that are the fragments of a group, by their number."""
    found = select(_f.message).where(_f.group == group).order_by(_f.number)
    return conn.execute(found).scalars().all()


def list_pieces(engine: Engine, group: int) -> tuple[Body, ...]:
    """Return the pieces of a source message in their order; their octets are read when they are opened."""
    columns = (_f.message, message_payloads.c.size, message_payloads.c.sha256)
    joined = select(*columns).join(message_payloads, message_payloads.c.message == _f.message)
    with read_transaction(engine) as conn:
        rows = conn.execute(joined.where(_f.group == group).order_by(_f.number)).all()
    return tuple(_FragmentBody(engine, row) for row in rows)
