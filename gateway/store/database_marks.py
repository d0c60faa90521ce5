"""The mark of the newest acknowledged evidence of a database; a restored backup is older than its mark.

The mark is a file of its own in the home folder, which the backup of a database does not contain: a restore
of the database does not replace it. It names the newest evidence at some moment: evidence is written
with everything that is acknowledged, and is never removed.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from gateway.errors import DATABASE_HELD, MISUSE, GatewayError
from gateway.file_owner import open_owned_file
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.transitions import evidence

#: The subject of the evidence with which an operator begins a generation.
_SUBJECT: Final = "database"
_MOST_OCTETS: Final = 4096


class DatabaseHeldError(InsufficientStorageError):
    """GW810: the database lacks data that the hub has acknowledged; an operator ends its hold."""

    def __init__(self, detail: str) -> None:
        super(InsufficientStorageError, self).__init__(DATABASE_HELD, detail, "database.url")


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of the database after the first, which an operator has begun after a restore.

    The numbers of cases and applications from messages with a row above `after_message` are moved on by
    `shift`, in place of the shift of the generation before.
    """

    number: int
    after_message: int
    shift: int


@dataclass(frozen=True, slots=True)
class DatabaseMark:
    """The newest evidence and the newest message of a database at a time.

    `database` is the hash of its first leaf of evidence, which distinguishes it from the database of another
    hub. `leaf` is the row of its newest evidence, and `message` that of its newest message. `serial` is the
    serial number in the number of a case of that message: no higher serial number was given.
    """

    database: str
    generation: int
    leaf: int
    leaf_hash: str
    message: int
    serial: int
    at: datetime


def list_generations(conn: Connection) -> tuple[Generation, ...]:
    """Return the generations after the first, in their order."""
    generation_query = select(evidence.c.data).where(evidence.c.subject_type == _SUBJECT)
    rows = [json.loads(text) for text in conn.execute(generation_query.order_by(evidence.c.id)).scalars()]
    return tuple(Generation(row["generation"], row["after_message"], row["shift"]) for row in rows)


def find_number_shift(generations: tuple[Generation, ...], message_id: int) -> int:
    """Return by how much the numbers that come from a message (row id) are moved on."""
    return next(
        (generation.shift for generation in reversed(generations) if generation.after_message < message_id), 0
    )


def get_generation_number(generations: tuple[Generation, ...]) -> int:
    """Return the number of the last generation."""
    return generations[-1].number if generations else 1


def has_newer_generation(conn: Connection, mark: DatabaseMark) -> bool:
    """Return whether an operator has begun a generation above that of a mark."""
    return get_generation_number(list_generations(conn)) > mark.generation


def identify_database(conn: Connection) -> str | None:
    """Return the hash of the first leaf, which no database of another hub has; None without evidence.

    A database that was empty when an operator confirmed its restore has the hash of its mark.
    """
    columns = (evidence.c.leaf_hash, evidence.c.subject_type, evidence.c.data)
    first = conn.execute(select(*columns).order_by(evidence.c.id).limit(1)).first()
    if first is None:
        return None
    mark = json.loads(first.data).get("mark") if first.subject_type == _SUBJECT else None
    return str(first.leaf_hash if mark is None else mark["database"])


def find_mark_problem(conn: Connection, mark: DatabaseMark) -> GatewayError | None:
    """Return why a database is not that of a mark, or is older than it; None if it continues from it.

    GW808 for the database of another hub. GW810 for one that is older, or that has gone on from an older
    one, until an operator begins a generation above that of the mark.
    """
    database, generations = identify_database(conn), list_generations(conn)
    if database not in (None, mark.database):
        return GatewayError(MISUSE, "the home folder has the mark of another hub's database", "database.url")
    generation = get_generation_number(generations)
    if generation > mark.generation:
        return None
    leaf_hash = conn.execute(
        select(evidence.c.leaf_hash).where(evidence.c.id == mark.leaf)
    ).scalar_one_or_none()
    if generation == mark.generation and leaf_hash == mark.leaf_hash:
        return None
    missing = f"evidence {mark.leaf} of {mark.at:%Y-%m-%dT%H:%M:%SZ} was acknowledged and is not in it"
    return DatabaseHeldError(f"the database is older than what the hub has acknowledged: {missing}")


