"""Stores the machines that work on the database: when each was seen, and which are drained."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Column, Connection, Table, Text, bindparam, func, select, update

from gateway.store.deliveries import deliveries
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.table_types import CODE_TEXT, NAME_TEXT, Instant, make_required_column, metadata

# The machines that work on this database, as each reports itself, and which of them are drained.
nodes = Table(
    "nodes",
    metadata,
    Column("name", NAME_TEXT, primary_key=True),
    make_required_column("version"),
    make_required_column("schema_revision"),
    make_required_column("seen_at", Instant),
    Column("drained_at", Instant),
    Column("drained_by", Text),
    Column("drain_reason", Text),
)


class NodeRow(Protocol):
    """A row of the table `nodes`."""

    name: str
    version: str
    schema_revision: str
    seen_at: datetime
    drained_at: datetime | None
    drained_by: str | None
    drain_reason: str | None


_INSERT: Final = InsertIfAbsent(nodes, ("name",), "name")
_GET: Final = select(nodes).where(nodes.c.name == bindparam("wanted"))


def note_node(conn: Connection, name: str, version: str, revision: str, at: datetime) -> None:
    """Store that a node works at this time, with the version of its code and of the schema it knows."""
    values = {"version": version, "schema_revision": revision, "seen_at": at}
    if _INSERT.insert_one(conn, {"name": name, **values}) is None:
        conn.execute(update(nodes).where(nodes.c.name == name).values(values))


def find_node(conn: Connection, name: str) -> NodeRow | None:
    """Return a node; None when it was never seen."""
    return conn.execute(_GET, {"wanted": name}).first()


def list_nodes(conn: Connection) -> Sequence[NodeRow]:
    """Return all nodes by name."""
    return conn.execute(select(nodes).order_by(nodes.c.name)).all()


def set_drain(conn: Connection, name: str, by: str, reason: str | None, at: datetime) -> None:
    """Store that a node takes no new work from now on; one that is drained already stays so since then."""
    drained = update(nodes).where(nodes.c.name == name, nodes.c.drained_at.is_(None))
    conn.execute(drained.values(drained_at=at, drained_by=by, drain_reason=reason))


def end_drain(conn: Connection, name: str) -> None:
    """Store that a node takes work again."""
    again = update(nodes).where(nodes.c.name == name)
    conn.execute(again.values(drained_at=None, drained_by=None, drain_reason=None))


def count_leases(conn: Connection) -> dict[str, int]:
    """Return how many deliveries the processes of each node hold; deliveries under way are few."""
    held = select(deliveries.c.leased_by, func.count()).where(build_state_condition(deliveries, "ACTIVE"))
    counted: dict[str, int] = {}
    for holder, number in conn.execute(held.group_by(deliveries.c.leased_by)):
        node = str(holder).rpartition("/")[0]
        counted[node] = counted.get(node, 0) + number
    return counted


# One row: the schema version of the oldest code that works with this schema.
schema_floor = Table("schema_floor", metadata, Column("oldest_code", CODE_TEXT, primary_key=True))
