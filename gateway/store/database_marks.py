"""The mark of the newest acknowledged evidence of a database; a restored backup is older than its mark.

The mark is a file of its own in the home folder, which the backup of a database does not contain: a restore
of the database does not replace it. It names the newest evidence at some moment: evidence is written
with everything that is acknowledged, and is never removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.errors import DATABASE_HELD, EVIDENCE_BROKEN, MISUSE, GatewayError
from gateway.file_owner import open_owned_file
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.transitions import evidence

#: The subject of the evidence with which an operator begins a generation.
_SUBJECT: Final = "database"
_MOST_OCTETS: Final = 4096
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NUMBERS: Final = 2**63
#: Seconds between two tries to lock the mark.
_LOCK_PAUSES: Final = (0.01, 0.04, 0.1, 0.2, 0.3, 0.3)
#: The largest number of later leaves that fit in the octets of a file.
_MOST_LATER_LEAVES: Final = 32
#: PostgreSQL commits rows in another order than it numbers them; the distance is below this number.
_DISORDER: Final = 100_000


class DatabaseHeldError(InsufficientStorageError):
    """GW810: the database lacks data that the hub has acknowledged; an operator ends its hold."""

    def __init__(self, detail: str) -> None:
        super(InsufficientStorageError, self).__init__(DATABASE_HELD, detail, "database.url")


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of the database after the first, which an operator has begun after a restore.

    The numbers of cases and applications from messages with a row above `after_message` are moved on by
    `shift`, in place of the shift of the generation before. `lost_roots` are the root hashes of heads that
    were kept elsewhere, and whose evidence the operator has given up.
    """

    number: int
    after_message: int
    shift: int
    lost_roots: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DatabaseMark:
    """The newest evidence and the newest message of a database at a time.

    `database` is the hash of its first leaf of evidence, which distinguishes it from the database of another
    hub. `leaf` is the row of its newest evidence, and `message` that of its newest message. `serial` is the
    serial number in the number of a case of that message: no higher serial number was given. `later_leaves`
    are hashes of other evidence that a process has committed and missed, with rows above `later_from`.
    """

    database: str
    generation: int
    leaf: int
    leaf_hash: str
    message: int
    serial: int
    at: datetime
    later_leaves: tuple[str, ...] = ()
    later_from: int = 0

    def is_as_new_as(self, mark: DatabaseMark) -> bool:
        """Return whether another mark is of no later generation, and of no later evidence."""
        return (self.generation, self.leaf) >= (mark.generation, mark.leaf)


def list_generations(conn: Connection) -> tuple[Generation, ...]:
    """Return the generations after the first, in their order; raises GW805 where one cannot be read.

    Without one of them, numbers of cases could be given a second time.
    """
    query = select(evidence.c.id, evidence.c.data).where(evidence.c.subject_type == _SUBJECT)
    return tuple(_read_generation(row.id, row.data) for row in conn.execute(query.order_by(evidence.c.id)))


def _read_generation(leaf_id: int, text: str) -> Generation:
    """Return the generation that the data of a leaf states; raises GW805 where it states none."""
    with _refuse_other_data(leaf_id):
        row = json.loads(text)
        return Generation(
            int(row["generation"]),
            int(row["after_message"]),
            int(row["shift"]),
            frozenset(head.get("root", "") for head in row.get("heads", ()) if head["verdict"] != "kept"),
        )


@contextmanager
def _refuse_other_data(leaf_id: int) -> Iterator[None]:
    """Raise GW805 where the data of a leaf about the database are not as the gateway writes them."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as problem:
        detail = "the data of a leaf about the database cannot be read"
        raise GatewayError(EVIDENCE_BROKEN, detail, f"evidence {leaf_id}") from problem


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

    A database that was empty when an operator confirmed its restore has the hash of its mark. Raises GW805
    where the leaf of this restore cannot be read.
    """
    columns = (evidence.c.id, evidence.c.leaf_hash, evidence.c.subject_type, evidence.c.data)
    first = conn.execute(select(*columns).order_by(evidence.c.id).limit(1)).first()
    if first is None:
        return None
    if first.subject_type != _SUBJECT:
        return str(first.leaf_hash)
    with _refuse_other_data(first.id):
        mark = json.loads(first.data).get("mark")
        return str(first.leaf_hash if mark is None else mark["database"])


def find_mark_problem(conn: Connection, mark: DatabaseMark) -> GatewayError | None:
    """Return why a database is not that of a mark, or is older than it; None if it continues from it.

    The mark must be older than the snapshot of `conn`, which the first statement of a transaction makes:
    beside a hub at work a younger mark names evidence that the snapshot lacks. GW808 for the database of
    another hub. GW810 for one that is older, or that has gone on from an older one, until an operator begins
    a generation above that of the mark.
    """
    database, generations = identify_database(conn), list_generations(conn)
    if database not in (None, mark.database) and not _has_early_leaf(conn, mark.database):
        return GatewayError(MISUSE, "the home folder has the mark of another hub's database", "database.url")
    if get_generation_number(generations) > mark.generation:
        return None
    leaf_hash = conn.execute(
        select(evidence.c.leaf_hash).where(evidence.c.id == mark.leaf)
    ).scalar_one_or_none()
    marked_evidence = f"evidence {mark.leaf} of {mark.at:%Y-%m-%dT%H:%M:%SZ}"
    if leaf_hash != mark.leaf_hash:
        return _make_held_error(f"{marked_evidence} was acknowledged and is not in it")
    missing_leaves = list_missing_leaves(conn, mark.later_leaves, mark.later_from)
    return make_missing_error(len(missing_leaves)) if missing_leaves else None


