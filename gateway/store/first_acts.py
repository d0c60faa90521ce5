"""What the next write transaction of a thread does before anything else.

So what is known before an effect, and must be stored with it, needs no transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine

__all__ = ["FirstAct", "begin_next_transaction", "run_first_act"]


@dataclass(slots=True)
class FirstAct:
    """An act on one database, and whether a transaction that began with it is committed."""

    engine: Engine
    act: Callable[[Connection], None]
    committed: bool = False


_awaited: Final[ContextVar[FirstAct | None]] = ContextVar("first act", default=None)


@contextmanager
def begin_next_transaction(engine: Engine, act: Callable[[Connection], None]) -> Iterator[FirstAct]:
    """Let the write transactions of this thread within the block begin with `act`, until one is committed."""
    found = FirstAct(engine, act)
    before = _awaited.set(found)
    try:
        yield found
    finally:
        _awaited.reset(before)


def run_first_act(conn: Connection) -> FirstAct | None:
    """Run the act that awaits a transaction; return it, None where there is none. It may raise."""
    found = _awaited.get()
    if found is None or found.committed or found.engine is not conn.engine:
        return None
    found.act(conn)
    return found
