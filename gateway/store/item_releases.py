"""Stores what child declarations take of the items of a decided case; the parent case is locked first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, insert, or_, select, update

from gateway.store.release_tables import item_releases
from gateway.store.requirement_tables import requirement_uses
from gateway.store.tables import cases, messages
from gateway.store.transaction_reads import keep_read, read_once

__all__ = [
    "NewItemRelease",
    "build_outside_condition",
    "build_parent_condition",
    "find_declaration_message",
    "insert_releases",
    "keep_childless",
    "keep_outside_answer",
    "list_children",
    "list_children_of",
    "list_releases_from",
    "list_releases_into",
    "may_have_outside_decisions",
    "return_releases",
]


def build_outside_condition() -> ColumnElement[bool]:
    """Return the condition that the case `wanted` uses a requirement, or holds items of a parent."""
    return or_(
        exists().where(requirement_uses.c.case_id == bindparam("wanted")),
        exists().where(
            item_releases.c.child_id == bindparam("wanted"), item_releases.c.returned_at.is_(None)
        ),
    )


def build_parent_condition() -> ColumnElement[bool]:
    """Return the condition that children hold items of the case `wanted`."""
    return exists().where(
        item_releases.c.parent_id == bindparam("wanted"), item_releases.c.returned_at.is_(None)
    )


_OUTSIDE: Final = select(build_outside_condition())
#: The tables that it asks.
_OUTSIDE_OF: Final = (requirement_uses.name, item_releases.name)
_CHILDREN: Final = select(item_releases.c.child_id).where(
    item_releases.c.parent_id == bindparam("wanted"), item_releases.c.returned_at.is_(None)
)
#: The messages that have the whole declaration.
_WHOLE = ("Submit", "Amend")


@dataclass(frozen=True, slots=True)
class NewItemRelease:
    """What a child (row id) takes of one item of its parent, by one measure."""

    parent_id: int
    child_id: int
    item: int
    measure: str
    quantity: str
    unit: str
    whole: str
    whole_unit: str


def insert_releases(conn: Connection, new: Sequence[NewItemRelease], at: datetime) -> None:
    """Store what a child takes."""
    if new:
        conn.execute(insert(item_releases), [asdict(one) | {"released_at": at} for one in new])


def list_releases_from(conn: Connection, parent: int) -> Sequence[Row[Any]]:
    """Return what children have taken of a case, given back too, each with the number of its child."""
    return conn.execute(
        select(item_releases, cases.c.number.label("child"))
        .join(cases, cases.c.id == item_releases.c.child_id)
        .where(item_releases.c.parent_id == parent)
        .order_by(item_releases.c.id)
    ).all()


def list_releases_into(conn: Connection, child: int) -> Sequence[Row[Any]]:
    """Return what a child holds of its parent, with the number of the parent."""
    return conn.execute(
        select(item_releases, cases.c.number.label("parent"))
        .join(cases, cases.c.id == item_releases.c.parent_id)
        .where(item_releases.c.child_id == child, item_releases.c.returned_at.is_(None))
        .order_by(item_releases.c.id)
    ).all()


def may_have_outside_decisions(conn: Connection, case_id: int) -> bool:
    """Return whether a case uses a requirement, or holds items of a parent."""

    def read() -> bool:
        return bool(conn.execute(_OUTSIDE, {"wanted": case_id}).scalar_one())

    return read_once(conn, _OUTSIDE_OF, ("outside decisions", case_id), read)


def keep_outside_answer(conn: Connection, case_id: int, *, found: bool) -> None:
    """Keep the answer for `may_have_outside_decisions`, where another statement has asked it."""
    keep_read(conn, _OUTSIDE_OF, ("outside decisions", case_id), found)


def list_children(conn: Connection, parent: int) -> Sequence[int]:
    """Return the children (row ids) that hold items of a case."""

    def read() -> Sequence[int]:
        return sorted({int(row.child_id) for row in conn.execute(_CHILDREN, {"wanted": parent})})

    return read_once(conn, (item_releases.name,), ("children of a case", parent), read)


def keep_childless(conn: Connection, parent: int) -> None:
    """Keep for `list_children` that a case has none, where another statement has asked it."""
    keep_read(conn, (item_releases.name,), ("children of a case", parent), ())


def list_children_of(conn: Connection, parents: Collection[int]) -> Sequence[Row[Any]]:
    """Return the children (`child_id`) that hold items of some cases, each with its parent (`parent_id`)."""
    pairs = select(item_releases.c.parent_id, item_releases.c.child_id).distinct()
    mine = (item_releases.c.parent_id.in_(sorted(parents)), item_releases.c.returned_at.is_(None))
    return list(conn.execute(pairs.where(*mine).order_by(item_releases.c.child_id)))


def return_releases(conn: Connection, child: int, reason: str, at: datetime) -> int:
    """Give back all that a locked child holds; return the number of rows."""
    mine = (item_releases.c.child_id == child, item_releases.c.returned_at.is_(None))
    done = conn.execute(update(item_releases).where(*mine).values(returned_at=at, return_reason=reason))
    return int(done.rowcount)


def find_declaration_message(conn: Connection, case_id: int) -> int | None:
    """Return the message (row id) with the declaration of a case as it was amended last."""
    found = (
        select(messages.c.id)
        .where(messages.c.case_id == case_id, messages.c.direction == "in", messages.c.action.in_(_WHOLE))
        .order_by(messages.c.id.desc())
        .limit(1)
    )
    return conn.execute(found).scalar()
