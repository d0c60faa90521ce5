"""Checks the file of a SQLite database, and remembers that a database was seen to be damaged.

SQLite finds a bad page only when it reads that page, so most queries succeed on a damaged file. Damage that
one process finds is remembered until it ends, and in a file beside the database, for other processes and the
next start.

The module also notices that the file was removed, or replaced by another file. Data that a process writes
to a removed file is lost when the process ends. A file in its place may be older than the acknowledged
data, and a process that opens this file would apply the write-ahead log of the former file to it.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Final
from urllib.parse import quote

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.file_owner import describe_owner, open_owned_file
from gateway.store.disk_reserve import InsufficientStorageError


class DatabaseFile:
    """The file that an engine works on, from its first connection on; `path` may be a link to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: os.stat_result | None = None

    def record_opened_file(self) -> None:
        """Note the file that the first connection has opened."""
        # Not before it is opened: a file system of two layers copies it then, with another number.
        self._opened = self._opened or self._find_status()

    def expect_file_of(self, other_file: DatabaseFile) -> None:
        """Take the file that another engine has opened for the opened one: any other one is exchanged."""
        self._opened = other_file._opened

    def forget_opened_file(self) -> None:
        """Forget the file: its connections are closed, and the next one may open another."""
        self._opened = None

    def is_exchanged(self) -> bool:
        """Return whether the path now names another file than the opened one, or no file."""
        if self._opened is None:
            return False
        status = self._find_status()
        return status is None or not os.path.samestat(status, self._opened)

    def _find_status(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)
        except OSError:
            return None


#: The suffixes in the names of the files that SQLite keeps for a database, and of all its files.
_SQLITE_FILES = ("", "-wal", "-shm")
_FILES = (*_SQLITE_FILES, "-writer")


def list_closed_files(database: str) -> list[str]:
    """Return the files that SQLite keeps for a database and that this account may not read and write."""
    paths = [database + suffix for suffix in _SQLITE_FILES]
    return [path for path in paths if _is_closed(path)]


def _is_closed(path: str) -> bool:
    # A file that others make and remove meanwhile may be missing at one look: a closed one is closed at each.
    return not any(_is_usable(path) or not os.path.exists(path) for _ in range(3))


def _is_usable(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=True)


def describe_inaccessible_file(database: str) -> str | None:
    """Return a sentence on the first file of a database that this account may not read and write.

    It names owner and mode of the file or folder, or says that their volume takes no writes. None if there
    is no such file.
    """
    for path in (os.path.dirname(database), *(database + suffix for suffix in _FILES)):
        if not _is_closed(path):
            continue
        with suppress(FileNotFoundError):
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                return f"{path} is on a volume that is mounted for reading only"
            mode = stat.S_IMODE(os.stat(path).st_mode)
            return f"{path} belongs to {describe_owner(path)} (mode {mode:04o}) and is closed to this account"
    return None


#: The code of a mistake in a statement, among the codes of all errors that the driver raises.
SQLITE_ERROR: Final = 1


def get_sqlite_errors(class_name: str = "Error") -> tuple[type[Exception], ...]:
    """Return the class `class_name` of the SQLite driver; an empty tuple if the driver is not loaded.

    A driver that is not loaded cannot have raised an error. The result is for an ``except`` clause.
    """
    driver = sys.modules.get("sqlite3")
    return () if driver is None else (getattr(driver, class_name),)


def add_sqlite_errors(*others: type[Exception], class_name: str = "Error") -> tuple[type[Exception], ...]:
    """Return other errors, and that of SQLite of this kind."""
    return (*others, *get_sqlite_errors(class_name))


_log = logging.getLogger(__name__)

#: Seconds between two log lines about the damage.
_LOGGED_EVERY: Final = 60.0
#: Seconds that the check at a start may take, and between two log lines meanwhile.
_START_SECONDS: Final = 60.0
_PROGRESS_SECONDS: Final = 10.0
#: Instructions of SQLite between two readings of the clock.
_INSTRUCTIONS: Final = 100_000
_DAMAGE_SUFFIX: Final = "-damaged"
#: SQLSTATE of data_corrupted and index_corrupted.
_CORRUPTED: Final = frozenset({"XX001", "XX002"})