def read_mark_file(path: Path) -> DatabaseMark | None:
    """Return the mark of a home folder; None where there is none. Raises GW808 for a file that is no mark."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.read(_MOST_OCTETS))
        return DatabaseMark(
            str(row["database"]),
            int(row["generation"]),
            int(row["leaf"]),
            str(row["leaf_hash"]),
            int(row["message"]),
            int(row["serial"]),
            datetime.fromisoformat(row["at"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as mistake:
        detail = (
            f"{str(path)[-120:]} is not the mark of a database ({type(mistake).__name__}): "
            "mend it, or move it away and run `gateway restore check`"
        )
        raise GatewayError(MISUSE, detail, str(path)[-120:]) from None


def write_mark_file(path: Path, mark: DatabaseMark) -> None:
    """Replace the mark of a home folder; raises OSError. A reader finds the old or the new one."""
    new_path = f"{path}.{os.getpid()}"
    descriptor = open_owned_file(new_path, os.O_WRONLY | os.O_TRUNC, owner_path=path)
    with open(descriptor, "wb") as file:
        # A full disk may take a part of it: `write` of a file raises then, that of a descriptor does not.
        file.write(json.dumps({**asdict(mark), "at": mark.at.isoformat()}).encode())
        file.flush()
        os.fsync(descriptor)
    os.replace(new_path, path)


_log = logging.getLogger(__name__)

#: The largest number of leaves committed by this process that are searched for after a lost connection: more
#: than it has transactions at once.
_MAX_COMMITTED_LEAVES: Final = 256
#: PostgreSQL commits rows in another order than it numbers them; the distance is below this number.
_DISORDER: Final = 100_000
#: Seconds between two checks whether an operator has begun a new generation.
_CHECK_SECONDS: Final = 1.0


class DatabaseGuard:
    """Compares one database with the mark in the file `path`; safe for many threads.

    `count_losses` returns how many connections to it were lost.
    """

    def __init__(self, path: Path, count_losses: Callable[[], int]) -> None:
        self._path = path
        self._count_losses = count_losses
        self._guard = threading.Lock()
        self._mark: DatabaseMark | None = None
        self._is_mark_read = False
        #: How many connections were lost at the last check; None before the first.
        self._checked_losses: int | None = None
        self._checked_at = float("-inf")
        #: Why the database is held.
        self._hold_reason: str | None = None
        #: The leaves that this process has committed since the mark, the last one last.
        self._committed_leaves: dict[str, None] = {}
        self._is_mark_writable = True

    def require_current(self, conn: Connection) -> None:
        """Raise GW810 while the database lacks acknowledged data; `conn` may be of any kind."""
        if self.is_current():
            return
        losses = self._count_losses()
        if self._hold_reason is None or time.monotonic() - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = time.monotonic()
            self._record_hold_reason(self._find_hold_reason(conn))
            self._checked_losses = losses
        if self._hold_reason is not None:
            raise DatabaseHeldError(self._hold_reason)

    def is_current(self) -> bool:
        """Return whether the database was good at the last check, and no connection was lost since."""
        return self._hold_reason is None and self._checked_losses == self._count_losses()

    @property
    def is_held(self) -> bool:
        """Whether the database was older at the last check."""
        return self._hold_reason is not None

    def record_committed_leaves(self, leaves: Collection[str]) -> None:
        """Note the hashes of evidence that this process has committed."""
        if not leaves:
            return
        with self._guard:
            self._committed_leaves.update(dict.fromkeys(leaves))
            for leaf in list(self._committed_leaves)[:-_MAX_COMMITTED_LEAVES]:
                del self._committed_leaves[leaf]

    def list_committed_leaves(self) -> tuple[str, ...]:
        """Return the leaves that were committed since the mark."""
        with self._guard:
            return tuple(self._committed_leaves)

    def is_new_mark(self, mark: DatabaseMark) -> bool:
        """Return whether a mark says more than the last one in the file."""
        return not self._is_mark_writable or self._mark is None or mark.leaf_hash != self._mark.leaf_hash

    def store_mark(self, mark: DatabaseMark, covered_leaves: Collection[str]) -> None:
        """Store a mark here and in its file; forget `covered_leaves`, which were committed before it.

        A file that cannot be written is logged, and raises nothing.
        """
        with self._guard:
            self._mark = mark
            for leaf in covered_leaves:
                self._committed_leaves.pop(leaf, None)
        try:
            write_mark_file(self._path, mark)
        except OSError as problem:
            if self._is_mark_writable:
                _log.warning("the mark of the database cannot be written: %s", problem)
            self._is_mark_writable = False
        else:
            self._is_mark_writable = True

    def _record_hold_reason(self, reason: str | None) -> None:
        if reason is not None and self._hold_reason is None:
            _log.error("the database is held, nothing is acknowledged and nothing delivered: %s", reason)
        if reason is None and self._hold_reason is not None:
            _log.warning("the database is not held any more")
        self._hold_reason = reason

    def _find_hold_reason(self, conn: Connection) -> str | None:
        """Return why the database is held; None if it continues from the mark.

        It is held if the file of the mark cannot be read, if the database is older than the mark, or if it
        lacks evidence that this process has committed since.
        """
        if not self._is_mark_read:
            try:
                self._mark = read_mark_file(self._path)
            except GatewayError as unreadable:
                # It may say that the database is older.
                return unreadable.detail
            self._is_mark_read = True
        mark = self._mark
        if mark is None:
            return None
        problem = find_mark_problem(conn, mark)
        if problem is not None:
            return problem.detail
        if has_newer_generation(conn, mark):
            with self._guard:
                self._committed_leaves.clear()
            return None
        missing = set(self.list_committed_leaves())
        if missing:
            near = evidence.c.id > mark.leaf - _DISORDER
            present = select(evidence.c.leaf_hash).where(near, evidence.c.leaf_hash.in_(missing))
            missing -= set(conn.execute(present).scalars())
        return f"{len(missing)} records of evidence that were acknowledged are not in it" if missing else None
