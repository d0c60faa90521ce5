"""The object store of one database, and of no other: it has a mark that the database has noted.

Nodes that use folders of their own in place of a common one, a disk that is not mounted, or two gateways in
one bucket: in each case octets that were acknowledged would be lost to those who need them. So the store has
a random number as an object, and the database has the same number. Without it nothing is put, read or
removed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from sqlalchemy import Engine

from gateway.errors import OBJECT_MISSING, WRONG_STORE, GatewayError
from gateway.message_model import Body
from gateway.store.database_state import get_database_state
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.engine import read_transaction
from gateway.store.object_store import ObjectStore
from gateway.store.payloads import refuse_removed_octets
from gateway.store.shared_files import PAYLOADS, find_shared_file

_log = logging.getLogger(__name__)
#: Seconds that a caller waits for an answer of the store.
_ASKING_SECONDS: Final = 1.0
#: How often the marks of a store and of its database are compared while they change.
_MAX_COMPARISONS: Final = 3


class WrongStoreError(InsufficientStorageError):
    """GW811: this is not the store of large payloads of the database; an operator ends this state."""

    def __init__(self, detail: str, location: str) -> None:
        super(InsufficientStorageError, self).__init__(WRONG_STORE, detail, location[-200:])


class SilentStoreError(InsufficientStorageError):
    """GW806: since this process has started, the store of large payloads has not answered yet."""

    #: What anybody may read, without a place.
    public_text = "the store of large payloads does not answer"

    def __init__(self) -> None:
        super().__init__(self.public_text, "payloads")


class MarkedObjectStore:
    """The `ObjectStore` of one database: raises GW811 unless it has the mark that the database has noted.

    `find_mark` returns the mark that the database has noted, None if it has none. `refuse_removed` raises
    GW320 for octets that retention has removed by now.
    """

    def __init__(
        self, store: ObjectStore, find_mark: Callable[[], str | None], refuse_removed: Callable[[str], None]
    ) -> None:
        self.inline = store.inline
        self._store = store
        self._find_mark = find_mark
        self._refuse_removed = refuse_removed

    def require_mark(self) -> None:
        """Raise GW811 unless the store has the mark of its database, GW806 where one cannot be read now.

        Another node may mark a store between the two readings: marks that differ are read again.
        """
        marks = _ComparedMarks(self._find_mark(), self._store.read_mark())
        for _ in range(_MAX_COMPARISONS - 1):
            if marks.are_equal:
                return
            former_marks = marks
            self._store.forget_mark()
            marks = _ComparedMarks(self._find_mark(), self._store.read_mark())
            if marks == former_marks:
                break
        if not marks.are_equal:
            raise WrongStoreError(marks.describe_difference(), self._store.describe_mark())

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where this fails. A repeat changes nothing."""
        self.require_mark()
        self._store.put_object(digest, content)

    def has_object(self, digest: str, size: int) -> bool:
        """Return whether there is an object of this size."""
        return self._store.has_object(digest, size)

    def open_object(self, digest: str) -> BinaryIO:
        """Return a stream at its first octet; raises GW325 where the right store has none.

        Raises GW320 where retention has removed the object since its reader asked the database.
        """
        try:
            return self._store.open_object(digest)
        except GatewayError as problem:
            if problem.problem is OBJECT_MISSING:
                self.require_mark()
                self._refuse_removed(digest)
            raise

    def describe_object(self, digest: str) -> str:
        """Return the place of an object, for people."""
        return self._store.describe_object(digest)

    def remove_object(self, digest: str) -> None:
        """Remove an object; one that is gone is no error."""
        self.require_mark()
        self._store.remove_object(digest)

    def check_store(self) -> None:
        """Raise GW811 for another store, GW806 where the store as a whole cannot be used."""
        self._store.check_store()
        self.require_mark()

    def get_write_time(self, digest: str) -> datetime | None:
        """Return when an object was last written; None where there is none."""
        return self._store.get_write_time(digest)

    def remove_abandoned_files(self) -> int:
        """Remove the files that a killed process was writing; return their number."""
        return self._store.remove_abandoned_files()

    def list_objects(self, part: int) -> Iterator[tuple[str, datetime]]:
        """Yield digest and time of the last writing of the objects whose digest begins with this octet."""
        return self._store.list_objects(part)

    def read_mark(self) -> str | None:
        """Return the mark of the store; None where it has none."""
        return self._store.read_mark()

    def forget_mark(self) -> None:
        """Let the next reading of the mark return the present one."""
        self._store.forget_mark()

    def write_mark(self, mark: str) -> None:
        """Store the mark durably."""
        self._store.write_mark(mark)

    def describe_mark(self) -> str:
        """Return the place of the mark, for people."""
        return self._store.describe_mark()


@dataclass(frozen=True, slots=True)
class _ComparedMarks:
    """The mark that the database has noted, and that of the store, which was read after it."""

    expected: str | None
    actual: str | None

    @property
    def are_equal(self) -> bool:
        return self.actual is not None and self.actual == self.expected

    def describe_difference(self) -> str:
        """Return as a sentence why the store is not that of the database."""
        if self.expected is None:
            return "the database has not noted the mark of its store of large payloads: run `gateway migrate`"
        if self.actual is None:
            return "the store of large payloads has no mark: it is not mounted, or not that of this database"
        return (
            "the store of large payloads has another mark than the database has noted: it is that of another "
            "hub, or the database was restored from before that mark"
        )


def mark_objects_of(engine: Engine, store: ObjectStore) -> MarkedObjectStore:
    """Return the store as that of the database of an engine."""

    def find_mark() -> str | None:
        with read_transaction(engine) as conn:
            row = find_shared_file(conn, PAYLOADS)
        return None if row is None else row.mark

    def refuse_removed(digest: str) -> None:
        with read_transaction(engine) as conn:
            refuse_removed_octets(conn, digest)

    return MarkedObjectStore(store, find_mark, refuse_removed)


class StoreWatch:
    """Says whether the object store of a process is that of its database; logs when this changes.

    The store is asked in a thread of its own: a folder of another machine may never answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._search: threading.Thread | None = None
        self._searched_at = 0.0
        #: GW811 if the last answer was that the store is not that of the database; and whether there was one.
        self.problem: GatewayError | None = None
        self.has_answer = False

    def ask(self) -> None:
        """Ask the store, unless it still owes an answer; return after a second also without one."""
        with self._guard:
            search = self._search
            if search is None or not search.is_alive():
                search = threading.Thread(target=self._find_problem, name="store", daemon=True)
                search.start()
                self._search, self._searched_at = search, time.monotonic()
        search.join(max(0.0, self._searched_at + _ASKING_SECONDS - time.monotonic()))

    def _find_problem(self) -> None:
        """Store whether the store is that of the database.

        While the store or the database cannot be read, the last answer holds: what needs them says so.
        """
        store, problem = get_database_state(self._engine).objects, None
        try:
            if isinstance(store, MarkedObjectStore):
                store.require_mark()
        except WrongStoreError as wrong:
            problem = wrong
        except Exception as unanswered:
            _log.debug("the store of large payloads cannot be asked: %s", type(unanswered).__name__)
            return
        if problem is not None and self.problem is None:
            _log.error("large payloads are neither accepted nor processed by this process: %s", problem)
        if problem is None and self.problem is not None:
            _log.warning("large payloads are accepted and processed again: the store has its mark")
        self.problem = problem
        self.has_answer = True
