"""Counts the statements and transactions of one process, as it gives them to the driver, by who asked.

The process is one of the hub or of a partner.  It imports `start` from a ``sitecustomize`` that
`tests.load.case_price` has put on its path, so that the hub itself knows nothing of the count.
Each row of an ``executemany`` is a statement, because the database executes each.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sqlite3.dbapi2
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["ASKED", "OFF", "SEPARATOR", "TOLD", "start"]

#: A file of this name in the folder has a number: every process writes what it has counted, and that number.
ASKED = "asked"
#: The number that ends the counting in every process.
OFF = -1
SEPARATOR = "|"
_EVERY = 0.02
_COUNTED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_ROOM = f"{os.sep}gateway{os.sep}"
_STORE = f"{_ROOM}store{os.sep}"

_counts: Counter[str] = Counter()
#: A file of this name in the folder gets every statement, where it is there.
TOLD = "told"
_told: Path | None = None
_on = threading.Event()


def start(folder: str) -> None:
    """Count from now on; write what was counted to a file of this process when asked, and at its end."""
    global _told
    _told = Path(folder) / TOLD if (Path(folder) / TOLD).exists() else None
    _on.set()
    _watch_sqlite()
    with contextlib.suppress(ImportError):
        _watch_postgresql()

    def begin() -> None:
        # A forked process has neither the thread of its parent nor anything of its own to tell yet.
        _counts.clear()
        _write(Path(folder), 0)
        threading.Thread(target=_write_when_asked, args=(Path(folder),), daemon=True).start()

    os.register_at_fork(after_in_child=begin)
    begin()
    atexit.register(lambda: _write(Path(folder), OFF))


def _write(folder: Path, asked: int) -> None:
    """Write what was counted, with the number that asked for it."""
    part = folder / f"{os.getpid()}.{threading.get_native_id()}.part"
    part.write_text(json.dumps({"asked": asked, "counts": dict(_counts)}))
    part.replace(folder / f"{os.getpid()}.json")


def _write_when_asked(folder: Path) -> None:
    answered = 0
    while answered != OFF:
        asked = int((folder / ASKED).read_text())
        if asked != answered:
            if asked == OFF:
                _on.clear()
            _write(folder, asked)
            answered = asked
        threading.Event().wait(_EVERY)


def _watch_sqlite() -> None:
    """Count what the program gives to the driver: the statements of a trigger belong to the one it serves."""
    connect = sqlite3.dbapi2.connect

    def connect_watched(*arguments: Any, **named: Any) -> sqlite3.Connection:
        if _on.is_set():
            named.setdefault("factory", _WatchedConnection)
        return connect(*arguments, **named)

    sqlite3.dbapi2.connect = connect_watched  # type: ignore[assignment]


class _WatchedCursor(sqlite3.Cursor):
    """Counts what it executes."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if _on.is_set():
            _note(sql, sys._getframe(1))
        return super().execute(sql, *arguments)

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        rows = list(rows)
        if _on.is_set():
            _note(sql, sys._getframe(1), len(rows))
        return super().executemany(sql, rows)


class _WatchedConnection(sqlite3.Connection):
    """Makes cursors that count, and counts its commits."""

    def cursor(self, *_: Any) -> Any:
        return super().cursor(_WatchedCursor)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        done: sqlite3.Cursor = self.cursor().execute(sql, *arguments)
        return done

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        done: sqlite3.Cursor = self.cursor().executemany(sql, rows)
        return done

    def commit(self) -> None:
        if _on.is_set() and self.in_transaction:
            _note("COMMIT", sys._getframe(1))
        super().commit()


def _watch_postgresql() -> None:
    import psycopg

    execute, executemany, commit = (
        psycopg.Cursor.execute,
        psycopg.Cursor.executemany,
        psycopg.Connection.commit,
    )

    def execute_watched(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        if _on.is_set():
            _note(str(query), sys._getframe(1))
        return execute(self, query, *arguments, **named)

    def executemany_watched(self: Any, query: Any, rows: Any, **named: Any) -> None:
        rows = list(rows)
        if _on.is_set():
            _note(str(query), sys._getframe(1), len(rows))
        executemany(self, query, rows, **named)

    def commit_watched(self: Any) -> None:
        if _on.is_set() and self.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            _note("COMMIT", sys._getframe(1))
        commit(self)

    psycopg.Cursor.execute = execute_watched  # type: ignore[method-assign]
    psycopg.Cursor.executemany = executemany_watched  # type: ignore[method-assign]
    psycopg.Connection.commit = commit_watched  # type: ignore[method-assign]


def _note(sql: str, frame: FrameType | None, times: int = 1) -> None:
    kind = sql.lstrip()[:9].split(None, 1)[0].upper() if sql.strip() else ""
    if kind != "COMMIT" and kind not in _COUNTED:
        return
    stack = []
    while frame is not None:
        if _ROOM in frame.f_code.co_filename:
            stack.append(frame)
        frame = frame.f_back
    if stack and _told is not None:
        _tell(_told, kind, sql, stack, times)
    if not stack:
        _counts[SEPARATOR.join((kind, "other", "", ""))] += times
    elif kind == "COMMIT":
        _counts[SEPARATOR.join((kind, _name_root(stack), _name_transaction(stack), ""))] += 1
    else:
        _counts[SEPARATOR.join((kind, _name_root(stack), *_name_asker(stack)))] += times


def _tell(file: Path, kind: str, sql: str, stack: list[FrameType], times: int) -> None:
    """Add a statement to the file of all processes: when, by whom, for what, who asked, how often."""
    asked = (_name_transaction(stack), "") if kind == "COMMIT" else _name_asker(stack)
    words = (time.time_ns(), os.getpid(), threading.get_native_id(), _name_root(stack), *asked, times)
    with file.open("a") as out:
        out.write("\t".join(map(str, (*words, " ".join(sql.split())))) + "\n")


def _name_root(stack: list[FrameType]) -> str:
    """Return what the process was doing: an attempt, a claim, the upkeep, or what a thread began with."""
    for frame in reversed(stack):
        name = frame.f_code.co_name
        if name == "_run_attempt":
            lease = frame.f_locals["lease"]
            further = ("task", "operation", "action")
            words = [str(lease.parameters[one]) for one in further if one in lease.parameters]
            return " ".join(["attempt", lease.agent, *(words[:1] or [lease.subject_type])])
        if name == "claim_due":
            return "claim"
        if name in ("run_maintenance", "run_maintenance_loop"):
            return "upkeep"
    names = [_name_frame(frame) for frame in reversed(stack)]
    return f"serve {next((name for name in names if name.startswith('hub.')), names[0])}"


def _name_transaction(stack: list[FrameType]) -> str:
    """Return the name of the transaction that is committed; a reading one has the name of its reader."""
    for place, frame in enumerate(stack):
        if frame.f_code.co_name == "write_transaction":
            return f"write {frame.f_locals['name'] or _name_frame(stack[place + 1])}"
        if frame.f_code.co_name == "read_transaction":
            return f"read {_name_frame(stack[min(place + 1, len(stack) - 1)])}"
    return "read"


def _name_asker(stack: list[FrameType]) -> tuple[str, str]:
    """Return the function outside the store that wanted something, and what it called there."""
    called = ""
    for frame in stack:
        name = _name_frame(frame)
        if _STORE not in frame.f_code.co_filename:
            return name, called
        called = name
    return "", called


def _name_frame(frame: FrameType) -> str:
    room = frame.f_code.co_filename.rpartition(_ROOM)[2].removesuffix(".py").replace(os.sep, ".")
    return f"{room}.{frame.f_code.co_qualname}"
