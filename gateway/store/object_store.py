"""The object store, which keeps large content beside the database, and a record of objects put there lately.

An object is written and synced before the row that names it is committed. So a row never names
octets that a power cut can take away; an object without a row is removed by the sweep.

Removals are marked in the database: the mark is odd while a process removes objects, and higher after
each removal. A process that puts an object reads the mark first. If the transaction that names the object
finds the same even mark, while it holds removals off, nothing was removed in between, and the store is not
asked again. A process that is killed while it removes leaves an odd mark: until the next removal has ended,
objects are put again.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, BinaryIO, Final, Protocol, cast

from sqlalchemy import Connection, text, update

from gateway.errors import OBJECT_CHANGED, GatewayError
from gateway.message_model import Body, SlicedBody
from gateway.store import register_version
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import epochs

#: Octets up to which content stays in the database where the settings say nothing else.
INLINE_OCTETS: Final = 1024**2
#: The name of the mark of a store, beside its objects.
MARK_NAME: Final = "database-mark"
#: The value of `payloads.stored_in` of content that is in the object store.
OBJECTS: Final = "objects"
#: The advisory lock of PostgreSQL between those who name objects (shared) and the sweep (alone).
_SWEEP_LOCK: Final = 0x6757_0B1E
_STEP: Final = 1024**2


class ObjectStore(Protocol):
    """Keeps octets by their SHA-256; safe for many threads and processes.

    `inline` is the number of octets up to which content stays in the database.
    """

    inline: int

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where this fails. A repeat changes nothing."""

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
        """Remove the files that a killed process was writing; return their number."""

    def list_objects(self, part: int) -> Iterator[tuple[str, datetime]]:
        """Yield digest and time of the last writing of the objects whose digest begins with this octet."""

    def read_mark(self) -> str | None:
        """Return the mark of the store, as it was some seconds ago at most; None where it has none.

        Raises GW806 where it cannot be read now.
        """

    def forget_mark(self) -> None:
        """Let the next reading of the mark return the present one."""

    def write_mark(self, mark: str) -> None:
        """Store the mark durably; raises GW806 where this fails."""

    def describe_mark(self) -> str:
        """Return the place of the mark, for people."""


def lock_out_sweeps(conn: Connection, *, is_sweep: bool = False) -> None:
    """Lock out sweeps until this transaction ends; with `is_sweep` this is a sweep, and locks out all others.

    Does nothing on SQLite, which has only one writer.
    """
    if conn.dialect.name != "sqlite":
        function = "pg_advisory_xact_lock" if is_sweep else "pg_advisory_xact_lock_shared"
        conn.execute(text(f"SELECT {function}({_SWEEP_LOCK})"))


def check_object(store: ObjectStore, digest: str) -> None:
    """Raise GW325 or GW326 unless the object is there and has its digest; it is read in steps."""
    digest_hash = sha256()
    with store.open_object(digest) as stream:
        while piece := stream.read(_STEP):
            digest_hash.update(piece)
    if digest_hash.hexdigest() != digest:
        raise make_changed_error(store, digest)


def make_changed_error(store: ObjectStore, digest: str) -> GatewayError:
    """Return GW326 for an object that does not have its digest."""
    return GatewayError(
        OBJECT_CHANGED, f"the object no longer has the digest {digest[:64]}", store.describe_object(digest)
    )


class StoredBody:
    """An object; reading it from beginning to end raises GW326 if its octets have changed."""

    def __init__(self, store: ObjectStore, sha256: str, octets: int) -> None:
        self.sha256_hex = sha256
        self.octet_count = octets
        self.store = store

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet; raises GW325 where the object is gone."""
        return cast("BinaryIO", _CheckedStream(self.store.open_object(self.sha256_hex), self, self))


class StoredPart:
    """A piece of an object with a digest of its own, checked in the same way."""

    def __init__(self, whole: StoredBody, offset: int, sha256: str, octets: int) -> None:
        self.sha256_hex = sha256
        self.octet_count = octets
        self._whole = whole
        self._piece = SlicedBody(whole, offset, octets)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet; raises GW325 where the object is gone."""
        return cast("BinaryIO", _CheckedStream(self._piece.open_stream(), self, self._whole))


class _CheckedStream(io.RawIOBase):
    """A stream that is compared with the digest of its body when its last octet is read.

    After a seek nothing is compared: a caller that reads pieces compares the digest of each piece.
    """

    def __init__(self, stream: BinaryIO, body: Body, whole: StoredBody) -> None:
        self._stream = stream
        self._body = body
        self._whole = whole
        self._digest: Any = hashlib.sha256()
        self._octets_left = body.octet_count

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._digest = None
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        if self._digest is not None:
            self._compare(piece)
        return len(piece)

    def _compare(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._octets_left -= len(piece)
        changed = self._octets_left < 0 or (not piece and self._octets_left > 0)
        if changed or (self._octets_left == 0 and self._digest.hexdigest() != self._body.sha256_hex):
            raise make_changed_error(self._whole.store, self._whole.sha256_hex)

    def close(self) -> None:
        self._stream.close()
        super().close()


_MARK_NAME: Final = "objects"
_INSERT_MARK: Final = InsertIfAbsent(epochs, ("name",))
#: Seconds within which a transaction relies on an earlier put; no sweep removes an object younger than a day.
_NAMED_WITHIN: Final = 900.0


def read_removal_mark(conn: Connection) -> int:
    """Return the present mark of removals."""
    return register_version.get_register_version(conn, _MARK_NAME)


def begin_removal(conn: Connection) -> int:
    """Set and return an odd mark, which the caller commits before it removes anything."""
    mark = (read_removal_mark(conn) + 1) | 1
    _INSERT_MARK.insert_many(conn, [{"name": _MARK_NAME, "value": 0}])
    conn.execute(update(epochs).where(epochs.c.name == _MARK_NAME).values(value=mark))
    return mark


def is_own_removal_mark(conn: Connection, mark: int) -> bool:
    """Return whether the mark is still that of this removal; if not, another one has begun since."""
    return read_removal_mark(conn) == mark


def end_removal(conn: Connection, mark: int) -> None:
    """Set an even mark: this removal has ended."""
    conn.execute(update(epochs).where(epochs.c.name == _MARK_NAME).values(value=mark + 1))


@dataclass(frozen=True, slots=True)
class _PutObject:
    """The mark that was read before an object was put, and the monotonic time after it, in seconds."""

    mark: int
    at: float


class RecentObjects:
    """The objects that this process has put lately; safe for many threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._objects: dict[str, _PutObject] = {}

    def record_put_object(self, digest: str, mark: int) -> None:
        """Note that an object was put, and the mark that was read before."""
        if mark % 2:
            return
        now = time.monotonic()
        with self._guard:
            for old_digest in [each for each, put in self._objects.items() if now - put.at > _NAMED_WITHIN]:
                del self._objects[old_digest]
            self._objects[digest] = _PutObject(mark, now)

    def is_still_there(self, conn: Connection, digest: str) -> bool:
        """Return whether the object was put lately, and nothing was removed since.

        The caller must prevent removals meanwhile (`lock_out_sweeps`).
        """
        put = self._objects.get(digest)
        if put is None or time.monotonic() - put.at > _NAMED_WITHIN:
            return False
        return read_removal_mark(conn) == put.mark
