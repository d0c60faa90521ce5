"""Ends a process whose connections to a SQLite file fail for a minute, while a new process could use it.

What a process has opened may be unusable as long as it lives: SQLite shares it among all connections, and
one of them may never end. The supervisor of the process starts another one.
"""

from __future__ import annotations

import logging
import subprocess  # the program of this process, without a shell
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine

from gateway.store import register_version
from gateway.store.database_damage import list_closed_files
from gateway.store.database_marks import DatabaseHeldError
from gateway.store.database_state import get_database_state
from gateway.store.engine import write_transaction

_log = logging.getLogger(__name__)

#: Seconds for which the connections fail before the process ends, and between two looks at them.
_LASTING_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 5.0
#: Seconds that a new process may take to write to the file.
_PROBE_SECONDS: Final = 20.0
#: Writes the header of the file anew, as it is; the argument is its path.
_PROBE: Final = """
import sqlite3, sys, urllib.parse
path = urllib.parse.quote(sys.argv[1])
connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=10)
connection.execute("PRAGMA synchronous = FULL")
connection.execute("BEGIN IMMEDIATE")
version = connection.execute("PRAGMA user_version").fetchone()[0]
connection.execute(f"PRAGMA user_version = {version:d}")
connection.execute("COMMIT")
"""


def watch_for_lasting_failure(
    engine: Engine,
    end_process: Callable[[], object],
    *,
    lasting_seconds: float = _LASTING_SECONDS,
    watch_seconds: float = _WATCH_SECONDS,
) -> None:
    """Start a thread that calls `end_process` once, when this process alone cannot use its SQLite file.

    Its connections then fail for `lasting_seconds`. Does nothing for PostgreSQL.
    """
    if get_database_state(engine).sqlite is None:
        return

    def watch_connections() -> None:
        while not is_failure_lasting(engine, lasting_seconds):
            time.sleep(watch_seconds)
        _log.error(
            "for %g s this process could not use the database file, while a new process can: it ends, to be "
            "started again",
            lasting_seconds,
        )
        end_process()

    threading.Thread(target=watch_connections, name="file-watch", daemon=True).start()


def is_failure_lasting(engine: Engine, lasting_seconds: float) -> bool:
    """Return whether the connections to a SQLite file fail for that long, and a new process can write to it.

    This process first tries a commit, which ends the failure if it succeeds. A file that was removed,
    replaced or damaged, or lacks data, is one for an operator: no restart mends it.
    """
    state = get_database_state(engine)
    sqlite = state.sqlite
    failed_at = None if sqlite is None else sqlite.connections.failed_at
    if sqlite is None or failed_at is None or time.monotonic() - failed_at < lasting_seconds:
        return False
    if sqlite.file.is_exchanged() or state.damage.find_problem() is not None:
        return False
    try:
        with write_transaction(engine) as conn:
            register_version.probe_commit(conn)
    except DatabaseHeldError:
        return False
    except Exception:
        # SQLite would make files beside a closed one that stay closed to this account when it is open again.
        return not list_closed_files(sqlite.path) and _can_new_process_write(sqlite.path)
    return False


def _can_new_process_write(path: str) -> bool:
    """Return whether a new process can commit to a SQLite file now."""
    try:
        probe = subprocess.run(  # noqa: S603 - the interpreter of this process
            [sys.executable, "-I", "-c", _PROBE, path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        # No process or memory is left, or the file does not answer: a new process would not help.
        return False
    return probe.returncode == 0
