"""Lets a transaction name an object that was put before it, without asking the object store again.

Removals are marked in the database: the mark is odd while somebody removes objects, and higher after
each time. Whoever puts an object reads the mark first. When the transaction that names the object finds
the same even mark, while it keeps removals away, nothing was removed in between. A process that is killed
while it removes leaves an odd mark: until the next removal has ended, objects are put again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, Engine, update

from gateway.store import register_version
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import epochs

__all__ = ["begin_removal", "end_removal", "is_still_there", "may_remove", "note_object", "read_mark"]

_NAME: Final = "objects"
_INSERT: Final = InsertIfAbsent(epochs, ("name",))
#: Seconds within which a transaction names what was put before; no sweep removes what is younger than a day.
_NAMED_WITHIN: Final = 900.0
_NOTES: Final = "_gateway_object_notes"


@dataclass(slots=True)
class _Notes:
    """The objects that this process has put lately: the mark before, and the time."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    put: dict[str, tuple[int, float]] = field(default_factory=dict)


def read_mark(conn: Connection) -> int:
    """Return the mark as it is now."""
    return register_version.get_register_version(conn, _NAME)


def begin_removal(conn: Connection) -> int:
    """Set an odd mark, and return it: it is committed before anything is removed."""
    mark = (read_mark(conn) + 1) | 1
    _INSERT.insert_many(conn, [{"name": _NAME, "value": 0}])
    conn.execute(update(epochs).where(epochs.c.name == _NAME).values(value=mark))
    return mark


def may_remove(conn: Connection, mark: int) -> bool:
    """Return whether the mark is still that of this removal; if not, another one has begun since."""
    return read_mark(conn) == mark


def end_removal(conn: Connection, mark: int) -> None:
    """Set an even mark: all that this removal removes is removed."""
    conn.execute(update(epochs).where(epochs.c.name == _NAME).values(value=mark + 1))


def note_object(engine: Engine, digest: str, mark: int) -> None:
    """Note that an object was put, and the mark that was read before."""
    if mark % 2:
        return
    notes, now = _find_notes(engine), time.monotonic()
    with notes.guard:
        old = [one for one, (_, at) in notes.put.items() if now - at > _NAMED_WITHIN]
        for one in old:
            del notes.put[one]
        notes.put[digest] = (mark, now)


def is_still_there(conn: Connection, digest: str) -> bool:
    """Return whether the object was put lately and nothing was removed since; removals are kept away now."""
    noted = _find_notes(conn.engine).put.get(digest)
    if noted is None or time.monotonic() - noted[1] > _NAMED_WITHIN:
        return False
    return read_mark(conn) == noted[0]


def _find_notes(engine: Engine) -> _Notes:
    found: _Notes = engine.__dict__.setdefault(_NOTES, _Notes())
    return found
