"""A durable commit with nothing around it: what the floors write to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path


class DurableFile:
    """A SQLite file in WAL with synchronous FULL, one table, one statement an octet string."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = wal", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, octets BLOB NOT NULL)")

    def commit(self, octets: Iterable[bytes]) -> None:
        """Write the octets in one transaction."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        for one in octets:
            execute("INSERT INTO kept (octets) VALUES (?)", (one,))
        execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._database.close()
