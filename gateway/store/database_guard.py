"""Compares the database of a process with the mark of its acknowledged evidence; holds it if it is older."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.store.database_marks import (
    DatabaseHeldError,
    DatabaseMark,
    find_mark_problem,
    has_newer_generation,
    list_missing_leaves,
    read_mark_file,
    write_mark_file,
)

_log = logging.getLogger(__name__)

#: The largest number of leaves committed by this process that are searched for after a lost connection: more
#: than it has transactions at once.
_MAX_COMMITTED_LEAVES: Final = 256
#: Seconds between two checks whether an operator has begun a new generation.
_CHECK_SECONDS: Final = 1.0


class DatabaseGuard:
    """Compares one database with the mark in the file `path`; safe for many threads.

    `count_losses` returns how many connections to it were lost.
    """

    def __init__(self, path: Path, count_losses: Callable[[], int]) -> None:
        self._path = path
        self._count_losses = count_losses
        self._guard, self._file_guard = threading.Lock(), threading.Lock()
        self._mark: DatabaseMark | None = None
        self._is_mark_read = False
        #: How often the mark in the file named leaves that another process has missed.
        self._missed_count = 0
        #: How many reasons there were for the last check; None before the first.
        self._checked_count: int | None = None
        self._checked_at = float("-inf")
        #: Why the database is held.
        self._hold_reason: str | None = None
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
        count = self._count_check_reasons()
        if self._hold_reason is None or time.monotonic() - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = time.monotonic()
            self._record_hold_reason(self._find_hold_reason(conn))
            self._checked_count = count
        if self._hold_reason is not None:
            raise DatabaseHeldError(self._hold_reason)

    def is_current(self) -> bool:
        """Return whether the database was good at the last check, and nothing since asks for another one."""
        return self._hold_reason is None and self._checked_count == self._count_check_reasons()

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
        return not self._is_mark_writable or mark != self._mark

    def store_mark(self, mark: DatabaseMark, covered_leaves: Collection[str]) -> None:
        """Store a mark here and in its file; forget `covered_leaves`, which were committed before it.

        A file that cannot be written is logged, and raises nothing.
        """
        with self._guard:
            self._mark = mark
            for leaf in covered_leaves:
                self._committed_leaves.pop(leaf, None)
        self._write_file(mark)

    def take_missed_leaves(self) -> None:
        """Check the database again if another process of the home has missed leaves that it had committed.

        A file that cannot be read changes nothing: the mark that was read before holds.
        """
        if not self._is_mark_read:
            return
        try:
            mark = read_mark_file(self._path)
        except GatewayError:
            return
        if mark is not None and mark.later_leaves and mark != self._mark:
            with self._guard:
                self._mark = mark
                self._missed_count += 1

    def _count_check_reasons(self) -> int:
        """Return a number that grows with each lost connection, and with each mark of missed leaves."""
        return self._count_losses() + self._missed_count

    def _write_file(self, mark: DatabaseMark) -> None:
        try:
            # Two threads would write one new file.
            with self._file_guard:
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
        lacks evidence that this process has committed since. The file names such evidence then, for the other
        processes of the home, and for the next start.
        """
        try:
            mark = self._get_expected_mark()
        except GatewayError as unreadable:
            # It may say that the database is older.
            return unreadable.detail
        if mark is None:
            return None
        problem = find_mark_problem(conn, mark)
        if problem is not None:
            missing_leaves = list_missing_leaves(conn, mark)
            if missing_leaves:
                self._write_file(replace(mark, later_leaves=missing_leaves))
            return problem.detail
        if has_newer_generation(conn, mark):
            with self._guard:
                for leaf in mark.later_leaves:
                    self._committed_leaves.pop(leaf, None)
        return None

    def _get_expected_mark(self) -> DatabaseMark | None:
        """Return the mark, with the leaves that were committed since; None where there is no mark.

        Raises GW808 for a file that is no mark, until it is read.
        """
        if not self._is_mark_read:
            mark = read_mark_file(self._path)
            with self._guard:
                self._mark, self._is_mark_read = mark, True
        with self._guard:
            if self._mark is None:
                return None
            later_leaves = dict.fromkeys((*self._mark.later_leaves, *self._committed_leaves))
            return replace(self._mark, later_leaves=tuple(later_leaves))
