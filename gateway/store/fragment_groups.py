"""Stores which messages are fragments of one larger message, received or sent, and the outcome of the whole.

A transaction that changes a received group locks its row first, so that its fragments are judged one after
the other. For a message that the hub sends in fragments, the delivery of the whole sends nothing itself: a
transaction that changes its group locks that delivery first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final, Protocol, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    select,
    update,
)

from gateway.errors import GatewayError
from gateway.message_model import Body, as_body
from gateway.store.deliveries import DeliveryRow, deliveries
from gateway.store.engine import read_transaction
from gateway.store.messages import load_part, message_payloads, messages
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)

#: OPEN until every fragment has come, COMPLETE until they are joined.
FRAGMENT_GROUP_STATES = ("OPEN", "COMPLETE", "JOINED", "REFUSED")

# The fragments of one source message. `tally` has the facts about them beside their octets; `problem` is
# the reason of their refusal, `code` and `detail` its report to the sender, `message` the joined message.
fragment_groups = Table(
    "fragment_groups",
    metadata,
    make_identity_column(),
    make_required_column("group_id", ID_TEXT),
    make_required_column("from_party", NAME_TEXT),
    make_required_column("protocol"),
    make_required_column("agreement_id"),
    make_required_column("pmode_id"),
    make_required_column("state", CODE_TEXT),
    Column("tally", Json),
    make_required_column("opened_at", Instant),
    make_required_column("expires_at", Instant),
    Column("ended_at", Instant),
    Column("problem", Text),
    Column("code", Text),
    Column("detail", Text),
    Column("message", BigInteger, ForeignKey("messages.id")),
    UniqueConstraint("from_party", "group_id"),
    make_state_constraint(FRAGMENT_GROUP_STATES),
    PartialIndex("ix_fragment_groups_state", "state", "from_party", where="ended_at IS NULL"),
    PartialIndex("ix_fragment_groups_message", "message", where="message IS NOT NULL"),
)


class FragmentGroupRow(Protocol):
    """A row of the table `fragment_groups`."""

    id: int
    group_id: str
    from_party: str
    protocol: str
    agreement_id: str
    pmode_id: str
    state: str
    tally: Any
    opened_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    problem: str | None
    code: str | None
    detail: str | None
    message: int | None


# The messages that are fragments, each with its number.
fragments = Table(
    "fragments",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("group", BigInteger, ForeignKey("fragment_groups.id")),
    make_required_column("number", Integer),
    UniqueConstraint("group", "number"),
)


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
            part = load_part(conn, self._message, 1)
        assert part is not None  # a fragment has one part
        return as_body(part.octets).open_stream()


def lock_by_name(conn: Connection, from_party: str, group_id: str) -> FragmentGroupRow | None:
    """Lock and return the group that a party calls `group_id`; None if there is none."""
    values = {"sender": from_party, "name": group_id}
    return conn.execute(_BY_NAME.with_for_update(), values).first()


def open_group(conn: Connection, group: NewGroup, at: datetime) -> FragmentGroupRow:
    """Insert and return a group; if another fragment has inserted it meanwhile, lock and return that."""
    _INSERT.insert_one(conn, collect_values(group) | {"state": "OPEN", "opened_at": at})
    group_row = lock_by_name(conn, group.from_party, group.group_id)
    assert group_row is not None  # it was inserted here, or before
    return group_row


def lock_by_id(conn: Connection, group: int) -> FragmentGroupRow | None:
    """Lock and return a group."""
    return conn.execute(_BY_ID.with_for_update(), {"wanted": group}).first()


def find_by_id(conn: Connection, group: int) -> FragmentGroupRow | None:
    """Return a group."""
    return conn.execute(_BY_ID, {"wanted": group}).first()


@dataclass(frozen=True, slots=True)
class GroupedMessage:
    """The group of a message, and the number of the fragment; None for the joined message."""

    group: FragmentGroupRow
    number: int | None


def find_by_message(conn: Connection, message: int) -> GroupedMessage | None:
    """Return the group of a message; None if the message belongs to no group."""
    fragment_row = conn.execute(select(_f.group, _f.number).where(_f.message == message)).first()
    if fragment_row is not None:
        group = find_by_id(conn, fragment_row.group)
        assert group is not None  # it is referred to
        return GroupedMessage(group, int(fragment_row.number))
    joined_group = conn.execute(select(fragment_groups).where(_g.message == message)).first()
    return None if joined_group is None else GroupedMessage(joined_group, None)


def count_open_groups(conn: Connection, from_party: str) -> int:
    """Return how many messages of a party are incomplete, or not joined yet."""
    query = select(func.count()).select_from(fragment_groups)
    return int(conn.execute(query.where(_g.ended_at.is_(None), _g.from_party == from_party)).scalar_one())


def count_by_state(conn: Connection) -> Mapping[str, int]:
    """Return how many groups are open or complete."""
    query = select(_g.state, func.count()).where(_g.ended_at.is_(None)).group_by(_g.state)
    return {state: int(number) for state, number in conn.execute(query)}


def has_fragment(conn: Connection, group: int, number: int) -> bool:
    """Return whether the fragment of this number has arrived."""
    query = select(_f.message).where(_f.group == group, _f.number == number)
    return conn.execute(query).first() is not None


def insert_fragment(conn: Connection, group: int, number: int, message: int) -> None:
    """Store that a message is a fragment."""
    conn.execute(insert(fragments).values(message=message, group=group, number=number))


def set_tally(conn: Connection, group: int, tally: Mapping[str, Any], *, is_complete: bool) -> None:
    """Store the tally of an open group; `is_complete` if its last fragment has arrived."""
    state = "COMPLETE" if is_complete else "OPEN"
    conn.execute(update(fragment_groups).where(_g.id == group).values(tally=dict(tally), state=state))


def set_joined(conn: Connection, group: int, message: int, at: datetime) -> None:
    """Store the message (row id) that the fragments of a group were joined to."""
    values = {"state": "JOINED", "message": message, "ended_at": at}
    conn.execute(update(fragment_groups).where(_g.id == group).values(values))


def set_refused(conn: Connection, group: int, problem: GatewayError, at: datetime) -> None:
    """Store why a group was refused; every further fragment of it is refused, too."""
    problem_values = {"problem": problem.problem.id, "code": problem.code, "detail": problem.detail[:500]}
    values = {"state": "REFUSED", "ended_at": at, **problem_values}
    conn.execute(update(fragment_groups).where(_g.id == group).values(values))


def list_fragment_messages(conn: Connection, group: int) -> Sequence[int]:
    """Return the messages that are the fragments of a group, by their number."""
    query = select(_f.message).where(_f.group == group).order_by(_f.number)
    return conn.execute(query).scalars().all()


def list_pieces(engine: Engine, group: int) -> tuple[Body, ...]:
    """Return the pieces of a source message in order; the octets of a piece are read when it is opened."""
    columns = (_f.message, message_payloads.c.size, message_payloads.c.sha256)
    joined = select(*columns).join(message_payloads, message_payloads.c.message == _f.message)
    with read_transaction(engine) as conn:
        rows = conn.execute(joined.where(_f.group == group).order_by(_f.number)).all()
    return tuple(_FragmentBody(engine, row) for row in rows)


#: SEALED until its fragments are queued, SENDING until its message has a receipt or is given up.
SENT_GROUP_STATES = ("SEALED", "SENDING", "RECEIPTED", "FAILED")

# The messages that the hub sends in fragments, by the delivery of the whole, which sends nothing itself.
# `round` counts how often its fragments were queued.
sent_groups = Table(
    "sent_groups",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True, autoincrement=False),
    make_required_column("message", BigInteger, ForeignKey("messages.id")),
    make_required_column("count", Integer),
    make_required_column("round", Integer),
    make_required_column("state"),
    make_required_column("sealed_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("message"),
    make_state_constraint(SENT_GROUP_STATES),
)


class SentGroupRow(Protocol):
    """A row of the table `sent_groups`."""

    delivery: int
    message: int
    count: int
    round: int
    state: str
    sealed_at: datetime
    ended_at: datetime | None


# Their fragments, sealed once; `delivery` is the last one that sends it.
sent_fragments = Table(
    "sent_fragments",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("group", BigInteger, ForeignKey("sent_groups.delivery")),
    make_required_column("number", Integer),
    Column("delivery", BigInteger, ForeignKey("deliveries.id")),
    UniqueConstraint("group", "number"),
)


_s, _sf, _d = sent_groups.c, sent_fragments.c, deliveries.c
_BY_DELIVERY: Final = select(sent_groups).where(_s.delivery == bindparam("wanted"))
#: Finds the group of a fragment that is still to be sent: it is SENDING, in the round of the fragment.
_CURRENT: Final = select(_s.delivery).where(
    _s.delivery == bindparam("wanted"), _s.round == bindparam("of_round"), _s.state == "SENDING"
)
#: Deliveries that no worker holds, and that wait for no receipt.
_IDLE: Final = ("QUEUED", "HELD", "FAILED")


@dataclass(frozen=True, slots=True)
class SentGroupMember:
    """A message in the group of fragments that the hub sends.

    `number` is that of the fragment, None for the whole message; `receipted` counts fragments with a receipt.
    """

    group: SentGroupRow
    number: int | None
    receipted: int


def insert_sent_group(
    conn: Connection, delivery: int, message: int, fragments: Sequence[int], at: datetime
) -> None:
    """Store that `delivery` sends `message` as `fragments`: row ids of messages, in order."""
    row = {"delivery": delivery, "message": message, "count": len(fragments), "round": 0, "state": "SEALED"}
    conn.execute(insert(sent_groups), row | {"sealed_at": at})
    numbered = enumerate(fragments, start=1)
    rows = [{"message": fragment, "group": delivery, "number": number} for number, fragment in numbered]
    conn.execute(insert(sent_fragments), rows)


def find_sent_group(conn: Connection, delivery: int) -> SentGroupRow | None:
    """Return the group of the delivery of a whole message."""
    return _read_sent_group(conn.execute(_BY_DELIVERY, {"wanted": delivery}).first())


def _read_sent_group(row: Row[Any] | None) -> SentGroupRow | None:
    # The type of a row has a method `count`; a row with a column of this name has that column in its place.
    return cast("SentGroupRow | None", row)


def find_sent_group_member(conn: Connection, message: int) -> SentGroupMember | None:
    """Return a message that is sent as a fragment, or in fragments, with its group; None for any other."""
    fragment_row = conn.execute(select(_sf.group, _sf.number).where(_sf.message == message)).first()
    is_group = _s.message == message if fragment_row is None else _s.delivery == fragment_row.group
    group = _read_sent_group(conn.execute(select(sent_groups).where(is_group)).first())
    if group is None:
        return None
    number = None if fragment_row is None else int(fragment_row.number)
    return SentGroupMember(group, number, _count_receipted(conn, group.delivery))


def _count_receipted(conn: Connection, group: int) -> int:
    """Return how many fragments have their receipts."""
    query = select(func.count()).select_from(sent_fragments).join(deliveries, _d.id == _sf.delivery)
    receipted = query.where(_sf.group == group, _d.state == "DELIVERED")
    return int(conn.execute(receipted).scalar_one())


def is_current_round(conn: Connection, group: int, round_: int) -> bool:
    """Return whether the fragments that were queued in a round are still to be sent."""
    return conn.execute(_CURRENT, {"wanted": group, "of_round": round_}).first() is not None


class SentFragmentRow(Protocol):
    """A fragment of a group, with its message and the state of its delivery."""

    message: int
    number: int
    message_id: str
    parcel_headers: Any
    parcel_sha256: str
    delivery_state: str | None


def list_sent_fragments(conn: Connection, group: int) -> Sequence[SentFragmentRow]:
    """Return the fragments of a group in their order, each with its message and its delivery's state."""
    sent = (messages.c.message_id, messages.c.parcel_headers, messages.c.parcel_sha256)
    columns: list[Any] = [_sf.message, _sf.number, *sent, _d.state.label("delivery_state")]
    joined = (
        select(*columns)
        .join(messages, messages.c.id == _sf.message)
        .outerjoin(deliveries, _d.id == _sf.delivery)
    )
    return conn.execute(joined.where(_sf.group == group).order_by(_sf.number)).all()


