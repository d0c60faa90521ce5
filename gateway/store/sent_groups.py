"""Stores which messages of ours go in fragments, and how far each of them is.

The delivery of the whole message sends nothing itself: whoever changes its group holds that delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from gateway.store.fragment_tables import sent_fragments, sent_groups
from gateway.store.tables import deliveries, messages

__all__ = [
    "SentPlace",
    "begin_round",
    "end_group",
    "find_by_delivery",
    "find_by_message",
    "insert_group",
    "is_current_round",
    "list_fragments",
    "list_idle_deliveries",
    "set_fragment_delivery",
]

_g, _f, _d = sent_groups.c, sent_fragments.c, deliveries.c
_BY_DELIVERY: Final = select(sent_groups).where(_g.delivery == bindparam("wanted"))
#: What a fragment asks before it is sent.
_CURRENT: Final = select(_g.delivery).where(
    _g.delivery == bindparam("wanted"), _g.round == bindparam("of_round"), _g.state == "SENDING"
)
#: Deliveries that no worker holds, and that wait for no receipt.
_IDLE: Final = ("QUEUED", "HELD", "FAILED")


@dataclass(frozen=True, slots=True)
class SentPlace:
    """Where a message of ours stands in its group: its number, None for the whole; how many have receipts."""

    group: Row[Any]
    number: int | None
    receipted: int


def insert_group(
    conn: Connection, delivery: int, message: int, fragments: Sequence[int], at: datetime
) -> None:
    """Store that a message goes in fragments (messages, in their order) for its delivery."""
    row = {"delivery": delivery, "message": message, "count": len(fragments), "round": 0, "state": "SEALED"}
    conn.execute(insert(sent_groups), row | {"sealed_at": at})
    numbered = enumerate(fragments, start=1)
    rows = [{"message": one, "group": delivery, "number": number} for number, one in numbered]
    conn.execute(insert(sent_fragments), rows)


def find_by_delivery(conn: Connection, delivery: int) -> Row[Any] | None:
    """Return the group of the delivery of a whole message."""
    return conn.execute(_BY_DELIVERY, {"wanted": delivery}).first()


def find_by_message(conn: Connection, message: int) -> SentPlace | None:
    """Return the place of a message that is a fragment, or goes in fragments; None for any other."""
    piece = conn.execute(select(_f.group, _f.number).where(_f.message == message)).first()
    found = _g.message == message if piece is None else _g.delivery == piece.group
    group = conn.execute(select(sent_groups).where(found)).first()
    if group is None:
        return None
    number = None if piece is None else int(piece.number)
    return SentPlace(group, number, _count_receipted(conn, group.delivery))


def _count_receipted(conn: Connection, group: int) -> int:
    """Return how many fragments have their receipts."""
    found = select(func.count()).select_from(sent_fragments).join(deliveries, _d.id == _f.delivery)
    done = found.where(_f.group == group, _d.state == "DELIVERED")
    return int(conn.execute(done).scalar_one())


def is_current_round(conn: Connection, group: int, round_: int) -> bool:
    """Return whether the fragments that were queued in a round are still to be sent."""
    return conn.execute(_CURRENT, {"wanted": group, "of_round": round_}).first() is not None


def list_fragments(conn: Connection, group: int) -> Sequence[Row[Any]]:
    """Return the fragments of a group in their order: what each sends, and the state of its delivery."""
    sent = (messages.c.message_id, messages.c.parcel_headers, messages.c.parcel_sha256)
    columns: list[Any] = [_f.message, _f.number, *sent, _d.state.label("delivery_state")]
    joined = (
        select(*columns)
        .join(messages, messages.c.id == _f.message)
        .outerjoin(deliveries, _d.id == _f.delivery)
    )
    return conn.execute(joined.where(_f.group == group).order_by(_f.number)).all()


def list_idle_deliveries(conn: Connection, group: int) -> Sequence[Row[Any]]:
    """Lock and return the deliveries of fragments that nobody is sending; what a worker holds is left out."""
    found = select(deliveries).join(sent_fragments, _f.delivery == _d.id)
    found = found.where(_f.group == group, _d.state.in_(_IDLE)).order_by(_d.id)
    return conn.execute(found.with_for_update(of=deliveries, skip_locked=True, key_share=True)).all()


def begin_round(conn: Connection, group: int) -> int:
    """Store that the fragments of a group are queued once more; return the number of the round."""
    changed = update(sent_groups).where(_g.delivery == group)
    again = changed.values(state="SENDING", round=_g.round + 1, ended_at=None).returning(_g.round)
    return int(conn.execute(again).scalar_one())


def set_fragment_delivery(conn: Connection, message: int, delivery: int) -> None:
    """Store which delivery sends a fragment now."""
    conn.execute(update(sent_fragments).where(_f.message == message).values(delivery=delivery))


def end_group(conn: Connection, group: int, at: datetime, *, receipted: bool) -> None:
    """Store that the whole message has its receipt, or has failed: no fragment of it is sent any more."""
    state = "RECEIPTED" if receipted else "FAILED"
    conn.execute(update(sent_groups).where(_g.delivery == group).values(state=state, ended_at=at))
