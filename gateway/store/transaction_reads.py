"""Keeps what a write transaction has read of a locked case, until it writes to a table that was read.

Nobody else changes rows of a locked case, so that what one step of a transaction has read, the next one
needs not ask for again. What was read before a lock was waited for is forgotten with the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from gateway.store.statement_names import list_names

__all__ = [
    "begin_keeping_reads",
    "end_keeping_reads",
    "find_kept_read",
    "forget_reads",
    "forget_written",
    "keep_read",
    "keep_reads",
    "read_once",
]

#: Attribute of a connection while it keeps what it read.
_KEPT: Final = "_gateway_kept_reads"

_Found = TypeVar("_Found")


@dataclass(slots=True)
class _KeptReads:
    """What a transaction has read, by question, with the names that it depends on; and all such names."""

    found: dict[Hashable, tuple[tuple[str, ...], Any]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def keep(self, question: Hashable, named: tuple[str, ...], found: object) -> None:
        self.found[question] = (named, found)
        self.named.update(named)

    def forget(self, written: frozenset[str]) -> None:
        """Forget what depends on a name that is written."""
        for question, (named, _) in tuple(self.found.items()):
            if not written.isdisjoint(named):
                del self.found[question]


def begin_keeping_reads(conn: Connection) -> None:
    """Keep what is read from now on."""
    conn.__dict__[_KEPT] = _KeptReads()


def end_keeping_reads(conn: Connection) -> None:
    """Forget what was read, and keep nothing any more."""
    conn.__dict__.pop(_KEPT, None)


@contextmanager
def keep_reads(conn: Connection) -> Iterator[None]:
    """Keep what is read within the block."""
    begin_keeping_reads(conn)
    try:
        yield
    finally:
        end_keeping_reads(conn)


def read_once(
    conn: Connection, named: tuple[str, ...], question: Hashable, read: Callable[[], _Found]
) -> _Found:
    """Return what `read` found when the question was asked, if nothing that it depends on was written since.

    `named` are the tables that it depends on; the name of a column stands for writes of that column alone.
    """
    kept: _KeptReads | None = conn.__dict__.get(_KEPT)
    if kept is None:
        return read()
    known = kept.found.get(question)
    if known is not None:
        result: _Found = known[1]
        return result
    # Asked first: what is read for the question may forget what was kept.
    found = read()
    kept.keep(question, named, found)
    return found


def keep_read(conn: Connection, named: tuple[str, ...], question: Hashable, found: object) -> None:
    """Keep what a question has found, as `read_once` does, where another statement has told it too."""
    kept: _KeptReads | None = conn.__dict__.get(_KEPT)
    if kept is not None:
        kept.keep(question, named, found)


def find_kept_read(conn: Connection, question: Hashable) -> Any:
    """Return what is kept for a question, None where nothing is."""
    kept: _KeptReads | None = conn.__dict__.get(_KEPT)
    known = None if kept is None else kept.found.get(question)
    return None if known is None else known[1]


def forget_written(conn: Connection, statement: str) -> None:
    """Forget what depends on a table or column that a statement names, unless it is one that reads."""
    kept: _KeptReads | None = conn.__dict__.get(_KEPT)
    if kept is None or not kept.named:
        return
    written = list_names(statement).written
    # Most statements write nothing of that.
    if not kept.named.isdisjoint(written):
        kept.forget(written)


def forget_reads(conn: Connection) -> None:
    """Forget everything: a lock was waited for, or changes are rolled back."""
    kept: _KeptReads | None = conn.__dict__.get(_KEPT)
    if kept is not None:
        kept.found.clear()
        kept.named.clear()
