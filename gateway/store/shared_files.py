"""What the database knows of the files beside it that all nodes must have in common.

A node that works with a file of its own in place of the common one loses data, or signs with a key that
nobody expects. So the database has the mark of each such file, and each node compares its own file with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol, cast

from sqlalchemy import Column, Connection, Table, bindparam, select, update

from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import CODE_TEXT, Instant, make_required_column, metadata

#: The store of large payloads. Its mark is a random number, which is an object of the store, too.
PAYLOADS: Final = "payloads"
#: The key of the webhooks. Its mark is a digest of the key.
WEBHOOK_KEY: Final = "webhook_key"

shared_files = Table(
    "shared_files",
    metadata,
    Column("name", CODE_TEXT, primary_key=True),
    make_required_column("mark", CODE_TEXT),
    Column("placed_at", Instant),  # null until the file itself has the mark
)

_INSERT = InsertIfAbsent(shared_files, ("name",))
_FIND = select(shared_files.c.mark, shared_files.c.placed_at).where(
    shared_files.c.name == bindparam("wanted")
)


class SharedFileRow(Protocol):
    """The mark of a file that all nodes share, and when the file had it; None if it may not have it yet."""

    mark: str
    placed_at: datetime | None


def lock_shared_file(conn: Connection, name: str) -> None:
    """Wait until no other transaction has locked the mark of this name, and lock it until this one ends."""
    acquire_named_locks(conn, f"shared file {name}")


def find_shared_file(conn: Connection, name: str) -> SharedFileRow | None:
    """Return the mark of the file of this name; None if the database has none."""
    return cast("SharedFileRow | None", conn.execute(_FIND, {"wanted": name}).first())


def record_shared_file(
    conn: Connection, name: str, mark: str, placed_at: datetime | None = None
) -> SharedFileRow:
    """Store the mark of a file unless the database has one; return the one that holds now."""
    _INSERT.insert_many(conn, [{"name": name, "mark": mark, "placed_at": placed_at}])
    return cast("SharedFileRow", find_shared_file(conn, name))


def record_placed_mark(conn: Connection, name: str, placed_at: datetime) -> None:
    """Store that the file of this name has its mark."""
    conn.execute(update(shared_files).where(shared_files.c.name == name).values(placed_at=placed_at))


def replace_shared_file(conn: Connection, name: str, mark: str, placed_at: datetime | None = None) -> None:
    """Store the mark of a file that takes the place of the file before, if there was one."""
    record_shared_file(conn, name, mark, placed_at)
    values = {"mark": mark, "placed_at": placed_at}
    conn.execute(update(shared_files).where(shared_files.c.name == name).values(values))