def _has_early_leaf(conn: Connection, leaf_hash: str) -> bool:
    """Return whether a leaf is one of the first: PostgreSQL commits the first row after others at times."""
    early = evidence.c.id < _DISORDER
    return (
        conn.execute(select(evidence.c.id).where(early, evidence.c.leaf_hash == leaf_hash)).first()
        is not None
    )


def _make_held_error(missing: str) -> DatabaseHeldError:
    return DatabaseHeldError(f"the database is older than what the hub has acknowledged: {missing}")


def make_missing_error(count: int) -> DatabaseHeldError:
    """Return GW810 for a number of records of evidence that the database lacks."""
    if count == 1:
        return _make_held_error("1 record of evidence was acknowledged and is not in it")
    return _make_held_error(f"{count} records of evidence were acknowledged and are not in it")


def list_missing_leaves(conn: Connection, leaves: Collection[str], after_row: int) -> tuple[str, ...]:
    """Return which of some leaves, whose rows are above `after_row`, are not in the database."""
    if not leaves:
        return ()
    query = select(evidence.c.leaf_hash).where(evidence.c.id > after_row, evidence.c.leaf_hash.in_(leaves))
    present_leaves = set(conn.execute(query).scalars())
    return tuple(leaf for leaf in leaves if leaf not in present_leaves)


def merge_missing_leaves(mark: DatabaseMark, missing_leaves: Collection[str], after_row: int) -> DatabaseMark:
    """Return a mark that also names missing leaves, whose rows are above `after_row`."""
    leaves = dict.fromkeys((*mark.later_leaves, *missing_leaves))
    leaves.pop(mark.leaf_hash, None)
    later_from = min(mark.later_from, after_row) if mark.later_leaves else after_row
    return replace(mark, later_leaves=tuple(leaves)[:_MOST_LATER_LEAVES], later_from=later_from)


def find_search_start(mark: DatabaseMark) -> int:
    """Return a number below the rows of all evidence that is committed after a mark was made."""
    return max(0, mark.leaf - _DISORDER)


def read_mark_file(path: Path) -> DatabaseMark | None:
    """Return the mark of a home folder; None where there is none. Raises GW808 for a file that is no mark."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.read(_MOST_OCTETS))
        return DatabaseMark(
            _read_hash(row["database"]),
            _read_number(row["generation"]),
            _read_number(row["leaf"]),
            _read_hash(row["leaf_hash"]),
            _read_number(row["message"]),
            _read_number(row["serial"]),
            datetime.fromisoformat(row["at"]).astimezone(UTC),
            tuple(map(_read_hash, row.get("later_leaves", ())))[:_MOST_LATER_LEAVES],
            _read_number(row.get("later_from", 0)),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as mistake:
        detail = (
            f"{str(path)[-120:]} is not the mark of a database ({type(mistake).__name__}): "
            "mend it, or move it away and run `gateway restore check`"
        )
        raise GatewayError(MISUSE, detail, str(path)[-120:]) from None


def _read_hash(value: Any) -> str:
    """Return a hash of a mark; raises ValueError or TypeError for another value."""
    if not _HASH.fullmatch(value):
        raise ValueError("not a hash")
    return str(value)


def _read_number(value: Any) -> int:
    """Return a number of a mark; raises ValueError or TypeError for one that no row has."""
    if not isinstance(value, int) or not 0 <= value < _NUMBERS:
        raise ValueError("not a number of a row")
    return value


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


def change_mark_file(path: Path, change: Callable[[DatabaseMark | None], DatabaseMark | None]) -> None:
    """Replace the mark of a home folder by the mark that `change` makes of it; raises OSError.

    `change` gets None where there is no mark, or a file that is none, and returns the same mark to leave it.
    One process of the home at a time changes the file: none replaces a mark that it has not read.
    """
    with _lock_mark_file(path):
        present_mark = None
        with suppress(GatewayError):
            present_mark = read_mark_file(path)
        mark = change(present_mark)
        if mark is not None and mark != present_mark:
            write_mark_file(path, mark)


@contextmanager
def _lock_mark_file(path: Path) -> Iterator[None]:
    """Lock the mark for this thread; raises OSError where others have locked it for too long."""
    descriptor = open_owned_file(f"{path}.lock", os.O_WRONLY, owner_path=path)
    try:
        for pause in _LOCK_PAUSES:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(pause)
        else:
            raise BlockingIOError(errno.EAGAIN, "another process has locked the mark")
        try:
            yield
        finally:
            # A process that was forked meanwhile would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
