"""Stores the item quantities that child declarations take of a decided case; the parent is locked first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    exists,
    insert,
    or_,
    select,
    update,
)

from gateway.store.cases import cases
from gateway.store.messages import messages
from gateway.store.requirement_quantities import requirement_uses
from gateway.store.table_types import Instant, make_identity_column, make_required_column, metadata

# One row for each measure of an item that a child has taken, or one without measure. The parent case is
# locked before a row is added. A measure that a child gave back keeps its row.
item_releases = Table(
    "item_releases",
    metadata,
    make_identity_column(),
    make_required_column("parent_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("child_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("item", Integer),
    make_required_column("measure"),  # empty: the item has none
    make_required_column("quantity"),  # the digits as declared
    make_required_column("unit"),
    make_required_column("whole"),  # the quantity that the parent declared, in `whole_unit`
    make_required_column("whole_unit"),
    make_required_column("released_at", Instant),
    Column("returned_at", Instant),
    Column("return_reason", Text),
    Index("ix_item_releases_parent_id", "parent_id", "id"),
    Index("ix_item_releases_child_id", "child_id", "id"),
)


class ItemReleaseRow(Protocol):
    """A row of the table `item_releases`."""

    id: int
    parent_id: int
    child_id: int
    item: int
    measure: str
    quantity: str
    unit: str
    whole: str
    whole_unit: str
    released_at: datetime
    returned_at: datetime | None
    return_reason: str | None


def build_outside_decision_condition() -> ColumnElement[bool]:
    """Return the condition that a case uses a requirement, or has item quantities of a parent case.

    The bind parameter `wanted` is the row id of the case.
    """
    return or_(
        exists().where(requirement_uses.c.case_id == bindparam("wanted")),
        exists().where(
            item_releases.c.child_id == bindparam("wanted"), item_releases.c.returned_at.is_(None)
        ),
    )


_OUTSIDE: Final = select(build_outside_decision_condition())
_CHILDREN: Final = select(item_releases.c.child_id).where(
    item_releases.c.parent_id == bindparam("wanted"), item_releases.c.returned_at.is_(None)
)
#: The messages that have the whole declaration.
_WHOLE = ("Submit", "Amend")


@dataclass(frozen=True, slots=True)
class NewItemRelease:
    """The quantity that a child declaration takes of one item of its parent, by one measure."""

    parent_id: int
    child_id: int
    item: int
    measure: str
    quantity: str
    unit: str
    whole: str
    whole_unit: str


def insert_releases(conn: Connection, new: Sequence[NewItemRelease], at: datetime) -> None:
    """Store which items a child declaration takes from its parent."""
    if new:
        conn.execute(insert(item_releases), [asdict(release) | {"released_at": at} for release in new])


class ReleaseToChildRow(ItemReleaseRow, Protocol):
    """A release of items, with the number of the child case."""

    child: str


def list_releases_from(conn: Connection, parent_id: int) -> Sequence[ReleaseToChildRow]:
    """Return the item releases from a case, also those given back, each with the number of its child."""
    return conn.execute(
        select(item_releases, cases.c.number.label("child"))
        .join(cases, cases.c.id == item_releases.c.child_id)
        .where(item_releases.c.parent_id == parent_id)
        .order_by(item_releases.c.id)
    ).all()


class ReleaseFromParentRow(ItemReleaseRow, Protocol):
    """A release of items, with the number of the parent case."""

    parent: str


def list_releases_into(conn: Connection, child_id: int) -> Sequence[ReleaseFromParentRow]:
    """Return the item releases that a child holds, each with the number of its parent."""
    return conn.execute(
        select(item_releases, cases.c.number.label("parent"))
        .join(cases, cases.c.id == item_releases.c.parent_id)
        .where(item_releases.c.child_id == child_id, item_releases.c.returned_at.is_(None))
        .order_by(item_releases.c.id)
    ).all()


def may_have_outside_decisions(conn: Connection, case_id: int) -> bool:
    """Return whether a case uses a requirement, or holds items of a parent."""
    return bool(conn.execute(_OUTSIDE, {"wanted": case_id}).scalar_one())


def list_children(conn: Connection, parent: int) -> Sequence[int]:
    """Return the children (row ids) that hold items of a case."""
    return sorted({int(row.child_id) for row in conn.execute(_CHILDREN, {"wanted": parent})})


class ParentAndChildRow(Protocol):
    """A parent case, and a child that holds items of it."""

    parent_id: int
    child_id: int


def list_children_of(conn: Connection, parents: Collection[int]) -> Sequence[ParentAndChildRow]:
    """Return the children (`child_id`) that hold items of some cases, each with its parent (`parent_id`)."""
    pairs = select(item_releases.c.parent_id, item_releases.c.child_id).distinct()
    conditions = (item_releases.c.parent_id.in_(sorted(parents)), item_releases.c.returned_at.is_(None))
    return list(conn.execute(pairs.where(*conditions).order_by(item_releases.c.child_id)))


def return_releases(conn: Connection, child: int, reason: str, at: datetime) -> int:
    """Give back all that a locked child holds; return the number of rows."""
    conditions = (item_releases.c.child_id == child, item_releases.c.returned_at.is_(None))
    updated = conn.execute(
        update(item_releases).where(*conditions).values(returned_at=at, return_reason=reason)
    )
    return int(updated.rowcount)


def find_declaration_message(conn: Connection, case_id: int) -> int | None:
    """Return the message (row id) with the declaration of a case as it was amended last."""
    query = (
        select(messages.c.id)
        .where(messages.c.case_id == case_id, messages.c.direction == "in", messages.c.action.in_(_WHOLE))
        .order_by(messages.c.id.desc())
        .limit(1)
    )
    return conn.execute(query).scalar()
