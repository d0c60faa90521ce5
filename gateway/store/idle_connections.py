"""Tests a connection of the pool before its use when it was idle: the server may have closed it meanwhile.

One that was in use a moment ago is not tested. A server that goes away in between is noticed by the
statement itself, and then no connection of the pool is used again.
"""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

__all__ = ["ping_idle_connections"]

#: Seconds after which a connection counts as idle.
_IDLE: Final = 1.0
#: Entry of a connection: when it was given back.
_RETURNED: Final = "gateway_returned"


def ping_idle_connections(engine: Engine, idle: float = _IDLE) -> None:
    """Ask the server for a sign of life before a connection is used that was idle for so many seconds."""

    def note_return(_connection: Any, record: Any) -> None:
        record.info[_RETURNED] = time.monotonic()

    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        returned = record.info.get(_RETURNED)
        if returned is None or time.monotonic() - returned < idle:
            return
        dialect: Any = engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as problem:
            raise InvalidatePoolError(str(problem)) from problem

    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", ping)
