"""Runs a claim: what is due is looked for and claimed in one transaction, where looking hinders nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine

from gateway.store.engine import read_transaction, write_transaction

__all__ = ["run_claim"]

_Due = TypeVar("_Due")
_Claimed = TypeVar("_Claimed")


class _NothingDueError(Exception):
    """Nothing is due: the transaction is rolled back, and nothing was committed."""


def run_claim(
    engine: Engine,
    name: str,
    find: Callable[[Connection], Sequence[_Due]],
    claim: Callable[[Connection, Sequence[_Due]], _Claimed],
) -> _Claimed | None:
    """Return what `claim` makes of what `find` finds, committed under `name`; None when nothing is due.

    PostgreSQL looks in the transaction that claims. SQLite has one writer, which looking must not keep
    waiting, so it looks in a transaction of its own.
    """
    if engine.dialect.name != "sqlite":
        return _claim_at_once(engine, name, find, claim)
    with read_transaction(engine) as conn:
        due = find(conn)
    if not due:
        return None
    with write_transaction(engine, name) as conn:
        return claim(conn, due)


def _claim_at_once(
    engine: Engine,
    name: str,
    find: Callable[[Connection], Sequence[_Due]],
    claim: Callable[[Connection, Sequence[_Due]], _Claimed],
) -> _Claimed | None:
    try:
        with write_transaction(engine, name) as conn:
            due = find(conn)
            if not due:
                raise _NothingDueError
            return claim(conn, due)
    except _NothingDueError:
        return None
