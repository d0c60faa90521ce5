"""Claims what a transaction has queued within that transaction, for the worker whose thread runs it.

So a step that follows at once needs no claim of its own: its lease is stored with it, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Connection, Engine

from gateway.store.transaction_rows import list_queued_lanes

__all__ = ["FollowUpClaim", "FollowUps", "take_follow_ups"]


class FollowUpClaim(Protocol):
    """What was claimed in a transaction that is about to be committed."""

    def begin(self) -> None:
        """Begin the deliveries: the claim is committed."""

    def cancel(self) -> None:
        """Forget the deliveries: the transaction is rolled back, or nobody knows."""


_Claim = Callable[[Connection, Sequence[str]], FollowUpClaim | None]


@dataclass(frozen=True, slots=True)
class _Taker:
    """Who claims in the transactions of one thread on one database."""

    engine: Engine
    claim: _Claim


_taker: Final[ContextVar[_Taker | None]] = ContextVar("taker of follow-ups", default=None)


@contextmanager
def take_follow_ups(engine: Engine, claim: _Claim) -> Iterator[None]:
    """Let each write transaction of this thread within the block end with `claim`, if it queued what is due.

    `claim` is given the lanes of what was queued, by name. Its exception fails the transaction. On SQLite
    these transactions share their commits with those of other threads that wait.
    """
    before = _taker.set(_Taker(engine, claim))
    try:
        yield
    finally:
        _taker.reset(before)


class FollowUps:
    """What one transaction claims at its end: it begins after the commit, or is cancelled without one."""

    __slots__ = ("_claimed", "_taker")

    def __init__(self, engine: Engine) -> None:
        taker = _taker.get()
        self._taker = taker if taker is not None and taker.engine is engine else None
        self._claimed: FollowUpClaim | None = None

    @property
    def are_taken(self) -> bool:
        """Whether the thread of the transaction takes what follows: it is one of a worker."""
        return self._taker is not None

    def claim_queued(self, conn: Connection) -> None:
        """Claim what the transaction has queued, where its thread has somebody who takes it."""
        due = list_queued_lanes(conn) if self._taker is not None else ()
        if self._taker is not None and due:
            self._claimed = self._taker.claim(conn, due)

    def begin(self) -> None:
        """Begin what was claimed: the transaction is committed."""
        if self._claimed is not None:
            self._claimed.begin()

    def cancel(self) -> None:
        """Cancel what was claimed: the transaction is rolled back, or nobody knows."""
        if self._claimed is not None:
            self._claimed.cancel()
