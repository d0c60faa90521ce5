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

__all__ = ["FollowUpClaim", "take_follow_ups", "watch_follow_ups"]


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

    `claim` is given the lanes of what was queued, by name. Its exception fails the transaction.
    """
    before = _taker.set(_Taker(engine, claim))
    try:
        yield
    finally:
        _taker.reset(before)


@contextmanager
def watch_follow_ups(engine: Engine) -> Iterator[Callable[[Connection], None]]:
    """Run one transaction within the block; yields what claims at its end.

    What was claimed begins after the block, or is cancelled when the block ends with an exception.
    """
    taker = _taker.get()
    if taker is None or taker.engine is not engine:
        yield _claim_nothing
        return
    claimed: list[FollowUpClaim] = []

    def claim_queued(conn: Connection) -> None:
        due = list_queued_lanes(conn)
        found = taker.claim(conn, due) if due else None
        if found is not None:
            claimed.append(found)

    try:
        yield claim_queued
    except BaseException:
        for one in claimed:
            one.cancel()
        raise
    for one in claimed:
        one.begin()


def _claim_nothing(conn: Connection) -> None:
    del conn