def list_idle_deliveries(conn: Connection, group: int) -> Sequence[DeliveryRow]:
    """Lock and return the deliveries of fragments that no worker has leased or has locked."""
    query = select(deliveries).join(sent_fragments, _sf.delivery == _d.id)
    query = query.where(_sf.group == group, _d.state.in_(_IDLE)).order_by(_d.id)
    return conn.execute(query.with_for_update(of=deliveries, skip_locked=True, key_share=True)).all()


def begin_round(conn: Connection, group: int) -> int:
    """Store that the fragments of a group are queued once more; return the number of the round."""
    changed = update(sent_groups).where(_s.delivery == group)
    round_update = changed.values(state="SENDING", round=_s.round + 1, ended_at=None).returning(_s.round)
    return int(conn.execute(round_update).scalar_one())


def set_fragment_delivery(conn: Connection, message: int, delivery: int) -> None:
    """Store which delivery sends a fragment now."""
    conn.execute(update(sent_fragments).where(_sf.message == message).values(delivery=delivery))


def end_sent_group(conn: Connection, group: int, at: datetime, *, has_receipt: bool) -> None:
    """Store that the whole message has its receipt, or has failed: no fragment of it is sent any more."""
    state = "RECEIPTED" if has_receipt else "FAILED"
    conn.execute(update(sent_groups).where(_s.delivery == group).values(state=state, ended_at=at))
