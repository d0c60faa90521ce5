"""Claims what a transaction has queued within that transaction, for the worker whose thread runs it.

So a step that follows at once needs no claim of its own: its lease is stored with it, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
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


class _Taker:
    """Who claims in the transactions of one thread on one database, within a block."""

    __slots__ = ("_before", "claim", "engine")

    def __init__(self, engine: Engine, claim: _Claim) -> None:
        self.engine = engine
        self.claim = claim

    def __enter__(self) -> None:
        """Take what follows from now on."""
        self._before: Token[_Taker | None] = _taker.set(self)

    def __exit__(self, *_: object) -> None:
        """Leave it to whom it was left to before."""
        _taker.reset(self._before)


_taker: Final[ContextVar[_Taker | None]] = ContextVar("taker of follow-ups", default=None)


def take_follow_ups(engine: Engine, claim: _Claim) -> AbstractContextManager[None]:
    """Let each write transaction of this thread within the block end with `claim`, if it queued what is due.

    `claim` is given the lanes of what was queued, by name. Its exception fails the transaction. On SQLite
    these transactions share their commits with those of other threads that wait.
    """
    # A generator would take three times as many steps, for each attempt.
    return _Taker(engine, claim)


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
