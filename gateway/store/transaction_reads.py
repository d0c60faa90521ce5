"""Keeps what a write transaction has read of a locked case, until it writes to a table that was read.

Nobody else changes rows of a locked case, so that what one step of a transaction has read, the next one
needs not ask for again. What was read before a lock was waited for is forgotten with the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

__all__ = ["find_kept_read", "forget_reads", "forget_written", "keep_read", "keep_reads", "read_once"]

#: Attribute of a connection while it keeps what it read.
_KEPT: Final = "_gateway_kept_reads"
_READING: Final = ("SELECT", "EXPLAIN")

_Found = TypeVar("_Found")


@contextmanager
def keep_reads(conn: Connection) -> Iterator[None]:
    """Keep what is read within the block."""
    conn.__dict__[_KEPT] = {}
    try:
        yield
    finally:
        conn.__dict__.pop(_KEPT, None)


def read_once(
    conn: Connection, named: tuple[str, ...], question: Hashable, read: Callable[[], _Found]
) -> _Found:
    """Return what `read` found when the question was asked, if nothing that it depends on was written since.

    `named` are the tables that it depends on; the name of a column stands for writes of that column alone.
    """
    kept: dict[Hashable, tuple[tuple[str, ...], Any]] | None = conn.__dict__.get(_KEPT)
    if kept is None:
        return read()
    known = kept.get(question)
    if known is None:
        # Asked first: what is read for the question may forget what was kept.
        found = read()
        kept[question] = known = (named, found)
    result: _Found = known[1]
    return result


def keep_read(conn: Connection, named: tuple[str, ...], question: Hashable, found: object) -> None:
    """Keep what a question has found, as `read_once` does, where another statement has told it too."""
    kept: dict[Hashable, tuple[tuple[str, ...], Any]] | None = conn.__dict__.get(_KEPT)
    if kept is not None:
        kept[question] = (named, found)


def find_kept_read(conn: Connection, question: Hashable) -> Any:
    """Return what is kept for a question, None where nothing is."""
    kept: dict[Hashable, tuple[tuple[str, ...], Any]] | None = conn.__dict__.get(_KEPT)
    return None if kept is None or question not in kept else kept[question][1]


def forget_written(conn: Connection, statement: str) -> None:
    """Forget what depends on a table or column that a statement names, unless it is one that reads."""
    kept: dict[Hashable, tuple[tuple[str, ...], Any]] | None = conn.__dict__.get(_KEPT)
    if not kept or statement.startswith(_READING):
        return
    for question, (named, _) in tuple(kept.items()):
        if any(name in statement for name in named):
            del kept[question]


def forget_reads(conn: Connection) -> None:
    """Forget everything: a lock was waited for, or changes are rolled back."""
    kept = conn.__dict__.get(_KEPT)
    if kept:
        kept.clear()
