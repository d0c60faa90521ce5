"""What keeps large octets beside the database, and where an engine has it.

An object is written and on disk before the row that names it is committed. So a row never names
octets that a power cut can take away, and an object without row is nothing: it is swept.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import BinaryIO, Final, Protocol

from sqlalchemy import Connection, Engine, text

from gateway.errors import OBJECT_CHANGED, OBJECT_MISSING, GatewayError
from gateway.message_model import Body

__all__ = [
    "INLINE_OCTETS",
    "OBJECTS",
    "ObjectStore",
    "attach_object_store",
    "check_object",
    "find_object_store",
    "get_object_store",
    "hold_objects",
    "make_changed_error",
]

#: Octets up to which content stays in the database where the settings say nothing else.
INLINE_OCTETS: Final = 1024**2
#: The value of `payloads.stored_in` of content that is in the object store.
OBJECTS: Final = "objects"
#: The attribute of an engine that holds its object store.
_STORE: Final = "_gateway_objects"
#: The advisory lock of PostgreSQL between those who name objects (shared) and the sweep (alone).
_SWEEP_LOCK: Final = 0x6757_0B1E
_STEP: Final = 1024**2


class ObjectStore(Protocol):
    """Keeps octets by their SHA-256; safe for many threads and processes.

    `inline` is the number of octets up to which content stays in the database.
    """

    inline: int

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where that fails. A second time changes nothing."""

    def has_object(self, digest: str, size: int) -> bool:
        """Return whether there is an object of this size."""

    def open_object(self, digest: str) -> BinaryIO:
        """Return a stream at its first octet; raises GW325 where there is none."""

    def describe_object(self, digest: str) -> str:
        """Return the place of an object, for people."""

    def remove_object(self, digest: str) -> None:
        """Remove an object; one that is gone is no error."""

    def check_store(self) -> None:
        """Raise GW806 where the store as a whole cannot be used."""

    def get_write_time(self, digest: str) -> datetime | None:
        """Return when an object was last written; None where there is none."""

    def remove_abandoned_files(self) -> int:
        """Remove what a killed process was writing; return how many."""

    def list_objects(self, part: int) -> Iterator[tuple[str, datetime]]:
        """Yield digest and time of the last writing of the objects whose digest begins with this octet."""


def attach_object_store(engine: Engine, store: ObjectStore | None) -> None:
    """Let an engine keep large octets in an object store, or everything in its database."""
    engine.__dict__[_STORE] = store


def find_object_store(engine: Engine) -> ObjectStore | None:
    """Return the object store of an engine, None where everything is in its database."""
    found: ObjectStore | None = engine.__dict__.get(_STORE)
    return found


def get_object_store(engine: Engine, digest: str) -> ObjectStore:
    """Return the object store that has the object of a row; raises GW325 where the engine has none."""
    found = find_object_store(engine)
    if found is None:
        raise GatewayError(OBJECT_MISSING, "this process has no object store", f"payloads {digest[:64]}")
    return found


def hold_objects(conn: Connection, *, alone: bool = False) -> None:
    """Let no sweep remove objects until the end of this transaction; `alone` is the sweep itself.

    On SQLite the one writer is enough.
    """
    if conn.dialect.name != "sqlite":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        conn.execute(text(f"SELECT {function}({_SWEEP_LOCK})"))


def check_object(conn: Connection, digest: str) -> None:
    """Raise GW325 or GW326 unless the object is there and has its digest; it is read in steps."""
    store, found = get_object_store(conn.engine, digest), sha256()
    with store.open_object(digest) as stream:
        while piece := stream.read(_STEP):
            found.update(piece)
    if found.hexdigest() != digest:
        raise make_changed_error(store, digest)


def make_changed_error(store: ObjectStore, digest: str) -> GatewayError:
    """Return GW326 for an object that does not have its digest."""
    return GatewayError(
        OBJECT_CHANGED, f"the object no longer has the digest {digest[:64]}", store.describe_object(digest)
    )
