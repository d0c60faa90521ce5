"""Compares the database of a process with the mark of its acknowledged evidence; holds it if it is older."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.errors import DATABASE_HELD, GatewayError
from gateway.store.database_marks import (
    DatabaseHeldError,
    DatabaseMark,
    change_mark_file,
    find_mark_problem,
    has_newer_generation,
    list_missing_leaves,
    merge_missing_leaves,
    read_mark_file,
)

_log = logging.getLogger(__name__)

#: The largest number of leaves committed by this process that are searched for after a lost connection: more
#: than it has transactions at once.
_MAX_COMMITTED_LEAVES: Final = 256
#: Seconds between two checks whether an operator has begun a new generation.
_CHECK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Check:
    """A check: how many connections were lost before it, and why the database is held (None: it is not)."""

    losses: int
    hold_reason: str | None


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
        self._last_check: _Check | None = None
        self._checked_at = float("-inf")
        #: The leaves that this process has committed since the mark, the last one last.
        self._committed_leaves: dict[str, None] = {}
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
        elif check.hold_reason is not None:
            raise DatabaseHeldError(check.hold_reason)

    def check_database(self, conn: Connection, file_mark: DatabaseMark | None) -> None:
        """Raise GW810 unless the database has the evidence that the file and this process know.

        `file_mark` is what `read_file` has returned before the snapshot of `conn`.
        """
        losses, self._checked_at = self._count_losses(), time.monotonic()
        reason = self._find_hold_reason(conn, file_mark)
        self._record_check(_Check(losses, reason))
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
            self._committed_leaves.update(dict.fromkeys(leaves))
            for leaf in list(self._committed_leaves)[:-_MAX_COMMITTED_LEAVES]:
                del self._committed_leaves[leaf]

    def list_committed_leaves(self) -> tuple[str, ...]:
        """Return the leaves that were committed since the mark."""
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
            self._record_check(_Check(self._count_losses(), unreadable.detail))
            raise DatabaseHeldError(unreadable.detail) from None
        self._is_file_read = True
        return mark

    def is_new_mark(self, mark: DatabaseMark) -> bool:
        """Return whether a mark says more than the last one of this process."""
        return not self._is_mark_writable or mark != self._mark

    def store_mark(
        self, mark: DatabaseMark, covered_leaves: Collection[str], file_mark: DatabaseMark | None
    ) -> None:
        """Store a mark here and in its file; forget `covered_leaves`, which were committed before it.

        A file that no longer has `file_mark`, with which the database was compared, is left to the next
        call: another process may miss evidence. A file that cannot be written is logged, and raises nothing.
        """
        is_compared = False

        def choose_mark(present_mark: DatabaseMark | None) -> DatabaseMark | None:
            nonlocal is_compared
            is_compared = present_mark == file_mark
            return mark if is_compared else None

        try:
            change_mark_file(self._path, choose_mark)
        except OSError as problem:
            if self._is_mark_writable:
                _log.warning("the mark of the database cannot be written: %s", problem)
            self._is_mark_writable = False
        else:
            self._is_mark_writable = True
        if is_compared or not self._is_mark_writable:
            with self._guard:
                self._mark = mark
                for leaf in covered_leaves:
                    self._committed_leaves.pop(leaf, None)

    def _record_check(self, check: _Check) -> None:
        was_held, self._last_check = self.is_held, check
        if check.hold_reason is not None and not was_held:
            _log.error(
                "the database is held, nothing is acknowledged and nothing delivered: %s", check.hold_reason
            )
        if check.hold_reason is None and was_held:
            _log.warning("the database is not held any more")

    def _find_hold_reason(self, conn: Connection, file_mark: DatabaseMark | None) -> str | None:
        """Return why the database is held; None if it continues from the mark of the file and that of here.

        It is held, too, if it lacks evidence that this process has committed since. The file names such
        evidence then, for the other processes of the home, and for the next start.
        """
        for mark in self._list_expected_marks(file_mark):
            problem = find_mark_problem(conn, mark)
            if problem is not None:
                if problem.problem is DATABASE_HELD:
                    self._tell_missing_leaves(mark, list_missing_leaves(conn, mark))
                return problem.detail
            if has_newer_generation(conn, mark):
                with self._guard:
                    for leaf in mark.later_leaves:
                        self._committed_leaves.pop(leaf, None)
        return None

    def _list_expected_marks(self, file_mark: DatabaseMark | None) -> tuple[DatabaseMark, ...]:
        """Return the marks of this process and of the file, with the leaves that were committed since."""
        with self._guard:
            own_mark, committed_leaves = self._mark, tuple(self._committed_leaves)
        own_mark = own_mark or file_mark
        if own_mark is None:
            return ()
        later_leaves = (*own_mark.later_leaves, *committed_leaves)
        own_mark_and_leaves = replace(own_mark, later_leaves=tuple(dict.fromkeys(later_leaves)))
        if file_mark is None or file_mark == own_mark:
            return (own_mark_and_leaves,)
        return own_mark_and_leaves, file_mark

    def _tell_missing_leaves(self, mark: DatabaseMark, missing_leaves: Collection[str]) -> None:
        """Name the mark and the leaves that the database lacks in the file, beside what it names already."""

        def add_missing_leaves(present_mark: DatabaseMark | None) -> DatabaseMark:
            present_mark = present_mark or replace(mark, later_leaves=())
            return merge_missing_leaves(present_mark, mark, (mark.leaf_hash, *missing_leaves))

        try:
            change_mark_file(self._path, add_missing_leaves)
        except OSError as problem:
            if not self.is_held:
                _log.error("a restart forgets which evidence is missing: it cannot be written: %s", problem)
