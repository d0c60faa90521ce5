"""Keeps the connections of an engine open from one transaction to the next, outside of its pool.

To take a connection from the pool and to give it back takes longer than most transactions do. The one
that was used last is used first, so few are in use where few are needed: the server plans a statement
once for each connection.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

if TYPE_CHECKING:
    from gateway.store.driver_connections import DriverConnection

__all__ = ["ConnectionLosses", "KeptConnections"]

#: Seconds without use, after which the server may have closed a connection.
_IDLE: Final = 1.0
#: Attribute of a connection: how many were lost when it was opened.
_OPENED_AFTER: Final = "_gateway_losses"


class ConnectionLosses:
    """Counts the connections of an engine that were lost.

    One lost connection means that the server has gone, or takes no writes any more: no connection that was
    opened before is used again, whatever its transactions do.
    """

    def __init__(self) -> None:
        self.number = 0


class KeptConnections:
    """The connections of one engine that nobody uses now; safe for many threads.

    `connect` takes another one from the pool, with the properties that its transactions have. At most
    `most` are kept. Where it `is_tested`, one that was not used for a second is, before its next use.
    """

    def __init__(
        self,
        engine: Engine,
        connect: Callable[[], DriverConnection],
        most: int,
        losses: ConnectionLosses,
        *,
        is_tested: bool = True,
    ) -> None:
        self._engine = engine
        self._losses = losses
        self._connect = connect
        self._most = most
        self._is_tested = is_tested
        #: Each with the moment of its last use, that one last; and the process that they belong to.
        self._resting: deque[tuple[DriverConnection, float]] = deque()
        self._pid = os.getpid()
        #: What a forked child has of its parent: it is neither used nor closed.
        self._of_parents: list[deque[tuple[DriverConnection, float]]] = []

    @contextmanager
    def borrow(self) -> Iterator[DriverConnection]:
        """Give a connection to the block; one that was lost meanwhile is kept no more, nor are the others."""
        conn = self._take()
        try:
            yield conn
        except BaseException:
            self._give_back_after_problem(conn)
            raise
        self._give_back(conn)

    @contextmanager
    def run_transaction(self, command: str = "") -> Iterator[DriverConnection]:
        """Run the block in a transaction of the driver, which `command` begins, or the first statement."""
        with self.borrow() as conn:
            conn.begin_in_driver(command)
            yield conn
            conn.commit_in_driver()

    def close_all(self) -> None:
        """Close all connections: those that nobody uses now at once, the others when they are given back."""
        self._losses.number += 1
        while (found := self._pop()) is not None:
            _drop(found[0])

    def _take(self) -> DriverConnection:
        while (found := self._pop()) is not None:
            if self._is_alive(*found):
                return found[0]
            _drop(found[0])
        number = self._losses.number
        conn = self._connect()
        conn.__dict__[_OPENED_AFTER] = number
        return conn

    def _pop(self) -> tuple[DriverConnection, float] | None:
        if self._pid != os.getpid():
            self._of_parents.append(self._resting)
            self._resting, self._pid = deque(), os.getpid()
        try:
            return self._resting.pop()
        except IndexError:
            return None

    def _is_alive(self, conn: DriverConnection, used: float) -> bool:
        """Return whether a connection may be used; where the server has closed it, no other one may."""
        if conn.__dict__[_OPENED_AFTER] != self._losses.number:
            return False
        if not self._is_tested or time.monotonic() - used < _IDLE:
            return True
        dialect: Any = self._engine.dialect
        try:
            dialect.do_ping(conn.connection.dbapi_connection)
        except dialect.loaded_dbapi.Error:
            self._losses.number += 1
            return False
        return True

    def _give_back(self, conn: DriverConnection) -> None:
        if conn.invalidated or conn.closed:
            self._losses.number += 1
            conn.close()
        elif conn.__dict__[_OPENED_AFTER] != self._losses.number:
            _drop(conn)
        elif len(self._resting) < self._most:
            self._resting.append((conn, time.monotonic()))
        else:
            conn.close()

    def _give_back_after_problem(self, conn: DriverConnection) -> None:
        """Keep a connection whose transaction is rolled back; the next one may find the problem gone."""
        is_over = conn.invalidated or conn.closed
        try:
            if not is_over:
                conn.roll_back_in_driver()
                is_over = True
        except (DatabaseError, self._engine.dialect.loaded_dbapi.Error):
            """What failed first is told."""
        finally:
            if not is_over:
                # After an interrupt, too: what is still open must be no part of the next transaction.
                conn.invalidate()
            self._give_back(conn)


def _drop(conn: DriverConnection) -> None:
    """Close a connection; its pool may no longer exist, so it is not returned."""
    conn.invalidate()
    conn.close()
