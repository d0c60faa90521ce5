"""Compares the database of a process with the mark of its acknowledged evidence; holds it if it is older."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.store.database_marks import (
    DatabaseHeldError,
    DatabaseMark,
    change_mark_file,
    find_mark_problem,
    find_search_start,
    get_generation_number,
    list_generations,
    list_missing_leaves,
    make_missing_error,
    merge_missing_leaves,
    read_mark_file,
)

_log = logging.getLogger(__name__)

#: The largest number of leaves committed by this process that are searched for after a lost connection: more
#: than it has transactions at once.
_MAX_COMMITTED_LEAVES: Final = 256
_LAST_ROW: Final = 2**63 - 1
#: Seconds between two checks whether an operator has begun a new generation.
_CHECK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Check:
    """A check: its number in their order, how many connections were lost before it, and its outcome.

    The database is held for `hold_reason`; None if it is not held.
    """

    number: int
    losses: int
    hold_reason: str | None


@dataclass(frozen=True, slots=True)
class _Period:
    """A time in which this process commits: in one generation, and rows above `after_row`."""

    generation: int
    after_row: int


class DatabaseGuard:
    """Compares one database with the mark in the file `path`; safe for many threads.

    `count_losses` returns how many connections to it were lost.
    """

    def __init__(self, path: Path, count_losses: Callable[[], int]) -> None:
        self._path = path
        self._count_losses = count_losses
        self._guard = threading.Lock()
        #: The last mark that this process has made.
        self._mark: DatabaseMark | None = None
        self._is_file_read = False
        self._begun_checks = 0
        self._last_check: _Check | None = None
        self._checked_at = float("-inf")
        self._period = _Period(1, 0)
        #: The leaves that this process has committed since the mark before last, the last one last.
        self._committed_leaves: dict[str, _Period] = {}
        #: Those among them that the last mark covers.
        self._covered_leaves: Collection[str] = ()
        self._is_mark_writable = True

    def require_current(self, conn: Connection) -> None:
        """Raise GW810 while the database lacks acknowledged data.

        `conn` is of any kind. A transaction that reads has executed no statement yet: its snapshot must be
        younger than the mark.
        """
        if self.is_current():
            return
        check = self._last_check
        is_due = time.monotonic() - self._checked_at >= _CHECK_SECONDS
        if check is None or check.hold_reason is None or is_due:
            self.check_database(conn, self.read_file())
        else:
            raise DatabaseHeldError(check.hold_reason)

    def check_database(self, conn: Connection, file_mark: DatabaseMark | None) -> None:
        """Raise GW810 unless the database has the evidence that the file and this process know.

        `file_mark` is what `read_file` has returned before the snapshot of `conn`.
        """
        with self._guard:
            self._begun_checks += 1
            number = self._begun_checks
        losses, self._checked_at = self._count_losses(), time.monotonic()
        reason = self._find_hold_reason(conn, file_mark)
        self._record_check(_Check(number, losses, reason))
        self._checked_at = time.monotonic()
        if reason is not None:
            raise DatabaseHeldError(reason)

    def is_current(self) -> bool:
        """Return whether the database was good at the last check, and no connection was lost since."""
        check = self._last_check
        return check is not None and check.hold_reason is None and check.losses == self._count_losses()

    @property
    def is_held(self) -> bool:
        """Whether the database was older at the last check."""
        check = self._last_check
        return check is not None and check.hold_reason is not None

    def record_committed_leaves(self, leaves: Collection[str]) -> None:
        """Note the hashes of evidence that this process has committed."""
        if not leaves:
            return
        with self._guard:
            self._committed_leaves.update(dict.fromkeys(leaves, self._period))
            for leaf in list(self._committed_leaves)[:-_MAX_COMMITTED_LEAVES]:
                del self._committed_leaves[leaf]

    def list_committed_leaves(self) -> tuple[str, ...]:
        """Return the leaves that were committed since the mark before last."""
        with self._guard:
            return tuple(self._committed_leaves)

    def read_file(self) -> DatabaseMark | None:
        """Return the mark in the file, None where there is none; hold the database if it cannot be read.

        Raises GW810 then, as the mark may say that the database is older. A process that has read the file
        before goes on without it.
        """
        try:
            mark = read_mark_file(self._path)
        except GatewayError as unreadable:
            if self._is_file_read:
                return None
            self._record_check(_Check(self._begun_checks, self._count_losses(), unreadable.detail))
            raise DatabaseHeldError(unreadable.detail) from None
        self._is_file_read = True
        return mark

    def is_new_mark(self, mark: DatabaseMark, file_mark: DatabaseMark | None) -> bool:
        """Return whether a mark says more than the last one of this process, or than the file."""
        return not mark == self._mark == file_mark

    def store_mark(
        self, mark: DatabaseMark, covered_leaves: Collection[str], file_mark: DatabaseMark | None
    ) -> bool:
        """Store a mark here and in its file; return whether the file still had `file_mark`.

        The database was compared with `file_mark`. A file with another mark is left as it is, and nothing is
        stored: another process may miss evidence. `covered_leaves` were committed before the mark; they are
        forgotten with the next one, as PostgreSQL may have committed one of them after the leaf of the mark.
        A file that cannot be written is logged, and raises nothing.
        """
        is_compared = False

        def choose_mark(present_mark: DatabaseMark | None) -> DatabaseMark | None:
            nonlocal is_compared
            is_compared = present_mark == file_mark
            is_newer = present_mark is None or mark.is_as_new_as(present_mark)
            return mark if is_compared and is_newer else None

        try:
            change_mark_file(self._path, choose_mark)
        except OSError as problem:
            if self._is_mark_writable:
                _log.warning("the mark of the database cannot be written: %s", problem)
            self._is_mark_writable, is_compared = False, True
        else:
            self._is_mark_writable = True
        if is_compared:
            with self._guard:
                self._mark, self._period = mark, _Period(mark.generation, find_search_start(mark))
                for leaf in self._covered_leaves:
                    self._committed_leaves.pop(leaf, None)
                self._covered_leaves = covered_leaves
        return is_compared

    def _record_check(self, check: _Check) -> None:
        """Keep the outcome of a check, unless that of a later one is known; log when it changes."""
        with self._guard:
            last_check = self._last_check
            if last_check is not None and check.number < last_check.number:
                return
            self._last_check = check
        was_held = last_check is not None and last_check.hold_reason is not None
        if check.hold_reason is not None and not was_held:
            _log.error(
                "the database is held, nothing is acknowledged and nothing delivered: %s", check.hold_reason
            )
        if check.hold_reason is None and was_held:
            _log.warning("the database is not held any more")

    def _find_hold_reason(self, conn: Connection, file_mark: DatabaseMark | None) -> str | None:
        """Return why the database is held; None if it continues from the mark of the file and that of here.

        It is held, too, if it lacks evidence that this process has committed. The file names such evidence
        then, for the other processes of the home, and for the next start.
        """
        with self._guard:
            own_mark, committed_leaves = self._mark, dict(self._committed_leaves)
        if own_mark is None and file_mark is None and not committed_leaves:
            # A database that is new may have no tables.
            return None
        generation = get_generation_number(list_generations(conn))
        # An operator has given up the missing evidence of an earlier generation.
        expected_leaves = {
            leaf: period for leaf, period in committed_leaves.items() if period.generation >= generation
        }
        after_row = min((period.after_row for period in expected_leaves.values()), default=_LAST_ROW)
        missing_leaves = list_missing_leaves(conn, expected_leaves, after_row)
        problems = [make_missing_error(len(missing_leaves))] if missing_leaves else []
        for mark in filter(None, dict.fromkeys((file_mark, own_mark))):
            problem = find_mark_problem(conn, mark)
            if problem is not None and not isinstance(problem, DatabaseHeldError):
                return problem.detail
            if problem is not None:
                problems.insert(0, problem)
            if problem is not None and mark != file_mark:
                missing_leaves, after_row = (mark.leaf_hash, *missing_leaves), min(mark.leaf - 1, after_row)
        if missing_leaves:
            self._tell_missing_leaves(own_mark or file_mark, _Period(generation, after_row), missing_leaves)
        if problems:
            return problems[0].detail
        with self._guard:
            if self._period.generation != generation:
                self._period = _Period(generation, 0)
        return None

    def _tell_missing_leaves(
        self, mark: DatabaseMark | None, period: _Period, missing_leaves: Collection[str]
    ) -> None:
        """Name leaves that the database lacks in the file, beside what it names already.

        `mark` is what the file gets if it has no mark. The file of a later generation stays as it is.
        """

        def add_missing_leaves(present_mark: DatabaseMark | None) -> DatabaseMark | None:
            present_mark = present_mark or mark
            if present_mark is None or present_mark.generation > period.generation:
                return None
            return merge_missing_leaves(present_mark, missing_leaves, period.after_row)

        try:
            change_mark_file(self._path, add_missing_leaves)
        except OSError as problem:
            if not self.is_held:
                _log.error("a restart forgets which evidence is missing: it cannot be written: %s", problem)