class DamageRecord:
    """The damage that one process knows of in its database; safe for many threads.

    `path` is the path of a SQLite file, behind any link; None for a server.
    """

    def __init__(self, path: str | None) -> None:
        self.path: Final = path
        self._guard = threading.Lock()
        self._problem: GatewayError | None = None
        self._logged_at = float("-inf")

    def record(self, problem: GatewayError) -> None:
        """Keep a problem, here and beside the file, and log it once a minute."""
        now = time.monotonic()
        with self._guard:
            self._problem = self._problem or problem
            if now - self._logged_at < _LOGGED_EVERY:
                return
            self._logged_at = now
        _log.error("%s", problem)
        if self.path is not None:
            # A disk that takes no mark either: this process knows it all the same.
            with suppress(OSError):
                os.close(open_owned_file(self.path + _DAMAGE_SUFFIX, os.O_WRONLY, owner_path=self.path))

    def find_problem(self) -> GatewayError | None:
        """Return GW805 if this process, or another one with the same file, has found damage; else None.

        It stays until the database is restored.
        """
        if self._problem is None and self.path is not None and os.path.exists(self.path + _DAMAGE_SUFFIX):
            return make_damage_error("a process of the hub has met it")
        return self._problem


def make_damage_error(reason: object) -> GatewayError:
    """Return GW805 for a damaged database."""
    detail = f"the file of the database is damaged, restore it from a backup: {reason}"
    return GatewayError(EVIDENCE_BROKEN, detail[:160], "database.url")


def is_damage(error: Any) -> bool:
    """Return whether an error of the driver says that the database is damaged."""
    # SQLITE_NOTADB and SQLITE_CORRUPT have no class of their own, as all other errors have.
    sqlite = type(error) in get_sqlite_errors("DatabaseError")
    return sqlite or getattr(error, "sqlstate", None) in _CORRUPTED


def check_database_file(damage: DamageRecord) -> None:
    """Read every page of a SQLite file, with its log; raise GW805 if it is damaged, or was found to be so.

    Does nothing for PostgreSQL, which checks its own pages. Opens the file for reading only: closing the last
    connection that may write would copy the log beside the file into it, even the log of another file.
    """
    if damage.path is not None and os.path.exists(damage.path):
        _check_pages(damage.path, lambda: False)
    problem = damage.find_problem()
    if problem is not None:
        raise problem


def check_file_at_start(damage: DamageRecord) -> None:
    """Check a SQLite file that was not closed properly or was found damaged; raise GW805 if it is damaged.

    A file that was not closed properly has its write-ahead log beside it. The check logs its progress, and
    ends after at most one minute unless the file was found damaged.
    """
    path = damage.path
    if path is None or not os.path.exists(path):
        return
    is_marked_damaged = os.path.exists(path + _DAMAGE_SUFFIX)
    if not is_marked_damaged and not _has_content(path + "-wal"):
        return
    _log.warning(
        "the database was not closed in order: it is checked, for %d seconds at most", _START_SECONDS
    )
    began = logged_at = time.monotonic()

    def is_over() -> bool:
        nonlocal logged_at
        now = time.monotonic()
        if now - logged_at >= _PROGRESS_SECONDS:
            logged_at = now
            _log.warning("the database is being checked, %d seconds so far", now - began)
        # A file that was found damaged is read to its end.
        return not is_marked_damaged and now - began >= _START_SECONDS

    if not _check_pages(path, is_over):
        _log.warning("the check of the database was not finished: `gateway check` reads all of it")
        return
    _log.warning("the database is in order")
    with suppress(FileNotFoundError):
        os.unlink(path + _DAMAGE_SUFFIX)


def close_database_file(damage: DamageRecord) -> None:
    """Copy the log of a SQLite file into it, so that the next start sees that it was closed properly.

    Does nothing if other processes still write, or the file was found damaged.
    """
    path = damage.path
    if path is None or damage.find_problem() is not None or list_closed_files(path):
        return
    import sqlite3

    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def _make_closed_error(path: str, reason: str) -> InsufficientStorageError:
    """Return GW806 for a file that cannot be read now: the first file that is closed, else `reason`."""
    reason = describe_inaccessible_file(path) or reason
    return InsufficientStorageError(f"the database cannot be read now: {reason}"[:300])


def _check_pages(path: str, is_over: Callable[[], bool]) -> bool:
    """Return whether the check ended before `is_over` returned true; raise GW805 if a page is bad."""
    import sqlite3

    if list_closed_files(path):
        # SQLite would make files beside it that are closed to this account as long as they exist.
        raise _make_closed_error(path, "a file is closed to this account")
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.set_progress_handler(lambda: int(is_over()), _INSTRUCTIONS)
            first = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise _make_closed_error(path, str(error)) from None
    except sqlite3.DatabaseError as error:
        raise make_damage_error(error) from None
    if first is None or first[0] != "ok":
        reason = "it cannot be read" if first is None else str(first[0]).replace("\n", " ")
        raise make_damage_error(reason)
    return True
