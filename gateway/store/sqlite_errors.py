"""The errors of the driver of SQLite, which is loaded with such a database alone: it takes a MiB."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["SQLITE_ERROR", "add_sqlite_errors", "get_sqlite_errors"]

#: The code of a mistake in a statement, among the codes of all errors that the driver raises.
SQLITE_ERROR: Final = 1


def get_sqlite_errors(kind: str = "Error") -> tuple[type[Exception], ...]:
    """Return the error of this kind; none where nobody has loaded the driver, so it can have raised none."""
    driver = sys.modules.get("sqlite3")
    return () if driver is None else (getattr(driver, kind),)


def add_sqlite_errors(*others: type[Exception], kind: str = "Error") -> tuple[type[Exception], ...]:
    """Return other errors, and that of SQLite of this kind."""
    return (*others, *get_sqlite_errors(kind))
